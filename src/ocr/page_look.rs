//! What can be seen of a page without reading it: whether anything is on it, which way its lines run, how high they are.

use super::ink_cells::{CELL_PIXELS as INK_CELL_PIXELS, InkCells, inked_runs};
use super::raster::Raster;

/// Pages with a shorter side than this hold no character.
const MIN_SIDE_PIXELS: u32 = 10;

/// Side of the squares whose mean brightness the blank check compares. At 300 dpi two strokes of small print fill a
/// good part of one, while paper grain and JPEG noise average out.
const CELL_PIXELS: u32 = 16;

/// Small images are divided into at least so many cells a side.
const MIN_CELLS: u32 = 8;

/// Cells are compared with the one after the next: the neighbour itself may hold the other half of a line of text.
const CELL_DISTANCE: usize = 2;

/// Brightness levels (of 255) between two nearby cells that count as ink. Deliberately small, so that faint pencil
/// and carbon copies are read: noise with a deviation of 10 levels a pixel reaches it on one cell of a million.
/// Scanned blank pages stay below 2; a page of print exceeds 100.
const INK_DIFFERENCE: f32 = 3.0;

/// How much larger the share of gaps must be one way than the other before the direction of lines counts as known.
const CLEARLY_MORE_GAPS: f64 = 0.08;

/// Lines of so many pixels are read as they are: the engine brings each to 36. Higher ones may be several grown together.
const READABLE_LINE_PIXELS: std::ops::RangeInclusive<u32> = 36..=100;

/// Fewer lines may be a picture's shapes.
const MIN_LINES: usize = 3;

/// Which way the lines of a page run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineDirection {
    Horizontal,
    /// Vertical writing, or horizontal writing on a page that lies on its side.
    Vertical,
    Unclear,
}

/// Whether nothing is on the page, dark on light or light on dark. When in doubt: no, which only costs time.
///
/// Nearby cells are compared instead of cells with the paper, so that shadows and uneven light are not taken for ink.
pub fn is_blank(raster: &Raster) -> bool {
    let shorter_side = raster.width().min(raster.height());
    if shorter_side < MIN_SIDE_PIXELS {
        return true;
    }
    let cells = CellMeans::of(raster, CELL_PIXELS.min(shorter_side / MIN_CELLS).max(1));
    !cells.any_nearby_differ_by(INK_DIFFERENCE)
}

/// Whether the page has lines high enough to be read without enlarging it, whatever its resolution is.
pub fn has_readable_lines(raster: &Raster) -> bool {
    let mut heights: Vec<usize> =
        inked_runs(&InkCells::of(raster).row_profile()).iter().map(ExactSizeIterator::len).collect();
    heights.sort_unstable();
    let median = heights.get(heights.len() / 2).map_or(0, |cells| *cells as u32 * INK_CELL_PIXELS);
    heights.len() >= MIN_LINES && READABLE_LINE_PIXELS.contains(&median)
}

/// Mean brightness of square cells.
struct CellMeans {
    columns: usize,
    means: Vec<f32>,
}

impl CellMeans {
    fn of(raster: &Raster, side: u32) -> CellMeans {
        let side = side as usize;
        let columns = raster.width() as usize / side;
        let mut means = Vec::with_capacity(columns * (raster.height() as usize / side));
        let area = (side * side) as f32;
        for band in raster.bytes().chunks_exact(raster.width() as usize * side) {
            let mut sums = vec![0_u32; columns];
            for row in band.chunks_exact(raster.width() as usize) {
                for (sum, cell) in sums.iter_mut().zip(row.chunks_exact(side)) {
                    *sum += cell.iter().map(|value| u32::from(*value)).sum::<u32>();
                }
            }
            means.extend(sums.iter().map(|sum| *sum as f32 / area));
        }
        CellMeans { columns, means }
    }

    fn any_nearby_differ_by(&self, difference: f32) -> bool {
        let differ = |one: &[f32], other: &[f32]| one.iter().zip(other).any(|(a, b)| (a - b).abs() > difference);
        let rows: Vec<&[f32]> = self.means.chunks_exact(self.columns).collect();
        let beside = rows.iter().any(|row| row.len() > CELL_DISTANCE && differ(&row[CELL_DISTANCE..], row));
        beside || rows.iter().skip(CELL_DISTANCE).zip(&rows).any(|(below, above)| differ(below, above))
    }
}

/// The direction of lines: the space between lines is wider than the space between the characters of a line, so the way
/// in which more of the page's extent is free of ink is the way from line to line.
pub fn line_direction(raster: &Raster) -> LineDirection {
    let cells = InkCells::of(raster);
    line_direction_of(&cells.row_profile(), &cells.column_profile())
}

/// The direction of lines on a page whose ink is spread over its rows and columns like this.
pub fn line_direction_of(rows: &[u32], columns: &[u32]) -> LineDirection {
    let (between_rows, between_columns) = (share_of_gaps(rows), share_of_gaps(columns));
    if between_columns > between_rows + CLEARLY_MORE_GAPS {
        LineDirection::Vertical
    } else if between_rows > between_columns + CLEARLY_MORE_GAPS {
        LineDirection::Horizontal
    } else {
        LineDirection::Unclear
    }
}

/// The share of a profile, between its first and last ink, that is free of ink.
fn share_of_gaps(profile: &[u32]) -> f64 {
    let runs = inked_runs(profile);
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return 0.0;
    };
    let inked: usize = runs.iter().map(ExactSizeIterator::len).sum();
    1.0 - inked as f64 / (last.end - first.start) as f64
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    fn page(width: u32, height: u32, brightness: impl Fn(u32, u32) -> u8) -> Raster {
        Raster::new(GrayImage::from_fn(width, height, |x, y| Luma([brightness(x, y)])), 300)
    }

    /// Reproducible noise of ± `amplitude`.
    fn noise(x: u32, y: u32, amplitude: i32) -> i32 {
        let hash = (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77)).wrapping_mul(0xC2B2_AE3D) >> 16;
        (hash % (2 * amplitude as u32 + 1)) as i32 - amplitude
    }

    #[test]
    fn white_black_and_noisy_paper_is_blank() {
        assert!(is_blank(&page(1, 1, |_, _| 0)));
        assert!(is_blank(&page(800, 1000, |_, _| 255)));
        assert!(is_blank(&page(800, 1000, |_, _| 0)));
        assert!(is_blank(&page(800, 1000, |x, y| (230 + noise(x, y, 12)) as u8)));
    }

    #[test]
    fn a_shadow_is_not_ink() {
        assert!(is_blank(&page(800, 1000, |x, _| (180 + x / 16) as u8)));
    }

    #[test]
    fn one_character_is_ink_dark_on_light_and_light_on_dark() {
        let character = |x: u32, y: u32| (400..440).contains(&x) && (500..505).contains(&y);
        assert!(!is_blank(&page(800, 1000, |x, y| if character(x, y) { 0 } else { 255 })));
        assert!(!is_blank(&page(800, 1000, |x, y| if character(x, y) { 255 } else { 0 })));
    }

    #[test]
    fn faint_writing_is_ink() {
        let stroke = |x: u32, y: u32| (100..700).contains(&x) && y % 60 < 30 && x % 12 < 4;
        assert!(!is_blank(&page(800, 1000, |x, y| if stroke(x, y) { 225 } else { 245 })));
    }

    #[test]
    fn lines_that_are_high_enough_are_told_from_small_print_and_from_pictures() {
        let lines = |height: u32| {
            page(800, 1000, |x, y| if y % (2 * height) < height && (x / 5 + y / 7).is_multiple_of(3) { 0 } else { 255 })
        };
        assert!(has_readable_lines(&lines(44)));
        assert!(!has_readable_lines(&lines(20)));
        assert!(!has_readable_lines(&lines(500)));
        assert!(!has_readable_lines(&page(800, 1000, |_, _| 255)));
    }

    #[test]
    fn lines_are_told_from_columns() {
        let line = |x: u32, y: u32| y % 60 < 36 && (x / 5 + y / 7).is_multiple_of(3);
        assert_eq!(
            line_direction(&page(800, 1000, |x, y| if line(x, y) { 0 } else { 255 })),
            LineDirection::Horizontal
        );
        assert_eq!(line_direction(&page(800, 1000, |x, y| if line(y, x) { 0 } else { 255 })), LineDirection::Vertical);
        assert_eq!(line_direction(&page(800, 1000, |_, _| 255)), LineDirection::Unclear);
    }
}
