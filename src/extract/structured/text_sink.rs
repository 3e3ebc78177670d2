//! Collects the sections of one file: lines and cells in, bounded text out.

use super::{MAX_SECTIONS, Section, StructuredFile};
use crate::extract::page_text::MAX_PAGE_UTF16_UNITS;

/// Units of all sections together: the index takes no more of a document (contract §3).
const MAX_UTF16_UNITS: usize = MAX_PAGE_UTF16_UNITS;

/// The text of a file while it is being read.
#[derive(Debug, Default)]
pub struct TextSink {
    sections: Vec<Section>,
    current: String,
    utf16_units: usize,
    current_truncated: bool,
}

impl TextSink {
    pub fn new() -> TextSink {
        TextSink::default()
    }

    /// Whether more text would be left out: reading on is no use.
    pub fn is_full(&self) -> bool {
        self.utf16_units >= MAX_UTF16_UNITS
    }

    /// Whether no text came so far.
    pub fn is_empty(&self) -> bool {
        self.utf16_units == 0
    }

    /// Adds text as it stands, without characters that no text has.
    pub fn push(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\t' | '\n' => self.push_character(character),
                '\r' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}' => self.push_character('\n'),
                '\u{a0}' => self.push_character(' '),
                '\u{ad}' | '\u{200b}' | '\u{feff}' => {}
                _ if character.is_control() => {}
                _ => self.push_character(character),
            }
        }
    }

    fn push_character(&mut self, character: char) {
        if self.is_full() {
            self.current_truncated = true;
            return;
        }
        self.utf16_units += character.len_utf16();
        self.current.push(character);
    }

    /// Ends the line unless it is empty.
    pub fn end_line(&mut self) {
        while self.current.ends_with(['\t', ' ']) {
            self.current.pop();
        }
        if !self.current.is_empty() && !self.current.ends_with('\n') {
            self.push_character('\n');
        }
    }

    /// A whole line.
    pub fn line(&mut self, text: &str) {
        self.end_line();
        self.push(text.trim());
        self.end_line();
    }

    /// The cells of a row; empty ones keep their place, except at the end.
    pub fn row(&mut self, cells: &[String]) {
        self.end_line();
        for (column, cell) in cells.iter().enumerate() {
            if column > 0 {
                self.push("\t");
            }
            self.push(&one_line(cell));
        }
        self.end_line();
    }

    /// Says that something could not be read to its end.
    pub fn mark_truncated(&mut self) {
        self.current_truncated = true;
    }

    /// Ends the section; one without text is left out.
    pub fn end_section(&mut self) {
        let text = std::mem::take(&mut self.current).trim_matches(['\n', ' ', '\t']).to_owned();
        let truncated = std::mem::take(&mut self.current_truncated);
        if text.is_empty() && !truncated {
            return;
        }
        let is_last = self.sections.len() >= MAX_SECTIONS;
        match self.sections.last_mut() {
            Some(last) if is_last => {
                last.text.push('\n');
                last.text.push_str(&text);
                last.truncated |= truncated;
            }
            _ => self.sections.push(Section { text, truncated }),
        }
    }

    /// The file with its sections; at least one.
    pub fn finish(mut self) -> StructuredFile {
        self.end_section();
        if self.sections.is_empty() {
            self.sections.push(Section::default());
        }
        StructuredFile { sections: self.sections, ..StructuredFile::default() }
    }
}

/// A cell's text without line feeds and tabs, which would look like more cells.
pub fn one_line(text: &str) -> String {
    if !text.contains(['\n', '\t', '\r']) {
        return text.to_owned();
    }
    text.split(['\n', '\t', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cells_and_sections_keep_their_borders() {
        let mut sink = TextSink::new();
        sink.line("橋梁台帳");
        sink.row(&["1".to_owned(), String::new(), "a\nb".to_owned(), String::new()]);
        sink.end_section();
        sink.end_section();
        sink.line("次");
        let texts: Vec<String> = sink.finish().sections.into_iter().map(|section| section.text).collect();
        assert_eq!(texts, ["橋梁台帳\n1\t\ta b", "次"]);
    }

    #[test]
    fn text_beyond_the_bound_is_left_out_and_said_to_be() {
        let mut sink = TextSink::new();
        sink.push(&"あ".repeat(MAX_UTF16_UNITS + 10));
        assert!(sink.is_full());
        sink.end_section();
        sink.line("more");
        let file = sink.finish();
        assert!(file.sections.iter().all(|section| section.truncated));
        assert_eq!(file.sections[0].text.chars().count(), MAX_UTF16_UNITS);
    }

    #[test]
    fn a_file_without_text_has_one_empty_section() {
        assert_eq!(TextSink::new().finish().sections, [Section::default()]);
    }
}
