//! Files inside a file that have pages of their own: PDFs, and pictures that may be scanned pages. They are read page by
//! page after the sections. A document that is one pasted scan is common; so are logos, icons and lines, on which OCR
//! would waste its time.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};

use super::StructuredFile;

/// Files in one file.
const MAX_EMBEDDED: usize = 50;
/// Bytes of all of them: they stay in memory while their file is open.
const MAX_EMBEDDED_BYTES: usize = 64 * 1024 * 1024;
/// A page of A4 at 72 dots per inch has 500,000 pixels; below, Japanese text cannot be read.
const MIN_PIXELS: u64 = 400_000;
/// Shorter sides belong to banners and rules.
const MIN_SIDE_PIXELS: u32 = 300;

/// A file with pages.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// Empty where the outer file does not name it.
    pub name: String,
    pub kind: EmbeddedKind,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddedKind {
    Pdf,
    Picture(ImageFormat),
}

/// Keeps a picture if it may be a page; says whether there is room for more.
pub fn keep_if_page(file: &mut StructuredFile, encoded: Vec<u8>) -> bool {
    match format_of(&encoded).filter(|format| may_be_page(&encoded, *format)) {
        Some(format) => {
            keep(file, Embedded { name: String::new(), kind: EmbeddedKind::Picture(format), bytes: encoded })
        }
        None => true,
    }
}

/// Keeps a file with pages once. `false` when there is no room for it: text is left out, which is said.
pub fn keep(file: &mut StructuredFile, embedded: Embedded) -> bool {
    if file.embedded.iter().any(|kept| kept.bytes == embedded.bytes) {
        return true;
    }
    let bytes: usize = file.embedded.iter().map(|kept| kept.bytes.len()).sum();
    let has_room = file.embedded.len() < MAX_EMBEDDED && bytes + embedded.bytes.len() <= MAX_EMBEDDED_BYTES;
    if has_room {
        file.embedded.push(embedded);
    } else {
        file.mark_truncated();
    }
    has_room
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

/// Whether a picture is large enough to be a scanned page.
pub fn may_be_page(encoded: &[u8], format: ImageFormat) -> bool {
    let Some((width, height)) = dimensions(encoded, format) else { return false };
    width.min(height) >= MIN_SIDE_PIXELS && u64::from(width) * u64::from(height) >= MIN_PIXELS
}

fn dimensions(encoded: &[u8], format: ImageFormat) -> Option<(u32, u32)> {
    if format == ImageFormat::Tiff {
        return tiff::decoder::Decoder::new(Cursor::new(encoded)).ok()?.dimensions().ok();
    }
    ImageReader::with_format(Cursor::new(encoded), format).into_dimensions().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::Section;

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
        let kept: Vec<&[u8]> = file.embedded.iter().map(|embedded| embedded.bytes.as_slice()).collect();
        assert_eq!(kept, [png(595, 842)]);
    }

    #[test]
    fn there_is_an_end_to_pictures_and_it_is_said() {
        let mut file = StructuredFile::of_section(Section::default());
        for number in 0..MAX_EMBEDDED as u32 {
            assert!(keep_if_page(&mut file, png(800 + number, 600)));
        }
        assert!(!file.sections[0].truncated);
        assert!(!keep_if_page(&mut file, png(700, 700)));
        assert_eq!((file.embedded.len(), file.sections[0].truncated), (MAX_EMBEDDED, true));
    }
}
