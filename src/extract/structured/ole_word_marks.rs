//! Which paragraph marks of a Word 97–2003 document belong to tables. The text itself only has a mark for the end of a
//! cell and the same one for the end of a row; what a paragraph is stands in its properties (MS-DOC 2.4.6.1).

use super::ole::{u16_at, u32_at};

/// Pages of paragraph properties (512 bytes each) that are read; a page has some dozens of paragraphs.
const MAX_PAGES: usize = 100_000;

const PAGE_BYTES: usize = 512;

/// Where the header has the list of those pages (MS-DOC 2.5.6, `fcPlcfBtePapx`).
const PAGE_LIST: usize = 0x102;

/// Properties: the paragraph is in a table; it is the end of a row (MS-DOC 2.6.2).
const IN_TABLE: u16 = 0x2416;
const ROW_END: u16 = 0x2417;

/// Properties whose length is not told by their number (MS-DOC 2.9.329, 2.9.180).
const TABLE_DEFINITION: u16 = 0xD608;
const TAB_CHANGES: u16 = 0xC615;

/// Paragraphs in tables: where their text stands in the document's stream, and whether they end a row.
#[derive(Debug, Default)]
pub struct TableMarks {
    paragraphs: Vec<(u32, u32, bool)>,
}

impl TableMarks {
    /// Reads the properties of all paragraphs; what is damaged is passed over.
    pub fn of(document: &[u8], table: &[u8]) -> TableMarks {
        let mut paragraphs = Vec::new();
        for page in pages(document, table).unwrap_or_default() {
            add_page(page, &mut paragraphs);
        }
        paragraphs.sort_unstable();
        TableMarks { paragraphs }
    }

    /// Whether any row's end is known; older and damaged files do not tell.
    pub fn know_rows(&self) -> bool {
        self.paragraphs.iter().any(|(_, _, ends_row)| *ends_row)
    }

    /// Whether the paragraph at a place of the stream is in a table, and if so, whether it ends a row.
    pub fn at(&self, place: u32) -> Option<bool> {
        let after = self.paragraphs.partition_point(|(start, _, _)| *start <= place);
        let (_, end, ends_row) = self.paragraphs.get(after.checked_sub(1)?)?;
        (place < *end).then_some(*ends_row)
    }
}

fn pages<'d>(document: &'d [u8], table: &[u8]) -> Option<Vec<&'d [u8]>> {
    let (start, length) = (u32_at(document, PAGE_LIST)? as usize, u32_at(document, PAGE_LIST + 4)? as usize);
    let list = table.get(start..start.checked_add(length)?)?;
    let count = (length.checked_sub(4)? / 8).min(MAX_PAGES);
    let page_at = |number: usize| {
        let page = (u32_at(list, (count + 1) * 4 + number * 4)? & 0x003F_FFFF) as usize;
        document.get(page * PAGE_BYTES..(page + 1) * PAGE_BYTES)
    };
    Some((0..count).filter_map(page_at).collect())
}

/// A page: places of paragraphs from its beginning on, their properties from its end on (MS-DOC 2.9.175).
fn add_page(page: &[u8], paragraphs: &mut Vec<(u32, u32, bool)>) {
    let count = usize::from(page[PAGE_BYTES - 1]);
    for number in 0..count {
        let bounds = u32_at(page, number * 4).zip(u32_at(page, number * 4 + 4));
        let offset = page.get((count + 1) * 4 + number * 13).map_or(0, |half| usize::from(*half) * 2);
        let (Some((start, end)), Some(properties)) = (bounds, properties_at(page, offset)) else { continue };
        let (in_table, ends_row) = table_flags(properties);
        if in_table || ends_row {
            paragraphs.push((start, end, ends_row));
        }
    }
}

/// Behind their length and the style's number (MS-DOC 2.9.176).
fn properties_at(page: &[u8], offset: usize) -> Option<&[u8]> {
    if offset == 0 {
        return None;
    }
    let (start, length) = match *page.get(offset)? {
        0 => (offset + 2, usize::from(*page.get(offset + 1)?) * 2),
        words => (offset + 1, usize::from(words) * 2 - 1),
    };
    page.get(start + 2..start.checked_add(length)?)
}

/// Goes through the properties: a number, then as many bytes as its upper bits say (MS-DOC 2.6.1).
fn table_flags(properties: &[u8]) -> (bool, bool) {
    let (mut in_table, mut ends_row) = (false, false);
    let mut position = 0;
    while let Some(number) = u16_at(properties, position) {
        let operand = position + 2;
        let is_set = properties.get(operand).is_some_and(|value| *value != 0);
        match number {
            IN_TABLE => in_table = is_set,
            ROW_END => ends_row = is_set,
            _ => {}
        }
        let length = match (number, number >> 13) {
            (TABLE_DEFINITION, _) => u16_at(properties, operand).map(|length| usize::from(length) + 1),
            (TAB_CHANGES, _) if properties.get(operand) == Some(&255) => None,
            (_, 0 | 1) => Some(1),
            (_, 2 | 4 | 5) => Some(2),
            (_, 3) => Some(4),
            (_, 7) => Some(3),
            _ => properties.get(operand).map(|length| usize::from(*length) + 1),
        };
        let Some(length) = length else { break };
        position = operand + length;
    }
    (in_table, ends_row)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document of one page of properties: for each paragraph its end and its properties.
    pub fn with_properties(text_start: u32, paragraphs: &[(u32, &[u8])]) -> (Vec<u8>, Vec<u8>) {
        let mut page = vec![0; PAGE_BYTES];
        page[PAGE_BYTES - 1] = paragraphs.len() as u8;
        page[..4].copy_from_slice(&text_start.to_le_bytes());
        let mut free = PAGE_BYTES - 2;
        for (number, (end, properties)) in paragraphs.iter().enumerate() {
            page[number * 4 + 4..number * 4 + 8].copy_from_slice(&end.to_le_bytes());
            // The style's number comes first; the length counts words.
            let mut bytes = [&[0, 0], *properties].concat();
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            free -= bytes.len() + 2;
            page[(paragraphs.len() + 1) * 4 + number * 13] = (free / 2) as u8;
            page[free + 1] = (bytes.len() / 2) as u8;
            page[free + 2..free + 2 + bytes.len()].copy_from_slice(&bytes);
        }
        let mut document = vec![0; PAGE_BYTES];
        document[PAGE_LIST + 4..PAGE_LIST + 8].copy_from_slice(&12_u32.to_le_bytes());
        document.extend(page);
        let table = [text_start.to_le_bytes(), 0_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        (document, table)
    }

    #[test]
    fn cells_and_row_ends_are_told_apart() {
        let cell: &[u8] = &[0x03, 0x24, 1, 0x16, 0x24, 1];
        let row_end: &[u8] = &[0x16, 0x24, 1, 0x17, 0x24, 1, 0x08, 0xD6, 3, 0, 9, 9, 0x17, 0x24, 1];
        let (document, table) = with_properties(100, &[(110, &[0x03, 0x24, 1]), (112, cell), (113, row_end)]);
        let marks = TableMarks::of(&document, &table);
        assert!(marks.know_rows());
        let found: Vec<Option<bool>> = [99, 105, 110, 111, 112, 113].map(|place| marks.at(place)).to_vec();
        assert_eq!(found, [None, None, Some(false), Some(false), Some(true), None]);
    }

    #[test]
    fn damaged_properties_are_passed_over() {
        let (document, table) = with_properties(100, &[(110, &[0x17, 0x24, 1])]);
        for cut in [0, 100, 0x104, 0x10A, 600, 1000] {
            assert!(!TableMarks::of(&document[..cut.min(document.len())], &table).know_rows());
        }
        assert!(!TableMarks::of(&document, &table[..8]).know_rows());
        let mut lying = document.clone();
        lying[PAGE_BYTES..].fill(0xFF);
        assert!(!TableMarks::of(&lying, &table).know_rows());
    }
}
