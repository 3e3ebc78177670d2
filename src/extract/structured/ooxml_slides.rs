//! Presentations (.pptx): a section for each slide in the order of the show, with tables, charts, notes and comments.

use super::bounds::Budget;
use super::office_xml::{Node, XmlReader};
use super::ooxml_text::append_part;
use super::ooxml_word::{add_pictures, main_part};
use super::package::{Package, Relationship};
use super::text_sink::TextSink;
use super::{Source, StructuredFile, office_metadata};
use crate::document::Failure;

/// What belongs to a slide, in the order in which it is read.
const PARTS: [&str; 4] = ["chart", "diagramData", "notesSlide", "comments"];

/// Reads a presentation.
///
/// # Errors
/// `corrupt`, `encrypted`, `archive_bomb`
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut package = Package::open(source, budget)?;
    let main = main_part(&mut package, "ppt/presentation.xml", budget)?;
    let slides = slide_parts(&mut package, &main, budget)?;
    let mut sink = TextSink::new();
    for slide in &slides {
        append_part(&mut package, slide, budget, &mut sink)?;
        let relationships = package.relationships(slide, budget)?;
        for kind in PARTS {
            for relationship in relationships.iter().filter(|relationship| relationship.kind == kind) {
                append_part(&mut package, &relationship.target, budget, &mut sink)?;
            }
        }
        sink.end_section();
    }
    let mut file = sink.finish();
    file.metadata = office_metadata::ooxml(&mut package, budget)?;
    add_pictures(&mut package, "ppt/media/", budget, &mut file)?;
    Ok(file)
}

/// The slides in the order of the show; those that the list does not know come last.
fn slide_parts(package: &mut Package<'_>, main: &str, budget: &mut Budget) -> Result<Vec<String>, Failure> {
    let relationships = package.relationships(main, budget)?;
    let xml = package.text(main, budget)?.unwrap_or_default();
    let mut slides = ordered(&xml, main, &relationships)?;
    for relationship in relationships.into_iter().filter(|relationship| relationship.kind == "slide") {
        if !slides.contains(&relationship.target) {
            slides.push(relationship.target);
        }
    }
    Ok(slides)
}

fn ordered(xml: &str, part: &str, relationships: &[Relationship]) -> Result<Vec<String>, Failure> {
    let mut reader = XmlReader::new(xml, part);
    let mut slides: Vec<String> = Vec::new();
    while let Some(node) = reader.next()? {
        let Node::Start(element) = node else { continue };
        if element.name() != "sldId" {
            continue;
        }
        let id = element.qualified_attribute("r:id").unwrap_or_default();
        let found = relationships.iter().find(|relationship| relationship.id == id);
        if let Some(relationship) = found.filter(|relationship| !slides.contains(&relationship.target)) {
            slides.push(relationship.target.clone());
        }
    }
    Ok(slides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::made::{self, package_file};

    #[test]
    fn slides_come_in_the_order_of_the_show_with_their_notes() {
        let rels = "<R><Relationship Id='a' Type='x/slide' Target='slides/slide1.xml'/>\
                    <Relationship Id='b' Type='x/slide' Target='slides/slide2.xml'/></R>";
        let slide = |text: &str| {
            format!(
                "<p:sld><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r><a:fld type='slidenum'><a:t>7</a:t></a:fld></a:p></p:txBody></p:sld>"
            )
        };
        let notes = "<R><Relationship Id='n' Type='x/notesSlide' Target='../notesSlides/notesSlide1.xml'/></R>";
        let file = package_file(&[
            ("ppt/presentation.xml", b"<p><p:sldId id='9' r:id='b'/><p:sldId r:id='a'/></p>".as_slice()),
            ("ppt/_rels/presentation.xml.rels", rels.as_bytes()),
            ("ppt/slides/slide1.xml", slide("一枚目").as_bytes()),
            ("ppt/slides/slide2.xml", slide("二枚目").as_bytes()),
            ("ppt/slides/_rels/slide2.xml.rels", notes.as_bytes()),
            ("ppt/notesSlides/notesSlide1.xml", slide("ノート").as_bytes()),
        ]);
        let read = made::read(read, file.path()).expect("read");
        let texts: Vec<&str> = read.sections.iter().map(|section| section.text.as_str()).collect();
        assert_eq!(texts, ["二枚目\nノート", "一枚目"]);
    }

    #[test]
    fn corpus_presentations_are_read() {
        for (name, words) in
            [("powerpoint_sample.pptx", ["Test Table Slide", "Item"]), ("powerpoint_bad_text.pptx", ["The", "a"])]
        {
            let Some(path) = made::corpus_file(name) else { return };
            let text = made::read_text(read, &path);
            for word in words {
                assert!(text.contains(word), "{name}: {word}\n{text}");
            }
        }
    }
}
