//! ZIP: the names in the central directory, decoded; nothing is unpacked, so that encrypted entries are listed as well.
//!
//! The directory is read entry by entry. The `zip` crate reads all of it before it shows the first name, which a
//! directory of two million names turns into more memory than a child has, and takes names without the UTF-8 flag for
//! DOS's code page 437, which in Japan they never are.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::bounds::Budget;
use super::entry_list::{EntryList, decode_path};
use super::{StructuredFile, open_file};
use crate::document::{Failure, Reason};

/// The end record stands before a comment of at most 65,535 bytes (APPNOTE 4.3.16).
const END_WITHIN_BYTES: u64 = 22 + 65_535;
const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;

/// ZIP64: a pointer before the end record, to a record with larger numbers (APPNOTE 4.3.14, 4.3.15).
const ZIP64_POINTER_SIGNATURE: &[u8] = b"PK\x06\x07";
const ZIP64_POINTER_BYTES: usize = 20;
const ZIP64_END_SIGNATURE: &[u8] = b"PK\x06\x06";
const ZIP64_END_BYTES: usize = 56;

/// One entry of the directory (APPNOTE 4.3.12).
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;

/// Flag bit 11: the name is UTF-8.
const UTF_8_FLAG: u16 = 1 << 11;

/// Extra field with the name in UTF-8, written beside one in the local code page (APPNOTE 4.6.9).
const UNICODE_PATH_FIELD: u16 = 0x7075;

/// Lists an archive.
///
/// # Errors
/// `corrupt` when there is no directory, `not_found` when the spooled file is gone.
pub fn read(path: &Path, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    list::<File>(open_file(path)?, budget)
}

/// The same of bytes in memory.
///
/// # Errors
/// `corrupt`
pub fn read_bytes(bytes: &[u8], budget: &mut Budget) -> Result<StructuredFile, Failure> {
    list(Cursor::new(bytes), budget)
}

fn list<R: Read + Seek>(mut archive: R, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let damaged = |error: io::Error| {
        Failure::new(Reason::Corrupt, format!("The directory of the ZIP archive could not be read: {error}."))
    };
    let start = find_directory(&mut archive).map_err(damaged)?;
    archive.seek(SeekFrom::Start(start)).map_err(damaged)?;
    let mut reader = BufReader::new(archive);
    let mut entries = EntryList::default();
    loop {
        match next_name(&mut reader) {
            Ok(Some(name)) => {
                if !entries.add(&name, budget) {
                    break;
                }
            }
            Ok(None) => break,
            // Names were found before the damage: they are worth more than the reason.
            Err(error) if entries.is_empty() => return Err(damaged(error)),
            Err(_) => {
                entries.cut();
                break;
            }
        }
    }
    Ok(entries.into_file())
}

/// Where the directory begins, as far as the end record can be believed: something may stand before the archive, which
/// moves everything.
fn find_directory<R: Read + Seek>(archive: &mut R) -> io::Result<u64> {
    let length = archive.seek(SeekFrom::End(0))?;
    let tail_start = length.saturating_sub(END_WITHIN_BYTES + ZIP64_POINTER_BYTES as u64);
    archive.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    archive.by_ref().take(length - tail_start).read_to_end(&mut tail)?;
    let missing = || io::Error::new(io::ErrorKind::UnexpectedEof, "its end is missing");
    let end_position = (0..tail.len().saturating_sub(END_BYTES - 1))
        .rev()
        .find(|position| tail[*position..].starts_with(END_SIGNATURE))
        .ok_or_else(missing)?;
    let end = &tail[end_position..];
    let mut size = u64::from(u32_at(end, 12));
    let mut offset = u64::from(u32_at(end, 16));
    let mut directory_end = tail_start + end_position as u64;
    if let Some((record_start, record)) = zip64_end(archive, &tail[..end_position])? {
        (size, offset, directory_end) = (u64_at(&record, 40), u64_at(&record, 48), record_start);
    }
    // The directory ends where its end record begins; the offset is only needed where that is not so.
    let by_size = directory_end.checked_sub(size);
    for candidate in by_size.into_iter().chain([offset]) {
        if size == 0 || starts_with_entry(archive, candidate)? {
            return Ok(candidate);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is not where the end record says"))
}

/// The ZIP64 end record and its position, when a pointer to it stands at the end of `before_end`.
fn zip64_end<R: Read + Seek>(archive: &mut R, before_end: &[u8]) -> io::Result<Option<(u64, Vec<u8>)>> {
    let Some(start) = before_end.len().checked_sub(ZIP64_POINTER_BYTES) else {
        return Ok(None);
    };
    let pointer = &before_end[start..];
    if !pointer.starts_with(ZIP64_POINTER_SIGNATURE) {
        return Ok(None);
    }
    let position = u64_at(pointer, 8);
    let mut record = vec![0; ZIP64_END_BYTES];
    archive.seek(SeekFrom::Start(position))?;
    archive.read_exact(&mut record)?;
    Ok(record.starts_with(ZIP64_END_SIGNATURE).then_some((position, record)))
}

fn starts_with_entry<R: Read + Seek>(archive: &mut R, position: u64) -> io::Result<bool> {
    let mut signature = [0; 4];
    archive.seek(SeekFrom::Start(position))?;
    Ok(archive.read_exact(&mut signature).is_ok() && signature == *ENTRY_SIGNATURE)
}

/// The name of the next entry; `None` after the last.
fn next_name<R: Read>(reader: &mut R) -> io::Result<Option<String>> {
    let mut header = [0; ENTRY_BYTES];
    reader.read_exact(&mut header[..4])?;
    if header[..4] != *ENTRY_SIGNATURE {
        // The end record, or a digital signature (APPNOTE 4.3.13).
        let is_end = header.starts_with(b"PK");
        return if is_end { Ok(None) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "an entry is damaged")) };
    }
    reader.read_exact(&mut header[4..])?;
    let mut rest = vec![0; [28, 30, 32].iter().map(|at| usize::from(u16_at(&header, *at))).sum()];
    reader.read_exact(&mut rest)?;
    let (name, after) = rest.split_at(usize::from(u16_at(&header, 28)));
    let extra = &after[..usize::from(u16_at(&header, 30))];
    if u16_at(&header, 8) & UTF_8_FLAG != 0 {
        return Ok(Some(String::from_utf8_lossy(name).into_owned()));
    }
    Ok(Some(unicode_path(extra).unwrap_or_else(|| decode_path(name))))
}

fn unicode_path(mut extra: &[u8]) -> Option<String> {
    while extra.len() >= 4 {
        let (header, rest) = extra.split_at(4);
        let field = rest.get(..usize::from(u16_at(header, 2)))?;
        if u16_at(header, 0) == UNICODE_PATH_FIELD {
            // A version and a checksum of the other name come first.
            return field.get(5..).and_then(|name| String::from_utf8(name.to_vec()).ok());
        }
        extra = &rest[field.len()..];
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|found| found.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|found| found.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|found| found.try_into().ok()).map_or(0, u64::from_le_bytes)
}
