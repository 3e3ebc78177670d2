//! Strings of old Excel records, which may go on in the records that continue them (MS-XLS 2.5.293, 2.5.294).

use encoding_rs::Encoding;

use super::ole::utf_16;

/// How a string's characters are written.
#[derive(Clone, Copy, Debug)]
pub enum Width {
    /// A byte before them says: one byte each, or UTF-16.
    Flagged,
    /// Bytes of a code page, as before Excel 97.
    Bytes(&'static Encoding),
}

/// A record and what continues it, read from front to back.
pub struct Pieces<'a> {
    pieces: Vec<&'a [u8]>,
    piece: usize,
    position: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(pieces: Vec<&'a [u8]>) -> Pieces<'a> {
        Pieces { pieces, piece: 0, position: 0 }
    }

    /// A string after its length in two bytes; `None` at the end.
    pub fn long_string(&mut self, width: Width) -> Option<String> {
        let length = usize::from(u16::from_le_bytes([self.byte()?, self.byte()?]));
        self.string(length, width)
    }

    /// A string after its length in one byte.
    pub fn short_string(&mut self, width: Width) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.string(length, width)
    }

    /// Characters after the byte that says how wide they are.
    pub fn characters(&mut self, length: usize) -> Option<String> {
        let flags = self.byte()?;
        self.wide_or_narrow(length, flags & 1 != 0)
    }

    fn string(&mut self, length: usize, width: Width) -> Option<String> {
        if let Width::Bytes(encoding) = width {
            let bytes: Vec<u8> = (0..length).map_while(|_| self.byte()).collect();
            return Some(encoding.decode_without_bom_handling(&bytes).0.into_owned());
        }
        let flags = self.byte()?;
        let runs = if flags & 8 != 0 { usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])) } else { 0 };
        let extension = if flags & 4 != 0 {
            u32::from_le_bytes([self.byte()?, self.byte()?, self.byte()?, self.byte()?]) as usize
        } else {
            0
        };
        let text = self.wide_or_narrow(length, flags & 1 != 0)?;
        // Formats of parts of the text, and the readings above it.
        self.skip(runs * 4 + extension);
        Some(text)
    }

    /// Where the characters go on in the next piece, it says anew how wide they are.
    fn wide_or_narrow(&mut self, length: usize, mut is_wide: bool) -> Option<String> {
        let mut text = String::new();
        let mut left = length;
        loop {
            let rest = self.pieces.get(self.piece)?.get(self.position..)?;
            let size = if is_wide { 2 } else { 1 };
            let here = left.min(rest.len() / size);
            let bytes = &rest[..here * size];
            if is_wide {
                text.push_str(&utf_16(bytes));
            } else {
                // The lower halves of UTF-16.
                text.extend(bytes.iter().map(|byte| char::from(*byte)));
            }
            self.position += here * size;
            left -= here;
            if left == 0 {
                return Some(text);
            }
            self.piece += 1;
            self.position = 1;
            is_wide = self.pieces.get(self.piece)?.first()? & 1 != 0;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        loop {
            let piece = self.pieces.get(self.piece)?;
            if let Some(byte) = piece.get(self.position) {
                self.position += 1;
                return Some(*byte);
            }
            self.piece += 1;
            self.position = 0;
        }
    }

    fn skip(&mut self, mut bytes: usize) {
        while let Some(piece) = self.pieces.get(self.piece) {
            let here = bytes.min(piece.len() - self.position.min(piece.len()));
            self.position += here;
            bytes -= here;
            if bytes == 0 {
                return;
            }
            self.piece += 1;
            self.position = 0;
        }
    }
}
