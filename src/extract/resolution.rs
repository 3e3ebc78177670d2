//! At which resolution a page is read. Pure, in pixels and dots per inch.
//!
//! The engine brings every line to 36 pixels in height before it reads it, so more than about 300 dpi only costs layout
//! time (200, 240 and 400 dpi were measured to be worse than 300). Scans near that are read pixel for pixel: resampling
//! loses more than it gains. Scans below it are enlarged, which helps a lot (100 dpi: CER .061 → .002 on handbook-b).

use std::ops::RangeInclusive;

use crate::ocr::raster::{MAX_OCR_PIXELS, MAX_SIDE_PIXELS};
use crate::pool::protocol::Effort;

/// Resolutions within this factor of the wanted one are left as they are.
const CLOSE_ENOUGH: f64 = 1.25;

/// Black-and-white scans are enlarged only from this factor on: their edges are all that the engine has, and resampling
/// frays them. At 200 dpi five documents had a CER of .009 as they were and of .037 enlarged (grey: .0086 and .0066); at
/// 150 dpi of .0175 and .0144.
const WORTH_ENLARGING_BILEVEL: f64 = 1.6;

/// Shrinking stops here: a long side with fewer pixels than A4 at about 200 dpi may hold small print, whatever
/// resolution the file claims.
const SHRINK_TO_LONG_SIDE: f64 = 2_400.0;

/// Enlarging stops at the long side of A4 at about 300 dpi, whatever resolution the file claims …
const ENLARGE_TO_LONG_SIDE: f64 = 3_600.0;

/// … and at this factor: beyond, nothing is gained but blur.
const MAX_ENLARGEMENT: f64 = 3.0;

/// Resolutions that scanners use: claims of these are believed.
const SCANNER_DPI: RangeInclusive<f64> = 150.0..=1_200.0;

/// Lower ones are believed up to about A3. Beyond, it is a default such as 72 dpi that some program wrote: photos and
/// scans without a resolution become posters that way.
const MAX_COARSE_INCHES: f64 = 17.0;

/// The long side of A4 in inches: what an image without a resolution of its own is taken for.
const A4_LONG_SIDE_INCHES: f64 = 11.69;

/// The lowest resolution of a second, cheaper try.
const MIN_REDUCED_DPI: u32 = 150;

/// The resolution to read at: `pdf_dpi` normally, about half of it when the page has killed a child.
pub fn wanted_dpi(pdf_dpi: u32, effort: Effort) -> u32 {
    match effort {
        Effort::Normal => pdf_dpi,
        Effort::Reduced => (pdf_dpi / 2).max(MIN_REDUCED_DPI).min(pdf_dpi),
    }
}

/// The pixels a page may have: the configured limit and the engine's own, a quarter of it when the page has killed a child.
pub fn pixel_limit(max_pixels: u64, effort: Effort) -> u64 {
    let limit = max_pixels.min(MAX_OCR_PIXELS);
    match effort {
        Effort::Normal => limit,
        Effort::Reduced => limit / 4,
    }
}

/// How scanned pixels are brought to the size at which they are read best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadingScale {
    /// Pixels read per pixel scanned.
    pub scale: f64,
    /// Dots per inch of paper after scaling. Where nobody knows, the wanted resolution: left to itself, the engine
    /// estimates it from the height of lines and then loses tables.
    pub dpi: f64,
}

/// What a scan's pixels can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Black or white.
    Bilevel,
    /// Shades of grey, or colours.
    Shades,
}

/// Decides for a scan whose file claims a resolution, or none.
pub fn reading_scale(long_side_pixels: u32, claimed_dpi: Option<f64>, wanted_dpi: u32, depth: Depth) -> ReadingScale {
    let long_side = f64::from(long_side_pixels.max(1));
    let Some(dpi) = claimed_dpi.filter(|dpi| is_credible(long_side, *dpi)) else {
        let scale = scan_scale(long_side, long_side / A4_LONG_SIDE_INCHES, wanted_dpi, depth);
        return ReadingScale { scale, dpi: f64::from(wanted_dpi) };
    };
    let scale = scan_scale(long_side, dpi, wanted_dpi, depth);
    ReadingScale { scale, dpi: dpi * scale }
}

fn is_credible(long_side_pixels: f64, dpi: f64) -> bool {
    let is_coarse = dpi > 0.0 && dpi < *SCANNER_DPI.start();
    SCANNER_DPI.contains(&dpi) || (is_coarse && long_side_pixels / dpi <= MAX_COARSE_INCHES)
}

/// By how much to scale scanned pixels before they are read.
fn scan_scale(long_side: f64, scanned_dpi: f64, wanted_dpi: u32, depth: Depth) -> f64 {
    let scale = f64::from(wanted_dpi) / scanned_dpi.max(1.0);
    let worth_enlarging = match depth {
        Depth::Bilevel => WORTH_ENLARGING_BILEVEL,
        Depth::Shades => CLOSE_ENOUGH,
    };
    if scale > 1.0 / CLOSE_ENOUGH && scale < worth_enlarging {
        return 1.0;
    }
    if scale < 1.0 {
        return scale.max(SHRINK_TO_LONG_SIDE * f64::from(wanted_dpi) / 300.0 / long_side).min(1.0);
    }
    scale.min(ENLARGE_TO_LONG_SIDE / long_side).clamp(1.0, MAX_ENLARGEMENT)
}

/// The largest scale ≤ `scale` at which `width` × `height` stays within `max_pixels` and Leptonica's longest side.
pub fn bounded_scale(width: f64, height: f64, scale: f64, max_pixels: u64) -> f64 {
    let by_area = (max_pixels as f64 / (width * height).max(f64::MIN_POSITIVE)).sqrt();
    let by_side = f64::from(MAX_SIDE_PIXELS) / width.max(height).max(f64::MIN_POSITIVE);
    scale.min(by_area).min(by_side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(long_side_pixels: u32, claimed_dpi: f64, wanted_dpi: u32) -> f64 {
        reading_scale(long_side_pixels, Some(claimed_dpi), wanted_dpi, Depth::Shades).scale
    }

    #[test]
    fn scans_near_300_dpi_are_read_pixel_for_pixel() {
        for dpi in [250.0, 300.0, 340.0] {
            assert_eq!(reading_scale(3300, Some(dpi), 300, Depth::Shades), ReadingScale { scale: 1.0, dpi });
        }
    }

    #[test]
    fn coarse_scans_are_enlarged_and_fine_ones_shrunk() {
        assert_eq!(reading_scale(1754, Some(150.0), 300, Depth::Shades), ReadingScale { scale: 2.0, dpi: 300.0 });
        assert_eq!(reading_scale(7016, Some(600.0), 300, Depth::Shades), ReadingScale { scale: 0.5, dpi: 300.0 });
        assert_eq!(scale(1169, 100.0, 300), 3.0);
        assert_eq!(scale(13_244, 400.0, 300), 0.75);
    }

    #[test]
    fn black_and_white_scans_are_enlarged_only_when_they_are_coarse() {
        let scale = |dpi| reading_scale(2339, Some(dpi), 300, Depth::Bilevel).scale;
        assert_eq!((scale(200.0), scale(240.0)), (1.0, 1.0));
        assert!(scale(150.0) > 1.5);
        assert_eq!(reading_scale(7016, Some(600.0), 300, Depth::Bilevel).scale, 0.5);
        assert_eq!(reading_scale(2339, Some(200.0), 150, Depth::Bilevel).scale, 0.75);
    }

    #[test]
    fn claimed_resolutions_are_not_believed_blindly() {
        // 4000 pixels "at 2400 dpi" are no stamp, and a photo of 4000 pixels "at 72 dpi" is no poster.
        let unknown = reading_scale(4000, None, 300, Depth::Shades);
        assert_eq!(unknown, ReadingScale { scale: 1.0, dpi: 300.0 });
        assert_eq!(reading_scale(4000, Some(2400.0), 300, Depth::Shades), unknown);
        assert_eq!(reading_scale(4000, Some(72.0), 300, Depth::Shades), unknown);
    }

    #[test]
    fn scaling_has_its_limits() {
        // Small print on a card at 600 dpi is not shrunk away, and enlarging ends.
        assert_eq!(scale(2100, 600.0, 300), 1.0);
        assert_eq!(reading_scale(400, None, 300, Depth::Shades), ReadingScale { scale: MAX_ENLARGEMENT, dpi: 300.0 });
    }

    #[test]
    fn huge_pages_are_bounded_by_area_and_side() {
        let scale = bounded_scale(9000.0, 9000.0, 1.0, 40_000_000);
        assert!((9000.0 * scale * 9000.0 * scale - 40_000_000.0).abs() < 1.0);
        let scale = bounded_scale(100_000.0, 10.0, 1.0, 40_000_000);
        assert!(100_000.0 * scale <= f64::from(MAX_SIDE_PIXELS) + 0.001);
        assert_eq!(bounded_scale(2550.0, 3300.0, 1.0, 40_000_000), 1.0);
    }

    #[test]
    fn a_second_try_takes_half_the_resolution() {
        assert_eq!(wanted_dpi(300, Effort::Reduced), 150);
        assert_eq!(wanted_dpi(400, Effort::Reduced), 200);
        assert_eq!(wanted_dpi(120, Effort::Reduced), 120);
        assert_eq!(scale(3300, 300.0, 150), 0.5);
        assert_eq!(pixel_limit(u64::MAX, Effort::Reduced), MAX_OCR_PIXELS / 4);
    }
}
