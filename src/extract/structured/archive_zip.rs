//! ZIP: the names in the central directory, encrypted entries as well; what is in them where that is wanted.

use std::io;

use super::bounds::Budget;
use super::entry_list::EntryList;
use super::nested::add_nested;
use super::zip_directory::{self, Directory, ZipEntry};
use super::{Source, StructuredFile};
use crate::document::{Failure, Reason};

/// Lists an archive, and reads its entries where that is wanted.
///
/// # Errors
/// `corrupt` when there is no directory.
pub fn read(mut source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let (names, entries) = list(source, budget)?;
    let mut file = names.into_file();
    for entry in entries {
        if budget.is_used_up() || !file.has_room() {
            file.mark_truncated();
            break;
        }
        match zip_directory::unpack(&mut source, &entry, budget) {
            Ok(bytes) => add_nested(&mut file, &entry.name, bytes, budget),
            Err(failure) => file.fail(&entry.name, failure),
        }
    }
    Ok(file)
}

/// All names, and the entries to be read: none where the list is all that is wanted.
fn list(source: &mut dyn Source, budget: &mut Budget) -> Result<(EntryList, Vec<ZipEntry>), Failure> {
    let damaged = |error: io::Error| {
        Failure::new(Reason::Corrupt, format!("The directory of the ZIP archive could not be read: {error}."))
    };
    let mut directory = Directory::open(source).map_err(damaged)?;
    let (mut names, mut entries) = (EntryList::default(), Vec::new());
    loop {
        match directory.next_entry() {
            Ok(Some(entry)) => {
                if !names.add(&entry.name, budget) {
                    break;
                }
                // Folders have nothing in them, and encrypted entries nothing that could be read.
                if budget.wants_archive_contents() && !entry.is_encrypted && !entry.name.ends_with('/') {
                    entries.push(entry);
                }
            }
            Ok(None) => break,
            // Names were found before the damage: they are worth more than the reason.
            Err(error) if names.is_empty() => return Err(damaged(error)),
            Err(_) => {
                names.cut();
                break;
            }
        }
    }
    Ok((names, entries))
}
