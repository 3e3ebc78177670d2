//! Documents that are made of parts rather than of pages: Office files, mail, web pages, archives.
//!
//! Each reader turns a file into a [`StructuredFile`]: sections of text in reading order (a body, a sheet, a slide, an
//! attachment, a list of entries), flat metadata, and embedded files that have pages of their own. All of them read
//! hostile bytes, of a file or in memory, within a [`bounds::Budget`].
//!
//! * [`ooxml_word`], [`ooxml_slides`], [`ooxml_sheets`] (`.xlsb`, too), [`opendocument`]: Office files, by the parts of a [`package`] and
//!   [`office_xml`]; [`ole`]: those of Office 97–2003; [`rtf`]; [`text_sink`] collects what they find, [`embedded`]
//!   chooses what is looked at page by page
//! * [`html`], [`xml`], [`json`]: text with markup; [`flow`] is how their text flows
//! * [`email`] (with [`email_header`]) and [`outlook`]: mail, given one form by [`letter`]
//! * [`archive_zip`], [`archive_tar`], [`archive_gz`], [`archive_7z`]: lists of entries, by [`entry_list`], and what is in
//!   them where that is wanted; [`zip_directory`] finds the entries for packages, too
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
pub mod embedded;
pub mod entry_list;
pub mod flow;
pub mod html;
pub mod json;
pub mod letter;
#[cfg(test)]
pub mod made;
#[cfg(test)]
mod mail_tests;
pub mod nested;
mod number_format;
mod office_metadata;
mod office_xml;
pub mod ole;
mod ole_pictures;
mod ole_sheets;
mod ole_slides;
mod ole_strings;
mod ole_word;
mod ole_word_marks;
mod ooxml_binary_sheets;
pub mod ooxml_sheets;
pub mod ooxml_slides;
mod ooxml_text;
pub mod ooxml_word;
pub mod opendocument;
pub mod outlook;
mod package;
pub mod rtf;
mod rtf_tokens;
mod text_sink;
pub mod xml;
mod zip_directory;

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use crate::document::{Failure, MetadataValue, Reason};
use bounds::Budget;
use embedded::Embedded;

use super::page_text::MAX_PAGE_UTF16_UNITS;

/// Sections of one file; text beyond is added to the last one.
const MAX_SECTIONS: usize = 2_000;

/// Failures of one file; those beyond are only marked.
const MAX_FAILURES: usize = 20;

/// Text beyond could not be indexed, whatever its characters: one UTF-16 unit takes at most three bytes of UTF-8.
const MAX_TEXT_BYTES: usize = 3 * MAX_PAGE_UTF16_UNITS;

/// What a reader makes of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructuredFile {
    /// In reading order; at least one, which may be empty.
    pub sections: Vec<Section>,
    /// Through [`super::metadata`]'s functions, so that it is flat and bounded.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Read page by page after the sections.
    pub embedded: Vec<Embedded>,
    /// What could not be read of the files inside: each stands for a page that failed.
    pub failures: Vec<Failure>,
    /// An encoded picture that the file brings as its own preview.
    pub thumbnail: Option<Vec<u8>>,
}

/// A part with text of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Paragraphs by line feeds, cells by tabs; the part's name (sheet, slide, attachment) is its first line.
    pub text: String,
    /// Text was left out because a bound was reached.
    pub truncated: bool,
}

/// A file on disk, or one inside another in memory; readers begin at its beginning.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Reads one format.
pub type Reader = fn(&mut dyn Source, &mut Budget) -> Result<StructuredFile, Failure>;

impl StructuredFile {
    /// A file of one section.
    pub fn of_section(section: Section) -> Self {
        Self { sections: vec![section], ..Self::default() }
    }

    /// Whether more text could be indexed.
    pub fn has_room(&self) -> bool {
        self.sections.iter().map(|section| section.text.len()).sum::<usize>() < MAX_TEXT_BYTES
    }

    /// Says that text was left out.
    pub fn mark_truncated(&mut self) {
        if let Some(last) = self.sections.last_mut() {
            last.truncated = true;
        }
    }

    /// Adds a section; the text of one too many goes to the last.
    pub fn push_section(&mut self, section: Section) {
        let is_full = self.sections.len() >= MAX_SECTIONS;
        match self.sections.last_mut().filter(|_| is_full) {
            Some(last) => {
                last.text = format!("{}\n{}", last.text, section.text);
                last.truncated |= section.truncated;
            }
            None => self.sections.push(section),
        }
    }

    /// Adds what a file inside this one holds.
    pub fn add(&mut self, inner: StructuredFile) {
        for section in inner.sections {
            self.push_section(section);
        }
        for embedded in inner.embedded {
            embedded::keep(self, embedded);
        }
        let room = MAX_FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(inner.failures.into_iter().take(room));
    }

    /// A file inside this one could not be read. Of what this worker does not read at all, the name is enough.
    pub fn fail(&mut self, name: &str, failure: Failure) {
        if matches!(failure.reason, Reason::UnsupportedFormat | Reason::Empty) {
            return;
        }
        self.mark_truncated();
        if self.failures.len() < MAX_FAILURES {
            let detail = if name.is_empty() { failure.detail } else { format!("{name}: {}", failure.detail) };
            self.failures.push(Failure { detail, ..failure });
        }
    }
}

/// At most `max_bytes` of the beginning of a file, and whether that is all of it.
///
/// # Errors
/// `not_found` when the file is gone.
pub fn read_beginning(source: &mut dyn Source, max_bytes: u64) -> Result<(Vec<u8>, bool), Failure> {
    let mut bytes = Vec::new();
    source.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| gone(&error))?;
    let complete = bytes.len() as u64 <= max_bytes;
    bytes.truncate(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    Ok((bytes, complete))
}

/// The failure of a file that cannot be read from.
pub fn gone(error: &std::io::Error) -> Failure {
    Failure::new(Reason::NotFound, format!("The file could not be read: {error}."))
}
