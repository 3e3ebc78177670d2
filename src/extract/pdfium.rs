//! pdfium behind safe, narrow handles: a document, its pages, their text and pictures, and rendering into memory of ours.
//!
//! The bindings' own high-level types would open form environments, bookmarks and signatures of every document, hide
//! which characters have no Unicode mapping, and copy every bitmap; so this module speaks to the bindings directly. All
//! unsafe calls into pdfium are here. Handles hold raw pointers and therefore stay on their thread, as pdfium demands.

mod beside_content;
mod colour;
mod font_facts;
mod form;
mod layer;
mod own_picture;
mod rendering;
mod symbols;
mod system_fonts;
mod xfa;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use form::Form;
pub use layer::{Area, LayerCharacter};
pub use own_picture::Picture;
use own_picture::Source;
use pdfium_render::prelude::{Pdfium as BindingsLoader, PdfiumLibraryBindings};
use symbols::Symbols;

/// The library is loaded and initialised once a process and never unloaded.
static LIBRARY: OnceLock<Box<dyn PdfiumLibraryBindings>> = OnceLock::new();

/// `FPDF_GetLastError` values (fpdfview.h).
const ERROR_FILE: u64 = 2;
const ERROR_PASSWORD: u64 = 4;
const ERROR_SECURITY: u64 = 5;

/// `FPDFPageObj_GetType` values (fpdf_edit.h).
const OBJECT_PATH: i32 = 2;
const OBJECT_IMAGE: i32 = 3;
const OBJECT_SHADING: i32 = 4;
const OBJECT_FORM: i32 = 5;

/// `FPDFPage_Flatten`: as on a screen, and its answer when something was merged (fpdf_flatten.h).
const FLATTEN_NORMAL_DISPLAY: i32 = 0;
const FLATTEN_SUCCESS: i32 = 1;

/// Form XObjects nest; a page's picture is rarely deeper, and hostile files nest without end.
const MAX_FORM_DEPTH: u32 = 4;

/// Objects looked at in one page; drawings have hundreds of thousands of strokes, and a sample says what they are.
const MAX_OBJECTS_EXAMINED: usize = 20_000;

/// The filters that know black and white only (ISO 32000-1, 7.4.6 and 7.4.7), with the short name of inline pictures.
const BILEVEL_FILTERS: [&[u8]; 3] = [b"CCITTFaxDecode", b"CCF", b"JBIG2Decode"];

/// More filters, one over the other, are no scan's.
const MAX_IMAGE_FILTERS: i32 = 4;

/// The loaded library.
#[derive(Clone, Copy)]
pub struct Pdfium {
    bindings: &'static dyn PdfiumLibraryBindings,
}

/// Why a document does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// The file itself could not be read.
    File,
    /// It wants a password, or is protected in a way that pdfium does not know.
    Encrypted,
    Corrupt,
}

impl Pdfium {
    /// Loads the library at `path`, or takes the one that this process has loaded already.
    ///
    /// # Errors
    /// A sentence when it is no library or lacks a function.
    pub fn load(path: &Path) -> Result<Pdfium, String> {
        if LIBRARY.get().is_none() {
            let bindings = BindingsLoader::bind_to_library(path)
                .map_err(|error| format!("load pdfium from {}: {error:?}", path.display()))?;
            if let Some(symbols) = &Symbols::of(path) {
                font_facts::find_own(symbols);
                xfa::find_functions(symbols);
            }
            LIBRARY.get_or_init(|| {
                // SAFETY: called once, before any other function of the library.
                unsafe { bindings.FPDF_InitLibrary() };
                system_fonts::watch(bindings.as_ref());
                bindings
            });
        }
        LIBRARY
            .get()
            .map(|bindings| Pdfium { bindings: bindings.as_ref() })
            .ok_or_else(|| format!("load pdfium from {}", path.display()))
    }

    /// Opens a file with the empty password. pdfium reads from it as it goes; it is not held in memory.
    ///
    /// # Errors
    /// Encrypted, or no PDF that could be repaired.
    pub fn open(self, path: &Path) -> Result<PdfDocument, OpenFailure> {
        let Some(name) = path.to_str().filter(|path| !path.contains('\0')) else {
            return Err(OpenFailure::File);
        };
        // SAFETY: plain call; the returned handle is owned by `PdfDocument`.
        let handle = unsafe { self.bindings.FPDF_LoadDocument(name, None) };
        self.opened(handle.cast(), Source::file(path))
    }

    /// The same of a PDF inside another file.
    ///
    /// # Errors
    /// As [`Pdfium::open`].
    pub fn open_bytes(self, bytes: Vec<u8>) -> Result<PdfDocument, OpenFailure> {
        // SAFETY: pdfium reads from the bytes as long as the document is open; `PdfDocument` owns both, and moving a
        // vector does not move what it points to.
        let handle = unsafe { self.bindings.FPDF_LoadMemDocument64(&bytes, None) };
        self.opened(handle.cast(), Source::bytes(bytes))
    }

    fn opened(self, handle: *mut c_void, source: Source) -> Result<PdfDocument, OpenFailure> {
        if !handle.is_null() {
            return Ok(PdfDocument {
                bindings: self.bindings,
                handle: handle.cast(),
                source,
                form: OnceCell::new(),
                kept_pages: RefCell::default(),
                merged_annotations: RefCell::default(),
                merged_annotation_bytes: Cell::new(0),
            });
        }
        // SAFETY: plain call.
        match unsafe { self.bindings.FPDF_GetLastError() } {
            ERROR_FILE => Err(OpenFailure::File),
            ERROR_PASSWORD | ERROR_SECURITY => Err(OpenFailure::Encrypted),
            _ => Err(OpenFailure::Corrupt),
        }
    }
}

/// Pages that stay loaded, with their fonts.
const MAX_KEPT_PAGES: usize = 4;

/// What is kept of a document's annotations.
const MAX_MERGED_ANNOTATION_BYTES: usize = 8 * 1024 * 1024;

/// An open document.
pub struct PdfDocument {
    bindings: &'static dyn PdfiumLibraryBindings,
    handle: *mut c_void,
    /// What pdfium reads from; freed after the document is closed.
    source: Source,
    /// Opened when a page first asks for the values of its form fields.
    form: OnceCell<Form>,
    /// Pages that were looked at and are still loaded, by their indexes: the first one, because a thumbnail may be wanted,
    /// and the last ones, because pdfium forgets a font with the last page that uses it, and one of the next is likely to.
    kept_pages: RefCell<Vec<(u32, *mut c_void)>>,
    /// What the annotations of a page said before they were merged into its content, by the page's index: a page that
    /// is loaded once more, for OCR, has none any more.
    merged_annotations: RefCell<BTreeMap<u32, Vec<String>>>,
    merged_annotation_bytes: Cell<usize>,
}

impl Drop for PdfDocument {
    fn drop(&mut self) {
        for (_, handle) in self.kept_pages.take() {
            self.close_page(handle);
        }
        // Before the document that it belongs to.
        drop(self.form.take());
        // SAFETY: the handle is ours and closed once; pages borrow the document and are gone.
        unsafe { self.bindings.FPDF_CloseDocument(self.handle.cast()) };
    }
}

impl PdfDocument {
    pub fn page_count(&self) -> u32 {
        // SAFETY: the document is open.
        let count = unsafe { self.bindings.FPDF_GetPageCount(self.handle.cast()) };
        u32::try_from(count).unwrap_or(0)
    }

    /// A value of the document information dictionary (`Title`, `Author` …); `None` when absent.
    pub fn information(&self, key: &str) -> Option<String> {
        // SAFETY: a null buffer of length 0 asks for the length in bytes.
        let bytes = unsafe { self.bindings.FPDF_GetMetaText(self.handle.cast(), key, ptr::null_mut(), 0) };
        let mut units = vec![0_u16; usize::try_from(bytes).ok()?.div_ceil(2)];
        if units.len() <= 1 {
            return None;
        }
        let capacity = bytes.min((units.len() * 2) as _);
        // SAFETY: the buffer is as long as said.
        unsafe { self.bindings.FPDF_GetMetaText(self.handle.cast(), key, units.as_mut_ptr().cast(), capacity) };
        units.pop();
        Some(String::from_utf16_lossy(&units))
    }

    /// Loads a page; `index` from 0. `None` when it is broken.
    pub fn page(&self, index: u32) -> Option<PdfPage<'_>> {
        // SAFETY: the document is open; the handle is owned by `PdfPage`, which borrows the document.
        let handle = unsafe { self.bindings.FPDF_LoadPage(self.handle.cast(), i32::try_from(index).ok()?) };
        system_fonts::keep_new(Pdfium { bindings: self.bindings });
        let handle: *mut c_void = handle.cast();
        (!handle.is_null()).then(|| PdfPage { document: self, index, handle, annotation_texts: Vec::new() })
    }

    /// The same, or the one that is still loaded.
    pub fn page_seen_or_new(&self, index: u32) -> Option<PdfPage<'_>> {
        let mut kept = self.kept_pages.borrow_mut();
        let Some(place) = kept.iter().position(|(seen, _)| *seen == index) else {
            drop(kept);
            return self.page(index);
        };
        let (_, handle) = kept.remove(place);
        Some(PdfPage { document: self, index, handle, annotation_texts: Vec::new() })
    }

    /// Closes a page that is kept no longer.
    fn close_page(&self, handle: *mut c_void) {
        // SAFETY: the handle is ours and closed once.
        unsafe { self.bindings.FPDF_ClosePage(handle.cast()) };
    }

    /// Loads a page with form fields and annotations merged into its content, so that what a form was filled in with
    /// is text of the page. Pages without annotations, or with links only, cost nothing more.
    pub fn page_with_annotations(&self, index: u32) -> Option<PdfPage<'_>> {
        let mut page = self.page(index)?;
        if let Some(texts) = self.merged_annotations.borrow().get(&index) {
            page.annotation_texts.clone_from(texts);
            return Some(page);
        }
        // Merging removes the annotations, and with them what they say but do not show.
        page.annotation_texts = page.read_annotation_texts();
        // SAFETY: the page is loaded.
        let merged = page.has_annotations_that_show()
            && unsafe { self.bindings.FPDFPage_Flatten(page.handle.cast(), FLATTEN_NORMAL_DISPLAY) } == FLATTEN_SUCCESS;
        if !merged {
            return Some(page);
        }
        // The merged content is seen only by a page that is loaded anew.
        let annotation_texts = mem::take(&mut page.annotation_texts);
        drop(page);
        let kept_bytes = self.merged_annotation_bytes.get() + annotation_texts.iter().map(String::len).sum::<usize>();
        // Beyond that, notes of a page that goes on to OCR are lost with the merging.
        if kept_bytes <= MAX_MERGED_ANNOTATION_BYTES {
            self.merged_annotation_bytes.set(kept_bytes);
            self.merged_annotations.borrow_mut().insert(index, annotation_texts.clone());
        }
        let mut merged_page = self.page(index)?;
        merged_page.annotation_texts = annotation_texts;
        Some(merged_page)
    }
}

/// An affine map from object space to the page: x' = a·x + c·y + e, y' = b·x + d·y + f.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    a: f32,
    b: f32,
    c: f32,
    d: f32,
    e: f32,
    f: f32,
}

impl Matrix {
    const IDENTITY: Matrix = Matrix { a: 1.0, b: 0.0, c: 0.0, d: 1.0, e: 0.0, f: 0.0 };

    /// First `self`, then `outer`.
    fn then(self, outer: Matrix) -> Matrix {
        Matrix {
            a: self.a * outer.a + self.b * outer.c,
            b: self.a * outer.b + self.b * outer.d,
            c: self.c * outer.a + self.d * outer.c,
            d: self.c * outer.b + self.d * outer.d,
            e: self.e * outer.a + self.f * outer.c + outer.e,
            f: self.e * outer.b + self.f * outer.d + outer.f,
        }
    }
}

/// A picture as it is placed on a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacedImage {
    pub pixel_width: u32,
    pub pixel_height: u32,
    /// Points (1/72 inch) along the picture's own sides.
    pub width: f32,
    pub height: f32,
    /// Whether it is compressed in a way that knows black and white only (CCITT, JBIG2).
    pub is_bilevel: bool,
}

/// What a page is made of, counted over at most [`MAX_OBJECTS_EXAMINED`] objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageContent {
    pub objects: usize,
    pub paths: usize,
    pub images: Vec<PlacedImage>,
}

/// A loaded page.
pub struct PdfPage<'document> {
    document: &'document PdfDocument,
    index: u32,
    handle: *mut c_void,
    annotation_texts: Vec<String>,
}

impl Drop for PdfPage<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is ours and closed once.
            unsafe { self.document.bindings.FPDF_ClosePage(self.handle.cast()) };
        }
    }
}

impl PdfPage<'_> {
    /// Done with for now. It stays loaded until some more are, or, as the first that was kept, until the document closes.
    pub fn keep(mut self) {
        let handle = mem::replace(&mut self.handle, ptr::null_mut());
        let mut kept = self.document.kept_pages.borrow_mut();
        kept.push((self.index, handle));
        if kept.len() > MAX_KEPT_PAGES {
            let (_, oldest) = kept.remove(1);
            drop(kept);
            self.document.close_page(oldest);
        }
    }

    /// Width and height in points, as displayed (the page's own rotation applied).
    pub fn size(&self) -> (f32, f32) {
        let bindings = self.document.bindings;
        // SAFETY: the page is loaded.
        unsafe { (bindings.FPDF_GetPageWidthF(self.handle.cast()), bindings.FPDF_GetPageHeightF(self.handle.cast())) }
    }

    /// Notes, comments and values of form fields, of a page that was loaded with its annotations.
    pub fn annotation_texts(&self) -> &[String] {
        &self.annotation_texts
    }

    pub fn content(&self) -> PageContent {
        let mut content = PageContent::default();
        self.walk(&mut |object, kind, outer| {
            content.objects += 1;
            match kind {
                OBJECT_PATH | OBJECT_SHADING => content.paths += 1,
                OBJECT_IMAGE => content.images.extend(self.placed_image(object, outer)),
                _ => {}
            }
        });
        content
    }

    /// Whether the page has pictures and pdfium cannot decode any of them. Rendering leaves such pictures out without a
    /// word, so that a damaged scan looks like a blank page.
    pub fn all_images_are_undecodable(&self) -> bool {
        let bindings = self.document.bindings;
        let (mut decodable, mut undecodable) = (0, 0);
        self.walk(&mut |object, kind, _| {
            if kind != OBJECT_IMAGE || decodable > 0 {
                return;
            }
            // SAFETY: `object` is a picture of the loaded page; the bitmap is ours to destroy.
            unsafe {
                let bitmap = bindings.FPDFImageObj_GetBitmap(object.cast());
                if bitmap.is_null() {
                    undecodable += 1;
                } else {
                    decodable += 1;
                    bindings.FPDFBitmap_Destroy(bitmap);
                }
            }
        });
        undecodable > 0 && decodable == 0
    }

    /// Shows the page's objects to `visit`, and what is inside of form XObjects: the object, its type, and the map from
    /// its surroundings to the page. At most [`MAX_OBJECTS_EXAMINED`] of them.
    fn walk(&self, visit: &mut dyn FnMut(*mut c_void, i32, Matrix)) {
        let bindings = self.document.bindings;
        let mut left = MAX_OBJECTS_EXAMINED;
        // SAFETY: the page is loaded; objects belong to it.
        let count = unsafe { bindings.FPDFPage_CountObjects(self.handle.cast()) };
        for index in 0..count {
            if left == 0 {
                return;
            }
            // SAFETY: as above; the index is within the count.
            let object = unsafe { bindings.FPDFPage_GetObject(self.handle.cast(), index) };
            self.walk_object(object.cast(), Matrix::IDENTITY, MAX_FORM_DEPTH, &mut left, visit);
        }
    }

    fn walk_object(
        &self,
        object: *mut c_void,
        outer: Matrix,
        depth: u32,
        left: &mut usize,
        visit: &mut dyn FnMut(*mut c_void, i32, Matrix),
    ) {
        if object.is_null() || *left == 0 {
            return;
        }
        *left -= 1;
        let bindings = self.document.bindings;
        // SAFETY: `object` belongs to the loaded page.
        let kind = unsafe { bindings.FPDFPageObj_GetType(object.cast()) };
        visit(object, kind, outer);
        if kind != OBJECT_FORM || depth == 0 {
            return;
        }
        let matrix = self.matrix(object).then(outer);
        // SAFETY: as above.
        let count = unsafe { bindings.FPDFFormObj_CountObjects(object.cast()) };
        for index in 0..u64::try_from(count).unwrap_or(0) {
            // SAFETY: as above; the index is within the count.
            let inner = unsafe { bindings.FPDFFormObj_GetObject(object.cast(), index as _) };
            self.walk_object(inner.cast(), matrix, depth - 1, left, visit);
        }
    }

    fn placed_image(&self, object: *mut c_void, outer: Matrix) -> Option<PlacedImage> {
        let (mut pixel_width, mut pixel_height) = (0, 0);
        // SAFETY: `object` is a picture of the loaded page.
        let known = unsafe {
            self.document.bindings.FPDFImageObj_GetImagePixelSize(object.cast(), &mut pixel_width, &mut pixel_height)
        };
        if known == 0 {
            return None;
        }
        // A picture fills the unit square of its own space.
        let matrix = self.matrix(object).then(outer);
        Some(PlacedImage {
            pixel_width,
            pixel_height,
            width: length(matrix.a, matrix.b),
            height: length(matrix.c, matrix.d),
            is_bilevel: self.has_filter(object, &BILEVEL_FILTERS),
        })
    }

    /// Whether a picture is compressed by one of these. Looks at the filters' names only; nothing is decoded.
    fn has_filter(&self, object: *mut c_void, wanted: &[&[u8]]) -> bool {
        let bindings = self.document.bindings;
        // SAFETY: `object` is a picture of the loaded page.
        let filters = unsafe { bindings.FPDFImageObj_GetImageFilterCount(object.cast()) };
        (0..filters.clamp(0, MAX_IMAGE_FILTERS)).any(|number| {
            let mut name = [0_u8; 32];
            // SAFETY: as above; the number is within the count, and the buffer is as long as is said.
            let length = unsafe {
                bindings.FPDFImageObj_GetImageFilter(object.cast(), number, name.as_mut_ptr().cast(), name.len() as _)
            };
            // The length includes the final zero; a longer name is not written.
            let name = name.get(..(length as usize).saturating_sub(1)).unwrap_or_default();
            wanted.contains(&name)
        })
    }

    fn matrix(&self, object: *mut c_void) -> Matrix {
        // SAFETY: `FS_MATRIX` is six floats, for which zero is a value; `object` belongs to the loaded page.
        let (known, matrix) = unsafe {
            let mut matrix = mem::zeroed();
            (self.document.bindings.FPDFPageObj_GetMatrix(object.cast(), &mut matrix), matrix)
        };
        if known == 0 {
            return Matrix::IDENTITY;
        }
        Matrix { a: matrix.a, b: matrix.b, c: matrix.c, d: matrix.d, e: matrix.e, f: matrix.f }
    }
}

/// Of the vector (x, y). In f64, where no square of an f32 overflows.
fn length(x: f32, y: f32) -> f32 {
    (f64::from(x).powi(2) + f64::from(y).powi(2)).sqrt() as f32
}
