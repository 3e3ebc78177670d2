//! Mail as Outlook saves it (MS-OXMSG): properties in the streams of a compound file.
//!
//! Read with `cfb` and the few properties that matter, so that 8-bit strings are decoded by our own rules and every
//! stream is read within the budget.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use cfb::CompoundFile;

use super::bounds::Budget;
use super::letter::{Attachment, Content, Letter, body_of};
use super::{Source, StructuredFile};
use crate::document::{Failure, Reason};
use crate::extract::charset;

/// Property tags (MS-OXPROPS).
const SUBJECT: u16 = 0x0037;
const BODY: u16 = 0x1000;
const HTML: u16 = 0x1013;
const SENDER_NAME: u16 = 0x0C1A;
const SENDER_ADDRESS: u16 = 0x0C1F;
const SENDER_SMTP_ADDRESS: u16 = 0x5D01;
const SENT_FOR_NAME: u16 = 0x0042;
const DISPLAY_TO: u16 = 0x0E04;
const DISPLAY_CC: u16 = 0x0E03;
const SUBMIT_TIME: u16 = 0x0039;
const DELIVERY_TIME: u16 = 0x0E06;
const INTERNET_CODE_PAGE: u16 = 0x3FDE;
const MESSAGE_CODE_PAGE: u16 = 0x3FFD;
const RECIPIENT_TYPE: u16 = 0x0C15;
const DISPLAY_NAME: u16 = 0x3001;
const EMAIL_ADDRESS: u16 = 0x3003;
const SMTP_ADDRESS: u16 = 0x39FE;
const ATTACH_DATA: u16 = 0x3701;
const ATTACH_FILE_NAME: u16 = 0x3704;
const ATTACH_LONG_FILE_NAME: u16 = 0x3707;

/// Types of properties (MS-OXCDATA 2.11.1).
const TYPE_UNICODE: &str = "001F";
const TYPE_8_BIT: &str = "001E";
const TYPE_BINARY: &str = "0102";
const TYPE_OBJECT: &str = "000D";

/// The stream of fixed-length properties: a header whose length depends on whose they are, then 16 bytes for each
/// (MS-OXMSG 2.4).
const PROPERTIES: &str = "__properties_version1.0";
const TOP_HEADER_BYTES: usize = 32;
const EMBEDDED_HEADER_BYTES: usize = 24;
const PART_HEADER_BYTES: usize = 8;
const PROPERTY_BYTES: usize = 16;

/// Recipients and attachments that are looked at.
const MAX_PARTS: usize = 2_000;

/// Mails in a mail.
const MAX_NESTED: u32 = 3;

/// 100-nanosecond steps from 1601 to 1970.
const FILETIME_EPOCH: i128 = 116_444_736_000_000_000;

/// Reads a mail.
///
/// # Errors
/// `corrupt`, `archive_bomb`; `not_found` when the spooled file is gone.
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut file = CompoundFile::open(source)
        .map_err(|error| Failure::new(Reason::Corrupt, format!("The Outlook message could not be opened: {error}.")))?;
    if !file.exists(PROPERTIES) {
        return Err(Failure::new(Reason::Corrupt, "The Outlook message has no properties."));
    }
    let letter = letter(&mut file, Path::new("/"), 0, budget)?;
    letter.into_file(budget)
}

fn letter<F: Read + Seek>(
    file: &mut CompoundFile<F>,
    folder: &Path,
    depth: u32,
    budget: &mut Budget,
) -> Result<Letter, Failure> {
    let header_bytes = if depth == 0 { TOP_HEADER_BYTES } else { EMBEDDED_HEADER_BYTES };
    let mut part = Part::open(file, folder, header_bytes, None, budget)?;
    part.code_page = part.fixed(INTERNET_CODE_PAGE).or(part.fixed(MESSAGE_CODE_PAGE)).and_then(label_of_code_page);
    let sender_name = first_of(&mut part, &[SENDER_NAME, SENT_FOR_NAME], budget)?;
    let sender_address = first_of(&mut part, &[SENDER_SMTP_ADDRESS, SENDER_ADDRESS], budget)?;
    let (display_to, display_cc) = (part.string(DISPLAY_TO, budget)?, part.string(DISPLAY_CC, budget)?);
    let (subject, plain) = (part.string(SUBJECT, budget)?, part.string(BODY, budget)?);
    let html = match part.binary(HTML, budget)? {
        Some(bytes) => Some((bytes, part.code_page)),
        None => Some((part.string(HTML, budget)?.into_bytes(), Some("utf-8"))),
    };
    let date = part.fixed(SUBMIT_TIME).or(part.fixed(DELIVERY_TIME)).and_then(date_of_filetime).unwrap_or_default();
    let code_page = part.code_page;
    let recipients = recipients(file, folder, code_page, budget)?;
    let list = |kind: u64, display: String| {
        let named: Vec<&str> =
            recipients.iter().filter(|(found, _)| *found == kind).map(|(_, name)| name.as_str()).collect();
        if named.is_empty() { display } else { named.join(", ") }
    };
    Ok(Letter {
        from: name_and_address(&sender_name, &sender_address),
        to: list(1, display_to),
        cc: list(2, display_cc),
        subject,
        date,
        body: body_of(Some(plain), html.as_ref().map(|(bytes, label)| (bytes.as_slice(), *label))),
        attachments: attachments(file, folder, depth, code_page, budget)?,
    })
}

fn first_of<F: Read + Seek>(part: &mut Part<'_, F>, tags: &[u16], budget: &mut Budget) -> Result<String, Failure> {
    for tag in tags {
        let found = part.string(*tag, budget)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(String::new())
}

/// Exchange writes addresses of its own kind (`/O=…`), which nobody searches for.
fn name_and_address(name: &str, address: &str) -> String {
    match (name.trim(), address.trim().trim_matches('\'')) {
        (name, address) if address.is_empty() || address.starts_with('/') || name == address => name.to_owned(),
        ("", address) => address.to_owned(),
        (name, address) => format!("{name} <{address}>"),
    }
}

/// Kind (1 To, 2 Cc, 3 Bcc) and name of each recipient.
fn recipients<F: Read + Seek>(
    file: &mut CompoundFile<F>,
    folder: &Path,
    code_page: Option<&'static str>,
    budget: &mut Budget,
) -> Result<Vec<(u64, String)>, Failure> {
    let mut found = Vec::new();
    for storage in storages(file, folder, "__recip_version1.0_") {
        let mut part = Part::open(file, &storage, PART_HEADER_BYTES, code_page, budget)?;
        let kind = part.fixed(RECIPIENT_TYPE).unwrap_or(1) & 0xFFFF_FFFF;
        let name = part.string(DISPLAY_NAME, budget)?;
        let address = first_of(&mut part, &[SMTP_ADDRESS, EMAIL_ADDRESS], budget)?;
        found.push((kind, name_and_address(&name, &address)));
    }
    Ok(found)
}

fn attachments<F: Read + Seek>(
    file: &mut CompoundFile<F>,
    folder: &Path,
    depth: u32,
    code_page: Option<&'static str>,
    budget: &mut Budget,
) -> Result<Vec<Attachment>, Failure> {
    let mut found = Vec::new();
    for storage in storages(file, folder, "__attach_version1.0_") {
        let mut part = Part::open(file, &storage, PART_HEADER_BYTES, code_page, budget)?;
        let name = first_of(&mut part, &[ATTACH_LONG_FILE_NAME, DISPLAY_NAME, ATTACH_FILE_NAME], budget)?;
        let data = part.binary(ATTACH_DATA, budget)?;
        let embedded = storage.join(stream_name(ATTACH_DATA, TYPE_OBJECT));
        let content = match data {
            Some(bytes) => Content::Bytes(bytes),
            None if depth < MAX_NESTED && file.exists(embedded.join(PROPERTIES)) => {
                Content::Letter(Box::new(letter(file, &embedded, depth + 1, budget)?))
            }
            None => Content::Unread,
        };
        found.push(Attachment { name, content });
    }
    Ok(found)
}

/// The storages of a kind, in their order.
fn storages<F: Read + Seek>(file: &CompoundFile<F>, folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = file.read_storage(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.is_storage() && entry.name().starts_with(prefix))
        .take(MAX_PARTS)
        .map(|entry| folder.join(entry.name()))
        .collect();
    found.sort();
    found
}

fn stream_name(tag: u16, kind: &str) -> String {
    format!("__substg1.0_{tag:04X}{kind}")
}

/// A mail, a recipient or an attachment: its storage and its fixed-length properties.
struct Part<'f, F> {
    file: &'f mut CompoundFile<F>,
    folder: PathBuf,
    fixed: Vec<u8>,
    /// What 8-bit strings are in; `None`: nothing is said.
    code_page: Option<&'static str>,
}

impl<'f, F: Read + Seek> Part<'f, F> {
    fn open(
        file: &'f mut CompoundFile<F>,
        folder: &Path,
        header_bytes: usize,
        code_page: Option<&'static str>,
        budget: &mut Budget,
    ) -> Result<Self, Failure> {
        let mut part = Part { file, folder: folder.to_path_buf(), fixed: Vec::new(), code_page };
        let properties = part.stream(PROPERTIES, budget)?.unwrap_or_default();
        part.fixed = properties.get(header_bytes..).unwrap_or_default().to_vec();
        Ok(part)
    }

    /// A number, a flag or a time.
    fn fixed(&self, tag: u16) -> Option<u64> {
        let (properties, _) = self.fixed.as_chunks::<PROPERTY_BYTES>();
        let found = properties.iter().find(|property| property[2..4] == tag.to_le_bytes())?;
        found.last_chunk::<8>().map(|value| u64::from_le_bytes(*value))
    }

    fn string(&mut self, tag: u16, budget: &mut Budget) -> Result<String, Failure> {
        if let Some(bytes) = self.stream(&stream_name(tag, TYPE_UNICODE), budget)? {
            let (units, _) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            return Ok(String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned());
        }
        let bytes = self.stream(&stream_name(tag, TYPE_8_BIT), budget)?.unwrap_or_default();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(charset::decode_labelled(&bytes[..end], self.code_page))
    }

    fn binary(&mut self, tag: u16, budget: &mut Budget) -> Result<Option<Vec<u8>>, Failure> {
        self.stream(&stream_name(tag, TYPE_BINARY), budget)
    }

    /// A stream's bytes; `None` when there is none, or it is damaged: other streams may be whole.
    fn stream(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.folder.join(name);
        if !self.file.is_stream(&path) {
            return Ok(None);
        }
        let Ok(stream) = self.file.open_stream(&path) else {
            return Ok(None);
        };
        match budget.read_entry(stream, name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(failure) if failure.reason == Reason::Corrupt => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Code pages that Japanese mail is in; the others are left to detection.
fn label_of_code_page(code_page: u64) -> Option<&'static str> {
    match code_page & 0xFFFF_FFFF {
        932 => Some("shift_jis"),
        50220..=50222 => Some("iso-2022-jp"),
        51932 | 20932 => Some("euc-jp"),
        65001 => Some("utf-8"),
        1252 | 28591 => Some("windows-1252"),
        _ => None,
    }
}

/// RFC 3339 in UTC.
fn date_of_filetime(filetime: u64) -> Option<String> {
    let since_1970 = (i128::from(filetime) - FILETIME_EPOCH).checked_mul(100)?;
    let whole_seconds = i64::try_from(since_1970.div_euclid(1_000_000_000)).ok()?;
    (filetime != 0).then(|| jiff::Timestamp::from_second(whole_seconds).ok())?.map(|time| time.to_string())
}
