//! OpenDocument texts, spreadsheets and presentations (.odt, .ods, .odp): `content.xml`, then the headers and footers of
//! `styles.xml`. Sheets and slides are sections of their own, with their name first; notes and comments are in place.
//!
//! Cells and rows come with "repeated so many times", which is where a small file claims to be a large one: empty ones
//! are never laid out, and full ones only a bounded number of times.

use super::bounds::Budget;
use super::office_xml::{Element, Node, XmlReader};
use super::ooxml_sheets::Row;
use super::ooxml_word::add_pictures;
use super::package::{Package, encrypted, is_local};
use super::text_sink::TextSink;
use super::{Source, StructuredFile, office_metadata};
use crate::document::{Failure, Reason};

/// A cell with a value that is repeated further is a filled area; its words are found all the same.
const MAX_REPEATED_CELLS: usize = 32;

/// Spaces that `text:s` may stand for.
const MAX_SPACES: usize = 64;

/// Reads a document of any of the three kinds.
///
/// # Errors
/// `corrupt`, `encrypted`, `archive_bomb`
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut package = Package::open(source, budget)?;
    if is_encrypted(&mut package, budget)? {
        return Err(encrypted());
    }
    let mut sink = TextSink::new();
    let content = package
        .text("content.xml", budget)?
        .ok_or_else(|| Failure::new(Reason::Corrupt, "The document has no part content.xml."))?;
    match append(&content, "content.xml", Part::Body, &mut sink) {
        Err(failure) if !is_local(&failure) || sink.is_empty() => return Err(failure),
        Err(_) => sink.mark_truncated(),
        Ok(()) => {}
    }
    sink.end_section();
    let styles = package.bytes_if_whole("styles.xml", budget)?.map(super::office_xml::decoded).unwrap_or_default();
    if append(&styles, "styles.xml", Part::HeadersAndFooters, &mut sink).is_err() {
        sink.mark_truncated();
    }
    let mut file = sink.finish();
    file.metadata = office_metadata::opendocument(&mut package, budget)?;
    add_pictures(&mut package, "Pictures/", budget, &mut file)?;
    Ok(file)
}

fn is_encrypted(package: &mut Package<'_>, budget: &mut Budget) -> Result<bool, Failure> {
    let manifest = package.bytes_if_whole("META-INF/manifest.xml", budget)?.map(super::office_xml::decoded);
    Ok(package.contains("encrypted-package") || manifest.is_some_and(|text| text.contains("encryption-data")))
}

/// Which text of a part is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Body,
    /// Only inside header and footer elements; slide masters repeat what is on the slides.
    HeadersAndFooters,
}

/// Appends a part.
fn append(xml: &str, part: &str, wanted: Part, sink: &mut TextSink) -> Result<(), Failure> {
    let mut reader = XmlReader::new(xml, part);
    let mut text = OpenText {
        sink,
        wanted,
        inside_wanted: 0,
        paragraphs: Vec::new(),
        tables: 0,
        row: Row::default(),
        cell: None,
        is_workbook: false,
    };
    let outcome = text.read(&mut reader);
    text.row.end(text.sink);
    outcome
}

/// A cell that is being read.
struct OpenCell {
    text: String,
    repeated: usize,
}

struct OpenText<'s> {
    sink: &'s mut TextSink,
    wanted: Part,
    inside_wanted: u32,
    /// Paragraphs inside paragraphs: text boxes and comments.
    paragraphs: Vec<String>,
    tables: u32,
    row: Row,
    cell: Option<OpenCell>,
    /// Tables are sheets.
    is_workbook: bool,
}

impl OpenText<'_> {
    fn read(&mut self, reader: &mut XmlReader<'_>) -> Result<(), Failure> {
        while !self.sink.is_full() {
            match reader.next()? {
                Some(Node::Start(element)) if is_passed_over(element.name()) || is_comment_date(&element) => {
                    reader.skip()?;
                }
                Some(Node::Start(element)) => self.start(&element),
                Some(Node::End(name)) => self.end(&name),
                Some(Node::Text(text)) => {
                    if let Some(paragraph) = self.paragraphs.last_mut() {
                        push_collapsed(paragraph, &text);
                    }
                }
                None => return Ok(()),
            }
        }
        self.sink.mark_truncated();
        Ok(())
    }

    fn start(&mut self, element: &Element<'_>) {
        match element.name() {
            "header" | "footer" | "header-left" | "footer-left" | "header-first" | "footer-first" => {
                self.inside_wanted += 1;
            }
            "p" | "h" if self.wanted == Part::Body || self.inside_wanted > 0 => self.paragraphs.push(String::new()),
            "s" => {
                let spaces = element.attribute("c").and_then(|count| count.parse().ok()).unwrap_or(1);
                self.push(&" ".repeat(spaces.min(MAX_SPACES)));
            }
            "tab" => self.push("\t"),
            "line-break" => self.push("\n"),
            "page" if element.has_prefix("draw") => self.begin_part(element),
            "table" if element.has_prefix("table") => {
                self.tables += 1;
                if self.tables == 1 && self.is_workbook {
                    self.begin_part(element);
                }
            }
            "table-cell" | "covered-table-cell" if self.tables == 1 => {
                let repeated = element.attribute("number-columns-repeated").and_then(|count| count.parse().ok());
                self.cell = Some(OpenCell { text: String::new(), repeated: repeated.unwrap_or(1) });
            }
            // What a spreadsheet's document is known by.
            "spreadsheet" => self.is_workbook = true,
            _ => {}
        }
    }

    /// A new section with the name of the sheet or slide.
    fn begin_part(&mut self, element: &Element<'_>) {
        self.sink.end_section();
        self.sink.line(&element.attribute("name").filter(|name| !is_default_slide_name(name)).unwrap_or_default());
    }

    fn push(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.push_str(text);
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "header" | "footer" | "header-left" | "footer-left" | "header-first" | "footer-first" => {
                self.inside_wanted = self.inside_wanted.saturating_sub(1);
            }
            "p" | "h" => self.end_paragraph(),
            "table-cell" | "covered-table-cell" if self.tables == 1 => self.end_cell(),
            "table-row" if self.tables == 1 => self.row.end(self.sink),
            "table" => self.tables = self.tables.saturating_sub(1),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.paragraphs.pop() else { return };
        match &mut self.cell {
            Some(cell) => {
                if !cell.text.is_empty() && !paragraph.is_empty() {
                    cell.text.push(' ');
                }
                cell.text.push_str(&paragraph);
            }
            None => self.sink.line(&paragraph),
        }
    }

    fn end_cell(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        if cell.text.is_empty() {
            self.row.skip_columns(cell.repeated);
            return;
        }
        for _ in 0..cell.repeated.clamp(1, MAX_REPEATED_CELLS) {
            self.row.add(None, cell.text.clone());
        }
    }
}

/// White space in a paragraph is one space, as in HTML (OpenDocument 1.3 part 3, 6.1.2).
fn push_collapsed(paragraph: &mut String, text: &str) {
    for character in text.chars() {
        let is_space = matches!(character, ' ' | '\t' | '\n' | '\r');
        if is_space && !paragraph.ends_with([' ', '\n', '\t']) && !paragraph.is_empty() {
            paragraph.push(' ');
        } else if !is_space {
            paragraph.push(character);
        }
    }
}

/// Deleted text, readings above words, numbers of pages and slides, and who wrote a comment when.
fn is_passed_over(name: &str) -> bool {
    matches!(name, "tracked-changes" | "ruby-text" | "page-number" | "page-count" | "date-string" | "forms" | "script")
}

/// The date of a comment as machines write it; `text:date` is a date in the text.
fn is_comment_date(element: &Element<'_>) -> bool {
    element.name() == "date" && element.has_prefix("dc")
}

/// LibreOffice calls slides that nobody has named "page1", "page2" and so on, and does not show that.
fn is_default_slide_name(name: &str) -> bool {
    name.strip_prefix("page").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::made::{self, package_file};

    fn document(content: &str) -> tempfile::NamedTempFile {
        let styles =
            "<s><style:header><text:p>社外秘</text:p></style:header><draw:page><text:p>master</text:p></draw:page></s>";
        let meta = "<m><dc:title>台帳</dc:title><meta:creation-date>2024-01-02T03:04:05</meta:creation-date></m>";
        package_file(&[
            ("mimetype", b"application/vnd.oasis.opendocument.text".as_slice()),
            ("content.xml", content.as_bytes()),
            ("styles.xml", styles.as_bytes()),
            ("meta.xml", meta.as_bytes()),
        ])
    }

    #[test]
    fn texts_are_read_with_tables_boxes_and_headers() {
        let content = "<o><office:text><text:h>橋梁\n 台帳</text:h><text:p>a<text:s text:c='2'/>b<text:tab/>c\
                       <draw:text-box><text:p>箱</text:p></draw:text-box></text:p><table:table><table:table-row>\
                       <table:table-cell><text:p>x</text:p></table:table-cell><table:table-cell/>\
                       <table:table-cell><text:p>y</text:p><text:p>z</text:p></table:table-cell></table:table-row>\
                       </table:table></office:text></o>";
        let read = made::read(read, document(content).path()).expect("read");
        let texts: Vec<&str> = read.sections.iter().map(|section| section.text.as_str()).collect();
        assert_eq!(texts, ["橋梁 台帳\n箱\na  b\tc\nx\t\ty z", "社外秘"]);
        assert!(read.metadata.contains_key("title") && read.metadata.contains_key("creation_date"));
    }

    #[test]
    fn sheets_that_claim_to_be_endless_are_short() {
        let cell = "<table:table-cell table:number-columns-repeated='16384'><text:p>9</text:p></table:table-cell>";
        let empty = "<table:table-cell table:number-columns-repeated='16384'/>";
        let content = format!(
            "<o><office:spreadsheet><table:table table:name='点検'><table:table-row table:number-rows-repeated='1048576'>\
             {empty}{cell}</table:table-row></table:table><table:table table:name='次'/></office:spreadsheet></o>"
        );
        let read = made::read(read, document(&content).path()).expect("read");
        assert!(read.sections[0].text.starts_with("点検\n") && read.sections[0].text.len() < 500);
        assert_eq!(read.sections[1].text, "次");
    }

    #[test]
    fn slides_are_sections() {
        let content = "<o><office:presentation><draw:page draw:name='表紙'><text:p>一</text:p><presentation:notes>\
                       <text:p>覚え</text:p></presentation:notes></draw:page><draw:page draw:name='page2'><text:p>二\
                       </text:p></draw:page></office:presentation></o>";
        let read = made::read(read, document(content).path()).expect("read");
        let texts: Vec<&str> = read.sections.iter().map(|section| section.text.as_str()).collect();
        assert_eq!(texts, ["表紙\n一\n覚え", "二", "社外秘"]);
    }

    #[test]
    fn a_comment_s_date_is_no_text_and_a_date_in_the_text_is() {
        let content = "<o><text:p>点検<office:annotation><dc:date>2024-03-15T09:00:00</dc:date><text:p>要確認</text:p>\
                       </office:annotation> <text:date>2024年3月15日</text:date></text:p></o>";
        let read = made::read(read, document(content).path()).expect("read");
        assert_eq!(read.sections[0].text, "要確認\n点検 2024年3月15日");
    }

    #[test]
    fn documents_with_a_password_say_so() {
        let manifest = b"<m><manifest:file-entry><manifest:encryption-data/></manifest:file-entry></m>".as_slice();
        let file = package_file(&[("content.xml", b"\x01\x02".as_slice()), ("META-INF/manifest.xml", manifest)]);
        assert_eq!(made::read(read, file.path()).expect_err("encrypted").reason, Reason::Encrypted);
    }

    /// Somebody "converted" the line ends of the corpus' only OpenDocument file: offsets are wrong from there on.
    #[test]
    fn a_package_whose_directory_is_wrong_is_gone_through_for_its_parts() {
        let Some(path) = made::corpus_file("tagged.odt") else { return };
        let read = made::read(read, &path).expect("read");
        println!("{:?}", read.sections);
        assert!(read.sections[0].text.len() > 100);
    }
}
