//! tar: the paths in the headers, also in archives that come out of gzip; what is in the entries where that is wanted.
//!
//! The `tar` crate's own handling of long names holds whatever length a header claims; here the raw headers are read,
//! and a name that is longer than paths are is left at its beginning.

use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use super::bounds::Budget;
use super::entry_list::{EntryList, MAX_PATH_BYTES, decode_path};
use super::nested::add_nested;
use super::{Source, StructuredFile};
use crate::document::{Failure, Reason};

/// Bytes of extended headers (PAX) that are searched for a path.
const MAX_PAX_BYTES: u64 = 64 * 1024;

/// Lists an archive, and reads its entries where that is wanted.
///
/// # Errors
/// `corrupt` when not even the first header is one.
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut archive = Archive::new(source);
    let entries = archive.entries_with_seek().map_err(|error| damaged(&error))?;
    read_entries(entries.raw(true), budget)
}

/// The same of a stream, which is read through; its reader has to end what is endless.
///
/// # Errors
/// `corrupt`
pub fn read_stream(stream: impl Read, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut archive = Archive::new(stream);
    let entries = archive.entries().map_err(|error| damaged(&error))?;
    read_entries(entries.raw(true), budget)
}

fn read_entries<R: Read>(entries: tar::Entries<'_, R>, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut names = EntryList::default();
    // What is in the entries; the list comes before it.
    let mut contents = StructuredFile::default();
    let mut long_name = None;
    for entry in entries {
        let found = entry.and_then(|mut entry| Ok((name_of(&mut entry, &mut long_name)?, entry)));
        match found {
            Ok((Some(name), entry)) => {
                if !names.add(&name, budget) {
                    break;
                }
                add_content(&mut contents, &name, entry, budget);
            }
            Ok((None, _)) => {}
            Err(error) if names.is_empty() => return Err(damaged(&error)),
            // A cut archive, or the end of what may be unpacked.
            Err(_) => {
                names.cut();
                break;
            }
        }
    }
    let mut file = names.into_file();
    file.add(contents);
    Ok(file)
}

fn add_content<R: Read>(contents: &mut StructuredFile, name: &str, entry: Entry<'_, R>, budget: &mut Budget) {
    let is_file = matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous);
    if !budget.wants_archive_contents() || !is_file {
        return;
    }
    if budget.is_used_up() || !contents.has_room() {
        contents.mark_truncated();
        return;
    }
    match budget.read_entry(entry, name) {
        Ok(bytes) => add_nested(contents, name, bytes, budget),
        Err(failure) => contents.fail(name, failure),
    }
}

/// The path of an entry; `None` for one that only carries the path of the next.
fn name_of<R: Read>(entry: &mut Entry<'_, R>, long_name: &mut Option<Vec<u8>>) -> io::Result<Option<String>> {
    match entry.header().entry_type() {
        EntryType::GNULongName => {
            let mut name = Vec::new();
            entry.take(MAX_PATH_BYTES as u64).read_to_end(&mut name)?;
            name.retain(|byte| *byte != 0);
            *long_name = Some(name);
            Ok(None)
        }
        EntryType::XHeader => {
            let mut records = Vec::new();
            entry.take(MAX_PAX_BYTES).read_to_end(&mut records)?;
            *long_name = pax_path(&records).or(long_name.take());
            Ok(None)
        }
        EntryType::GNULongLink | EntryType::XGlobalHeader => Ok(None),
        _ => {
            let header_name = entry.header().path_bytes().into_owned();
            Ok(Some(decode_path(&long_name.take().unwrap_or(header_name))))
        }
    }
}

/// The `path` among records of `length key=value` (POSIX.1-2001, pax interchange format).
fn pax_path(records: &[u8]) -> Option<Vec<u8>> {
    tar::PaxExtensions::new(records)
        .filter_map(Result::ok)
        .find(|record| record.key_bytes() == b"path")
        .map(|record| record.value_bytes().to_vec())
}

fn damaged(error: &io::Error) -> Failure {
    Failure::new(Reason::Corrupt, format!("The tar archive could not be read: {error}."))
}
