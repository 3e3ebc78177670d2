//! Text as readers and search engines want it.
//!
//! Tesseract puts a space between most Japanese characters, and PDF text layers do so where letters were spaced out.
//! kuromoji would then split 道 路 into two words, so no space may stand between two CJK characters (contract §3).
//! Between Latin words, and between Latin and Japanese, one space stays where there was any. A tab is no space: it
//! stands between the cells of a row, and stays.

/// Removes spaces between CJK characters, runs of spaces and tabs and of blank lines, trailing spaces and control characters.
pub fn clean_page_text(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut blank_lines = 0;
    for line in text.split(['\n', '\r', '\u{c}', '\u{b}', '\u{2028}', '\u{2029}']) {
        let line = clean_line(line);
        if line.is_empty() {
            blank_lines += 1;
            continue;
        }
        if !cleaned.is_empty() {
            cleaned.push('\n');
            if blank_lines > 0 {
                cleaned.push('\n');
            }
        }
        blank_lines = 0;
        cleaned.push_str(&line);
    }
    cleaned
}

/// One line: control characters gone, no space between CJK characters, none at either end. Tabs, which separate cells,
/// stay.
fn clean_line(line: &str) -> String {
    let mut cleaned = String::with_capacity(line.len());
    let mut after_space = false;
    let mut after_tab = false;
    for character in line.chars().filter(|character| is_space(*character) || !is_invisible_control(*character)) {
        if is_space(character) {
            after_space = true;
            after_tab |= character == '\t';
            continue;
        }
        let previous = cleaned.chars().next_back();
        let between_cjk = previous.is_some_and(is_cjk) && is_cjk(character);
        if after_tab && previous.is_some() {
            cleaned.push('\t');
        } else if after_space && previous.is_some() && !between_cjk {
            cleaned.push(' ');
        }
        (after_space, after_tab) = (false, false);
        cleaned.push(character);
    }
    cleaned
}

fn is_space(character: char) -> bool {
    character.is_whitespace() && !matches!(character, '\n' | '\r' | '\u{85}')
}

/// Control characters and zero-width marks that only get in the way of search.
fn is_invisible_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Kanji, kana, CJK punctuation and full-width forms: characters of a script that is written without spaces.
pub fn is_cjk(character: char) -> bool {
    matches!(u32::from(character),
        0x2E80..=0x2FDF        // radicals
        | 0x3001..=0x30FF      // punctuation, kana; not the ideographic space U+3000
        | 0x3105..=0x312F      // bopomofo
        | 0x3190..=0x4DBF      // kanbun, kana extensions, enclosed and square forms, extension A
        | 0x4E00..=0x9FFF      // unified ideographs
        | 0xF900..=0xFAFF      // compatibility ideographs
        | 0xFE30..=0xFE4F      // vertical punctuation
        | 0xFF01..=0xFF9F      // full-width forms, half-width kana
        | 0xFFE0..=0xFFE6      // full-width signs
        | 0x1B000..=0x1B16F    // historic kana
        | 0x1F200..=0x1F2FF    // enclosed ideographs
        | 0x20000..=0x3FFFF) // extensions B and later
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spaces_between_cjk_characters_go() {
        assert_eq!(clean_page_text("道 路 台 帳"), "道路台帳");
        assert_eq!(clean_page_text("サ ー バ ー"), "サーバー");
        assert_eq!(clean_page_text("平成　元年   度、 です"), "平成元年度、です");
        assert_eq!(clean_page_text("（ 株 ） ＡＢＣ"), "（株）ＡＢＣ");
    }

    #[test]
    fn spaces_beside_latin_stay() {
        assert_eq!(clean_page_text("Debian 開発者 リファレンス Release 12"), "Debian 開発者リファレンス Release 12");
        assert_eq!(clean_page_text("600   500\u{3000}図 1"), "600 500 図 1");
    }

    #[test]
    fn cells_stay_apart() {
        assert_eq!(clean_page_text("\t橋梁 番号 \t\t 橋 名\tA B\t"), "橋梁番号\t橋名\tA B");
    }

    #[test]
    fn lines_are_trimmed_and_blank_runs_collapse() {
        assert_eq!(clean_page_text("\n\n 一  \r\n\r\n\r\n\n二\t\n\u{c}"), "一\n\n二");
    }

    #[test]
    fn a_space_between_two_lines_is_no_space_between_two_characters() {
        assert_eq!(clean_page_text("道\n路"), "道\n路");
    }

    #[test]
    fn control_characters_go() {
        assert_eq!(clean_page_text("a\u{0}b\u{2}c\u{feff}\u{7f}"), "abc");
    }

    proptest! {
        #[test]
        fn only_spaces_and_controls_are_lost(text in "[a-c道路ー、１ \u{3000}\u{a0}\t\n\u{2}]{0,60}") {
            let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect::<String>();
            prop_assert_eq!(visible(&clean_page_text(&text)), visible(&text));
        }

        #[test]
        fn no_space_is_left_between_cjk_characters(text in "[ab道路ー、１ \u{3000}\u{a0}\t\n]{0,60}") {
            let cleaned = clean_page_text(&text);
            for line in cleaned.lines() {
                let characters: Vec<char> = line.chars().collect();
                for start in 0..characters.len() {
                    let spaces = characters[start + 1..].iter().take_while(|c| c.is_whitespace() && **c != '\t').count();
                    let next = characters.get(start + 1 + spaces);
                    prop_assert!(spaces == 0 || !is_cjk(characters[start]) || !next.is_some_and(|c| is_cjk(*c)));
                }
            }
        }

        #[test]
        fn cleaning_twice_changes_nothing(text in "\\PC{0,60}") {
            let once = clean_page_text(&text);
            prop_assert_eq!(clean_page_text(&once), once);
        }
    }
}
