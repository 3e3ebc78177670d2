//! Word 97–2003 documents (.doc) through their piece table; Word 6 and 95 where they were saved in one piece.
//!
//! Layout: MS-DOC 2.4.1 (retrieving text), 2.5 (the header), 2.8.35 (pieces).

use super::bounds::Budget;
use super::ole::{Container, u16_at, u32_at, utf_16};
use super::ole_word_marks::TableMarks;
use super::package::encrypted;
use super::text_sink::TextSink;
use super::{StructuredFile, ole_pictures};
use crate::document::{Failure, Reason};

/// The header's version since Word 97.
const WORD_97: u16 = 0x00C1;
/// Japanese, in the header's language field.
const JAPANESE: u16 = 0x0411;

const FLAG_COMPLEX: u16 = 0x0004;
const FLAG_ENCRYPTED: u16 = 0x0100;
const FLAG_TABLE_1: u16 = 0x0200;

/// Where the header has the lengths of its parts: text, notes, headers, macros, comments, end notes, text boxes,
/// text boxes in headers.
const PART_LENGTHS: [usize; 8] = [0x4C, 0x50, 0x54, 0x58, 0x5C, 0x60, 0x64, 0x68];

/// Reads the document in a container.
///
/// # Errors
/// `encrypted`, `corrupt`, `unsupported_format` for some documents older than 1997, `archive_bomb`
pub fn read(container: &mut Container<'_>, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let document = container.stream("WordDocument", budget)?.unwrap_or_default();
    let version = u16_at(&document, 2).ok_or_else(damaged)?;
    let flags = u16_at(&document, 10).ok_or_else(damaged)?;
    if flags & FLAG_ENCRYPTED != 0 {
        return Err(encrypted());
    }
    let mut sink = TextSink::new();
    if version < WORD_97 {
        append_shown(&old_text(&document, flags)?, false, &mut sink);
        return Ok(sink.finish());
    }
    let name = if flags & FLAG_TABLE_1 != 0 { "1Table" } else { "0Table" };
    let table = container.stream(name, budget)?.ok_or_else(damaged)?;
    let marks = TableMarks::of(&document, &table);
    let text: Vec<char> = text_of_pieces(&document, &table, &marks).ok_or_else(damaged)?.chars().collect();
    let mut start = 0_usize;
    for offset in PART_LENGTHS {
        // Lengths count UTF-16 units; `text` has one character for each.
        let length = u32_at(&document, offset).ok_or_else(damaged)? as usize;
        let end = start.saturating_add(length).min(text.len());
        append_shown(&text[start..end].iter().collect::<String>(), marks.know_rows(), &mut sink);
        sink.end_section();
        start = end;
    }
    let mut file = sink.finish();
    ole_pictures::add_from_stream(container, "Data", &mut file, budget);
    ole_pictures::add_pictures(&document, &mut file);
    Ok(file)
}

fn damaged() -> Failure {
    Failure::new(Reason::Corrupt, "The header of the Word document is damaged.")
}

/// Word 6 and 95: bytes in the code page of the document's language.
fn old_text(document: &[u8], flags: u16) -> Result<String, Failure> {
    if flags & FLAG_COMPLEX != 0 {
        let detail = "The Word document is older than 1997 and was saved in several pieces, which is not supported.";
        return Err(Failure::new(Reason::UnsupportedFormat, detail));
    }
    let bounds = u32_at(document, 0x18).zip(u32_at(document, 0x1C));
    let bytes = bounds.and_then(|(start, end)| document.get(start as usize..end as usize)).ok_or_else(damaged)?;
    let is_japanese = u16_at(document, 6) == Some(JAPANESE);
    let encoding = if is_japanese { encoding_rs::SHIFT_JIS } else { encoding_rs::WINDOWS_1252 };
    Ok(encoding.decode_without_bom_handling(bytes).0.into_owned())
}

/// The whole text; `None` when the piece table is damaged. Pieces may overlap, but cannot give more than they claim.
fn text_of_pieces(document: &[u8], table: &[u8], marks: &TableMarks) -> Option<String> {
    let start = u32_at(document, 0x1A2)? as usize;
    let length = u32_at(document, 0x1A6)? as usize;
    let pieces = piece_table(table.get(start..start.checked_add(length)?)?)?;
    let count = pieces.len().checked_sub(4)? / 12;
    let mut text = String::new();
    for number in 0..count {
        let first = u32_at(pieces, number * 4)? as usize;
        let characters = (u32_at(pieces, number * 4 + 4)? as usize).checked_sub(first)?;
        let place = u32_at(pieces, (count + 1) * 4 + number * 8 + 2)?;
        let is_one_byte = place & 0x4000_0000 != 0;
        let offset = (place & 0x3FFF_FFFF) as usize;
        if is_one_byte {
            let bytes = document.get(offset / 2..(offset / 2).checked_add(characters)?)?;
            let decoded = encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0;
            push_characters(&mut text, &decoded, (offset / 2, 1), marks);
        } else {
            let bytes = document.get(offset..offset.checked_add(characters.checked_mul(2)?)?)?;
            push_characters(&mut text, &utf_16(bytes), (offset, 2), marks);
        }
        if text.len() > MAX_TEXT_BYTES {
            break;
        }
    }
    Some(text)
}

/// More than a document's text may have in the index.
const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Characters of two units are followed by a filler, so that positions still count units. `place` is where the text
/// stands in the stream, and the bytes of a unit: marks of tables are known by it.
fn push_characters(text: &mut String, decoded: &str, place: (usize, usize), marks: &TableMarks) {
    let (mut offset, unit_bytes) = place;
    for character in decoded.chars() {
        let in_table = matches!(character, CELL_END | '\r')
            .then(|| u32::try_from(offset).ok().and_then(|offset| marks.at(offset)))
            .flatten();
        text.push(match (character, in_table) {
            (CELL_END, Some(true)) => ROW_END,
            ('\r', Some(_)) => PARAGRAPH_IN_CELL,
            _ => character,
        });
        if character.len_utf16() == 2 {
            text.push(FILLER);
        }
        offset += unit_bytes * character.len_utf16();
    }
}

const FILLER: char = '\u{feff}';

/// Word's mark at the end of a cell, which also ends a row.
const CELL_END: char = '\u{7}';
/// Ours, for marks whose meaning the paragraphs' properties tell; Word's text has no such characters.
const ROW_END: char = '\u{1d}';
const PARAGRAPH_IN_CELL: char = '\u{1c}';

/// After the formatting that precedes it (MS-DOC 2.9.38).
fn piece_table(clx: &[u8]) -> Option<&[u8]> {
    let mut rest = clx;
    loop {
        match rest.first()? {
            1 => rest = rest.get(3 + u16_at(rest, 1)? as usize..)?,
            2 => return rest.get(5..5_usize.checked_add(u32_at(rest, 1)? as usize)?),
            _ => return None,
        }
    }
}

/// Text as it is shown: field codes left out, cells by tabs. Where the ends of rows are not known, two marks in a row are
/// taken for one.
fn append_shown(text: &str, rows_are_known: bool, sink: &mut TextSink) {
    let mut field_codes = 0_usize;
    let mut nested: Vec<bool> = Vec::new();
    let mut line = Line::default();
    for character in text.chars() {
        match character {
            '\u{13}' => {
                nested.push(true);
                field_codes += 1;
            }
            '\u{14}' | '\u{15}' => {
                if let Some(in_code) = nested.last_mut().filter(|in_code| **in_code) {
                    *in_code = false;
                    field_codes -= 1;
                }
                if character == '\u{15}' {
                    nested.pop();
                }
            }
            _ if field_codes > 0 => {}
            CELL_END if !rows_are_known && line.text.is_empty() && !line.cells.is_empty() => line.end(sink),
            CELL_END => line.end_cell(),
            ROW_END | '\r' | '\u{c}' | '\u{e}' => line.end(sink),
            '\u{1e}' => line.text.push('-'),
            // One line feed is a space in a cell.
            '\u{b}' | PARAGRAPH_IN_CELL => line.text.push('\n'),
            '\t' => line.text.push('\t'),
            _ if character.is_control() => {}
            _ => line.text.push(character),
        }
    }
    line.end(sink);
}

/// A paragraph, or a row of a table.
#[derive(Default)]
struct Line {
    /// Those that are complete.
    cells: Vec<String>,
    text: String,
}

impl Line {
    fn end_cell(&mut self) {
        self.cells.push(std::mem::take(&mut self.text));
    }

    fn end(&mut self, sink: &mut TextSink) {
        if self.cells.is_empty() {
            sink.line(&self.text);
        } else {
            self.end_cell();
            sink.row(&self.cells);
        }
        self.cells.clear();
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::{made, ole};

    /// A header, a piece of one-byte text and a piece of UTF-16.
    fn document(flags: u16, one_byte: &[u8], wide: &str) -> tempfile::NamedTempFile {
        let wide_bytes: Vec<u8> = wide.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut header = vec![0; 0x400];
        let mut put = |offset: usize, bytes: &[u8]| header[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, &0xA5EC_u16.to_le_bytes());
        put(2, &WORD_97.to_le_bytes());
        put(10, &flags.to_le_bytes());
        let characters = (one_byte.len() + wide.encode_utf16().count()) as u32;
        put(0x4C, &characters.to_le_bytes());
        let mut pieces = Vec::new();
        for position in [0, one_byte.len() as u32, characters] {
            pieces.extend(position.to_le_bytes());
        }
        for place in [0x4000_0000 | 0x800_u32, 0x400 + one_byte.len() as u32] {
            pieces.extend([0, 0]);
            pieces.extend(place.to_le_bytes());
            pieces.extend([0, 0]);
        }
        let mut table = vec![2];
        table.extend((pieces.len() as u32).to_le_bytes());
        table.extend(pieces);
        put(0x1A6, &(table.len() as u32).to_le_bytes());
        let stream = [header, one_byte.to_vec(), wide_bytes].concat();
        made::container_file(&[("WordDocument", &stream), ("0Table", &table), ("1Table", &table)])
    }

    #[test]
    fn pieces_of_both_widths_are_joined_and_fields_show_their_result() {
        let file = document(0, b"Bridge \x13PAGE \x147\x15\r", "橋梁\u{7}台帳\u{7}\u{7}次\r");
        assert_eq!(made::read_text(ole::read, file.path()), "Bridge 7\n橋梁\t台帳\n次");
    }

    #[test]
    fn a_password_is_a_reason() {
        let failure = made::read(ole::read, document(FLAG_ENCRYPTED, b"x", "y").path()).expect_err("encrypted");
        assert_eq!(failure.reason, Reason::Encrypted);
    }

    #[test]
    fn a_damaged_header_or_table_is_corrupt_not_empty() {
        let header = [&[0xEC, 0xA5, 0xC1, 0][..], &[0; 0x300]].concat();
        for streams in [
            vec![("WordDocument", header.as_slice())],
            vec![("WordDocument", header.as_slice()), ("0Table", b"\x02\xFF\xFF\xFF\xFF".as_slice())],
            vec![("WordDocument", b"\xEC\xA5".as_slice())],
        ] {
            let file = made::container_file(&streams);
            assert_eq!(made::read(ole::read, file.path()).expect_err("corrupt").reason, Reason::Corrupt);
        }
    }

    #[test]
    fn a_corpus_document_is_read() {
        let Some(path) = made::corpus_file("unit_test_lists.doc") else { return };
        let text = made::read_text(ole::read, &path);
        println!("{text}");
        assert!(text.contains("Test Document\nParagraph 2.1.1") && text.contains("List item 3"), "{text}");
    }
}
