//! Thumbnails: page 1 of PDFs and images, as JPEG fitted in the configured box (contract §3).

use image::codecs::jpeg::JpegEncoder;
use image::{RgbImage, imageops};

use crate::document::{Failure, Reason};

/// Fits a page in `max_width` × `max_height`, never enlarging it, and encodes it with `quality` 1–100.
///
/// # Errors
/// When the JPEG cannot be made, which only memory can prevent.
pub fn encode(page: &RgbImage, max_width: u32, max_height: u32, quality: u8) -> Result<Vec<u8>, Failure> {
    let (width, height) = fitted(page.width(), page.height(), max_width, max_height);
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, quality.clamp(1, 100));
    let encoded = if (width, height) == page.dimensions() {
        encoder.encode_image(page)
    } else {
        encoder.encode_image(&imageops::thumbnail(page, width, height))
    };
    encoded.map_err(|error| Failure::new(Reason::Corrupt, format!("The thumbnail could not be encoded: {error}.")))?;
    Ok(jpeg)
}

fn fitted(width: u32, height: u32, max_width: u32, max_height: u32) -> (u32, u32) {
    let scale = (f64::from(max_width) / f64::from(width)).min(f64::from(max_height) / f64::from(height)).min(1.0);
    let pixels = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    (pixels(width), pixels(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_fitted_and_never_enlarged() {
        assert_eq!(fitted(2550, 3300, 200, 200), (155, 200));
        assert_eq!(fitted(4000, 50, 200, 200), (200, 3));
        assert_eq!(fitted(30_000, 1, 200, 200), (200, 1));
        assert_eq!(fitted(120, 80, 200, 200), (120, 80));
    }

    #[test]
    fn the_result_is_a_jpeg_of_that_size() {
        let jpeg = encode(&RgbImage::new(400, 800), 200, 200, 85).expect("encode");
        let decoded = image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg).expect("decode");
        assert_eq!((decoded.width(), decoded.height()), (100, 200));
    }
}
