//! Forms in XFA: XML beside the PDF's pages, which may be no more than "please wait".
//!
//! The pdfium that is shipped cannot lay such forms out, but hands out their XML. The bindings declare these functions
//! only together with others that such a pdfium lacks, so they are looked up here.

use std::ffi::{c_int, c_ulong, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;

use super::PdfDocument;
use super::symbols::Symbols;
use crate::extract::structured::xml;

/// `FPDF_GetFormType` values (fpdf_formfill.h): a form that is XFA alone, and one that is both.
const FORM_XFA: c_int = 2;
const FORM_BOTH: c_int = 3;

/// Packets looked at; a form has about ten.
const MAX_PACKETS: c_int = 64;

/// Bytes of one packet's XML; pictures in a template can make it long.
const MAX_PACKET_BYTES: c_ulong = 8 * 1024 * 1024;

const NAME_BYTES: usize = 64;

/// The packet that says what a form looks like, and the one with what it was filled in with.
const TEMPLATE: &[u8] = b"template";
const DATASETS: &[u8] = b"datasets";

/// Parts of a template that are for machines.
const SCRIPTS: [(&str, &str); 2] = [("<script", "</script>"), ("<image", "</image>")];

type PacketCount = unsafe extern "C" fn(*mut c_void) -> c_int;
type PacketName = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, c_ulong) -> c_ulong;
type PacketContent = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, c_ulong, *mut c_ulong) -> c_int;

/// pdfium's functions for XFA packets (fpdfview.h).
#[derive(Clone, Copy)]
pub(super) struct XfaFunctions {
    count: PacketCount,
    name: PacketName,
    content: PacketContent,
}

static FUNCTIONS: OnceLock<Option<XfaFunctions>> = OnceLock::new();

/// Looks the functions up in the library, which is loaded already. Without them forms in XFA have no text.
pub(super) fn find_functions(pdfium: &Symbols) {
    FUNCTIONS.get_or_init(|| {
        let (count, name) = (pdfium.find(c"FPDF_GetXFAPacketCount")?, pdfium.find(c"FPDF_GetXFAPacketName")?);
        let content = pdfium.find(c"FPDF_GetXFAPacketContent")?;
        // SAFETY: these are the functions' types in fpdfview.h.
        unsafe {
            Some(XfaFunctions {
                count: mem::transmute::<*mut c_void, PacketCount>(count),
                name: mem::transmute::<*mut c_void, PacketName>(name),
                content: mem::transmute::<*mut c_void, PacketContent>(content),
            })
        }
    });
}

impl PdfDocument {
    /// The words of a form in XFA: what it asks, and what it was filled in with; none for every other document.
    pub fn xfa_texts(&self) -> Vec<String> {
        // SAFETY: the document is open.
        let form_type = unsafe { self.bindings.FPDF_GetFormType(self.handle.cast()) };
        let Some(Some(functions)) = FUNCTIONS.get().filter(|_| matches!(form_type, FORM_XFA | FORM_BOTH)) else {
            return Vec::new();
        };
        // SAFETY: the document is open.
        let count = unsafe { (functions.count)(self.handle) };
        (0..count.min(MAX_PACKETS)).filter_map(|index| self.packet_text(*functions, index)).collect()
    }

    fn packet_text(&self, functions: XfaFunctions, index: c_int) -> Option<String> {
        let mut name = [0_u8; NAME_BYTES];
        // SAFETY: the document is open; the buffer is as long as said, and untouched where the name is longer.
        unsafe { (functions.name)(self.handle, index, name.as_mut_ptr().cast(), NAME_BYTES as c_ulong) };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name != TEMPLATE && name != DATASETS {
            return None;
        }
        let mut length: c_ulong = 0;
        // SAFETY: a null buffer of length 0 asks for the length.
        let known = unsafe { (functions.content)(self.handle, index, ptr::null_mut(), 0, &mut length) };
        if known == 0 || length == 0 || length > MAX_PACKET_BYTES {
            return None;
        }
        let mut bytes = vec![0_u8; length as usize];
        // SAFETY: the buffer is as long as said.
        let read = unsafe { (functions.content)(self.handle, index, bytes.as_mut_ptr().cast(), length, &mut length) };
        if read == 0 {
            return None;
        }
        let source = without_scripts(&String::from_utf8_lossy(&bytes));
        let document = xml::read_bytes(source.as_bytes());
        document.sections.into_iter().map(|section| section.text).find(|text| !text.trim().is_empty())
    }
}

fn without_scripts(source: &str) -> String {
    let mut kept = source.to_owned();
    for (begin, end) in SCRIPTS {
        let mut rest = kept.as_str();
        let mut without = String::with_capacity(rest.len());
        while let Some((before, script)) = rest.split_once(begin) {
            without.push_str(before);
            // An element without an end of its own has no content either.
            rest = match (script.find("/>"), script.find('>'), script.find(end)) {
                (Some(closed), Some(opened), _) if closed < opened => &script[closed + 2..],
                (_, _, Some(ended)) => &script[ended + end.len()..],
                _ => "",
            };
        }
        without.push_str(rest);
        kept = without;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_pictures_of_a_template_are_no_text() {
        let template = "<a><script contentType=\"x\">if (1 < 2) {}</script>橋<image/>梁<image>AAAA</image></a>";
        assert_eq!(without_scripts(template), "<a>橋梁</a>");
        assert_eq!(without_scripts("<a>橋<script>endless"), "<a>橋");
    }
}
