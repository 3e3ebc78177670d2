//! A page that is one picture and nothing else, as scanners make them: its pixels as they are in the file.
//!
//! To render such a page pdfium decodes the picture and lays it over white, which takes as long again; and where the
//! page is no whole number of dots wide, it stretches the picture by one of them and blurs it. To black-and-white pictures
//! that blur does good: tables are read without an error that have a rate of .12 sharp, and they are decoded fast. So they
//! are rendered. Of three grey pages that were stretched, one loses its errors (.0235), the others keep theirs.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::slice;

use image::{GrayImage, RgbImage};
use memchr::memmem;

use super::colour::{OBJECT_TEXT, SLOW_FILTER};
use super::rendering::{BITMAP_BGR, BITMAP_GRAY};
use super::{Matrix, OBJECT_IMAGE, PdfDocument, PdfPage};

/// `FPDFBitmap_BGRx` (fpdfview.h).
const BITMAP_BGRX: i32 = 3;

/// By how many dots, each way, the wanted size may differ from the picture's: what rounding does.
const MAX_DIFFERENCE_OF_SIZE: u32 = 1;

/// `/SMask`, `/Mask` and `/ImageMask` in a picture's dictionary (PDF 1.7, table 89). pdfium does not tell of them. The
/// dictionary of a stream is never compressed, so that the word stands in the file as it is.
const MASK: &[u8] = b"Mask";

/// Read at once in search of it: 1 MiB.
const CHUNK_BYTES: usize = 1 << 20;

/// The pixels of a page.
#[derive(Debug, PartialEq)]
pub enum Picture {
    Grey(GrayImage),
    Colour(RgbImage),
}

impl PdfPage<'_> {
    /// The picture that the page is, if it has the wanted size. `None` where the page has to be rendered to see what it
    /// shows: it has more than one visible object, the picture is not all of it, is turned, masked, transparent or
    /// black and white, or pdfium cannot decode it.
    pub fn own_picture(&self, width: u32, height: u32) -> Option<Picture> {
        let object = self.only_object()?;
        let picture = self.placed_image(object, Matrix::IDENTITY)?;
        let has_wanted_size = picture.pixel_width.abs_diff(width) <= MAX_DIFFERENCE_OF_SIZE
            && picture.pixel_height.abs_diff(height) <= MAX_DIFFERENCE_OF_SIZE;
        let is_all = has_wanted_size
            && self.fills_the_page(object, picture.pixel_width, picture.pixel_height)
            && !self.is_cut_or_transparent(object)
            && !self.has_filter(object, &[SLOW_FILTER])
            && self.picture_format(object).is_some_and(|(_, bits_per_pixel)| bits_per_pixel > 1);
        if is_all && !self.document.has_masks() { self.decoded(object) } else { None }
    }

    /// The page's only visible object, when it is a picture.
    fn only_object(&self) -> Option<*mut c_void> {
        // SAFETY: the page is loaded.
        let annotations = unsafe { self.document.bindings.FPDFPage_GetAnnotCount(self.handle.cast()) };
        if annotations > 0 || self.rotation() != 0 {
            return None;
        }
        let (mut picture, mut others) = (None, 0);
        self.walk(&mut |object, kind, _| match kind {
            OBJECT_IMAGE if picture.is_none() => picture = Some(object),
            OBJECT_TEXT if self.is_invisible_text(object) => {}
            _ => others += 1,
        });
        picture.filter(|_| others == 0)
    }

    /// Whether the picture stands upright and ends where the shown part of the page does, to the dot.
    fn fills_the_page(&self, object: *mut c_void, pixel_width: u32, pixel_height: u32) -> bool {
        let Some(visible) = self.visible_box() else { return false };
        let Matrix { a: width, b, c, d: height, e: left, f: bottom } = self.matrix(object);
        if b != 0.0 || c != 0.0 || width <= 0.0 || height <= 0.0 {
            return false;
        }
        let (dot_width, dot_height) = (width / pixel_width as f32, height / pixel_height as f32);
        (left - visible.left).abs() < dot_width
            && (left + width - visible.right).abs() < dot_width
            && (bottom - visible.bottom).abs() < dot_height
            && (bottom + height - visible.top).abs() < dot_height
    }

    /// Whether a clipping path cuts the object, or its graphics state blends it with what lies below.
    fn is_cut_or_transparent(&self, object: *mut c_void) -> bool {
        let bindings = self.document.bindings;
        // SAFETY: `object` belongs to the loaded page, and the path to the object.
        unsafe {
            let clip = bindings.FPDFPageObj_GetClipPath(object.cast());
            let is_cut = !clip.is_null() && bindings.FPDFClipPath_CountPaths(clip) > 0;
            is_cut || bindings.FPDFPageObj_HasTransparency(object.cast()) != 0
        }
    }

    fn decoded(&self, object: *mut c_void) -> Option<Picture> {
        let bindings = self.document.bindings;
        // SAFETY: `object` is a picture of the loaded page; the bitmap is ours to destroy.
        let bitmap = unsafe { bindings.FPDFImageObj_GetBitmap(object.cast()) };
        if bitmap.is_null() {
            return None;
        }
        // SAFETY: the bitmap lives until it is destroyed below; its buffer has height rows of stride bytes.
        let picture = unsafe {
            let width = u32::try_from(bindings.FPDFBitmap_GetWidth(bitmap)).unwrap_or(0);
            let height = u32::try_from(bindings.FPDFBitmap_GetHeight(bitmap)).unwrap_or(0);
            let stride = usize::try_from(bindings.FPDFBitmap_GetStride(bitmap)).unwrap_or(0);
            let buffer = bindings.FPDFBitmap_GetBuffer(bitmap).cast::<u8>().cast_const();
            let format = bindings.FPDFBitmap_GetFormat(bitmap);
            if buffer.is_null() || stride == 0 {
                None
            } else {
                picture_of(slice::from_raw_parts(buffer, stride * height as usize), stride, width, height, format)
            }
        };
        // SAFETY: ours, and destroyed once.
        unsafe { bindings.FPDFBitmap_Destroy(bitmap) };
        picture
    }
}

/// A bitmap's rows without what fills them up to the stride, in the order red, green, blue. `None` for other formats.
fn picture_of(bytes: &[u8], stride: usize, width: u32, height: u32, format: i32) -> Option<Picture> {
    let columns = width as usize;
    let rows = bytes.chunks_exact(stride);
    let mut pixels = Vec::new();
    match format {
        BITMAP_GRAY => {
            pixels.reserve_exact(columns * height as usize);
            rows.for_each(|row| pixels.extend_from_slice(&row[..columns]));
            GrayImage::from_raw(width, height, pixels).map(Picture::Grey)
        }
        BITMAP_BGR | BITMAP_BGRX => {
            pixels.reserve_exact(3 * columns * height as usize);
            let pixel_bytes = if format == BITMAP_BGR { 3 } else { 4 };
            for row in rows {
                pixels.extend(row.chunks_exact(pixel_bytes).take(columns).flat_map(|bgr| [bgr[2], bgr[1], bgr[0]]));
            }
            RgbImage::from_raw(width, height, pixels).map(Picture::Colour)
        }
        _ => None,
    }
}

impl PdfDocument {
    /// Whether any of the pictures may have a mask. Who asks first waits until the file is read through.
    fn has_masks(&self) -> bool {
        *self.source.has_masks.get_or_init(|| match &self.source.place {
            // A file that cannot be read may have everything.
            Place::File(path) => file_contains(path, MASK, CHUNK_BYTES).unwrap_or(true),
            Place::Memory(bytes) => memmem::find(bytes, MASK).is_some(),
        })
    }

    /// The same, if somebody has asked.
    pub fn known_masks(&self) -> Option<bool> {
        self.source.has_masks.get().copied()
    }

    /// What was known of the same file when it was open before.
    pub fn recall_masks(&self, known: bool) {
        self.source.has_masks.get_or_init(|| known);
    }
}

/// What a document is read from, and what is known of it.
pub(super) struct Source {
    place: Place,
    has_masks: OnceCell<bool>,
}

enum Place {
    File(PathBuf),
    Memory(Vec<u8>),
}

impl Source {
    pub(super) fn file(path: &Path) -> Source {
        Source { place: Place::File(path.to_owned()), has_masks: OnceCell::new() }
    }

    pub(super) fn bytes(bytes: Vec<u8>) -> Source {
        Source { place: Place::Memory(bytes), has_masks: OnceCell::new() }
    }
}

fn file_contains(path: &Path, wanted: &[u8], chunk_bytes: usize) -> io::Result<bool> {
    let finder = memmem::Finder::new(wanted);
    let mut file = File::open(path)?;
    let mut buffer = vec![0; chunk_bytes];
    // The end of the last chunk, where the word may have begun.
    let mut kept = 0;
    loop {
        let read = file.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if finder.find(&buffer[..filled]).is_some() {
            return Ok(true);
        }
        kept = filled.min(wanted.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_wherever_the_chunks_of_a_file_end() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("file");
        for place in 0..20 {
            std::fs::write(&path, format!("{}/SMask 4 0 R{}", ".".repeat(place), ".".repeat(20))).expect("write");
            assert!(file_contains(&path, MASK, 8).expect("read"), "{place}");
        }
        std::fs::write(&path, "/Mas k /mask /Ma\nsk".repeat(100)).expect("write");
        assert!(!file_contains(&path, MASK, 8).expect("read"));
        assert!(file_contains(&folder.path().join("none"), MASK, 8).is_err());
    }

    #[test]
    fn rows_lose_what_fills_them_up_and_colours_their_order() {
        let grey = picture_of(&[1, 2, 0, 0, 3, 4, 0, 0], 4, 2, 2, BITMAP_GRAY);
        assert_eq!(grey, GrayImage::from_raw(2, 2, vec![1, 2, 3, 4]).map(Picture::Grey));
        let colour = RgbImage::from_raw(1, 2, vec![3, 2, 1, 6, 5, 4]).map(Picture::Colour);
        assert_eq!(picture_of(&[1, 2, 3, 0, 4, 5, 6, 0], 4, 1, 2, BITMAP_BGR), colour);
        assert_eq!(picture_of(&[1, 2, 3, 0, 4, 5, 6, 0], 4, 1, 2, BITMAP_BGRX), colour);
        assert_eq!(picture_of(&[1, 2, 3, 0], 4, 1, 1, 4), None, "with alpha");
    }
}
