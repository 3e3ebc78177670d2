//! PDF: opening, document information, and per page either its text layer or a rendering for OCR.

use std::collections::BTreeMap;
use std::path::Path;

use image::{GrayImage, RgbImage};

use super::pdfium::{OpenFailure, PageContent, PdfDocument, PdfPage, Pdfium, Picture};
use super::print_size::at_reading_size;
use super::resolution::{Depth, bounded_scale, pixel_limit, reading_scale, wanted_dpi};
use super::text_layer::{self, LayerVerdict};
use super::{metadata, page_text};
use crate::document::{Failure, MetadataValue, Reason};
use crate::ocr::Raster;
use crate::ocr::clean::clean_page_text;
use crate::ocr::stamp_ink::lift_stamps;
use crate::pool::protocol::Effort;

/// Points in an inch.
const POINTS_PER_INCH: f64 = 72.0;

/// Pictures that cover less of the page than this (logos, rules) do not tell the resolution of the scan.
const MIN_SHARE_OF_SCAN: f64 = 0.05;

/// A page whose pictures cover this share is read at their resolution.
const SCANNED_PAGE_COVERAGE: f64 = 0.5;

/// Larger pages are rendered in grey at once: in colour they take eight bytes a pixel for a while, and drawings of that
/// size carry their stamps beside the print. A4 at 400 dpi fits.
const MAX_COLOUR_PIXELS: u64 = 16_000_000;

/// A page with more objects, a kilobyte each, is not kept in memory while the next ones are looked at.
const MAX_OBJECTS_OF_KEPT_PAGE: usize = 5_000;

/// How the page begins that form designers put into the place of a form in XFA.
const XFA_PLACEHOLDER: &str = "Please wait";

/// Between titles and names that share one value of the metadata.
const LIST_SEPARATOR: &str = " / ";

/// Entries of the document information dictionary (PDF 1.7, table 317) and their names in the index.
const INFORMATION: [(&str, &str); 6] = [
    ("Title", "title"),
    ("Author", "author"),
    ("Subject", "subject"),
    ("Keywords", "keywords"),
    ("Creator", "creator"),
    ("Producer", "producer"),
];
const INFORMATION_DATES: [(&str, &str); 2] = [("CreationDate", "creation_date"), ("ModDate", "modification_date")];

/// An open PDF.
pub struct PdfFile {
    document: PdfDocument,
}

/// What a page needs.
pub enum PageNeed {
    Blank,
    /// The text layer is the text.
    Text(String),
    Ocr,
}

impl PdfFile {
    /// Opens with the empty password.
    ///
    /// # Errors
    /// `encrypted`, or `corrupt` when pdfium can neither read nor repair it or finds no page.
    pub fn open(pdfium: Pdfium, path: &Path) -> Result<PdfFile, Failure> {
        Self::opened(pdfium.open(path))
    }

    /// The same of a PDF inside another file.
    ///
    /// # Errors
    /// As [`PdfFile::open`].
    pub fn from_bytes(pdfium: Pdfium, bytes: Vec<u8>) -> Result<PdfFile, Failure> {
        Self::opened(pdfium.open_bytes(bytes))
    }

    fn opened(outcome: Result<PdfDocument, OpenFailure>) -> Result<PdfFile, Failure> {
        let document = outcome.map_err(|failure| match failure {
            OpenFailure::Encrypted => Failure::new(Reason::Encrypted, "The PDF is protected by a password."),
            OpenFailure::Corrupt => {
                Failure::new(Reason::Corrupt, "The PDF is damaged or cut off and cannot be repaired.")
            }
            OpenFailure::File => Failure::new(Reason::Corrupt, "The PDF's file could not be read."),
        })?;
        if document.page_count() == 0 {
            return Err(Failure::new(Reason::Corrupt, "The PDF has no pages."));
        }
        Ok(PdfFile { document })
    }

    /// Whether a picture in the file may have a mask, if a page has asked; see [`PdfDocument::known_masks`].
    pub fn known_masks(&self) -> Option<bool> {
        self.document.known_masks()
    }

    /// What was known of the same file when it was open before.
    pub fn recall_masks(&self, known: bool) {
        self.document.recall_masks(known);
    }

    pub fn page_count(&self) -> u32 {
        self.document.page_count()
    }

    /// Title, author, dates …, where present.
    pub fn metadata(&self) -> BTreeMap<String, MetadataValue> {
        let mut values = BTreeMap::new();
        for (key, name) in INFORMATION {
            if let Some(value) = self.document.information(key) {
                metadata::insert_text(&mut values, name, &value);
            }
        }
        for (key, name) in INFORMATION_DATES {
            if let Some(date) = self.document.information(key).as_deref().and_then(metadata::pdf_date) {
                metadata::insert_text(&mut values, name, &date);
            }
        }
        metadata::insert_text(&mut values, "bookmarks", &self.document.bookmark_titles().join(LIST_SEPARATOR));
        metadata::insert_text(&mut values, "attachments", &self.document.attachment_names().join(LIST_SEPARATOR));
        values
    }

    /// A page's own text layer, and what belongs to the page and is not among its content: notes and form values, and
    /// with page 1 the words of a form in XFA and the names of attached files, because someone searches for them.
    fn texts(&self, number: u32, page: &PdfPage<'_>, content: &PageContent) -> (LayerVerdict, String) {
        let mut verdict = judge(page, content);
        let mut texts = page.annotation_texts().to_vec();
        if number == 1 {
            let form = self.document.xfa_texts();
            if !form.is_empty() && matches!(&verdict, LayerVerdict::Take(text) if is_placeholder(text)) {
                verdict = LayerVerdict::Blank;
            }
            texts.extend(form);
            texts.extend(self.document.attachment_names());
        }
        (verdict, clean_page_text(&texts.join("\n")))
    }

    /// Looks at a page's text layer and content; `number` from 1.
    ///
    /// # Errors
    /// `corrupt` when the page cannot be loaded.
    pub fn survey(&self, number: u32) -> Result<PageNeed, Failure> {
        let page = self.load(number)?;
        let content = page.content();
        let (verdict, beside) = self.texts(number, &page, &content);
        if content.objects <= MAX_OBJECTS_OF_KEPT_PAGE {
            page.keep();
        }
        Ok(match verdict {
            LayerVerdict::Blank if beside.is_empty() => PageNeed::Blank,
            LayerVerdict::Blank => PageNeed::Text(beside),
            LayerVerdict::Take(text) => PageNeed::Text(text_layer::with_missing_lines(&text, &beside)),
            LayerVerdict::ReadAndKeep(_) | LayerVerdict::Read => PageNeed::Ocr,
        })
    }

    /// Renders a page for OCR, in grey, at the resolution it deserves. With it come the lines of its text layer to keep
    /// beside what is read.
    ///
    /// # Errors
    /// `corrupt` when the page cannot be loaded or rendered.
    pub fn raster(
        &self,
        number: u32,
        pdf_dpi: u32,
        max_pixels: u64,
        effort: Effort,
    ) -> Result<(Raster, Option<String>), Failure> {
        let page = self.load(number)?;
        let content = page.content();
        let (verdict, beside) = self.texts(number, &page, &content);
        let layer = match verdict {
            LayerVerdict::Take(text) | LayerVerdict::ReadAndKeep(text) => text,
            LayerVerdict::Read | LayerVerdict::Blank => String::new(),
        };
        let keep = text_layer::with_missing_lines(&layer, &beside);
        let keep = (!keep.is_empty()).then_some(keep);
        let (width, height) = page.size();
        let wanted_dpi = wanted_dpi(pdf_dpi, effort);
        let (dpi, dpi_on_paper) = reading_dpi(&content, width, height, wanted_dpi);
        let (width, height) = (f64::from(width), f64::from(height));
        let scale = bounded_scale(width, height, dpi / POINTS_PER_INCH, pixel_limit(max_pixels, effort));
        let pixels = |points: f64| (points * scale).round().max(1.0) as u32;
        let claimed_dpi = scale * POINTS_PER_INCH;
        // A page over the limits is rendered with fewer dots.
        let dpi_on_paper = (dpi_on_paper * claimed_dpi / dpi).round() as u32;
        let grey =
            grey_rendering(&page, pixels(width), pixels(height), dpi_on_paper).ok_or_else(|| unrenderable(number))?;
        if grey.iter().all(|value| *value == u8::MAX) && page.all_images_are_undecodable() {
            let detail = format!("The picture on page {number} of the PDF is damaged.");
            return Err(Failure::new(Reason::Corrupt, detail));
        }
        Ok((at_reading_size(Raster::new(grey, dpi_on_paper), claimed_dpi, wanted_dpi), keep))
    }

    /// Page 1 in colour, fitted into the box.
    pub fn thumbnail(&self, max_width: u32, max_height: u32) -> Option<RgbImage> {
        let page = self.document.page_seen_or_new(0)?;
        let (width, height) = page.size();
        let scale = (max_width as f32 / width).min(max_height as f32 / height);
        let pixels = |points: f32, limit: u32| ((points * scale).round() as u32).clamp(1, limit.max(1));
        page.render_colour(pixels(width, max_width), pixels(height, max_height))
    }

    fn load(&self, number: u32) -> Result<PdfPage<'_>, Failure> {
        number
            .checked_sub(1)
            .and_then(|index| self.document.page_with_annotations(index))
            .filter(|page| page.size().0 > 0.0 && page.size().1 > 0.0)
            .ok_or_else(|| Failure::new(Reason::Corrupt, format!("Page {number} of the PDF is damaged.")))
    }
}

fn judge(page: &PdfPage<'_>, content: &PageContent) -> LayerVerdict {
    let (width, height) = page.size();
    // One more than fits, so that the cut is noticed.
    text_layer::judge(&page.text_layer(page_text::MAX_PAGE_UTF16_UNITS + 1), content, width, height)
}

/// Whether the page says no more than that a form would be shown here by a program that knows XFA.
fn is_placeholder(text: &str) -> bool {
    text.get(..XFA_PLACEHOLDER.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(XFA_PLACEHOLDER))
}

/// The page in grey, without coloured stamps over its print.
fn grey_rendering(page: &PdfPage<'_>, width: u32, height: u32, dpi_on_paper: u32) -> Option<GrayImage> {
    if page.is_surely_grey() {
        return match page.own_picture(width, height) {
            Some(Picture::Grey(grey)) => Some(grey),
            _ => page.render_grey_page(width, height),
        };
    }
    if u64::from(width) * u64::from(height) > MAX_COLOUR_PIXELS {
        return page.render_grey(width, height);
    }
    let colour = match page.own_picture(width, height) {
        Some(Picture::Grey(grey)) => return Some(grey),
        Some(Picture::Colour(colour)) => colour,
        None => page.render_colour(width, height)?,
    };
    let mut grey = grey_of(&colour);
    lift_stamps(&mut grey, &colour, dpi_on_paper);
    Some(grey)
}

/// Brightness with the weights that pdfium itself uses for grey.
fn grey_of(colour: &RgbImage) -> GrayImage {
    let brightness = |rgb: &[u8; 3]| {
        let [red, green, blue] = rgb.map(u32::from);
        ((red * 30 + green * 59 + blue * 11) / 100) as u8
    };
    let mut grey = GrayImage::new(colour.width(), colour.height());
    for (value, rgb) in grey.iter_mut().zip(colour.as_raw().as_chunks::<3>().0) {
        *value = brightness(rgb);
    }
    grey
}

fn unrenderable(number: u32) -> Failure {
    Failure::new(Reason::Corrupt, format!("Page {number} of the PDF could not be rendered."))
}

/// How to render a page of `width` × `height` points: dots per inch to render at, and what these are worth in dots per
/// inch of paper where the file's page size is not to be believed.
fn reading_dpi(content: &PageContent, width: f32, height: f32, wanted_dpi: u32) -> (f64, f64) {
    let wanted = f64::from(wanted_dpi);
    let is_scan = text_layer::image_coverage(content, width, height) >= SCANNED_PAGE_COVERAGE;
    let Some((scanned_dpi, depth)) = scanned_dpi(content, width, height).filter(|_| is_scan) else {
        return (wanted, wanted);
    };
    let long_side_pixels = (f64::from(width.max(height)) / POINTS_PER_INCH * scanned_dpi).round() as u32;
    let reading = reading_scale(long_side_pixels, Some(scanned_dpi), wanted_dpi, depth);
    (scanned_dpi * reading.scale, reading.dpi)
}

/// Dots per inch and depth of the finest picture that covers a good part of the page.
fn scanned_dpi(content: &PageContent, width: f32, height: f32) -> Option<(f64, Depth)> {
    let min_area = f64::from(width) * f64::from(height) * MIN_SHARE_OF_SCAN;
    content
        .images
        .iter()
        .filter(|image| f64::from(image.width) * f64::from(image.height) >= min_area)
        .map(|image| {
            let across = f64::from(image.pixel_width) / f64::from(image.width);
            let down = f64::from(image.pixel_height) / f64::from(image.height);
            match image.is_bilevel {
                // Of a fax, with half as many rows as columns to the inch, nothing more is to be had than its columns.
                true => (across.max(down) * POINTS_PER_INCH, Depth::Bilevel),
                false => ((across * down).sqrt() * POINTS_PER_INCH, Depth::Shades),
            }
        })
        .filter(|(dpi, _)| *dpi >= 1.0)
        .reduce(|one, other| if other.0 > one.0 { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::pdfium::PlacedImage;

    fn scan(pixel_width: u32, pixel_height: u32, width: f32, height: f32) -> PageContent {
        PageContent {
            objects: 1,
            paths: 0,
            images: vec![PlacedImage { pixel_width, pixel_height, width, height, is_bilevel: false }],
        }
    }

    #[test]
    fn a_scan_is_rendered_at_its_own_resolution() {
        let (dpi, _) = reading_dpi(&scan(2550, 3300, 612.0, 792.0), 612.0, 792.0, 300);
        assert!((dpi - 300.0).abs() < 0.01);
        let (dpi, _) = reading_dpi(&scan(2338, 3025, 612.0, 792.0), 612.0, 792.0, 300);
        assert!((dpi - 275.0).abs() < 0.1, "{dpi}");
    }

    #[test]
    fn coarse_and_fine_scans_are_brought_to_the_wanted_resolution() {
        assert!((reading_dpi(&scan(1275, 1650, 612.0, 792.0), 612.0, 792.0, 300).0 - 300.0).abs() < 0.5);
        assert!((reading_dpi(&scan(4960, 7016, 595.2, 841.9), 595.2, 841.9, 300).0 - 300.0).abs() < 0.5);
    }

    #[test]
    fn pages_of_text_and_logos_are_rendered_as_wanted() {
        assert_eq!(reading_dpi(&PageContent::default(), 612.0, 792.0, 300), (300.0, 300.0));
        assert_eq!(reading_dpi(&scan(2000, 200, 100.0, 10.0), 612.0, 792.0, 300), (300.0, 300.0));
    }

    #[test]
    fn a_photo_that_claims_to_be_a_poster_is_read_pixel_for_pixel() {
        let (dpi, dpi_on_paper) = reading_dpi(&scan(2550, 3300, 1800.0, 2329.0), 1800.0, 2329.0, 300);
        assert!((dpi - 102.0).abs() < 0.1 && dpi_on_paper == 300.0, "{dpi} {dpi_on_paper}");
    }
}
