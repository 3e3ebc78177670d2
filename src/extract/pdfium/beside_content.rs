//! What a PDF holds beside the content of its pages: notes and form values, attachments' names, bookmarks.
//!
//! All of it is bounded, because hostile files hold millions of each and bookmarks that go round in circles.

use std::ffi::c_void;
use std::ptr;

use super::form::Form;
use super::{PdfDocument, PdfPage};

/// `FPDF_ANNOT_*` subtypes (fpdf_annot.h) without text of their own: a link's text is the page's, a popup's its note's.
const SUBTYPE_LINK: i32 = 2;
const SUBTYPE_POPUP: i32 = 16;

/// The box of a form field.
const SUBTYPE_WIDGET: i32 = 20;

/// `FPDF_ANNOT_FLAG_*` (fpdf_annot.h): nobody sees such an annotation.
const FLAGS_UNSEEN: i32 = 0x02 | 0x20;

/// Annotations looked at in one page.
const MAX_ANNOTATIONS: i32 = 2_000;

/// UTF-16 units of one note, value, name or title; longer ones are left out.
const MAX_TEXT_UNITS: usize = 64 * 1024;

/// UTF-16 units of all notes and values of a page.
const MAX_PAGE_UNITS: usize = 256 * 1024;

/// Attachments and bookmarks of one document; the index takes far fewer.
const MAX_ATTACHMENTS: i32 = 1_000;
const MAX_BOOKMARKS: usize = 1_000;

/// Bookmarks inside of bookmarks.
const MAX_BOOKMARK_DEPTH: u32 = 16;

impl PdfPage<'_> {
    /// Notes, comments and the values of form fields that a reader can see, in the order of the file.
    pub(super) fn read_annotation_texts(&self) -> Vec<String> {
        let bindings = self.document.bindings;
        // SAFETY: the page is loaded.
        let count = unsafe { bindings.FPDFPage_GetAnnotCount(self.handle.cast()) };
        let mut texts: Vec<String> = Vec::new();
        let mut units = 0;
        for index in 0..count.min(MAX_ANNOTATIONS) {
            // SAFETY: the page is loaded; the annotation is closed below, before the page can be.
            let annotation: *mut c_void = unsafe { bindings.FPDFPage_GetAnnot(self.handle.cast(), index) }.cast();
            if annotation.is_null() {
                continue;
            }
            for text in self.texts_of_annotation(annotation) {
                units += text.encode_utf16().count();
                if units <= MAX_PAGE_UNITS && !texts.contains(&text) {
                    texts.push(text);
                }
            }
            // SAFETY: opened above, closed once.
            unsafe { bindings.FPDFPage_CloseAnnot(annotation.cast()) };
        }
        texts
    }

    /// Whether there is an annotation that shows something of its own: links, of which tables of contents are full, and
    /// the windows of notes do not.
    pub(super) fn has_annotations_that_show(&self) -> bool {
        let bindings = self.document.bindings;
        // SAFETY: the page is loaded.
        let count = unsafe { bindings.FPDFPage_GetAnnotCount(self.handle.cast()) };
        let shows = |index| {
            // SAFETY: the page is loaded; the annotation is closed at once.
            let subtype = unsafe {
                let annotation = bindings.FPDFPage_GetAnnot(self.handle.cast(), index);
                let subtype = bindings.FPDFAnnot_GetSubtype(annotation);
                bindings.FPDFPage_CloseAnnot(annotation);
                subtype
            };
            !matches!(subtype, SUBTYPE_LINK | SUBTYPE_POPUP)
        };
        count > MAX_ANNOTATIONS || (0..count).any(shows)
    }

    fn texts_of_annotation(&self, annotation: *mut c_void) -> Vec<String> {
        let bindings = self.document.bindings;
        // SAFETY: the annotation is open.
        let (subtype, flags) = unsafe {
            (bindings.FPDFAnnot_GetSubtype(annotation.cast()), bindings.FPDFAnnot_GetFlags(annotation.cast()))
        };
        if matches!(subtype, SUBTYPE_LINK | SUBTYPE_POPUP) || flags & FLAGS_UNSEEN != 0 {
            return Vec::new();
        }
        let text_of = |key: &str| {
            bounded_text(|buffer, bytes| {
                // SAFETY: the annotation is open; the buffer is as long as said.
                unsafe { bindings.FPDFAnnot_GetStringValue(annotation.cast(), key, buffer.cast(), bytes as _) as usize }
            })
        };
        let value = if subtype == SUBTYPE_WIDGET {
            self.document.form.get_or_init(|| Form::open(self.document)).value(annotation)
        } else {
            None
        };
        text_of("Contents").into_iter().chain(value).collect()
    }
}

impl PdfDocument {
    /// The names of attached files.
    pub fn attachment_names(&self) -> Vec<String> {
        let bindings = self.bindings;
        // SAFETY: the document is open.
        let count = unsafe { bindings.FPDFDoc_GetAttachmentCount(self.handle.cast()) };
        (0..count.min(MAX_ATTACHMENTS))
            .filter_map(|index| {
                // SAFETY: as above; an attachment belongs to the document.
                let attachment: *mut c_void =
                    unsafe { bindings.FPDFDoc_GetAttachment(self.handle.cast(), index) }.cast();
                if attachment.is_null() {
                    return None;
                }
                bounded_text(|buffer, bytes| {
                    // SAFETY: the buffer is as long as said.
                    unsafe { bindings.FPDFAttachment_GetName(attachment.cast(), buffer.cast(), bytes as _) as usize }
                })
            })
            .collect()
    }

    /// The titles of bookmarks, in the order in which they are shown.
    pub fn bookmark_titles(&self) -> Vec<String> {
        let mut titles = Vec::new();
        self.collect_bookmarks(ptr::null_mut(), MAX_BOOKMARK_DEPTH, &mut MAX_BOOKMARKS.clone(), &mut titles);
        titles
    }

    /// Adds the titles below `parent` (null: the document's own). Those that go round in circles use up what is `left`.
    fn collect_bookmarks(&self, parent: *mut c_void, depth: u32, left: &mut usize, titles: &mut Vec<String>) {
        let bindings = self.bindings;
        // SAFETY: the document is open; bookmarks belong to it.
        let mut bookmark: *mut c_void =
            unsafe { bindings.FPDFBookmark_GetFirstChild(self.handle.cast(), parent.cast()) }.cast();
        while !bookmark.is_null() && *left > 0 {
            *left -= 1;
            titles.extend(bounded_text(|buffer, bytes| {
                // SAFETY: as above; the buffer is as long as said.
                unsafe { bindings.FPDFBookmark_GetTitle(bookmark.cast(), buffer.cast(), bytes as _) as usize }
            }));
            if depth > 0 {
                self.collect_bookmarks(bookmark, depth - 1, left, titles);
            }
            // SAFETY: as above.
            bookmark = unsafe { bindings.FPDFBookmark_GetNextSibling(self.handle.cast(), bookmark.cast()) }.cast();
        }
    }
}

/// A text that pdfium writes as UTF-16 with a final zero into a buffer of so many bytes, after it has told the length
/// for a null buffer of length 0. `None` when it is empty or longer than [`MAX_TEXT_UNITS`].
pub(super) fn bounded_text(read: impl Fn(*mut u16, usize) -> usize) -> Option<String> {
    let bytes = read(ptr::null_mut(), 0);
    let length = bytes.div_ceil(2);
    if length <= 1 || length > MAX_TEXT_UNITS {
        return None;
    }
    let mut units = vec![0_u16; length];
    read(units.as_mut_ptr(), length * 2);
    let text = String::from_utf16_lossy(&units);
    let text = text.trim_matches(|character: char| character == '\0' || character.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}
