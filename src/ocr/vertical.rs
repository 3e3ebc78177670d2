//! Vertical Japanese: whether a page of it is a single block, and the size at which its model reads best.
//!
//! The resolution of the page does not tell it: pages are brought to 300 dpi as if they were of A4, and the letters of a
//! title page are large at any resolution. Measured with `jpn_vert` on a page with characters of 45 pixels, scaled to
//! 32, 40, 48, 64 and 90: CER .0085, .0085, .0171, .0256, .0171; on one with characters of 100, scaled to 32 and 48 and
//! as it was: 0, .0036, .0071.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::ink_cells::{CELL_PIXELS, InkCells, inked_runs};
use super::raster::Raster;

/// Widths of characters, in pixels, that are read as they are.
const READABLE_WIDTHS: RangeInclusive<f64> = 20.0..=44.0;

/// Others are brought to this one …
const WANTED_WIDTH: f64 = 36.0;

/// … but enlarging ends here, as for all pages.
const MAX_ENLARGEMENT: f64 = 3.0;

/// A gap across the page that is higher than so many characters are wide separates a title or another block.
const BLOCK_GAP: f64 = 1.2;

/// The page scaled so that its characters are of a readable size.
pub fn with_readable_characters(raster: &Raster) -> Cow<'_, Raster> {
    match character_width(raster) {
        Some(width) if !READABLE_WIDTHS.contains(&width) => {
            Cow::Owned(raster.scaled((WANTED_WIDTH / width).min(MAX_ENLARGEMENT)))
        }
        _ => Cow::Borrowed(raster),
    }
}

/// Whether the page's vertical lines form one block, with nothing above, below or between: no gap goes across the page.
pub fn is_single_block(raster: &Raster) -> bool {
    let Some(width) = character_width(raster) else {
        return false;
    };
    let runs = inked_runs(&InkCells::of(raster).row_profile());
    runs.windows(2).all(|pair| f64::from(CELL_PIXELS) * (pair[1].start - pair[0].end) as f64 <= width * BLOCK_GAP)
}

/// The median width of the vertical lines, pixels; `None` on a page without lines.
fn character_width(raster: &Raster) -> Option<f64> {
    let lines = inked_runs(&InkCells::of(raster).column_profile());
    let mut widths: Vec<usize> = lines.iter().map(ExactSizeIterator::len).collect();
    widths.sort_unstable();
    let median = *widths.get(widths.len() / 2)?;
    Some(f64::from(CELL_PIXELS) * median as f64)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    /// Vertical lines of marks that are `size` pixels wide.
    fn page(size: u32) -> Raster {
        let pixels = GrayImage::from_fn(size * 16, size * 16, |x, y| {
            Luma([if x % (size * 2) < size && y % size < size * 3 / 4 { 10 } else { 250 }])
        });
        Raster::new(pixels, 300)
    }

    #[test]
    fn large_characters_are_shrunk_and_small_ones_enlarged() {
        for size in [12, 80, 160] {
            let page = page(size);
            let read = with_readable_characters(&page);
            let width = character_width(&read).expect("lines");
            assert!(READABLE_WIDTHS.contains(&width), "{size} pixels became {width}");
            assert!(matches!(read, Cow::Owned(_)));
        }
    }

    #[test]
    fn characters_of_a_readable_size_and_empty_pages_stay_as_they_are() {
        assert!(matches!(with_readable_characters(&page(32)), Cow::Borrowed(_)));
        let empty = Raster::new(GrayImage::from_pixel(100, 100, Luma([255])), 300);
        assert!(matches!(with_readable_characters(&empty), Cow::Borrowed(_)));
    }

    /// The page of [`page`] with an empty band of so many pixels, a quarter of the way down.
    fn page_with_gap(gap: u32) -> Raster {
        let lines = page(32);
        let (width, height) = (lines.width(), lines.height());
        let is_gap = |y: u32| (height / 4..height / 4 + gap).contains(&y);
        let ink_at = |x: u32, y: u32| lines.bytes()[(y * width + x) as usize];
        Raster::new(GrayImage::from_fn(width, height, |x, y| Luma([if is_gap(y) { 250 } else { ink_at(x, y) }])), 300)
    }

    #[test]
    fn a_gap_across_the_page_separates_blocks() {
        assert!(is_single_block(&page(32)));
        assert!(is_single_block(&page_with_gap(16)));
        assert!(!is_single_block(&page_with_gap(64)));
        assert!(!is_single_block(&Raster::new(GrayImage::from_pixel(100, 100, Luma([255])), 300)));
    }
}
