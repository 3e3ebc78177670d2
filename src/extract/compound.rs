//! A document made of parts, as pages: its sections first, then the pages of the files inside it, then what could not be
//! read. A scan pasted into a Word file and a PDF attached to a mail are read like scans and PDFs of their own.

use image::{ImageFormat, RgbImage};

use super::image_file::{ImageFile, ImageSource};
use super::pdf::PdfFile;
use super::pdfium::Pdfium;
use super::structured::embedded::{self, Embedded, EmbeddedKind};
use super::structured::{Section, StructuredFile};
use crate::document::Failure;

/// An open document of parts.
pub struct CompoundFile {
    file: StructuredFile,
    embedded: Vec<OpenEmbedded>,
}

/// A file inside, and how many pages it has.
struct OpenEmbedded {
    content: EmbeddedContent,
    page_count: u32,
}

enum EmbeddedContent {
    Pdf(PdfFile),
    Image(ImageFile),
    /// It has one page, which failed.
    Unreadable(Failure),
}

/// What a page number stands for; pages of files inside are counted from 1 in each.
pub enum CompoundPage<'a> {
    Section(&'a Section),
    Pdf(&'a PdfFile, u32),
    Image(&'a mut ImageFile, u32),
    Failed(&'a Failure),
    /// There is no page of that number.
    Missing,
}

impl CompoundFile {
    /// Opens the files inside. One that does not open costs itself.
    pub fn new(mut file: StructuredFile, pdfium: Pdfium, max_pixels: u64) -> CompoundFile {
        let embedded = std::mem::take(&mut file.embedded);
        let embedded = embedded.into_iter().map(|inner| OpenEmbedded::open(inner, pdfium, max_pixels)).collect();
        CompoundFile { file, embedded }
    }

    /// Pages of all kinds.
    pub fn page_count(&self) -> u32 {
        let embedded = self.embedded.iter().fold(0_u32, |sum, inner| sum.saturating_add(inner.page_count));
        let parts = self.file.sections.len() + self.file.failures.len();
        embedded.saturating_add(u32::try_from(parts).unwrap_or(u32::MAX))
    }

    pub fn file(&self) -> &StructuredFile {
        &self.file
    }

    /// Whether the document has text of its own, beside that of the files inside.
    pub fn has_text(&self) -> bool {
        self.file.sections.iter().any(|section| !section.text.trim().is_empty())
    }

    /// Page `number`, from 1.
    pub fn page(&mut self, number: u32) -> CompoundPage<'_> {
        let Some(index) = number.checked_sub(1) else { return CompoundPage::Missing };
        if let Some(section) = self.file.sections.get(index as usize) {
            return CompoundPage::Section(section);
        }
        // Not negative: it is beyond the sections.
        let mut index = index - self.file.sections.len() as u32;
        for inner in &mut self.embedded {
            if index < inner.page_count {
                return match &mut inner.content {
                    EmbeddedContent::Pdf(pdf) => CompoundPage::Pdf(pdf, index + 1),
                    EmbeddedContent::Image(image) => CompoundPage::Image(image, index + 1),
                    EmbeddedContent::Unreadable(failure) => CompoundPage::Failed(failure),
                };
            }
            index -= inner.page_count;
        }
        self.file.failures.get(index as usize).map_or(CompoundPage::Missing, CompoundPage::Failed)
    }

    /// What shows the document: its own preview, else the first page of one that is nothing but files with pages.
    ///
    /// # Errors
    /// When that picture cannot be decoded.
    pub fn preview(&mut self, width: u32, height: u32, max_pixels: u64) -> Result<Option<RgbImage>, Failure> {
        let own = self.file.thumbnail.as_ref().and_then(|encoded| Some((encoded, embedded::format_of(encoded)?)));
        if let Some((encoded, format)) = own {
            return open_image(encoded.as_slice().into(), format, max_pixels)?
                .first_page_in_colour(max_pixels)
                .map(Some);
        }
        let has_text = self.has_text();
        match self.embedded.first_mut().filter(|_| !has_text).map(|inner| &mut inner.content) {
            Some(EmbeddedContent::Image(image)) => image.first_page_in_colour(max_pixels).map(Some),
            Some(EmbeddedContent::Pdf(pdf)) => Ok(pdf.thumbnail(width, height)),
            Some(EmbeddedContent::Unreadable(_)) | None => Ok(None),
        }
    }
}

impl OpenEmbedded {
    fn open(inner: Embedded, pdfium: Pdfium, max_pixels: u64) -> OpenEmbedded {
        let opened = match inner.kind {
            EmbeddedKind::Pdf => PdfFile::from_bytes(pdfium, inner.bytes)
                .map(|pdf| OpenEmbedded { page_count: pdf.page_count(), content: EmbeddedContent::Pdf(pdf) }),
            EmbeddedKind::Picture(format) => open_image(inner.bytes.into(), format, max_pixels)
                .map(|image| OpenEmbedded { page_count: image.page_count(), content: EmbeddedContent::Image(image) }),
        };
        opened.unwrap_or_else(|failure| {
            let detail = match inner.name.as_str() {
                "" => failure.detail,
                name => format!("{name}: {}", failure.detail),
            };
            OpenEmbedded { content: EmbeddedContent::Unreadable(Failure { detail, ..failure }), page_count: 1 }
        })
    }
}

fn open_image(encoded: std::sync::Arc<[u8]>, format: ImageFormat, max_pixels: u64) -> Result<ImageFile, Failure> {
    ImageFile::open(ImageSource::Bytes(encoded), format, max_pixels)
}
