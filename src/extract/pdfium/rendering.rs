//! Pages as pictures, in memory of ours.

use image::{GrayImage, RgbImage};

use super::PdfPage;

/// `FPDFBitmap_*` formats (fpdfview.h).
pub(super) const BITMAP_GRAY: i32 = 1;
pub(super) const BITMAP_BGR: i32 = 2;

/// `FPDF_RenderPageBitmap` flags (fpdfview.h): with annotations, in grey, without a cache of decoded pictures.
const RENDER_ANNOTATIONS: i32 = 0x01;
const RENDER_GRAYSCALE: i32 = 0x08;
const RENDER_LIMITED_IMAGE_CACHE: i32 = 0x200;

const WHITE: u32 = 0xFFFF_FFFF;

impl PdfPage<'_> {
    /// The page in grey on white. `None` when pdfium cannot make a bitmap of that size.
    pub fn render_grey(&self, width: u32, height: u32) -> Option<GrayImage> {
        let pixels = self.render(width, height, BITMAP_GRAY, 1, RENDER_GRAYSCALE)?;
        GrayImage::from_raw(width, height, pixels)
    }

    /// A page that is grey by itself, on white. Turning a page grey costs more: for that, pdfium goes by way of colour.
    pub fn render_grey_page(&self, width: u32, height: u32) -> Option<GrayImage> {
        let pixels = self.render(width, height, BITMAP_GRAY, 1, 0)?;
        GrayImage::from_raw(width, height, pixels)
    }

    /// The page in colour on white. `None` when pdfium cannot make a bitmap of that size.
    pub fn render_colour(&self, width: u32, height: u32) -> Option<RgbImage> {
        let mut pixels = self.render(width, height, BITMAP_BGR, 3, 0)?;
        // In place: a copy of a large page would take as much memory again.
        for bgr in pixels.as_chunks_mut::<3>().0 {
            bgr.swap(0, 2);
        }
        RgbImage::from_raw(width, height, pixels)
    }

    fn render(&self, width: u32, height: u32, format: i32, bytes_per_pixel: u32, flags: i32) -> Option<Vec<u8>> {
        let bindings = self.document.bindings;
        let stride = width.checked_mul(bytes_per_pixel)?;
        let mut pixels = vec![u8::MAX; usize::try_from(u64::from(stride) * u64::from(height)).ok()?];
        let (width, height, stride) =
            (i32::try_from(width).ok()?, i32::try_from(height).ok()?, i32::try_from(stride).ok()?);
        // SAFETY: the bitmap borrows `pixels`, which is stride × height bytes long, and is destroyed before it.
        unsafe {
            let bitmap = bindings.FPDFBitmap_CreateEx(width, height, format, pixels.as_mut_ptr().cast(), stride);
            if bitmap.is_null() {
                return None;
            }
            bindings.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, WHITE.into());
            let flags = flags | RENDER_ANNOTATIONS | RENDER_LIMITED_IMAGE_CACHE;
            bindings.FPDF_RenderPageBitmap(bitmap, self.handle.cast(), 0, 0, width, height, 0, flags);
            bindings.FPDFBitmap_Destroy(bitmap);
        }
        Some(pixels)
    }
}
