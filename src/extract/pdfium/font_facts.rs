//! What FreeType says of a font, asked once.
//!
//! For a font of many characters pdfium asks FreeType for the box of a character whenever it meets one: when it loads a
//! page, and again for the page's text. FreeType knows the box only after it has drawn the outline, and that is most of
//! what a page of Japanese costs. For a font that a PDF carries pdfium asks for its glyphs by name, which FreeType finds by
//! comparing one after the other, anew with each page that has a copy of the font, as merged PDFs do.
//!
//! So our functions stand before FreeType's for the whole program, as those of [`crate::allocator`] do, and
//! remember answers; `packaging/build.rs` has the linker show them to pdfium. A pdfium that hides its FreeType never
//! comes by here, and nothing changes but the time. Nothing else in this program uses FreeType.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_short, c_uint, c_ushort, c_void};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::ptr;
use std::slice;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::symbols::Symbols;

/// `FT_LOAD_NO_SCALE` and `FT_LOAD_IGNORE_GLOBAL_ADVANCE_WIDTH` (freetype.h): measures in units of the font. Whoever asks
/// so looks at the measures alone: the outline has no size.
const UNSCALED: i32 = 0x001 | 0x200;

/// `FT_FACE_FLAG_MULTIPLE_MASTERS`: a font whose outlines change.
const FLAG_MULTIPLE_MASTERS: c_long = 1 << 8;

/// `FT_Err_Unimplemented_Feature` (fterrdef.h).
const ERROR_UNIMPLEMENTED: c_int = 0x07;

/// Glyphs of one font; no format has more.
const MAX_GLYPHS: usize = 1 << 16;

/// Names remembered of one font; a simple font asks for 256 at most.
const MAX_NAMES: usize = 1024;

/// A font's facts are found again by its bytes when it has no more than these: longer ones, which are Japanese, are asked
/// for few of their glyphs.
const MAX_BYTES_FOUND_AGAIN: usize = 256 * 1024;

/// What is remembered of fonts that no document uses: so many fonts, so many glyphs of them (64 bytes each).
const MAX_FONTS: usize = 64;
const MAX_REMEMBERED_GLYPHS: usize = 32 * 1024;

/// `FT_Glyph_Metrics`: width, height, and bearings and advances both ways, in units of the font.
type Metrics = [c_long; 8];

/// `FT_Generic`: a place in each font for a program's own data.
#[repr(C)]
struct Generic {
    data: *mut c_void,
    finalizer: Option<Finalizer>,
}

type Finalizer = unsafe extern "C" fn(*mut Face);

/// The beginning of `FT_FaceRec`, which has been the same since FreeType 2.0.
#[repr(C)]
pub struct Face {
    face_count: c_long,
    face_index: c_long,
    flags: c_long,
    style_flags: c_long,
    glyph_count: c_long,
    family_name: *mut c_char,
    style_name: *mut c_char,
    fixed_size_count: c_int,
    available_sizes: *mut c_void,
    charmap_count: c_int,
    charmaps: *mut c_void,
    generic: Generic,
    bounding_box: [c_long; 4],
    units_per_em: c_ushort,
    ascender: c_short,
    descender: c_short,
    height: c_short,
    max_advance_width: c_short,
    max_advance_height: c_short,
    underline_position: c_short,
    underline_thickness: c_short,
    glyph: *mut GlyphSlot,
}

/// The beginning of `FT_GlyphSlotRec`.
#[repr(C)]
struct GlyphSlot {
    library: *mut c_void,
    face: *mut c_void,
    next: *mut c_void,
    glyph_index: c_uint,
    generic: Generic,
    metrics: Metrics,
}

type NewMemoryFace = unsafe extern "C" fn(*mut c_void, *const u8, c_long, c_long, *mut *mut Face) -> c_int;
type LoadGlyph = unsafe extern "C" fn(*mut Face, c_uint, i32) -> c_int;
type NameIndex = unsafe extern "C" fn(*mut Face, *const c_char) -> c_uint;

/// FreeType's own functions.
struct FreeType {
    new_memory_face: NewMemoryFace,
    load_glyph: LoadGlyph,
    name_index: NameIndex,
}

static OWN: OnceLock<FreeType> = OnceLock::new();

/// What is known of one font.
#[derive(Default)]
struct Facts {
    /// By glyph: the place in `metrics` plus 1, or 0.
    places: Vec<u32>,
    metrics: Vec<Metrics>,
    glyphs_by_name: HashMap<Box<CStr>, c_uint>,
}

/// The facts of a font, which copies of it share.
struct Shared(UnsafeCell<Facts>);

// SAFETY: pdfium is entered by one thread at a time, and nobody else comes here.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A font by its bytes: their hash, with a key that no file can know, their count, and the number of the font in them.
type Key = (u64, usize, c_long);

static REMEMBERED: Mutex<Vec<(Key, Arc<Shared>)>> = Mutex::new(Vec::new());
static HASHER: OnceLock<RandomState> = OnceLock::new();

impl Facts {
    fn metrics(&self, glyph: c_uint) -> Option<Metrics> {
        let place = *self.places.get(glyph as usize)?;
        self.metrics.get((place as usize).checked_sub(1)?).copied()
    }

    fn add_metrics(&mut self, glyph: c_uint, metrics: Metrics) {
        if let Some(place) = self.places.get_mut(glyph as usize) {
            self.metrics.push(metrics);
            *place = self.metrics.len() as u32;
        }
    }
}

/// Finds what stands behind our functions. Before the library is used.
pub(super) fn find_own(pdfium: &Symbols) {
    let functions =
        [c"FT_New_Memory_Face", c"FT_Load_Glyph", c"FT_Get_Name_Index"].map(|function| pdfium.find(function));
    if let [Some(new_memory_face), Some(load_glyph), Some(name_index)] = functions {
        // SAFETY: these are the functions' types in freetype.h.
        OWN.get_or_init(|| unsafe {
            FreeType {
                new_memory_face: mem::transmute::<*mut c_void, NewMemoryFace>(new_memory_face),
                load_glyph: mem::transmute::<*mut c_void, LoadGlyph>(load_glyph),
                name_index: mem::transmute::<*mut c_void, NameIndex>(name_index),
            }
        });
    }
}

/// Opens a font, and puts what is known of it beside it.
///
/// # Safety
/// As FreeType's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FT_New_Memory_Face(
    library: *mut c_void,
    bytes: *const u8,
    size: c_long,
    index: c_long,
    face: *mut *mut Face,
) -> c_int {
    let Some(own) = OWN.get() else { return ERROR_UNIMPLEMENTED };
    // SAFETY: passed on as it came; a face that was opened is there, and its bytes are as many as said.
    unsafe {
        let error = (own.new_memory_face)(library, bytes, size, index, face);
        if error == 0
            && let Some(face) = face.as_ref().and_then(|face| face.as_mut())
            && face.flags & FLAG_MULTIPLE_MASTERS == 0
            && face.generic.data.is_null()
            && face.generic.finalizer.is_none()
        {
            let bytes = slice::from_raw_parts(bytes, usize::try_from(size).unwrap_or(0));
            let facts = facts_of(bytes, index, face.glyph_count);
            face.generic = Generic { data: Arc::into_raw(facts).cast_mut().cast(), finalizer: Some(let_go) };
        }
        error
    }
}

/// The facts of a font that was seen before, or a place for those to come.
fn facts_of(bytes: &[u8], index: c_long, glyph_count: c_long) -> Arc<Shared> {
    let glyphs = usize::try_from(glyph_count).unwrap_or(0).min(MAX_GLYPHS);
    let none_yet = || Arc::new(Shared(UnsafeCell::new(Facts { places: vec![0; glyphs], ..Facts::default() })));
    if bytes.len() > MAX_BYTES_FOUND_AGAIN {
        return none_yet();
    }
    let key: Key = (HASHER.get_or_init(RandomState::new).hash_one(bytes), bytes.len(), index);
    let mut remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, facts)) = remembered.iter().find(|(known, _)| *known == key) {
        return facts.clone();
    }
    // SAFETY: one thread at a time.
    let glyphs_of = |(_, facts): &(Key, Arc<Shared>)| unsafe { (*facts.0.get()).metrics.len() };
    if remembered.len() >= MAX_FONTS || remembered.iter().map(glyphs_of).sum::<usize>() > MAX_REMEMBERED_GLYPHS {
        // Simpler than to find out which ones will be wanted again; fonts in use keep theirs.
        remembered.clear();
    }
    let facts = none_yet();
    remembered.push((key, facts.clone()));
    facts
}

/// FreeType closes a font.
unsafe extern "C" fn let_go(face: *mut Face) {
    // SAFETY: the data are those that were put there with this function.
    unsafe {
        let data = mem::replace(&mut (*face).generic.data, ptr::null_mut());
        if !data.is_null() {
            drop(Arc::from_raw(data.cast_const().cast::<Shared>()));
        }
    }
}

/// What is known of an open font, if it is one of which anything is remembered.
///
/// # Safety
/// `face` is null or open; the facts are good until it is closed.
unsafe fn facts_beside(face: *mut Face) -> Option<*mut Facts> {
    // SAFETY: as the caller says; data with our function to free them are ours.
    unsafe {
        let generic = &face.as_ref()?.generic;
        let is_ours = generic.finalizer.is_some_and(|finalizer| ptr::fn_addr_eq(finalizer, let_go as Finalizer));
        let shared = generic.data.cast_const().cast::<Shared>();
        is_ours.then(|| shared.as_ref().map(|shared| shared.0.get())).flatten()
    }
}

/// Loads a glyph, or only says again how large it is.
///
/// # Safety
/// As FreeType's: `face` is open, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FT_Load_Glyph(face: *mut Face, glyph: c_uint, flags: i32) -> c_int {
    let Some(own) = OWN.get() else { return ERROR_UNIMPLEMENTED };
    // SAFETY: the face is open; what FreeType is asked for is passed on as it came.
    unsafe {
        let facts = if flags == UNSCALED { facts_beside(face) } else { None };
        let Some((facts, slot)) = facts.map(|facts| (facts, (*face).glyph)).filter(|(_, slot)| !slot.is_null()) else {
            return (own.load_glyph)(face, glyph, flags);
        };
        if let Some(metrics) = (*facts).metrics(glyph) {
            (*slot).glyph_index = glyph;
            (*slot).metrics = metrics;
            return 0;
        }
        let error = (own.load_glyph)(face, glyph, flags);
        if error == 0 {
            (*facts).add_metrics(glyph, (*slot).metrics);
        }
        error
    }
}

/// The glyph of this name, 0 when there is none.
///
/// # Safety
/// As FreeType's: `face` is open, and no other thread uses it; `name` ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FT_Get_Name_Index(face: *mut Face, name: *const c_char) -> c_uint {
    let Some(own) = OWN.get() else { return 0 };
    // SAFETY: the face is open; what FreeType is asked for is passed on as it came.
    unsafe {
        let Some(facts) = facts_beside(face).filter(|_| !name.is_null()) else {
            return (own.name_index)(face, name);
        };
        let name = CStr::from_ptr(name);
        if let Some(glyph) = (*facts).glyphs_by_name.get(name) {
            return *glyph;
        }
        let glyph = (own.name_index)(face, name.as_ptr());
        if (*facts).glyphs_by_name.len() < MAX_NAMES {
            (*facts).glyphs_by_name.insert(name.into(), glyph);
        }
        glyph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pdfium_finds_our_functions_before_its_own() {
        let ours = [
            (c"FT_New_Memory_Face", FT_New_Memory_Face as *mut c_void),
            (c"FT_Load_Glyph", FT_Load_Glyph as *mut c_void),
            (c"FT_Get_Name_Index", FT_Get_Name_Index as *mut c_void),
        ];
        for (name, function) in ours {
            // SAFETY: the name is a C string; the answer is only compared.
            assert_eq!(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }, function, "{name:?}");
        }
    }

    #[test]
    fn measures_of_glyphs_that_the_font_has_not_are_not_kept() {
        let mut facts = Facts { places: vec![0; 3], ..Facts::default() };
        for glyph in [0, 2, 3, c_uint::MAX] {
            assert_eq!(facts.metrics(glyph), None);
            facts.add_metrics(glyph, [c_long::from(glyph as i32); 8]);
        }
        assert_eq!((facts.metrics(0), facts.metrics(1), facts.metrics(2)), (Some([0; 8]), None, Some([2; 8])));
        assert_eq!((facts.metrics(3), facts.metrics.len()), (None, 2));
    }
}
