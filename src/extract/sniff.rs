//! What a file is. The content decides; the name only breaks ties between kinds of plain text (contract §5).

use std::io::{self, Read, SeekFrom};
use std::path::Path;

use image::ImageFormat;

use super::structured::{
    self, Reader, Source, archive_7z, archive_gz, archive_tar, archive_zip, email, html, json, outlook, xml,
};
use super::{OpenError, text};
use crate::document::{Failure, Reason};

/// Bytes looked at from the beginning and from the end.
const WINDOW_BYTES: usize = 64 * 1024;

/// A PDF's header may follow up to so many bytes of something else (PDF 1.7, appendix H.3, note 13).
const PDF_HEADER_WITHIN: usize = 1024;

/// Characters of a text that are searched for what kind of text it is.
const TEXT_HEAD_CHARACTERS: usize = 4_096;

const PDF_SIGNATURE: &[u8] = b"%PDF-";

/// The container of Office 97–2003, of Outlook messages and of encrypted newer documents (MS-CFB 2.2).
const OLE_SIGNATURE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// What this worker can read.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Pdf,
    Image(ImageFormat),
    Text,
    Structured(Reader),
}

/// A readable file: its kind and MIME type.
#[derive(Clone, Copy, Debug)]
pub struct Sniffed {
    pub kind: Kind,
    pub mime_type: &'static str,
}

/// Looks at a file, and leaves it at its beginning.
///
/// # Errors
/// `empty`, or `unsupported_format` with a sentence that says what it is; the MIME type comes along.
pub fn sniff(source: &mut dyn Source, file_name: &str) -> Result<Sniffed, OpenError> {
    let windows =
        Windows::read(source).map_err(|error| OpenError { failure: structured::gone(&error), mime_type: None })?;
    if windows.head.is_empty() {
        return Err(OpenError::new(Reason::Empty, "The file has no content.".to_owned(), None));
    }
    classify(&windows, &extension_of(file_name)).map_err(|format| {
        let detail = format!("The file is {} ({}), which is not supported.", format.name, format.mime_type);
        OpenError {
            failure: Failure::new(Reason::UnsupportedFormat, detail),
            mime_type: Some(format.mime_type.to_owned()),
        }
    })
}

/// Beginning and end of a file; the whole of a short one.
struct Windows {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// The head is the whole file.
    complete: bool,
}

impl Windows {
    fn read(source: &mut dyn Source) -> io::Result<Windows> {
        let length = source.seek(SeekFrom::End(0))?;
        source.rewind()?;
        let mut head = Vec::new();
        Read::take(&mut *source, WINDOW_BYTES as u64).read_to_end(&mut head)?;
        let complete = length <= head.len() as u64;
        let mut tail = Vec::new();
        if !complete {
            source.seek(SeekFrom::Start(length.saturating_sub(WINDOW_BYTES as u64).max(head.len() as u64)))?;
            Read::take(&mut *source, WINDOW_BYTES as u64).read_to_end(&mut tail)?;
        }
        source.rewind()?;
        Ok(Windows { head, tail, complete })
    }

    fn contains(&self, needle: &[u8]) -> bool {
        find(&self.head, needle).is_some() || find(&self.tail, needle).is_some()
    }

    fn ends_with_trailer(&self) -> bool {
        let end = if self.complete { &self.head } else { &self.tail };
        find(end, b"startxref").is_some() || find(end, b"%%EOF").is_some()
    }
}

/// A format that this worker does not read.
#[derive(Debug, PartialEq)]
struct Unsupported {
    mime_type: &'static str,
    /// With its article, as in "The file is {name}".
    name: &'static str,
}

const fn unsupported(mime_type: &'static str, name: &'static str) -> Unsupported {
    Unsupported { mime_type, name }
}

fn classify(windows: &Windows, extension: &str) -> Result<Sniffed, Unsupported> {
    let pdf = Sniffed { kind: Kind::Pdf, mime_type: "application/pdf" };
    // Whether it might be text as well costs more than the rest of the look.
    if windows.head.starts_with(PDF_SIGNATURE) {
        return Ok(pdf);
    }
    let text = text::beginning(&windows.head, windows.complete);
    if is_pdf_behind_junk(windows, text.is_some()) {
        return Ok(pdf);
    }
    // Before text: an archive of texts is text but for its headers.
    if archive_gz::is_tar(&windows.head) {
        return Ok(read_by(archive_tar::read, "application/x-tar"));
    }
    // Text comes before magic numbers: two letters of a text ("BM …", "MZ …") would be a picture or a program.
    if let Some(text) = text {
        return classify_text(&text.chars().take(TEXT_HEAD_CHARACTERS).collect::<String>(), extension);
    }
    if let Some((format, mime_type)) = image_format(&windows.head) {
        return Ok(Sniffed { kind: Kind::Image(format), mime_type });
    }
    if windows.head.starts_with(b"{\\rtf") {
        // Japanese bytes or an embedded object can make it look binary.
        return Ok(read_by(structured::rtf::read, "application/rtf"));
    }
    // Mail and pages whose parts are in several encodings are text in none.
    let lossy = String::from_utf8_lossy(&windows.head[..windows.head.len().min(TEXT_HEAD_CHARACTERS)]);
    if (extension == "eml" && is_email(&lossy, extension))
        || (matches!(extension, "html" | "htm") && is_html(&lossy, extension))
    {
        return classify_text(&lossy, extension);
    }
    if let Some(office) = classify_office(windows, extension) {
        return Ok(office);
    }
    let binary = classify_binary(windows, extension);
    match binary.mime_type {
        "application/zip" => Ok(read_by(archive_zip::read, binary.mime_type)),
        "application/gzip" => Ok(read_by(archive_gz::read, binary.mime_type)),
        "application/x-7z-compressed" => Ok(read_by(archive_7z::read, binary.mime_type)),
        "application/vnd.ms-outlook" => Ok(read_by(outlook::read, binary.mime_type)),
        _ => Err(binary),
    }
}

fn read_by(reader: Reader, mime_type: &'static str) -> Sniffed {
    Sniffed { kind: Kind::Structured(reader), mime_type }
}

/// Office files that are read; the names of their parts and streams tell.
fn classify_office(windows: &Windows, extension: &str) -> Option<Sniffed> {
    let (reader, format): (Reader, Unsupported) = if is_zip(windows) {
        let format = classify_zip(windows);
        let reader: Reader = match format.name {
            "a Word document" => structured::ooxml_word::read,
            "an Excel workbook" => structured::ooxml_sheets::read,
            "a PowerPoint presentation" => structured::ooxml_slides::read,
            "an OpenDocument text" | "an OpenDocument spreadsheet" | "an OpenDocument presentation" => {
                structured::opendocument::read
            }
            _ => return None,
        };
        (reader, format)
    } else if windows.head.starts_with(OLE_SIGNATURE) {
        let format = classify_ole(windows, extension);
        if format.mime_type == "application/vnd.ms-outlook" {
            return None;
        }
        (structured::ole::read, format)
    } else {
        return None;
    };
    Some(Sniffed { kind: Kind::Structured(reader), mime_type: format.mime_type })
}

fn is_zip(windows: &Windows) -> bool {
    windows.head.starts_with(b"PK\x03\x04") || windows.head.starts_with(b"PK\x05\x06")
}

/// The signature within the first bytes of a file that also ends like a PDF or is binary.
fn is_pdf_behind_junk(windows: &Windows, is_text: bool) -> bool {
    let beginning = &windows.head[..windows.head.len().min(PDF_HEADER_WITHIN)];
    // A web page that quotes a PDF has no trailer at its end.
    find(beginning, PDF_SIGNATURE).is_some() && (windows.ends_with_trailer() || !is_text)
}

fn image_format(head: &[u8]) -> Option<(ImageFormat, &'static str)> {
    match infer::get(head).map(|kind| kind.mime_type()) {
        Some("image/jpeg") => Some((ImageFormat::Jpeg, "image/jpeg")),
        Some("image/png") => Some((ImageFormat::Png, "image/png")),
        Some("image/gif") => Some((ImageFormat::Gif, "image/gif")),
        Some("image/webp") => Some((ImageFormat::WebP, "image/webp")),
        Some("image/bmp") => Some((ImageFormat::Bmp, "image/bmp")),
        _ if is_tiff(head) => Some((ImageFormat::Tiff, "image/tiff")),
        _ => None,
    }
}

/// Both byte orders, classic and BigTIFF. infer takes some TIFFs for raw photographs.
fn is_tiff(head: &[u8]) -> bool {
    matches!(head.get(..4), Some(b"II*\0" | b"MM\0*" | b"II+\0" | b"MM\0+"))
}

fn classify_text(text: &str, extension: &str) -> Result<Sniffed, Unsupported> {
    let start = text.trim_start();
    if start.starts_with("{\\rtf") {
        return Ok(Sniffed { kind: Kind::Structured(structured::rtf::read), mime_type: "application/rtf" });
    }
    if start.starts_with("%!PS") {
        return Err(unsupported("application/postscript", "a PostScript document"));
    }
    if is_html(start, extension) {
        return Ok(read_by(html::read, "text/html"));
    }
    if is_email(start, extension) {
        return Ok(read_by(email::read, "message/rfc822"));
    }
    if start.starts_with("<?xml") || (extension == "xml" && start.starts_with('<')) {
        return Ok(read_by(xml::read, "application/xml"));
    }
    if extension == "json" {
        return Ok(read_by(json::read, "application/json"));
    }
    let mime_type = match extension {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "md" => "text/markdown",
        "rst" => "text/x-rst",
        "yaml" | "yml" => "application/yaml",
        _ => "text/plain",
    };
    Ok(Sniffed { kind: Kind::Text, mime_type })
}

fn is_html(start: &str, extension: &str) -> bool {
    if !start.starts_with('<') {
        return false;
    }
    let lower = start.to_ascii_lowercase();
    // Comments and an XML declaration may come first.
    let has_root = ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| lower.contains(tag));
    has_root && (!lower.starts_with("<?xml") || lower.contains("<html"))
        || matches!(extension, "html" | "htm" | "xhtml")
}

/// Header lines at the very beginning, one of them written by mail programs only. A memo with From and To is a text.
fn is_email(start: &str, extension: &str) -> bool {
    const BY_PROGRAMS: [&str; 7] =
        ["received", "return-path", "message-id", "mime-version", "delivered-to", "x-mailer", "dkim-signature"];
    const BY_PEOPLE: [&str; 4] = ["from", "to", "subject", "date"];
    let header: Vec<String> = start
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    let first_is_field = start.lines().next().is_some_and(|line| {
        line.split_once(':').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    });
    let has = |names: &[&str]| header.iter().any(|name| names.contains(&name.as_str()));
    first_is_field && has(&BY_PEOPLE) && (has(&BY_PROGRAMS) || extension == "eml")
}

fn classify_binary(windows: &Windows, extension: &str) -> Unsupported {
    if is_zip(windows) {
        return classify_zip(windows);
    }
    if windows.head.starts_with(OLE_SIGNATURE) {
        return classify_ole(windows, extension);
    }
    if matches!(extension, "xdw" | "xbd") {
        return unsupported("application/vnd.fujifilm.fb.docuworks", "a DocuWorks document");
    }
    let Some(kind) = infer::get(&windows.head) else {
        return unsupported("application/octet-stream", "a binary file of an unknown kind");
    };
    let name = match kind.matcher_type() {
        infer::MatcherType::Image => "an image of another kind",
        infer::MatcherType::Archive => "an archive",
        infer::MatcherType::Audio => "a sound recording",
        infer::MatcherType::Video => "a video",
        infer::MatcherType::Font => "a font",
        infer::MatcherType::App => "a program",
        infer::MatcherType::Book => "an e-book",
        infer::MatcherType::Doc => "an Office document",
        _ => "a file of another kind",
    };
    unsupported(kind.mime_type(), name)
}

/// Entry order fools prefixes, so the names in the first entries and in the central directory decide.
fn classify_zip(windows: &Windows) -> Unsupported {
    const BY_ENTRY: [(&[u8], &str, &str); 7] = [
        (
            b"word/document",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "a Word document",
        ),
        (b"xl/workbook", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "an Excel workbook"),
        (
            b"ppt/presentation",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "a PowerPoint presentation",
        ),
        (b"application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text", "an OpenDocument text"),
        (
            b"application/vnd.oasis.opendocument.spreadsheet",
            "application/vnd.oasis.opendocument.spreadsheet",
            "an OpenDocument spreadsheet",
        ),
        (
            b"application/vnd.oasis.opendocument.presentation",
            "application/vnd.oasis.opendocument.presentation",
            "an OpenDocument presentation",
        ),
        (b"application/epub+zip", "application/epub+zip", "an e-book"),
    ];
    BY_ENTRY
        .iter()
        .find(|(entry, _, _)| windows.contains(entry))
        .map_or(unsupported("application/zip", "a ZIP archive"), |(_, mime_type, name)| unsupported(mime_type, name))
}

/// The old Office container: the streams in its directory decide, then the extension.
fn classify_ole(windows: &Windows, extension: &str) -> Unsupported {
    const WORD: Unsupported = unsupported("application/msword", "a Word 97–2003 document");
    const EXCEL: Unsupported = unsupported("application/vnd.ms-excel", "an Excel 97–2003 workbook");
    const POWERPOINT: Unsupported = unsupported("application/vnd.ms-powerpoint", "a PowerPoint 97–2003 presentation");
    const OUTLOOK: Unsupported = unsupported("application/vnd.ms-outlook", "an Outlook message");
    let has_stream = |name: &str| {
        let utf_16: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        windows.contains(&utf_16)
    };
    if has_stream("WordDocument") {
        WORD
    } else if has_stream("PowerPoint Document") {
        POWERPOINT
    } else if has_stream("__substg1.0_") {
        OUTLOOK
    } else if has_stream("Workbook") {
        EXCEL
    } else {
        match extension {
            "doc" => WORD,
            "xls" => EXCEL,
            "ppt" => POWERPOINT,
            "msg" => OUTLOOK,
            _ => unsupported("application/x-ole-storage", "an Office 97–2003 file"),
        }
    }
}

/// Lower case, without the dot; empty when there is none.
fn extension_of(file_name: &str) -> String {
    Path::new(file_name).extension().and_then(|extension| extension.to_str()).unwrap_or("").to_ascii_lowercase()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn sniff_bytes(bytes: &[u8], file_name: &str) -> Result<Sniffed, OpenError> {
        sniff(&mut Cursor::new(bytes), file_name)
    }

    fn mime_of(bytes: &[u8], file_name: &str) -> String {
        match sniff_bytes(bytes, file_name) {
            Ok(sniffed) => sniffed.mime_type.to_owned(),
            Err(error) => {
                assert_eq!(error.failure.reason, Reason::UnsupportedFormat);
                let mime_type = error.mime_type.expect("mime type");
                assert!(error.failure.detail.contains(&mime_type), "{}", error.failure.detail);
                format!("unsupported {mime_type}")
            }
        }
    }

    #[test]
    fn no_bytes_are_empty() {
        let error = sniff_bytes(b"", "a.txt").expect_err("empty");
        assert_eq!((error.failure.reason, error.mime_type), (Reason::Empty, None));
    }

    #[test]
    fn pdfs_are_known_by_their_header() {
        assert_eq!(mime_of(b"%PDF-1.4\n1 0 obj", "a.txt"), "application/pdf");
        assert_eq!(mime_of(b"HTTP/1.1 200 OK\r\n\r\n%PDF-1.7\n...\nstartxref\n0\n%%EOF", "a.pdf"), "application/pdf");
        assert_eq!(mime_of(b"Our files begin with %PDF-1.4, says the manual.", "notes.txt"), "text/plain");
    }

    #[test]
    fn an_html_page_called_pdf_is_an_html_page() {
        for page in [
            "<!DOCTYPE html><html><title>404</title></html>",
            "\u{feff}\n<HTML><BODY>not found</BODY></HTML>",
            "<!-- saved -->\n<html>%PDF-1.4</html>",
            "<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>",
        ] {
            assert_eq!(mime_of(page.as_bytes(), "drawing.pdf"), "text/html", "{page}");
        }
    }

    #[test]
    fn text_is_told_apart_by_its_name() {
        for (name, mime_type) in [
            ("a.txt", "text/plain"),
            ("a.CSV", "text/csv"),
            ("a.tsv", "text/tab-separated-values"),
            ("a.md", "text/markdown"),
            ("a.json", "application/json"),
            ("a.yml", "application/yaml"),
            ("README", "text/plain"),
            ("drawing.pdf", "text/plain"),
        ] {
            assert_eq!(mime_of("品名,数量\n橋,1\n".as_bytes(), name), mime_type, "{name}");
        }
        assert_eq!(mime_of(b"<?xml version=\"1.0\"?><bridge/>", "a.xml"), "application/xml");
    }

    #[test]
    fn text_that_begins_like_a_magic_number_is_text() {
        for text in ["BM tender documents", "MZ-700 manual", "GIF pictures", "ID3 is a tag", "From: A\nTo: B\n\nA memo"]
        {
            assert_eq!(mime_of(text.as_bytes(), "a.txt"), "text/plain", "{text}");
        }
    }

    #[test]
    fn a_binary_called_txt_is_not_text() {
        let program = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 500], &[0xFE; 300]].concat();
        assert_eq!(mime_of(&program, "a.txt"), "unsupported application/x-executable");
        let unknown: Vec<u8> = (0..3_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        assert_eq!(mime_of(&unknown, "a.txt"), "unsupported application/octet-stream");
    }

    #[test]
    fn mail_rich_text_and_archives_are_named() {
        assert_eq!(mime_of(b"Received: by x\nFrom: a@b\nSubject: c\n\nd", "mail.txt"), "message/rfc822");
        assert_eq!(mime_of(b"{\\rtf1\\ansi hello}", "a.doc"), "application/rtf");
        let zip =
            |entry: &str| [b"PK\x03\x04\x14\0\0\0\x08\0".as_slice(), &[0; 16], entry.as_bytes(), &[0; 40]].concat();
        assert!(mime_of(&zip("word/document.xml"), "a.zip").ends_with("wordprocessingml.document"));
        assert!(mime_of(&zip("xl/workbook.xml"), "a").ends_with("spreadsheetml.sheet"));
        assert_eq!(mime_of(&zip("photo.jpg"), "a.docx"), "application/zip");
    }

    #[test]
    fn old_office_files_are_told_by_their_streams() {
        let ole = |stream: &str| {
            let name: Vec<u8> = stream.encode_utf16().flat_map(u16::to_le_bytes).collect();
            [b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".as_slice(), &[0; 600], &name, &[0xFF; 600]].concat()
        };
        assert_eq!(mime_of(&ole("WordDocument"), "a.xls"), "application/msword");
        assert_eq!(mime_of(&ole("Workbook"), "a"), "application/vnd.ms-excel");
        assert_eq!(mime_of(&ole("?"), "a.msg"), "application/vnd.ms-outlook");
    }
}
