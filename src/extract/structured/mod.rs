//! Documents that are made of parts rather than of pages: Office files, mail, web pages, archives.
//!
//! Each reader turns a file into a [`StructuredFile`]: sections of text in reading order (a body, a sheet, a slide, an
//! attachment, a list of entries), flat metadata, and embedded pictures that may be scans. All of them read hostile
//! bytes within a [`bounds::Budget`].
//!
//! * [`ooxml_word`], [`ooxml_slides`], [`ooxml_sheets`], [`opendocument`]: Office files, by the parts of a [`package`] and
//!   [`office_xml`]; [`ole`]: those of Office 97–2003; [`rtf`]; [`text_sink`] collects what they find, [`pictures`]
//!   chooses what OCR looks at
//! * [`html`], [`xml`], [`json`]: text with markup; [`flow`] is how their text flows
//! * [`email`] (with [`email_header`]) and [`outlook`]: mail, given one form by [`letter`]
//! * [`archive_zip`], [`archive_tar`], [`archive_gz`], [`archive_7z`]: lists of entries, by [`entry_list`]
//! * [`nested`]: a file inside another one, by the same readers

pub mod archive_7z;
pub mod archive_gz;
pub mod archive_tar;
#[cfg(test)]
mod archive_tests;
pub mod archive_zip;
pub mod bounds;
pub mod email;
pub mod email_header;
pub mod entry_list;
pub mod flow;
pub mod html;
pub mod json;
pub mod letter;
#[cfg(test)]
mod made;
#[cfg(test)]
mod mail_tests;
pub mod nested;
mod number_format;
mod office_metadata;
mod office_xml;
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
pub mod outlook;
mod package;
pub mod pictures;
pub mod rtf;
mod rtf_tokens;
mod text_sink;
pub mod xml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::document::{Failure, MetadataValue, Reason};
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

impl StructuredFile {
    /// A file of one section.
    pub fn of_section(section: Section) -> Self {
        Self { sections: vec![section], ..Self::default() }
    }
}

/// The spooled file, for readers that move about in it.
///
/// # Errors
/// `not_found` when it is gone.
pub fn open_file(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| gone(&error))
}

/// At most `max_bytes` of the beginning of a file, and whether that is all of it.
///
/// # Errors
/// `not_found` when the spooled file is gone.
pub fn read_beginning(path: &Path, max_bytes: u64) -> Result<(Vec<u8>, bool), Failure> {
    let mut bytes = Vec::new();
    open_file(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| gone(&error))?;
    let complete = bytes.len() as u64 <= max_bytes;
    bytes.truncate(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    Ok((bytes, complete))
}

fn gone(error: &std::io::Error) -> Failure {
    Failure::new(Reason::NotFound, format!("The spooled file could not be read: {error}."))
}
