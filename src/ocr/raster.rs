//! A page as the OCR engine takes it: 8-bit grey, 0 = black, rows without padding.

use std::cell::OnceCell;

use image::GrayImage;
use image::imageops::{self, FilterType};

/// Leptonica refuses images with a longer side.
pub const MAX_SIDE_PIXELS: u32 = 32_767;

/// The largest page given to the engine, width × height. A0 at 150 dpi fits; larger pages are rendered with fewer
/// dots per inch, because layout analysis needs several bytes a pixel and the child has about 1 GiB.
pub const MAX_OCR_PIXELS: u64 = 40_000_000;

/// Whether there is nothing but black and white.
pub fn is_bilevel(pixels: &GrayImage) -> bool {
    pixels.iter().all(|value| matches!(*value, 0 | u8::MAX))
}

/// Pixels of each brightness.
pub type Histogram = [u32; 256];

/// Histograms that are counted side by side: on paper, neighbours are mostly of one brightness, and counting up the same
/// number has to wait for the last time.
const HISTOGRAMS_AT_ONCE: usize = 4;

/// A grey page and its resolution.
#[derive(Clone, Debug)]
pub struct Raster {
    pixels: GrayImage,
    /// Counted when it is first asked for: several looks at a page need it.
    histogram: OnceCell<Box<Histogram>>,
    /// Dots per inch, as far as known: the engine's hint for the sizes of text and gaps.
    dpi: u32,
}

impl Raster {
    pub fn new(pixels: GrayImage, dpi: u32) -> Self {
        Self { pixels, histogram: OnceCell::new(), dpi }
    }

    pub fn width(&self) -> u32 {
        self.pixels.width()
    }

    pub fn height(&self) -> u32 {
        self.pixels.height()
    }

    pub fn dpi(&self) -> u32 {
        self.dpi
    }

    /// Rows from the top, one byte a pixel, no padding.
    pub fn bytes(&self) -> &[u8] {
        self.pixels.as_raw()
    }

    pub fn pixel_count(&self) -> u64 {
        u64::from(self.width()) * u64::from(self.height())
    }

    /// The same page with `factor` times the dots per inch.
    pub fn scaled(&self, factor: f64) -> Raster {
        let scale = |length: u32| ((f64::from(length) * factor).round() as u32).clamp(1, MAX_SIDE_PIXELS);
        // Enlarging needs a filter that keeps edges; shrinking one that averages all that falls on a pixel.
        let filter = if factor > 1.0 { FilterType::CatmullRom } else { FilterType::Triangle };
        Raster::new(
            imageops::resize(&self.pixels, scale(self.width()), scale(self.height()), filter),
            (f64::from(self.dpi) * factor).round() as u32,
        )
    }

    /// The same pixels, said to be so many to the inch.
    pub fn with_dpi(self, dpi: u32) -> Raster {
        Raster { dpi, ..self }
    }

    /// The same page after a change to its pixels that leaves their size.
    pub fn with_pixels(&self, change: impl FnOnce(&GrayImage) -> GrayImage) -> Raster {
        Raster::new(change(&self.pixels), self.dpi)
    }

    /// The part of the page from row `top` on, `height` rows high at most and at least one.
    pub fn rows(&self, top: u32, height: u32) -> Raster {
        let top = top.min(self.height().saturating_sub(1));
        let height = height.clamp(1, (self.height() - top).max(1));
        self.with_pixels(|pixels| imageops::crop_imm(pixels, 0, top, pixels.width(), height).to_image())
    }

    /// A small page with marks on it that make the engine load and touch all of its models.
    pub fn warm_up_page() -> Raster {
        // Two rows of bars, about as wide and high as letters.
        let is_ink = |x: u32, y: u32| (20..380).contains(&x) && y % 50 > 20 && y % 50 < 45 && x % 20 < 6;
        let pixels = GrayImage::from_fn(400, 120, |x, y| image::Luma([if is_ink(x, y) { 0 } else { u8::MAX }]));
        Raster::new(pixels, 300)
    }

    /// Black becomes white.
    pub fn inverted(&self) -> Raster {
        let mut pixels = self.pixels.clone();
        imageops::invert(&mut pixels);
        Raster::new(pixels, self.dpi)
    }

    /// Whether there is nothing but black and white.
    pub fn is_bilevel(&self) -> bool {
        is_bilevel(&self.pixels)
    }

    /// How many pixels are of each brightness.
    pub fn histogram(&self) -> &Histogram {
        self.histogram.get_or_init(|| Box::new(histogram_of(self.bytes())))
    }

    /// The brightness that half of the pixels reach, 0–255: paper, on a normal page.
    pub fn median_brightness(&self) -> u8 {
        let half = self.pixel_count() / 2;
        let mut seen = 0;
        for (brightness, count) in self.histogram().iter().enumerate() {
            seen += u64::from(*count);
            if seen > half {
                return brightness as u8;
            }
        }
        255
    }
}

fn histogram_of(bytes: &[u8]) -> Histogram {
    let mut parts = [[0_u32; 256]; HISTOGRAMS_AT_ONCE];
    let (groups, rest) = bytes.as_chunks::<HISTOGRAMS_AT_ONCE>();
    for group in groups {
        for (part, value) in parts.iter_mut().zip(group) {
            part[usize::from(*value)] += 1;
        }
    }
    for value in rest {
        parts[0][usize::from(*value)] += 1;
    }
    std::array::from_fn(|value| parts.iter().map(|part| part[value]).sum())
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    #[test]
    fn scaling_keeps_the_page_and_its_resolution_in_step() {
        let half = Raster::new(GrayImage::from_pixel(300, 100, Luma([7])), 600).scaled(0.5);
        assert_eq!((half.width(), half.height(), half.dpi()), (150, 50, 300));
        assert!(half.bytes().iter().all(|value| *value == 7));
    }

    #[test]
    fn the_median_is_the_papers_brightness() {
        let page = GrayImage::from_fn(10, 10, |x, _| Luma([if x < 3 { 0 } else { 240 }]));
        assert_eq!(Raster::new(page, 300).median_brightness(), 240);
    }
}
