//! Values for the `metadata` object: flat, few and short, whatever a file claims (contract §3).

use std::collections::BTreeMap;

use crate::document::MetadataValue;

/// Characters of one value.
const MAX_VALUE_CHARACTERS: usize = 1_000;

/// Keys of one document.
const MAX_KEYS: usize = 32;

/// Dates without a zone are Japanese (contract §3).
const JAPAN_OFFSET: &str = "+09:00";

/// Adds a text value in one line, without control characters; empty ones are left out.
pub fn insert_text(values: &mut BTreeMap<String, MetadataValue>, key: &str, value: &str) {
    let cleaned: String = value
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_VALUE_CHARACTERS)
        .collect();
    if !cleaned.is_empty() && values.len() < MAX_KEYS {
        values.insert(key.to_owned(), MetadataValue::Text(cleaned));
    }
}

pub fn insert_number(values: &mut BTreeMap<String, MetadataValue>, key: &str, value: f64) {
    if value.is_finite() && values.len() < MAX_KEYS {
        values.insert(key.to_owned(), MetadataValue::Number(value));
    }
}

/// A PDF date (`D:20240131120000+09'00'`, PDF 1.7 section 7.9.4) in ISO 8601; `None` when it is none.
///
/// Nothing else may pass: the index takes the field for a date once it has seen one, and refuses other text then.
pub fn pdf_date(value: &str) -> Option<String> {
    let value = value.trim().trim_start_matches("D:");
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (date, zone) = value.split_at(digits);
    // Everything after the year may be missing.
    let part = |range: std::ops::Range<usize>, default: &'static str| -> &str { date.get(range).unwrap_or(default) };
    let offset = pdf_zone(zone)?;
    iso_date(
        part(0..4, ""),
        part(4..6, "01"),
        part(6..8, "01"),
        &format!("{}:{}:{}", part(8..10, "00"), part(10..12, "00"), part(12..14, "00")),
        &offset,
    )
}

/// `Z`, `+09'00'`, `+09'00`, `+0900` or nothing.
fn pdf_zone(zone: &str) -> Option<String> {
    let sign = match zone.chars().next() {
        None => return Some(JAPAN_OFFSET.to_owned()),
        Some('Z' | 'z') => return Some("Z".to_owned()),
        Some(sign @ ('+' | '-')) => sign,
        Some(_) => return None,
    };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let hours = digits.get(..2)?;
    Some(format!("{sign}{hours}:{}", digits.get(2..4).unwrap_or("00")))
}

/// An Exif date (`2024:01:31 12:00:00`) in ISO 8601; `None` when it is none.
pub fn exif_date(value: &str) -> Option<String> {
    let (date, time) = value.trim().split_once(' ')?;
    let mut parts = date.split(':');
    iso_date(parts.next()?, parts.next()?, parts.next()?, time, JAPAN_OFFSET)
}

/// Puts a date together and has it checked: 31 February is no date.
fn iso_date(year: &str, month: &str, day: &str, time: &str, offset: &str) -> Option<String> {
    let text = format!("{year}-{month}-{day}T{time}{offset}");
    let is_date = text.parse::<jiff::Timestamp>().is_ok() && year != "0000";
    is_date.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pdf_dates_become_iso_dates() {
        for (pdf, iso) in [
            ("D:20240131120000+09'00'", "2024-01-31T12:00:00+09:00"),
            ("D:20240131120000Z", "2024-01-31T12:00:00Z"),
            ("D:20240131120000-0530", "2024-01-31T12:00:00-05:30"),
            ("20240131120000", "2024-01-31T12:00:00+09:00"),
            ("D:2024", "2024-01-01T00:00:00+09:00"),
        ] {
            assert_eq!(pdf_date(pdf).as_deref(), Some(iso), "{pdf}");
        }
        for garbage in ["", "yesterday", "D:20240231120000Z", "D:2024013112000099'00'", "Thu Jan 31 2024"] {
            assert_eq!(pdf_date(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn exif_dates_become_iso_dates() {
        assert_eq!(exif_date("2024:01:31 12:34:56").as_deref(), Some("2024-01-31T12:34:56+09:00"));
        assert_eq!(exif_date("0000:00:00 00:00:00"), None);
    }

    #[test]
    fn values_are_one_short_line() {
        let mut values = BTreeMap::new();
        insert_text(&mut values, "title", "  道路\r\n\0台帳 ");
        insert_text(&mut values, "author", " \0 ");
        insert_text(&mut values, "subject", &"あ".repeat(5_000));
        assert_eq!(values.get("title"), Some(&MetadataValue::Text("道路 台帳".to_owned())));
        assert!(!values.contains_key("author"));
        assert_eq!(values.get("subject"), Some(&MetadataValue::Text("あ".repeat(MAX_VALUE_CHARACTERS))));
    }

    #[test]
    fn a_document_has_few_keys() {
        let mut values = BTreeMap::new();
        for number in 0..100 {
            insert_number(&mut values, &format!("key{number}"), 1.0);
        }
        assert_eq!(values.len(), MAX_KEYS);
    }
}
