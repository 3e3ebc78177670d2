//! Lines of a text layer by where their letters stand: cells of a table come apart, words cut at a line's end together.
//!
//! pdfium ends every line alike and puts one space into gaps of any width. Japanese needs no spaces, so they are taken
//! out later, and then the cells of a row would run into each other; and a line break inside a word hides it from
//! search. Latin words have spaces and hyphens for that.

use super::pdfium::{Area, LayerCharacter};
use crate::ocr::clean::is_cjk;

/// More lines are not looked through: no page has them.
const MAX_LINES: usize = 2_000;

/// A gap between letters of more than this, in sizes of a letter, parts two cells. Between brackets and full stops of
/// running text, which fill half of their square, it is one at most.
const CELL_GAP: f32 = 1.5;

/// A letter's size is the one that this share of the line's letters stay below: punctuation is small.
const SIZE_RANK: f64 = 0.8;

/// Lengths below are in sizes of a letter. Shorter lines are items, cells and headings …
const MIN_LINE: f32 = 12.0;

/// … and full lines end about where another one does: one letter may have to stay with the next one.
const SAME_EDGE: f32 = 1.5;

/// Lines of a paragraph begin at one place, the first one indented by so much at most.
const SAME_START: f32 = 0.5;
const MAX_INDENT: f32 = 2.5;

/// Lines that begin within this distance belong to one column.
const SAME_COLUMN: f32 = 4.0;

/// From one line of a paragraph to the next.
const LINE_DISTANCE: std::ops::RangeInclusive<f32> = 0.5..=2.5;

/// Headings differ by more than this in size from the text below.
const SAME_SIZE: f32 = 1.15;

/// A line or column, along and across the direction of writing.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    start: f32,
    end: f32,
    /// Grows from line to line.
    across: f32,
    size: f32,
    first: char,
    last: char,
    has_cells: bool,
}

impl Line {
    /// A line from left to right; `None` when no letter has a place.
    pub fn horizontal(characters: &[LayerCharacter]) -> Option<Line> {
        Line::of(characters, |area| (area.left, area.right, -area.bottom))
    }

    /// A column from the top down, the next one to the left.
    pub fn vertical(characters: &[LayerCharacter]) -> Option<Line> {
        Line::of(characters, |area| (-area.top, -area.bottom, -(area.left + area.right) / 2.0))
    }

    fn of(characters: &[LayerCharacter], place: impl Fn(Area) -> (f32, f32, f32)) -> Option<Line> {
        let letters: Vec<&LayerCharacter> = characters.iter().filter(|letter| is_placed(letter)).collect();
        let (first, last) = (letters.first()?, letters.last()?);
        Some(Line {
            start: letters.iter().map(|letter| place(letter.area).0).fold(f32::INFINITY, f32::min),
            end: letters.iter().map(|letter| place(letter.area).1).fold(f32::NEG_INFINITY, f32::max),
            across: place(first.area).2,
            size: letter_size(&letters),
            first: first.character,
            last: last.character,
            has_cells: false,
        })
    }

    fn is_beside(&self, other: &Line) -> bool {
        (self.start - other.start).abs() <= SAME_COLUMN * self.size
    }

    fn ends_with(&self, other: &Line) -> bool {
        (self.end - other.end).abs() <= SAME_EDGE * self.size
    }

    /// Whether `next` is the following line of the same paragraph.
    fn is_followed_by(&self, next: &Line) -> bool {
        let indent = (self.start - next.start) / self.size;
        LINE_DISTANCE.contains(&((next.across - self.across) / self.size))
            && (-SAME_START..=MAX_INDENT).contains(&indent)
            && next.end - self.end <= SAME_EDGE * self.size
            && (self.size / next.size).max(next.size / self.size) <= SAME_SIZE
    }
}

/// For each line, whether a word may go on in the next one: a full line that ends with a kanji or katakana, with a letter
/// of Japanese after the break. Hiragana and punctuation end words, and items of a list; there the lines stay.
pub fn goes_on(lines: &[Option<Line>]) -> Vec<bool> {
    if lines.len() > MAX_LINES {
        return vec![false; lines.len()];
    }
    let is_cut = |position: usize| match (&lines[position], lines.get(position + 1)) {
        (Some(line), Some(Some(next))) => {
            is_letter(line.last)
                && !is_hiragana(line.last)
                && is_letter(next.first)
                && !line.has_cells
                && !next.has_cells
                && line.is_followed_by(next)
                && is_full(line, lines)
        }
        _ => false,
    };
    (0..lines.len()).map(is_cut).collect()
}

/// Whether the line ends where its column does: none goes further, and it is not the only one that goes so far.
fn is_full(line: &Line, lines: &[Option<Line>]) -> bool {
    let column = || lines.iter().flatten().filter(|other| line.is_beside(other) && !other.has_cells);
    line.end - line.start >= MIN_LINE * line.size
        && column().all(|other| other.end - line.end <= SAME_EDGE * line.size)
        && column().filter(|other| line.ends_with(other)).count() > 1
}

fn is_letter(character: char) -> bool {
    is_cjk(character) && character.is_alphabetic()
}

fn is_hiragana(character: char) -> bool {
    matches!(character, '\u{3041}'..='\u{309F}')
}

fn is_placed(letter: &LayerCharacter) -> bool {
    let area = letter.area;
    area.right > area.left && area.top > area.bottom && !letter.character.is_whitespace()
}

fn letter_size(letters: &[&LayerCharacter]) -> f32 {
    let side =
        |letter: &&LayerCharacter| (letter.area.right - letter.area.left).max(letter.area.top - letter.area.bottom);
    let mut sizes: Vec<f32> = letters.iter().map(side).collect();
    sizes.sort_by(f32::total_cmp);
    let rank = (sizes.len() as f64 * SIZE_RANK) as usize;
    sizes.get(rank.min(sizes.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The characters in their order, with a tab between cells and without the line breaks that cut words.
pub fn arranged(characters: &[LayerCharacter]) -> Vec<LayerCharacter> {
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for row in characters.split_inclusive(|character| character.character == '\n') {
        let line = Line::horizontal(row);
        let row = with_tabs(row, line.map_or(0.0, |line| line.size));
        let has_cells = row.iter().any(|character| character.character == '\t');
        lines.push(line.map(|line| Line { has_cells, ..line }));
        rows.push(row);
    }
    let mut arranged = Vec::with_capacity(characters.len());
    for (row, goes_on) in rows.iter().zip(goes_on(&lines)) {
        let end = if goes_on { row.iter().rposition(is_placed).map_or(0, |last| last + 1) } else { row.len() };
        arranged.extend(&row[..end]);
    }
    arranged
}

/// A row with tabs in place of the spaces between its cells. Letters of a word that was spaced out are no cells.
fn with_tabs(row: &[LayerCharacter], size: f32) -> Vec<LayerCharacter> {
    let places: Vec<usize> = (0..row.len()).filter(|place| is_placed(&row[*place])).collect();
    let is_gap = |pair: &[usize]| is_cell_gap(row[pair[0]].area, row[pair[1]].area, size);
    let begins: Vec<usize> = places.windows(2).filter(|pair| is_gap(pair)).map(|pair| pair[1]).collect();
    if begins.is_empty() {
        return row.to_vec();
    }
    let is_single = |from: usize, to: usize| {
        let mut letters = row[from..to].iter().filter(|character| is_placed(character));
        letters.next().is_some_and(|letter| is_cjk(letter.character)) && letters.next().is_none()
    };
    let bounds: Vec<usize> = [0].into_iter().chain(begins).chain([row.len()]).collect();
    let parts_letters = |three: &[usize]| is_single(three[0], three[1]) && is_single(three[1], three[2]);
    let mut cells = bounds.windows(3).filter(|three| !parts_letters(three)).map(|three| three[1]).peekable();
    let mut spaced: Vec<LayerCharacter> = Vec::with_capacity(row.len());
    for (place, character) in row.iter().enumerate() {
        if cells.next_if_eq(&place).is_some() {
            while spaced.last().is_some_and(|last| last.character.is_whitespace()) {
                spaced.pop();
            }
            spaced.push(LayerCharacter { character: '\t', area: Area::default(), ..*character });
        }
        spaced.push(*character);
    }
    spaced
}

fn is_cell_gap(before: Area, after: Area, size: f32) -> bool {
    let middle = |area: Area| (area.bottom + area.top) / 2.0;
    after.left - before.right > CELL_GAP * size && (middle(after) - middle(before)).abs() < size
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters of 10 points; a space takes as much and has no area, as with pdfium.
    fn row(text: &str, left: f32, bottom: f32) -> Vec<LayerCharacter> {
        let mut right = left;
        let mut row = Vec::new();
        for character in text.chars().chain(['\r', '\n']) {
            let area = Area { left: right, right: right + 10.0, bottom, top: bottom + 10.0 };
            let area = if character.is_whitespace() { Area::default() } else { area };
            right += 10.0;
            row.push(LayerCharacter { character, unmapped: false, invisible: false, bottom, area });
        }
        row
    }

    fn text(rows: &[(&str, f32)]) -> String {
        let characters: Vec<LayerCharacter> =
            (0..).zip(rows).flat_map(|(number, (text, left))| row(text, *left, 700.0 - 16.0 * number as f32)).collect();
        let text: String = arranged(&characters).iter().map(|letter| letter.character).collect();
        text.replace('\r', "")
    }

    #[test]
    fn cells_are_parted_and_spaced_words_are_not() {
        assert_eq!(text(&[("橋梁番号   橋名   架設年", 50.0)]), "橋梁番号\t橋名\t架設年\n");
        assert_eq!(text(&[("氏  名   山田太郎   Ⅱ", 50.0)]), "氏  名\t山田太郎\tⅡ\n");
        assert_eq!(text(&[("目  次", 50.0), ("橋 長は、 短い", 50.0)]), "目  次\n橋 長は、 短い\n");
    }

    #[test]
    fn words_cut_at_the_edge_of_a_paragraph_are_whole() {
        let paragraph = [
            ("　設計図面の改訂履歴を確認し登", 40.0),
            ("録した。橋脚の基礎は岩盤の支持", 40.0),
            ("層に達している", 40.0),
        ];
        assert_eq!(text(&paragraph), "　設計図面の改訂履歴を確認し登録した。橋脚の基礎は岩盤の支持層に達している\n");
    }

    #[test]
    fn items_headings_rows_and_sentences_keep_their_lines() {
        for rows in [
            // Items of a list; a heading, and no line as long as it.
            [("損傷の進行の度合を監視する", 40.0), ("排水施設の堆積物を清掃する", 40.0), ("詳細調査を行う", 40.0)],
            [("道路橋の点検と診断に関する要領", 40.0), ("本要領は市道の橋に用いる", 40.0), ("以上", 40.0)],
            // Ended sentences; a new paragraph, by its indent.
            [("橋脚の基礎は岩盤に達している。", 40.0), ("支承の取替えは来年度の予算だ。", 40.0), ("以上", 40.0)],
            [("橋脚の基礎は岩盤に達している事", 40.0), ("支承の取替えは来年度の予算", 55.0), ("（以上）", 40.0)],
            // Rows of a table.
            [("床版取替工事監理業務報告   判定", 40.0), ("床版取替工事監理業務報告   判定", 40.0), ("以上", 40.0)],
        ] {
            let expected: String = rows.iter().map(|(text, _)| format!("{}\n", text.replace("   ", "\t"))).collect();
            assert_eq!(text(&rows), expected);
        }
    }

    #[test]
    fn characters_without_a_place_stay() {
        let characters: Vec<LayerCharacter> = row("道路 台帳", 0.0, 0.0)
            .into_iter()
            .map(|letter| LayerCharacter { area: Area::default(), ..letter })
            .collect();
        assert_eq!(arranged(&characters), characters);
        assert_eq!(arranged(&[]), []);
    }
}
