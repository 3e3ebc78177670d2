//! gzip: a tar archive inside is listed; a single file gives its name, and its text when it is text.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::bounds::Budget;
use super::entry_list::decode_path;
use super::{Section, StructuredFile, archive_tar, nested, open_file};
use crate::document::{Failure, Reason};

/// Unpacked bytes that are looked at for what the file is, and read of a single file: as much text as can be indexed.
const MAX_SINGLE_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Unpacked bytes of a tar archive that are gone through for its headers: seconds, not minutes, of a child's time.
const MAX_LISTED_BYTES: u64 = 1024 * 1024 * 1024;

/// A tar header has this at 257 (POSIX ustar, and GNU's older form).
const TAR_MARK: &[u8] = b"ustar";
const TAR_MARK_AT: usize = 257;

/// Reads a file.
///
/// # Errors
/// `corrupt`, `archive_bomb`; `not_found` when the spooled file is gone.
pub fn read(path: &Path, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    read_stream(|| open_file(path).map(BufReader::new), budget)
}

/// The same of bytes in memory.
///
/// # Errors
/// `corrupt`, `archive_bomb`
pub fn read_bytes(bytes: &[u8], budget: &mut Budget) -> Result<StructuredFile, Failure> {
    read_stream(|| Ok(bytes), budget)
}

/// Whether this is the beginning of a tar archive.
pub fn is_tar(head: &[u8]) -> bool {
    head.get(TAR_MARK_AT..TAR_MARK_AT + TAR_MARK.len()) == Some(TAR_MARK)
}

fn read_stream<R: BufRead>(
    open: impl Fn() -> Result<R, Failure>,
    budget: &mut Budget,
) -> Result<StructuredFile, Failure> {
    let mut decoder = MultiGzDecoder::new(open()?);
    let name = decoder.header().and_then(|header| header.filename()).map(decode_path).unwrap_or_default();
    let mut head = Vec::new();
    let outcome = decoder.by_ref().take(MAX_SINGLE_FILE_BYTES + 1).read_to_end(&mut head);
    if is_tar(&head) {
        drop(head);
        let mut stream = MultiGzDecoder::new(open()?).take(MAX_LISTED_BYTES);
        let listed = archive_tar::read_stream(&mut stream, budget);
        // Used up for what comes after, should this be inside another file; the list itself is had.
        let _ = budget.count_bytes(MAX_LISTED_BYTES - stream.limit());
        return listed;
    }
    if let Err(error) = outcome
        && head.is_empty()
    {
        return Err(Failure::new(Reason::Corrupt, format!("The gzip file could not be unpacked: {error}.")));
    }
    let truncated = head.len() as u64 > MAX_SINGLE_FILE_BYTES;
    read_single_file(&head, &name, truncated, budget)
}

fn read_single_file(bytes: &[u8], name: &str, truncated: bool, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let (mut file, truncated) = match nested::read_nested(bytes, name, budget) {
        Ok(found) => (found.unwrap_or_default(), truncated),
        // The name is worth more than the reason why there is no more.
        Err(_) if !name.is_empty() => (StructuredFile::default(), true),
        Err(failure) => return Err(failure),
    };
    if file.sections.is_empty() {
        file.sections.push(Section::default());
    }
    if let Some(first) = file.sections.first_mut()
        && !name.is_empty()
    {
        first.text = format!("{name}\n{}", first.text).trim_end().to_owned();
    }
    if let Some(last) = file.sections.last_mut() {
        last.truncated |= truncated;
    }
    Ok(file)
}
