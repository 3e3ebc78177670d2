//! The pieces that Rich Text is written in.

/// Letters of a control word that are looked at (RTF 1.9.1: 32).
const MAX_WORD_BYTES: usize = 32;

/// A piece of Rich Text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    Open,
    Close,
    /// A byte of text; line ends are none.
    Byte(u8),
    /// `\'8b`, and `\\`, `\{`, `\}`: a byte of text as well.
    Escaped(u8),
    /// `\*`: the next word may be passed over with its group.
    Star,
    /// `\~` and the like.
    Symbol(u8),
    Word(&'a str, Option<i32>),
}

/// Goes through the pieces.
pub struct Tokens<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(bytes: &'a [u8]) -> Tokens<'a> {
        Tokens { bytes, position: 0 }
    }

    /// Passes over binary data.
    pub fn skip_bytes(&mut self, count: i32) {
        self.position = self.position.saturating_add(usize::try_from(count).unwrap_or(0));
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.position;
        while self.peek().is_some_and(&wanted) {
            self.position += 1;
        }
        self.bytes.get(start..self.position).unwrap_or_default()
    }

    /// After a backslash.
    fn control(&mut self) -> Option<Token<'a>> {
        let first = self.peek()?;
        if first.is_ascii_alphabetic() {
            return Some(self.control_word());
        }
        self.position += 1;
        Some(match first {
            b'\'' => {
                let digits = self.bytes.get(self.position..self.position + 2)?;
                self.position += 2;
                let value = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                Token::Escaped(value.unwrap_or(b'?'))
            }
            b'\\' | b'{' | b'}' => Token::Escaped(first),
            b'*' => Token::Star,
            symbol => Token::Symbol(symbol),
        })
    }

    fn control_word(&mut self) -> Token<'a> {
        let letters = self.take_while(|byte| byte.is_ascii_alphabetic());
        let word = std::str::from_utf8(&letters[..letters.len().min(MAX_WORD_BYTES)]).unwrap_or_default();
        let is_negative = self.peek() == Some(b'-');
        self.position += usize::from(is_negative);
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i32>().ok());
        // One space ends the word and is no text.
        self.position += usize::from(self.peek() == Some(b' '));
        Token::Word(word, number.map(|number| if is_negative { -number } else { number }))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = self.peek()?;
            self.position += 1;
            return match byte {
                b'{' => Some(Token::Open),
                b'}' => Some(Token::Close),
                b'\\' => self.control(),
                b'\r' | b'\n' => continue,
                byte => Some(Token::Byte(byte)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_a_number_and_one_space() {
        let tokens: Vec<Token<'_>> = Tokens::new(b"{\\u-12  \\'8b\\*\\b\r\n\\~}").collect();
        let expected = [
            Token::Open,
            Token::Word("u", Some(-12)),
            Token::Byte(b' '),
            Token::Escaped(0x8B),
            Token::Star,
            Token::Word("b", None),
            Token::Symbol(b'~'),
            Token::Close,
        ];
        assert_eq!(tokens, expected);
    }
}
