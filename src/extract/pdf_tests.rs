//! What a PDF holds beside its pages' content reaches the text, and what nobody sees does not. Skipped with a message
//! where pdfium or the models are missing.

use std::fs;

use super::pdfium::{PdfDocument, Pdfium, Picture};
use super::pdfium_library::find_pdfium;
use super::test_bench::Bench;
use crate::document::{MetadataValue, Reason};
use crate::pool::protocol::PageSource;

/// A PDF of these objects, the first one the catalog, with a table of their places.
fn pdf_of(objects: &[&str]) -> Vec<u8> {
    let mut file = b"%PDF-1.7\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(file.len());
        file.extend(format!("{number} 0 obj\n{object}\nendobj\n").into_bytes());
    }
    let table = file.len();
    file.extend(format!("xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).into_bytes());
    for place in places {
        file.extend(format!("{place:010} 00000 n \n").into_bytes());
    }
    let size = objects.len() + 1;
    file.extend(format!("trailer <</Size {size} /Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n").into_bytes());
    file
}

fn stream(content: &str) -> String {
    format!("<</Length {}>>\nstream\n{content}\nendstream", content.len())
}

/// A page with one visible line, with `annotations` and `catalog` entries of the caller's, and `more` objects from 6 on.
fn bench_with(catalog: &str, page: &str, content: &str, more: &[&str]) -> Option<(tempfile::TempDir, Bench)> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let bench = Bench::start(folder.path())?;
    let catalog = format!("<</Type /Catalog /Pages 2 0 R {catalog}>>");
    let resources = if page.contains("/Resources") { "" } else { "/Resources <</Font <</F 5 0 R>>>>" };
    let page = format!("<</Type /Page /Parent 2 0 R {resources} /Contents 4 0 R {page}>>");
    let content = stream(content);
    let font = "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding>>";
    let mut objects: Vec<&str> =
        vec![&catalog, "<</Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 400 400]>>", &page, &content, font];
    objects.extend(more);
    fs::write(folder.path().join("made.pdf"), pdf_of(&objects)).expect("write");
    Some((folder, bench))
}

const VISIBLE: &str = "BT /F 12 Tf 50 300 Td (Bridge inspection report) Tj ET";

#[test]
fn notes_and_form_values_are_text_and_secrets_and_hidden_notes_are_not() {
    let annotations = "/Annots [6 0 R 7 0 R 8 0 R 9 0 R 10 0 R]";
    let more = [
        "<</Type /Annot /Subtype /Text /Rect [10 10 30 30] /Contents <FEFF8981518D70B9691C>>>",
        "<</Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Yamada Taro) /Rect [50 200 200 220]>>",
        "<</Type /Annot /Subtype /Widget /FT /Tx /Ff 8192 /T (pin) /V (opensesame) /Rect [50 170 200 190]>>",
        "<</Type /Annot /Subtype /Widget /FT /Btn /T (agree) /V /Affirmative /Rect [50 140 60 150]>>",
        "<</Type /Annot /Subtype /Text /F 2 /Rect [10 10 30 30] /Contents (invisible remark)>>",
    ];
    let form = "/AcroForm <</Fields [7 0 R 8 0 R 9 0 R]>>";
    let Some((_folder, mut bench)) = bench_with(form, annotations, VISIBLE, &more) else { return };
    let pages = bench.pages("made.pdf").expect("pages");
    assert_eq!(pages[0].source, PageSource::Text);
    assert_eq!(pages[0].text, "Bridge inspection report\n要再点検\nYamada Taro");
}

#[test]
fn a_page_with_nothing_but_a_note_is_not_blank() {
    let more = ["<</Type /Annot /Subtype /Text /Rect [10 10 30 30] /Contents (call the surveyor)>>"];
    let Some((_folder, mut bench)) = bench_with("", "/Annots [6 0 R]", "", &more) else { return };
    assert!(bench.text("made.pdf").contains("call the surveyor"));
}

#[test]
fn attached_files_are_found_by_name_and_bookmarks_are_metadata() {
    let catalog = "/Outlines 6 0 R /Names <</EmbeddedFiles <</Names [(spec.dwg) 9 0 R]>>>>";
    let more = [
        "<</Type /Outlines /First 7 0 R /Last 8 0 R /Count 2>>",
        // The second one names the first as the next one: a circle.
        "<</Title (Chapter 1) /Parent 6 0 R /Next 8 0 R>>",
        "<</Title <FEFF7B2C4E8C7AE0> /Parent 6 0 R /Next 7 0 R>>",
        "<</Type /Filespec /F (spec.dwg) /UF (spec.dwg) /EF <</F 10 0 R>>>>",
        "<</Type /EmbeddedFile /Length 3>>\nstream\nabc\nendstream",
    ];
    let Some((_folder, mut bench)) = bench_with(catalog, "", VISIBLE, &more) else { return };
    assert_eq!(bench.text("made.pdf"), "Bridge inspection report\nspec.dwg");
    let document = bench.document("made.pdf");
    let metadata = bench.worker.open(&document).expect("open").metadata;
    assert_eq!(metadata.get("attachments"), Some(&MetadataValue::Text("spec.dwg".to_owned())));
    let Some(MetadataValue::Text(bookmarks)) = metadata.get("bookmarks") else { panic!("{metadata:?}") };
    assert!(bookmarks.starts_with("Chapter 1 / 第二章"), "{bookmarks}");
}

#[test]
fn text_outside_of_the_visible_page_is_left_out() {
    let content = "BT /F 12 Tf 150 300 Td (Bridge inspection report) Tj ET BT /F 12 Tf 150 20 Td (printer marks) Tj ET \
                   BT /F 12 Tf 900 300 Td (far away) Tj ET";
    let Some((_folder, mut bench)) = bench_with("", "/CropBox [100 100 400 400]", content, &[]) else { return };
    assert_eq!(bench.text("made.pdf"), "Bridge inspection report");
}

#[test]
fn a_page_that_is_shown_on_its_side_keeps_its_text() {
    for turn in [90, 180, 270] {
        let Some((_folder, mut bench)) = bench_with("", &format!("/Rotate {turn}"), VISIBLE, &[]) else { return };
        assert_eq!(bench.text("made.pdf"), "Bridge inspection report");
    }
}

#[test]
fn values_that_fields_inherit_are_text() {
    let more = [
        "<</FT /Tx /T (owner) /V (Yamada Taro) /Kids [7 0 R 8 0 R]>>",
        "<</Type /Annot /Subtype /Widget /Parent 6 0 R /Rect [50 200 200 220]>>",
        "<</Type /Annot /Subtype /Widget /Parent 6 0 R /Rect [50 100 200 120]>>",
        "<</FT /Tx /Ff 8192 /T (pin) /V (opensesame) /Kids [10 0 R]>>",
        "<</Type /Annot /Subtype /Widget /Parent 9 0 R /Rect [50 50 200 70]>>",
        // Its own parent: no field, and no way out for those who follow it.
        "<</Type /Annot /Subtype /Widget /Parent 11 0 R /Rect [50 20 200 40]>>",
    ];
    let form = "/AcroForm <</Fields [6 0 R 9 0 R 11 0 R] /DA (/F 12 Tf)>>";
    let annotations = "/Annots [7 0 R 8 0 R 10 0 R 11 0 R]";
    let Some((_folder, mut bench)) = bench_with(form, annotations, VISIBLE, &more) else { return };
    assert_eq!(bench.text("made.pdf"), "Bridge inspection report\nYamada Taro");
}

#[test]
fn a_form_in_xfa_has_its_questions_and_answers() {
    let template = stream(
        "<template><subform><field><caption><value><text>Inspector</text></value></caption>\
         <event><script>this.rawValue = 1;</script></event></field></subform></template>",
    );
    let datasets = stream(
        "<xfa:datasets xmlns:xfa=\"http://www.xfa.org/schema/xfa-data/1.0/\"><xfa:data><form1><name>Yamada</name>\
         <place>Kobe &amp; Osaka</place></form1></xfa:data></xfa:datasets>",
    );
    let form = "/NeedsRendering true /AcroForm <</Fields [] /XFA [(template) 6 0 R (datasets) 7 0 R]>>";
    let waiting = "BT /F 12 Tf 50 300 Td (Please wait... If this message is not replaced) Tj ET";
    let Some((_folder, mut bench)) = bench_with(form, "", waiting, &[&template, &datasets]) else { return };
    assert_eq!(bench.text("made.pdf"), "Inspector\nYamada\nKobe & Osaka");
}

#[test]
fn a_form_in_xfa_keeps_what_its_page_says_itself() {
    let template = stream("<template><text>Inspector</text></template>");
    let form = "/AcroForm <</Fields [] /XFA [(template) 6 0 R]>>";
    let Some((_folder, mut bench)) = bench_with(form, "", VISIBLE, &[&template]) else { return };
    assert_eq!(bench.text("made.pdf"), "Bridge inspection report\nInspector");
}

/// A table and a paragraph in Japanese, letters of 20 points.
#[test]
fn cells_of_a_table_are_parted_and_words_cut_at_a_line_end_are_whole() {
    let utf16 = |text: &str| text.encode_utf16().map(|unit| format!("{unit:04x}")).collect::<String>();
    let mut content = String::new();
    for (x, y, text) in [
        (40, 340, "橋梁番号"),
        (200, 340, "橋名"),
        (320, 340, "年"),
        (40, 280, "設計図面の改訂履歴を確認し登"),
        (40, 250, "録した橋脚の基礎は岩盤の支持"),
        (40, 220, "層にある"),
    ] {
        content.push_str(&format!("BT /J 20 Tf 1 0 0 1 {x} {y} Tm <{}> Tj ET ", utf16(text)));
    }
    let more = [
        "<</Type /Font /Subtype /Type0 /BaseFont /Ryumin-Light /Encoding /UniJIS-UCS2-H /DescendantFonts [7 0 R]>>",
        "<</Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin-Light /DW 1000 \
         /CIDSystemInfo <</Registry (Adobe) /Ordering (Japan1) /Supplement 2>>>>",
    ];
    let page = "/Resources <</Font <</J 6 0 R>>>>";
    let Some((_folder, mut bench)) = bench_with("", page, &content, &more) else { return };
    let expected = "橋梁番号\t橋名\t年\n設計図面の改訂履歴を確認し登録した橋脚の基礎は岩盤の支持層にある";
    assert_eq!(bench.text("made.pdf"), expected);
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counters = fs::read_to_string("/proc/thread-self/io").expect("counters");
    counters.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("a counter").parse().expect("a number")
}

#[test]
fn a_font_of_the_system_is_read_for_the_first_document_only() {
    const FONT_BYTES: u64 = 1024 * 1024;
    let utf16 = |text: &str| text.encode_utf16().map(|unit| format!("{unit:04x}")).collect::<String>();
    let lines = ["道路橋の点検報告", "支承の腐食を確認"];
    let content: String = (0..)
        .zip(&lines)
        .map(|(number, line)| format!("BT /J{number} 30 Tf 40 {} Td <{}> Tj ET ", 300 - 80 * number, utf16(line)))
        .collect();
    // Mincho and gothic: two files.
    let more = ["Ryumin-Light", "GothicBBB-Medium"].map(|name| {
        format!(
            "<</Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /UniJIS-UCS2-H /DescendantFonts \
             [<</Type /Font /Subtype /CIDFontType0 /BaseFont /{name} /DW 1000 /CIDSystemInfo \
             <</Registry (Adobe) /Ordering (Japan1) /Supplement 2>>>>]>>"
        )
    });
    let page = "/Resources <</Font <</J0 6 0 R /J1 7 0 R>>>>";
    let Some((_folder, mut bench)) = bench_with("", page, &content, &more.each_ref().map(String::as_str)) else {
        return;
    };
    let mut look = || {
        let before = bytes_read();
        let text = bench.text("made.pdf");
        let document = bench.document("made.pdf");
        let thumbnail = bench.worker.thumbnail(&document).expect("a page").expect("a thumbnail");
        bench.worker.close();
        (text, thumbnail, bytes_read() - before)
    };
    let (first_text, first_thumbnail, _) = look();
    for _ in 0..3 {
        let (text, thumbnail, bytes) = look();
        assert_eq!(text, lines.join("\n"));
        assert_eq!(text, first_text);
        assert!(thumbnail == first_thumbnail, "drawn otherwise");
        assert!(bytes < FONT_BYTES, "{bytes} bytes were read");
    }
}

#[test]
fn vertical_writing_is_read_from_the_right() {
    let utf16 = |text: &str| text.encode_utf16().map(|unit| format!("{unit:04x}")).collect::<String>();
    let columns = ["道路橋の点検報告", "令和六年三月作成", "支承の腐食を確認"];
    // The columns as they are read; and letter by letter, across them.
    let by_column: String = (0..)
        .zip(&columns)
        .map(|(number, column)| format!("BT /V 20 Tf 1 0 0 1 {} 350 Tm <{}> Tj ET ", 300 - 40 * number, utf16(column)))
        .collect();
    let mut by_letter = String::new();
    for row in 0..8 {
        for (number, column) in (0..).zip(&columns) {
            let letter: String = column.chars().skip(row).take(1).collect();
            let (x, y) = (300 - 40 * number, 350 - 20 * row);
            by_letter.push_str(&format!("BT /V 20 Tf 1 0 0 1 {x} {y} Tm <{}> Tj ET ", utf16(&letter)));
        }
    }
    let more = [
        "<</Type /Font /Subtype /Type0 /BaseFont /Ryumin-Light /Encoding /UniJIS-UCS2-V /DescendantFonts [7 0 R]>>",
        "<</Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin-Light /DW 1000 \
         /CIDSystemInfo <</Registry (Adobe) /Ordering (Japan1) /Supplement 2>>>>",
    ];
    for content in [by_column, by_letter] {
        let page = "/Resources <</Font <</V 6 0 R>>>>";
        let Some((_folder, mut bench)) = bench_with("", page, &content, &more) else { return };
        assert_eq!(bench.text("made.pdf"), columns.join("\n"));
    }
}

#[test]
fn thumbnails_are_upright_however_the_page_lies() {
    // A black mark in the corner that is at the upper left when the page is shown.
    for (turn, mark, shown) in [
        (0, "0 300 100 100", (200, 200)),
        (90, "0 0 100 100", (200, 200)),
        (180, "300 0 100 100", (200, 200)),
        (270, "300 300 100 100", (200, 200)),
    ] {
        let content = format!("{mark} re f");
        let Some((_folder, mut bench)) = bench_with("", &format!("/Rotate {turn}"), &content, &[]) else { return };
        let document = bench.document("made.pdf");
        let jpeg = bench.worker.thumbnail(&document).expect("a page").expect("a thumbnail");
        let thumbnail = image::load_from_memory(&jpeg).expect("a JPEG").into_luma8();
        assert_eq!(thumbnail.dimensions(), shown, "{turn}");
        let brightness = |x, y| thumbnail.get_pixel(x, y).0[0];
        assert!(brightness(20, 20) < 50 && brightness(180, 180) > 200, "{turn}");
        assert!(brightness(180, 20) > 200 && brightness(20, 180) > 200, "{turn}");
    }
}

#[test]
fn pages_that_go_round_in_circles_end_in_a_reason() {
    for (name, pages) in [
        ("a tree that is its own branch", "<</Type /Pages /Kids [2 0 R] /Count 1>>"),
        ("a tree with nothing on it", "<</Type /Pages /Kids [9 0 R] /Count 3>>"),
    ] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let Some(mut bench) = Bench::start(folder.path()) else { return };
        let file = pdf_of(&["<</Type /Catalog /Pages 2 0 R>>", pages]);
        fs::write(folder.path().join("made.pdf"), file).expect("write");
        match bench.pages("made.pdf") {
            Ok(pages) => assert!(pages.iter().all(|page| page.failure.is_some()), "{name}: {pages:?}"),
            Err(error) => assert_eq!(error.failure.reason, Reason::Corrupt, "{name}"),
        }
    }
}

#[test]
fn a_stream_whose_length_is_itself_is_read() {
    let content = "BT /F 12 Tf 50 300 Td (Bridge inspection report) Tj ET";
    let folder = tempfile::tempdir().expect("temporary folder");
    let Some(mut bench) = Bench::start(folder.path()) else { return };
    let stream = format!("<</Length 4 0 R>>\nstream\n{content}\nendstream");
    let file = pdf_of(&[
        "<</Type /Catalog /Pages 2 0 R>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 400 400]>>",
        "<</Type /Page /Parent 2 0 R /Resources <</Font <</F 5 0 R>>>> /Contents 4 0 R>>",
        &stream,
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>",
    ]);
    fs::write(folder.path().join("made.pdf"), file).expect("write");
    assert_eq!(bench.text("made.pdf"), "Bridge inspection report");
}

/// A page of 40 × 20 points with these entries, this content, and a picture `/P` of 40 × 20 pixels with entries of its own;
/// shown to `look`. Does nothing where pdfium is missing.
fn with_picture_page(page: &str, content: &str, picture: &str, look: impl Fn(&PdfDocument)) {
    let bytes_a_pixel = if picture.contains("/DeviceRGB") { 3 } else { 1 };
    let pixels: String = (0..800 * bytes_a_pixel).map(|place| format!("{:02x}", place * 37 % 256)).collect();
    let picture = format!(
        "<</Type /XObject /Subtype /Image /Width 40 /Height 20 /BitsPerComponent 8 /Filter /ASCIIHexDecode {picture} \
         /Length {}>>\nstream\n{pixels}>\nendstream",
        pixels.len() + 1
    );
    let page = format!(
        "/MediaBox [0 0 40 20] /Resources <</XObject <</P 6 0 R>> /Font <</F 5 0 R>> /ExtGState <</G <</ca .5>>>>>> {page}"
    );
    let Some((folder, _bench)) = bench_with("", &page, content, &[&picture]) else { return };
    let pdfium = Pdfium::load(&find_pdfium(None).expect("found by the bench")).expect("pdfium");
    look(&pdfium.open(&folder.path().join("made.pdf")).expect("open"));
}

const GREY: &str = "/ColorSpace /DeviceGray";
const WHOLE_PAGE: &str = "q 40 0 0 20 0 0 cm /P Do Q";

#[test]
fn a_page_that_is_one_picture_is_that_picture() {
    with_picture_page("", &format!("{WHOLE_PAGE} BT 3 Tr /F 5 Tf (unseen) Tj ET"), GREY, |document| {
        let page = document.page(0).expect("page");
        let rendered = page.render_grey_page(40, 20).map(Picture::Grey);
        assert!(rendered.is_some() && page.own_picture(40, 20) == rendered);
        assert_eq!(page.own_picture(41, 19), rendered, "rounded");
        assert_eq!(page.own_picture(80, 40), None, "wanted larger");
    });
    with_picture_page("", WHOLE_PAGE, "/ColorSpace /DeviceRGB", |document| {
        let page = document.page(0).expect("page");
        let rendered = page.render_colour(40, 20).map(Picture::Colour);
        assert!(rendered.is_some() && page.own_picture(40, 20) == rendered);
    });
}

#[test]
fn a_page_that_shows_less_or_more_than_its_picture_is_rendered() {
    let note = "/Annots [<</Type /Annot /Subtype /Text /Rect [1 1 9 9] /Contents (see below)>>]";
    let pages = [
        ("a rule beside it", "", "q 40 0 0 20 0 0 cm /P Do Q 0 0 1 1 re f", GREY),
        ("visible text", "", "q 40 0 0 20 0 0 cm /P Do Q BT /F 5 Tf (seen) Tj ET", GREY),
        ("twice", "", "q 40 0 0 20 0 0 cm /P Do /P Do Q", GREY),
        ("a part of the page", "", "q 30 0 0 20 0 0 cm /P Do Q", GREY),
        ("beside its place", "", "q 40 0 0 20 2 0 cm /P Do Q", GREY),
        ("mirrored", "", "q -40 0 0 20 40 0 cm /P Do Q", GREY),
        ("cut", "", "q 0 0 20 20 re W n 40 0 0 20 0 0 cm /P Do Q", GREY),
        ("half transparent", "", "q /G gs 40 0 0 20 0 0 cm /P Do Q", GREY),
        ("a page on its side", "/Rotate 90", WHOLE_PAGE, GREY),
        ("a part is shown", "/CropBox [0 0 20 20]", WHOLE_PAGE, GREY),
        ("a note", note, WHOLE_PAGE, GREY),
        ("black and white", "", WHOLE_PAGE, "/ColorSpace /DeviceGray /BitsPerComponent 1"),
        ("masked", "", WHOLE_PAGE, "/ColorSpace /DeviceGray /SMask 6 0 R"),
        ("masked by its colour", "", WHOLE_PAGE, "/ColorSpace /DeviceGray /Mask [255 255]"),
    ];
    for (what, page, content, picture) in pages {
        with_picture_page(page, content, picture, |document| {
            assert_eq!(document.page(0).expect("page").own_picture(40, 20), None, "{what}");
        });
    }
}
