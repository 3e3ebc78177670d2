//! 7z: the names in its header. The header itself may be compressed, within a limit; nothing else is unpacked.

use std::io::{Cursor, Read, Seek};
use std::path::Path;

use sevenz_rust2::{Archive, Error, Password};

use super::bounds::Budget;
use super::entry_list::EntryList;
use super::{StructuredFile, open_file};
use crate::document::{Failure, Reason};

/// Memory for a header and for unpacking it, each: a header of 64 MiB names a million entries.
const MAX_HEADER_KIB: usize = 64 * 1024;

/// Lists an archive.
///
/// # Errors
/// `encrypted` when the names are, `corrupt`, `archive_bomb` for a header beyond its limit, `not_found` when the
/// spooled file is gone.
pub fn read(path: &Path, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    list(&mut open_file(path)?, budget)
}

/// The same of bytes in memory.
///
/// # Errors
/// `encrypted`, `corrupt`, `archive_bomb`
pub fn read_bytes(bytes: &[u8], budget: &mut Budget) -> Result<StructuredFile, Failure> {
    list(&mut Cursor::new(bytes), budget)
}

fn list<R: Read + Seek>(source: &mut R, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let archive =
        Archive::read_with_memory_limit(source, &Password::empty(), MAX_HEADER_KIB).map_err(|error| refused(&error))?;
    let mut entries = EntryList::default();
    for entry in &archive.files {
        let slash = if entry.is_directory() { "/" } else { "" };
        if !entries.add(&format!("{}{slash}", entry.name()), budget) {
            break;
        }
    }
    Ok(entries.into_file())
}

fn refused(error: &Error) -> Failure {
    match error {
        Error::PasswordRequired | Error::MaybeBadPassword(_) => {
            Failure::new(Reason::Encrypted, "The names in the 7z archive are encrypted.")
        }
        // The one method that is not built in: with it, a header is encrypted.
        Error::UnsupportedCompressionMethod(method) if method.contains("AES") => {
            Failure::new(Reason::Encrypted, "The names in the 7z archive are encrypted.")
        }
        Error::MaxMemLimited { .. } => Failure::new(
            Reason::ArchiveBomb,
            format!("The header of the 7z archive takes more than {MAX_HEADER_KIB} KiB."),
        ),
        other => Failure::new(Reason::Corrupt, format!("The 7z archive could not be read: {other}.")),
    }
}
