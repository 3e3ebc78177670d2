//! The `metadata` object: what a file says about itself, in a form that the index can bear.
//!
//! The index makes a field of every name it meets and gives it the type of the first value. Names come out of hostile
//! files, so they are ours: a fixed vocabulary, each name with one type for ever. Whatever else a file says stands as
//! `name=value` lines under `other`, where it can still be found.

use std::collections::BTreeMap;

use super::MetadataValue;
use super::dates::{format_date, parse_date};
use super::text::cut_at_utf16_units;

/// The longest value, in UTF-16 units.
pub const MAX_VALUE_UTF16_UNITS: usize = 1_000;

/// The longest name that is still written under `other`.
const MAX_NAME_UTF16_UNITS: usize = 64;

/// Where names outside the vocabulary go.
const OTHER: &str = "other";

/// Names whose values are numbers.
const NUMBERS: [&str; 3] = ["dpi", "height", "width"];

/// Names whose values are dates (RFC 3339, UTC).
const DATES: [&str; 2] = ["creation_date", "modification_date"];

/// Names whose values are text. A new format adds its names here.
const TEXTS: [&str; 14] = [
    "attachments",
    "author",
    "bookmarks",
    "camera_make",
    "camera_model",
    "comments",
    "creator",
    "description",
    "encoding",
    "keywords",
    "language",
    "producer",
    "subject",
    "title",
];

/// The metadata as the index gets it: at most one value for each name of the vocabulary, and `other`.
pub fn bounded(metadata: &BTreeMap<String, MetadataValue>) -> BTreeMap<String, MetadataValue> {
    let mut kept = BTreeMap::new();
    let mut other_lines = Vec::new();
    for (name, value) in metadata {
        match typed(name, value) {
            Some(typed_value) => {
                kept.insert(name.clone(), typed_value);
            }
            None => other_lines.extend(other_line(name, value)),
        }
    }
    let other = cut_at_utf16_units(&other_lines.join("\n"), MAX_VALUE_UTF16_UNITS).to_owned();
    if !other.is_empty() {
        kept.insert(OTHER.to_owned(), MetadataValue::Text(other));
    }
    kept
}

/// The value in the one type that its name has; `None` when the name or the value does not fit.
fn typed(name: &str, value: &MetadataValue) -> Option<MetadataValue> {
    if NUMBERS.contains(&name) {
        let number = match value {
            MetadataValue::Number(number) => *number,
            MetadataValue::Text(text) => text.trim().parse().ok()?,
        };
        return number.is_finite().then_some(MetadataValue::Number(number));
    }
    if DATES.contains(&name) {
        let MetadataValue::Text(text) = value else {
            return None;
        };
        return parse_date(text).map(|date| MetadataValue::Text(format_date(date)));
    }
    if TEXTS.contains(&name) {
        let text = plain_text(value)?;
        // An index that guesses types would make the field a date for ever.
        return (!looks_like_a_date(&text)).then_some(MetadataValue::Text(text));
    }
    None
}

fn other_line(sent_name: &str, value: &MetadataValue) -> Option<String> {
    let text = plain_text(value)?;
    let name: String = sent_name.chars().filter(|character| !character.is_control()).collect();
    Some(format!("{}={text}", cut_at_utf16_units(name.trim(), MAX_NAME_UTF16_UNITS)))
}

/// One line of text; `None` when nothing is left.
fn plain_text(value: &MetadataValue) -> Option<String> {
    let text = match value {
        MetadataValue::Number(number) => number.to_string(),
        MetadataValue::Text(text) => text.clone(),
    };
    let one_line: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let cut = cut_at_utf16_units(one_line.trim(), MAX_VALUE_UTF16_UNITS);
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// Whether the index's date detection could take it (`strict_date_optional_time`, `yyyy/MM/dd`): digits of a year
/// and a separator first. Plain numbers are safe.
fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 4 && bytes[..4].iter().all(u8::is_ascii_digit) && matches!(bytes[4], b'-' | b'/' | b'T')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> MetadataValue {
        MetadataValue::Text(value.to_owned())
    }

    fn bounded_list(sent: &[(&str, MetadataValue)]) -> Vec<(String, MetadataValue)> {
        bounded(&sent.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()).into_iter().collect()
    }

    #[test]
    fn names_of_the_vocabulary_keep_their_type() {
        for (name, sent, expected) in [
            ("title", text(" 橋梁台帳 "), text("橋梁台帳")),
            ("title", MetadataValue::Number(7.0), text("7")),
            ("width", MetadataValue::Number(640.0), MetadataValue::Number(640.0)),
            ("width", text("640"), MetadataValue::Number(640.0)),
            ("creation_date", text("2024-01-02T03:04:05+09:00"), text("2024-01-01T18:04:05Z")),
            ("modification_date", text("2024-01-02"), text("2024-01-01T15:00:00Z")),
            ("subject", text("a\nb\0c"), text("a b c")),
        ] {
            assert_eq!(bounded_list(&[(name, sent)]), [(name.to_owned(), expected)], "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_kept_as_text_under_other() {
        for (name, sent, line) in [
            ("width", text("wide"), "width=wide"),
            ("width", MetadataValue::Number(f64::NAN), "width=NaN"),
            ("creation_date", text("long ago"), "creation_date=long ago"),
            ("creation_date", MetadataValue::Number(5.0), "creation_date=5"),
            ("title", text("2024-01-02"), "title=2024-01-02"),
            ("title", text("2024/01 議事録"), "title=2024/01 議事録"),
            ("Title", text("x"), "Title=x"),
            ("a.b.c", text("x"), "a.b.c=x"),
            ("現場", text("橋"), "現場=橋"),
            ("other", text("x"), "other=x"),
        ] {
            assert_eq!(bounded_list(&[(name, sent)]), [("other".to_owned(), text(line))], "{name}");
        }
        let two = bounded_list(&[("現場", text("橋")), ("監督\n", text("山田"))]);
        assert_eq!(two, [("other".to_owned(), text("現場=橋\n監督=山田"))]);
    }

    #[test]
    fn blank_values_are_left_out() {
        assert_eq!(bounded_list(&[("title", text(" \n")), ("unknown", text(""))]), []);
    }

    #[test]
    fn the_vocabulary_gives_each_name_one_type() {
        let all: Vec<_> = NUMBERS.iter().chain(&DATES).chain(&TEXTS).chain([&OTHER]).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), distinct.len());
    }

    proptest! {
        #[test]
        fn any_metadata_is_bounded(sent in proptest::collection::btree_map(
            prop_oneof![any::<String>(), Just("title".to_owned()), Just("width".to_owned())],
            prop_oneof![
                any::<f64>().prop_map(MetadataValue::Number),
                any::<String>().prop_map(MetadataValue::Text),
                "[a-z]{900,1200}".prop_map(MetadataValue::Text),
            ],
            0..20,
        )) {
            for (name, value) in bounded(&sent) {
                let is_number = NUMBERS.contains(&name.as_str());
                match value {
                    MetadataValue::Number(number) => prop_assert!(is_number && number.is_finite()),
                    MetadataValue::Text(text) => {
                        prop_assert!(!is_number && text.encode_utf16().count() <= MAX_VALUE_UTF16_UNITS);
                        let is_known = DATES.contains(&name.as_str()) || TEXTS.contains(&name.as_str());
                        prop_assert!(is_known || name == OTHER);
                    }
                }
            }
        }
    }
}
