//! The list of an archive's entries: one path a line, as someone would search for it.

use encoding_rs::SHIFT_JIS;
use unicode_normalization::UnicodeNormalization;

use super::bounds::Budget;
use super::{Section, StructuredFile};
use crate::extract::charset;
use crate::extract::metadata;
use crate::extract::page_text::MAX_PAGE_UTF16_UNITS;

/// Bytes of one path; longer ones are no path of any system.
pub const MAX_PATH_BYTES: usize = 4 * 1024;

/// Collects entries within the bounds.
#[derive(Debug, Default)]
pub struct EntryList {
    text: String,
    utf16_units: usize,
    entries: u64,
    truncated: bool,
}

impl EntryList {
    /// Adds an entry. `false` when a bound is reached: the list ends here, and says that it is not whole.
    pub fn add(&mut self, path: &str, budget: &mut Budget) -> bool {
        // macOS writes が as か and a mark, which no search for が would find.
        let line: String = path.nfc().map(|character| if character.is_control() { ' ' } else { character }).collect();
        self.utf16_units += line.encode_utf16().count() + 1;
        if self.utf16_units > MAX_PAGE_UTF16_UNITS || budget.count_entry().is_err() {
            self.truncated = true;
            return false;
        }
        self.entries += 1;
        if !line.trim().is_empty() {
            self.text.push_str(line.trim());
            self.text.push('\n');
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// There is more in the archive than in the list.
    pub fn cut(&mut self) {
        self.truncated = true;
    }

    pub fn into_file(self) -> StructuredFile {
        let text = self.text.trim_end().to_owned();
        let mut file = StructuredFile::of_section(Section { text, truncated: self.truncated });
        metadata::insert_number(&mut file.metadata, "entries", self.entries as f64);
        file
    }
}

/// A path that an archive stores without saying how: UTF-8 when it is that, else what Japan's Windows writes.
///
/// Detection by statistics is for texts; a name of three characters gives it nothing to count.
pub fn decode_path(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MAX_PATH_BYTES)];
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    match SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => text.into_owned(),
        None => charset::decode_labelled(bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_composed_and_one_a_line() {
        assert_eq!(decode_path(&SHIFT_JIS.encode("図面/表\\紙.dwg").0), "図面/表\\紙.dwg");
        assert_eq!(decode_path("図面/①.pdf".as_bytes()), "図面/①.pdf");
        let mut list = EntryList::default();
        let mut budget = Budget::new(0);
        for path in ["か\u{3099}けふ\u{3099}ち.txt", "a\nb", ""] {
            assert!(list.add(path, &mut budget));
        }
        assert_eq!(list.into_file().sections[0].text, "がけぶち.txt\na b");
    }

    #[test]
    fn a_list_ends_at_the_bounds() {
        let (mut list, mut budget) = (EntryList::default(), Budget::new(0));
        let added = (0..1_000_000).take_while(|_| list.add("x", &mut budget)).count();
        let file = list.into_file();
        assert!(file.sections[0].truncated && file.sections[0].text.lines().count() == added && added < 100_000);
    }
}
