//! What a text consists of for searching: characters of scripts without spaces, and words of the others.
//!
//! Indexing, queries and highlighting all see texts through this one reading, so they cannot disagree. It folds
//! what means the same (half-width kana, full-width Latin, composed and decomposed kana, upper and lower case) and
//! remembers where in the original each piece came from.

use std::str::CharIndices;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// A longer word is cut: nobody searches for it, and terms are limited.
const LONGEST_WORD_BYTES: usize = 200;
/// So many blanks between two characters of such a script still count as none: 「目　　次」, 「第 １ 章」, and
/// words that a line end cuts.
const BLANKS_BRIDGED: usize = 2;

/// The folded content of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One character of a script that is written without spaces.
    Character(char),
    /// A word in lower case.
    Word(String),
}

/// One piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atom {
    pub content: Content,
    /// Bytes in the original text.
    pub start: usize,
    pub end: usize,
    /// A character that follows the character before it in the same run.
    pub joined: bool,
}

/// The pieces of a text, in order.
pub fn atoms(text: &str) -> Atoms<'_> {
    Atoms { folded: Folded::new(text), held: None, gap: Gap::Start }
}

/// What lies between the last piece and the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Punctuation, a word, an empty line, or the text's beginning: a run does not go on behind it.
    Start,
    /// Only so many blanks, with so many line ends among them.
    Blanks { blanks: usize, line_ends: usize },
}

/// See [`atoms`].
pub struct Atoms<'text> {
    folded: Folded<'text>,
    /// The folded character that ended the last word.
    held: Option<FoldedChar>,
    gap: Gap,
}

impl Iterator for Atoms<'_> {
    type Item = Atom;

    fn next(&mut self) -> Option<Atom> {
        loop {
            let next = self.held.take().or_else(|| self.folded.next())?;
            if is_unspaced(next.character) {
                let joined = self.gap != Gap::Start;
                self.gap = Gap::Blanks { blanks: 0, line_ends: 0 };
                let content = Content::Character(next.character);
                return Some(Atom { content, start: next.start, end: next.end, joined });
            }
            if next.character.is_alphanumeric() {
                self.gap = Gap::Start;
                return Some(self.word(next));
            }
            self.widen_gap(next.character);
        }
    }
}

impl Atoms<'_> {
    fn word(&mut self, first: FoldedChar) -> Atom {
        let mut word = String::from(first.character);
        let mut end = first.end;
        for next in self.folded.by_ref() {
            if !next.character.is_alphanumeric() || is_unspaced(next.character) {
                self.held = Some(next);
                break;
            }
            end = next.end;
            if word.len() < LONGEST_WORD_BYTES {
                word.push(next.character);
            }
        }
        Atom { content: Content::Word(word), start: first.start, end, joined: false }
    }

    fn widen_gap(&mut self, character: char) {
        let Gap::Blanks { blanks, line_ends } = self.gap else { return };
        let blanks = blanks + usize::from(character != '\r');
        let line_ends = line_ends + usize::from(character == '\n');
        let bridged = character.is_whitespace() && blanks <= BLANKS_BRIDGED && line_ends <= 1;
        self.gap = if bridged { Gap::Blanks { blanks, line_ends } } else { Gap::Start };
    }
}

/// Scripts whose words are not separated: Han, kana, Hangul (whose particles stick to words), bopomofo.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{3005}'..='\u{3007}'
        | '\u{3031}'..='\u{3035}'
        | '\u{3041}'..='\u{3096}'
        | '\u{309D}'..='\u{309F}'
        | '\u{30A1}'..='\u{30FA}'
        | '\u{30FC}'..='\u{30FF}'
        | '\u{3105}'..='\u{312F}'
        | '\u{31A0}'..='\u{31BF}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

/// A character of the folded text with the original bytes that it stands for.
#[derive(Clone, Copy, Debug)]
struct FoldedChar {
    character: char,
    start: usize,
    end: usize,
}

/// The text in NFKC and lower case, cluster by cluster (a character and the marks that belong to it).
struct Folded<'text> {
    text: &'text str,
    characters: std::iter::Peekable<CharIndices<'text>>,
    /// The rest of the last cluster, reversed.
    pending: Vec<FoldedChar>,
}

impl<'text> Folded<'text> {
    fn new(text: &'text str) -> Self {
        Self { text, characters: text.char_indices().peekable(), pending: Vec::new() }
    }
}

impl Iterator for Folded<'_> {
    type Item = FoldedChar;

    fn next(&mut self) -> Option<FoldedChar> {
        loop {
            if let Some(character) = self.pending.pop() {
                return Some(character);
            }
            let (start, first) = self.characters.next()?;
            let mut end = start + first.len_utf8();
            while let Some((position, mark)) = self.characters.next_if(|(_, next)| belongs_to_the_one_before(*next)) {
                end = position + mark.len_utf8();
            }
            if first.is_ascii() && end == start + 1 {
                return Some(FoldedChar { character: first.to_ascii_lowercase(), start, end });
            }
            let folded = self.text[start..end].nfkc().flat_map(char::to_lowercase);
            self.pending.extend(folded.map(|character| FoldedChar { character, start, end }));
            self.pending.reverse();
        }
    }
}

/// Combining marks, and the voicing marks of half-width kana, which are characters of their own until folded.
fn belongs_to_the_one_before(character: char) -> bool {
    if character.is_ascii() {
        return false;
    }
    matches!(character, '\u{FF9E}' | '\u{FF9F}') || canonical_combining_class(character) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `道-路 pc橋` style: joined characters with a hyphen, everything else with a blank.
    fn shown(text: &str) -> String {
        let mut shown = String::new();
        for atom in atoms(text) {
            if !shown.is_empty() {
                shown.push(if atom.joined { '-' } else { ' ' });
            }
            match atom.content {
                Content::Character(character) => shown.push(character),
                Content::Word(word) => shown.push_str(&word),
            }
        }
        shown
    }

    #[test]
    fn characters_and_words() {
        assert_eq!(shown("道路Bridge橋_2024.pdf"), "道-路 bridge 橋 2024 pdf");
        assert_eq!(shown("東京、大阪"), "東-京 大-阪");
        assert_eq!(shown(""), "");
        assert_eq!(shown("。、…  "), "");
    }

    #[test]
    fn what_means_the_same_reads_the_same() {
        assert_eq!(shown("ｶﾞｰﾄﾞﾚｰﾙ"), shown("ガードレール"));
        assert_eq!(shown("か\u{3099}"), shown("が"));
        assert_eq!(shown("ＰＣ橋"), shown("pc橋"));
        assert_eq!(shown("㈱"), "株");
        assert_eq!(shown("CAFE\u{301}"), shown("café"));
    }

    #[test]
    fn a_blank_or_a_line_end_does_not_part_a_run_but_a_paragraph_does() {
        assert_eq!(shown("目　　次"), "目-次");
        assert_eq!(shown("道\n路"), "道-路");
        assert_eq!(shown("道\r\n路"), "道-路");
        assert_eq!(shown("道\n\n路"), "道 路");
        assert_eq!(shown("道   路"), "道 路");
        assert_eq!(shown("道a路"), "道 a 路");
    }

    #[test]
    fn each_piece_knows_its_bytes_in_the_original() {
        let text = "あ ｶﾞB㍿c";
        let pieces: Vec<&str> = atoms(text).map(|atom| &text[atom.start..atom.end]).collect();
        assert_eq!(pieces, ["あ", "ｶﾞ", "B", "㍿", "㍿", "㍿", "㍿", "c"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_within_its_bounds(text in ".*") {
            let mut last = 0;
            for atom in atoms(&text) {
                proptest::prop_assert!(atom.start >= last && atom.end > atom.start && atom.end <= text.len());
                proptest::prop_assert!(text.is_char_boundary(atom.start) && text.is_char_boundary(atom.end));
                last = atom.start;
            }
        }
    }
}
