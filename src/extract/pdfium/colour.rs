//! Whether a page can show anything but grey.

use std::ffi::c_void;
use std::mem;

use super::{OBJECT_IMAGE, PdfPage};

/// `FPDFPageObj_GetType`: text.
pub(super) const OBJECT_TEXT: i32 = 1;

/// `FPDFTextObj_GetTextRenderMode`: neither filled nor stroked, as the text layers of scans are (fpdf_edit.h).
const TEXT_INVISIBLE: i64 = 3;

/// Colour spaces of pictures (fpdf_edit.h): grey by definition, and by a profile, which has a grey one where a pixel has
/// eight bits.
const COLOUR_SPACE_GREY: i32 = 1;
const COLOUR_SPACE_CALIBRATED_GREY: i32 = 4;
const COLOUR_SPACE_PROFILE: i32 = 7;

/// The filter of pictures that are decoded whole before they tell what they are.
pub(super) const SLOW_FILTER: &[u8] = b"JPXDecode";

impl PdfPage<'_> {
    /// Whether the page is made of grey pictures alone, with or without invisible text: a scan in grey. Everything else
    /// may have colour. Nothing is decoded.
    pub fn is_surely_grey(&self) -> bool {
        // SAFETY: the page is loaded.
        if unsafe { self.document.bindings.FPDFPage_GetAnnotCount(self.handle.cast()) } > 0 {
            return false;
        }
        let (mut pictures, mut is_grey) = (0, true);
        self.walk(&mut |object, kind, _| match kind {
            OBJECT_IMAGE => {
                pictures += 1;
                is_grey = is_grey && self.is_grey_picture(object);
            }
            OBJECT_TEXT => is_grey = is_grey && self.is_invisible_text(object),
            super::OBJECT_FORM => {}
            _ => is_grey = false,
        });
        is_grey && pictures > 0
    }

    fn is_grey_picture(&self, object: *mut c_void) -> bool {
        if self.has_filter(object, &[SLOW_FILTER]) {
            return false;
        }
        let Some((colour_space, bits_per_pixel)) = self.picture_format(object) else { return false };
        match colour_space {
            COLOUR_SPACE_GREY | COLOUR_SPACE_CALIBRATED_GREY => true,
            COLOUR_SPACE_PROFILE => bits_per_pixel == 8,
            _ => false,
        }
    }

    /// Colour space (`FPDF_COLORSPACE_*`) and bits of a pixel. Decodes pictures of [`SLOW_FILTER`], and no other.
    pub(super) fn picture_format(&self, object: *mut c_void) -> Option<(i32, u32)> {
        // SAFETY: the metadata are integers and floats, for which zero is a value; `object` is a picture of the loaded page.
        let (known, metadata) = unsafe {
            let mut metadata = mem::zeroed();
            let bindings = self.document.bindings;
            (bindings.FPDFImageObj_GetImageMetadata(object.cast(), self.handle.cast(), &mut metadata), metadata)
        };
        (known != 0).then_some((metadata.colorspace, metadata.bits_per_pixel))
    }

    pub(super) fn is_invisible_text(&self, object: *mut c_void) -> bool {
        // SAFETY: `object` is a text of the loaded page.
        let mode = unsafe { self.document.bindings.FPDFTextObj_GetTextRenderMode(object.cast()) };
        i64::from(mode) == TEXT_INVISIBLE
    }
}
