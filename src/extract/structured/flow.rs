//! Text as it flows out of marked-up documents: white space collapses, blocks end lines, cells are set apart by tabs.

use crate::extract::page_text::MAX_PAGE_UTF16_UNITS;

/// Breaks between two pieces of text; more say nothing.
const MAX_BREAKS: usize = 2;

/// Tabs in a row: columns that a table leaves empty.
const MAX_TABS: usize = 64;

/// Collects the text of one section.
///
/// What stands between two words is only remembered until the second one comes, so that nothing trails.
#[derive(Debug, Default)]
pub struct Flow {
    text: String,
    utf16_units: usize,
    lines: usize,
    tabs: usize,
    space: Space,
    /// Text was written since the row began.
    row_has_text: bool,
    cells_in_row: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Space {
    #[default]
    None,
    /// Between words.
    Word,
    /// A line end of the source that means nothing. Between two Japanese characters not even a space, which would
    /// split the word for the index.
    SourceLine,
}

impl Flow {
    /// Writes text whose white space means no more than a space.
    pub fn push(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\n' | '\r' if self.space == Space::None => self.space = Space::SourceLine,
                '\n' | '\r' | '\u{c}' => {}
                ' ' | '\t' | '\u{a0}' => {
                    if self.space != Space::SourceLine {
                        self.space = Space::Word;
                    }
                }
                control if control.is_control() => {}
                other => self.write(other),
            }
        }
    }

    /// Writes text whose lines and spaces are meant.
    pub fn push_preformatted(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\n' => self.line_break(),
                control if control.is_control() && control != '\t' => {}
                other => self.write(other),
            }
        }
    }

    /// The next text begins a line of its own.
    pub fn end_block(&mut self) {
        // Inside a cell nothing has been written to: its text stays beside the cell before.
        if self.tabs == 0 {
            self.lines = self.lines.max(1);
            self.space = Space::None;
        }
    }

    /// Forgets a line that was about to end: what comes belongs to what went before.
    pub fn join(&mut self) {
        self.lines = 0;
    }

    /// A line ends, also when it is empty.
    pub fn line_break(&mut self) {
        self.lines = (self.lines + 1).min(MAX_BREAKS);
        self.tabs = 0;
        self.space = Space::None;
    }

    pub fn begin_row(&mut self) {
        self.tabs = 0;
        self.end_block();
        self.row_has_text = false;
        self.cells_in_row = 0;
    }

    pub fn begin_cell(&mut self) {
        self.space = Space::None;
        if self.cells_in_row > 0 {
            self.tabs = (self.tabs + 1).min(MAX_TABS);
            if self.row_has_text {
                self.lines = 0;
            }
        }
        self.cells_in_row += 1;
    }

    /// No more can be indexed.
    pub fn is_full(&self) -> bool {
        self.utf16_units >= MAX_PAGE_UTF16_UNITS
    }

    /// The text so far.
    pub fn into_text(self) -> String {
        self.text
    }

    fn write(&mut self, character: char) {
        if self.is_full() {
            return;
        }
        if !self.text.is_empty() {
            self.append(&"\n".repeat(self.lines));
        }
        self.append(&"\t".repeat(self.tabs));
        if self.lines == 0 && self.tabs == 0 && !self.text.is_empty() {
            let joins = |neighbour: Option<char>| neighbour.is_some_and(is_japanese);
            match self.space {
                Space::Word => self.append(" "),
                Space::SourceLine if joins(self.text.chars().next_back()) && joins(Some(character)) => {}
                Space::SourceLine => self.append(" "),
                Space::None => {}
            }
        }
        (self.lines, self.tabs, self.space, self.row_has_text) = (0, 0, Space::None, true);
        self.append(character.encode_utf8(&mut [0; 4]));
    }

    fn append(&mut self, piece: &str) {
        self.utf16_units += piece.encode_utf16().count();
        self.text.push_str(piece);
    }
}

/// Characters that Japanese writes without spaces between them: kana, kanji, their punctuation and full-width forms.
fn is_japanese(character: char) -> bool {
    matches!(
        character,
        '\u{3000}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{ff00}'..='\u{ff9f}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_the_source_collapses_and_never_splits_japanese() {
        let mut flow = Flow::default();
        flow.push("  道路の\n   設計と  CAD \n drawing、\r\n東京 大阪\u{a0}京都  ");
        assert_eq!(flow.into_text(), "道路の設計と CAD drawing、東京 大阪 京都");
    }

    #[test]
    fn cells_stand_beside_each_other_and_rows_below() {
        let mut flow = Flow::default();
        for row in [["品名", "", "数量"], ["橋", "鋼", "1"]] {
            flow.begin_row();
            for cell in row {
                flow.begin_cell();
                flow.end_block();
                flow.push(cell);
                flow.end_block();
            }
        }
        flow.end_block();
        flow.push("以上");
        assert_eq!(flow.into_text(), "品名\t\t数量\n橋\t鋼\t1\n以上");
    }

    #[test]
    fn a_full_flow_stops() {
        let mut flow = Flow::default();
        flow.push(&"道".repeat(MAX_PAGE_UTF16_UNITS + 5));
        assert!(flow.is_full());
        assert_eq!(flow.into_text().chars().count(), MAX_PAGE_UTF16_UNITS);
    }
}
