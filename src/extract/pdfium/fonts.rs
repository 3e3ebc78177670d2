//! Keeps the system's Japanese fonts loaded.
//!
//! Old Japanese PDFs name fonts without carrying them (Ryumin-Light, GothicBBB-Medium), and pdfium takes the system's
//! instead: collections of 20 MB and more, read whole, and forgotten with the last page that shows them. A text document
//! of five pages read them four times, 185 MB, which took 40 % of its time. pdfium shares a font that is in use, so a
//! document that is never closed keeps both in use.

use std::sync::Once;

use super::Pdfium;

/// One page with a character in each of the two fonts that every printer of the time had; their substitutes are those
/// of all serif and sans serif names. Written without a table of positions, which pdfium finds by itself.
const PAGE_WITH_FONTS: &[u8] = b"%PDF-1.4
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R
 /Resources <</Font <</Mincho 5 0 R /Gothic 8 0 R>>>>>> endobj
4 0 obj <</Length 53>> stream
BT /Mincho 1 Tf <0400> Tj /Gothic 1 Tf <0400> Tj ET  
endstream endobj
5 0 obj <</Type /Font /Subtype /Type0 /BaseFont /Ryumin-Light-Identity-H /Encoding /Identity-H
 /DescendantFonts [6 0 R]>> endobj
6 0 obj <</Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin-Light /FontDescriptor 7 0 R
 /CIDSystemInfo <</Registry (Adobe) /Ordering (Japan1) /Supplement 2>>>> endobj
7 0 obj <</Type /FontDescriptor /FontName /Ryumin-Light /Flags 6 /FontBBox [0 0 1000 1000] /ItalicAngle 0
 /Ascent 700 /Descent 0 /CapHeight 700 /StemV 69>> endobj
8 0 obj <</Type /Font /Subtype /Type0 /BaseFont /GothicBBB-Medium-Identity-H /Encoding /Identity-H
 /DescendantFonts [9 0 R]>> endobj
9 0 obj <</Type /Font /Subtype /CIDFontType0 /BaseFont /GothicBBB-Medium /FontDescriptor 10 0 R
 /CIDSystemInfo <</Registry (Adobe) /Ordering (Japan1) /Supplement 2>>>> endobj
10 0 obj <</Type /FontDescriptor /FontName /GothicBBB-Medium /Flags 4 /FontBBox [0 0 1000 1000] /ItalicAngle 0
 /Ascent 700 /Descent 0 /CapHeight 700 /StemV 99>> endobj
trailer <</Root 1 0 R>>
%%EOF
";

static KEPT: Once = Once::new();

impl Pdfium {
    /// Has both fonts loaded from now on, some 46 MB; for a process that reads text of documents, once.
    pub(super) fn keep_fonts(self) {
        KEPT.call_once(|| {
            let Ok(document) = self.open_bytes(PAGE_WITH_FONTS.to_vec()) else {
                return;
            };
            if let Some(page) = document.page(0) {
                std::mem::forget(page);
            }
            std::mem::forget(document);
        });
    }
}
