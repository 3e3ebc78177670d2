//! The part of a text that shows why it was found.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use super::atoms::{Atom, atoms};

/// Length of a snippet, characters.
const SNIPPET_CHARACTERS: usize = 150;
/// So much of it stands before the first match, unless a sentence begins later.
const LEAD_CHARACTERS: usize = 30;
/// Further matches do not change which part is best; the bound keeps a text of one repeated word cheap.
const MATCHES_CONSIDERED: usize = 2_000;

/// A part of a text with the matches in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snippet {
    /// On one line.
    pub text: String,
    /// The matches, in characters (Unicode code points) of `text`; in order, not overlapping.
    pub highlights: Vec<Range<usize>>,
}

impl Snippet {
    /// The text with each match between two marks.
    pub fn marked(&self, before: &str, after: &str) -> String {
        let mut marked = String::with_capacity(self.text.len());
        let mut highlights = self.highlights.iter().peekable();
        let characters = self.text.chars().map(Some).chain([None]);
        for (position, character) in characters.enumerate() {
            if let Some(highlight) = highlights.next_if(|highlight| highlight.end == position) {
                debug_assert!(highlight.start < highlight.end);
                marked.push_str(after);
            }
            if highlights.peek().is_some_and(|highlight| highlight.start == position) {
                marked.push_str(before);
            }
            marked.extend(character);
        }
        marked
    }
}

/// What is looked for: pieces that follow each other.
pub type Phrase = Vec<Atom>;

/// Where a phrase was found, bytes.
struct Match {
    phrase: usize,
    bytes: Range<usize>,
}

/// About 150 characters around the place where most of the phrases stand together; the beginning of the text when
/// none does.
pub fn snippet(text: &str, phrases: &[Phrase]) -> Snippet {
    let matches = find(text, phrases);
    let window = best_window(text, &matches);
    cut(text, window, &matches)
}

/// The whole text with its matches, character by character as it is: names and paths.
pub fn highlighted(text: &str, phrases: &[Phrase]) -> Snippet {
    let mut marker = Marker::new(&find(text, phrases), 0);
    let mut snippet = Snippet { text: text.to_owned(), highlights: Vec::new() };
    for (count, (position, _)) in text.char_indices().enumerate() {
        marker.mark(position, count, &mut snippet.highlights);
    }
    snippet
}

fn find(text: &str, phrases: &[Phrase]) -> Vec<Match> {
    let longest = phrases.iter().map(Vec::len).max().unwrap_or_default();
    let mut recent: VecDeque<Atom> = VecDeque::with_capacity(longest + 1);
    let mut matches = Vec::new();
    for atom in atoms(text) {
        recent.push_back(atom);
        if recent.len() > longest {
            recent.pop_front();
        }
        for (phrase, pieces) in phrases.iter().enumerate() {
            if ends_with(&recent, pieces) {
                let start = recent[recent.len() - pieces.len()].start;
                let end = recent[recent.len() - 1].end;
                matches.push(Match { phrase, bytes: start..end });
            }
        }
        if matches.len() >= MATCHES_CONSIDERED {
            break;
        }
    }
    matches.sort_by_key(|found| found.bytes.start);
    matches
}

/// Whether the last pieces read are the phrase, joined where the phrase's are.
fn ends_with(recent: &VecDeque<Atom>, pieces: &[Atom]) -> bool {
    if pieces.is_empty() || recent.len() < pieces.len() {
        return false;
    }
    let tail = recent.iter().skip(recent.len() - pieces.len());
    tail.zip(pieces).enumerate().all(|(position, (read, wanted))| {
        read.content == wanted.content && (position == 0 || !wanted.joined || read.joined)
    })
}

/// The window that holds the most different phrases, then the most matches, then comes first.
fn best_window(text: &str, matches: &[Match]) -> Range<usize> {
    let mut best: Option<((usize, usize), usize)> = None;
    for (position, first) in matches.iter().enumerate() {
        let end = after_characters(text, first.bytes.start, SNIPPET_CHARACTERS - LEAD_CHARACTERS);
        let inside = matches[position..].iter().take_while(|found| found.bytes.end <= end);
        let mut seen = BTreeSet::new();
        let mut count = 0;
        for found in inside {
            seen.insert(found.phrase);
            count += 1;
        }
        let score = (seen.len(), count);
        if best.is_none_or(|(held, _)| score > held) {
            best = Some((score, first.bytes.start));
        }
    }
    let start = best.map_or(0, |(_, anchor)| sentence_start(text, anchor));
    start..after_characters(text, start, SNIPPET_CHARACTERS)
}

/// The byte position so many characters further on, at most the text's end.
fn after_characters(text: &str, start: usize, characters: usize) -> usize {
    text[start..].char_indices().nth(characters).map_or(text.len(), |(offset, _)| start + offset)
}

/// Where the snippet begins: behind the last end of a sentence or line within the lead, else at the lead's length.
fn sentence_start(text: &str, anchor: usize) -> usize {
    let mut start = anchor;
    for (position, character) in text[..anchor].char_indices().rev().take(LEAD_CHARACTERS) {
        if matches!(character, '。' | '．' | '！' | '？' | '\n' | '\u{c}') {
            break;
        }
        start = position;
    }
    start
}

/// Turns matches in bytes of the original into highlights in characters of what is shown.
struct Marker {
    /// Sorted by their beginning.
    matches: std::vec::IntoIter<Range<usize>>,
    next: Option<Range<usize>>,
    /// Everything before this byte belongs to a match already seen.
    marked_to: usize,
}

impl Marker {
    fn new(matches: &[Match], window_start: usize) -> Self {
        let inside = matches.iter().map(|found| found.bytes.clone()).filter(|bytes| bytes.end > window_start);
        let mut matches = inside.collect::<Vec<_>>().into_iter();
        let next = matches.next();
        Self { matches, next, marked_to: 0 }
    }

    /// The character at byte `position` is shown as character number `count`; positions only grow.
    fn mark(&mut self, position: usize, count: usize, highlights: &mut Vec<Range<usize>>) {
        while let Some(found) = self.next.take_if(|found| found.start <= position) {
            self.marked_to = self.marked_to.max(found.end);
            self.next = self.matches.next();
        }
        if position >= self.marked_to {
            return;
        }
        match highlights.last_mut().filter(|last| last.end == count) {
            Some(last) => last.end = count + 1,
            None => highlights.push(count..count + 1),
        }
    }
}

/// The window on one line: line ends and runs of blanks become one blank, or nothing between Japanese characters.
fn cut(text: &str, window: Range<usize>, matches: &[Match]) -> Snippet {
    let mut marker = Marker::new(matches, window.start);
    let mut highlights = Vec::new();
    let mut shown = String::new();
    let mut count = 0;
    let mut blank_pending = false;
    if window.start > 0 {
        shown.push('…');
        count += 1;
    }
    for (offset, character) in text[window.clone()].char_indices() {
        if character.is_whitespace() || character.is_control() {
            blank_pending = offset > 0;
            continue;
        }
        let between_wide = !character.is_ascii() && shown.chars().next_back().is_some_and(|last| !last.is_ascii());
        if blank_pending && !between_wide {
            shown.push(' ');
            count += 1;
        }
        blank_pending = false;
        marker.mark(window.start + offset, count, &mut highlights);
        shown.push(character);
        count += 1;
    }
    if window.end < text.len() {
        shown.push('…');
    }
    Snippet { text: shown, highlights }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(words: &[&str]) -> Vec<Phrase> {
        words.iter().map(|word| atoms(word).collect()).collect()
    }

    fn marked(text: &str, words: &[&str]) -> String {
        snippet(text, &phrases(words)).marked("【", "】")
    }

    #[test]
    fn matches_are_marked_in_the_original_writing() {
        assert_eq!(marked("市道の道路台帳。", &["道路"]), "市道の【道路】台帳。");
        assert_eq!(marked("ｶﾞｰﾄﾞﾚｰﾙ と ＰＣ橋", &["ガード", "pc"]), "【ｶﾞｰﾄﾞ】ﾚｰﾙと【ＰＣ】橋");
        assert_eq!(marked("The Bridge, the bridges", &["bridge"]), "The 【Bridge】, the bridges");
        assert_eq!(marked("何もない", &["橋"]), "何もない");
        assert_eq!(marked("", &["橋"]), "");
    }

    #[test]
    fn the_best_place_holds_most_of_the_words() {
        let text =
            format!("橋だけ。{}ここに橋と耐震補強がある。{}", "無関係な文。".repeat(100), "終わり。".repeat(100));
        let shown = marked(&text, &["橋", "耐震補強"]);
        assert!(shown.starts_with("…ここに【橋】と【耐震補強】がある。"), "{shown}");
        assert!(shown.ends_with('…'), "{shown}");
        assert!(shown.chars().count() < 170);
    }

    #[test]
    fn a_word_that_a_line_end_cuts_is_one_match_on_one_line() {
        assert_eq!(marked("耐震補\n強工事 of\nbridges", &["耐震補強"]), "【耐震補強】工事 of bridges");
    }

    #[test]
    fn adjacent_and_overlapping_matches_become_one() {
        assert_eq!(marked("道路橋示方書", &["道路橋", "路橋示"]), "【道路橋示】方書");
    }

    #[test]
    fn names_are_shown_as_they_are() {
        assert_eq!(highlighted("橋 梁/a\tb.pdf", &phrases(&["橋梁"])).marked("[", "]"), "[橋 梁]/a\tb.pdf");
    }

    #[test]
    fn a_match_at_the_very_end_is_shown() {
        let text = format!("{}耐震", "あ".repeat(5_000));
        assert!(marked(&text, &["耐震"]).ends_with("あ【耐震】"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_cut(text in "[あ-ん橋a-c \n。ﾞ]{0,400}", word in "[あ-ん橋a-cﾞ]{1,3}") {
            let found = snippet(&text, &phrases(&[&word]));
            let length = found.text.chars().count();
            let mut last = 0;
            for highlight in &found.highlights {
                proptest::prop_assert!(highlight.start >= last && highlight.end > highlight.start);
                last = highlight.end;
            }
            proptest::prop_assert!(last <= length);
        }
    }
}
