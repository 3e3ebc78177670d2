//! One child's work: it keeps its engines warm and its last document open, and answers for one page at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use super::compound::{CompoundFile, CompoundPage};
use super::image_file::ImageFile;
use super::page_text::{MAX_PAGE_UTF16_UNITS, limit_text};
use super::pdf::{PageNeed, PdfFile};
use super::pdfium::Pdfium;
use super::sniff::{self, Kind, Sniffed};
use super::structured::bounds::Budget;
use super::structured::{Reader, gone};
use super::text::TextFile;
use super::{OpenError, metadata, pdfium_library, text, text_layer, thumbnail};
use crate::document::{Failure, MetadataValue, Reason};
use crate::ocr::clean::clean_page_text;
use crate::ocr::page_plan::{Engines, PlanOptions, Reading};
use crate::ocr::{Engine, Raster};
use crate::pool::protocol::{ChildSettings, DocumentRef, Effort, Opened, Page, PageSource};

/// Reads documents. One per process: pdfium is not thread-safe, not even across documents.
pub struct Worker {
    settings: ChildSettings,
    pdfium: Pdfium,
    pdfium_version: String,
    engines: Engines,
    open: Option<OpenDocument>,
}

/// pdfium keeps the pictures of a page, as they are in the file, until the document is closed. A PDF is opened anew when
/// so many bytes of it have been loaded, so that a scan of a thousand pages takes no more memory than one of a hundred.
const MAX_LOADED_BYTES: u64 = 64 * 1024 * 1024;

/// … but not after fewer looks at its pages: opening takes time, too, and a few huge pages are soon closed anyway.
const MIN_LOADS: u64 = 32;

/// A smaller PDF is read at once: pdfium asks the system for half a kilobyte at a time. 16 MiB.
const MAX_PDF_BYTES_IN_MEMORY: u64 = 16 * 1024 * 1024;

/// The document that was asked for last.
struct OpenDocument {
    id: u64,
    mime_type: &'static str,
    content: Content,
    loads: Loads,
}

/// What looks at the pages of a document may have left in memory.
#[derive(Clone, Copy, Debug, Default)]
struct Loads {
    /// What a page takes of the file, on average; 0 where pages leave nothing behind.
    bytes_a_page: u64,
    /// Looks at a page since the document was opened.
    count: u64,
}

impl Loads {
    fn are_too_many(self) -> bool {
        self.count >= MIN_LOADS && self.count * self.bytes_a_page > MAX_LOADED_BYTES
    }
}

enum Content {
    Pdf(PdfFile),
    Image(ImageFile),
    Text(TextFile),
    Structured(CompoundFile),
}

impl Worker {
    /// Loads pdfium and the models; afterwards the process may be sandboxed.
    ///
    /// Only the model for vertical Japanese is loaded when a page first asks for it, from `tessdata_dir`, and fonts
    /// when a page first needs one that is not embedded.
    ///
    /// # Errors
    /// A sentence that names the library or model that is missing or unusable.
    pub fn start(settings: &ChildSettings) -> Result<Worker, String> {
        let pdfium = Pdfium::load(&settings.pdfium_library)?;
        let pdfium_version = pdfium_library::digest(&settings.pdfium_library)
            .map_err(|error| format!("read {}: {error}", settings.pdfium_library.display()))?;
        let engines = Engines::start(&settings.tessdata_dir, &settings.ocr_language)
            .map_err(|error| format!("{error}: {}", root_cause(&error)))?;
        Ok(Worker { settings: settings.clone(), pdfium, pdfium_version, engines, open: None })
    }

    /// Versions of Tesseract (`5.3.0`) and pdfium (`sha256:…` of the library, which does not tell its version).
    pub fn versions(&self) -> (String, String) {
        (Engine::version(), self.pdfium_version.clone())
    }

    /// Sniffs and opens a document.
    ///
    /// # Errors
    /// When the document as a whole cannot be read, with its MIME type as far as known.
    pub fn open(&mut self, document: &DocumentRef) -> Result<Opened, OpenError> {
        // Opened anew even when it is open already: an answer to `open` must not depend on what came before.
        self.open = None;
        let opened = self.opened(document)?;
        Ok(opened.description())
    }

    /// Looks at a page without OCR: its text layer, blank, or failed. `None`: it needs OCR. `page` counts from 1.
    ///
    /// # Errors
    /// Only when the document as a whole cannot be opened any more; a bad page is a page with a failure.
    pub fn survey(&mut self, document: &DocumentRef, page: u32) -> Result<Option<Page>, Failure> {
        let started = processor_time_ms();
        let surveyed = match &mut self.opened(document)?.content {
            Content::Text(file) => Some(text_page(page, file)),
            Content::Structured(file) => match file.page(page) {
                CompoundPage::Pdf(pdf, inner_page) => surveyed_page(page, pdf.survey(inner_page)),
                CompoundPage::Image(..) => None,
                ready => Some(ready_page(page, ready)),
            },
            Content::Image(_) => None,
            Content::Pdf(pdf) => surveyed_page(page, pdf.survey(page)),
        };
        Ok(surveyed.map(|page| costed(page, started)))
    }

    /// Reads a page by OCR, keeping what its text layer has beyond that. `page` counts from 1.
    ///
    /// # Errors
    /// Only when the document as a whole cannot be opened any more; a bad page is a page with a failure.
    pub fn recognize(&mut self, document: &DocumentRef, page: u32, effort: Effort) -> Result<Page, Failure> {
        let started = processor_time_ms();
        let settings = self.settings.clone();
        let mut beside_text = false;
        let prepared = match &mut self.opened(document)?.content {
            Content::Text(file) => return Ok(costed(text_page(page, file), started)),
            Content::Structured(file) => {
                let has_text = file.has_text();
                match file.page(page) {
                    CompoundPage::Image(image, inner_page) => {
                        beside_text = has_text;
                        image_raster(image, inner_page, &settings, effort)
                    }
                    CompoundPage::Pdf(pdf, inner_page) => {
                        pdf.raster(inner_page, settings.pdf_dpi, settings.max_pixels, effort)
                    }
                    ready => return Ok(costed(ready_page(page, ready), started)),
                }
            }
            Content::Image(image) => image_raster(image, page, &settings, effort),
            Content::Pdf(pdf) => pdf.raster(page, settings.pdf_dpi, settings.max_pixels, effort),
        };
        let answer = match prepared {
            Ok((raster, keep)) => self.read_raster(page, &raster, keep),
            Err(failure) => failed_page(page, failure, None),
        };
        Ok(costed(if beside_text { forgiven_picture(answer) } else { answer }, started))
    }

    /// A JPEG of page 1; `None` when the format has no pages to show.
    ///
    /// # Errors
    /// When the document or its first page cannot be read.
    pub fn thumbnail(&mut self, document: &DocumentRef) -> Result<Option<Vec<u8>>, Failure> {
        let settings = self.settings.clone();
        let (max_width, max_height) = (settings.thumbnail_width, settings.thumbnail_height);
        let page = match &mut self.opened(document)?.content {
            Content::Text(_) => return Ok(None),
            Content::Structured(file) => match file.preview(max_width, max_height, settings.max_pixels)? {
                Some(picture) => picture,
                None => return Ok(None),
            },
            Content::Image(image) => image.first_page_in_colour(settings.max_pixels)?,
            Content::Pdf(pdf) => pdf
                .thumbnail(max_width, max_height)
                .ok_or_else(|| Failure::new(Reason::Corrupt, "Page 1 of the PDF could not be rendered."))?,
        };
        thumbnail::encode(&page, max_width, max_height, settings.thumbnail_quality).map(Some)
    }

    /// Forgets the open document: its spool file is about to be removed.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// The document, opened unless it is already.
    fn opened(&mut self, document: &DocumentRef) -> Result<&mut OpenDocument, OpenError> {
        let mut opened = match self.open.take().filter(|open| open.id == document.id) {
            Some(open) if open.loads.are_too_many() => {
                let known = open.known_masks();
                drop(open);
                let opened = self.open_anew(document)?;
                opened.recall_masks(known);
                opened
            }
            Some(open) => open,
            None => self.open_anew(document)?,
        };
        opened.loads.count += 1;
        Ok(self.open.insert(opened))
    }

    fn open_anew(&self, document: &DocumentRef) -> Result<OpenDocument, OpenError> {
        let path = &document.spool_file;
        let mut file = File::open(path).map_err(|error| OpenError { failure: gone(&error), mime_type: None })?;
        let size_bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let Sniffed { kind, mime_type } = sniff::sniff(&mut file, &document.file_name)?;
        let content = match kind {
            Kind::Pdf => open_pdf(self.pdfium, path, size_bytes).map(Content::Pdf),
            Kind::Image(format) => {
                ImageFile::open(path.as_path(), format, self.settings.max_pixels).map(Content::Image)
            }
            Kind::Text => open_text(file).map(Content::Text),
            Kind::Structured(reader) => self.open_structured(file, reader).map(Content::Structured),
        };
        let content = content.map_err(|failure| OpenError { failure, mime_type: Some(mime_type.to_owned()) })?;
        let bytes_a_page = match &content {
            Content::Pdf(pdf) => size_bytes / u64::from(pdf.page_count().max(1)),
            _ => 0,
        };
        Ok(OpenDocument { id: document.id, mime_type, content, loads: Loads { bytes_a_page, count: 0 } })
    }

    fn open_structured(&self, mut file: File, reader: Reader) -> Result<CompoundFile, Failure> {
        let size_bytes = file.metadata().map_err(|error| gone(&error))?.len();
        let mut budget = Budget::new(size_bytes).with_archive_contents(self.settings.archive_contents);
        let read = reader(&mut file, &mut budget)?;
        Ok(CompoundFile::new(read, self.pdfium, self.settings.max_pixels))
    }

    fn read_raster(&mut self, number: u32, raster: &Raster, keep: Option<String>) -> Page {
        let options = PlanOptions {
            preprocessing: self.settings.image_preprocessing,
            min_confidence: self.settings.min_ocr_confidence,
        };
        let reading = match self.engines.read(raster, options) {
            Ok(reading) => reading,
            Err(error) => {
                let detail = format!("Page {number} could not be read: {error}: {}.", root_cause(&error));
                return failed_page(number, Failure::new(Reason::Crashed, detail), None);
            }
        };
        match (reading, keep) {
            (Reading::Text(read), None) => {
                new_page(number, PageSource::Ocr, clean_page_text(&read.text), read.confidence)
            }
            (Reading::Text(read), Some(layer)) => {
                let merged = text_layer::merge(&clean_page_text(&read.text), &layer);
                new_page(number, PageSource::Both, merged, read.confidence)
            }
            (Reading::Blank | Reading::NoText, Some(layer)) => new_page(number, PageSource::Text, layer, None),
            (Reading::Blank, None) => new_page(number, PageSource::Blank, String::new(), None),
            (Reading::NoText, None) => new_page(number, PageSource::Ocr, String::new(), None),
            // The layer is good text; the confidence tells that the rest of the page is missing.
            (Reading::Illegible { confidence }, Some(layer)) => {
                new_page(number, PageSource::Both, layer, Some(confidence))
            }
            (Reading::Illegible { confidence }, None) => {
                let detail = format!(
                    "Page {number} was read with a confidence of {confidence:.0} %, below the minimum of {:.0} %.",
                    options.min_confidence
                );
                failed_page(number, Failure::new(Reason::LowConfidence, detail), Some(confidence))
            }
        }
    }
}

impl OpenDocument {
    /// What took a reading of the whole file and need not be found out again, of a PDF.
    fn known_masks(&self) -> Option<bool> {
        if let Content::Pdf(pdf) = &self.content { pdf.known_masks() } else { None }
    }

    fn recall_masks(&self, known: Option<bool>) {
        if let (Content::Pdf(pdf), Some(known)) = (&self.content, known) {
            pdf.recall_masks(known);
        }
    }

    fn description(&self) -> Opened {
        let (page_count, paginated, has_text_layer, metadata) = match &self.content {
            Content::Pdf(pdf) => (pdf.page_count(), true, true, pdf.metadata()),
            Content::Image(image) => (image.page_count(), true, false, image.metadata()),
            Content::Text(file) => {
                let mut values: BTreeMap<String, MetadataValue> = BTreeMap::new();
                metadata::insert_text(&mut values, "encoding", file.encoding);
                (1, false, true, values)
            }
            Content::Structured(file) => (file.page_count(), false, true, file.file().metadata.clone()),
        };
        Opened { mime_type: self.mime_type.to_owned(), page_count, paginated, has_text_layer, metadata }
    }
}

fn open_pdf(pdfium: Pdfium, path: &Path, size_bytes: u64) -> Result<PdfFile, Failure> {
    if size_bytes > MAX_PDF_BYTES_IN_MEMORY {
        return PdfFile::open(pdfium, path);
    }
    PdfFile::from_bytes(pdfium, fs::read(path).map_err(|error| gone(&error))?)
}

fn open_text(file: File) -> Result<TextFile, Failure> {
    match text::read(file) {
        Ok(Some(file)) => Ok(file),
        // The beginning looked like text, the rest does not.
        Ok(None) => Err(Failure::new(Reason::UnsupportedFormat, "The file begins like a text, but is binary.")),
        Err(error) => Err(gone(&error)),
    }
}

/// What the look at a page of a PDF found; `None` when it needs OCR.
fn surveyed_page(number: u32, outcome: Result<PageNeed, Failure>) -> Option<Page> {
    match outcome {
        Ok(PageNeed::Blank) => Some(new_page(number, PageSource::Blank, String::new(), None)),
        Ok(PageNeed::Text(layer)) => Some(new_page(number, PageSource::Text, layer, None)),
        Ok(PageNeed::Ocr) => None,
        Err(failure) => Some(failed_page(number, failure, None)),
    }
}

/// A page of a document of parts that needs no engine.
fn ready_page(number: u32, page: CompoundPage<'_>) -> Page {
    match page {
        CompoundPage::Section(section) => {
            let source = if section.text.trim().is_empty() { PageSource::Blank } else { PageSource::Text };
            let page = new_page(number, source, section.text.clone(), None);
            Page { truncated: page.truncated || section.truncated, ..page }
        }
        CompoundPage::Failed(failure) => failed_page(number, failure.clone(), None),
        CompoundPage::Missing | CompoundPage::Pdf(..) | CompoundPage::Image(..) => {
            let detail = format!("The document has no part {number}.");
            failed_page(number, Failure::new(Reason::Corrupt, detail), None)
        }
    }
}

/// A page of an image for OCR; it has no text layer to keep.
fn image_raster(
    image: &mut ImageFile,
    page: u32,
    settings: &ChildSettings,
    effort: Effort,
) -> Result<(Raster, Option<String>), Failure> {
    image
        .raster(page, settings.pdf_dpi, settings.max_pixels, effort, settings.image_preprocessing)
        .map(|raster| (raster, None))
}

/// A picture without legible words beside a document's text is a photograph, not a page that failed.
fn forgiven_picture(page: Page) -> Page {
    match &page.failure {
        Some(failure) if failure.reason == Reason::LowConfidence => {
            new_page(page.number, PageSource::Ocr, String::new(), None)
        }
        _ => page,
    }
}

fn text_page(number: u32, file: &TextFile) -> Page {
    let source = if file.text.trim().is_empty() { PageSource::Blank } else { PageSource::Text };
    let page = new_page(number, source, file.text.clone(), None);
    Page { truncated: page.truncated || file.truncated, ..page }
}

fn new_page(number: u32, source: PageSource, text: String, confidence: Option<f32>) -> Page {
    let (text, truncated) = limit_text(text, MAX_PAGE_UTF16_UNITS);
    Page { number, source, confidence, failure: None, text, truncated, cost_ms: 0 }
}

fn failed_page(number: u32, failure: Failure, confidence: Option<f32>) -> Page {
    Page { failure: Some(failure), ..new_page(number, PageSource::Failed, String::new(), confidence) }
}

fn costed(page: Page, started_ms: u64) -> Page {
    let cost_ms = u32::try_from(processor_time_ms().saturating_sub(started_ms)).unwrap_or(u32::MAX);
    Page { cost_ms, ..page }
}

/// Milliseconds of processor time that this process has used.
fn processor_time_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is ours to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The innermost error: Tesseract's own word.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_scans_are_opened_anew_now_and_then_and_nothing_else_is() {
        let loads = |bytes_a_page, count| Loads { bytes_a_page, count };
        assert!(!loads(500_000, 134).are_too_many());
        assert!(loads(500_000, 135).are_too_many());
        assert!(!loads(50_000_000, 3).are_too_many(), "few pages, however large");
        assert!(!loads(0, 1_000_000).are_too_many(), "not a PDF");
    }
}
