//! The text of a page out of its lines: which line goes on in the next one, and where a gap separates two cells.
//!
//! Japanese is wrapped anywhere, also within a word, and a search for 土木事務所 does not find 土木事務 and 所 on two
//! lines. So a line that reaches the margin of its text and the line below it are joined when Japanese stands on both
//! sides of the break. Headings, list entries and the rows of tables end before the margin, are short, or have gaps, and
//! keep their line feed. Between the cells of a row stands a tab: a space would go with all spaces between Japanese
//! characters, and run the cells together to one word.
//!
//! The engine's boxes of lines are exact, those of words are not: its gaps within Japanese prose reach 1.9 times the
//! height of a line (handbook-b), so a gap counts by its columns without ink. Gaps between cells are 2.8 and more.

use super::clean::is_cjk;
use super::raster::Raster;

/// A gap of so many line heights separates cells.
const CELL_GAP: f64 = 1.5;

/// Levels (of 255) from the paper at which a pixel is ink …
const INK_LEVELS: u8 = 64;

/// … and inked pixels in a column that are writing rather than a speck.
const MIN_INKED_PIXELS: usize = 2;

/// Lines shorter than so many times their height are cells and headings: nothing wraps that early.
const MIN_WRAPPED_LENGTH: f64 = 8.0;

/// Where the engine took the two lines for parts of two blocks, the first one must be longer: more stands alone there.
const MIN_LENGTH_BETWEEN_BLOCKS: f64 = 15.0;

/// A wrapped line ends at most so many line heights before the margin: punctuation and Latin words move to the next line.
const MARGIN_SLACK: f64 = 2.0;

/// The white between two lines of a paragraph is at most so many line heights.
const MAX_LEADING: f64 = 1.3;

/// By how much two lines that stand one below the other may overlap, in line heights: boxes have ascenders and ruby.
const MAX_OVERLAP: f64 = 0.5;

/// The next line begins at most so many line heights before the wrapped one: the first line of a paragraph is indented …
const MAX_INDENT: f64 = 2.5;

/// … or after it: the text of a list entry is.
const MAX_HANGING_INDENT: f64 = 3.0;

/// Lines of one paragraph are of one size, within this factor.
const MAX_SIZE_RATIO: f64 = 1.6;

/// A line that is by this factor higher than wide runs down the page.
const VERTICAL_SHAPE: f64 = 1.5;

/// After these a sentence is over, and no word goes on.
const SENTENCE_ENDS: &str = "。！？：";

/// With these a list entry begins.
const LIST_MARKS: &str = "・•●○◎◆◇■□▲△▼▽※★☆①②③④⑤⑥⑦⑧⑨⑩";

/// A rectangle of pixels; `right` and `bottom` lie outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelBox {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

/// A word and where it stands, roughly.
#[derive(Clone, Debug)]
pub struct PlacedWord {
    pub text: String,
    pub bounds: PixelBox,
}

/// A line as the engine found it.
#[derive(Clone, Debug)]
pub struct PlacedLine {
    /// With the engine's spaces.
    pub text: String,
    pub words: Vec<PlacedWord>,
    pub bounds: PixelBox,
    pub paragraph: PixelBox,
    pub block: PixelBox,
}

/// A line along its own direction: it runs from `start` to `end`, and the next line lies beyond `far`.
#[derive(Clone, Copy, Debug)]
struct Run {
    is_vertical: bool,
    start: f64,
    end: f64,
    near: f64,
    far: f64,
}

impl Run {
    fn of(bounds: PixelBox, is_vertical: bool) -> Run {
        let [left, top, right, bottom] = [bounds.left, bounds.top, bounds.right, bounds.bottom].map(f64::from);
        if is_vertical {
            // From right to left.
            Run { is_vertical, start: top, end: bottom, near: -right, far: -left }
        } else {
            Run { is_vertical, start: left, end: right, near: top, far: bottom }
        }
    }

    /// The height of its letters.
    fn size(self) -> f64 {
        (self.far - self.near).max(1.0)
    }

    fn length(self) -> f64 {
        self.end - self.start
    }
}

impl PlacedLine {
    fn is_vertical(&self) -> bool {
        let PixelBox { left, top, right, bottom } = self.bounds;
        f64::from(bottom - top) > f64::from(right - left) * VERTICAL_SHAPE
    }

    fn run(&self) -> Run {
        Run::of(self.bounds, self.is_vertical())
    }
}

/// The page's text: a tab between cells, a line feed between lines, two between paragraphs, nothing where a line of
/// Japanese goes on in the next one. Otherwise as the engine gave it. `raster` is the page that was read.
pub fn text_of(lines: &[PlacedLine], raster: &Raster) -> String {
    let paper = raster.median_brightness();
    let texts: Vec<String> = lines.iter().map(|line| text_with_tabs(line, raster, paper)).collect();
    let mut page = String::new();
    for (index, line) in lines.iter().enumerate() {
        page.push_str(&texts[index]);
        let Some(next) = lines.get(index + 1) else {
            break;
        };
        let is_row = texts[index].contains('\t') || texts[index + 1].contains('\t');
        if !is_row && goes_on(line, next) {
            continue;
        }
        page.push_str(if line.paragraph == next.paragraph && line.block == next.block { "\n" } else { "\n\n" });
    }
    page
}

/// Whether the line was broken where its space ended, and goes on in the next one without a space.
fn goes_on(line: &PlacedLine, next: &PlacedLine) -> bool {
    let (Some(last), Some(first)) = (line.text.trim_end().chars().last(), next.text.trim_start().chars().next()) else {
        return false;
    };
    if !is_cjk(last) || !is_cjk(first) || SENTENCE_ENDS.contains(last) || LIST_MARKS.contains(first) {
        return false;
    }
    let (run, below) = (line.run(), next.run());
    if run.is_vertical != below.is_vertical {
        return false;
    }
    let size = run.size();
    let is_between_blocks = line.block != next.block;
    let min_length = if is_between_blocks { MIN_LENGTH_BETWEEN_BLOCKS } else { MIN_WRAPPED_LENGTH };
    let margin = Run::of(line.block, run.is_vertical).end.max(Run::of(next.block, run.is_vertical).end);
    let is_of_one_size = size.max(below.size()) <= size.min(below.size()) * MAX_SIZE_RATIO;
    let leading = below.near - run.far;
    let indent = below.start - run.start;
    is_of_one_size
        && run.length() >= min_length * size
        && run.end >= margin - MARGIN_SLACK * size
        && (-MAX_OVERLAP * size..=MAX_LEADING * size).contains(&leading)
        && (-MAX_INDENT * size..=MAX_HANGING_INDENT * size).contains(&indent)
}

/// The line's text with tabs where wide gaps are.
fn text_with_tabs(line: &PlacedLine, raster: &Raster, paper: u8) -> String {
    let min_gap = f64::from(line.bounds.bottom - line.bounds.top) * CELL_GAP;
    let is_cell_gap = |before: &PlacedWord, after: &PlacedWord| {
        let (from, to) = (before.bounds.right, after.bounds.left);
        f64::from(to - from) >= min_gap && blank_columns(line.bounds, from, to, raster, paper) as f64 >= min_gap
    };
    if line.is_vertical() || !line.words.windows(2).any(|pair| is_cell_gap(&pair[0], &pair[1])) {
        return line.text.trim_end().to_owned();
    }
    let mut text = String::with_capacity(line.text.len());
    for (index, word) in line.words.iter().enumerate() {
        if let Some(before) = index.checked_sub(1).map(|before| &line.words[before]) {
            text.push(if is_cell_gap(before, word) { '\t' } else { ' ' });
        }
        text.push_str(&word.text);
    }
    text
}

/// Columns of pixels from `from` to `to` that have no ink within the line.
fn blank_columns(line: PixelBox, from: i32, to: i32, raster: &Raster, paper: u8) -> usize {
    let clamped = |value: i32, limit: u32| value.clamp(0, limit as i32) as usize;
    let (from, to) = (clamped(from, raster.width()), clamped(to, raster.width()));
    let (top, bottom) = (clamped(line.top, raster.height()), clamped(line.bottom, raster.height()));
    let width = raster.width() as usize;
    let mut ink = vec![0_usize; to.saturating_sub(from)];
    for row in raster.bytes().chunks_exact(width.max(1)).take(bottom).skip(top) {
        for (count, value) in ink.iter_mut().zip(&row[from..to.max(from)]) {
            *count += usize::from(value.abs_diff(paper) >= INK_LEVELS);
        }
    }
    ink.into_iter().filter(|count| *count < MIN_INKED_PIXELS).count()
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    const BLOCK: PixelBox = PixelBox { left: 100, top: 0, right: 900, bottom: 1000 };

    /// Letters of 40 pixels from `left` on, in the row with this number; one word.
    fn line(row: i32, left: i32, text: &str) -> PlacedLine {
        let width = 40 * text.chars().count() as i32;
        let bounds = PixelBox { left, top: 60 * row, right: left + width, bottom: 60 * row + 40 };
        let words = vec![PlacedWord { text: text.to_owned(), bounds }];
        PlacedLine { text: text.to_owned(), words, bounds, paragraph: BLOCK, block: BLOCK }
    }

    /// The same with rows that run down the page, from right to left.
    fn column(row: i32, top: i32, text: &str) -> PlacedLine {
        let upright = |bounds: PixelBox| PixelBox {
            left: 1000 - bounds.bottom,
            top: bounds.left,
            right: 1000 - bounds.top,
            bottom: bounds.right,
        };
        let line = line(row, top, text);
        PlacedLine { bounds: upright(line.bounds), paragraph: upright(BLOCK), block: upright(BLOCK), ..line }
    }

    fn white_page() -> Raster {
        Raster::new(GrayImage::from_pixel(1000, 1000, Luma([255])), 300)
    }

    fn read(lines: &[PlacedLine]) -> String {
        text_of(lines, &white_page())
    }

    const FULL: &str = "管理者は道路橋の定期点検を行う土木事務";

    #[test]
    fn a_word_that_was_wrapped_is_whole_again() {
        assert_eq!(read(&[line(0, 140, FULL), line(1, 100, "所である。")]), format!("{FULL}所である。"));
        assert_eq!(read(&[column(0, 140, FULL), column(1, 100, "所である。")]), format!("{FULL}所である。"));
    }

    #[test]
    fn headings_cells_and_short_lines_keep_their_line_feed() {
        let heading = [line(0, 100, "道路橋定期点検記録様式"), line(1, 100, FULL)];
        assert_eq!(read(&heading), format!("道路橋定期点検記録様式\n{FULL}"));
        let narrow = PixelBox { right: 180, ..BLOCK };
        let cells = ["主桁", "床版"].map(|cell| PlacedLine { block: narrow, ..line(0, 100, cell) });
        assert_eq!(read(&cells), "主桁\n床版");
    }

    #[test]
    fn sentences_lists_and_latin_keep_their_line_feed() {
        let sentence = format!("{}。", &FULL[..FULL.len() - 3]);
        for (first, second) in [(sentence.as_str(), "次の文"), (FULL, "・次の項目"), (FULL, "No. 1")] {
            assert_eq!(read(&[line(0, 100, first), line(1, 100, second)]), format!("{first}\n{second}"));
        }
    }

    #[test]
    fn what_stands_far_below_or_beside_is_another_text() {
        assert_eq!(read(&[line(0, 100, FULL), line(2, 100, "所")]), format!("{FULL}\n所"));
        assert_eq!(read(&[line(0, 100, FULL), line(1, 500, "所")]), format!("{FULL}\n所"));
        let other = PixelBox { top: 50, ..BLOCK };
        let next = PlacedLine { paragraph: other, block: other, ..line(2, 100, "所") };
        assert_eq!(read(&[line(0, 100, FULL), next]), format!("{FULL}\n\n所"));
    }

    fn row(words: &[(i32, &str)]) -> PlacedLine {
        let words: Vec<PlacedWord> = words.iter().map(|(left, text)| line(0, *left, text).words.remove(0)).collect();
        let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        PlacedLine { words, text, ..line(0, 100, FULL) }
    }

    #[test]
    fn a_wide_gap_between_words_is_a_tab() {
        let cells = row(&[(100, "橋梁"), (190, "番号"), (400, "橋名")]);
        assert_eq!(read(&[cells.clone(), line(1, 100, "所")]), "橋梁 番号\t橋名\n所");
        // The engine's boxes may leave letters out: where there is ink, there is no gap.
        let letters = GrayImage::from_fn(1000, 1000, |x, y| Luma([if y < 40 && x % 40 < 35 { 0 } else { 255 }]));
        assert_eq!(text_of(&[cells], &Raster::new(letters, 300)), "橋梁 番号 橋名");
    }

    #[test]
    fn boxes_beyond_the_page_are_cut() {
        let outside = PixelBox { left: -50, top: -50, right: 5000, bottom: 5000 };
        let mut cells = row(&[(100, "橋梁"), (4000, "橋名")]);
        cells.bounds = outside;
        assert_eq!(read(&[cells]), "橋梁 橋名");
    }
}
