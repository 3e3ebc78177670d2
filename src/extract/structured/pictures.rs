//! Which embedded pictures may be scanned pages, so that OCR looks at them. A document that is one pasted scan is
//! common; so are logos, icons and lines, on which it would waste its time.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};

use super::StructuredFile;

/// Pictures of one file.
const MAX_PICTURES: usize = 50;
/// Bytes of all of them: they stay in memory while their file is open.
const MAX_PICTURE_BYTES: usize = 64 * 1024 * 1024;
/// A page of A4 at 72 dots per inch has 500,000 pixels; below, Japanese text cannot be read.
const MIN_PIXELS: u64 = 400_000;
/// Shorter sides belong to banners and rules.
const MIN_SIDE_PIXELS: u32 = 300;

/// Keeps a picture if it may be a page and there is room for it; says whether there is room for more.
pub fn keep_if_page(file: &mut StructuredFile, encoded: Vec<u8>) -> bool {
    let bytes: usize = file.pictures.iter().map(Vec::len).sum();
    if file.pictures.len() >= MAX_PICTURES {
        return false;
    }
    if bytes + encoded.len() <= MAX_PICTURE_BYTES && may_be_page(&encoded) && !file.pictures.contains(&encoded) {
        file.pictures.push(encoded);
    }
    true
}

/// Whether a part's name is that of a picture that can be opened.
pub fn is_picture_name(name: &str) -> bool {
    let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    matches!(extension.as_str(), "jpg" | "jpeg" | "png" | "tif" | "tiff" | "bmp" | "gif" | "webp" | "jfif")
}

/// The format by content; `None` for what cannot be opened, such as drawings (EMF, SVG).
pub fn format_of(encoded: &[u8]) -> Option<ImageFormat> {
    image::guess_format(encoded).ok().filter(|format| {
        matches!(
            format,
            ImageFormat::Jpeg
                | ImageFormat::Png
                | ImageFormat::Gif
                | ImageFormat::WebP
                | ImageFormat::Bmp
                | ImageFormat::Tiff
        )
    })
}

fn may_be_page(encoded: &[u8]) -> bool {
    let Some((width, height)) = dimensions(encoded) else { return false };
    width.min(height) >= MIN_SIDE_PIXELS && u64::from(width) * u64::from(height) >= MIN_PIXELS
}

fn dimensions(encoded: &[u8]) -> Option<(u32, u32)> {
    let format = format_of(encoded)?;
    if format == ImageFormat::Tiff {
        return tiff::decoder::Decoder::new(Cursor::new(encoded)).ok()?.dimensions().ok();
    }
    ImageReader::with_format(Cursor::new(encoded), format).into_dimensions().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image::GrayImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).expect("encode");
        bytes.into_inner()
    }

    #[test]
    fn pages_are_kept_and_logos_are_not() {
        let mut file = StructuredFile::default();
        for picture in [png(64, 64), png(2_000, 250), png(595, 842), png(595, 842), b"<svg/>".to_vec()] {
            assert!(keep_if_page(&mut file, picture));
        }
        assert_eq!(file.pictures, [png(595, 842)]);
    }

    #[test]
    fn there_is_an_end_to_pictures() {
        let mut file = StructuredFile::default();
        for number in 0..MAX_PICTURES as u32 {
            assert!(keep_if_page(&mut file, png(800 + number, 600)));
        }
        assert!(!keep_if_page(&mut file, png(700, 700)));
        assert_eq!(file.pictures.len(), MAX_PICTURES);
    }
}
