//! The entries of a ZIP archive, one after another, and what is in them: for archives, and for Office files that are
//! archives of parts.
//!
//! The `zip` crate reads the whole directory before it shows the first entry, which a directory of two million names
//! turns into more memory than a child has; takes names without the UTF-8 flag for DOS's code page 437, which in Japan
//! they never are; and opens nothing once the directory is wrong by a byte. Files whose line ends somebody "converted"
//! are like that, and hold nearly all of their parts: [`walk`] finds entries by their own headers, as Office does when
//! it repairs a file.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::DeflateDecoder;

use super::bounds::Budget;
use super::entry_list::decode_path;
use super::package::encrypted;
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

/// An entry in the directory, and its own header before its bytes (APPNOTE 4.3.12, 4.3.7).
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const HEADER_SIGNATURE: &[u8] = b"PK\x03\x04";
const HEADER_BYTES: usize = 30;

/// Flag bits: the bytes are encrypted; sizes and checksum come after them; the name is UTF-8.
const ENCRYPTED_FLAG: u16 = 1;
const SIZES_FOLLOW_FLAG: u16 = 1 << 3;
const UTF_8_FLAG: u16 = 1 << 11;

/// Extra fields: large numbers, and the name in UTF-8 beside one in the local code page (APPNOTE 4.5.3, 4.6.9).
const ZIP64_FIELD: u16 = 0x0001;
const UNICODE_PATH_FIELD: u16 = 0x7075;

/// How bytes are stored: as they are, or deflated. The others are not used by Office and rare elsewhere.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Bytes that [`walk`] looks at in one piece.
const WINDOW_BYTES: usize = 64 * 1024;

/// One entry, as the directory or its own header tells it. Its uncompressed size is never asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZipEntry {
    pub name: String,
    pub is_encrypted: bool,
    method: u16,
    /// `None` when it is known only after unpacking.
    checksum: Option<u32>,
    compressed_bytes: u64,
    /// Where its own header is.
    header_at: u64,
}

/// The directory at the end of an archive.
pub struct Directory<R> {
    reader: BufReader<R>,
    /// What stands before the archive (a program that unpacks it) and moves every offset.
    moved_by: u64,
}

impl<R: Read + Seek> Directory<R> {
    /// Finds the directory.
    ///
    /// # Errors
    /// When there is none, or it is not where its end record says.
    pub fn open(mut archive: R) -> io::Result<Directory<R>> {
        let (start, moved_by) = find_directory(&mut archive)?;
        archive.seek(SeekFrom::Start(start))?;
        Ok(Directory { reader: BufReader::new(archive), moved_by })
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// When the directory is damaged here.
    pub fn next_entry(&mut self) -> io::Result<Option<ZipEntry>> {
        let mut record = [0; ENTRY_BYTES];
        self.reader.read_exact(&mut record[..4])?;
        if record[..4] != *ENTRY_SIGNATURE {
            // The end record, or a digital signature (APPNOTE 4.3.13).
            return if record.starts_with(b"PK") { Ok(None) } else { Err(invalid("an entry is damaged")) };
        }
        self.reader.read_exact(&mut record[4..])?;
        let mut rest = vec![0; [28, 30, 32].iter().map(|at| usize::from(u16_at(&record, *at))).sum()];
        self.reader.read_exact(&mut rest)?;
        let (name, after) = rest.split_at(usize::from(u16_at(&record, 28)));
        let extra = &after[..usize::from(u16_at(&record, 30))];
        let flags = u16_at(&record, 8);
        let (compressed_bytes, header_at) = large_numbers(&record, extra);
        Ok(Some(ZipEntry {
            name: name_of(name, extra, flags),
            is_encrypted: flags & ENCRYPTED_FLAG != 0,
            method: u16_at(&record, 10),
            checksum: Some(u32_at(&record, 16)),
            compressed_bytes,
            header_at: header_at.saturating_add(self.moved_by),
        }))
    }
}

/// The entries by their own headers, in the order of the file; for archives whose directory is lost or wrong.
///
/// # Errors
/// `corrupt` when there is not one entry, `archive_bomb` when there are too many.
pub fn walk<R: Read + Seek>(archive: &mut R, budget: &mut Budget) -> Result<Vec<ZipEntry>, Failure> {
    let damaged = |error: io::Error| Failure::new(Reason::Corrupt, format!("The file could not be read: {error}."));
    let mut entries: Vec<ZipEntry> = Vec::new();
    let mut position = 0;
    while let Some(found) = find_header(archive, position).map_err(damaged)? {
        if let Some(last) = entries.last_mut().filter(|last| last.compressed_bytes == u64::MAX) {
            // Unpacking ends where the bytes do; this only keeps it from running on.
            last.compressed_bytes = found - last.header_at;
        }
        let Some((entry, data_at)) = read_header(archive, found).map_err(damaged)? else {
            position = found + 1;
            continue;
        };
        budget.count_entry()?;
        let end = data_at.saturating_add(entry.compressed_bytes);
        // A size is believed where another header or the directory follows; stored archives hold headers inside.
        position = if starts_with(archive, end, b"PK").map_err(damaged)? { end } else { data_at };
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(Failure::new(Reason::Corrupt, "The ZIP archive has no entry that could be found."));
    }
    Ok(entries)
}

/// Unpacks an entry, counting what comes out.
///
/// # Errors
/// `encrypted`, `unsupported_format` for rare compressions, `archive_bomb`; `corrupt` when it is not there, or not what
/// its checksum says.
pub fn unpack<R: Read + Seek>(archive: &mut R, entry: &ZipEntry, budget: &mut Budget) -> Result<Vec<u8>, Failure> {
    let name = &entry.name;
    let missing = |error: io::Error| Failure::new(Reason::Corrupt, format!("{name} could not be read: {error}."));
    if entry.is_encrypted {
        return Err(encrypted());
    }
    let (_, data_at) = read_header(archive, entry.header_at)
        .and_then(|found| found.ok_or_else(|| invalid("it is not where the directory says")))
        .map_err(missing)?;
    archive.seek(SeekFrom::Start(data_at)).map_err(missing)?;
    let packed = BufReader::new(archive.by_ref()).take(entry.compressed_bytes);
    let bytes = match entry.method {
        STORED => budget.read_entry(packed, name)?,
        DEFLATED => budget.read_entry(DeflateDecoder::new(packed), name)?,
        method => {
            let detail = format!("{name} is compressed by method {method}, which is not supported.");
            return Err(Failure::new(Reason::UnsupportedFormat, detail));
        }
    };
    let mut checksum = flate2::Crc::new();
    checksum.update(&bytes);
    if entry.checksum.is_some_and(|expected| expected != checksum.sum()) {
        return Err(Failure::new(Reason::Corrupt, format!("{name} is damaged: its checksum differs.")));
    }
    Ok(bytes)
}

/// Where the directory begins, and by how much everything is moved, as far as the end record can be believed.
fn find_directory<R: Read + Seek>(archive: &mut R) -> io::Result<(u64, u64)> {
    let length = archive.seek(SeekFrom::End(0))?;
    let tail_start = length.saturating_sub(END_WITHIN_BYTES + ZIP64_POINTER_BYTES as u64);
    archive.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    archive.by_ref().take(length - tail_start).read_to_end(&mut tail)?;
    let end_position = (0..tail.len().saturating_sub(END_BYTES - 1))
        .rev()
        .find(|position| tail[*position..].starts_with(END_SIGNATURE))
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "its end is missing"))?;
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
        if size == 0 || starts_with(archive, candidate, ENTRY_SIGNATURE)? {
            return Ok((candidate, candidate.saturating_sub(offset)));
        }
    }
    Err(invalid("it is not where the end record says"))
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

/// The compressed size and the header's position of an entry of the directory. Where the field of 32 bits is full, the
/// number stands in an extra field, which holds only those that did not fit.
fn large_numbers(record: &[u8], extra: &[u8]) -> (u64, u64) {
    let (uncompressed, compressed, offset) = (u32_at(record, 24), u32_at(record, 20), u32_at(record, 42));
    let mut large = extra_field(extra, ZIP64_FIELD).unwrap_or_default();
    let mut number = |small: u32| {
        if small != u32::MAX || large.len() < 8 {
            return u64::from(small);
        }
        let (first, rest) = large.split_at(8);
        large = rest;
        u64_at(first, 0)
    };
    let _ = number(uncompressed);
    (number(compressed), number(offset))
}

/// The next signature of an entry's own header, from `position` on.
fn find_header<R: Read + Seek>(archive: &mut R, mut position: u64) -> io::Result<Option<u64>> {
    let mut window = Vec::new();
    loop {
        archive.seek(SeekFrom::Start(position))?;
        window.clear();
        archive.by_ref().take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
        if let Some(found) = window.windows(4).position(|bytes| bytes == HEADER_SIGNATURE) {
            return Ok(Some(position + found as u64));
        }
        if window.len() < WINDOW_BYTES {
            return Ok(None);
        }
        // The last three bytes may begin a signature.
        position += (WINDOW_BYTES - 3) as u64;
    }
}

/// An entry by its own header, and where its bytes begin; `None` when there is no header.
fn read_header<R: Read + Seek>(archive: &mut R, at: u64) -> io::Result<Option<(ZipEntry, u64)>> {
    let mut header = [0; HEADER_BYTES];
    archive.seek(SeekFrom::Start(at))?;
    if !filled(archive.read_exact(&mut header))? || !header.starts_with(HEADER_SIGNATURE) {
        return Ok(None);
    }
    let (name_bytes, extra_bytes) = (usize::from(u16_at(&header, 26)), usize::from(u16_at(&header, 28)));
    let mut rest = vec![0; name_bytes + extra_bytes];
    if !filled(archive.read_exact(&mut rest))? {
        return Ok(None);
    }
    let (name, extra) = rest.split_at(name_bytes);
    let flags = u16_at(&header, 6);
    let sizes_follow = flags & SIZES_FOLLOW_FLAG != 0;
    let entry = ZipEntry {
        name: name_of(name, extra, flags),
        is_encrypted: flags & ENCRYPTED_FLAG != 0,
        method: u16_at(&header, 8),
        checksum: (!sizes_follow).then(|| u32_at(&header, 14)),
        compressed_bytes: if sizes_follow { u64::MAX } else { u64::from(u32_at(&header, 18)) },
        header_at: at,
    };
    Ok(Some((entry, at + (HEADER_BYTES + rest.len()) as u64)))
}

/// Whether a read was not cut short by the end of the file.
fn filled(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

fn starts_with<R: Read + Seek>(archive: &mut R, position: u64, expected: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; expected.len()];
    // Beyond what the system can seek to, there is nothing.
    if i64::try_from(position).is_err() {
        return Ok(false);
    }
    archive.seek(SeekFrom::Start(position))?;
    Ok(filled(archive.read_exact(&mut found))? && found == expected)
}

fn name_of(name: &[u8], extra: &[u8], flags: u16) -> String {
    if flags & UTF_8_FLAG != 0 {
        return String::from_utf8_lossy(name).into_owned();
    }
    // A version and a checksum of the other name come first.
    let unicode =
        extra_field(extra, UNICODE_PATH_FIELD).and_then(|field| String::from_utf8(field.get(5..)?.to_vec()).ok());
    unicode.unwrap_or_else(|| decode_path(name))
}

fn extra_field(mut extra: &[u8], wanted: u16) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (header, rest) = extra.split_at(4);
        let field = rest.get(..usize::from(u16_at(header, 2)))?;
        if u16_at(header, 0) == wanted {
            return Some(field);
        }
        extra = &rest[field.len()..];
    }
    None
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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
