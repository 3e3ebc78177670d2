//! The container of Office 97–2003 (MS-CFB): which of the three it holds, and what it says about itself.
//!
//! Newer documents with a password are such containers, too.

use std::collections::BTreeMap;
use std::io::Read;

use encoding_rs::Encoding;

use super::bounds::Budget;
use super::package::encrypted;
use super::rtf::code_page;
use super::{Source, StructuredFile, ole_sheets, ole_slides, ole_word};
use crate::document::{Failure, MetadataValue, Reason};
use crate::extract::metadata;

/// Properties that are read of a set.
const MAX_PROPERTIES: usize = 100;

/// Between 1601-01-01, where Windows' clocks begin, and 1970-01-01.
const SECONDS_1601_TO_1970: i64 = 11_644_473_600;

/// An open container.
pub struct Container<'s> {
    file: cfb::CompoundFile<&'s mut dyn Source>,
}

impl Container<'_> {
    /// A stream's bytes; `None` when there is none of that name.
    ///
    /// # Errors
    /// `archive_bomb`, or `corrupt` with the name.
    pub fn stream(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.beginning(name, u64::MAX, budget)?.map(|(bytes, _)| bytes))
    }

    /// At most `max_bytes` of a stream, and whether that is all; `None` when there is none of that name.
    ///
    /// # Errors
    /// As [`Container::stream`].
    pub fn beginning(
        &mut self,
        name: &str,
        max_bytes: u64,
        budget: &mut Budget,
    ) -> Result<Option<(Vec<u8>, bool)>, Failure> {
        if !self.file.is_stream(name) {
            return Ok(None);
        }
        let stream = self.file.open_stream(name).map_err(|error| {
            Failure::new(Reason::Corrupt, format!("{name} of the document could not be opened: {error}."))
        })?;
        let complete = stream.len() <= max_bytes;
        budget.count_entry()?;
        budget.read_entry(stream.take(max_bytes), name).map(|bytes| Some((bytes, complete)))
    }

    fn has(&self, name: &str) -> bool {
        self.file.exists(name)
    }
}

/// Reads a document of any kind that such a container may hold.
///
/// # Errors
/// `encrypted`, `corrupt`, `unsupported_format` for what is no Office document, `archive_bomb`
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let file = cfb::CompoundFile::open(source).map_err(|error| {
        Failure::new(Reason::Corrupt, format!("The container of the document could not be opened: {error}."))
    })?;
    let mut container = Container { file };
    if container.has("EncryptedPackage") || container.has("EncryptionInfo") {
        return Err(encrypted());
    }
    let mut document = if container.has("WordDocument") {
        ole_word::read(&mut container, budget)?
    } else if container.has("Workbook") || container.has("Book") {
        ole_sheets::read(&mut container, budget)?
    } else if container.has("PowerPoint Document") {
        ole_slides::read(&mut container, budget)?
    } else {
        return Err(Failure::new(
            Reason::UnsupportedFormat,
            "The file is a container of Office 97–2003 without a document that is supported.",
        ));
    };
    // A damaged description only costs itself.
    if let Ok(Some(bytes)) = container.stream("\u{5}SummaryInformation", budget) {
        document.metadata = summary(&bytes).unwrap_or_default();
    }
    Ok(document)
}

/// Two bytes at `offset`, the lower first.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let two = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_le_bytes([two[0], two[1]]))
}

/// Four bytes at `offset`, the lowest first.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

/// Text in UTF-16, the lower byte first.
pub fn utf_16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The property set of title, author and dates (MS-OLEPS 2.21, MS-OSHARED 2.3.3.2.1).
fn summary(bytes: &[u8]) -> Option<BTreeMap<String, MetadataValue>> {
    let set = bytes.get(u32_at(bytes, 44)? as usize..)?;
    let count = (u32_at(set, 4)? as usize).min(MAX_PROPERTIES);
    let properties: Vec<(u32, &[u8])> = (0..count)
        .filter_map(|number| {
            let offset = u32_at(set, 12 + number * 8)? as usize;
            Some((u32_at(set, 8 + number * 8)?, set.get(offset..)?))
        })
        .collect();
    let code_page_number = properties.iter().find(|(id, _)| *id == 1).and_then(|(_, value)| u16_at(value, 4));
    let encoding = code_page_number.and_then(|number| code_page(i32::from(number)));
    let mut values = BTreeMap::new();
    for (id, value) in properties {
        let name = match id {
            2 => "title",
            3 => "subject",
            4 => "author",
            5 => "keywords",
            6 => "comments",
            12 => "creation_date",
            13 => "modification_date",
            18 => "producer",
            _ => continue,
        };
        if let Some(text) = property_text(value, encoding.unwrap_or(encoding_rs::WINDOWS_1252)) {
            metadata::insert_text(&mut values, name, &text);
        }
    }
    Some(values)
}

fn property_text(value: &[u8], encoding: &'static Encoding) -> Option<String> {
    let length = u32_at(value, 4)? as usize;
    match u32_at(value, 0)? {
        0x1E => {
            let text = value.get(8..8_usize.checked_add(length)?)?;
            Some(encoding.decode_without_bom_handling(text).0.trim_end_matches('\0').to_owned())
        }
        0x1F => {
            Some(utf_16(value.get(8..8_usize.checked_add(length.checked_mul(2)?)?)?).trim_end_matches('\0').to_owned())
        }
        0x40 => {
            let hundred_nanoseconds = i64::from(u32_at(value, 8)?) << 32 | i64::from(u32_at(value, 4)?);
            let seconds = (hundred_nanoseconds / 10_000_000).checked_sub(SECONDS_1601_TO_1970)?;
            // Before 1980 it is a placeholder.
            (seconds > 315_532_800)
                .then(|| jiff::Timestamp::from_second(seconds).ok())
                .flatten()
                .map(|date| date.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::made;

    #[test]
    fn a_newer_document_with_a_password_says_so() {
        let file = made::container_file(&[("EncryptionInfo", b"x".as_slice()), ("EncryptedPackage", b"y")]);
        assert_eq!(made::read(read, file.path()).expect_err("encrypted").reason, Reason::Encrypted);
    }

    #[test]
    fn a_container_of_something_else_is_not_supported() {
        let file = made::container_file(&[("Catalog", b"thumbs".as_slice())]);
        assert_eq!(made::read(read, file.path()).expect_err("unsupported").reason, Reason::UnsupportedFormat);
        let file = made::file_of(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1 and no more");
        assert_eq!(made::read(read, file.path()).expect_err("corrupt").reason, Reason::Corrupt);
    }

    #[test]
    fn corpus_files_tell_their_author_or_date() {
        for name in ["unit_test_lists.doc", "test_excel.xls"] {
            let Some(path) = made::corpus_file(name) else { return };
            let metadata = made::read(read, &path).expect("read").metadata;
            assert!(metadata.contains_key("creation_date"), "{name}: {metadata:?}");
        }
    }
}
