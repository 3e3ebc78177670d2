//! JSON: the text as it stands, with `\u9053\u8def` as 道路. Many programs write every character beyond ASCII that
//! way, and nobody searches for escapes. The rest needs no parser: names and values are both words to search for.

use super::bounds::Budget;
use super::{Section, Source, StructuredFile, gone};
use crate::document::{Failure, Reason};
use crate::extract::{metadata, text};

/// Reads a file.
///
/// # Errors
/// `unsupported_format` when it is binary after all, `not_found` when the spooled file is gone.
pub fn read(source: &mut dyn Source, _budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let Some(file) = text::read(source).map_err(|error| gone(&error))? else {
        return Err(Failure::new(Reason::UnsupportedFormat, "The file begins like a text, but is binary."));
    };
    let section = Section { text: without_escapes(&file.text), truncated: file.truncated };
    let mut read = StructuredFile::of_section(section);
    metadata::insert_text(&mut read.metadata, "encoding", file.encoding);
    Ok(read)
}

/// Escapes of printable characters beyond ASCII become the characters; all others stay.
fn without_escapes(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(position) = rest.find('\\') {
        let (before, escape) = rest.split_at(position);
        text.push_str(before);
        // A backslash that is itself escaped takes its partner along.
        let (character, length) = escaped_character(escape).map_or((None, 2), |(c, length)| (Some(c), length));
        let length = escape.ceil_char_boundary(length.min(escape.len()));
        match character.filter(|character| !character.is_ascii() && !character.is_control()) {
            Some(character) => text.push(character),
            None => text.push_str(&escape[..length]),
        }
        rest = &escape[length..];
    }
    text.push_str(rest);
    text
}

/// The character of `\uXXXX`, or of two of them that are a pair, and the length of what stood for it.
fn escaped_character(escape: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, 6));
    }
    let pair = char::decode_utf16([first, unit(6)?]).next()?.ok()?;
    Some((pair, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_the_characters_that_people_search_for() {
        for (source, expected) in [
            (r#"{"a": "\u9053\u8DEF\n\u2460"}"#, r#"{"a": "道路\n①"}"#),
            (r#""\ud842\udfb7野家""#, r#""𠮷野家""#),
            (r#""C:\\u9053" "\u0041 \u0000 \ud842 \u12" \"#, r#""C:\\u9053" "\u0041 \u0000 \ud842 \u12" \"#),
            ("plain 道路 \\道", "plain 道路 \\道"),
        ] {
            assert_eq!(without_escapes(source), expected);
        }
    }
}
