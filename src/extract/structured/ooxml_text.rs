//! Paragraphs and tables of OOXML parts. WordprocessingML and DrawingML (slides, text boxes, diagrams, charts) call them
//! alike: `p`, `r`, `t`, `tbl`, `tr`, `tc`.

use super::bounds::Budget;
use super::office_xml::{Element, Node, XmlReader};
use super::package::{Package, is_local};
use super::text_sink::TextSink;
use crate::document::Failure;

/// Elements whose text is not shown, or shown once more elsewhere: deleted text, field codes, readings above words
/// (furigana), a drawing's replacement for old programs, note separators.
const PASSED_OVER: [&str; 7] = ["del", "moveFrom", "instrText", "delText", "rt", "Fallback", "oMathParaPr"];

/// Appends a part, when it exists. A damaged part gives what came before the damage, and the section is marked.
///
/// # Errors
/// `archive_bomb`, `encrypted`
pub fn append_part(
    package: &mut Package<'_>,
    part: &str,
    budget: &mut Budget,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    let read = match package.text(part, budget) {
        Ok(None) => return Ok(()),
        Ok(Some(xml)) => append_paragraphs(&xml, part, sink),
        Err(failure) => Err(failure),
    };
    match read {
        Err(failure) if is_local(&failure) => {
            sink.mark_truncated();
            Ok(())
        }
        other => other,
    }
}

/// Appends paragraphs as lines and table rows as lines of cells.
///
/// # Errors
/// `corrupt`; what came before is in the sink.
pub fn append_paragraphs(xml: &str, part: &str, sink: &mut TextSink) -> Result<(), Failure> {
    let mut reader = XmlReader::new(xml, part);
    let mut text = Paragraphs { sink, paragraph: String::new(), outer: Vec::new(), tables: 0, cells: Vec::new() };
    let outcome = text.read(&mut reader);
    text.end_paragraph();
    text.end_row();
    outcome
}

/// Where the reading stands.
struct Paragraphs<'s> {
    sink: &'s mut TextSink,
    paragraph: String,
    /// Paragraphs in which a text box is anchored.
    outer: Vec<String>,
    /// Tables around this place; rows of tables in cells become words of the cell.
    tables: u32,
    cells: Vec<String>,
}

impl Paragraphs<'_> {
    fn read(&mut self, reader: &mut XmlReader<'_>) -> Result<(), Failure> {
        while !self.sink.is_full() {
            match reader.next()? {
                Some(Node::Start(element)) if is_passed_over(&element) => reader.skip()?,
                Some(Node::Start(element)) => self.start(&element, reader)?,
                Some(Node::End(name)) => self.end(&name),
                Some(Node::Text(_)) => {}
                None => return Ok(()),
            }
        }
        self.sink.mark_truncated();
        Ok(())
    }

    fn start(&mut self, element: &Element<'_>, reader: &mut XmlReader<'_>) -> Result<(), Failure> {
        match element.name() {
            // A diagram's `dgm:t` holds paragraphs of its own.
            "t" if !element.has_prefix("dgm") => self.paragraph.push_str(&reader.text_content()?),
            // Captions and categories of a chart, comments of a presentation.
            "v" | "text" => {
                self.paragraph.push_str(&reader.text_content()?);
                self.end_paragraph();
            }
            // Inside `tabs` it would be a tab stop, which is no text; those have a position.
            "tab" if element.attribute("pos").is_none() => self.paragraph.push('\t'),
            "br" | "cr" => self.paragraph.push('\n'),
            "noBreakHyphen" => self.paragraph.push('-'),
            "txbxContent" => self.outer.push(std::mem::take(&mut self.paragraph)),
            "tbl" => {
                self.end_paragraph();
                self.tables += 1;
            }
            "tc" if self.tables == 1 => self.cells.push(String::new()),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        match name {
            "p" => self.end_paragraph(),
            "txbxContent" => {
                self.end_paragraph();
                self.paragraph = self.outer.pop().unwrap_or_default();
            }
            "tr" if self.tables == 1 => self.end_row(),
            "tbl" => self.tables = self.tables.saturating_sub(1),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        match self.cells.last_mut() {
            Some(cell) if self.tables > 0 => {
                if !cell.is_empty() && !paragraph.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(&paragraph);
            }
            _ => self.sink.line(&paragraph),
        }
    }

    fn end_row(&mut self) {
        self.sink.row(&std::mem::take(&mut self.cells));
    }
}

fn is_passed_over(element: &Element<'_>) -> bool {
    PASSED_OVER.contains(&element.name())
        // The number of a slide, which is no word of it.
        || element.name() == "fld" && element.attribute("type").is_some_and(|kind| kind == "slidenum")
        || matches!(element.name(), "footnote" | "endnote")
            && element.attribute("type").is_some_and(|kind| kind != "normal")
        // Numbers behind a chart stand in the sheet they come from.
        || element.name() == "numCache"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(xml: &str) -> String {
        let mut sink = TextSink::new();
        append_paragraphs(xml, "part", &mut sink).expect("read");
        sink.finish().sections.remove(0).text
    }

    #[test]
    fn tables_keep_cells_and_nested_ones_become_words() {
        let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
        let inner = format!("<w:tc><w:p/><w:tbl><w:tr>{}{}</w:tr></w:tbl></w:tc>", cell("c"), cell("d"));
        let xml =
            format!("<x><w:tbl><w:tr>{}{}</w:tr><w:tr>{}{inner}</w:tr></w:tbl></x>", cell("橋名"), cell("b"), cell(""));
        assert_eq!(text_of(&xml), "橋名\tb\n\tc d");
    }

    #[test]
    fn a_text_box_does_not_break_its_paragraph() {
        let xml = "<w:p><w:r><w:t>前</w:t><w:txbxContent><w:p><w:r><w:t>箱</w:t></w:r></w:p></w:txbxContent></w:r>\
                   <w:r><w:t>後</w:t></w:r></w:p>";
        assert_eq!(text_of(xml), "箱\n前後");
    }

    #[test]
    fn what_is_not_shown_is_not_text() {
        let xml = "<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:ruby><w:rt><w:t>はし</w:t></w:rt>\
                   <w:rubyBase><w:r><w:t>橋</w:t></w:r></w:rubyBase></w:ruby><w:instrText>PAGE</w:instrText>\
                   <mc:AlternateContent><mc:Choice><w:t>台</w:t></mc:Choice><mc:Fallback><w:t>台</w:t></mc:Fallback>\
                   </mc:AlternateContent><w:t>帳</w:t></w:p>";
        assert_eq!(text_of(xml), "橋台帳");
    }
}
