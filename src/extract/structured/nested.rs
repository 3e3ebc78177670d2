//! A file inside another one: an attachment, an entry. Read by the same readers, within the same budget.

use super::bounds::Budget;
use super::{
    Section, StructuredFile, archive_7z, archive_gz, archive_tar, archive_zip, email, html, json, outlook, xml,
};
use crate::document::Failure;
use crate::extract::sniff::{self, Kind, Sniffed};
use crate::extract::text;

/// Reads bytes that are in memory.
type BytesReader = fn(&[u8], &mut Budget) -> Result<StructuredFile, Failure>;

/// Reads what stands inside another file, if it is of a kind that is read there: text and what is made of text.
/// `None` for pictures, PDF and everything unknown: those have engines of their own, and are found by name.
///
/// # Errors
/// That of the kind's reader; `archive_bomb` when it is nested too deep or the budget is used up.
pub fn read_nested(bytes: &[u8], name: &str, budget: &mut Budget) -> Result<Option<StructuredFile>, Failure> {
    let Ok(sniffed) = sniff::sniff_bytes(bytes, name) else {
        return Ok(None);
    };
    let Some(reader) = reader_of(&sniffed) else {
        return Ok(None);
    };
    budget.count_bytes(bytes.len() as u64)?;
    budget.descend()?;
    let read = reader(bytes, budget);
    budget.ascend();
    read.map(Some)
}

/// The reader of a kind; a new format joins here.
fn reader_of(sniffed: &Sniffed) -> Option<BytesReader> {
    match (sniffed.kind, sniffed.mime_type) {
        (Kind::Text, _) => Some(read_text),
        (_, "text/html") => Some(html::read_bytes),
        (_, "application/xml") => Some(xml::read_bytes),
        (_, "application/json") => Some(json::read_bytes),
        (_, "message/rfc822") => Some(email::read_bytes),
        (_, "application/vnd.ms-outlook") => Some(outlook::read_bytes),
        (_, "application/zip") => Some(archive_zip::read_bytes),
        (_, "application/x-7z-compressed") => Some(archive_7z::read_bytes),
        (_, "application/x-tar") => Some(archive_tar::read_bytes),
        (_, "application/gzip") => Some(archive_gz::read_bytes),
        _ => None,
    }
}

fn read_text(bytes: &[u8], _budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let section =
        text::from_bytes(bytes).map(|file| Section { text: file.text, truncated: file.truncated }).unwrap_or_default();
    Ok(StructuredFile::of_section(section))
}
