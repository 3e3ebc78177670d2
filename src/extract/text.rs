//! Plain text in the encodings that Japan uses.
//!
//! BOM → ISO-2022-JP escapes → strict UTF-8 without zero bytes → UTF-16 without BOM → UTF-8 → chardetng, whose guess must decode without errors.
//! Short texts are guesswork, so decode errors and control characters decide, and what fails them all is binary.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{EUC_JP, Encoding, ISO_2022_JP, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

use super::page_text::{MAX_PAGE_UTF16_UNITS, limit_text};

/// Bytes read of a file: 1,000,000 UTF-16 units take at most 3 million bytes of UTF-8 and fewer in Japanese encodings.
/// The rest of a longer file could not be indexed and is not read.
const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// A larger share of control characters or undecodable bytes makes a file binary: logs contain a stray one.
const MAX_NOISE_SHARE: f64 = 0.01;

/// A larger share of zero bytes in what is not UTF-16 makes a file binary.
const MAX_ZERO_SHARE: f64 = 0.05;

/// UTF-16 without BOM: this share of the units must be characters that Japanese text is made of …
const MIN_PLAUSIBLE_SHARE: f64 = 0.97;

/// … and this share must be ASCII, kana or punctuation. Shift_JIS read as UTF-16 is full of ideographs, but of nothing else.
const MIN_TELLING_SHARE: f64 = 0.1;

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextEncoding {
    encoding: &'static Encoding,
    bom_bytes: usize,
}

impl TextEncoding {
    /// The WHATWG name: `UTF-8`, `Shift_JIS` (which is Windows' code page 932), `EUC-JP` …
    pub fn name(self) -> &'static str {
        self.encoding.name()
    }

    /// Decodes; the end of an incomplete text may cut a character, which is left out.
    fn decode(self, bytes: &[u8], complete: bool) -> String {
        let (mut text, _) = self.encoding.decode_without_bom_handling(&bytes[self.bom_bytes..]);
        if !complete && text.ends_with(char::REPLACEMENT_CHARACTER) {
            let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
            text.to_mut().truncate(whole);
        }
        text.into_owned()
    }
}

/// A text file's text, cleaned and bounded.
#[derive(Clone, Debug, PartialEq)]
pub struct TextFile {
    pub text: String,
    /// See [`TextEncoding::name`].
    pub encoding: &'static str,
    /// The file holds more than `text`.
    pub truncated: bool,
}

/// Reads as much of a text file as could be indexed. `None` when it is binary after all.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> io::Result<Option<TextFile>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let complete = bytes.len() <= MAX_TEXT_BYTES;
    bytes.truncate(MAX_TEXT_BYTES);
    let Some(encoding) = detect(&bytes, complete) else {
        return Ok(None);
    };
    let decoded = encoding.decode(&bytes, complete);
    drop(bytes);
    let (text, cut) = limit_text(without_controls(&decoded), MAX_PAGE_UTF16_UNITS);
    Ok(Some(TextFile { text, encoding: encoding.name(), truncated: cut || !complete }))
}

/// The beginning of a file as text, for a look at what kind of text it is. `None` when it is binary.
pub fn beginning(bytes: &[u8], complete: bool) -> Option<String> {
    detect(bytes, complete).map(|encoding| without_controls(&encoding.decode(bytes, complete)))
}

/// How `bytes` are encoded; `None` when they are no text. With `complete` false the last character may be cut.
pub fn detect(bytes: &[u8], complete: bool) -> Option<TextEncoding> {
    if let Some((encoding, bom_bytes)) = Encoding::for_bom(bytes) {
        return accepted(encoding, bom_bytes, bytes, complete);
    }
    if bytes.is_ascii()
        && has_iso_2022_jp_escape(bytes)
        && let Some(found) = accepted(ISO_2022_JP, 0, bytes, complete)
    {
        return Some(found);
    }
    // Before UTF-16, which short ASCII can look like: "0 " is a per mille sign there. UTF-16 of any length has zero
    // bytes (line ends, digits) or is no UTF-8.
    if !bytes.contains(&0) && is_utf_8(bytes, complete) {
        return accepted(UTF_8, 0, bytes, complete);
    }
    if let Some(encoding) = utf_16_without_bom(bytes) {
        return accepted(encoding, 0, bytes, complete);
    }
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    if zeros as f64 > bytes.len() as f64 * MAX_ZERO_SHARE {
        return None;
    }
    if is_utf_8(bytes, complete) {
        return accepted(UTF_8, 0, bytes, complete);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, complete);
    let guess = detector.guess(Some(b"jp"), Utf8Detection::Deny);
    // The guess is statistics; where it does not decode, the encodings of Japan are tried before giving up.
    [guess, SHIFT_JIS, EUC_JP, UTF_8].into_iter().find_map(|encoding| accepted(encoding, 0, bytes, complete))
}

/// The encoding, if the bytes make sense in it.
fn accepted(encoding: &'static Encoding, bom_bytes: usize, bytes: &[u8], complete: bool) -> Option<TextEncoding> {
    let candidate = TextEncoding { encoding, bom_bytes };
    let text = candidate.decode(bytes, complete);
    let characters = text.chars().count();
    let noise = text.chars().filter(|character| is_noise(*character)).count();
    (noise as f64 <= characters as f64 * MAX_NOISE_SHARE).then_some(candidate)
}

/// Characters that text does not have: undecodable bytes and control characters other than the usual ones. Zeros have a
/// limit of their own.
fn is_noise(character: char) -> bool {
    let usual = matches!(character, '\0' | '\t' | '\n' | '\r' | '\u{c}' | '\u{1a}' | '\u{1b}' | '\u{85}');
    (character.is_control() && !usual) || character == char::REPLACEMENT_CHARACTER
}

fn is_utf_8(bytes: &[u8], complete: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // Only the last character is cut.
        Err(error) => !complete && error.error_len().is_none(),
    }
}

/// The escape sequences that switch to two-byte Japanese (RFC 1468).
fn has_iso_2022_jp_escape(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|window| matches!(window, b"\x1b$@" | b"\x1b$B"))
}

fn utf_16_without_bom(bytes: &[u8]) -> Option<&'static Encoding> {
    let (pairs, _) = bytes.as_chunks::<2>();
    if pairs.len() < 2 {
        return None;
    }
    let looks_right = |unit_of: fn([u8; 2]) -> u16| {
        let is_telling = |unit: u16| matches!(unit, 9 | 10 | 13 | 0x20..=0x7E | 0x3000..=0x30FF | 0xFF01..=0xFF9F);
        let is_plausible =
            |unit: u16| is_telling(unit) || matches!(unit, 0xA0..=0xFF | 0x2010..=0x26FF | 0x4E00..=0x9FFF);
        let telling = pairs.iter().filter(|pair| is_telling(unit_of(**pair))).count();
        let plausible = pairs.iter().filter(|pair| is_plausible(unit_of(**pair))).count();
        let share = |count: usize| count as f64 / pairs.len() as f64;
        share(plausible) >= MIN_PLAUSIBLE_SHARE && share(telling) >= MIN_TELLING_SHARE
    };
    if looks_right(u16::from_le_bytes) {
        return Some(UTF_16LE);
    }
    looks_right(u16::from_be_bytes).then_some(UTF_16BE)
}

/// Lines end in LF; control characters other than tabs go, and so do byte order marks in the middle of joined files.
fn without_controls(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\u{85}' | '\u{c}' => cleaned.push('\n'),
            '\n' | '\t' => cleaned.push(character),
            '\u{feff}' => {}
            control if control.is_control() => {}
            other => cleaned.push(other),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const SAMPLE: &str = "道路台帳の更新について\r\n対象：国道246号、①工区\r\nRoad ledger update\r\n";

    fn read_bytes(bytes: &[u8]) -> Option<TextFile> {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(bytes).expect("write");
        read(file.path()).expect("read")
    }

    fn utf_16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes_of).collect()
    }

    #[test]
    fn short_ascii_is_not_taken_for_utf_16() {
        for text in ["memo 0\n", "hello 0\n", "memo 10 ends here\n", "0 \n", "OK"] {
            let found = detect(text.as_bytes(), true).expect("ASCII is text");
            assert_eq!(found.decode(text.as_bytes(), true), text);
        }
    }

    #[test]
    fn every_japanese_encoding_gives_the_same_text() {
        // EUC-JP and ISO-2022-JP have no ①.
        let plain = SAMPLE.replace('①', "1");
        let encoded = |encoding: &'static Encoding, text: &str| encoding.encode(text).0.into_owned();
        for (name, bytes, expected) in [
            ("UTF-8", SAMPLE.as_bytes().to_vec(), SAMPLE),
            ("UTF-8", [b"\xEF\xBB\xBF", SAMPLE.as_bytes()].concat(), SAMPLE),
            ("Shift_JIS", encoded(SHIFT_JIS, SAMPLE), SAMPLE),
            ("EUC-JP", encoded(EUC_JP, &plain), &plain),
            ("ISO-2022-JP", encoded(ISO_2022_JP, &plain), &plain),
            ("UTF-16LE", utf_16(SAMPLE, u16::to_le_bytes), SAMPLE),
            ("UTF-16BE", utf_16(SAMPLE, u16::to_be_bytes), SAMPLE),
            ("UTF-16LE", utf_16(&format!("\u{feff}{SAMPLE}"), u16::to_le_bytes), SAMPLE),
            ("UTF-16BE", utf_16(&format!("\u{feff}{SAMPLE}"), u16::to_be_bytes), SAMPLE),
        ] {
            let read = read_bytes(&bytes).unwrap_or_else(|| panic!("{name} taken for binary"));
            assert_eq!((read.encoding, read.text), (name, expected.replace("\r\n", "\n")));
            assert!(!read.truncated);
        }
    }

    #[test]
    fn short_japanese_texts_are_recognised() {
        for text in ["道路", "見積書", "第３回会議 議事録", "サーバー"] {
            assert_eq!(read_bytes(&SHIFT_JIS.encode(text).0).expect("text").text, text);
        }
        // "道路" in EUC-JP happens to be UTF-8 for two other letters, and UTF-8 comes first.
        for text in ["道路台帳", "見積書", "第３回会議 議事録", "サーバー"] {
            assert_eq!(read_bytes(&EUC_JP.encode(text).0).expect("text").text, text);
        }
    }

    #[test]
    fn binary_is_no_text() {
        let noise: Vec<u8> = (0..4_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(read_bytes(&noise), None);
        assert_eq!(read_bytes(&[b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".as_slice(), &[0; 200]].concat()), None);
    }

    #[test]
    fn stray_control_characters_go() {
        let read =
            read_bytes(format!("{}a\0b\u{1b}c\u{7}\tx\u{c}y\rz", "log line\n".repeat(50)).as_bytes()).expect("text");
        assert!(read.text.ends_with("abc\tx\ny\nz"), "{:?}", &read.text[440..]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_says_so() {
        let long = "道".repeat(MAX_PAGE_UTF16_UNITS + 10);
        let read = read_bytes(long.as_bytes()).expect("text");
        assert_eq!(read.text.encode_utf16().count(), MAX_PAGE_UTF16_UNITS);
        assert!(read.truncated);
    }

    #[test]
    fn only_the_beginning_of_a_huge_file_is_read() {
        // The limit falls into the middle of a character of three bytes.
        let huge = "あ".repeat(MAX_TEXT_BYTES / 3 + 1000);
        let read = read_bytes(huge.as_bytes()).expect("text");
        assert!(read.truncated && read.text.chars().all(|character| character == 'あ'));
        let sjis = SHIFT_JIS.encode(&format!("x{}", "あ".repeat(MAX_TEXT_BYTES / 2 + 1000))).0.into_owned();
        let read = read_bytes(&sjis).expect("text");
        assert!(read.truncated && read.text.starts_with("xああ") && read.text.ends_with("ああ"));
    }
}
