//! CCITT fax compression as TIFF uses it (ITU-T T.4 and T.6; TIFF 6.0, sections 10 and 11): modified Huffman, Group 3
//! in one and two dimensions, Group 4.
//!
//! The code tables are the `fax` crate's. Its line decoders are not used, because they know neither the first form nor
//! two dimensions in Group 3, and give up at the first damaged line, while paper that came over a telephone line has
//! some: a fax machine repeats the line above instead, and so does this.

use std::convert::Infallible;

use fax::maps::{black, white};
use fax::{BitReader, ByteReader};

/// How lines follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaxScheme {
    /// TIFF's compression 2: runs only, each line begins at a whole byte, no end-of-line codes.
    ModifiedHuffman,
    /// Compression 3, T.4: lines end with a code, after which a bit may tell in how many dimensions the next one is.
    Group3 { two_dimensional: bool },
    /// Compression 4, T.6.
    Group4,
}

/// More than this share of lines that are damaged or missing: no longer a page with a few scratches.
const MAX_DAMAGED_SHARE: f64 = 0.1;

/// An end-of-line code is at least so many zeros and a one (T.4, 2.2.3).
const END_OF_LINE_ZEROS: u8 = 11;

/// Zeros behind the data, so that a code at the very end can be looked up like every other one.
const PADDING_BYTES: usize = 4;

/// The data are no lines of this width, or too many of them are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Positions at which the colour changes, white before the first; increasing, each less than the width.
type Changes = Vec<u32>;

/// Why no line came.
enum NoLine {
    /// The mark of the end, or nothing is left.
    End { marked: bool },
    /// The codes make no line.
    Broken,
}

/// Decodes `height` lines of `width` pixels to bits: a line begins at a whole byte, high bit first, black is 1. Lines
/// behind a mark of the end are white: some programs leave out the white rest of a page.
///
/// # Errors
/// When more than a few lines cannot be had.
pub fn decode(data: &[u8], width: u32, height: u32, scheme: FaxScheme) -> Result<Vec<u8>, Damaged> {
    let row_bytes = (width as usize).div_ceil(8);
    let mut rows = vec![0; row_bytes * height as usize];
    let mut lines = lines_of(data, width, scheme);
    let mut damaged = 0;
    for (number, row) in (0..height).zip(rows.chunks_exact_mut(row_bytes)) {
        match lines.next_line() {
            Ok(()) => {}
            Err(NoLine::End { marked: true }) => break,
            Err(NoLine::End { marked: false }) => {
                damaged += height - number;
                break;
            }
            Err(NoLine::Broken) => {
                damaged += 1;
                if !lines.find_next_line() {
                    damaged += height - number - 1;
                    break;
                }
            }
        }
        paint(row, &lines.above, width);
    }
    if f64::from(damaged) > f64::from(height) * MAX_DAMAGED_SHARE { Err(Damaged) } else { Ok(rows) }
}

/// Sets the bits of the black runs.
fn paint(row: &mut [u8], changes: &[u32], width: u32) {
    for run in changes.chunks(2) {
        let end = run.get(1).copied().unwrap_or(width);
        let (mut position, end) = (run[0] as usize, end as usize);
        while position < end {
            if position.is_multiple_of(8) && end - position >= 8 {
                row[position / 8] = 0xFF;
                position += 8;
            } else {
                row[position / 8] |= 0x80 >> (position % 8);
                position += 1;
            }
        }
    }
}

struct Lines<I: Iterator<Item = Result<u8, Infallible>>> {
    bits: ByteReader<I>,
    width: u32,
    scheme: FaxScheme,
    /// The last good line, which the next one may refer to.
    above: Changes,
}

fn lines_of(data: &[u8], width: u32, scheme: FaxScheme) -> Lines<impl Iterator<Item = Result<u8, Infallible>>> {
    let padded = data.iter().copied().chain([0; PADDING_BYTES]).map(Ok);
    let bits = ByteReader::new(padded).unwrap_or_else(|never: Infallible| match never {});
    Lines { bits, width, scheme, above: Changes::new() }
}

impl<I: Iterator<Item = Result<u8, Infallible>>> Lines<I> {
    /// Reads the next line into `above`.
    fn next_line(&mut self) -> Result<(), NoLine> {
        let line = match self.scheme {
            FaxScheme::ModifiedHuffman => {
                if self.bits.peek(1).is_none() {
                    return Err(NoLine::End { marked: false });
                }
                let line = self.line_of_runs();
                self.consume(self.bits.bits_to_byte_boundary());
                line
            }
            FaxScheme::Group3 { two_dimensional } => {
                let is_next_in_one_dimension = self.skip_end_of_line(two_dimensional)?;
                if is_next_in_one_dimension { self.line_of_runs() } else { self.line_of_differences() }
            }
            FaxScheme::Group4 => {
                if self.bits.peek(12) == Some(1) || self.bits.peek(1).is_none() {
                    return Err(NoLine::End { marked: self.bits.peek(12) == Some(1) });
                }
                self.line_of_differences()
            }
        };
        self.above = line.ok_or(NoLine::Broken)?;
        Ok(())
    }

    /// After a broken line: goes on to where the next one begins, if that can be known.
    fn find_next_line(&mut self) -> bool {
        // Modified Huffman and Group 4 have no mark to find.
        while matches!(self.scheme, FaxScheme::Group3 { .. }) && self.bits.peek(1).is_some() {
            if self.is_end_of_line_ahead() {
                return true;
            }
            self.consume(1);
        }
        false
    }

    fn consume(&mut self, bits: u8) {
        self.bits.consume(bits).unwrap_or_else(|never| match never {});
    }

    fn is_end_of_line_ahead(&self) -> bool {
        self.bits.peek(END_OF_LINE_ZEROS) == Some(0)
    }

    /// Passes the end-of-line code before a Group 3 line, if there is one, and tells whether the line is in one
    /// dimension.
    fn skip_end_of_line(&mut self, two_dimensional: bool) -> Result<bool, NoLine> {
        if !self.is_end_of_line_ahead() {
            // Written without codes for the ends of lines; then nothing tells of two dimensions either.
            return if self.bits.peek(1).is_none() { Err(NoLine::End { marked: false }) } else { Ok(true) };
        }
        while self.bits.peek(1) == Some(0) {
            self.consume(1);
        }
        if self.bits.peek(1).is_none() {
            return Err(NoLine::End { marked: false });
        }
        self.consume(1);
        let is_next_in_one_dimension = !two_dimensional || self.bits.peek(1) == Some(1);
        if two_dimensional {
            self.consume(1);
        }
        // Nothing between two such codes: the end of the page (T.4, 2.2.4).
        if self.is_end_of_line_ahead() {
            return Err(NoLine::End { marked: true });
        }
        Ok(is_next_in_one_dimension)
    }

    /// T.4, 2.2: runs of white and black in turn.
    fn line_of_runs(&mut self) -> Option<Changes> {
        let mut line = Changes::new();
        let (mut position, mut is_black) = (0, false);
        while position < self.width {
            position += self.run(is_black)?;
            if position > self.width {
                return None;
            }
            add_change(&mut line, position, self.width);
            is_black = !is_black;
        }
        Some(line)
    }

    /// The length of a run: any number of make-up codes and a terminating one.
    fn run(&mut self, is_black: bool) -> Option<u32> {
        let mut length = 0;
        loop {
            let part = if is_black { black::decode(&mut self.bits) } else { white::decode(&mut self.bits) }?;
            length += u32::from(part);
            if length > self.width {
                return None;
            }
            if part < 64 {
                return Some(length);
            }
        }
    }

    /// T.4, 4.2 and T.6, 2.2: what is different from the line above.
    fn line_of_differences(&mut self) -> Option<Changes> {
        let mut line = Changes::new();
        let mut above = Above { changes: std::mem::take(&mut self.above), next: 0 };
        let done = self.differences(&mut line, &mut above);
        self.above = above.changes;
        done.map(|()| line)
    }

    fn differences(&mut self, line: &mut Changes, above: &mut Above) -> Option<()> {
        // Before the first pixel, and so before a change of the line above at position 0.
        let mut position: Option<u32> = None;
        let mut is_black = false;
        while position.is_none_or(|position| position < self.width) {
            let start = position.unwrap_or(0);
            let first = above.first_change_after(position, is_black);
            let (b1, b2) = (above.at(first, self.width), above.at(first + 1, self.width));
            match self.mode()? {
                Mode::Pass => position = Some(b2),
                Mode::Horizontal => {
                    let middle = start + self.run(is_black)?;
                    let end = middle + self.run(!is_black)?;
                    if end > self.width {
                        return None;
                    }
                    add_change(line, middle, self.width);
                    add_change(line, end, self.width);
                    position = Some(end);
                }
                Mode::Vertical(shift) => {
                    let change = b1.checked_add_signed(shift)?;
                    if change < start || change > self.width {
                        return None;
                    }
                    add_change(line, change, self.width);
                    is_black = !is_black;
                    position = Some(change);
                }
            }
        }
        Some(())
    }

    /// T.4, table 4.
    fn mode(&mut self) -> Option<Mode> {
        let bits = self.bits.peek(7)?;
        let (mode, length) = match bits {
            0b100_0000.. => (Mode::Vertical(0), 1),
            0b011_0000.. => (Mode::Vertical(1), 3),
            0b010_0000.. => (Mode::Vertical(-1), 3),
            0b001_0000.. => (Mode::Horizontal, 3),
            0b000_1000.. => (Mode::Pass, 4),
            0b000_0110.. => (Mode::Vertical(2), 6),
            0b000_0100.. => (Mode::Vertical(-2), 6),
            0b000_0011 => (Mode::Vertical(3), 7),
            0b000_0010 => (Mode::Vertical(-3), 7),
            // Extensions, which nobody uses, and ends of lines, which do not belong here.
            _ => return None,
        };
        self.consume(length);
        Some(mode)
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Pass,
    Horizontal,
    /// So far right of the change above.
    Vertical(i32),
}

/// The line above, and how far it has been looked through.
struct Above {
    changes: Changes,
    next: usize,
}

impl Above {
    /// The index of b1 (T.4, 4.2.1.1): the first change right of `position` to the other colour than `is_black`. Changes
    /// to black have even indexes.
    fn first_change_after(&mut self, position: Option<u32>, is_black: bool) -> usize {
        let is_after = |change: u32| position.is_none_or(|position| change > position);
        while self.next > 0 && is_after(self.changes[self.next.min(self.changes.len()) - 1]) {
            self.next = self.next.min(self.changes.len()) - 1;
        }
        while self.changes.get(self.next).is_some_and(|change| !is_after(*change)) {
            self.next += 1;
        }
        self.next + usize::from((self.next % 2 == 1) != is_black)
    }

    fn at(&self, index: usize, width: u32) -> u32 {
        self.changes.get(index).copied().unwrap_or(width)
    }
}

/// Two changes at one position are none; at the end of the line there is none.
fn add_change(line: &mut Changes, position: u32, width: u32) {
    if line.last() == Some(&position) {
        line.pop();
    } else if position < width {
        line.push(position);
    }
}
