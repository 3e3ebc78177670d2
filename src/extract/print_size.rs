//! Whether a scan's letters are as large as its file says, and the page brought to its reading size when they are.
//!
//! A file's claim that it has a very high resolution is not enough to shrink its page to a stamp: the claim may be wrong,
//! and small print would be lost. So such pages are shrunk only so far at first (`resolution`). Where the lines then
//! stand as high as the claim has it, it is true, and the page is shrunk to what is read best: the engine takes letters
//! twice that size for pictures or reads them as two lines.

use crate::ocr::Raster;
use crate::ocr::ink_cells::{CELL_PIXELS, InkCells, inked_runs};

/// Reading so much more finely than wanted does no harm.
const MAX_FINENESS: f64 = 1.25;

/// The height of a line of usual print at 300 dpi, pixels (11 points) …
const USUAL_LINE: f64 = 44.0;

/// … and the least that is taken for print larger than that.
const LARGE_LINE: f64 = 60.0;

/// Pixels to the inch that both are meant at.
const USUAL_DPI: f64 = 300.0;

/// The page is looked at in so many strips side by side, in which lines that lie askew stay apart.
const STRIPS: usize = 8;

/// Fewer lines, counted in each strip, tell nothing.
const MIN_LINES: usize = 8;

/// Lower ones are rules and specks, in cells.
const MIN_LINE_CELLS: usize = 3;

/// The page with its dots per inch as claimed, brought to `wanted_dpi` if it has far more and its lines bear that out;
/// never below usual print. Otherwise as it is.
pub fn at_reading_size(page: Raster, claimed_dpi: f64, wanted_dpi: u32) -> Raster {
    let wanted = f64::from(wanted_dpi);
    if claimed_dpi < wanted * MAX_FINENESS {
        return page;
    }
    let share_of_usual = wanted / USUAL_DPI;
    match median_line_height(&page) {
        Some(height) if height > LARGE_LINE * share_of_usual => {
            let scale = (wanted / claimed_dpi).max(USUAL_LINE * share_of_usual / height).min(1.0);
            page.scaled(scale).with_dpi((claimed_dpi * scale).round() as u32)
        }
        _ => page,
    }
}

/// Height of lines in pixels; `None` when there are too few of them.
fn median_line_height(page: &Raster) -> Option<f64> {
    let cells = InkCells::of(page);
    let strip_columns = cells.columns().div_ceil(STRIPS).max(1);
    let mut profiles = vec![vec![0; cells.rows()]; STRIPS];
    for (column, row) in cells.positions() {
        profiles[column / strip_columns][row] += 1;
    }
    let runs = profiles.iter().flat_map(|profile| inked_runs(profile));
    let mut heights: Vec<usize> = runs.map(|run| run.len()).filter(|height| *height >= MIN_LINE_CELLS).collect();
    heights.sort_unstable();
    let median = *heights.get(heights.len() / 2).filter(|_| heights.len() >= MIN_LINES)?;
    Some(median as f64 * f64::from(CELL_PIXELS))
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    /// Lines of so many pixels in height, a gap of half as much between them.
    fn page(line: u32) -> Raster {
        let is_ink = |x: u32, y: u32| y % (line * 3 / 2) < line && x % line < line / 2;
        Raster::new(GrayImage::from_fn(2400, 1200, |x, y| Luma([if is_ink(x, y) { 0 } else { 255 }])), 300)
    }

    #[test]
    fn large_letters_at_a_high_resolution_are_brought_to_reading_size() {
        let read = at_reading_size(page(80), 550.0, 300);
        assert!((read.width() as i32 - 1309).abs() <= 15 && (295..=310).contains(&read.dpi()), "{read:?}");
        // Half the resolution in a second try.
        assert!(at_reading_size(page(80), 550.0, 150).width() < 700);
    }

    #[test]
    fn small_print_stays_whatever_the_file_claims() {
        assert_eq!(at_reading_size(page(40), 1200.0, 300).width(), 2400);
        // Between: no further than usual print.
        let width = at_reading_size(page(80), 2400.0, 300).width();
        assert!((1250..1400).contains(&width), "{width}");
    }

    #[test]
    fn pages_at_the_wanted_resolution_and_pages_without_lines_stay() {
        assert_eq!(at_reading_size(page(80), 300.0, 300).width(), 2400);
        let blank = Raster::new(GrayImage::from_pixel(2400, 1200, Luma([255])), 300);
        assert_eq!(at_reading_size(blank, 2400.0, 300).width(), 2400);
        assert_eq!(at_reading_size(Raster::new(GrayImage::new(1, 1), 300), 2400.0, 300).width(), 1);
    }
}
