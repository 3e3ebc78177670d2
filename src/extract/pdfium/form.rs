//! The values of form fields, also of those that inherit them.
//!
//! A field that stands on several pages has its value once, and the boxes on the pages only point to it (PDF 1.7,
//! 12.7.3.1). pdfium follows that where a form has been opened; nothing of the form's own is run or drawn.

use std::ffi::c_void;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::PdfDocument;
use super::beside_content::bounded_text;

/// `FPDF_GetFormType` (fpdf_formfill.h): no form.
const FORM_NONE: i32 = 0;

/// `FPDF_FORMFIELD_*` (fpdf_formfill.h) whose values are words: choices and text.
const FIELD_COMBO_BOX: i32 = 4;
const FIELD_LIST_BOX: i32 = 5;
const FIELD_TEXT: i32 = 6;

/// Field flag of a text field (PDF 1.7, table 228) whose value is a secret.
const FIELD_FLAG_PASSWORD: i32 = 1 << 13;

/// Version 1 of `FPDF_FORMFILLINFO`: a number and functions that may all be missing. It has fewer words than these.
const FORM_INFORMATION_WORDS: usize = 64;
const FORM_INFORMATION_VERSION: usize = 1;

/// An open form; closed before its document is.
pub(super) struct Form {
    bindings: &'static dyn PdfiumLibraryBindings,
    handle: *mut c_void,
    /// pdfium keeps a pointer to it.
    _information: Box<[usize; FORM_INFORMATION_WORDS]>,
}

impl Drop for Form {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is ours and closed once, and the document is still open.
            unsafe { self.bindings.FPDFDOC_ExitFormFillEnvironment(self.handle.cast()) };
        }
    }
}

impl Form {
    /// A document without a form gets an empty one.
    pub(super) fn open(document: &PdfDocument) -> Form {
        let mut information = Box::new([0; FORM_INFORMATION_WORDS]);
        // A little-endian machine, or a 64-bit one where the number is all that is read of the first word.
        information[0] = FORM_INFORMATION_VERSION;
        let bindings = document.bindings;
        // SAFETY: the document is open and outlives the form; the information lives as long as the form.
        let handle: *mut c_void = unsafe {
            if bindings.FPDF_GetFormType(document.handle.cast()) == FORM_NONE {
                std::ptr::null_mut()
            } else {
                bindings.FPDFDOC_InitFormFillEnvironment(document.handle.cast(), information.as_mut_ptr().cast()).cast()
            }
        };
        Form { bindings, handle, _information: information }
    }

    /// What a field says whose box is this open annotation; `None` for boxes to tick, secrets, empty fields, and boxes
    /// that the form knows nothing of.
    pub(super) fn value(&self, annotation: *mut c_void) -> Option<String> {
        if self.handle.is_null() {
            return None;
        }
        // SAFETY: the form and the annotation are open.
        let (kind, flags) = unsafe {
            (
                self.bindings.FPDFAnnot_GetFormFieldType(self.handle.cast(), annotation.cast()),
                self.bindings.FPDFAnnot_GetFormFieldFlags(self.handle.cast(), annotation.cast()),
            )
        };
        let has_words = matches!(kind, FIELD_COMBO_BOX | FIELD_LIST_BOX | FIELD_TEXT);
        if !has_words || (kind == FIELD_TEXT && flags & FIELD_FLAG_PASSWORD != 0) {
            return None;
        }
        bounded_text(|buffer, bytes| {
            // SAFETY: as above; the buffer is as long as said.
            unsafe {
                self.bindings.FPDFAnnot_GetFormFieldValue(
                    self.handle.cast(),
                    annotation.cast(),
                    buffer.cast(),
                    bytes as _,
                ) as usize
            }
        })
    }
}
