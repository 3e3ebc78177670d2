//! Where the ink of a page is, on a coarse grid: what the looks at lines, skew and orientation are made of.
//!
//! A cell is the mean of 4 × 4 pixels, so that paper grain and specks of noise disappear, and what counts as ink follows
//! the page's own contrast, so that faint pages have lines too.

use super::raster::Raster;

/// Side of a cell. A line of small print at 300 dpi is about eight cells high.
pub const CELL_PIXELS: u32 = 4;

/// Brightness levels (of 255) between paper and ink on a page of full contrast …
const CLEAR_INK: u32 = 48;

/// … and on the faintest: less is grain.
const FAINT_INK: u32 = 10;

/// On pages between, a cell that reaches this part of the page's contrast is ink.
const PART_OF_CONTRAST: u32 = 4;

/// The share of pixels that are passed over when the strongest ink is looked for: specks.
const SPECKS: f64 = 0.005;

/// Which cells of a page have ink in them.
#[derive(Clone, Debug)]
pub struct InkCells {
    columns: usize,
    /// Row by row.
    inked: Vec<bool>,
}

impl InkCells {
    pub fn of(raster: &Raster) -> InkCells {
        let width = raster.width() as usize;
        let side = CELL_PIXELS as usize;
        let columns = width / side;
        let paper = u32::from(raster.median_brightness());
        let cell_pixels = (side * side) as u32;
        let threshold = ink_threshold(raster, paper) * cell_pixels;
        let mut inked = Vec::with_capacity(columns * (raster.height() as usize / side));
        // First down, then across: four rows are added to one another pixel by pixel, many pixels at a time.
        let mut sums = vec![0_u16; columns * side];
        for band in raster.bytes().chunks_exact((width * side).max(1)) {
            sums.fill(0);
            for row in band.chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += u16::from(*value);
                }
            }
            let cells = sums.chunks_exact(side).map(|cell| u32::from(cell.iter().sum::<u16>()));
            inked.extend(cells.map(|sum| sum.abs_diff(paper * cell_pixels) >= threshold));
        }
        InkCells { columns, inked }
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn rows(&self) -> usize {
        self.inked.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Column and row of each cell with ink.
    pub fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        let columns = self.columns.max(1);
        self.inked
            .iter()
            .enumerate()
            .filter(|(_, is_inked)| **is_inked)
            .map(move |(index, _)| (index % columns, index / columns))
    }

    /// Inked cells in each row.
    pub fn row_profile(&self) -> Vec<u32> {
        let mut profile = vec![0; self.rows()];
        for (_, row) in self.positions() {
            profile[row] += 1;
        }
        profile
    }

    /// Inked cells in each column.
    pub fn column_profile(&self) -> Vec<u32> {
        let mut profile = vec![0; self.columns];
        for (column, _) in self.positions() {
            profile[column] += 1;
        }
        profile
    }
}

/// Levels from the paper at which a pixel counts as ink.
fn ink_threshold(raster: &Raster, paper: u32) -> u32 {
    let histogram = raster.histogram();
    let at = |brightness: Option<u32>| {
        brightness.and_then(|brightness| histogram.get(brightness as usize)).map_or(0, |count| u64::from(*count))
    };
    let specks = (raster.pixel_count() as f64 * SPECKS) as u64;
    let mut seen = 0;
    let contrast = (1..256_u32)
        .rev()
        .find(|distance| {
            seen += at(paper.checked_sub(*distance)) + at(paper.checked_add(*distance));
            seen > specks
        })
        .unwrap_or(0);
    (contrast / PART_OF_CONTRAST).clamp(FAINT_INK, CLEAR_INK)
}

/// Runs of a profile that are not gaps, as index ranges. A gap is where there is less than `GAP_INK_SHARE` of the mean.
pub fn inked_runs(profile: &[u32]) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = None;
    for (index, is_gap) in gaps(profile).chain([true]).enumerate() {
        match (start, is_gap) {
            (None, false) => start = Some(index),
            (Some(first), true) => {
                runs.push(first..index);
                start = None;
            }
            _ => {}
        }
    }
    runs
}

/// Rows and columns with less than this share of the mean ink lie between lines.
const GAP_INK_SHARE: f64 = 0.1;

/// For each place of a profile, whether it lies between lines.
fn gaps(profile: &[u32]) -> impl Iterator<Item = bool> + '_ {
    let mean = f64::from(profile.iter().sum::<u32>()) / profile.len().max(1) as f64;
    profile.iter().map(move |ink| f64::from(*ink) <= mean * GAP_INK_SHARE)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    fn page(brightness: impl Fn(u32, u32) -> u8) -> Raster {
        Raster::new(GrayImage::from_fn(400, 400, |x, y| Luma([brightness(x, y)])), 300)
    }

    fn rows_with_ink(raster: &Raster) -> Vec<std::ops::Range<usize>> {
        inked_runs(&InkCells::of(raster).row_profile())
    }

    #[test]
    fn lines_are_runs_of_the_row_profile_on_clear_and_on_faint_pages() {
        let is_line = |x: u32, y: u32| y % 100 >= 40 && y % 100 < 80 && x % 12 < 6;
        for ink in [0, 215] {
            let runs = rows_with_ink(&page(|x, y| if is_line(x, y) { ink } else { 250 }));
            assert_eq!(runs, [10..20, 35..45, 60..70, 85..95], "ink of {ink}");
        }
    }

    #[test]
    fn specks_are_no_ink() {
        let runs = rows_with_ink(&page(|x, y| if (x * 7 + y * 31) % 97 == 0 { 0 } else { 250 }));
        assert!(runs.is_empty(), "{runs:?}");
    }

    #[test]
    fn the_smallest_pages_have_no_cells() {
        let cells = InkCells::of(&Raster::new(GrayImage::new(1, 1), 300));
        assert_eq!((cells.columns(), cells.rows(), cells.positions().count()), (0, 0, 0));
        assert!(inked_runs(&cells.row_profile()).is_empty());
    }
}
