//! Binary workbooks (.xlsb): the parts of an .xlsx with records in place of XML (MS-XLSB 2.1.4, 2.4). A section for each
//! sheet with the values that were saved, as they are shown.

use super::bounds::Budget;
use super::ole::{u16_at, u32_at, utf_16};
use super::ole_sheets::{compressed_number, f64_at};
use super::ooxml_sheets::{Look, MAX_SHEETS, Row, Strings};
use super::package::{Package, Relationship, is_local};
use super::text_sink::TextSink;
use crate::document::{Failure, Reason};

pub const MAIN_PART: &str = "xl/workbook.bin";

/// Kinds of records (MS-XLSB 2.3.2).
const ROW: u32 = 0;
const COMPRESSED_NUMBER: u32 = 2;
const BOOLEAN: u32 = 4;
const NUMBER: u32 = 5;
const STRING: u32 = 6;
const SHARED_STRING_CELL: u32 = 7;
const FORMULA_STRING: u32 = 8;
const FORMULA_NUMBER: u32 = 9;
const FORMULA_BOOLEAN: u32 = 10;
const SHARED_STRING: u32 = 19;
const FORMAT: u32 = 44;
const CELL_FORMAT: u32 = 47;
const RICH_STRING: u32 = 62;
const WORKBOOK_PROPERTIES: u32 = 153;
const SHEET: u32 = 156;
const CELL_FORMATS_BEGIN: u32 = 617;
const CELL_FORMATS_END: u32 = 618;

/// A cell's column, and its style with a flag, come before its value.
const CELL_HEADER_BYTES: usize = 8;

/// Reads the sheets of a binary workbook.
///
/// # Errors
/// `corrupt` when its list of sheets is, `encrypted`, `archive_bomb`
pub fn append_sheets(package: &mut Package<'_>, budget: &mut Budget, sink: &mut TextSink) -> Result<(), Failure> {
    let workbook = package.bytes(MAIN_PART, budget)?.unwrap_or_default();
    let relationships = package.relationships(MAIN_PART, budget)?;
    let part_of = |kind: &str| relationships.iter().find(|relationship| relationship.kind == kind);
    let mut strings = Strings::default();
    if let Some(relationship) = part_of("sharedStrings") {
        let bytes = package.bytes(&relationship.target, budget)?.unwrap_or_default();
        for body in Records::of(&bytes).filter(|record| record.kind == SHARED_STRING).map(|record| record.body) {
            // A flag comes first.
            strings.push(&wide_string(body, 1).unwrap_or_default());
        }
    }
    let mut look = Look::default();
    if let Some(relationship) = part_of("styles") {
        add_styles(&package.bytes_if_whole(&relationship.target, budget)?.unwrap_or_default(), &mut look);
    }
    let sheets = sheet_list(&workbook, &relationships, &mut look);
    if sheets.is_empty() {
        return Err(Failure::new(Reason::Corrupt, "The list of the workbook's sheets is damaged."));
    }
    if sheets.len() > MAX_SHEETS {
        sink.mark_truncated();
    }
    for (name, part) in sheets.iter().take(MAX_SHEETS) {
        sink.line(name);
        match package.bytes(part, budget) {
            Ok(bytes) => append_cells(&bytes.unwrap_or_default(), &strings, &look, sink),
            Err(failure) if is_local(&failure) => sink.mark_truncated(),
            Err(failure) => return Err(failure),
        }
        sink.end_section();
    }
    Ok(())
}

/// Names and parts.
fn sheet_list(workbook: &[u8], relationships: &[Relationship], look: &mut Look) -> Vec<(String, String)> {
    let mut sheets = Vec::new();
    for record in Records::of(workbook) {
        match record.kind {
            WORKBOOK_PROPERTIES => look.from_1904 = u32_at(record.body, 0).is_some_and(|flags| flags & 1 != 0),
            SHEET => {
                // Behind its state and its number, the relationship and the name.
                let id = wide_string(record.body, 8).unwrap_or_default();
                let name_at = 8 + 4 + id.encode_utf16().count() * 2;
                let target = relationships.iter().find(|relationship| relationship.id == id);
                if let (Some(name), Some(relationship)) = (wide_string(record.body, name_at), target) {
                    sheets.push((name, relationship.target.clone()));
                }
            }
            _ => {}
        }
    }
    sheets
}

fn add_styles(bytes: &[u8], look: &mut Look) {
    let mut are_cells = false;
    for record in Records::of(bytes) {
        match record.kind {
            CELL_FORMATS_BEGIN => are_cells = true,
            CELL_FORMATS_END => are_cells = false,
            CELL_FORMAT if are_cells => look.styles.push(u32::from(u16_at(record.body, 2).unwrap_or(0))),
            FORMAT => {
                if let (Some(number), Some(code)) = (u16_at(record.body, 0), wide_string(record.body, 2)) {
                    look.formats.insert(u32::from(number), code);
                }
            }
            _ => {}
        }
    }
}

fn append_cells(bytes: &[u8], strings: &Strings, look: &Look, sink: &mut TextSink) {
    let mut row = Row::default();
    for record in Records::of(bytes) {
        if sink.is_full() {
            sink.mark_truncated();
            break;
        }
        if record.kind == ROW {
            row.end(sink);
        } else if let Some((column, text)) = cell(&record, strings, look).filter(|(_, text)| !text.is_empty()) {
            row.add(Some(column), text);
        }
    }
    row.end(sink);
}

/// Column and text of a cell; `None` for all other records.
fn cell(record: &Record<'_>, strings: &Strings, look: &Look) -> Option<(usize, String)> {
    let body = record.body;
    let style = (u32_at(body, 4)? & 0x00FF_FFFF) as usize;
    let value_at = CELL_HEADER_BYTES;
    let text = match record.kind {
        STRING | FORMULA_STRING => wide_string(body, value_at)?,
        RICH_STRING => wide_string(body, value_at + 1)?,
        SHARED_STRING_CELL => strings.get(u32_at(body, value_at)? as usize)?.to_owned(),
        NUMBER | FORMULA_NUMBER => look.shown(f64_at(body, value_at)?, style),
        COMPRESSED_NUMBER => look.shown(compressed_number(u32_at(body, value_at)?), style),
        BOOLEAN | FORMULA_BOOLEAN => if *body.get(value_at)? != 0 { "TRUE" } else { "FALSE" }.to_owned(),
        _ => return None,
    };
    Some((u32_at(body, 0)? as usize, text))
}

/// Units, then text in UTF-16; `None` also for the string that is not there.
fn wide_string(bytes: &[u8], offset: usize) -> Option<String> {
    let length = (u32_at(bytes, offset)? as usize).checked_mul(2)?;
    let start = offset + 4;
    bytes.get(start..start.checked_add(length)?).map(utf_16)
}

struct Record<'a> {
    kind: u32,
    body: &'a [u8],
}

/// The records of a part, as far as they are whole.
struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    fn of(bytes: &'a [u8]) -> Records<'a> {
        Records { bytes }
    }

    /// Seven bits a byte, the lower ones first; the eighth says that there are more.
    fn number(&mut self, max_bytes: u32) -> Option<u32> {
        let mut number = 0;
        for position in 0..max_bytes {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u32::from(byte & 0x7F) << (7 * position);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let kind = self.number(2)?;
        let length = self.number(4)? as usize;
        let (body, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(Record { kind, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::made::{self, package_file};
    use crate::extract::structured::ooxml_sheets;

    fn record(kind: u32, body: &[u8]) -> Vec<u8> {
        let kind = if kind < 128 { vec![kind as u8] } else { vec![kind as u8 & 0x7F | 0x80, (kind >> 7) as u8] };
        [kind, vec![body.len() as u8], body.to_vec()].concat()
    }

    fn wide(text: &str) -> Vec<u8> {
        let units: Vec<u16> = text.encode_utf16().collect();
        [(units.len() as u32).to_le_bytes().to_vec(), units.into_iter().flat_map(u16::to_le_bytes).collect()].concat()
    }

    fn cell_of(kind: u32, column: u32, style: u32, value: &[u8]) -> Vec<u8> {
        record(kind, &[column.to_le_bytes().as_slice(), &style.to_le_bytes(), value].concat())
    }

    fn workbook(sheet: &[u8]) -> tempfile::NamedTempFile {
        let list = record(SHEET, &[vec![0; 8], wide("r1"), wide("点検表")].concat());
        let strings = [record(159, &[0; 8]), record(SHARED_STRING, &[vec![0], wide("橋長")].concat())].concat();
        let styles = [
            record(CELL_FORMAT, &[0; 16]),
            record(CELL_FORMATS_BEGIN, &[2, 0, 0, 0]),
            record(CELL_FORMAT, &[0; 16]),
            record(CELL_FORMAT, &[0, 0, 14, 0]),
            record(CELL_FORMATS_END, &[]),
        ]
        .concat();
        let relationships = b"<Relationships><Relationship Id='r1' Type='x/worksheet' Target='worksheets/sheet1.bin'/>\
            <Relationship Id='r2' Type='x/sharedStrings' Target='sharedStrings.bin'/>\
            <Relationship Id='r3' Type='x/styles' Target='styles.bin'/></Relationships>"
            .as_slice();
        package_file(&[
            (MAIN_PART, &list),
            ("xl/_rels/workbook.bin.rels", relationships),
            ("xl/sharedStrings.bin", &strings),
            ("xl/styles.bin", &styles),
            ("xl/worksheets/sheet1.bin", sheet),
        ])
    }

    #[test]
    fn cells_are_read_with_their_places_and_as_they_are_shown() {
        let sheet = [
            record(ROW, &[0; 4]),
            cell_of(SHARED_STRING_CELL, 0, 0, &[0; 4]),
            cell_of(NUMBER, 2, 0, &12.5_f64.to_le_bytes()),
            cell_of(COMPRESSED_NUMBER, 3, 1, &(45_322_u32 << 2 | 2).to_le_bytes()),
            record(ROW, &[1, 0, 0, 0]),
            cell_of(FORMULA_STRING, 0, 0, &wide("良")),
            cell_of(BOOLEAN, 1, 0, &[1]),
            cell_of(STRING, 16_383, 0, &wide("角")),
        ]
        .concat();
        let text = made::read_text(ooxml_sheets::read, workbook(&sheet).path());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["点検表", "橋長\t\t12.5\t2024/1/31"]);
        assert!(lines[2].starts_with("良\tTRUE\t") && lines[2].ends_with('角') && lines[2].len() < 100);
    }

    #[test]
    fn damaged_records_end_the_sheet_or_the_workbook() {
        let cut = [cell_of(STRING, 0, 0, &wide("良")), vec![STRING as u8, 200, 200, 200, 1, 0]].concat();
        assert_eq!(made::read_text(ooxml_sheets::read, workbook(&cut).path()), "点検表\n良");
        let empty = package_file(&[(MAIN_PART, b"\x9C\x01\x04abc".as_slice())]);
        assert_eq!(made::read(ooxml_sheets::read, empty.path()).expect_err("corrupt").reason, Reason::Corrupt);
    }
}
