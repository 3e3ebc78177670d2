//! XML as the parts of Office files hold it, read event by event within bounds.
//!
//! Entities that a document declares itself are never expanded, so they cannot multiply; namespaces are ignored, the
//! local names of the formats read here tell enough.

use std::borrow::Cow;

use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::document::{Failure, Reason};

/// Elements inside elements; Office nests a few dozen (tables in text boxes in tables).
const MAX_DEPTH: u32 = 1_000;

/// What comes next in a part.
#[derive(Debug)]
pub enum Node<'a> {
    /// An empty element is followed by its end, too.
    Start(Element<'a>),
    /// The local name.
    End(String),
    Text(Cow<'a, str>),
}

/// A start tag.
#[derive(Debug)]
pub struct Element<'a> {
    tag: BytesStart<'a>,
}

impl Element<'_> {
    /// Without its prefix.
    pub fn name(&self) -> &str {
        self.tag.local_name().into_inner()
    }

    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.tag.name().into_inner().split_once(':').is_some_and(|(found, _)| found == prefix)
    }

    /// An attribute by its local name.
    pub fn attribute(&self, local_name: &str) -> Option<String> {
        self.find(|name| local(name) == local_name)
    }

    /// An attribute by its name with the prefix (`r:id` beside `id`).
    pub fn qualified_attribute(&self, name: &str) -> Option<String> {
        self.find(|candidate| candidate == name)
    }

    fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let attributes: Attributes<'_> = self.tag.attributes();
        for attribute in attributes.flatten() {
            if wanted(attribute.key.into_inner()) {
                let raw = attribute.value.into_owned();
                // A value with unknown entities is taken as it stands.
                return Some(match quick_xml::escape::unescape(&raw) {
                    Ok(value) => value.into_owned(),
                    Err(_) => raw,
                });
            }
        }
        None
    }
}

/// Reads one part.
pub struct XmlReader<'a> {
    reader: Reader<&'a [u8]>,
    part: &'a str,
    depth: u32,
}

impl<'a> XmlReader<'a> {
    /// `part`: its name, for sentences.
    pub fn new(text: &'a str, part: &'a str) -> XmlReader<'a> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        reader.config_mut().check_end_names = true;
        XmlReader { reader, part, depth: 0 }
    }

    /// The next start, end or text; `None` at the end.
    ///
    /// # Errors
    /// `corrupt` when it is not well-formed, is cut off or nests too deep.
    pub fn next(&mut self) -> Result<Option<Node<'a>>, Failure> {
        loop {
            let event = self.reader.read_event().map_err(|error| self.corrupt(&error.to_string()))?;
            match event {
                Event::Start(tag) => {
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(self.corrupt("elements are nested too deep"));
                    }
                    return Ok(Some(Node::Start(Element { tag })));
                }
                Event::End(tag) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Some(Node::End(tag.local_name().into_inner().to_owned())));
                }
                Event::Text(text) => return Ok(Some(Node::Text(text.into_inner()))),
                Event::CData(text) => return Ok(Some(Node::Text(text.into_inner()))),
                Event::GeneralRef(reference) => {
                    if let Some(text) = reference_text(&reference) {
                        return Ok(Some(Node::Text(Cow::Owned(text))));
                    }
                }
                Event::Eof if self.depth > 0 => return Err(self.corrupt("it is cut off")),
                Event::Eof => return Ok(None),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// Passes over the rest of the element whose start was just returned.
    ///
    /// # Errors
    /// Like [`XmlReader::next`].
    pub fn skip(&mut self) -> Result<(), Failure> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            if self.next()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// All text inside the element whose start was just returned, with the element left behind.
    ///
    /// # Errors
    /// Like [`XmlReader::next`].
    pub fn text_content(&mut self) -> Result<String, Failure> {
        let outside = self.depth.saturating_sub(1);
        let mut content = String::new();
        while self.depth > outside {
            match self.next()? {
                Some(Node::Text(text)) => content.push_str(&text),
                Some(_) => {}
                None => break,
            }
        }
        Ok(content)
    }

    fn corrupt(&self, what: &str) -> Failure {
        Failure::new(Reason::Corrupt, format!("{} of the document could not be read: {what}.", self.part))
    }
}

/// The predefined entities and characters by number; `None` for entities that a document declares.
fn reference_text(reference: &quick_xml::events::BytesRef<'_>) -> Option<String> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character.to_string());
    }
    quick_xml::escape::resolve_predefined_entity(reference).map(str::to_owned)
}

/// Bytes of a part as text: UTF-8, or UTF-16 by its byte order mark.
pub fn decoded(bytes: Vec<u8>) -> String {
    let marked = encoding_rs::Encoding::for_bom(&bytes).map(|(encoding, _)| encoding);
    match (marked, String::from_utf8(bytes)) {
        (None, Ok(text)) => text,
        (_, Ok(text)) => text.trim_start_matches('\u{feff}').to_owned(),
        (marked, Err(error)) => marked.unwrap_or(encoding_rs::UTF_8).decode(error.as_bytes()).0.into_owned(),
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_text(xml: &str) -> Result<String, Failure> {
        let mut reader = XmlReader::new(xml, "part");
        let mut all = String::new();
        while let Some(node) = reader.next()? {
            if let Node::Text(text) = node {
                all.push_str(&text);
            }
        }
        Ok(all)
    }

    #[test]
    fn text_references_and_literal_sections_are_read() {
        let text = all_text("<a>x &lt; &#x6A4B;<b/><![CDATA[<y>]]></a>").expect("text");
        assert_eq!(text, "x < 橋<y>");
    }

    #[test]
    fn entities_of_the_document_are_not_expanded() {
        let mut bomb = "<!DOCTYPE a [<!ENTITY e0 \"hello\">".to_owned();
        for level in 1..20 {
            bomb.push_str(&format!("<!ENTITY e{level} \"{}\">", format!("&e{};", level - 1).repeat(10)));
        }
        bomb.push_str("]><a>before &e19; after</a>");
        assert_eq!(all_text(&bomb).expect("text"), "before  after");
    }

    #[test]
    fn endless_nesting_and_cut_off_parts_are_corrupt() {
        for damaged in ["<a>".repeat(5_000), "<a><b>text".to_owned(), "<a></b>".to_owned()] {
            assert_eq!(all_text(&damaged).expect_err("corrupt").reason, Reason::Corrupt);
        }
    }

    #[test]
    fn attributes_are_found_with_and_without_prefix() {
        let mut reader = XmlReader::new("<p:s id=\"1\" r:id=\"a&amp;b\"/>", "part");
        let Ok(Some(Node::Start(element))) = reader.next() else { panic!("start") };
        assert_eq!(element.name(), "s");
        assert_eq!(element.attribute("id").as_deref(), Some("1"));
        assert_eq!(element.qualified_attribute("r:id").as_deref(), Some("a&b"));
    }

    #[test]
    fn parts_in_utf_16_are_decoded() {
        let bytes: Vec<u8> = "\u{feff}<a>橋</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(all_text(&decoded(bytes)).expect("text"), "橋");
    }
}
