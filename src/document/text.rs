//! The text of a document out of the texts of its pages: joined, counted, and cut at what the index can bear.
//!
//! Pages are taken one at a time, so a document of any size costs no more memory than the text that is kept. Words
//! and characters are counted over all of it, also over what is cut off.

/// The most UTF-16 units of `extracted_text` (contract §3: under 1,000,000): a longer field makes the index's
/// highlighter fail the whole search, and it counts as Java does.
pub const MAX_TEXT_UTF16_UNITS: usize = 999_999;

/// Between two pages: a blank line. No space, which would split words of Japanese for the index's tokenizer.
const PAGE_SEPARATOR: &str = "\n\n";

/// How far a cut moves back to keep marks with their base character. Longer runs are no language.
const MAX_MARKS_KEPT: usize = 16;

/// What a document's pages come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedText {
    /// At most [`MAX_TEXT_UTF16_UNITS`].
    pub text: String,
    /// Something of the pages is not in `text`.
    pub truncated: bool,
    /// See [`count_words`]; over all pages.
    pub word_count: u32,
    /// Unicode characters (scalar values) that are not white space, over all pages. White space is left out because
    /// it is layout, and different for the same page read by a text layer and by OCR.
    pub char_count: u32,
}

/// Joins pages in their order; pages without text leave no trace.
pub fn join_pages<'a>(pages: impl IntoIterator<Item = &'a str>) -> JoinedText {
    join_pages_within(pages, MAX_TEXT_UTF16_UNITS)
}

fn join_pages_within<'a>(pages: impl IntoIterator<Item = &'a str>, max_utf16_units: usize) -> JoinedText {
    let mut joined = JoinedText::default();
    let mut units_left = max_utf16_units;
    for page in pages {
        let clean = clean_page(page);
        if clean.is_empty() {
            continue;
        }
        joined.word_count = joined.word_count.saturating_add(count_words(&clean));
        joined.char_count = joined.char_count.saturating_add(count_characters(&clean));
        // Once something is missing, what comes later stays out too: a text has an end, but no holes.
        if joined.truncated {
            continue;
        }
        let separator = if joined.text.is_empty() { "" } else { PAGE_SEPARATOR };
        let kept = cut_at_utf16_units(&clean, units_left.saturating_sub(separator.len()));
        joined.truncated = kept.len() < clean.len();
        if !kept.is_empty() {
            joined.text.push_str(separator);
            joined.text.push_str(kept);
            units_left -= separator.len() + kept.encode_utf16().count();
        }
    }
    joined
}

/// One kind of line end, no control characters, nothing blank around the text.
fn clean_page(page: &str) -> String {
    let mut clean = String::with_capacity(page.len());
    let mut characters = page.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\n' | '\t' => clean.push(character),
            '\u{feff}' => {}
            control if control.is_control() => {}
            other => clean.push(other),
        }
    }
    let end = clean.trim_end().len();
    clean.truncate(end);
    let start = clean.len() - clean.trim_start_matches(['\n', '\t', ' ', '\u{3000}']).len();
    clean.drain(..start);
    clean
}

/// The longest beginning of the text that has at most `max_units` UTF-16 units and does not end between a character
/// and the marks upon it.
pub fn cut_at_utf16_units(text: &str, max_units: usize) -> &str {
    // UTF-8 never has fewer bytes than UTF-16 has units.
    if text.len() <= max_units {
        return text;
    }
    let mut units = 0;
    let limit = text.char_indices().find_map(|(index, character)| {
        units += character.len_utf16();
        (units > max_units).then_some(index)
    });
    let Some(limit) = limit else {
        return text;
    };
    &text[..before_marks(text, limit)]
}

/// `limit`, or the place before the character whose marks it would cut off.
fn before_marks(text: &str, limit: usize) -> usize {
    let mut end = limit;
    for _ in 0..MAX_MARKS_KEPT {
        let follows_a_mark = text[end..].chars().next().is_some_and(attaches_to_the_character_before);
        let Some(previous) = text[..end].chars().next_back().filter(|_| follows_a_mark) else {
            return end;
        };
        end -= previous.len_utf8();
    }
    limit
}

/// Combining marks of the scripts that occur here, voiced-sound marks, variation selectors (also those of kanji
/// variants) and the joiner.
fn attaches_to_the_character_before(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{3099}' | '\u{309a}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{ff9e}' | '\u{ff9f}' | '\u{e0100}'..='\u{e01ef}')
}

fn count_characters(text: &str) -> u32 {
    let count = text.chars().filter(|character| !character.is_whitespace()).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What a character does to the word it stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Ends a word: white space, punctuation, symbols.
    Break,
    /// Latin and every other script that puts spaces between words, and digits.
    Spaced,
    Kanji,
    Hiragana,
    Katakana,
}

/// Counts words so that the number means something for Japanese, which writes none apart (contract §3).
///
/// A word is a run of one script: 道路 の 設計 は CAD で 行 う is eight. That counts compounds of kanji and words in
/// katakana as one each, as a reader would, and particles and endings in hiragana as one each. It needs no dictionary,
/// is the same on every machine, and does not depend on spaces that OCR puts between characters or leaves out, except
/// inside a run. In scripts with spaces a word ends at a space or punctuation; `3.14`, `1,000` and `don't` are one.
pub fn count_words(text: &str) -> u32 {
    let mut words: u32 = 0;
    let mut script = Script::Break;
    let mut previous = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied().unwrap_or(' ');
        let stays_in_word = attaches_to_the_character_before(character)
            || character == 'ー'
            || character == 'ｰ'
            || joins_its_neighbours(previous, character, next);
        if !(stays_in_word && script != Script::Break) {
            let new_script = script_of(character);
            if new_script != Script::Break && new_script != script {
                words = words.saturating_add(1);
            }
            script = new_script;
        }
        previous = character;
    }
    words
}

/// A point or comma between digits, an apostrophe between letters.
fn joins_its_neighbours(previous: char, character: char, next: char) -> bool {
    match character {
        '.' | ',' => previous.is_ascii_digit() && next.is_ascii_digit(),
        '\'' | '’' => is_spaced_letter(previous) && is_spaced_letter(next),
        _ => false,
    }
}

fn is_spaced_letter(character: char) -> bool {
    character.is_alphabetic() && script_of(character) == Script::Spaced
}

fn script_of(character: char) -> Script {
    match character {
        '々'
        | '〆'
        | '〇'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}' => Script::Kanji,
        '\u{3041}'..='\u{3096}' | '\u{309d}'..='\u{309f}' => Script::Hiragana,
        '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}' => {
            Script::Katakana
        }
        other if other.is_alphanumeric() => Script::Spaced,
        _ => Script::Break,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_are_joined_by_a_blank_line() {
        let joined = join_pages(["道路\n", "", " \n\u{3000}", "\n設計\r\nCAD\u{c}"]);
        assert_eq!(joined.text, "道路\n\n設計\nCAD");
        assert!(!joined.truncated);
        assert_eq!((joined.word_count, joined.char_count), (3, 7));
        assert_eq!(join_pages([]), JoinedText::default());
    }

    #[test]
    fn control_characters_do_not_reach_the_index() {
        assert_eq!(join_pages(["a\0b\u{1b}[0m\tc\rd\u{feff}\u{85}e"]).text, "ab[0m\tc\nd\ne");
    }

    #[test]
    fn the_text_ends_within_the_limit_and_says_so() {
        let page = "あ".repeat(400_000);
        let joined = join_pages([page.as_str(), &page, &page, "末尾"]);
        assert_eq!(joined.text.encode_utf16().count(), MAX_TEXT_UTF16_UNITS);
        assert!(joined.truncated);
        assert!(!joined.text.contains('末'), "no later page after a hole");
        assert_eq!(joined.char_count, 1_200_002, "counted before the cut");
        assert_eq!(joined.word_count, 4);
    }

    #[test]
    fn a_text_of_exactly_the_limit_is_whole() {
        let joined = join_pages_within(["abcd", "efgh"], 10);
        assert_eq!((joined.text.as_str(), joined.truncated), ("abcd\n\nefgh", false));
        let joined = join_pages_within(["abcd", "efgh"], 9);
        assert_eq!((joined.text.as_str(), joined.truncated), ("abcd\n\nefg", true));
        for limit in 4..=6 {
            let joined = join_pages_within(["abcd", "efgh"], limit);
            assert_eq!((joined.text.as_str(), joined.truncated), ("abcd", true), "no separator at the end");
        }
    }

    #[test]
    fn a_cut_falls_between_characters() {
        for (text, max_units, expected) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("abc", 0, ""),
            ("あいう", 2, "あい"),
            // One character, two units.
            ("a𠮷b", 2, "a"),
            ("a𠮷b", 3, "a𠮷"),
            // が in decomposed form stays whole.
            ("xか\u{3099}", 2, "x"),
            ("xか\u{3099}", 3, "xか\u{3099}"),
            ("xe\u{301}\u{302}y", 3, "x"),
            // A variant of 葛, chosen by a selector of two units.
            ("葛\u{e0100}城", 2, ""),
            ("葛\u{e0100}城", 3, "葛\u{e0100}"),
        ] {
            assert_eq!(cut_at_utf16_units(text, max_units), expected, "{text} at {max_units}");
        }
    }

    #[test]
    fn endless_marks_are_cut_where_the_limit_is() {
        let pathological = format!("a{}", "\u{301}".repeat(100));
        assert_eq!(cut_at_utf16_units(&pathological, 50).chars().count(), 50);
    }

    #[test]
    fn words_are_runs_of_one_script() {
        for (text, expected) in [
            ("", 0),
            ("  \n、。「」—…", 0),
            ("the quick brown fox", 4),
            ("don't stop: 3.14, 1,000 and v1.2", 6),
            ("a.b", 2),
            ("道路", 1),
            ("道路の設計はCADで行う", 8),
            ("コンクリート構造物", 2),
            ("らーめん", 1),
            ("ｺﾝｸﾘｰﾄ", 1),
            ("人々", 1),
            ("平成30年3月15日", 7),
            ("ＡＢＣ１２３", 1),
            ("か\u{3099}っこう", 1),
            ("東京・大阪", 2),
            ("ーー", 1),
            ("한국어 문서", 2),
            ("Straße naïve", 2),
            ("file_name-2.pdf", 4),
        ] {
            assert_eq!(count_words(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_is_a_beginning_within_the_limit(text in any::<String>(), max_units in 0_usize..80) {
            let cut = cut_at_utf16_units(&text, max_units);
            prop_assert!(text.starts_with(cut));
            prop_assert!(cut.encode_utf16().count() <= max_units);
            // Not more is lost than the marks of one character and a surrogate's half.
            let lost = max_units.min(text.encode_utf16().count()) - cut.encode_utf16().count();
            prop_assert!(lost <= 2 * MAX_MARKS_KEPT + 1, "{} lost", lost);
        }

        #[test]
        fn any_pages_are_joined_within_the_limit(
            pages in proptest::collection::vec("[a-z\u{300}\u{301}か𠮷\r\n\u{c}\u{0} ]{0,20}", 0..8),
            max_units in 0_usize..60,
        ) {
            let whole = join_pages(pages.iter().map(String::as_str));
            let joined = join_pages_within(pages.iter().map(String::as_str), max_units);
            prop_assert!(joined.text.encode_utf16().count() <= max_units);
            prop_assert!(whole.text.starts_with(&joined.text));
            prop_assert_eq!(joined.truncated, joined.text != whole.text);
            prop_assert_eq!((joined.word_count, joined.char_count), (whole.word_count, whole.char_count));
        }
    }
}
