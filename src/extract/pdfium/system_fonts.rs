//! The system's fonts, for PDFs that name fonts without carrying them: each collection is read once a process.
//!
//! pdfium forgets a font with the last page that uses it, and before it looks whether it has a collection (.ttc; those
//! for Japanese have 20 MB and more) it reads all of it: two fonts of ten pages are twenty readings. So a page of our
//! own keeps each collection in use for good, and a reading of what is in use is answered with the beginning alone: by
//! that and by the size pdfium tells collections apart (cfx_fontmapper.cpp, `GetCachedTTCFace`), and it then takes
//! the bytes that it has. Which font is taken for which name stays pdfium's own choice.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use std::mem;
use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::Pdfium;

/// `ttcf`, the table that stands for all bytes of a collection (fpdf_sysfontinfo.h, `GetFontData`).
const COLLECTION: c_uint = 0x7474_6366;

/// Bytes that pdfium sums up to tell collections of one size apart.
const BEGINNING_BYTES: usize = 1024;

/// Bytes of collections kept in use: three for Japanese. What comes later is read as often as pdfium asks for it.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// A page with one character of a font that is not in the file. Its name does not matter: while this is loaded, the font
/// is the one to keep. Without a table of its objects, which pdfium makes itself.
const KEEPER: &[u8] = b"%PDF-1.7
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 9 9]>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /Contents 4 0 R /Resources <</Font <</F 5 0 R>>>>>> endobj
4 0 obj <</Length 27>> stream
BT /F 1 Tf 1 1 Td <0001> Tj ET
endstream endobj
5 0 obj <</Type /Font /Subtype /Type0 /BaseFont /Kept /Encoding /Identity-H /DescendantFonts [6 0 R]>> endobj
6 0 obj <</Type /Font /Subtype /CIDFontType0 /BaseFont /Kept
 /CIDSystemInfo <</Registry (Adobe) /Ordering (Japan1) /Supplement 6>>>> endobj
trailer <</Root 1 0 R>>
";

type MapFont =
    unsafe extern "C" fn(*mut Interface, c_int, c_int, c_int, c_int, *const c_char, *mut c_int) -> *mut c_void;
type FontData = unsafe extern "C" fn(*mut Interface, *mut c_void, c_uint, *mut u8, c_ulong) -> c_ulong;

/// `FPDF_SYSFONTINFO` (fpdf_sysfontinfo.h). The functions that are not looked at are pdfium's own and stay.
#[repr(C)]
struct Interface {
    version: c_int,
    release: *mut c_void,
    enum_fonts: *mut c_void,
    map_font: Option<MapFont>,
    get_font: *mut c_void,
    get_font_data: Option<FontData>,
}

/// A collection that a page of ours keeps in use.
struct Kept {
    /// pdfium's name for it, good for the life of the process.
    handle: usize,
    size: usize,
    beginning: [u8; BEGINNING_BYTES],
}

struct Fonts {
    kept: Vec<Kept>,
    /// Collections that were read for a document, and those of them that are to be kept next.
    seen: Vec<usize>,
    wanted: Vec<usize>,
    wanted_bytes: usize,
    /// While our own page is loaded: what every name of a font stands for.
    keeping: Option<usize>,
}

/// pdfium's own functions, which ours stand before.
static OWN: OnceLock<(MapFont, FontData)> = OnceLock::new();
static FONTS: Mutex<Fonts> =
    Mutex::new(Fonts { kept: Vec::new(), seen: Vec::new(), wanted: Vec::new(), wanted_bytes: 0, keeping: None });

/// Puts our functions before pdfium's own, once, after the library is initialised. A pdfium without fonts of the system
/// stays as it is.
pub(super) fn watch(bindings: &dyn PdfiumLibraryBindings) {
    // SAFETY: the interface lives as long as the process, and nothing else writes to it.
    unsafe {
        let interface: *mut Interface = bindings.FPDF_GetDefaultSystemFontInfo().cast();
        let Some(own) = interface.as_ref().and_then(|own| own.map_font.zip(own.get_font_data)) else { return };
        OWN.get_or_init(|| own);
        (*interface).map_font = Some(map_font);
        (*interface).get_font_data = Some(font_data);
        bindings.FPDF_SetSystemFontInfo(interface.cast());
    }
}

/// Keeps in use what the page that was loaded just now has read.
pub(super) fn keep_new(pdfium: Pdfium) {
    // Our own page comes by here too; nothing is wanted then.
    let wanted = mem::take(&mut fonts().wanted);
    for handle in wanted {
        fonts().keeping = Some(handle);
        let document = pdfium.open_bytes(KEEPER.to_vec()).ok();
        let page = document.as_ref().and_then(|document| document.page(0));
        let mut fonts = fonts();
        fonts.keeping = None;
        if page.is_none() {
            fonts.kept.retain(|kept| kept.handle != handle);
        }
        // For good: the page holds the font, the document the page.
        mem::forget(page);
        mem::forget(document);
    }
}

fn fonts() -> MutexGuard<'static, Fonts> {
    FONTS.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn map_font(
    this: *mut Interface,
    weight: c_int,
    italic: c_int,
    charset: c_int,
    pitch_family: c_int,
    face: *const c_char,
    exact: *mut c_int,
) -> *mut c_void {
    if let Some(handle) = fonts().keeping {
        return handle as *mut c_void;
    }
    let Some((own, _)) = OWN.get() else { return ptr::null_mut() };
    // SAFETY: passed on as it came.
    unsafe { own(this, weight, italic, charset, pitch_family, face, exact) }
}

unsafe extern "C" fn font_data(
    this: *mut Interface,
    font: *mut c_void,
    table: c_uint,
    buffer: *mut u8,
    buffer_bytes: c_ulong,
) -> c_ulong {
    let size = buffer_bytes as usize;
    let is_reading = table == COLLECTION && !buffer.is_null() && size > BEGINNING_BYTES;
    if is_reading && let Some(kept) = fonts().kept.iter().find(|kept| kept.is(font, size)) {
        // SAFETY: the buffer is longer than the beginning.
        unsafe { buffer.copy_from_nonoverlapping(kept.beginning.as_ptr(), BEGINNING_BYTES) };
        return buffer_bytes;
    }
    let Some((_, own)) = OWN.get() else { return 0 };
    // SAFETY: passed on as it came.
    let read = unsafe { own(this, font, table, buffer, buffer_bytes) };
    if is_reading && read == buffer_bytes {
        let mut beginning = [0; BEGINNING_BYTES];
        // SAFETY: the buffer is filled and longer than the beginning.
        unsafe { buffer.copy_to_nonoverlapping(beginning.as_mut_ptr(), BEGINNING_BYTES) };
        fonts().note(Kept { handle: font as usize, size, beginning });
    }
    read
}

impl Kept {
    fn is(&self, font: *mut c_void, size: usize) -> bool {
        self.handle == font as usize && self.size == size
    }
}

impl Fonts {
    /// A collection was read from disk: for our own page, or for a document.
    fn note(&mut self, read: Kept) {
        if self.keeping == Some(read.handle) {
            self.kept.push(read);
        } else if !self.seen.contains(&read.handle) && self.wanted_bytes + read.size <= MAX_KEPT_BYTES {
            self.seen.push(read.handle);
            self.wanted_bytes += read.size;
            self.wanted.push(read.handle);
        }
    }
}
