//! What a PDF holds beside its pages' content reaches the text, and what nobody sees does not. Skipped with a message
//! where pdfium or the models are missing.

use std::fs;

use super::test_bench::Bench;
use crate::document::MetadataValue;
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
    let page = format!("<</Type /Page /Parent 2 0 R /Resources <</Font <</F 5 0 R>>>> /Contents 4 0 R {page}>>");
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
