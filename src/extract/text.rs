//! Plain text in the encodings that Japan uses.
//!
//! BOM → ISO-2022-JP escapes → strict UTF-8 without zero bytes → UTF-32 and UTF-16 without BOM → UTF-8 → chardetng, whose guess must decode
//! without errors. Short texts are guesswork, so decode errors and control characters decide, and what fails them all is
//! binary. A BOM is believed only when what follows decodes: programs put one before text of any kind.

use std::io::{self, Read};

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
    charset: Charset,
    bom_bytes: usize,
}

/// UTF-32 is the one encoding that browsers, and so encoding_rs, do not know.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Charset {
    Known(&'static Encoding),
    Utf32Le,
    Utf32Be,
}

impl TextEncoding {
    /// A charset that is known from elsewhere.
    pub fn without_bom(encoding: &'static Encoding) -> Self {
        Self { charset: Charset::Known(encoding), bom_bytes: 0 }
    }

    /// The WHATWG name: `UTF-8`, `Shift_JIS` (which is Windows' code page 932), `EUC-JP` …; or `UTF-32LE`, `UTF-32BE`.
    pub fn name(self) -> &'static str {
        match self.charset {
            Charset::Known(encoding) => encoding.name(),
            Charset::Utf32Le => "UTF-32LE",
            Charset::Utf32Be => "UTF-32BE",
        }
    }

    /// `None` for UTF-32.
    pub fn known(self) -> Option<&'static Encoding> {
        match self.charset {
            Charset::Known(encoding) => Some(encoding),
            Charset::Utf32Le | Charset::Utf32Be => None,
        }
    }

    /// Decodes; the end of an incomplete text may cut a character, which is left out.
    pub fn decode(self, bytes: &[u8], complete: bool) -> String {
        let bytes = bytes.get(self.bom_bytes..).unwrap_or_default();
        let mut text = match self.charset {
            Charset::Known(encoding) => encoding.decode_without_bom_handling(bytes).0,
            Charset::Utf32Le => utf_32(bytes, u32::from_le_bytes).into(),
            Charset::Utf32Be => utf_32(bytes, u32::from_be_bytes).into(),
        };
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

/// Reads as much of a text as could be indexed. `None` when it is binary after all.
///
/// # Errors
/// When it cannot be read.
pub fn read(source: impl Read) -> io::Result<Option<TextFile>> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(from_bytes(&bytes))
}

/// The same of bytes that are in memory already.
pub fn from_bytes(bytes: &[u8]) -> Option<TextFile> {
    let complete = bytes.len() <= MAX_TEXT_BYTES;
    let bytes = &bytes[..bytes.len().min(MAX_TEXT_BYTES)];
    let encoding = detect(bytes, complete)?;
    let decoded = encoding.decode(bytes, complete);
    let (text, cut) = limit_text(without_controls(&decoded), MAX_PAGE_UTF16_UNITS);
    Some(TextFile { text, encoding: encoding.name(), truncated: cut || !complete })
}

/// The beginning of a file as text, for a look at what kind of text it is. `None` when it is binary.
pub fn beginning(bytes: &[u8], complete: bool) -> Option<String> {
    detect(bytes, complete).map(|encoding| without_controls(&encoding.decode(bytes, complete)))
}

/// How `bytes` are encoded; `None` when they are no text. With `complete` false the last character may be cut.
pub fn detect(bytes: &[u8], complete: bool) -> Option<TextEncoding> {
    // Before UTF-16, whose mark is the first half of this one.
    if let Some(found) = utf_32_with_bom(bytes) {
        return accepted(found, bytes, complete);
    }
    if let Some((encoding, bom_bytes)) = Encoding::for_bom(bytes) {
        let marked = TextEncoding { charset: Charset::Known(encoding), bom_bytes };
        return accepted(marked, bytes, complete).or_else(|| {
            let found = detect_unmarked(&bytes[bom_bytes..], complete)?;
            Some(TextEncoding { bom_bytes, ..found })
        });
    }
    detect_unmarked(bytes, complete)
}

fn detect_unmarked(bytes: &[u8], complete: bool) -> Option<TextEncoding> {
    let accepted_as = |encoding: &'static Encoding| accepted(TextEncoding::without_bom(encoding), bytes, complete);
    if bytes.is_ascii()
        && has_iso_2022_jp_escape(bytes)
        && let Some(found) = accepted_as(ISO_2022_JP)
    {
        return Some(found);
    }
    // Before UTF-16, which short ASCII can look like: "0 " is a per mille sign there. UTF-16 of any length has zero
    // bytes (line ends, digits) or is no UTF-8.
    if !bytes.contains(&0) && is_utf_8(bytes, complete) {
        return accepted_as(UTF_8);
    }
    if let Some(found) = utf_32_without_bom(bytes) {
        return Some(found);
    }
    if let Some(encoding) = utf_16_without_bom(bytes) {
        return accepted_as(encoding);
    }
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    if zeros as f64 > bytes.len() as f64 * MAX_ZERO_SHARE {
        return None;
    }
    if is_utf_8(bytes, complete) {
        return accepted_as(UTF_8);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, complete);
    let guess = detector.guess(Some(b"jp"), Utf8Detection::Deny);
    // The guess is statistics; where it does not decode, the encodings of Japan are tried before giving up.
    [guess, SHIFT_JIS, EUC_JP, UTF_8].into_iter().find_map(accepted_as)
}

/// The encoding, if the bytes make sense in it.
fn accepted(candidate: TextEncoding, bytes: &[u8], complete: bool) -> Option<TextEncoding> {
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

/// The escape sequences that switch to two-byte Japanese (RFC 1468), or to half-width kana as Windows writes it.
pub fn has_iso_2022_jp_escape(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|window| matches!(window, b"\x1b$@" | b"\x1b$B" | b"\x1b(I"))
}

fn utf_32(bytes: &[u8], value_of: fn([u8; 4]) -> u32) -> String {
    let (quads, _) = bytes.as_chunks::<4>();
    quads.iter().map(|quad| char::from_u32(value_of(*quad)).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn utf_32_with_bom(bytes: &[u8]) -> Option<TextEncoding> {
    match bytes.first_chunk::<4>()? {
        b"\xFF\xFE\0\0" => Some(TextEncoding { charset: Charset::Utf32Le, bom_bytes: 4 }),
        b"\0\0\xFE\xFF" => Some(TextEncoding { charset: Charset::Utf32Be, bom_bytes: 4 }),
        _ => None,
    }
}

/// Every group of four bytes is a character that texts have: no other kind of file looks like that.
fn utf_32_without_bom(bytes: &[u8]) -> Option<TextEncoding> {
    let (quads, _) = bytes.as_chunks::<4>();
    let all_characters = |value_of: fn([u8; 4]) -> u32| {
        let is_character = |quad: &[u8; 4]| char::from_u32(value_of(*quad)).is_some_and(|c| c != '\0' && !is_noise(c));
        quads.len() >= 2 && quads.iter().all(is_character)
    };
    if all_characters(u32::from_le_bytes) {
        return Some(TextEncoding { charset: Charset::Utf32Le, bom_bytes: 0 });
    }
    all_characters(u32::from_be_bytes).then_some(TextEncoding { charset: Charset::Utf32Be, bom_bytes: 0 })
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
pub fn without_controls(text: &str) -> String {
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
    use super::*;

    const SAMPLE: &str = "道路台帳の更新について\r\n対象：国道246号、①工区\r\nRoad ledger update\r\n";

    fn read_bytes(bytes: &[u8]) -> Option<TextFile> {
        read(bytes).expect("read")
    }

    fn utf_16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes_of).collect()
    }

    fn utf_32(text: &str, bytes_of: fn(u32) -> [u8; 4]) -> Vec<u8> {
        text.chars().flat_map(|character| bytes_of(u32::from(character))).collect()
    }

    #[test]
    fn a_mark_that_lies_is_not_believed() {
        let marked = [b"\xEF\xBB\xBF".as_slice(), &SHIFT_JIS.encode(SAMPLE).0].concat();
        let read = read_bytes(&marked).expect("text");
        assert_eq!((read.encoding, read.text), ("Shift_JIS", SAMPLE.replace("\r\n", "\n")));
    }

    #[test]
    fn half_width_kana_are_kept_as_they_are() {
        let text = "ｺﾝｸﾘｰﾄ 擁壁の数量ﾃﾞｰﾀ";
        assert_eq!(read_bytes(&SHIFT_JIS.encode(text).0).expect("text").text, text);
        assert_eq!(read_bytes(&EUC_JP.encode(text).0).expect("text").text, text);
        // encoding_rs writes full-width kana here; Windows writes the escape of JIS X 0201.
        assert_eq!(read_bytes(b"\x1b(I6]D\x1b(B\n").expect("text").text, "ｶﾝﾄ\n");
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
            ("UTF-32LE", utf_32(SAMPLE, u32::to_le_bytes), SAMPLE),
            ("UTF-32BE", utf_32(SAMPLE, u32::to_be_bytes), SAMPLE),
            ("UTF-32LE", utf_32(&format!("\u{feff}{SAMPLE}"), u32::to_le_bytes), SAMPLE),
            ("UTF-32BE", utf_32(&format!("\u{feff}{SAMPLE}"), u32::to_be_bytes), SAMPLE),
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
