//! Archives as they come, with Japanese names in every form, and archives that were made to hurt.

use std::io::{Cursor, Write};

use encoding_rs::SHIFT_JIS;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::bounds::Budget;
use super::made::seven_zip_of;
use super::{Reader, StructuredFile, archive_7z, archive_gz, archive_tar, archive_zip, nested};
use crate::document::{Failure, MetadataValue, Reason};

const UTF_8_FLAG: u16 = 1 << 11;
const ENCRYPTED_FLAG: u16 = 1;

/// A ZIP archive of empty entries: flags and raw name of each.
fn zip_of(entries: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (flags, name) in entries {
        let mut common = [20_u16.to_le_bytes(), flags.to_le_bytes()].concat();
        common.extend([0; 18]);
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((archive.len() as u32).to_le_bytes());
        directory.extend(name);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name);
    }
    let start = archive.len() as u32;
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([(entries.len() as u16).to_le_bytes(); 2].concat());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).expect("append");
    }
    builder.into_inner().expect("tar")
}

fn gzip(bytes: &[u8], name: Option<&[u8]>) -> Vec<u8> {
    let mut builder = flate2::GzBuilder::new();
    if let Some(name) = name {
        builder = builder.filename(name);
    }
    let mut encoder: GzEncoder<Vec<u8>> = builder.write(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

fn text_of(file: &StructuredFile) -> &str {
    &file.sections[0].text
}

fn budget() -> Budget {
    Budget::new(1024 * 1024)
}

fn read(reader: Reader, bytes: &[u8]) -> Result<StructuredFile, Failure> {
    reader(&mut Cursor::new(bytes), &mut budget())
}

#[test]
fn names_in_a_zip_are_read_in_code_page_932_in_utf_8_and_when_entries_are_encrypted() {
    let archive = zip_of(&[
        (0, SHIFT_JIS.encode("図面/橋梁一般図①.dwg").0.into_owned()),
        (UTF_8_FLAG, "写真/か\u{3099}け.jpg".as_bytes().to_vec()),
        (ENCRYPTED_FLAG, SHIFT_JIS.encode("契約書.pdf").0.into_owned()),
        (0, "議事録.txt".as_bytes().to_vec()),
        (0, b"readme.txt".to_vec()),
    ]);
    let expected = "図面/橋梁一般図①.dwg\n写真/がけ.jpg\n契約書.pdf\n議事録.txt\nreadme.txt";
    let file = read(archive_zip::read, &archive).unwrap();
    assert_eq!((text_of(&file), file.sections[0].truncated), (expected, false));
    assert_eq!(file.metadata.get("entries"), Some(&MetadataValue::Number(5.0)));
    // A self-extracting archive has a program before it, which moves every offset.
    let moved = [vec![b'M'; 1000], archive].concat();
    assert_eq!(text_of(&read(archive_zip::read, &moved).unwrap()), expected);
}

#[test]
fn a_damaged_zip_is_corrupt_or_gives_the_names_before_the_damage() {
    let mut archive = zip_of(&[(0, b"first.txt".to_vec()), (0, b"second.txt".to_vec())]);
    let cut = &archive[..archive.len() - 30];
    assert_eq!(read(archive_zip::read, cut).unwrap_err().reason, Reason::Corrupt);
    let second = archive.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    archive[second] = b'X';
    let file = read(archive_zip::read, &archive).unwrap();
    assert_eq!((text_of(&file), file.sections[0].truncated), ("first.txt", true));
    assert_eq!(text_of(&read(archive_zip::read, &zip_of(&[])).unwrap()), "");
}

#[test]
fn a_zip_of_too_many_entries_is_listed_as_far_as_the_bound() {
    let entries: Vec<(u16, Vec<u8>)> = (0..60_000).map(|number| (0, format!("{number}.txt").into_bytes())).collect();
    let file = read(archive_zip::read, &zip_of(&entries)).unwrap();
    assert!(file.sections[0].truncated && text_of(&file).starts_with("0.txt\n1.txt\n"));
}

#[test]
fn tar_is_listed_with_long_names_alone_and_in_gzip() {
    let long = format!("道路/{}.txt", "長".repeat(100));
    let archive = tar_of(&[("図面/a.dwg", b"x"), (&long, &[b'y'; 5000]), ("b.txt", b"")]);
    let expected = format!("図面/a.dwg\n{long}\nb.txt");
    assert_eq!(text_of(&read(archive_tar::read, &archive).unwrap()), expected);
    assert_eq!(text_of(&read(archive_gz::read, &gzip(&archive, None)).unwrap()), expected);
    let cut = &archive[..1500];
    let file = read(archive_tar::read, cut).unwrap();
    assert_eq!((text_of(&file), file.sections[0].truncated), ("図面/a.dwg", true));
    assert_eq!(read(archive_tar::read, &[b'x'; 600]).unwrap_err().reason, Reason::Corrupt);
}

#[test]
fn an_archive_of_texts_is_an_archive() {
    let archive = tar_of(&[("memo.txt", "道路台帳の更新について\n".repeat(5_000).as_bytes())]);
    let mut mail = StructuredFile::default();
    nested::add_nested(&mut mail, "texts.tar", archive, &mut budget());
    assert_eq!(
        text_of(&mail),
        "texts.tar
memo.txt"
    );
}

#[test]
fn a_single_file_in_gzip_gives_its_name_and_text() {
    let name = SHIFT_JIS.encode("点検.log").0.into_owned();
    let packed = gzip(&SHIFT_JIS.encode("橋梁点検の記録です").0, Some(&name));
    assert_eq!(text_of(&read(archive_gz::read, &packed).unwrap()), "点検.log\n橋梁点検の記録です");
    assert_eq!(read(archive_gz::read, b"\x1f\x8b\x08garbage").unwrap_err().reason, Reason::Corrupt);
}

#[test]
fn bombs_end_within_their_bounds() {
    let zeros = gzip(&vec![0; 64 * 1024 * 1024], Some(b"zeros.bin"));
    let file = read(archive_gz::read, &zeros).unwrap();
    assert_eq!((text_of(&file), file.sections[0].truncated), ("zeros.bin", true));
    let mut onion = gzip(b"the core", Some(b"core.txt"));
    for _ in 0..10 {
        onion = gzip(&onion, None);
    }
    let file = read(archive_gz::read, &onion).unwrap();
    assert_eq!((text_of(&file), file.failures[0].reason), ("", Reason::ArchiveBomb));
}

#[test]
fn a_7z_archive_is_listed_and_a_damaged_one_is_corrupt() {
    let archive = seven_zip_of_empty_files(&["図面/橋.dwg", "readme.txt"]);
    let file = read(archive_7z::read, &archive).unwrap();
    assert_eq!(text_of(&file), "図面/橋.dwg\nreadme.txt");
    let error = read(archive_7z::read, &archive[..archive.len() - 8]).unwrap_err();
    assert_eq!(error.reason, Reason::Corrupt, "{}", error.detail);
}

/// The 7z format's plain header (7zFormat.txt): files without streams.
fn seven_zip_of_empty_files(names: &[&str]) -> Vec<u8> {
    let mut utf_16 = vec![0];
    for name in names {
        utf_16.extend(name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    }
    let mut header = vec![1, 5, names.len() as u8];
    // Empty streams, and of those, empty files: a bit each.
    header.extend([0x0E, 1, 0xC0, 0x0F, 1, 0xC0, 0x11, utf_16.len() as u8]);
    header.extend(&utf_16);
    header.extend([0, 0]);
    seven_zip_of(&[], &header)
}

#[test]
fn a_7z_archive_whose_names_are_encrypted_says_so() {
    // An encoded header: packed streams, and a block whose coder is 7zAES.
    let header = [0x17, 6, 0, 1, 9, 16, 0, 7, 0x0B, 1, 0, 1, 0x24, 6, 0xF1, 7, 1, 2, 0, 0, 0x0C, 16, 0, 0];
    let error = read(archive_7z::read, &seven_zip_of(&[7; 16], &header)).unwrap_err();
    assert_eq!(error.reason, Reason::Encrypted, "{}", error.detail);
}

#[test]
fn a_zip_of_the_large_form_is_listed_and_read() {
    // Every number that may be elsewhere is: sizes, offsets, the end record's own.
    let text = "大きな書庫";
    let mut archive = b"PK\x03\x04\x2D\0\0\x08\0\0\0\0\0\0".to_vec();
    archive.extend([0; 4]);
    archive.extend([0xFF; 8]);
    archive.extend([5, 0, 0, 0]);
    archive.extend(b"a.txt");
    archive.extend(text.as_bytes());
    let directory = archive.len() as u64;
    let mut checksum = flate2::Crc::new();
    checksum.update(text.as_bytes());
    archive.extend(b"PK\x01\x02\x2D\0\x2D\0\0\x08\0\0\0\0\0\0");
    archive.extend(checksum.sum().to_le_bytes());
    archive.extend([0xFF; 8]);
    archive.extend([5, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    archive.extend(b"a.txt\x01\0\x18\0");
    for number in [text.len() as u64, text.len() as u64, 0] {
        archive.extend(number.to_le_bytes());
    }
    let end = archive.len() as u64;
    archive.extend(b"PK\x06\x06");
    archive.extend(44_u64.to_le_bytes());
    archive.extend([0x2D, 0, 0x2D, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [1, 1, end - directory, directory] {
        archive.extend(number.to_le_bytes());
    }
    archive.extend(b"PK\x06\x07\0\0\0\0");
    archive.extend(end.to_le_bytes());
    archive.extend([1, 0, 0, 0]);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([0xFF; 12]);
    archive.extend([0; 2]);
    assert_eq!(text_of(&read(archive_zip::read, &archive).unwrap()), "a.txt");
    let with_contents = &mut budget().with_archive_contents(true);
    let file = archive_zip::read(&mut Cursor::new(&archive), with_contents).unwrap();
    assert_eq!(file.sections[1].text, "a.txt\n大きな書庫", "{:?}", file.failures);
}
