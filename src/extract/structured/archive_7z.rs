//! 7z: the names in its header, which may be compressed itself, within a limit; what is in the entries where that is
//! wanted.

use sevenz_rust2::{Archive, BlockDecoder, Error, Password};

use super::bounds::Budget;
use super::entry_list::EntryList;
use super::nested::add_nested;
use super::{Source, StructuredFile};
use crate::document::{Failure, Reason};

/// `7zAES` (7z's Methods.txt).
const AES_256: &[u8] = &[0x06, 0xF1, 0x07, 0x01];

/// Memory for a header, for unpacking it, and for unpacking entries, each: a header of that size names a million
/// entries, and the dictionaries of 7-Zip's presets have 64 MiB at most.
const MAX_MEMORY_KIB: usize = 96 * 1024;

/// Lists an archive, and reads its entries where that is wanted.
///
/// # Errors
/// `encrypted` when the names are, `corrupt`, `archive_bomb` for a header beyond its limit.
pub fn read(mut source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let archive = Archive::read_with_memory_limit(&mut source, &Password::empty(), MAX_MEMORY_KIB)
        .map_err(|error| refused(&error))?;
    let mut names = EntryList::default();
    for entry in &archive.files {
        let slash = if entry.is_directory() { "/" } else { "" };
        if !names.add(&format!("{}{slash}", entry.name()), budget) {
            break;
        }
    }
    let mut file = names.into_file();
    if budget.wants_archive_contents() {
        for block in 0..archive.blocks.len() {
            add_block(&mut file, &archive, block, source, budget);
        }
    }
    Ok(file)
}

/// Reads the entries of a block, which were compressed as one: those before have to be unpacked to come to the next.
fn add_block(
    file: &mut StructuredFile,
    archive: &Archive,
    block: usize,
    mut source: &mut dyn Source,
    budget: &mut Budget,
) {
    // Its entries are found by name.
    let is_encrypted = archive.blocks[block].coders.iter().any(|coder| coder.encoder_method_id() == AES_256);
    if is_encrypted {
        return;
    }
    if budget.is_used_up() || !file.has_room() {
        file.mark_truncated();
        return;
    }
    let password = Password::empty();
    let decoder = BlockDecoder::new_with_memory_limit(1, MAX_MEMORY_KIB, block, archive, &password, &mut source);
    let outcome = decoder.for_each_entries(&mut |entry, reader| {
        if !entry.has_stream() || entry.is_directory() {
            return Ok(true);
        }
        match budget.read_entry(reader, entry.name()) {
            Ok(bytes) => add_nested(file, entry.name(), bytes, budget),
            Err(failure) => {
                file.fail(entry.name(), failure);
                return Ok(false);
            }
        }
        if file.has_room() {
            return Ok(true);
        }
        file.mark_truncated();
        Ok(false)
    });
    match outcome {
        Err(Error::UnsupportedCompressionMethod(_)) | Ok(_) => {}
        Err(error) => file.fail("", refused(&error)),
    }
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
            format!("The 7z archive takes more than {MAX_MEMORY_KIB} KiB of memory to unpack."),
        ),
        other => Failure::new(Reason::Corrupt, format!("The 7z archive could not be read: {other}.")),
    }
}
