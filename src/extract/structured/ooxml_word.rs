//! Word documents (.docx): body with tables and text boxes, then headers and footers, notes, comments, diagrams.

use super::bounds::Budget;
use super::embedded::{is_picture_name, keep_if_page};
use super::ooxml_text::{append_paragraphs, append_part};
use super::package::Package;
use super::text_sink::TextSink;
use super::{Source, StructuredFile, office_metadata};
use crate::document::{Failure, Reason};

/// Parts beside the body, in the order in which they are read; by the last piece of the relationship's type.
const PARTS: [&str; 8] =
    ["header", "footer", "footnotes", "endnotes", "comments", "diagramData", "chart", "glossaryDocument"];

/// Reads a document.
///
/// # Errors
/// `corrupt`, `encrypted`, `archive_bomb`
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut package = Package::open(source, budget)?;
    let main = main_part(&mut package, "word/document.xml", budget)?;
    let mut sink = TextSink::new();
    append_main(&mut package, &main, budget, &mut sink)?;
    sink.end_section();
    let relationships = package.relationships(&main, budget)?;
    for kind in PARTS {
        for relationship in relationships.iter().filter(|relationship| relationship.kind == kind) {
            append_part(&mut package, &relationship.target, budget, &mut sink)?;
        }
        sink.end_section();
    }
    let mut file = sink.finish();
    file.metadata = office_metadata::ooxml(&mut package, budget)?;
    add_pictures(&mut package, "word/media/", budget, &mut file)?;
    Ok(file)
}

/// The package's main part; `usual` where the package does not say.
///
/// # Errors
/// `corrupt` when there is none.
pub fn main_part(package: &mut Package<'_>, usual: &str, budget: &mut Budget) -> Result<String, Failure> {
    let relationships = package.relationships("", budget)?;
    let told = relationships.into_iter().find(|relationship| relationship.kind == "officeDocument");
    [told.map(|relationship| relationship.target), Some(usual.to_owned())]
        .into_iter()
        .flatten()
        .find(|part| package.contains(part) && part.to_ascii_lowercase().ends_with(".xml"))
        .ok_or_else(|| Failure::new(Reason::Corrupt, format!("The document has no part {usual}.")))
}

/// Reads the body. Damage after some text marks the section; damage before any is the document's.
fn append_main(package: &mut Package<'_>, part: &str, budget: &mut Budget, sink: &mut TextSink) -> Result<(), Failure> {
    let xml = package.text(part, budget)?.unwrap_or_default();
    match append_paragraphs(&xml, part, sink) {
        Err(failure) if sink.is_empty() => Err(failure),
        Err(_) => {
            sink.mark_truncated();
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Pictures that may be pages, and the package's own preview.
///
/// # Errors
/// `archive_bomb`, `encrypted`
pub fn add_pictures(
    package: &mut Package<'_>,
    folder: &str,
    budget: &mut Budget,
    file: &mut StructuredFile,
) -> Result<(), Failure> {
    for name in package.names_under(folder).into_iter().filter(|name| is_picture_name(name)) {
        let Some(encoded) = package.bytes_if_whole(&name, budget)? else { continue };
        if !keep_if_page(file, encoded) {
            break;
        }
    }
    for preview in
        ["docProps/thumbnail.jpeg", "docProps/thumbnail.jpg", "docProps/thumbnail.png", "Thumbnails/thumbnail.png"]
    {
        if file.thumbnail.is_none() {
            file.thumbnail = package.bytes_if_whole(preview, budget)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::MetadataValue;
    use crate::extract::structured::made::{self, package_file};

    const BODY: &str = "<w:document><w:body><w:p><w:r><w:t>橋梁台帳</w:t></w:r></w:p></w:body></w:document>";

    #[test]
    fn body_headers_notes_and_comments_are_read_with_metadata() {
        let rels = "<Relationships><Relationship Id='1' Type='http://x/header' Target='header1.xml'/>\
                    <Relationship Id='2' Type='http://x/comments' Target='comments.xml'/>\
                    <Relationship Id='3' Type='http://x/footnotes' Target='footnotes.xml'/></Relationships>";
        let notes = "<w:footnotes><w:footnote w:type='separator'><w:p><w:r><w:t>-</w:t></w:r></w:p></w:footnote>\
                     <w:footnote><w:p><w:r><w:t>脚注</w:t></w:r></w:p></w:footnote></w:footnotes>";
        let core = "<c><dc:title>点検 &amp; 報告</dc:title><dc:creator>山田</dc:creator>\
                    <dcterms:created>2024-01-02T03:04:05Z</dcterms:created></c>";
        let file = package_file(&[
            ("word/document.xml", BODY.as_bytes()),
            ("word/_rels/document.xml.rels", rels.as_bytes()),
            ("word/header1.xml", "<w:hdr><w:p><w:t>社外秘</w:t></w:p></w:hdr>".as_bytes()),
            (
                "word/comments.xml",
                "<w:comments><w:comment><w:p><w:t>要確認</w:t></w:p></w:comment></w:comments>".as_bytes(),
            ),
            ("word/footnotes.xml", notes.as_bytes()),
            ("docProps/core.xml", core.as_bytes()),
        ]);
        let read = made::read(read, file.path()).expect("read");
        let texts: Vec<&str> = read.sections.iter().map(|section| section.text.as_str()).collect();
        assert_eq!(texts, ["橋梁台帳", "社外秘", "脚注", "要確認"]);
        let text = |value: &str| Some(MetadataValue::Text(value.to_owned()));
        assert_eq!(read.metadata.get("title").cloned(), text("点検 & 報告"));
        assert_eq!(read.metadata.get("creation_date").cloned(), text("2024-01-02T03:04:05Z"));
    }

    #[test]
    fn a_document_without_a_readable_body_is_corrupt_not_empty() {
        for entries in [vec![("word/styles.xml", "<a/>")], vec![("word/document.xml", "<w:document><w:bo")]] {
            let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, xml)| (*name, xml.as_bytes())).collect();
            let file = package_file(&entries);
            assert_eq!(made::read(read, file.path()).expect_err("corrupt").reason, Reason::Corrupt);
        }
    }

    #[test]
    fn a_body_that_is_cut_off_keeps_its_text_and_says_so() {
        let cut = &BODY[..BODY.len() - 12];
        let file = package_file(&[("word/document.xml", cut.as_bytes())]);
        let read = made::read(read, file.path()).expect("read");
        assert_eq!(read.sections[0].text, "橋梁台帳");
        assert!(read.sections[0].truncated);
    }

    #[test]
    fn corpus_documents_are_read() {
        for (name, words) in [
            ("docx_tables.docx", ["Simple uniform table", "Header Col 1\tHeader Col 2"]),
            ("textbox.docx", ["Chiayi County Shuishang Township", "Student falls ill"]),
            ("unit_test_lists.docx", ["Test Document\nParagraph 2.1.1", "List item 3"]),
            ("word_sample.docx", ["Summer activities", "This is a cute duckling"]),
            ("fake.docx", ["Lorem ipsum dolor", "sit amet"]),
        ] {
            let Some(path) = made::corpus_file(name) else { return };
            let text = made::read_text(read, &path);
            for word in words {
                assert!(text.to_lowercase().contains(&word.to_lowercase()), "{name}: {word}\n{text}");
            }
        }
    }
}
