//! Workbooks (.xlsx): a section for each sheet, hidden ones too, with the values that were saved, as they are shown;
//! then its header and footer, comments, text boxes and charts.
//!
//! Cells are read one after another and never laid out: a cell in the last corner (XFD1048576) costs one line.

use super::bounds::Budget;
use super::office_xml::{Element, Node, XmlReader};
use super::ooxml_text::append_part;
use super::ooxml_word::{add_pictures, main_part};
use super::package::{Package, Relationship, is_local};
use super::text_sink::TextSink;
use super::{Source, StructuredFile, number_format, office_metadata, ooxml_binary_sheets};
use crate::document::Failure;

/// Cells left empty between two of a row are shown as at most so many tabs.
pub const MAX_GAP_COLUMNS: usize = 32;

/// Characters of a cell (Excel's own limit is 32,767).
const MAX_CELL_BYTES: usize = 128 * 1024;

/// Sheets of a workbook that are read.
pub const MAX_SHEETS: usize = 2_000;

/// What belongs to a sheet, and then to its drawing.
const SHEET_PARTS: [&str; 3] = ["threadedComment", "drawing", "diagramData"];

/// Reads a workbook.
///
/// # Errors
/// `corrupt`, `encrypted`, `archive_bomb`
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let mut package = Package::open(source, budget)?;
    let mut sink = TextSink::new();
    if package.contains(ooxml_binary_sheets::MAIN_PART) {
        ooxml_binary_sheets::append_sheets(&mut package, budget, &mut sink)?;
    } else {
        append_sheets(&mut package, budget, &mut sink)?;
    }
    let mut file = sink.finish();
    file.metadata = office_metadata::ooxml(&mut package, budget)?;
    add_pictures(&mut package, "xl/media/", budget, &mut file)?;
    Ok(file)
}

fn append_sheets(package: &mut Package<'_>, budget: &mut Budget, sink: &mut TextSink) -> Result<(), Failure> {
    let main = main_part(package, "xl/workbook.xml", budget)?;
    let relationships = package.relationships(&main, budget)?;
    let part_of = |kind: &str| relationships.iter().find(|relationship| relationship.kind == kind);
    let strings = match part_of("sharedStrings") {
        Some(relationship) => shared_strings(package, &relationship.target, budget)?,
        None => Strings::default(),
    };
    let mut look = Look::default();
    if let Some(relationship) = part_of("styles") {
        look = look_of_cells(package, &relationship.target, budget)?;
    }
    let workbook = package.text(&main, budget)?.unwrap_or_default();
    let sheets = sheet_list(&workbook, &main, &relationships, &mut look)?;
    for (name, part) in sheets.iter().take(MAX_SHEETS) {
        sink.line(name);
        append_sheet(package, part, &strings, &look, budget, sink)?;
        sink.end_section();
    }
    if sheets.len() > MAX_SHEETS {
        sink.mark_truncated();
    }
    Ok(())
}

/// All shared strings in one piece of memory.
#[derive(Default)]
pub struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Strings {
    /// Adds the next string.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    pub fn get(&self, number: usize) -> Option<&str> {
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.text.get(start..end)
    }
}

/// How numbers are shown.
#[derive(Default)]
pub struct Look {
    /// The format's number of each cell style.
    pub styles: Vec<u32>,
    /// Formats that the file spells out.
    pub formats: std::collections::HashMap<u32, String>,
    pub from_1904: bool,
}

impl Look {
    pub fn shown(&self, value: f64, style: usize) -> String {
        let number = self.styles.get(style).copied().unwrap_or(0);
        let format = self.formats.get(&number).map_or_else(|| number_format::built_in(number), String::as_str);
        number_format::shown(value, format, self.from_1904)
    }
}

/// Without the readings above words (`rPh`).
fn shared_strings(package: &mut Package<'_>, part: &str, budget: &mut Budget) -> Result<Strings, Failure> {
    let xml = package.text(part, budget)?.unwrap_or_default();
    let mut reader = XmlReader::new(&xml, part);
    let mut strings = Strings::default();
    while let Some(node) = reader.next()? {
        match node {
            Node::Start(element) if element.name() == "rPh" => reader.skip()?,
            Node::Start(element) if element.name() == "t" => strings.text.push_str(&reader.text_content()?),
            Node::End(name) if name == "si" => strings.ends.push(strings.text.len()),
            _ => {}
        }
    }
    Ok(strings)
}

/// Damaged styles cost the look of numbers, not the numbers.
fn look_of_cells(package: &mut Package<'_>, part: &str, budget: &mut Budget) -> Result<Look, Failure> {
    let mut look = Look::default();
    let xml = package.bytes_if_whole(part, budget)?.map(super::office_xml::decoded).unwrap_or_default();
    let mut reader = XmlReader::new(&xml, part);
    let mut in_cell_styles = false;
    while let Ok(Some(node)) = reader.next() {
        match node {
            Node::Start(element) => match element.name() {
                "numFmt" => {
                    if let (Some(number), Some(code)) =
                        (element.attribute("numFmtId").and_then(|id| id.parse().ok()), element.attribute("formatCode"))
                    {
                        look.formats.insert(number, code);
                    }
                }
                "cellXfs" => in_cell_styles = true,
                "xf" if in_cell_styles => {
                    let number = element.attribute("numFmtId").and_then(|id| id.parse().ok());
                    look.styles.push(number.unwrap_or(0));
                }
                _ => {}
            },
            Node::End(name) if name == "cellXfs" => in_cell_styles = false,
            _ => {}
        }
    }
    Ok(look)
}

/// Names and parts of the sheets, hidden ones too.
fn sheet_list(
    xml: &str,
    part: &str,
    relationships: &[Relationship],
    look: &mut Look,
) -> Result<Vec<(String, String)>, Failure> {
    let mut reader = XmlReader::new(xml, part);
    let mut sheets = Vec::new();
    while let Some(node) = reader.next()? {
        let Node::Start(element) = node else { continue };
        match element.name() {
            "workbookPr" => {
                look.from_1904 = matches!(element.attribute("date1904").as_deref(), Some("1" | "true"));
            }
            "sheet" => {
                let id = element.qualified_attribute("r:id").unwrap_or_default();
                let name = element.attribute("name").unwrap_or_default();
                if let Some(relationship) = relationships.iter().find(|relationship| relationship.id == id) {
                    sheets.push((name, relationship.target.clone()));
                }
            }
            _ => {}
        }
    }
    Ok(sheets)
}

/// Cells, header and footer, and what belongs to the sheet. A damaged sheet keeps its first rows and is marked.
fn append_sheet(
    package: &mut Package<'_>,
    part: &str,
    strings: &Strings,
    look: &Look,
    budget: &mut Budget,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    let cells =
        package.text(part, budget).and_then(|xml| append_cells(&xml.unwrap_or_default(), part, strings, look, sink));
    match cells {
        Err(failure) if is_local(&failure) => sink.mark_truncated(),
        other => other?,
    }
    let relationships = package.relationships(part, budget)?;
    for comments in relationships.iter().filter(|relationship| relationship.kind == "comments") {
        append_comments(package, &comments.target, budget, sink)?;
    }
    for kind in SHEET_PARTS {
        for relationship in relationships.iter().filter(|relationship| relationship.kind == kind) {
            append_part(package, &relationship.target, budget, sink)?;
            for inner in package.relationships(&relationship.target, budget)? {
                if matches!(inner.kind.as_str(), "chart" | "diagramData") {
                    append_part(package, &inner.target, budget, sink)?;
                }
            }
        }
    }
    Ok(())
}

fn append_cells(xml: &str, part: &str, strings: &Strings, look: &Look, sink: &mut TextSink) -> Result<(), Failure> {
    let mut reader = XmlReader::new(xml, part);
    let mut row = Row::default();
    while !sink.is_full() {
        match reader.next()? {
            Some(Node::Start(element)) if element.name() == "c" => {
                let cell = Cell::of(&element);
                let text = cell.text(&mut reader, strings, look)?;
                row.add(cell.column, text);
            }
            Some(Node::Start(element)) if is_header_or_footer(element.name()) => {
                let coded = reader.text_content()?;
                sink.line(&header_text(&coded));
            }
            Some(Node::End(name)) if name == "row" => row.end(sink),
            Some(_) => {}
            None => return Ok(()),
        }
    }
    sink.mark_truncated();
    Ok(())
}

/// The cells of the row that is being read.
#[derive(Default)]
pub struct Row {
    cells: Vec<String>,
    next_column: usize,
    /// Columns passed over since the last cell.
    pending_gap: usize,
}

impl Row {
    /// `column` from 0; `None` follows the last one.
    pub fn add(&mut self, column: Option<usize>, text: String) {
        let column = column.unwrap_or(self.next_column);
        let gap = column.saturating_sub(self.next_column).saturating_add(self.pending_gap).min(MAX_GAP_COLUMNS);
        self.pending_gap = 0;
        self.next_column = column.saturating_add(1);
        self.cells.extend(std::iter::repeat_n(String::new(), gap));
        self.cells.push(text);
    }

    /// Empty cells before the next one.
    pub fn skip_columns(&mut self, columns: usize) {
        self.next_column = self.next_column.saturating_add(columns);
        self.pending_gap = self.pending_gap.saturating_add(columns).min(MAX_GAP_COLUMNS);
    }

    pub fn end(&mut self, sink: &mut TextSink) {
        sink.row(&std::mem::take(&mut self.cells));
        self.next_column = 0;
        self.pending_gap = 0;
    }
}

struct Cell {
    column: Option<usize>,
    kind: String,
    style: usize,
}

impl Cell {
    fn of(element: &Element<'_>) -> Cell {
        Cell {
            column: element.attribute("r").and_then(|reference| column_of(&reference)),
            kind: element.attribute("t").unwrap_or_default(),
            style: element.attribute("s").and_then(|style| style.parse().ok()).unwrap_or(0),
        }
    }

    /// The value that was saved; the formula itself is passed over.
    fn text(&self, reader: &mut XmlReader<'_>, strings: &Strings, look: &Look) -> Result<String, Failure> {
        let mut raw = String::new();
        loop {
            match reader.next()? {
                Some(Node::Start(element)) if matches!(element.name(), "f" | "rPh") => reader.skip()?,
                Some(Node::Start(element)) if matches!(element.name(), "v" | "t") => {
                    raw.push_str(&reader.text_content()?);
                }
                Some(Node::End(name)) if name == "c" => break,
                Some(_) => {}
                None => break,
            }
        }
        let mut text = match self.kind.as_str() {
            "s" => raw.trim().parse().ok().and_then(|number| strings.get(number)).unwrap_or_default().to_owned(),
            "b" => (if raw.trim() == "1" { "TRUE" } else { "FALSE" }).to_owned(),
            "str" | "inlineStr" | "e" | "d" => raw,
            _ => raw.trim().parse().map_or(raw, |value| look.shown(value, self.style)),
        };
        text.truncate(text.floor_char_boundary(MAX_CELL_BYTES));
        Ok(text)
    }
}

fn append_comments(
    package: &mut Package<'_>,
    part: &str,
    budget: &mut Budget,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    let xml = package.bytes_if_whole(part, budget)?.map(super::office_xml::decoded).unwrap_or_default();
    let mut reader = XmlReader::new(&xml, part);
    let mut comment = String::new();
    loop {
        match reader.next() {
            Ok(Some(Node::Start(element))) if element.name() == "t" => {
                comment.push_str(&reader.text_content().unwrap_or_default());
            }
            Ok(Some(Node::End(name))) if name == "comment" => sink.line(&std::mem::take(&mut comment)),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(_) => {
                sink.mark_truncated();
                return Ok(());
            }
        }
    }
}

/// `AB12` → 27.
fn column_of(reference: &str) -> Option<usize> {
    let letters = reference.bytes().take_while(u8::is_ascii_alphabetic);
    letters.take(4).fold(None, |column: Option<usize>, letter| {
        Some(column.map_or(0, |column| column + 1) * 26 + usize::from(letter.to_ascii_uppercase() - b'A'))
    })
}

fn is_header_or_footer(name: &str) -> bool {
    matches!(name, "oddHeader" | "oddFooter" | "evenHeader" | "evenFooter" | "firstHeader" | "firstFooter")
}

/// A header without its codes: `&L&"MS Gothic,Bold"&12社外秘&R&P` → `社外秘` (ECMA-376 part 1, 18.3.1.46).
pub fn header_text(coded: &str) -> String {
    let mut text = String::new();
    let mut characters = coded.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '&' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('&') => text.push('&'),
            Some('L' | 'C' | 'R') => text.push(' '),
            Some('"') => while characters.next().is_some_and(|next| next != '"') {},
            Some('K') => {
                for _ in 0..6 {
                    characters.next_if(char::is_ascii_hexdigit);
                }
            }
            Some(digit) if digit.is_ascii_digit() => while characters.next_if(char::is_ascii_digit).is_some() {},
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Reason;
    use crate::extract::structured::made::{self, package_file};

    fn workbook(sheet: &str, strings: &str) -> tempfile::NamedTempFile {
        let rels = "<R><Relationship Id='a' Type='x/worksheet' Target='worksheets/sheet1.xml'/>\
                    <Relationship Id='b' Type='x/sharedStrings' Target='sharedStrings.xml'/>\
                    <Relationship Id='c' Type='x/styles' Target='styles.xml'/></R>";
        let styles = "<s><numFmts><numFmt numFmtId='164' formatCode='yyyy&quot;年&quot;m&quot;月&quot;'/></numFmts>\
                      <cellXfs><xf numFmtId='0'/><xf numFmtId='164'/><xf numFmtId='3'/></cellXfs></s>";
        package_file(&[
            ("xl/workbook.xml", "<w><sheets><sheet name='点検表' state='hidden' r:id='a'/></sheets></w>".as_bytes()),
            ("xl/_rels/workbook.xml.rels", rels.as_bytes()),
            ("xl/styles.xml", styles.as_bytes()),
            ("xl/sharedStrings.xml", strings.as_bytes()),
            ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
        ])
    }

    const STRINGS: &str =
        "<sst><si><t>橋名</t><rPh><t>ハシメイ</t></rPh></si><si><r><t>延</t></r><r><t>長</t></r></si></sst>";

    #[test]
    fn cells_are_read_as_they_are_shown() {
        let sheet = "<w><sheetData><row><c r='A1' t='s'><v>0</v></c><c r='C1' t='s'><v>1</v></c></row><row/>\
                     <row><c t='inlineStr'><is><t>内</t></is></c><c s='1'><v>45383</v></c>\
                     <c s='2'><f>A1*2</f><v>12345</v></c><c t='b'><v>1</v></c></row></sheetData>\
                     <headerFooter><oddHeader>&amp;L&amp;\"MS,B\"&amp;12社外秘&amp;RPage &amp;P</oddHeader></headerFooter></w>";
        let text = made::read_text(read, workbook(sheet, STRINGS).path());
        assert_eq!(text, "点検表\n橋名\t\t延長\n内\t2024年4月\t12,345\tTRUE\n社外秘 Page");
    }

    #[test]
    fn a_cell_in_the_last_corner_costs_one_line() {
        let sheet =
            "<w><sheetData><row><c r='A1'><v>1</v></c></row><row><c r='XFD1048576'><v>2</v></c></row></sheetData></w>";
        let text = made::read_text(read, workbook(sheet, STRINGS).path());
        assert_eq!(text, format!("点検表\n1\n{}2", "\t".repeat(MAX_GAP_COLUMNS)));
    }

    #[test]
    fn a_string_shown_in_many_cells_fills_the_text_and_no_more() {
        let strings = format!("<sst><si><t>{}</t></si></sst>", "長".repeat(30_000));
        let sheet = format!("<w><sheetData><row>{}</row></sheetData></w>", "<c t='s'><v>0</v></c>".repeat(500));
        let read = made::read(read, workbook(&sheet, &strings).path()).expect("read");
        assert!(read.sections[0].truncated);
        assert!(read.sections[0].text.chars().count() <= 1_000_000);
    }

    #[test]
    fn huge_shared_strings_are_a_bomb() {
        let strings = format!("<sst><si><t>{}</t></si></sst>", "a".repeat(20 * 1024 * 1024));
        let file = workbook("<w/>", &strings);
        assert_eq!(made::read(read, file.path()).expect_err("bomb").reason, Reason::ArchiveBomb);
    }

    #[test]
    fn columns_are_counted_from_their_letters() {
        for (reference, column) in
            [("A1", Some(0)), ("Z9", Some(25)), ("AA1", Some(26)), ("XFD1", Some(16_383)), ("1", None)]
        {
            assert_eq!(column_of(reference), column, "{reference}");
        }
    }

    #[test]
    fn corpus_workbooks_are_read() {
        for (name, words) in [
            ("stanley_cups.xlsx", ["Stanley Cups", "Maple Leafs\tTOR\t13"]),
            ("excel_multi_sheet.xlsx", ["second_sheet", "first_sheet"]),
        ] {
            let Some(path) = made::corpus_file(name) else { return };
            let text = made::read_text(read, &path);
            println!("{text}");
            for word in words {
                assert!(text.contains(word), "{name}: {word}\n{text}");
            }
        }
    }
}
