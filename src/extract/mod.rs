<<<<<<< HEAD
//! Stand-in for the document code of the children: text files of one page, nothing else.

use std::collections::BTreeMap;

use crate::document::{Failure, Reason};
use crate::pool::protocol::{ChildSettings, DocumentRef, Effort, Opened, Page, PageSource};

/// A document that cannot be read, and what it is as far as its content told.
pub struct OpenError {
    pub failure: Failure,
    pub mime_type: Option<String>,
}

pub struct Worker {
    open: Option<(u64, String)>,
}

impl Worker {
    pub fn start(settings: &ChildSettings) -> Result<Worker, String> {
        if !settings.tessdata_dir.is_dir() {
            return Err(format!("no models: tried {}", settings.tessdata_dir.display()));
        }
        Ok(Worker { open: None })
    }

    pub fn versions(&self) -> (String, String) {
        ("none".into(), "none".into())
    }

    pub fn open(&mut self, document: &DocumentRef) -> Result<Opened, OpenError> {
        self.text_of(document).map_err(|failure| OpenError { failure, mime_type: None })?;
        Ok(Opened {
            mime_type: "text/plain".into(),
            page_count: 1,
            paginated: false,
            has_text_layer: true,
            metadata: BTreeMap::new(),
        })
    }

    pub fn survey(&mut self, document: &DocumentRef, page: u32) -> Result<Option<Page>, Failure> {
        let text = self.text_of(document)?;
        Ok(Some(Page {
            number: page,
            source: PageSource::Text,
            confidence: None,
            failure: None,
            text,
            truncated: false,
            cost_ms: 0,
        }))
    }

    pub fn recognize(&mut self, document: &DocumentRef, page: u32, _effort: Effort) -> Result<Page, Failure> {
        self.survey(document, page)?.ok_or_else(|| Failure::new(Reason::Corrupt, "no page"))
    }

    pub fn thumbnail(&mut self, _document: &DocumentRef) -> Result<Option<Vec<u8>>, Failure> {
        Ok(None)
    }

    pub fn close(&mut self) {
        self.open = None;
    }

    fn text_of(&mut self, document: &DocumentRef) -> Result<String, Failure> {
        if let Some((id, text)) = &self.open
            && *id == document.id
        {
            return Ok(text.clone());
        }
        let text = std::fs::read_to_string(&document.spool_file)
            .map_err(|error| Failure::new(Reason::Corrupt, format!("read the spool file: {error}")))?;
        self.open = Some((document.id, text.clone()));
        Ok(text)
=======
//! Everything that touches a file's bytes; runs in the sandboxed, single-threaded child.
//!
//! [`Worker`] is the whole face: the process shell calls it and nothing else. Inside:
//! * [`sniff`]: what a file is, by its content
//! * [`text`]: plain text and its encodings
//! * [`pdf`] with [`pdfium`] (the library, all unsafe calls) and [`text_layer`] (may a page's own text be taken?)
//! * [`image_file`] with [`tiff_pages`]; [`thumbnail`]; [`resolution`] (at how many dots per inch a page is read)
//! * [`metadata`], [`page_text`]: bounds of what comes out
//! * [`pdfium_library`]: where the library is; pure, called by the parent

pub mod image_file;
pub mod metadata;
pub mod page_text;
pub mod pdf;
pub mod pdfium;
pub mod pdfium_library;
pub mod resolution;
pub mod sniff;
pub mod text;
pub mod text_layer;
pub mod thumbnail;
pub mod tiff_pages;
mod worker;

#[cfg(test)]
mod corpus_tests;

pub use pdfium_library::find_pdfium;
pub use worker::Worker;

use crate::document::{Failure, Reason};

/// A document that cannot be read, and what it is as far as its content told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    pub failure: Failure,
    /// `None` when not even that is known.
    pub mime_type: Option<String>,
}

impl OpenError {
    pub fn new(reason: Reason, detail: String, mime_type: Option<&str>) -> Self {
        Self { failure: Failure::new(reason, detail), mime_type: mime_type.map(str::to_owned) }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        error.failure
>>>>>>> extract
    }
}
