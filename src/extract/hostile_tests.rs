//! Files that are broken, malicious or just strange: each has one defined outcome.

use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

use image::{GrayImage, Luma};

use super::test_bench::{Bench, MAX_PIXELS};
use crate::document::Reason;
use crate::pool::protocol::{Effort, PageSource};

/// A bench on a folder of its own; `None` where pdfium or models are missing.
fn bench() -> Option<(tempfile::TempDir, Bench)> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let bench = Bench::start(folder.path())?;
    Some((folder, bench))
}

/// A PDF of `objects` (numbered from 1, the first being the catalogue), with a correct cross-reference table.
fn pdf(objects: &[String], trailer: &str) -> Vec<u8> {
    let mut bytes = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(objects) {
        offsets.push(bytes.len());
        bytes.extend(format!("{number} 0 obj\n{object}\nendobj\n").bytes());
    }
    let start = bytes.len();
    bytes.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for offset in offsets {
        bytes.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    bytes.extend(format!("trailer << /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n").bytes());
    bytes
}

fn pdf_of_empty_pages(pages: usize) -> Vec<u8> {
    let kids: String = (0..pages).map(|page| format!("{} 0 R ", page + 3)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Count {pages} /Kids [{kids}] >>"),
    ];
    objects.extend((0..pages).map(|_| "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>".to_owned()));
    pdf(&objects, "")
}

fn pdf_with_text(content: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        "<< /Title (Bridge) /CreationDate (D:20240131120000+09'00') >>".to_owned(),
    ];
    pdf(&objects, "/Info 6 0 R")
}

#[test]
fn whole_documents_that_cannot_be_read_say_why() {
    let Some((folder, mut bench)) = bench() else { return };
    let whole = pdf_with_text("BT /F1 12 Tf 72 700 Td (Hello) Tj ET");
    let encrypted = "/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> \
                     /U <ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100> >> /ID [<00> <00>]";
    let locked = pdf(
        &["<< /Type /Catalog /Pages 2 0 R >>".to_owned(), "<< /Type /Pages /Count 0 /Kids [] >>".to_owned()],
        encrypted,
    );
    for (name, bytes, reason, mime_type) in [
        ("empty.pdf", Vec::new(), Reason::Empty, None),
        ("page.pdf", b"%!PS-Adobe-3.0\nshowpage\n".to_vec(), Reason::UnsupportedFormat, Some("application/postscript")),
        ("cut.pdf", whole[..200].to_vec(), Reason::Corrupt, Some("application/pdf")),
        ("locked.pdf", locked, Reason::Encrypted, Some("application/pdf")),
        ("none.pdf", pdf_of_empty_pages(0), Reason::Corrupt, Some("application/pdf")),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0".to_vec(), Reason::Corrupt, Some("image/png")),
        ("cut.tif", b"II*\0\x08\0\0\0\x01".to_vec(), Reason::Corrupt, Some("image/tiff")),
    ] {
        fs::write(folder.path().join(name), bytes).expect("write");
        let document = bench.document(name);
        let error = bench.worker.open(&document).expect_err(name);
        assert_eq!(
            (error.failure.reason, error.mime_type.as_deref()),
            (reason, mime_type),
            "{name}: {}",
            error.failure.detail
        );
        assert!(error.failure.detail.ends_with('.'), "{name}: {}", error.failure.detail);
        assert!(
            bench.worker.survey(&document, 1).is_err() && bench.worker.recognize(&document, 1, Effort::Normal).is_err()
        );
    }
}

#[test]
fn document_information_becomes_metadata() {
    let Some((folder, mut bench)) = bench() else { return };
    fs::write(folder.path().join("a.pdf"), pdf_with_text("BT /F1 12 Tf 72 700 Td (Hello bridge) Tj ET"))
        .expect("write");
    let document = bench.document("a.pdf");
    let opened = bench.worker.open(&document).expect("open");
    let metadata = serde_json::to_value(&opened.metadata).expect("json");
    assert_eq!(metadata, serde_json::json!({"title": "Bridge", "creation_date": "2024-01-31T12:00:00+09:00"}));
    let page = bench.worker.survey(&document, 1).expect("open").expect("text layer");
    assert_eq!((page.source, page.text.as_str()), (PageSource::Text, "Hello bridge"));
    // The parent may ask for a page that is not there; it is that page's failure.
    let missing = bench.worker.survey(&document, 2).expect("open").expect("an answer");
    assert_eq!(missing.failure.expect("failure").reason, Reason::Corrupt);
}

fn pdf_with_picture(picture: &str) -> Vec<u8> {
    let content = "612 0 0 792 0 0 cm /I Do";
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /XObject << /I 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        picture.to_owned(),
    ];
    pdf(&objects, "")
}

#[test]
fn a_scan_whose_picture_is_damaged_is_no_blank_page() {
    let Some((folder, mut bench)) = bench() else { return };
    let header = "<< /Type /XObject /Subtype /Image /Width 2 /Height 2 /ColorSpace /DeviceGray /BitsPerComponent 8";
    for (name, picture, expected) in [
        (
            "jpeg.pdf",
            format!("{header} /Filter /DCTDecode /Length 9 >>\nstream\nno jpeg !\nendstream"),
            Some(Reason::Corrupt),
        ),
        (
            "jpx.pdf",
            format!("{header} /Filter /JPXDecode /Length 9 >>\nstream\nno jpeg !\nendstream"),
            Some(Reason::Corrupt),
        ),
        ("white.pdf", format!("{header} /Filter /ASCIIHexDecode /Length 9 >>\nstream\nffffffff>\nendstream"), None),
    ] {
        fs::write(folder.path().join(name), pdf_with_picture(&picture)).expect("write");
        let pages = bench.pages(name).expect("pages");
        assert_eq!(pages[0].failure.as_ref().map(|failure| failure.reason), expected, "{name}");
        assert_eq!(pages[0].source == PageSource::Blank, expected.is_none(), "{name}");
    }
}

#[test]
fn a_hundred_thousand_empty_pages_are_opened_and_blank() {
    let Some((folder, mut bench)) = bench() else { return };
    fs::write(folder.path().join("many.pdf"), pdf_of_empty_pages(100_000)).expect("write");
    let document = bench.document("many.pdf");
    let started = Instant::now();
    assert_eq!(bench.worker.open(&document).expect("open").page_count, 100_000);
    for number in [1, 2, 50_000, 100_000] {
        let page = bench.worker.survey(&document, number).expect("open").expect("blank");
        assert_eq!(page.source, PageSource::Blank);
    }
    println!("opened and looked at four of 100,000 pages in {} ms", started.elapsed().as_millis());
}

#[test]
fn images_with_too_many_pixels_are_not_decoded() {
    let Some((folder, mut bench)) = bench() else { return };
    // A PNG's header is all that is looked at: 30,000 × 30,000 in a few bytes.
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bomb.extend([30_000_u32.to_be_bytes(), 30_000_u32.to_be_bytes()].concat());
    bomb.extend([8, 0, 0, 0, 0]);
    let checksum = crc32(&bomb[12..]);
    bomb.extend(checksum.to_be_bytes());
    bomb.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82");
    fs::write(folder.path().join("bomb.png"), bomb).expect("write");
    let document = bench.document("bomb.png");
    let error = bench.worker.open(&document).expect_err("too many pixels");
    assert_eq!(error.failure.reason, Reason::TooManyPixels, "{}", error.failure.detail);
    assert!(error.failure.detail.contains("30000 × 30000") && error.failure.detail.contains(&MAX_PIXELS.to_string()));
}

/// As PNG wants it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[test]
fn tiny_images_and_white_pages_are_blank() {
    let Some((folder, mut bench)) = bench() else { return };
    GrayImage::from_pixel(1, 1, Luma([0])).save(folder.path().join("dot.png")).expect("save");
    GrayImage::from_pixel(1200, 1600, Luma([250])).save(folder.path().join("white.png")).expect("save");
    for name in ["dot.png", "white.png"] {
        let pages = bench.pages(name).expect("pages");
        assert_eq!(pages.iter().map(|page| page.source).collect::<Vec<_>>(), [PageSource::Blank], "{name}");
        let document = bench.document(name);
        assert!(bench.worker.thumbnail(&document).expect("thumbnail").is_some());
    }
}

#[test]
fn a_huge_text_is_read_as_far_as_it_can_be_indexed() {
    let Some((folder, mut bench)) = bench() else { return };
    // 500 MB, most of them a hole in the file.
    let mut file = File::create(folder.path().join("huge.log")).expect("create");
    file.write_all("道路台帳 2024-01-31 OK\n".repeat(200_000).as_bytes()).expect("write");
    file.set_len(500 * 1024 * 1024).expect("grow");
    let started = Instant::now();
    let pages = bench.pages("huge.log").expect("pages");
    println!("500 MB of text in {} ms", started.elapsed().as_millis());
    assert!(pages.len() == 1 && pages[0].truncated && pages[0].source == PageSource::Text);
    assert_eq!(pages[0].text.encode_utf16().count(), 1_000_000);
}

#[test]
fn a_document_is_opened_anew_when_another_is_asked_for() {
    let Some((folder, mut bench)) = bench() else { return };
    fs::write(folder.path().join("one.txt"), "one").expect("write");
    fs::write(folder.path().join("two.txt"), "two").expect("write");
    let (one, two) = (bench.document("one.txt"), bench.document("two.txt"));
    for (document, expected) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        assert_eq!(bench.worker.survey(document, 1).expect("open").expect("text").text, expected);
    }
    bench.worker.close();
    fs::remove_file(folder.path().join("one.txt")).expect("remove");
    assert!(bench.worker.survey(&one, 1).is_err());
    assert_eq!(bench.worker.thumbnail(&two), Ok(None));
}
