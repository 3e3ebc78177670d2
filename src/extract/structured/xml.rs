//! XML: the text between the tags. Attributes are the machine's, and left out.
//!
//! Entities that a document defines are never expanded, so that there is no bomb to defuse: their names are kept.
//! A file that stops being XML is text from the beginning: half of it would be missing otherwise.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::bounds::Budget;
use super::flow::Flow;
use super::{Section, Source, StructuredFile, html, read_beginning};
use crate::document::Failure;
use crate::extract::{charset, metadata, page_text, text};

/// Bytes read of a document; the text of a longer one is over the limit, unless it is all markup.
const MAX_XML_BYTES: u64 = 32 * 1024 * 1024;

/// The declaration ends within so many bytes.
const DECLARATION_BYTES: usize = 256;

/// Reads a document.
///
/// # Errors
/// `not_found` when the spooled file is gone.
pub fn read(source: &mut dyn Source, _budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let (bytes, complete) = read_beginning(source, MAX_XML_BYTES)?;
    let mut document = read_bytes(&bytes);
    for section in &mut document.sections {
        section.truncated |= !complete;
    }
    Ok(document)
}

pub fn read_bytes(bytes: &[u8]) -> StructuredFile {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION_BYTES)]);
    let encoding = charset::encoding_of(bytes, html::value_after(&head, "encoding").as_deref());
    let source = encoding.decode(bytes, true);
    let section = text_between_tags(&source).unwrap_or_else(|| {
        let (text, truncated) = page_text::limit_text(text::without_controls(&source), page_text::MAX_PAGE_UTF16_UNITS);
        Section { text, truncated }
    });
    let mut document = StructuredFile::of_section(section);
    metadata::insert_text(&mut document.metadata, "encoding", encoding.name());
    document
}

/// `None` when it is no XML.
fn text_between_tags(source: &str) -> Option<Section> {
    let mut reader = Reader::from_str(source);
    // Whole nesting errors are no reason to show a searcher tags.
    reader.config_mut().check_end_names = false;
    let mut writer = Writer::default();
    while !writer.flow.is_full() {
        match reader.read_event().ok()? {
            Event::Start(_) => writer.begin_element(),
            Event::End(_) => writer.end_element(),
            Event::Empty(_) => {
                writer.begin_element();
                writer.end_element();
            }
            Event::Text(text) => writer.text(&text.xml10_content()),
            Event::CData(text) => writer.text(&text.xml10_content()),
            Event::GeneralRef(reference) => writer.text(&resolved(&reference)),
            Event::Eof => break,
            _ => {}
        }
    }
    let truncated = writer.flow.is_full();
    Some(Section { text: writer.flow.into_text(), truncated })
}

fn resolved(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.to_string();
    }
    let name: &str = reference;
    resolve_predefined_entity(name).map_or_else(|| format!("&{name};"), str::to_owned)
}

/// Elements beside text are words of a sentence; elements among elements are lines of a record.
#[derive(Default)]
struct Writer {
    flow: Flow,
    /// For each open element: text stood directly in it.
    has_text: Vec<bool>,
    after_end: bool,
}

impl Writer {
    fn begin_element(&mut self) {
        if !self.parent_has_text() {
            self.flow.end_block();
        }
        self.has_text.push(false);
        self.after_end = false;
    }

    fn end_element(&mut self) {
        self.has_text.pop();
        if !self.parent_has_text() {
            self.flow.end_block();
        }
        self.after_end = true;
    }

    fn text(&mut self, text: &str) {
        let is_blank = text.trim().is_empty();
        if !is_blank {
            // <p><b>橋</b>梁</p> is one word.
            if self.after_end && !text.starts_with(char::is_whitespace) {
                self.flow.join();
            }
            if let Some(has_text) = self.has_text.last_mut() {
                *has_text = true;
            }
            self.after_end = false;
        }
        if is_blank && !self.parent_has_text() {
            return;
        }
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.flow.end_block();
            }
            self.flow.push(line);
        }
    }

    fn parent_has_text(&self) -> bool {
        self.has_text.last().copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::SHIFT_JIS;

    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        read_bytes(bytes).sections.remove(0).text
    }

    #[test]
    fn text_is_read_and_attributes_are_not() {
        let document = "<?xml version=\"1.0\"?>\n<!-- note --><工事 番号=\"7\"><名称>道路&amp;橋</名称><場所>東京都\n 港区</場所>\
                        <p>設<b>計</b>図は<i>CAD</i>で</p><c><![CDATA[a < b]]></c><空/><d>&#x2460;</d></工事>";
        assert_eq!(text_of(document.as_bytes()), "道路&橋\n東京都\n港区\n設計図はCADで\na < b\n①");
    }

    #[test]
    fn the_declared_encoding_is_believed_when_it_can_be_true() {
        for label in ["Shift_JIS", "UTF-8"] {
            let document = format!("<?xml version=\"1.0\" encoding=\"{label}\"?><a>橋梁点検の結果です</a>");
            assert_eq!(text_of(&SHIFT_JIS.encode(&document).0), "橋梁点検の結果です");
            assert_eq!(text_of(document.as_bytes()), "橋梁点検の結果です");
        }
    }

    #[test]
    fn entities_are_not_expanded() {
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE b [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
                    <!ENTITY x SYSTEM \"file:///etc/passwd\">]><b>橋&b;&x;</b>";
        assert_eq!(text_of(bomb.as_bytes()), "橋&b;&x;");
    }

    #[test]
    fn what_stops_being_xml_is_text() {
        assert_eq!(
            text_of("<?xml version=\"1.0\"?><a>橋</a><b 梁".as_bytes()),
            "<?xml version=\"1.0\"?><a>橋</a><b 梁"
        );
        let deep = format!("<?xml version=\"1.0\"?>{}底", "<a>".repeat(100_000));
        assert_eq!(text_of(deep.as_bytes()), "底");
    }
}
