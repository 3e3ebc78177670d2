//! The characters of a page's text layer, in the order in which they are read.

use std::ffi::c_void;
use std::mem;

use super::PdfPage;
use crate::extract::{layer_lines, vertical_layer};

/// `FPDF_TEXTRENDERMODE_INVISIBLE` (fpdf_edit.h).
const TEXT_INVISIBLE: i64 = 3;

/// The part of a page that is shown, in points of the page's own space.
#[derive(Clone, Copy, Debug)]
pub(super) struct VisibleBox {
    pub(super) left: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
    pub(super) top: f32,
}

impl VisibleBox {
    /// Whether any of a character's box is to be seen. Spaces and line breaks that pdfium adds have none.
    fn shows(self, left: f32, right: f32, bottom: f32, top: f32) -> bool {
        let has_box = right > left && top > bottom;
        !has_box || (right > self.left && left < self.right && top > self.bottom && bottom < self.top)
    }
}

/// Where a character is, in points, as the page is shown, from a corner of its own space; without extent where pdfium
/// has added it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Area {
    pub left: f32,
    pub right: f32,
    pub bottom: f32,
    pub top: f32,
}

impl Area {
    /// Turned clockwise around the origin by so many quarters.
    fn turned(self, quarters: i32) -> Area {
        let Area { left, right, bottom, top } = self;
        match quarters {
            1 => Area { left: bottom, right: top, bottom: -right, top: -left },
            2 => Area { left: -right, right: -left, bottom: -top, top: -bottom },
            3 => Area { left: -top, right: -bottom, bottom: left, top: right },
            _ => self,
        }
    }
}

/// A character of the text layer, in the order of the content stream with pdfium's line breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerCharacter {
    pub character: char,
    /// The font has no mapping to Unicode for it: `character` is a mere code.
    pub unmapped: bool,
    /// Drawn in no colour at all, as programs lay what they have read over a scan (PDF 1.7, table 106, mode 3).
    pub invisible: bool,
    /// Points from the visible page's bottom to the character's lower edge; on a page that lies on its side, from the
    /// edge that is its bottom or top.
    pub bottom: f32,
    pub area: Area,
}

impl PdfPage<'_> {
    /// The part of the page that is shown, where the file tells one.
    pub(super) fn visible_box(&self) -> Option<VisibleBox> {
        // SAFETY: the page is loaded; `FS_RECTF` is four floats, for which zero is a value.
        let (known, area) = unsafe {
            let mut area = mem::zeroed();
            (self.document.bindings.FPDF_GetPageBoundingBox(self.handle.cast(), &mut area), area)
        };
        let is_area = known != 0 && area.right > area.left && area.top > area.bottom;
        is_area.then_some(VisibleBox { left: area.left, right: area.right, bottom: area.bottom, top: area.top })
    }

    /// By how many quarters the page is turned clockwise when it is shown, 0–3.
    pub(super) fn rotation(&self) -> i32 {
        // SAFETY: the page is loaded.
        unsafe { self.document.bindings.FPDFPage_GetRotation(self.handle.cast()) }
    }

    /// The text layer within the visible page, at most `limit` characters of it.
    pub fn text_layer(&self, limit: usize) -> Vec<LayerCharacter> {
        let bindings = self.document.bindings;
        // SAFETY: the page is loaded; the text page is closed below, before the page can be.
        let text_page = unsafe { bindings.FPDFText_LoadPage(self.handle.cast()) };
        if text_page.is_null() {
            return Vec::new();
        }
        // SAFETY: the text page is open.
        let count = unsafe { bindings.FPDFText_CountChars(text_page) }.max(0);
        let count = i32::try_from(limit).map_or(count, |limit| count.min(limit));
        let mut characters = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let mut high_surrogate = None;
        let visible = self.visible_box();
        let (left_edge, bottom_edge) = visible.map_or((0.0, 0.0), |visible| (visible.left, visible.bottom));
        let rotation = self.rotation();
        let is_on_its_side = rotation % 2 == 1;
        for index in 0..count {
            let (mut left, mut right, mut bottom, mut top) = (0.0, 0.0, 0.0, 0.0);
            // SAFETY: the text page is open and the index within the count.
            let (value, unmapped) = unsafe {
                bindings.FPDFText_GetCharBox(text_page, index, &mut left, &mut right, &mut bottom, &mut top);
                (bindings.FPDFText_GetUnicode(text_page, index), bindings.FPDFText_HasUnicodeMapError(text_page, index))
            };
            if (0xD800..0xDC00).contains(&value) {
                high_surrogate = Some(value);
                continue;
            }
            let code_point = match high_surrogate.take() {
                Some(high) if (0xDC00..0xE000).contains(&value) => 0x10000 + ((high - 0xD800) << 10) + (value - 0xDC00),
                _ => value,
            };
            let (left, right, bottom, top) = (left as f32, right as f32, bottom as f32, top as f32);
            if visible.is_some_and(|visible| !visible.shows(left, right, bottom, top)) {
                continue;
            }
            characters.push(LayerCharacter {
                character: char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER),
                unmapped: unmapped == 1,
                invisible: self.is_invisible(text_page.cast(), index),
                bottom: if is_on_its_side { left - left_edge } else { bottom - bottom_edge },
                area: Area { left, right, bottom, top }.turned(rotation),
            });
        }
        // SAFETY: opened above, closed once.
        unsafe { bindings.FPDFText_ClosePage(text_page) };
        let columns = if rotation == 0 { vertical_layer::in_reading_order(&characters) } else { None };
        columns.unwrap_or_else(|| layer_lines::arranged(&characters))
    }

    /// Whether a character of the open text page is drawn without colour. Those that pdfium adds have no object.
    fn is_invisible(&self, text_page: *mut c_void, index: i32) -> bool {
        let bindings = self.document.bindings;
        // SAFETY: the text page is open, the index within its count; the object belongs to the loaded page.
        unsafe {
            let object = bindings.FPDFText_GetTextObject(text_page.cast(), index);
            !object.is_null() && i64::from(bindings.FPDFTextObj_GetTextRenderMode(object)) == TEXT_INVISIBLE
        }
    }
}
