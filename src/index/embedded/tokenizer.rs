//! The index's terms: each character alone and with its successor (1–2-grams), and each word.
//!
//! A dictionary would part words better, but the dictionary crates download at build time. Pairs with positions
//! find every string of two characters or more exactly, as a phrase; the single characters are there for queries
//! of one character.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::atoms::{Atom, Atoms, Content, atoms};

/// The name under which the schema knows this tokenizer. Another way of making terms needs another name, so that
/// an index made the old way is recognised.
pub const TOKENIZER_NAME: &str = "file_processor_grams_1";

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct GramTokenizer;

impl Tokenizer for GramTokenizer {
    type TokenStream<'text> = GramStream<'text>;

    fn token_stream<'text>(&'text mut self, text: &'text str) -> GramStream<'text> {
        GramStream {
            atoms: atoms(text),
            current: None,
            next: None,
            position: 0,
            state: State::Fresh,
            token: Token::default(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    /// The current piece was given alone; the pair that it begins may come.
    Alone,
    /// Nothing of the current piece is left.
    Spent,
}

/// The terms of one text.
pub struct GramStream<'text> {
    atoms: Atoms<'text>,
    current: Option<Atom>,
    next: Option<Atom>,
    position: usize,
    state: State,
    token: Token,
}

impl GramStream<'_> {
    fn step(&mut self) -> bool {
        match self.state {
            State::Fresh => {
                self.current = self.atoms.next();
                self.position = 0;
            }
            State::Alone | State::Spent => {
                self.current = self.next.take();
                self.position += 1;
            }
        }
        self.next = self.atoms.next();
        self.current.is_some()
    }

    fn give_alone(&mut self) {
        let Some(current) = &self.current else { return };
        self.token.text.clear();
        match &current.content {
            Content::Character(character) => self.token.text.push(*character),
            Content::Word(word) => self.token.text.push_str(word),
        }
        self.token.offset_from = current.start;
        self.token.offset_to = current.end;
        self.token.position = self.position;
        self.token.position_length = 1;
    }

    /// Adds the successor to the token given last, if the two are one run.
    fn give_pair(&mut self) -> bool {
        let Some(next) = self.next.as_ref().filter(|next| next.joined) else { return false };
        let Content::Character(character) = next.content else { return false };
        self.token.text.push(character);
        self.token.offset_to = next.end;
        true
    }
}

impl TokenStream for GramStream<'_> {
    fn advance(&mut self) -> bool {
        if self.state == State::Alone {
            self.state = State::Spent;
            if self.give_pair() {
                return true;
            }
        }
        if !self.step() {
            return false;
        }
        self.give_alone();
        self.state = State::Alone;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_alone_and_in_pairs_at_their_position() {
        let mut tokenizer = GramTokenizer;
        let mut stream = tokenizer.token_stream("H形鋼 ok");
        let mut terms = Vec::new();
        while stream.advance() {
            terms.push((stream.token().text.clone(), stream.token().position));
        }
        let expected = [("h", 0), ("形", 1), ("形鋼", 1), ("鋼", 2), ("ok", 3)];
        assert_eq!(terms, expected.map(|(text, position)| (text.to_owned(), position)));
    }
}
