//! The path that a file had on the NAS, out of what the scanner put into S3 user metadata or a message.
//!
//! S3 metadata is ASCII, so Japanese paths come as RFC 2047 encoded-words (S3 itself returns them so) or in percent
//! form. Which one it is has to be seen; what decodes to nothing sensible is taken as it stands.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::Encoding;
use percent_encoding::percent_decode_str;

/// Windows paths end at 32,767 UTF-16 units and real ones far earlier; what is longer is no path, and the index's
/// keyword fields have their own limit of 32,766 bytes.
const MAX_PATH_CHARS: usize = 4096;

/// Encoders disagree on padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The path in readable form; `None` when it is empty, too long or no text.
pub fn decode_original_path(sent: &str) -> Option<String> {
    if sent.len() > MAX_PATH_CHARS * 12 {
        return None;
    }
    let decoded = decode_encoded_words(sent).or_else(|| decode_percent_form(sent)).unwrap_or_else(|| sent.to_owned());
    let path = decoded.trim();
    let is_path = !path.is_empty() && path.chars().count() <= MAX_PATH_CHARS && !path.chars().any(char::is_control);
    is_path.then(|| path.to_owned())
}

/// Percent form is ASCII, and each of its `%` has two hexadecimal digits; everything else is a path with a `%` in it.
fn decode_percent_form(sent: &str) -> Option<String> {
    if !sent.is_ascii() || !sent.contains('%') {
        return None;
    }
    let every_percent_is_an_escape = sent.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    });
    if !every_percent_is_an_escape {
        return None;
    }
    percent_decode_str(sent).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

/// Text with encoded-words (RFC 2047 §2) replaced by what they say; `None` when it has none, or one that does not
/// decode. White space between two encoded-words is not text (§6.2).
fn decode_encoded_words(sent: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut pending = PendingBytes::default();
    let mut rest = sent;
    while let Some(start) = rest.find("=?") {
        let between = &rest[..start];
        let (word, after) = EncodedWord::parse(&rest[start..])?;
        if !between.trim().is_empty() || pending.charset.is_none() {
            decoded.push_str(&pending.take()?);
            decoded.push_str(between);
        }
        // Some encoders split a character between two words, so neighbours of one charset are decoded together.
        if pending.charset != Some(word.charset) {
            decoded.push_str(&pending.take()?);
        }
        pending.charset = Some(word.charset);
        pending.bytes.extend(word.bytes);
        rest = after;
    }
    pending.charset?;
    decoded.push_str(&pending.take()?);
    decoded.push_str(rest);
    Some(decoded)
}

/// Bytes of neighbouring encoded-words in one charset.
#[derive(Default)]
struct PendingBytes {
    charset: Option<&'static Encoding>,
    bytes: Vec<u8>,
}

impl PendingBytes {
    /// Their text, leaving nothing; `None` when the bytes are not of that charset.
    fn take(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.bytes);
        let Some(charset) = self.charset.take() else {
            return Some(String::new());
        };
        charset.decode_without_bom_handling_and_without_replacement(&bytes).map(|text| text.into_owned())
    }
}

/// `=?charset?B|Q?text?=`
struct EncodedWord {
    charset: &'static Encoding,
    bytes: Vec<u8>,
}

impl EncodedWord {
    /// The encoded-word that the text begins with, and what follows it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (label, rest) = text.strip_prefix("=?")?.split_once('?')?;
        let (encoding, rest) = rest.split_once('?')?;
        let (payload, after) = rest.split_once("?=")?;
        // RFC 2231 §5: a language may follow the charset.
        let charset_name = label.split('*').next().unwrap_or(label);
        let charset = Encoding::for_label(charset_name.as_bytes())?;
        let bytes = match encoding {
            "B" | "b" => BASE64.decode(payload).ok()?,
            "Q" | "q" => decode_q(payload)?,
            _ => return None,
        };
        Some((Self { charset, bytes }, after))
    }
}

/// RFC 2047 §4.2: `_` is a space, `=XX` a byte.
fn decode_q(payload: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(payload.len());
    let mut rest = payload.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'=', [high, low, after_escape @ ..]) => {
                let digits = [*high, *low];
                bytes.extend(hex::decode(digits).ok()?);
                rest = after_escape;
            }
            (b'=', _) => return None,
            (b'_', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (literal, _) => {
                bytes.push(*literal);
                rest = after;
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_decodes(sent: &str, expected: &str) {
        assert_eq!(decode_original_path(sent).as_deref(), Some(expected), "{sent}");
    }

    #[test]
    fn plain_paths_stay() {
        for path in
            [r"\\ts-server3\share\図面.pdf", "/mnt/nas/a b.pdf", r"\\s\進捗 100%.xls", "100%20%達成.xls", "a=?b"]
        {
            assert_decodes(path, path);
        }
    }

    #[test]
    fn percent_form_is_decoded() {
        assert_decodes("%5C%5Cts-server3%5Cshare%5C%E5%9B%B3%E9%9D%A2.pdf", r"\\ts-server3\share\図面.pdf");
        assert_decodes("//ts-server3/share/a%20b.pdf", "//ts-server3/share/a b.pdf");
        assert_decodes("a+b%2B.pdf", "a+b+.pdf");
        assert_decodes("50%25.pdf", "50%.pdf");
        // Not percent form: a digit is missing, or the bytes are no text.
        assert_decodes("100%.pdf", "100%.pdf");
        assert_decodes("50%2", "50%2");
        assert_decodes("%FF%FE", "%FF%FE");
    }

    #[test]
    fn encoded_words_are_decoded() {
        assert_decodes("=?UTF-8?B?XFx0cy1zZXJ2ZXIzXOWbs+mdoi5wZGY=?=", r"\\ts-server3\図面.pdf");
        assert_decodes("=?utf-8?b?XFx0cy1zZXJ2ZXIzXOWbs+mdoi5wZGY?=", r"\\ts-server3\図面.pdf");
        assert_decodes("=?UTF-8?Q?=5C=5Cts-server3=5C=E5=9B=B3_1.pdf?=", r"\\ts-server3\図 1.pdf");
        assert_decodes("=?ISO-2022-JP?B?GyRCP14bKEIucGRm?=", "図.pdf");
        // ① is in windows-31j, not in Shift_JIS proper: what Japanese systems call Shift_JIS.
        assert_decodes("=?Shift_JIS?B?kH2WyodALnBkZg==?=", "図面①.pdf");
        assert_decodes("=?Shift_JIS?Q?=90}.pdf?=", "図.pdf");
        assert_decodes("=?UTF-8*ja?B?5Zuz?=", "図");
    }

    #[test]
    fn neighbouring_encoded_words_are_one_text() {
        assert_decodes("=?UTF-8?B?5Zuz?= =?UTF-8?B?6Z2i?=", "図面");
        // 図 is E5 9B B3, split after the second byte.
        assert_decodes("=?UTF-8?B?5Zs=?=\r\n =?UTF-8?B?sw==?=", "図");
        assert_decodes("=?UTF-8?B?5Zuz?= =?ISO-2022-JP?B?GyRCP14bKEI=?=", "図図");
        assert_decodes("//s/=?UTF-8?B?5Zuz?= and =?UTF-8?B?6Z2i?=.pdf", "//s/図 and 面.pdf");
    }

    #[test]
    fn broken_encoded_words_are_taken_as_they_stand() {
        for sent in [
            "=?UTF-8?B?5Zuz",
            "=?UTF-8?X?5Zuz?=",
            "=?no-such-charset?B?5Zuz?=",
            "=?UTF-8?B?****?=",
            "=?UTF-8?B?/////w==?=",
            "=?UTF-8?Q?=5?=",
            "=?UTF-8?Q?=ZZ?=",
        ] {
            assert_decodes(sent, sent);
        }
    }

    #[test]
    fn what_is_no_path_is_none() {
        for sent in ["", "  ", "a\0b", "a%0Ab", &"長".repeat(4097), &"x".repeat(100_000)] {
            assert_eq!(decode_original_path(sent), None);
        }
        assert!(decode_original_path(&"長".repeat(4096)).is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(sent in any::<String>(), word in "=\\?(UTF-8|Shift_JIS)\\?[BQ]\\?[!-~]{0,20}\\?=") {
            decode_original_path(&sent);
            decode_original_path(&format!("{sent}{word}{sent}"));
        }

        #[test]
        fn every_path_survives_each_encoding(path in "\\\\\\\\[a-z]{1,5}\\\\[\\p{Han}\\p{Hiragana}\\p{Katakana}a-z0-9 ]{0,30}x") {
            let percent = utf8_percent_encode(&path, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode_original_path(&percent), Some(path.clone()));
            let base64 = format!("=?UTF-8?B?{}?=", BASE64.encode(&path));
            prop_assert_eq!(decode_original_path(&base64), Some(path.clone()));
            let quoted: String = path.bytes().map(|byte| format!("={byte:02X}")).collect();
            prop_assert_eq!(decode_original_path(&format!("=?UTF-8?Q?{quoted}?=")), Some(path));
        }
    }
}
