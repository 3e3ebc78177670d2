//! Files made by tests.

use std::io::{Cursor, Write};

use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A file with these bytes.
pub fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(bytes).expect("write");
    file
}

/// A ZIP archive with these entries.
pub fn package_bytes(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        // OpenDocument wants this one readable from outside.
        let method = if *name == "mimetype" { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).expect("entry");
        writer.write_all(bytes).expect("write");
    }
    writer.finish().expect("finish").into_inner()
}

/// [`package_bytes`] in a file.
pub fn package_file(entries: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
    file_of(&package_bytes(entries))
}

/// A file of the corpus' `office` folder; `None` with a printed message where there is no corpus.
pub fn corpus_file(name: &str) -> Option<std::path::PathBuf> {
    let corpus = std::env::var_os("CORPUS_DIR")
        .map_or_else(|| std::path::PathBuf::from("../shared/corpus"), std::path::PathBuf::from);
    let file = corpus.join("office").join(name);
    if !file.is_file() {
        println!("skipped: no corpus file {}", file.display());
        return None;
    }
    Some(file)
}

/// A whole file's text, sections by line feeds.
pub fn read_text(reader: super::Reader, path: &std::path::Path) -> String {
    let file = read(reader, path).expect("read");
    file.sections.iter().map(|section| section.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// Reads a file within the budget of its size.
pub fn read(reader: super::Reader, path: &std::path::Path) -> Result<super::StructuredFile, crate::document::Failure> {
    let mut file = std::fs::File::open(path).expect("open");
    let bytes = file.metadata().expect("metadata").len();
    reader(&mut file, &mut super::bounds::Budget::new(bytes))
}

/// An Office 97–2003 container with these streams.
pub fn container_file(streams: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
    let mut container = cfb::CompoundFile::create(Cursor::new(Vec::new())).expect("container");
    for (name, bytes) in streams {
        container.create_stream(name).expect("stream").write_all(bytes).expect("write");
    }
    file_of(&container.into_inner().into_inner())
}

/// A scanned sign, large enough for a page: `NORTH ABUTMENT 42`, `Handle with care`.
pub fn scan(format: image::ImageFormat) -> Vec<u8> {
    let sign = image::load_from_memory(include_bytes!("../../../tests/fixtures/images/sign.gif")).expect("fixture");
    let scan = sign.to_luma8();
    let scan =
        image::imageops::resize(&scan, scan.width() * 2, scan.height() * 2, image::imageops::FilterType::Triangle);
    let mut bytes = Cursor::new(Vec::new());
    scan.write_to(&mut bytes, format).expect("encode");
    bytes.into_inner()
}

/// A 7z archive of short texts (7zFormat.txt): one block that is not compressed, or claims to be encrypted.
pub fn seven_zip(entries: &[(&str, &str)], is_encrypted: bool) -> Vec<u8> {
    let content: Vec<u8> = entries.iter().flat_map(|(_, text)| text.bytes()).collect();
    let names: Vec<u8> = entries
        .iter()
        .flat_map(|(name, _)| name.encode_utf16().chain([0]).collect::<Vec<u16>>())
        .flat_map(u16::to_le_bytes)
        .collect();
    let length = content.len() as u8;
    // Packed streams, then blocks with their coder, then the sizes of all entries but the last.
    let mut header = vec![1, 4, 6, 0, 1, 9, length, 0, 7, 0x0B, 1, 0];
    header.extend(if is_encrypted { vec![1, 0x24, 6, 0xF1, 7, 1, 2, 0, 0] } else { vec![1, 1, 0] });
    header.extend([0x0C, length, 0, 8, 0x0D, entries.len() as u8]);
    if entries.len() > 1 {
        header.push(9);
        header.extend(entries[..entries.len() - 1].iter().map(|(_, text)| text.len() as u8));
    }
    header.extend([0, 0, 5, entries.len() as u8, 0x11, names.len() as u8 + 1, 0]);
    header.extend(&names);
    header.extend([0, 0]);
    seven_zip_of(&content, &header)
}

/// The beginning of a 7z archive, packed bytes, and the header that is at its end.
pub fn seven_zip_of(content: &[u8], header: &[u8]) -> Vec<u8> {
    let crc32 = |bytes: &[u8]| {
        let mut checksum = flate2::Crc::new();
        checksum.update(bytes);
        checksum.sum()
    };
    let start = [
        (content.len() as u64).to_le_bytes().as_slice(),
        &(header.len() as u64).to_le_bytes(),
        &crc32(header).to_le_bytes(),
    ]
    .concat();
    [b"7z\xBC\xAF\x27\x1C\0\x04".as_slice(), &crc32(&start).to_le_bytes(), &start, content, header].concat()
}
