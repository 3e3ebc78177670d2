//! The limit of one page's text.

/// UTF-16 units that a page keeps at most; the index cuts the whole document's text below 1,000,000 (contract §3), so
/// nothing that could be indexed is lost, and a page's answer fits its frame.
pub const MAX_PAGE_UTF16_UNITS: usize = 1_000_000;

/// Cuts at a character; says whether anything was cut.
pub fn limit_text(mut text: String, max_utf16_units: usize) -> (String, bool) {
    let mut units = 0;
    for (position, character) in text.char_indices() {
        units += character.len_utf16();
        if units > max_utf16_units {
            text.truncate(position);
            return (text, true);
        }
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(limit_text("道路".to_owned(), 2), ("道路".to_owned(), false));
        assert_eq!(limit_text("道路台".to_owned(), 2), ("道路".to_owned(), true));
        // A character of two units is kept whole or not at all.
        assert_eq!(limit_text("a𠮷b".to_owned(), 2), ("a".to_owned(), true));
        assert_eq!(limit_text("a𠮷b".to_owned(), 3), ("a𠮷".to_owned(), true));
    }
}
