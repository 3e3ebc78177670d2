//! Documents that are made of parts rather than of pages: Office files, mail, web pages, archives.
//!
//! Each reader turns a file into a [`StructuredFile`]: sections of text in reading order (a body, a sheet, a slide, an
//! attachment, a list of entries), flat metadata, and embedded pictures that may be scans. All of them read hostile
//! bytes within a [`bounds::Budget`].
//!
//! Office: [`ooxml_word`], [`ooxml_slides`], [`ooxml_sheets`] and [`opendocument`] read parts of a [`package`] with
//! [`xml`]; [`rtf`]. [`text_sink`] collects what they find, [`pictures`] chooses what OCR looks at.

pub mod bounds;
#[cfg(test)]
mod made;
mod number_format;
mod office_metadata;
pub mod ole;
mod ole_sheets;
mod ole_slides;
mod ole_strings;
mod ole_word;
pub mod ooxml_sheets;
pub mod ooxml_slides;
mod ooxml_text;
pub mod ooxml_word;
pub mod opendocument;
mod package;
pub mod pictures;
pub mod rtf;
mod rtf_tokens;
mod text_sink;
mod xml;

use std::collections::BTreeMap;
use std::path::Path;

use crate::document::{Failure, MetadataValue};
use bounds::Budget;

/// What a reader makes of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructuredFile {
    /// In reading order; at least one, which may be empty.
    pub sections: Vec<Section>,
    /// Through [`super::metadata`]'s functions, so that it is flat and bounded.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Encoded pictures (JPEG, PNG, TIFF …) large enough to be scanned pages; read by OCR after the sections.
    pub pictures: Vec<Vec<u8>>,
    /// An encoded picture that the file brings as its own preview.
    pub thumbnail: Option<Vec<u8>>,
    /// Slides, or pages as far as the file tells; `None` where pages mean nothing.
    pub page_count: Option<u32>,
}

/// A part with text of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Paragraphs by line feeds, cells by tabs; the part's name (sheet, slide, attachment) is its first line.
    pub text: String,
    /// Text was left out because a bound was reached.
    pub truncated: bool,
}

/// Reads one format.
pub type Reader = fn(&Path, &mut Budget) -> Result<StructuredFile, Failure>;
