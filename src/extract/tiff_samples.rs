//! TIFF pages with one sample of 1, 2, 4 or 8 bits a pixel: faxes, scans in black and white, greys and palettes.
//!
//! The `tiff` crate reads none of the palettes, of the fax compressions only Group 4, and takes no notice of the order
//! of bits; old scanners and fax servers write all of that. So for these pages only its directory is taken, and the
//! strips or tiles are read here.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;
use image::{DynamicImage, GrayImage, RgbImage};
use tiff::decoder::Decoder;
use tiff::tags::Tag;
use weezl::BitOrder;

use super::fax_lines::{self, FaxScheme};
use super::image_file::MAX_DECODED_BYTES;
use crate::document::{Failure, Reason};

/// Compression (TIFF 6.0, section 3, and its supplements).
const UNCOMPRESSED: u16 = 1;
const MODIFIED_HUFFMAN: u16 = 2;
const GROUP_3: u16 = 3;
const GROUP_4: u16 = 4;
const LZW: u16 = 5;
const DEFLATE: u16 = 8;
const OLD_DEFLATE: u16 = 32_946;
const PACK_BITS: u16 = 32_773;

/// PhotometricInterpretation.
const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;

/// FillOrder: the first pixel is in the lowest bit.
const LOW_BIT_FIRST: u16 = 2;

/// T4Options: the Group 3 lines are in two dimensions (bit 0).
const TWO_DIMENSIONAL: u32 = 1;

/// Predictor: differences between neighbours in a row.
const HORIZONTAL_DIFFERENCES: u16 = 2;

/// What compression may add: no scheme here makes data this much longer than they were, so that what a directory claims
/// beyond is not read.
const MAX_GROWTH: u64 = 16;
const MAX_OVERHEAD_BYTES: u64 = 64 * 1024;

/// How the page's samples are stored.
#[derive(Debug)]
pub struct SampleLayout {
    width: u32,
    height: u32,
    bits: u8,
    compression: u16,
    two_dimensional: bool,
    is_low_bit_first: bool,
    has_differences: bool,
    /// What each value of a sample looks like.
    colours: Colours,
    is_tiled: bool,
    chunk_width: u32,
    chunk_height: u32,
    offsets: Vec<u64>,
    byte_counts: Vec<u64>,
}

#[derive(Debug)]
enum Colours {
    Grey(Vec<u8>),
    Palette(Vec<[u8; 3]>),
}

impl SampleLayout {
    /// Of the decoder's current directory; `None` when the page is of another kind.
    pub fn of<R: Read + Seek>(decoder: &mut Decoder<R>) -> Option<SampleLayout> {
        let (width, height) = decoder.dimensions().ok()?;
        let mut number = |tag| decoder.find_tag_unsigned::<u32>(tag).ok().flatten();
        let short = |value: Option<u32>, default: u16| value.map_or(Some(default), |value| u16::try_from(value).ok());
        let samples = short(number(Tag::SamplesPerPixel), 1)?;
        let compression = short(number(Tag::Compression), UNCOMPRESSED)?;
        let photometric = short(number(Tag::PhotometricInterpretation), WHITE_IS_ZERO)?;
        let fill_order = short(number(Tag::FillOrder), 1)?;
        let predictor = short(number(Tag::Predictor), 1)?;
        let t4_options = number(Tag::Unknown(292)).unwrap_or(0);
        let rows_per_strip = number(Tag::RowsPerStrip).unwrap_or(u32::MAX);
        let tile = number(Tag::TileWidth).zip(number(Tag::TileLength));
        let bits = u8::try_from(list(decoder, Tag::BitsPerSample).first().copied().unwrap_or(1)).ok()?;
        let is_integer = list(decoder, Tag::SampleFormat).first().is_none_or(|format| *format == 1);
        let is_fax = matches!(compression, MODIFIED_HUFFMAN | GROUP_3 | GROUP_4);
        let is_known = is_fax || matches!(compression, UNCOMPRESSED | LZW | DEFLATE | OLD_DEFLATE | PACK_BITS);
        let has_differences = predictor == HORIZONTAL_DIFFERENCES && !is_fax;
        let is_ours = samples == 1
            && is_integer
            && matches!(bits, 1 | 2 | 4 | 8)
            && is_known
            && (!is_fax || bits == 1)
            && (!has_differences || bits == 8)
            && matches!(predictor, 1 | HORIZONTAL_DIFFERENCES);
        if !is_ours {
            return None;
        }
        let (chunk_width, chunk_height, offsets, byte_counts) = match tile {
            Some((across, down)) => (across, down, Tag::TileOffsets, Tag::TileByteCounts),
            None => (width, rows_per_strip.min(height), Tag::StripOffsets, Tag::StripByteCounts),
        };
        Some(SampleLayout {
            width,
            height,
            bits,
            compression,
            two_dimensional: t4_options & TWO_DIMENSIONAL != 0,
            is_low_bit_first: fill_order == LOW_BIT_FIRST,
            has_differences,
            colours: colours(decoder, photometric, bits)?,
            is_tiled: tile.is_some(),
            chunk_width: chunk_width.max(1),
            chunk_height: chunk_height.max(1),
            offsets: list(decoder, offsets),
            byte_counts: list(decoder, byte_counts),
        })
    }

    /// Reads and decodes the page.
    ///
    /// # Errors
    /// `corrupt` when a strip or tile is missing or its data are no picture.
    pub fn decode<R: Read + Seek>(&self, file: &mut R) -> Result<DynamicImage, Failure> {
        let chunk_bytes = self.row_bytes() as u64 * u64::from(self.chunk_height);
        if chunk_bytes > MAX_DECODED_BYTES as u64 {
            return Err(damaged("its tiles are larger than any picture"));
        }
        let chunks_across = self.width.div_ceil(self.chunk_width);
        let chunks = u64::from(chunks_across) * u64::from(self.height.div_ceil(self.chunk_height));
        if chunks > self.offsets.len().min(self.byte_counts.len()) as u64 {
            return Err(damaged("it has fewer strips or tiles than it needs"));
        }
        match &self.colours {
            Colours::Grey(shades) => {
                let mut grey = GrayImage::new(self.width, self.height);
                self.paint(file, chunks_across, &mut grey, shades, |pixel: &mut [u8; 1], shade| pixel[0] = *shade)?;
                Ok(grey.into())
            }
            Colours::Palette(palette) => {
                let mut colour = RgbImage::new(self.width, self.height);
                self.paint(file, chunks_across, &mut colour, palette, |pixel: &mut [u8; 3], rgb| *pixel = *rgb)?;
                Ok(colour.into())
            }
        }
    }

    /// Decodes chunk by chunk into `pixels` of `N` bytes.
    fn paint<R: Read + Seek, const N: usize, C>(
        &self,
        file: &mut R,
        chunks_across: u32,
        pixels: &mut [u8],
        colours: &[C],
        set: impl Fn(&mut [u8; N], &C),
    ) -> Result<(), Failure> {
        let (pixels, _) = pixels.as_chunks_mut::<N>();
        let row_bytes = self.row_bytes();
        for (number, (offset, byte_count)) in self.offsets.iter().zip(&self.byte_counts).enumerate() {
            let left = (number % chunks_across as usize) * self.chunk_width as usize;
            let top = (number / chunks_across as usize) * self.chunk_height as usize;
            if top >= self.height as usize {
                break;
            }
            let rows = (self.chunk_height as usize).min(self.height as usize - top);
            // Tiles are whole, also where they reach over the picture's edge.
            let stored_rows = if self.is_tiled { self.chunk_height as usize } else { rows };
            let data = self.chunk(file, *offset, *byte_count, stored_rows)?;
            let width = (self.chunk_width as usize).min(self.width as usize - left);
            for (row, packed) in data.chunks_exact(row_bytes).take(rows).enumerate() {
                let start = (top + row) * self.width as usize + left;
                let samples = unpack(packed, self.bits);
                for (pixel, sample) in pixels[start..start + width].iter_mut().zip(samples) {
                    // Every value that so many bits can have has a colour.
                    set(pixel, &colours[usize::from(sample)]);
                }
            }
        }
        Ok(())
    }

    fn row_bytes(&self) -> usize {
        (self.chunk_width as usize * usize::from(self.bits)).div_ceil(8)
    }

    /// The decoded rows of a strip or tile.
    fn chunk<R: Read + Seek>(
        &self,
        file: &mut R,
        offset: u64,
        byte_count: u64,
        rows: usize,
    ) -> Result<Vec<u8>, Failure> {
        let decoded_bytes = self.row_bytes() * rows;
        let most = decoded_bytes as u64 * MAX_GROWTH + MAX_OVERHEAD_BYTES;
        let mut stored = Vec::new();
        let read = file.seek(SeekFrom::Start(offset));
        let read = read.and_then(|_| file.by_ref().take(byte_count.min(most)).read_to_end(&mut stored));
        read.map_err(|error| damaged(&error.to_string()))?;
        if self.is_low_bit_first {
            stored.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        }
        let mut decoded = match self.compression {
            MODIFIED_HUFFMAN => self.fax(&stored, rows, FaxScheme::ModifiedHuffman)?,
            GROUP_3 => self.fax(&stored, rows, FaxScheme::Group3 { two_dimensional: self.two_dimensional })?,
            GROUP_4 => self.fax(&stored, rows, FaxScheme::Group4)?,
            LZW => exactly(decoded_bytes, lzw(&stored, decoded_bytes))?,
            DEFLATE | OLD_DEFLATE => exactly(decoded_bytes, inflated(&stored, decoded_bytes))?,
            PACK_BITS => exactly(decoded_bytes, Ok(unpacked_runs(&stored, decoded_bytes)))?,
            _ => exactly(decoded_bytes, Ok(stored))?,
        };
        if self.has_differences {
            for row in decoded.chunks_exact_mut(self.row_bytes()) {
                for column in 1..row.len() {
                    row[column] = row[column].wrapping_add(row[column - 1]);
                }
            }
        }
        Ok(decoded)
    }

    fn fax(&self, stored: &[u8], rows: usize, scheme: FaxScheme) -> Result<Vec<u8>, Failure> {
        let height = u32::try_from(rows).map_err(|_| damaged("it has too many rows"))?;
        fax_lines::decode(stored, self.chunk_width, height, scheme).map_err(|_| damaged("its fax lines are broken"))
    }
}

/// The values of a tag; none when it is missing or of another type.
fn list<R: Read + Seek>(decoder: &mut Decoder<R>, tag: Tag) -> Vec<u64> {
    decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten().unwrap_or_default()
}

/// What the values of a sample look like; `None` for other meanings than shades and colours.
fn colours<R: Read + Seek>(decoder: &mut Decoder<R>, photometric: u16, bits: u8) -> Option<Colours> {
    let brightest = (1_u32 << bits) - 1;
    let shades = (0..=brightest).map(|value| (value * 255 / brightest) as u8);
    match photometric {
        BLACK_IS_ZERO => Some(Colours::Grey(shades.collect())),
        WHITE_IS_ZERO => Some(Colours::Grey(shades.rev().collect())),
        PALETTE => {
            // 16 bits a value, all reds first; some programs wrote 8.
            let entries = 1_usize << bits;
            let map = list(decoder, Tag::ColorMap);
            if map.len() < 3 * entries {
                return None;
            }
            let shift = if map.iter().all(|value| *value < 256) { 0 } else { 8 };
            let value = |position: usize| (map[position] >> shift) as u8;
            let entry = |entry: usize| [value(entry), value(entries + entry), value(2 * entries + entry)];
            Some(Colours::Palette((0..entries).map(entry).collect()))
        }
        _ => None,
    }
}

/// The samples of a row: packed from the high bit on.
fn unpack(packed: &[u8], bits: u8) -> impl Iterator<Item = u8> {
    let mask = (u16::MAX >> (16 - bits)) as u8;
    packed.iter().flat_map(move |byte| (1..=8 / bits).map(move |sample| (byte >> (8 - bits * sample)) & mask))
}

/// TIFF's LZW, high bit first with its early change of the code's length.
fn lzw(stored: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let mut decoded = vec![0; limit];
    let (mut read, mut written) = (0, 0);
    while written < limit {
        let step = decoder.decode_bytes(&stored[read..], &mut decoded[written..]);
        read += step.consumed_in;
        written += step.consumed_out;
        let status = step.status.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        if matches!(status, weezl::LzwStatus::Done) || (step.consumed_in == 0 && step.consumed_out == 0) {
            break;
        }
    }
    decoded.truncate(written);
    Ok(decoded)
}

fn inflated(stored: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    ZlibDecoder::new(stored).take(limit as u64).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// TIFF 6.0, section 9: a byte n < 128 before n + 1 bytes as they are, one above 128 before a byte that stands for 257 − n.
fn unpacked_runs(stored: &[u8], limit: usize) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(limit.min(stored.len().saturating_mul(64)));
    let mut rest = stored;
    while let [head, tail @ ..] = rest
        && decoded.len() < limit
    {
        let head = usize::from(*head);
        rest = match head {
            128 => tail,
            0..128 => {
                let (literal, after) = tail.split_at((head + 1).min(tail.len()));
                decoded.extend_from_slice(literal);
                after
            }
            _ => {
                let (repeated, after) = tail.split_at(1.min(tail.len()));
                decoded.extend(repeated.iter().flat_map(|byte| std::iter::repeat_n(*byte, 257 - head)));
                after
            }
        };
    }
    decoded.truncate(limit);
    decoded
}

fn exactly(bytes: usize, decoded: io::Result<Vec<u8>>) -> Result<Vec<u8>, Failure> {
    let mut decoded = decoded.map_err(|error| damaged(&error.to_string()))?;
    if decoded.len() < bytes {
        return Err(damaged("it ends too early"));
    }
    decoded.truncate(bytes);
    Ok(decoded)
}

fn damaged(how: &str) -> Failure {
    Failure::new(Reason::Corrupt, format!("The TIFF image is damaged: {how}."))
}

#[cfg(test)]
mod tests;
