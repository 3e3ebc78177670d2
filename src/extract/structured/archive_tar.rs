//! tar: the paths in the headers, also in archives that come out of gzip.
//!
//! The `tar` crate's own handling of long names holds whatever length a header claims; here the raw headers are read,
//! and a name that is longer than paths are is left at its beginning.

use std::io::{self, Cursor, Read};
use std::path::Path;

use tar::{Archive, Entry, EntryType};

use super::bounds::Budget;
use super::entry_list::{EntryList, MAX_PATH_BYTES, decode_path};
use super::{StructuredFile, open_file};
use crate::document::{Failure, Reason};

/// Bytes of extended headers (PAX) that are searched for a path.
const MAX_PAX_BYTES: u64 = 64 * 1024;

/// Lists an archive.
///
/// # Errors
/// `corrupt` when not even the first header is one, `not_found` when the spooled file is gone.
pub fn read(path: &Path, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut archive = Archive::new(open_file(path)?);
    let entries = archive.entries_with_seek().map_err(|error| damaged(&error))?;
    list(entries.raw(true), budget)
}

/// The same of bytes in memory.
///
/// # Errors
/// `corrupt`
pub fn read_bytes(bytes: &[u8], budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut archive = Archive::new(Cursor::new(bytes));
    let entries = archive.entries_with_seek().map_err(|error| damaged(&error))?;
    list(entries.raw(true), budget)
}

/// The same of a stream, which is read through; its reader has to end what is endless.
///
/// # Errors
/// `corrupt`
pub fn read_stream(stream: impl Read, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut archive = Archive::new(stream);
    let entries = archive.entries().map_err(|error| damaged(&error))?;
    list(entries.raw(true), budget)
}

fn list<R: Read>(entries: tar::Entries<'_, R>, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut names = EntryList::default();
    let mut long_name = None;
    for entry in entries {
        let name = entry.and_then(|mut entry| name_of(&mut entry, &mut long_name));
        match name {
            Ok(Some(name)) => {
                if !names.add(&name, budget) {
                    break;
                }
            }
            Ok(None) => {}
            Err(error) if names.is_empty() => return Err(damaged(&error)),
            // A cut archive, or the end of what may be unpacked.
            Err(_) => {
                names.cut();
                break;
            }
        }
    }
    Ok(names.into_file())
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
