//! Everything that touches a file's bytes; runs in the sandboxed, single-threaded child.
//!
//! [`Worker`] is the whole face: the process shell calls it and nothing else. Inside:
//! * [`sniff`]: what a file is, by its content
//! * [`text`]: plain text and its encodings; [`charset`]: text that names its encoding, truly or not
//! * [`pdf`] with [`pdfium`] (the library, all unsafe calls), [`text_layer`] and `layer_words` (may a page's own text be
//!   taken?), `vertical_layer` (in which order is it read?) and `layer_lines` (its cells, and words cut at a line's end)
//! * [`image_file`] with [`tiff_pages`], `tiff_samples` and `fax_lines`; [`thumbnail`]; [`resolution`] (at how many dots
//!   per inch a page is read) and `print_size` (whether its letters are as large as its file says)
//! * [`structured`]: Office files, mail, web pages, archives; [`compound`]: their sections and the files inside as pages
//! * [`metadata`], [`page_text`]: bounds of what comes out
//! * [`pdfium_library`]: where the library is; pure, called by the parent

pub mod charset;
pub mod compound;
mod fax_lines;
pub mod image_file;
mod layer_lines;
mod layer_words;
pub mod metadata;
pub mod page_text;
pub mod pdf;
pub mod pdfium;
pub mod pdfium_library;
mod print_size;
pub mod resolution;
pub mod sniff;
pub mod structured;
pub mod text;
pub mod text_layer;
pub mod thumbnail;
pub mod tiff_pages;
mod tiff_samples;
mod vertical_layer;
mod worker;

#[cfg(test)]
mod container_tests;
#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod pdf_tests;
#[cfg(test)]
mod test_bench;

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
    }
}
