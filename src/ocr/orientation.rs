//! Which way a page has to be turned before it is read, as far as that can be seen, and the sample that decides.
//!
//! Reading a page the wrong way up costs more than reading it right, since the engine tries every word in every
//! language: a page that may be turned is tried on a few of its lines first. Which pages those are is told by their ink
//! alone, so that upright pages pay nothing: lines that run down the page, and lines whose upper edge carries more ink
//! than their lower one. Kanji and kana stand broader than they begin, and of Latin letters more rise above the line
//! than hang below it, so that most of their ink is low too. On the corpus, the lowest quarter of a line has between
//! 1 % (Japanese) and 15 % (Latin) more of its ink than the highest, and the reverse upside down.
//!
//! Tesseract's own detection of orientation needs the old engine, which our builds leave out.

use std::borrow::Cow;

use image::imageops;

use super::ink_cells::{CELL_PIXELS, InkCells, inked_runs};
use super::page_look::{LineDirection, line_direction, line_direction_of};
use super::raster::Raster;

/// Fewer lines than this tell nothing about which side of them is up.
const MIN_LINES: usize = 5;

/// Lines between these factors of the median height count; others are rules, pictures and lines grown together.
const USUAL_HEIGHTS: std::ops::RangeInclusive<f64> = 0.6..=1.6;

/// A sample is this part of the page …
const SAMPLE_PARTS: usize = 8;

/// … but at least so many pixels: large letters make few lines.
const MIN_SAMPLE_PIXELS: usize = 500_000;

/// By how much a page is turned, clockwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    None,
    Right,
    Half,
    Left,
}

/// How lines run on a page that is the right way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    Horizontal,
    Vertical,
}

/// A way to read a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub turn: Turn,
    pub writing: Writing,
}

impl Way {
    /// As most pages are.
    pub const UPRIGHT: Way = horizontal(Turn::None);
}

const fn horizontal(turn: Turn) -> Way {
    Way { turn, writing: Writing::Horizontal }
}

const fn vertical(turn: Turn) -> Way {
    Way { turn, writing: Writing::Vertical }
}

/// How the page with this ink may have to be read, the likeliest first. A single way is as good as certain.
pub fn likely_ways(cells: &InkCells) -> Vec<Way> {
    let (rows, columns) = (cells.row_profile(), cells.column_profile());
    match line_direction_of(&rows, &columns) {
        LineDirection::Horizontal if is_heavier_above(&rows) == Some(true) => {
            vec![horizontal(Turn::Half), Way::UPRIGHT]
        }
        LineDirection::Horizontal | LineDirection::Unclear => vec![Way::UPRIGHT],
        // Turned to the right, the left side is up.
        LineDirection::Vertical if is_heavier_above(&columns) == Some(true) => {
            vec![horizontal(Turn::Left), vertical(Turn::None), horizontal(Turn::Right)]
        }
        LineDirection::Vertical => vec![horizontal(Turn::Right), vertical(Turn::None), horizontal(Turn::Left)],
    }
}

/// What is left to try where the likely ways gave nothing good. The engine turns horizontal writing that lies on its
/// side by itself, but never by 180 degrees: turning by that much covers both.
pub fn unlikely_ways(raster: &Raster) -> Vec<Way> {
    match line_direction(raster) {
        LineDirection::Horizontal => vec![horizontal(Turn::Half), vertical(Turn::Right), vertical(Turn::Left)],
        LineDirection::Unclear => vec![vertical(Turn::None), horizontal(Turn::Half)],
        LineDirection::Vertical => vec![vertical(Turn::None), vertical(Turn::Half), horizontal(Turn::Half)],
    }
}

/// The page turned clockwise.
pub fn turned(raster: &Raster, turn: Turn) -> Cow<'_, Raster> {
    match turn {
        Turn::None => Cow::Borrowed(raster),
        Turn::Right => Cow::Owned(raster.with_pixels(imageops::rotate90)),
        Turn::Half => Cow::Owned(raster.with_pixels(imageops::rotate180)),
        Turn::Left => Cow::Owned(raster.with_pixels(imageops::rotate270)),
    }
}

/// A few lines from where most is written on a page that is the right way up.
pub fn sample(page: &Raster, writing: Writing) -> Raster {
    match writing {
        Writing::Horizontal => band_of_lines(page),
        Writing::Vertical => turned(&band_of_lines(&turned(page, Turn::Right)), Turn::Left).into_owned(),
    }
}

/// Whether lines carry more ink in their first quarter than in their last; `None` when there are too few of them.
fn is_heavier_above(profile: &[u32]) -> Option<bool> {
    let lines: Vec<_> = inked_runs(profile).into_iter().filter(|line| line.len() > 2).collect();
    let mut heights: Vec<usize> = lines.iter().map(ExactSizeIterator::len).collect();
    heights.sort_unstable();
    let median = *heights.get(heights.len() / 2)? as f64;
    let mut usual_lines = 0;
    let mut surplus_below = 0.0;
    for line in lines.into_iter().filter(|line| USUAL_HEIGHTS.contains(&(line.len() as f64 / median))) {
        let ink = &profile[line];
        let quarter = (ink.len() / 4).max(1);
        let sum = |part: &[u32]| f64::from(part.iter().sum::<u32>());
        surplus_below += (sum(&ink[ink.len() - quarter..]) - sum(&ink[..quarter])) / sum(ink).max(1.0);
        usual_lines += 1;
    }
    (usual_lines >= MIN_LINES).then_some(surplus_below < 0.0)
}

/// The band of the page with the most ink, cut between lines.
fn band_of_lines(raster: &Raster) -> Raster {
    let profile = InkCells::of(raster).row_profile();
    let row_pixels = raster.width().max(1) as usize * CELL_PIXELS as usize;
    let height = (profile.len() / SAMPLE_PARTS).max(MIN_SAMPLE_PIXELS / row_pixels).min(profile.len());
    let slack = height / 4;
    let start = (0..=profile.len() - height)
        .step_by(slack.max(1))
        .max_by_key(|start| profile[*start..*start + height].iter().sum::<u32>())
        .unwrap_or(0);
    let end = start + height;
    let quietest = |range: std::ops::Range<usize>, otherwise| {
        range.filter(|row| *row < profile.len()).min_by_key(|row| profile[*row]).unwrap_or(otherwise)
    };
    let top = if start == 0 { 0 } else { quietest(start.saturating_sub(slack)..start + 1, start) };
    let bottom = quietest(end..end + slack, profile.len());
    raster.rows(top as u32 * CELL_PIXELS, (bottom - top) as u32 * CELL_PIXELS)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    /// Lines of marks that are broader at their foot, as letters are.
    fn page_of_lines() -> Raster {
        let pixels = GrayImage::from_fn(1200, 1600, |x, y| {
            let (across, level) = (x % 24, y % 64);
            let is_ink = (60..1140).contains(&x) && y < 1000 && level < 32 && across < if level < 24 { 8 } else { 14 };
            Luma([if is_ink { 20 } else { 245 }])
        });
        Raster::new(pixels, 300)
    }

    #[test]
    fn an_upright_page_needs_no_sample() {
        assert_eq!(likely_ways(&InkCells::of(&page_of_lines())), [Way::UPRIGHT]);
    }

    #[test]
    fn a_turned_page_is_first_tried_the_way_that_brings_it_upright() {
        let upright = page_of_lines();
        for (lies, helps) in [(Turn::Half, Turn::Half), (Turn::Right, Turn::Left), (Turn::Left, Turn::Right)] {
            let page = turned(&upright, lies).into_owned();
            let ways = likely_ways(&InkCells::of(&page));
            assert_eq!(ways[0], horizontal(helps), "a page that lies {lies:?}");
            assert!(ways.len() > 1, "it is only likely");
            assert_eq!(turned(&page, helps).bytes(), upright.bytes());
        }
    }

    #[test]
    fn vertical_writing_is_expected_where_lines_run_down_or_nothing_else_helped() {
        let lies = turned(&page_of_lines(), Turn::Left).into_owned();
        assert!(likely_ways(&InkCells::of(&lies)).contains(&vertical(Turn::None)));
        assert!(unlikely_ways(&page_of_lines()).contains(&vertical(Turn::Left)));
    }

    #[test]
    fn pages_without_lines_are_taken_for_upright() {
        for size in [1, 50, 1200] {
            let page = Raster::new(GrayImage::from_pixel(size, size, Luma([250])), 300);
            assert_eq!(likely_ways(&InkCells::of(&page)), [Way::UPRIGHT]);
            assert!(sample(&page, Writing::Vertical).height() >= 1);
        }
    }

    #[test]
    fn a_sample_is_some_lines_from_where_the_writing_is() {
        let strip = sample(&page_of_lines(), Writing::Horizontal);
        assert!(strip.width() == 1200 && strip.height() < 600, "{} × {}", strip.width(), strip.height());
        let lines = inked_runs(&InkCells::of(&strip).row_profile());
        assert!(lines.len() > 3 && lines.iter().all(|line| line.len() == 8), "no line is cut: {lines:?}");
        let columns = sample(&turned(&page_of_lines(), Turn::Left), Writing::Vertical);
        assert_eq!((columns.width(), columns.height()), (strip.height(), 1200));
    }
}
