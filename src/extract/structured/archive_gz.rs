//! gzip: a tar archive inside is listed; a single file gives its name, and its text when it is text.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::bounds::Budget;
use super::entry_list::decode_path;
use super::nested::add_nested;
use super::{Source, StructuredFile, archive_tar, gone};
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
/// `corrupt`, `archive_bomb`; `not_found` when the file is gone.
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut decoder = MultiGzDecoder::new(BufReader::new(&mut *source));
    let name = decoder.header().and_then(|header| header.filename()).map(decode_path).unwrap_or_default();
    let mut head = Vec::new();
    let outcome = decoder.by_ref().take(MAX_SINGLE_FILE_BYTES + 1).read_to_end(&mut head);
    if is_tar(&head) {
        drop(head);
        source.rewind().map_err(|error| gone(&error))?;
        let mut stream = MultiGzDecoder::new(BufReader::new(source)).take(MAX_LISTED_BYTES);
        let counted_before = budget.unpacked_bytes();
        let listed = archive_tar::read_stream(&mut stream, budget);
        // Used up for what comes after, should this be inside another file; the list itself is had. What was read of
        // the entries is counted already.
        let counted = budget.unpacked_bytes() - counted_before;
        let _ = budget.count_bytes((MAX_LISTED_BYTES - stream.limit()).saturating_sub(counted));
        return listed;
    }
    if let Err(error) = outcome
        && head.is_empty()
    {
        return Err(Failure::new(Reason::Corrupt, format!("The gzip file could not be unpacked: {error}.")));
    }
    let truncated = head.len() as u64 > MAX_SINGLE_FILE_BYTES;
    budget.count_bytes(head.len() as u64)?;
    let mut file = StructuredFile::default();
    add_nested(&mut file, &name, head, budget);
    if truncated {
        file.mark_truncated();
    }
    Ok(file)
}

/// Whether this is the beginning of a tar archive.
pub fn is_tar(head: &[u8]) -> bool {
    head.get(TAR_MARK_AT..TAR_MARK_AT + TAR_MARK.len()) == Some(TAR_MARK)
}
