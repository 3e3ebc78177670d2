//! Excel 5.0–2003 workbooks (.xls): a section for each sheet, hidden ones too, with the values that were saved, as they
//! are shown; then notes, text boxes, header and footer of the sheet.
//!
//! Layout: MS-XLS 2.3 (records), 2.4 (each of them). Cells are read one after another and never laid out.

use std::collections::{BTreeSet, HashMap};

use encoding_rs::Encoding;

use super::bounds::Budget;
use super::ole::{Container, u16_at, u32_at};
use super::ole_strings::{Pieces, Width};
use super::ooxml_sheets::{Row, header_text};
use super::package::encrypted;
use super::rtf::code_page;
use super::text_sink::TextSink;
use super::{StructuredFile, number_format, ole_pictures};
use crate::document::{Failure, Reason};

/// Sheets of a workbook that are read.
const MAX_SHEETS: usize = 2_000;
/// Records of all sheets: sheets that overlap in the file must not multiply the work.
const MAX_RECORDS: usize = 20_000_000;

const BEGINNING: u16 = 0x0809;
const END: u16 = 0x000A;
const CONTINUED: u16 = 0x003C;
/// The version in a beginning since Excel 97.
const EXCEL_97: u16 = 0x0600;

/// Reads the workbook in a container.
///
/// # Errors
/// `encrypted`, `corrupt`, `archive_bomb`
pub fn read(container: &mut Container<'_>, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let stream = match container.stream("Workbook", budget)? {
        Some(stream) => stream,
        None => container.stream("Book", budget)?.unwrap_or_default(),
    };
    let mut records = Records { stream: &stream, position: 0, left: MAX_RECORDS };
    let workbook = Workbook::of(&mut records)?;
    let mut sink = TextSink::new();
    let mut seen = BTreeSet::new();
    let sheets: Vec<&(String, usize)> = workbook.sheets.iter().filter(|(_, start)| seen.insert(*start)).collect();
    for (name, start) in sheets.iter().take(MAX_SHEETS) {
        sink.line(name);
        records.position = *start;
        append_sheet(&mut records, &workbook, &mut sink);
        sink.end_section();
    }
    if sheets.len() > MAX_SHEETS {
        sink.mark_truncated();
    }
    let mut file = sink.finish();
    ole_pictures::add_pictures(&workbook.drawings, &mut file);
    Ok(file)
}

/// A record: its kind and its bytes, with those that continue it.
struct Record<'a> {
    kind: u16,
    body: &'a [u8],
    continued: Vec<&'a [u8]>,
}

impl Record<'_> {
    fn u16(&self, offset: usize) -> Option<u16> {
        u16_at(self.body, offset)
    }

    fn pieces(&self, offset: usize) -> Pieces<'_> {
        let first = self.body.get(offset..).unwrap_or_default();
        Pieces::new(std::iter::once(first).chain(self.continued.iter().copied()).collect())
    }
}

struct Records<'a> {
    stream: &'a [u8],
    position: usize,
    left: usize,
}

impl<'a> Records<'a> {
    /// `None` at the end or where a record is cut off.
    fn next(&mut self) -> Option<Record<'a>> {
        let (kind, body) = self.next_piece()?;
        let mut continued = Vec::new();
        while u16_at(self.stream, self.position) == Some(CONTINUED) {
            continued.push(self.next_piece()?.1);
        }
        Some(Record { kind, body, continued })
    }

    fn next_piece(&mut self) -> Option<(u16, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let kind = u16_at(self.stream, self.position)?;
        let length = usize::from(u16_at(self.stream, self.position + 2)?);
        let body = self.stream.get(self.position + 4..self.position + 4 + length)?;
        self.position += 4 + length;
        Some((kind, body))
    }
}

/// What all sheets share.
struct Workbook {
    /// Name and where its records begin.
    sheets: Vec<(String, usize)>,
    strings: Vec<String>,
    /// The format's number of each cell style.
    styles: Vec<u16>,
    formats: HashMap<u16, String>,
    from_1904: bool,
    width: Width,
    /// The pictures of all sheets, put together from their pieces.
    drawings: Vec<u8>,
}

impl Workbook {
    fn of(records: &mut Records<'_>) -> Result<Workbook, Failure> {
        let damaged = || Failure::new(Reason::Corrupt, "The beginning of the workbook is damaged.");
        let first = records.next().filter(|record| record.kind == BEGINNING).ok_or_else(damaged)?;
        let is_wide = first.u16(0) == Some(EXCEL_97);
        let mut workbook = Workbook {
            sheets: Vec::new(),
            strings: Vec::new(),
            styles: Vec::new(),
            formats: HashMap::new(),
            from_1904: false,
            drawings: Vec::new(),
            width: if is_wide { Width::Flagged } else { Width::Bytes(encoding_rs::WINDOWS_1252) },
        };
        while let Some(record) = records.next() {
            match record.kind {
                END => break,
                // FilePass
                0x002F => return Err(encrypted()),
                _ => {
                    workbook.take(&record);
                }
            }
        }
        if workbook.sheets.is_empty() { Err(damaged()) } else { Ok(workbook) }
    }

    /// `None` for a damaged record, which is passed over.
    fn take(&mut self, record: &Record<'_>) -> Option<()> {
        match record.kind {
            // CodePage, which counts before Excel 97 only
            0x0042 => {
                if let (Width::Bytes(_), Some(encoding)) = (self.width, encoding_of(record.u16(0)?)) {
                    self.width = Width::Bytes(encoding);
                }
            }
            // Date1904
            0x0022 => self.from_1904 = record.u16(0)? == 1,
            // MsoDrawingGroup
            0x00EB => {
                for piece in std::iter::once(&record.body).chain(&record.continued) {
                    self.drawings.extend_from_slice(piece);
                }
            }
            // Format
            0x041E => {
                let code = match self.width {
                    Width::Flagged => record.pieces(2).long_string(self.width)?,
                    Width::Bytes(_) => record.pieces(2).short_string(self.width)?,
                };
                self.formats.insert(record.u16(0)?, code);
            }
            // XF
            0x00E0 => self.styles.push(record.u16(2)?),
            // BoundSheet8
            0x0085 => {
                let start = u32_at(record.body, 0)? as usize;
                self.sheets.push((record.pieces(6).short_string(self.width)?, start));
            }
            // SST
            0x00FC => {
                let mut pieces = record.pieces(8);
                while let Some(text) = pieces.long_string(self.width) {
                    self.strings.push(text);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn shown(&self, value: f64, style: u16) -> String {
        let number = self.styles.get(usize::from(style)).copied().unwrap_or(0);
        let built_in = || number_format::built_in(u32::from(number));
        let format = self.formats.get(&number).map_or_else(built_in, String::as_str);
        number_format::shown(value, format, self.from_1904)
    }
}

fn encoding_of(code_page_number: u16) -> Option<&'static Encoding> {
    code_page(i32::from(code_page_number))
}

/// A sheet that does not come to its end is marked.
fn append_sheet(records: &mut Records<'_>, workbook: &Workbook, sink: &mut TextSink) {
    let mut sheet = Sheet { workbook, row: Row::default(), row_number: None, awaits_string: None };
    let mut asides = Vec::new();
    let mut depth = 0_u32;
    while !sink.is_full() {
        let Some(record) = records.next() else {
            sink.mark_truncated();
            break;
        };
        match record.kind {
            // A chart inside the sheet has a beginning and an end of its own.
            BEGINNING => depth += 1,
            END if depth <= 1 => break,
            END => depth -= 1,
            // Header, Footer
            0x0014 | 0x0015 if !record.body.is_empty() => {
                let coded = match workbook.width {
                    Width::Flagged => record.pieces(0).long_string(workbook.width),
                    Width::Bytes(_) => record.pieces(0).short_string(workbook.width),
                };
                asides.extend(coded.map(|coded| header_text(&coded)));
            }
            // TxO: notes and text boxes
            0x01B6 => asides.extend(text_object(&record)),
            _ => {
                sheet.take(&record, sink);
            }
        }
    }
    sheet.row.end(sink);
    for aside in asides {
        sink.line(&aside);
    }
}

/// The text is in the records that continue it: a byte that says how wide the characters are, and the characters.
fn text_object(record: &Record<'_>) -> Option<String> {
    let characters = usize::from(record.u16(10)?);
    Pieces::new(record.continued.clone()).characters(characters)
}

struct Sheet<'w> {
    workbook: &'w Workbook,
    row: Row,
    row_number: Option<u16>,
    /// The column of a formula whose text comes in the next record.
    awaits_string: Option<(u16, u16)>,
}

impl Sheet<'_> {
    /// `None` for a damaged record, which is passed over.
    fn take(&mut self, record: &Record<'_>, sink: &mut TextSink) -> Option<()> {
        match record.kind {
            // LabelSst
            0x00FD => {
                let text = self.workbook.strings.get(u32_at(record.body, 6)? as usize)?.clone();
                self.cell(record, text, sink)
            }
            // Label, RString
            0x0204 | 0x00D6 => {
                let text = record.pieces(6).long_string(self.workbook.width)?;
                self.cell(record, text, sink)
            }
            // Number
            0x0203 => {
                let value = f64_at(record.body, 6)?;
                self.number(record, value, sink)
            }
            // RK
            0x027E => {
                let value = compressed_number(u32_at(record.body, 6)?);
                self.number(record, value, sink)
            }
            // MulRk: numbers side by side
            0x00BD => {
                let first = record.u16(2)?;
                let count = record.body.len().checked_sub(6)? / 6;
                for number in 0..count.min(usize::from(u16::MAX)) {
                    let style = record.u16(4 + number * 6)?;
                    let value = compressed_number(u32_at(record.body, 6 + number * 6)?);
                    let shown = self.workbook.shown(value, style);
                    self.add(record.u16(0)?, first.saturating_add(number as u16), shown, sink);
                }
                Some(())
            }
            // Formula: the value that was saved
            0x0006 => self.formula(record, sink),
            // String: the text of the formula before
            0x0207 => {
                let (row, column) = self.awaits_string.take()?;
                let text = record.pieces(0).long_string(self.workbook.width)?;
                self.add(row, column, text, sink);
                Some(())
            }
            // BoolErr
            0x0205 if record.body.get(7) == Some(&0) => {
                let text = truth(*record.body.get(6)?);
                self.cell(record, text, sink)
            }
            _ => Some(()),
        }
    }

    fn formula(&mut self, record: &Record<'_>, sink: &mut TextSink) -> Option<()> {
        if record.u16(12)? != 0xFFFF {
            let value = f64_at(record.body, 6)?;
            return self.number(record, value, sink);
        }
        match record.body.get(6)? {
            0 => self.awaits_string = Some((record.u16(0)?, record.u16(2)?)),
            1 => {
                let text = truth(*record.body.get(8)?);
                self.cell(record, text, sink)?;
            }
            _ => {}
        }
        Some(())
    }

    fn number(&mut self, record: &Record<'_>, value: f64, sink: &mut TextSink) -> Option<()> {
        let shown = self.workbook.shown(value, record.u16(4)?);
        self.cell(record, shown, sink)
    }

    fn cell(&mut self, record: &Record<'_>, text: String, sink: &mut TextSink) -> Option<()> {
        self.add(record.u16(0)?, record.u16(2)?, text, sink);
        Some(())
    }

    fn add(&mut self, row: u16, column: u16, text: String, sink: &mut TextSink) {
        if self.row_number != Some(row) {
            self.row.end(sink);
            self.row_number = Some(row);
        }
        self.row.add(Some(usize::from(column)), text);
    }
}

fn truth(byte: u8) -> String {
    (if byte == 1 { "TRUE" } else { "FALSE" }).to_owned()
}

/// Eight bytes at `offset`, the lowest first.
pub fn f64_at(bytes: &[u8], offset: usize) -> Option<f64> {
    let low = u64::from(u32_at(bytes, offset)?);
    let high = u64::from(u32_at(bytes, offset + 4)?);
    Some(f64::from_bits(high << 32 | low))
}

/// 30 bits of a number and how to read them (MS-XLS 2.5.122).
pub fn compressed_number(rk: u32) -> f64 {
    let value = if rk & 2 != 0 { f64::from((rk as i32) >> 2) } else { f64::from_bits(u64::from(rk & !3) << 32) };
    if rk & 1 != 0 { value / 100.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::{made, ole};

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &(body.len() as u16).to_le_bytes(), body].concat()
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn beginning() -> Vec<u8> {
        record(BEGINNING, &[0, 6, 5, 0, 0, 0, 0, 0])
    }

    fn cell(row: u16, column: u16, rest: &[u8]) -> Vec<u8> {
        [&row.to_le_bytes()[..], &column.to_le_bytes(), &[0, 0], rest].concat()
    }

    /// A workbook with one sheet of these records and one shared string that is continued in its middle.
    fn workbook(sheet: &[u8], more_globals: &[u8]) -> tempfile::NamedTempFile {
        let strings = [
            record(0x00FC, &[&[1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 1][..], &wide("橋梁")].concat()),
            record(CONTINUED, b"\0AB"),
        ]
        .concat();
        let name = [&[0, 0, 2, 1][..], &wide("点検")].concat();
        let globals = |start: u32| {
            let bound = record(0x0085, &[&start.to_le_bytes()[..], &name].concat());
            [
                beginning(),
                more_globals.to_vec(),
                bound,
                record(0x00E0, &[0, 0, 14, 0]),
                strings.clone(),
                record(END, &[]),
            ]
            .concat()
        };
        let start = globals(0).len() as u32;
        let stream = [globals(start), beginning(), sheet.to_vec(), record(END, &[])].concat();
        made::container_file(&[("Workbook", &stream)])
    }

    #[test]
    fn cells_are_read_as_they_are_shown() {
        let string_formula = [&[0, 0, 0, 0, 0, 0, 0xFF, 0xFF][..], &[0; 8]].concat();
        let sheet = [
            record(0x00FD, &cell(0, 0, &[0, 0, 0, 0])),
            record(0x0203, &cell(0, 2, &45_383_f64.to_le_bytes())),
            record(0x027E, &cell(1, 0, &((45_384 << 2 | 2_u32).to_le_bytes()))),
            record(0x0006, &cell(1, 1, &string_formula)),
            record(0x0207, &[&[1, 0, 1][..], &wide("可")].concat()),
            [
                record(0x01B6, &[0; 10].iter().chain(&[2, 0]).chain(&[0; 6]).copied().collect::<Vec<u8>>()),
                record(CONTINUED, &[&[1][..], &wide("注記")].concat()),
            ]
            .concat(),
        ]
        .concat();
        assert_eq!(
            made::read_text(ole::read, workbook(&sheet, &[]).path()),
            "点検\n橋梁AB\t\t2024/4/1\n2024/4/2\t可\n注記"
        );
    }

    #[test]
    fn a_password_is_a_reason() {
        let file = workbook(&[], &record(0x002F, &[0; 6]));
        assert_eq!(made::read(ole::read, file.path()).expect_err("encrypted").reason, Reason::Encrypted);
    }

    #[test]
    fn a_sheet_that_is_cut_off_is_marked_and_a_damaged_beginning_is_corrupt() {
        let sheet = [record(0x00FD, &cell(0, 0, &[0, 0, 0, 0])), vec![0xFD, 0, 0xFF, 0xFF]].concat();
        let read = made::read(ole::read, workbook(&sheet, &[]).path()).expect("read");
        assert!(read.sections[0].truncated && read.sections[0].text == "点検\n橋梁AB");
        let file = made::container_file(&[("Workbook", b"\x09\x08\xFF\xFF")]);
        assert_eq!(made::read(ole::read, file.path()).expect_err("corrupt").reason, Reason::Corrupt);
    }

    #[test]
    fn numbers_of_thirty_bits_are_read() {
        assert_eq!(compressed_number(0x3FF0_0000), 1.0);
        assert_eq!(compressed_number(12_345 << 2 | 3), 123.45);
        assert_eq!(compressed_number((-7_i32 << 2) as u32 | 2), -7.0);
    }

    #[test]
    fn corpus_workbooks_are_read() {
        for (name, words) in [
            ("test_excel.xls", ["Microsoft Office 365 E5\t$192,000", "Professional Services Fees\t$89,100\t$-"]),
            ("tests_example.xls", ["Example Test", "Readme"]),
        ] {
            let Some(path) = made::corpus_file(name) else { return };
            let text = made::read_text(ole::read, &path);
            for word in words {
                assert!(text.contains(word), "{name}: {word}\n{text}");
            }
        }
    }
}
