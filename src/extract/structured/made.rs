//! Files made by tests.

use std::io::{Cursor, Write};

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
        writer.start_file(*name, SimpleFileOptions::default()).expect("entry");
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
    let corpus = std::env::var_os("CORPUS_DIR").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        std::path::PathBuf::from,
    );
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
    let bytes = std::fs::metadata(path).expect("metadata").len();
    reader(path, &mut super::bounds::Budget::new(bytes))
}

/// An Office 97–2003 container with these streams.
pub fn container_file(streams: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
    let mut container = cfb::CompoundFile::create(Cursor::new(Vec::new())).expect("container");
    for (name, bytes) in streams {
        container.create_stream(name).expect("stream").write_all(bytes).expect("write");
    }
    file_of(&container.into_inner().into_inner())
}
