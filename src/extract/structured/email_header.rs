//! Header lines of mail: encoded words (RFC 2047) and what stands there instead of them.
//!
//! Own code, although the mail parser decodes headers too: it believes every label, decodes each word for itself (mail
//! programs cut characters of two bytes in half between words), and takes raw Japanese bytes for UTF-8.

use encoding_rs::Encoding;
use mail_parser::decoders::base64::base64_decode;

use crate::extract::charset;

/// Bytes of a header line that are decoded; longer ones are lists of thousands of addresses.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Decodes a header's value, as one line.
pub fn decode(raw: &[u8]) -> String {
    let unfolded: Vec<u8> =
        raw.iter().take(MAX_HEADER_BYTES).copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut text = String::new();
    let mut rest = unfolded.as_slice();
    while !rest.is_empty() {
        match find_word(rest) {
            Some((start, word)) => {
                text.push_str(&charset::decode_labelled(&rest[..start], None));
                let (bytes, length) = joined_words(&rest[start..], &word);
                text.push_str(&charset::decode_labelled(&bytes, Some(word.charset)));
                rest = &rest[start + length..];
            }
            None => {
                text.push_str(&charset::decode_labelled(rest, None));
                break;
            }
        }
    }
    text.split(|c: char| c.is_whitespace() && c != '\u{3000}' || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The value of a parameter (`filename`, `name`) in a header like `attachment; filename="…"`, raw.
pub fn raw_parameter<'a>(raw: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lower = raw.to_ascii_lowercase();
    let marker = format!("{name}=");
    let start = (0..lower.len()).find(|at| {
        lower[*at..].starts_with(marker.as_bytes()) && (*at == 0 || !lower[*at - 1].is_ascii_alphanumeric())
    })? + marker.len();
    let value = raw[start..].trim_ascii_start();
    let (value, end): (&[u8], fn(&u8) -> bool) = match value.strip_prefix(b"\"") {
        Some(quoted) => (quoted, |byte| *byte == b'"'),
        None => (value, |byte| matches!(byte, b';' | b'\r' | b'\n')),
    };
    Some(&value[..value.iter().position(end).unwrap_or(value.len())])
}

/// One encoded word: `=?charset?B|Q?text?=`.
struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
    length: usize,
}

/// The first encoded word in a known charset and where it stands.
fn find_word(text: &[u8]) -> Option<(usize, Word<'_>)> {
    let mut from = 0;
    while let Some(found) = text[from..].windows(2).position(|pair| pair == b"=?") {
        let start = from + found;
        if let Some(word) = word_at(&text[start..]) {
            return Some((start, word));
        }
        from = start + 2;
    }
    None
}

fn word_at(text: &[u8]) -> Option<Word<'_>> {
    let mut parts = text.strip_prefix(b"=?")?.splitn(3, |byte| *byte == b'?');
    let (charset, kind, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let end = rest.windows(2).position(|pair| pair == b"?=")?;
    // A language may follow the charset (RFC 2231, section 5).
    let charset = std::str::from_utf8(charset.split(|byte| *byte == b'*').next()?).ok()?;
    Encoding::for_label(charset.as_bytes())?;
    let encoded = &rest[..end];
    let bytes = match kind {
        b"B" | b"b" => base64_decode(encoded)?,
        b"Q" | b"q" => quoted(encoded),
        _ => return None,
    };
    let length = 2 + charset_and_kind_bytes(text)? + end + 2;
    Some(Word { charset, bytes, length })
}

/// Bytes from behind `=?` up to the encoded text.
fn charset_and_kind_bytes(text: &[u8]) -> Option<usize> {
    let marks = text[2..].iter().enumerate().filter(|(_, byte)| **byte == b'?').map(|(at, _)| at);
    marks.take(2).last().map(|at| at + 1)
}

/// `first` and the words in the same charset that follow it with nothing but white space between, and their length.
fn joined_words(text: &[u8], first: &Word<'_>) -> (Vec<u8>, usize) {
    let (mut bytes, mut length) = (first.bytes.clone(), first.length);
    loop {
        let rest = &text[length..];
        let blank = rest.len() - rest.trim_ascii_start().len();
        match word_at(&rest[blank..]) {
            Some(word) if word.charset.eq_ignore_ascii_case(first.charset) => {
                bytes.extend(word.bytes);
                length += blank + word.length;
            }
            // Another charset: its own word, but the white space between the two is no text.
            Some(_) => return (bytes, length + blank),
            None => return (bytes, length),
        }
    }
}

/// The Q encoding: `_` is a space, `=XX` a byte.
fn quoted(encoded: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(byte) = encoded.get(at) {
        let hex = encoded.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'=', Some(value)) => {
                bytes.push(value);
                at += 2;
            }
            (b'_', _) => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use encoding_rs::{ISO_2022_JP, SHIFT_JIS};

    use super::*;

    #[test]
    fn encoded_words_are_decoded_and_joined() {
        let sjis = SHIFT_JIS.encode("①工区の見積書").0;
        let (front, back) = sjis.split_at(5);
        let word = |charset: &str, bytes: &[u8]| format!("=?{charset}?B?{}?=", BASE64_STANDARD.encode(bytes));
        let jis = ISO_2022_JP.encode("道路").0;
        for (raw, expected) in [
            ("plain  subject\r\n folded".to_owned(), "plain subject folded"),
            (word("ISO-2022-JP", &jis), "道路"),
            (format!("Re: {} (2)", word("iso-2022-jp", &jis)), "Re: 道路 (2)"),
            // A character cut in half between two words.
            (format!("{}\r\n {}", word("Shift_JIS", front), word("shift_jis", back)), "①工区の見積書"),
            // Labels that lie.
            (word("ISO-2022-JP", &sjis), "①工区の見積書"),
            (word("Shift_JIS", "橋梁台帳".as_bytes()), "橋梁台帳"),
            (format!("{} {}", word("utf-8", "橋".as_bytes()), word("iso-2022-jp", &jis)), "橋道路"),
            ("=?utf-8*ja?Q?=E6=A9=8B_a=5F?= <a@example.jp>".to_owned(), "橋 a_ <a@example.jp>"),
            (
                "=?x-unknown?B?AAAA?= =?utf-8?X?a?= =?utf-8?B?".to_owned(),
                "=?x-unknown?B?AAAA?= =?utf-8?X?a?= =?utf-8?B?",
            ),
        ] {
            assert_eq!(decode(raw.as_bytes()), expected, "{raw}");
        }
        assert_eq!(decode(&SHIFT_JIS.encode("橋梁点検のお知らせ").0), "橋梁点検のお知らせ");
    }

    #[test]
    fn parameters_are_found_raw() {
        let raw = [b"attachment;\r\n FileName=\"".as_slice(), &SHIFT_JIS.encode("図面.dwg").0, b"\"; size=3"].concat();
        assert_eq!(decode(raw_parameter(&raw, "filename").unwrap()), "図面.dwg");
        assert_eq!(raw_parameter(b"text/plain; xname=a; name=b c; d=e", "name"), Some(b"b c".as_slice()));
        assert_eq!(raw_parameter(b"text/plain", "name"), None);
    }
}
