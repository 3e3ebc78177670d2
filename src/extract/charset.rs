//! Text whose charset is written beside it, which in Japan is often not the truth.
//!
//! Windows' code page 932 is labelled `Shift_JIS` or `ISO-2022-JP`, UTF-8 is labelled with whatever the template said,
//! and raw Japanese bytes stand where a standard allows ASCII only. So a label is believed when the bytes agree.

use encoding_rs::{EUC_JP, Encoding, ISO_2022_JP, SHIFT_JIS, UTF_8};

use super::text::{self, TextEncoding, has_iso_2022_jp_escape};

/// Decodes `bytes` (all of them: nothing is cut) that are said to be in `label`; `None` when nothing is said.
///
/// A BOM comes first, then the label if it can be true, then detection; bytes that are nothing at all are decoded with
/// replacement characters. Never fails: the caller knows already that it is text.
pub fn decode_labelled(bytes: &[u8], label: Option<&str>) -> String {
    encoding_of(bytes, label).decode(bytes, true)
}

/// What [`decode_labelled`] decodes with.
pub fn encoding_of(bytes: &[u8], label: Option<&str>) -> TextEncoding {
    let labelled = label.and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    if Encoding::for_bom(bytes).is_none()
        && let Some(trusted) = labelled.and_then(|encoding| trusted(encoding, bytes))
    {
        return TextEncoding::without_bom(trusted);
    }
    text::detect(bytes, true).unwrap_or_else(|| TextEncoding::without_bom(labelled.unwrap_or(UTF_8)))
}

/// The labelled encoding, or the one that is usually meant by it, when the bytes agree.
fn trusted(labelled: &'static Encoding, bytes: &[u8]) -> Option<&'static Encoding> {
    if bytes.is_ascii() {
        // Zero bytes are UTF-16; that is for detection, as are all labels that say so.
        let plain = if has_iso_2022_jp_escape(bytes) { ISO_2022_JP } else { UTF_8 };
        return (!bytes.contains(&0)).then_some(plain);
    }
    if labelled == ISO_2022_JP || labelled.name().starts_with("UTF-16") {
        return None;
    }
    if is_telling_utf_8(bytes) {
        return Some(UTF_8);
    }
    let text = strictly(labelled, bytes)?;
    if labelled.is_single_byte() {
        return Some(japanese_after_all(bytes).unwrap_or(labelled));
    }
    if labelled == SHIFT_JIS && is_euc_jp(bytes, &text) {
        return Some(EUC_JP);
    }
    Some(labelled)
}

/// The text, when every byte of it has a meaning.
fn strictly(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    encoding.decode_without_bom_handling_and_without_replacement(bytes).map(|text| text.into_owned())
}

/// UTF-8 with a character of three bytes or more, as Japanese is: no other encoding looks like that by chance. Two
/// bytes do: 道路 in EUC-JP are two letters in UTF-8.
fn is_telling_utf_8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().any(|character| character.len_utf8() >= 3))
}

/// Bytes under a Western label that are Japanese: no Japanese sentence is without kana.
fn japanese_after_all(bytes: &[u8]) -> Option<&'static Encoding> {
    let found = text::detect(bytes, true)?.known()?;
    let is_japanese = [SHIFT_JIS, EUC_JP, UTF_8].contains(&found);
    (is_japanese && strictly(found, bytes)?.chars().any(is_full_width_kana)).then_some(found)
}

/// EUC-JP read as Shift_JIS is half-width kana throughout, without a single error.
fn is_euc_jp(bytes: &[u8], as_shift_jis: &str) -> bool {
    let only_half_width =
        as_shift_jis.chars().all(|character| character.is_ascii() || matches!(character, '\u{ff61}'..='\u{ff9f}'));
    only_half_width && strictly(EUC_JP, bytes).is_some_and(|text| text.chars().any(is_full_width_kana))
}

fn is_full_width_kana(character: char) -> bool {
    matches!(character, '\u{3041}'..='\u{30fe}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "お世話になります。橋梁点検の件、サーバーに保存しました";

    #[test]
    fn a_label_is_believed_only_when_the_bytes_agree() {
        let encoded = |encoding: &'static Encoding| encoding.encode(SAMPLE).0.into_owned();
        for bytes in [encoded(UTF_8), encoded(SHIFT_JIS), encoded(EUC_JP), encoded(ISO_2022_JP)] {
            for label in [None, Some("utf-8"), Some("Shift_JIS"), Some("iso-2022-jp"), Some("euc-jp"), Some("us-ascii")]
                .into_iter()
                .chain([Some("iso-8859-1"), Some("utf-16"), Some("x-nonsense")])
            {
                assert_eq!(decode_labelled(&bytes, label), SAMPLE, "labelled {label:?}: {bytes:02x?}");
            }
        }
    }

    #[test]
    fn code_page_932_has_more_than_its_label_says() {
        let text = "①工区 ㈱山田組 髙橋 ｺﾝｸﾘｰﾄ";
        let bytes = SHIFT_JIS.encode(text).0;
        assert_eq!(decode_labelled(&bytes, Some("Shift_JIS")), text);
        assert_eq!(decode_labelled(&bytes, Some("iso-2022-jp")), text);
        // NEC's special characters in ISO-2022-JP, as Outlook sends them.
        assert_eq!(decode_labelled(b"\x1b$B-!\x1b(B", Some("iso-2022-jp")), "①");
    }

    #[test]
    fn western_text_stays_western() {
        for text in ["Größe der Brücke", "à la française", "Mädchen, Übergröße"] {
            let bytes: Vec<u8> = text.chars().map(|character| u32::from(character) as u8).collect();
            assert_eq!(decode_labelled(&bytes, Some("iso-8859-1")), text);
        }
    }
}
