//! Files inside files, through the worker: what is in them is found, and what was made to hurt ends within its bounds
//! with a reason.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage};

use super::structured::made::{package_bytes, scan, seven_zip};
use super::test_bench::Bench;
use crate::document::Reason;
use crate::pool::protocol::{Page, PageSource};

/// A bench on a folder of its own that holds these files; `None` where pdfium or models are missing.
fn bench_with(archive_contents: bool, files: &[(&str, Vec<u8>)]) -> Option<(tempfile::TempDir, Bench)> {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("write");
    }
    let bench = Bench::with_archive_contents(folder.path(), archive_contents)?;
    Some((folder, bench))
}

fn text_of(pages: &[Page]) -> String {
    pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n")
}

fn reasons(pages: &[Page]) -> Vec<Reason> {
    pages.iter().filter_map(|page| page.failure.as_ref()).map(|failure| failure.reason).collect()
}

fn docx(text: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
    let body = format!("<w:document><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>");
    package_bytes(&[&[("word/document.xml", body.as_bytes())], more].concat())
}

fn xlsx(sheet: &str) -> Vec<u8> {
    let workbook = "<workbook><sheets><sheet name='点検' r:id='r1'/></sheets></workbook>";
    let relationships = "<Relationships><Relationship Id='r1' Type='x/worksheet' Target='worksheets/sheet1.xml'/>\
                         </Relationships>";
    package_bytes(&[
        ("xl/workbook.xml", workbook.as_bytes()),
        ("xl/_rels/workbook.xml.rels", relationships.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

fn odt(more: &[(&str, &[u8])]) -> Vec<u8> {
    let content = "<o><office:text><text:p>覚書</text:p></office:text></o>";
    let mimetype = ("mimetype", b"application/vnd.oasis.opendocument.text".as_slice());
    package_bytes(&[&[mimetype, ("content.xml", content.as_bytes())], more].concat())
}

/// A PDF of one page: `content` on it, and a picture called I.
fn pdf(content: &str, picture: &[u8]) -> Vec<u8> {
    let hexadecimal = picture.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ">";
    let (width, height) = if picture.is_empty() { (1, 1) } else { (1134, 568) };
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 567 284] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> \
         /XObject << /I 6 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        format!(
            "<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray \
             /BitsPerComponent 8 /Filter [/ASCIIHexDecode /DCTDecode] /Length {} >>\nstream\n{hexadecimal}\nendstream",
            hexadecimal.len()
        ),
    ];
    let objects: String =
        (1..).zip(objects).map(|(number, object)| format!("{number} 0 obj\n{object}\nendobj\n")).collect();
    format!("%PDF-1.4\n{objects}trailer << /Size 7 /Root 1 0 R >>\n%%EOF\n").into_bytes()
}

fn pdf_with_text(text: &str) -> Vec<u8> {
    pdf(&format!("BT /F1 20 Tf 40 100 Td ({text}) Tj ET"), b"")
}

fn mail(attachments: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut mail = "From: a@example.jp\r\nSubject: drawings\r\nMIME-Version: 1.0\r\n\
                    Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\n--b1\r\n\r\nsee below\r\n"
        .to_owned();
    for (name, bytes) in attachments {
        let content = BASE64_STANDARD.encode(bytes);
        mail.push_str(&format!(
            "--b1\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{content}\r\n"
        ));
    }
    (mail + "--b1--\r\n").into_bytes()
}

#[test]
fn a_scan_pasted_into_an_office_file_is_read_and_shows_it() {
    let scan = scan(ImageFormat::Png);
    let slide = "<p:sld><a:t>写真帳</a:t></p:sld>".as_bytes();
    let slides = "<p:presentation><p:sldIdLst><p:sldId r:id='r1'/></p:sldIdLst></p:presentation>".as_bytes();
    let relationships =
        b"<Relationships><Relationship Id='r1' Type='x/slide' Target='slides/slide1.xml'/></Relationships>".as_slice();
    let pptx = package_bytes(&[
        ("ppt/presentation.xml", slides),
        ("ppt/_rels/presentation.xml.rels", relationships),
        ("ppt/slides/slide1.xml", slide),
        ("ppt/media/image1.png", &scan),
    ]);
    let files = [
        ("scan.docx", docx("", &[("word/media/image1.png", &scan)])),
        ("memo.odt", odt(&[("Pictures/1000.png", &scan)])),
        ("album.pptx", pptx),
    ];
    let Some((_folder, mut bench)) = bench_with(false, &files) else { return };
    for (name, words, has_thumbnail) in
        [("scan.docx", "", true), ("memo.odt", "覚書", false), ("album.pptx", "写真帳", false)]
    {
        let pages = bench.pages(name).expect("pages");
        assert_eq!(pages.last().expect("a page").source, PageSource::Ocr, "{name}");
        let text = text_of(&pages);
        assert!(text.contains("NORTH ABUTMENT 42") && text.contains(words), "{name}: {text}");
        // Pages of parts are not pages that a reader would count.
        let document = bench.document(name);
        assert!(!bench.worker.open(&document).expect("open").paginated);
        assert_eq!(bench.worker.thumbnail(&document).expect("thumbnail").is_some(), has_thumbnail, "{name}");
    }
}

#[test]
fn the_preview_that_an_office_file_brings_becomes_its_thumbnail() {
    let red = |format: ImageFormat| {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(256, 180, image::Rgb([220, 20, 20])).write_to(&mut bytes, format).expect("encode");
        bytes.into_inner()
    };
    let files = [
        ("a.docx", docx("text", &[("docProps/thumbnail.jpeg", &red(ImageFormat::Jpeg))])),
        ("b.odt", odt(&[("Thumbnails/thumbnail.png", &red(ImageFormat::Png))])),
        ("damaged.docx", docx("text", &[("docProps/thumbnail.jpeg", b"\xFF\xD8\xFF no more")])),
    ];
    let Some((_folder, mut bench)) = bench_with(false, &files) else { return };
    for name in ["a.docx", "b.odt"] {
        let document = bench.document(name);
        let jpeg = bench.worker.thumbnail(&document).expect("thumbnail").expect("a picture");
        let picture = image::load_from_memory(&jpeg).expect("jpeg").into_rgb8();
        let [red, green, _] = picture.get_pixel(picture.width() / 2, picture.height() / 2).0;
        assert!(picture.width() <= 200 && red > 150 && green < 90, "{name}: {red} {green}");
    }
    let document = bench.document("damaged.docx");
    assert!(bench.worker.thumbnail(&document).is_err());
    assert_eq!(bench.text("damaged.docx"), "text");
}

#[test]
fn what_is_attached_to_a_mail_is_read_like_files_of_their_own() {
    let fixtures = Path::new("tests/fixtures");
    let locked = fs::read(fixtures.join("bad/encrypted.pdf")).expect("fixture");
    let sheet = "<worksheet><sheetData><row><c t='str'><v>支承の型式</v></c></row></sheetData></worksheet>";
    let attachments = [
        ("letter.docx", docx("橋脚の沈下", &[])),
        ("table.xlsx", xlsx(sheet)),
        ("note.rtf", b"{\\rtf1\\ansi pile cap}".to_vec()),
        ("inner.zip", package_bytes(&[("図面/一般図.dwg", b"AC1027")])),
        ("typed.pdf", pdf_with_text("girder erection")),
        ("scanned.pdf", pdf("567 0 0 284 0 0 cm /I Do", &scan(ImageFormat::Jpeg))),
        ("locked.pdf", locked),
        ("broken.docx", docx("x", &[])[..40].to_vec()),
        ("logo.png", b"\x89PNG\r\n\x1a\n".to_vec()),
    ];
    let Some((_folder, mut bench)) = bench_with(false, &[("a.eml", mail(&attachments))]) else { return };
    let pages = bench.pages("a.eml").expect("pages");
    let text = text_of(&pages);
    for words in [
        "letter.docx\n橋脚の沈下",
        "table.xlsx\n点検\n支承の型式",
        "note.rtf\npile cap",
        "inner.zip\n図面/一般図.dwg",
        "typed.pdf",
        "girder erection",
        "NORTH ABUTMENT 42",
        "logo.png",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let failures: Vec<(Reason, &str)> = pages
        .iter()
        .filter_map(|page| page.failure.as_ref())
        .map(|failure| (failure.reason, failure.detail.split(':').next().unwrap_or_default()))
        .collect();
    assert_eq!(failures, [(Reason::Encrypted, "locked.pdf"), (Reason::Corrupt, "broken.docx")]);
}

#[test]
fn archives_are_read_where_that_is_wanted_and_listed_otherwise() {
    let zip = package_bytes(&[
        ("memo.txt", "議事録の控え".as_bytes()),
        ("報告/報告書.docx", &docx("床版の補修", &[])),
        ("図面.pdf", &pdf_with_text("cross section")),
    ]);
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in [("a.txt", "測量の記録".as_bytes()), ("inner.zip", &zip)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).expect("append");
    }
    let tar_gz = builder.into_inner().expect("tar").finish().expect("gzip");
    let files = [
        ("a.zip", zip),
        ("a.tar.gz", tar_gz),
        ("a.7z", seven_zip(&[("点検.txt", "高欄の腐食"), ("b.csv", "部材,数量")], false)),
        ("locked.7z", seven_zip(&[("秘密.txt", "暗号")], true)),
    ];
    let words = ["議事録の控え", "床版の補修", "cross section", "測量の記録", "高欄の腐食", "部材,数量"];
    if let Some((_folder, mut bench)) = bench_with(false, &files) {
        for (name, _) in &files {
            let pages = bench.pages(name).expect("pages");
            assert_eq!((pages.len(), reasons(&pages)), (1, Vec::new()), "{name}");
            assert!(!words.iter().any(|word| pages[0].text.contains(word)), "{name}: {}", pages[0].text);
        }
    }
    let Some((_folder, mut bench)) = bench_with(true, &files) else { return };
    for (name, expected) in [
        ("a.zip", vec!["memo.txt\n報告/報告書.docx\n図面.pdf", "memo.txt\n議事録の控え", words[1], words[2]]),
        (
            "a.tar.gz",
            vec!["a.txt\ninner.zip", "a.txt\n測量の記録", "inner.zip\nmemo.txt\n報告", words[0], words[1], words[2]],
        ),
        ("a.7z", vec!["点検.txt\n高欄の腐食", "b.csv\n部材,数量"]),
        // Its name is in plain text.
        ("locked.7z", vec!["秘密.txt"]),
    ] {
        let pages = bench.pages(name).expect("pages");
        let text = text_of(&pages);
        assert!(expected.iter().all(|word| text.contains(word)), "{name}: {text}");
        assert_eq!(reasons(&pages), [], "{name}");
    }
}

/// Changes bytes at `offset` from each entry of the directory.
fn with_false_directory(mut archive: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let entries: Vec<usize> = (0..archive.len() - 4).filter(|at| archive[*at..].starts_with(b"PK\x01\x02")).collect();
    for entry in entries {
        archive[entry + offset..entry + offset + bytes.len()].copy_from_slice(bytes);
    }
    archive
}

#[test]
fn archives_made_to_hurt_keep_their_list_and_say_why_there_is_no_more() {
    let text = "道路橋の点検\n".repeat(1_000);
    let ordinary = package_bytes(&[("a.txt", text.as_bytes())]);
    let pile: Vec<String> = (0..2_000).map(|number| format!("{number}.txt")).collect();
    let megabytes = vec![0; 4 * 1024 * 1024];
    let mut overlapping: Vec<(&str, &[u8])> = pile.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    overlapping[0].1 = &megabytes;
    let mut overlapping = package_bytes(&overlapping);
    let first = overlapping.windows(4).position(|bytes| bytes == b"PK\x01\x02").expect("directory");
    let head = overlapping[first + 10..first + 28].to_vec();
    // All entries are the first one.
    overlapping = with_false_directory(with_false_directory(overlapping, 10, &head), 42, &[0; 4]);
    let mut onion = text.clone().into_bytes();
    for _ in 0..20 {
        onion = package_bytes(&[("a.zip", &onion)]);
    }
    let files = [
        ("small.zip", with_false_directory(ordinary.clone(), 24, &10_u32.to_le_bytes())),
        ("long.zip", with_false_directory(ordinary.clone(), 20, &0xFFFF_FFF0_u32.to_le_bytes())),
        ("short.zip", with_false_directory(ordinary.clone(), 20, &20_u32.to_le_bytes())),
        ("elsewhere.zip", with_false_directory(ordinary, 42, &5_u32.to_le_bytes())),
        ("overlapping.zip", overlapping),
        ("onion.zip", onion),
        ("ratio.zip", package_bytes(&[("zeros.txt", &vec![b'0'; 60 * 1024 * 1024])])),
    ];
    let Some((_folder, mut bench)) = bench_with(true, &files) else { return };
    for (name, reason, words) in [
        // Declared sizes are not believed: what comes out counts.
        ("small.zip", None, "道路橋の点検"),
        ("long.zip", None, "道路橋の点検"),
        ("short.zip", Some(Reason::Corrupt), "a.txt"),
        ("elsewhere.zip", Some(Reason::Corrupt), "a.txt"),
        ("overlapping.zip", Some(Reason::ArchiveBomb), "1999.txt"),
        ("onion.zip", Some(Reason::ArchiveBomb), "a.zip\na.zip\na.zip"),
        ("ratio.zip", Some(Reason::ArchiveBomb), "zeros.txt"),
    ] {
        let pages = bench.pages(name).expect("pages");
        assert_eq!(reasons(&pages).first().copied(), reason, "{name}");
        assert!(text_of(&pages).contains(words), "{name}");
        assert_eq!(pages.iter().any(|page| page.truncated), reason.is_some(), "{name}");
    }
}

#[test]
fn office_files_made_to_hurt_end_within_their_bounds() {
    let laughs: String =
        (1..20).map(|number| format!("<!ENTITY l{number} \"&l{0};&l{0};&l{0};\">", number - 1)).collect();
    let entities = format!("<!DOCTYPE w [<!ENTITY l0 \"ha\">{laughs}]>");
    let body = format!("{entities}<w:document><w:body><w:p><w:t>前&l19;後</w:t></w:p></w:body></w:document>");
    let corner = "<worksheet><sheetData><row r='1'><c r='A1' t='str'><v>隅</v></c></row><row r='1048576'>\
                  <c r='XFD1048576' t='str'><v>角</v></c></row></sheetData></worksheet>";
    let mut letter = mail(&[("core.txt", b"the core".to_vec())]);
    for _ in 0..20 {
        letter = mail(&[("inner.eml", letter)]);
    }
    let whole = docx("床版の補修", &[("word/styles.xml", b"<a/>")]);
    let directory = whole.windows(4).position(|bytes| bytes == b"PK\x01\x02").expect("directory");
    let files = [
        ("laughs.docx", package_bytes(&[("word/document.xml", body.as_bytes())])),
        ("laughs.xml", format!("<?xml version='1.0'?>{entities}<a>前&l19;後</a>").into_bytes()),
        ("corner.xlsx", xlsx(corner)),
        ("deep.eml", letter),
        ("cut.docx", whole[..directory].to_vec()),
        ("moved.docx", with_false_directory(whole, 42, &3_u32.to_le_bytes())),
        ("bomb.docx", docx(&" ".repeat(60 * 1024 * 1024), &[])),
    ];
    let Some((_folder, mut bench)) = bench_with(false, &files) else { return };
    for (name, expected, reason) in [
        ("laughs.docx", "前", None),
        ("laughs.xml", "前", None),
        ("corner.xlsx", "点検\n隅\n", None),
        ("deep.eml", "Subject: drawings", Some(Reason::ArchiveBomb)),
        ("cut.docx", "床版の補修", None),
        ("moved.docx", "床版の補修", None),
    ] {
        let pages = bench.pages(name).expect("pages");
        let text = text_of(&pages);
        assert!(text.contains(expected) && text.len() < 2_000 && !text.contains("haha"), "{name}: {text}");
        assert_eq!(reasons(&pages).first().copied(), reason, "{name}");
    }
    let error = bench.pages("bomb.docx").expect_err("bomb");
    assert_eq!(error.failure.reason, Reason::ArchiveBomb, "{}", error.failure.detail);
}
