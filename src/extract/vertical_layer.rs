//! Text layers in vertical writing, put into the order in which they are read: columns from right to left.
//!
//! pdfium sorts lines for horizontal writing: it keeps a column together where the font says that it is vertical, but
//! takes the left column first, and reads straight across the columns where each letter was placed by itself.

use std::cmp::Ordering;

use super::layer_lines::{Line, goes_on};
use super::pdfium::{Area, LayerCharacter};
use crate::ocr::clean::is_cjk;

/// Fewer letters are no text to tell a direction from.
const MIN_LETTERS: usize = 12;

/// More are not looked through: no page has them.
const MAX_CHARACTERS: usize = 20_000;

/// Letters that are asked for their nearest neighbour.
const SAMPLE: usize = 200;

/// Of letters that stand in one line or column the middles differ by less than this share of their size.
const SAME_LINE: f32 = 0.4;

/// The neighbour in the direction of writing is nearer than the other one by this factor.
const NEARER: f32 = 0.85;

/// For so many letters whose neighbour is below them, fewer than one may have it beside them.
const NEEDED_MAJORITY: usize = 3;

/// A band without any letter, in sizes of a letter, parts headers, footers and tiers of columns from each other.
const EMPTY_BAND: f32 = 1.5;

/// The characters by columns from the right, with a line break after each that does not cut a word; `None` where the
/// writing is not vertical.
pub fn in_reading_order(characters: &[LayerCharacter]) -> Option<Vec<LayerCharacter>> {
    let letters: Vec<LayerCharacter> =
        characters.iter().copied().filter(|c| has_area(c.area) && !c.character.is_whitespace()).collect();
    if letters.len() > MAX_CHARACTERS || !is_vertical(&letters) {
        return None;
    }
    let mut ordered = Vec::with_capacity(characters.len());
    for tier in tiers(letters) {
        let lines = lines(tier);
        let columns: Vec<Option<Line>> = lines.iter().map(|line| Line::vertical(line)).collect();
        for (line, goes_on) in lines.iter().zip(goes_on(&columns)) {
            ordered.extend(line);
            let end = line.last().filter(|_| !goes_on);
            ordered.extend(end.map(|last| LayerCharacter { character: '\n', ..*last }));
        }
    }
    Some(ordered)
}

fn has_area(area: Area) -> bool {
    area.right > area.left && area.top > area.bottom
}

fn centre(area: Area) -> (f32, f32) {
    ((area.left + area.right) / 2.0, (area.bottom + area.top) / 2.0)
}

/// The side of the square that a letter fills.
fn size(area: Area) -> f32 {
    (area.right - area.left).max(area.top - area.bottom)
}

/// Whether most letters have their nearest neighbour below them rather than beside them.
fn is_vertical(letters: &[LayerCharacter]) -> bool {
    let letters: Vec<Area> = letters.iter().filter(|c| is_cjk(c.character)).map(|c| c.area).collect();
    if letters.len() < MIN_LETTERS {
        return false;
    }
    let (xs, ys): (Vec<f32>, Vec<f32>) = letters.iter().map(|letter| centre(*letter)).unzip();
    // Downwards, like to the right, the numbers grow.
    let depths: Vec<f32> = ys.iter().map(|y| -y).collect();
    let step = letters.len().div_ceil(SAMPLE);
    let (mut below, mut beside) = (0, 0);
    let mut unasked = letters.len().div_ceil(step);
    for place in (0..letters.len()).step_by(step) {
        // Whatever the others say: on a page of lines that is clear after a quarter of them.
        if below + unasked <= NEEDED_MAJORITY * beside {
            return false;
        }
        unasked -= 1;
        let near = size(letters[place]) * SAME_LINE;
        let (nearest_beside, nearest_below) = nearest(&xs, &depths, place, near);
        below += usize::from(nearest_below < nearest_beside * NEARER);
        beside += usize::from(nearest_beside < nearest_below * NEARER);
    }
    below > NEEDED_MAJORITY * beside
}

/// How far the next letter is from the one at `place`, to the right and downwards: of those that lie behind it in that
/// direction, and less than `near` beside it in the other. Infinite where there is none.
fn nearest(xs: &[f32], depths: &[f32], place: usize, near: f32) -> (f32, f32) {
    // So many letters at once: a page of text asks for every pair of letters, and the processor compares several a step.
    const LANES: usize = 8;
    let (x, depth) = (xs[place], depths[place]);
    let distance = |along: f32, across: f32| if along > 0.0 && across.abs() < near { along } else { f32::INFINITY };
    let smaller = |one: f32, other: f32| if other < one { other } else { one };
    let (beside, below) = (&mut [f32::INFINITY; LANES], &mut [f32::INFINITY; LANES]);
    let mut look = |lane: usize, right: f32, down: f32| {
        beside[lane] = smaller(beside[lane], distance(right, down));
        below[lane] = smaller(below[lane], distance(down, right));
    };
    let (xs, xs_rest) = xs.as_chunks::<LANES>();
    let (depths, depths_rest) = depths.as_chunks::<LANES>();
    for (xs, depths) in xs.iter().zip(depths) {
        for lane in 0..LANES {
            look(lane, xs[lane] - x, depths[lane] - depth);
        }
    }
    for (lane, (other_x, other_depth)) in xs_rest.iter().zip(depths_rest).enumerate() {
        look(lane, other_x - x, other_depth - depth);
    }
    let least = |lanes: &[f32; LANES]| lanes.iter().copied().fold(f32::INFINITY, smaller);
    (least(beside), least(below))
}

/// The letters from the top down, parted where a band across the whole page is empty.
fn tiers(mut letters: Vec<LayerCharacter>) -> Vec<Vec<LayerCharacter>> {
    letters.sort_by(|a, b| descending(a.area.top, b.area.top));
    let gap = median_size(&letters) * EMPTY_BAND;
    let mut tiers: Vec<Vec<LayerCharacter>> = Vec::new();
    let mut lowest = f32::NEG_INFINITY;
    for letter in letters {
        match tiers.last_mut() {
            Some(tier) if letter.area.top > lowest - gap => tier.push(letter),
            _ => {
                tiers.push(vec![letter]);
                lowest = f32::INFINITY;
            }
        }
        lowest = lowest.min(letter.area.bottom);
    }
    tiers
}

/// Columns from right to left; a tier that is no higher than a line is one line from left to right.
fn lines(mut tier: Vec<LayerCharacter>) -> Vec<Vec<LayerCharacter>> {
    let size = median_size(&tier);
    let top = tier.iter().map(|c| c.area.top).fold(f32::NEG_INFINITY, f32::max);
    let bottom = tier.iter().map(|c| c.area.bottom).fold(f32::INFINITY, f32::min);
    if top - bottom < size * EMPTY_BAND {
        tier.sort_by(|a, b| descending(b.area.left, a.area.left));
        return vec![tier];
    }
    tier.sort_by(|a, b| descending(centre(a.area).0, centre(b.area).0));
    let mut columns: Vec<Vec<LayerCharacter>> = Vec::new();
    for letter in tier {
        let belongs = |column: &Vec<LayerCharacter>| {
            column.first().is_some_and(|first| centre(first.area).0 - centre(letter.area).0 < size * SAME_LINE)
        };
        match columns.last_mut() {
            Some(column) if belongs(column) => column.push(letter),
            _ => columns.push(vec![letter]),
        }
    }
    for column in &mut columns {
        column.sort_by(|a, b| descending(a.area.top, b.area.top));
    }
    columns
}

fn median_size(letters: &[LayerCharacter]) -> f32 {
    let mut sizes: Vec<f32> = letters.iter().map(|letter| size(letter.area)).collect();
    sizes.sort_by(f32::total_cmp);
    sizes.get(sizes.len() / 2).copied().unwrap_or(0.0)
}

fn descending(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(character: char, left: f32, top: f32) -> LayerCharacter {
        let area = Area { left, right: left + 10.0, bottom: top - 10.0, top };
        LayerCharacter { character, unmapped: false, invisible: false, bottom: top - 10.0, area }
    }

    /// Columns from the left, as pdfium gives them.
    fn page(columns: &[&str], spacing: f32, top: f32) -> Vec<LayerCharacter> {
        let column = |(number, text): (usize, &&str)| {
            let place =
                move |(row, character)| letter(character, 20.0 + number as f32 * spacing, top - row as f32 * 10.0);
            text.chars().enumerate().map(place).collect::<Vec<_>>()
        };
        columns.iter().enumerate().flat_map(column).collect()
    }

    fn text(characters: Vec<LayerCharacter>) -> String {
        in_reading_order(&characters).unwrap_or(characters).iter().map(|c| c.character).collect()
    }

    #[test]
    fn the_nearest_letter_is_found_wherever_it_stands_among_the_others() {
        for count in [1, 8, 9, 23] {
            for nearest_place in 1..count {
                let mut along = vec![90.0; count];
                along[0] = 10.0;
                along[nearest_place] = 31.0;
                let level = vec![0.0; count];
                assert_eq!(nearest(&along, &level, 0, 1.0), (21.0, f32::INFINITY));
                assert_eq!(nearest(&level, &along, 0, 1.0), (f32::INFINITY, 21.0));
                let mut across = vec![0.0; count];
                across[nearest_place] = 1.0;
                assert_eq!(nearest(&along, &across, 0, 1.0).0, 80.0, "{nearest_place} of {count} is beside the line");
            }
            assert_eq!(nearest(&vec![10.0; count], &vec![0.0; count], 0, 1.0), (f32::INFINITY, f32::INFINITY));
        }
    }

    #[test]
    fn columns_are_read_from_the_right() {
        let columns = ["三列目の文字", "二列目の文字", "一列目の文字"];
        assert_eq!(text(page(&columns, 17.0, 300.0)), "一列目の文字\n二列目の文字\n三列目の文字\n");
        let mut row_by_row = page(&columns, 17.0, 300.0);
        row_by_row.sort_by(|a, b| descending(a.area.top, b.area.top));
        assert_eq!(text(row_by_row), "一列目の文字\n二列目の文字\n三列目の文字\n");
    }

    #[test]
    fn words_cut_at_the_end_of_a_column_are_whole() {
        let columns = ["以上のとおり", "録し橋脚の基礎は岩盤に達する", "設計図面の改訂履歴を確認し登"];
        assert_eq!(
            text(page(&columns, 17.0, 300.0)),
            "設計図面の改訂履歴を確認し登録し橋脚の基礎は岩盤に達する\n以上のとおり\n"
        );
    }

    #[test]
    fn headers_and_tiers_come_from_the_top_down() {
        let mut both = page(&["上段の左側", "上段の右側"], 17.0, 300.0);
        both.extend(page(&["下段の左側", "下段の右側"], 17.0, 200.0));
        both.extend("月報".chars().zip([20.0, 30.0]).map(|(character, left)| letter(character, left, 400.0)));
        assert_eq!(text(both), "月報\n上段の右側\n上段の左側\n下段の右側\n下段の左側\n");
    }

    #[test]
    fn horizontal_writing_stays_as_it_is() {
        let lines: Vec<LayerCharacter> = (0..4)
            .flat_map(|row| {
                let line = "横に書いた文章です".chars().enumerate();
                line.map(move |(column, c)| letter(c, column as f32 * 10.0, 300.0 - row as f32 * 17.0))
            })
            .collect();
        let before: String = lines.iter().map(|c| c.character).collect();
        assert_eq!(text(lines), before);
        assert_eq!(text(page(&["短い"], 17.0, 300.0)), "短い");
    }
}
