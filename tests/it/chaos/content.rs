//! What is in the objects: mostly small texts, some scans, some files that harm their reader.

use crate::agreement::Expected;
use crate::harness::read_fixture;
use crate::pdf;

/// Pages of the longest scan.
const MAX_SCAN_PAGES: usize = 4;
/// What kind of file an object is, in all its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Text,
    TextPdf,
    Scan,
    Picture,
    MetadataOnly,
    Empty,
    Hostile,
    /// Orders its reader to crash, hang or eat memory (debug builds obey).
    Poison,
}

impl Class {
    /// The first objects of every plan, so that a short one has all there is.
    pub const FIRST: [Class; 9] = [
        Class::Scan,
        Class::TextPdf,
        Class::Picture,
        Class::MetadataOnly,
        Class::Empty,
        Class::Hostile,
        Class::Scan,
        Class::Hostile,
        Class::Poison,
    ];

    /// As often as it should be among a thousand objects.
    pub fn drawn(random: &mut fastrand::Rng) -> Self {
        match random.u16(..1000) {
            0..20 => Class::Scan,
            20..60 => Class::TextPdf,
            60..80 => Class::Picture,
            80..110 => Class::MetadataOnly,
            110..120 => Class::Empty,
            120..140 => Class::Hostile,
            140..146 => Class::Poison,
            _ => Class::Text,
        }
    }

    pub fn extension(self, random: &mut fastrand::Rng) -> &'static str {
        let choices: &[&str] = match self {
            Class::Text | Class::Empty => &["txt", "txt", "csv", "md", "log"],
            Class::TextPdf | Class::Scan | Class::Hostile => &["pdf"],
            Class::Picture => &["png"],
            Class::MetadataOnly => &["dwg", "sfc", "iso", "xdw"],
            Class::Poison => &["pdf", "txt"],
        };
        choices[random.usize(..choices.len())]
    }

    /// Bytes that no other version of any object has, and what must become of them.
    pub fn content(self, random: &mut fastrand::Rng) -> (Vec<u8>, Expected) {
        let marker = format!("marker{:08x}", random.u32(..));
        match self {
            Class::Text => {
                let bytes = text(random, &marker);
                let expected = Expected::text(&bytes, &marker);
                (bytes, expected)
            }
            Class::TextPdf => {
                let line = "Periodic inspection of the bridge deck and of its bearings";
                let bytes = pdf::with_text(&[line, &marker, line, line]);
                let expected = Expected::text(&bytes, &marker);
                (bytes, expected)
            }
            Class::Scan => {
                let bytes = with_comment(pdf::scan(random.usize(1..=MAX_SCAN_PAGES)), &marker);
                let expected = Expected::text(&bytes, "smoke test");
                (bytes, expected)
            }
            Class::Picture => {
                let mut bytes = read_fixture("images/1x1.png");
                bytes.extend_from_slice(marker.as_bytes());
                let expected = Expected::bytes(&bytes, &["indexed_without_text"]);
                (bytes, expected)
            }
            Class::MetadataOnly => (marker.into_bytes(), Expected::metadata_only()),
            Class::Empty => (Vec::new(), Expected::nothing()),
            Class::Hostile => {
                let bytes = hostile(random, &marker);
                let expected = Expected::bytes(&bytes, &["indexed_without_text"]);
                (bytes, expected)
            }
            Class::Poison => (poison(random, &marker), Expected::some_document()),
        }
    }
}

/// A small Japanese text with the marker in it, in one of the encodings of contract §5.
fn text(random: &mut fastrand::Rng, marker: &str) -> Vec<u8> {
    let paragraph =
        "橋梁の定期点検を実施した結果、支承部の腐食と床版のひび割れを確認しました。\n補修の計画をまとめる。\n";
    let repeated = if random.u8(..50) == 0 { 2_000 } else { random.usize(1..20) };
    let text = format!("点検の記録 {marker}\n{}", paragraph.repeat(repeated));
    match random.u8(..10) {
        0 => encoding_rs::SHIFT_JIS.encode(&text).0.into_owned(),
        1 => encoding_rs::EUC_JP.encode(&text).0.into_owned(),
        2 => encoding_rs::ISO_2022_JP.encode(&text).0.into_owned(),
        3 => std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
        4 => std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
        5 => format!("\u{feff}{text}").into_bytes(),
        _ => text.into_bytes(),
    }
}

/// A PDF whose text nobody can have.
fn hostile(random: &mut fastrand::Rng, marker: &str) -> Vec<u8> {
    match random.u8(..4) {
        0 => {
            let whole = pdf::scan(2);
            with_comment(whole[..whole.len() / 3].to_vec(), marker)
        }
        1 => with_comment(b"%PDF-1.7\n\x00\x01\x02garbage".to_vec(), marker),
        2 => with_comment(read_fixture("bad/noise.bin"), marker),
        _ => with_comment(read_fixture("bad/encrypted.pdf"), marker),
    }
}

/// A document that makes its reader misbehave, once or whenever it is read in full.
fn poison(random: &mut fastrand::Rng, marker: &str) -> Vec<u8> {
    let stage = ["open", "survey", "recognize"][random.usize(..3)];
    // A hanging child is waited for; so only a few do.
    let how = ["segfault", "segfault", "memory", "hang"][random.usize(..4)];
    let effort = ["normal", "always"][random.usize(..2)];
    with_comment(with_comment(pdf::scan(1), marker), &format!("fpw-test:{stage}:{how}:{effort}"))
}

/// A PDF with a comment after its end: other bytes, the same document.
fn with_comment(mut bytes: Vec<u8>, comment: &str) -> Vec<u8> {
    bytes.extend_from_slice(format!("\n%{comment}\n").as_bytes());
    bytes
}
