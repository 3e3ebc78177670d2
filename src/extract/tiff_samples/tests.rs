//! TIFFs that are made here: one directory, one strip or tiles, any of the layouts that are read.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::extract::image_file::ImageSource;
use crate::extract::tiff_pages::TiffFile;

const LETTER: [&str; 8] = [
    "........................",
    "..######.......#........",
    "..#....#......###.......",
    "..#....#.....#####......",
    "..######....#######.....",
    "#......................#",
    "########################",
    ".#.#.#.#.#.#.#.#.#.#.#.#",
];

/// A little-endian TIFF; short values only, except where the data begin and how long they are.
fn tiff(tags: &[(u16, Vec<u16>)], chunks: &[Vec<u8>], is_tiled: bool) -> Vec<u8> {
    let (offsets, byte_counts) = if is_tiled { (324, 325) } else { (273, 279) };
    let mut entries: Vec<(u16, Vec<u16>)> = tags.to_vec();
    entries.extend([(offsets, Vec::new()), (byte_counts, Vec::new())]);
    entries.sort();
    let values_at = 8 + 2 + entries.len() * 12 + 4;
    let data_at = values_at + entries.iter().map(|(_, values)| values.len() * 2).sum::<usize>() + chunks.len() * 8;
    let mut directory = (entries.len() as u16).to_le_bytes().to_vec();
    let mut values_bytes: Vec<u8> = Vec::new();
    for (tag, values) in &entries {
        let (kind, bytes): (u16, Vec<u8>) = if *tag == offsets {
            let starts = chunks.iter().scan(data_at, |at, chunk| Some(std::mem::replace(at, *at + chunk.len())));
            (4, starts.flat_map(|start| (start as u32).to_le_bytes()).collect())
        } else if *tag == byte_counts {
            (4, chunks.iter().flat_map(|chunk| (chunk.len() as u32).to_le_bytes()).collect())
        } else {
            (3, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        };
        let count = bytes.len() / if kind == 4 { 4 } else { 2 };
        directory.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        directory.extend((count as u32).to_le_bytes());
        if bytes.len() <= 4 {
            directory.extend(bytes.iter().copied().chain([0; 4]).take(4));
        } else {
            directory.extend(((values_at + values_bytes.len()) as u32).to_le_bytes());
            values_bytes.extend(bytes);
        }
    }
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend(directory);
    file.extend([0; 4]);
    file.extend(&values_bytes);
    file.resize(data_at, 0);
    file.extend(chunks.concat());
    file
}

/// The tags of a picture of one strip.
fn tags(width: u16, height: u16, bits: u16, compression: u16, photometric: u16) -> Vec<(u16, Vec<u16>)> {
    let single = [(256, width), (257, height), (258, bits), (259, compression), (262, photometric), (278, height)];
    single.map(|(tag, value)| (tag, vec![value])).to_vec()
}

fn page(file: Vec<u8>) -> Result<DynamicImage, Failure> {
    TiffFile::open(&ImageSource::Bytes(file.into()))?.page(1, 1_000_000).map(|page| page.image)
}

/// As in [`LETTER`].
fn drawn(image: &DynamicImage) -> Vec<String> {
    let grey = image.to_luma8();
    let row = |pixels: &[u8]| pixels.iter().map(|shade| if *shade == 0 { '#' } else { '.' }).collect();
    grey.chunks(grey.width() as usize).map(row).collect()
}

/// Rows of packed bits, black is 1.
fn letter_bits() -> Vec<u8> {
    LETTER.iter().flat_map(|row| row.as_bytes().chunks(8)).map(byte_of).collect()
}

fn byte_of(pixels: &[u8]) -> u8 {
    pixels.iter().fold(0, |byte, pixel| byte << 1 | u8::from(*pixel == b'#'))
}

#[test]
fn faxes_in_every_compression_and_order_of_bits() {
    // Written by libtiff 4.5, which takes the black of a fax for white here (photometric interpretation 1).
    for (compression, options, data) in [
        (2, 0, "3502e035f8638a35c763940c35c7639e1035f9f9801c1b8e503543a1d0e8743a1d0e8743a1d0e870"),
        (3, 0, "0013502e0026bf0c714004d71d8e50300135c7639e10009afcfcc004706e3800a80013543a1d0e8743a1d0e8743a1d0e87"),
        (3, 1, "0019a8170014fc463c0066b8ec7281800be9c0066bf3f30013115001a80011354474474474474474474474474474474128"),
        (
            3,
            5,
            "00019a8170014fc463c0019ae3b1ca0600017d3800019afcfcc00131150001a8000113544744744744744744744744744744741280",
        ),
        (4, 0, "26a05e7e231f91dd3fd3e34ec45464d511d11d11d11d11d11d11d11d11d11d04a0020020"),
    ] {
        let data = hex::decode(data).expect("hexadecimal");
        let reversed = data.iter().map(|byte| byte.reverse_bits()).collect();
        for (order, data) in [(1, data), (2, reversed)] {
            let mut tags = tags(24, 8, 1, compression, 1);
            tags.extend([(292, vec![options]), (266, vec![order])]);
            let image = page(tiff(&tags, &[data], false)).expect("a page");
            assert_eq!(drawn(&image), LETTER, "compression {compression}, options {options}, order {order}");
        }
    }
}

#[test]
fn shades_and_palettes_of_every_depth() {
    for bits in [1_u16, 2, 4, 8] {
        let brightest = (1_u16 << bits) - 1;
        let packed = |black: u16, white: u16| -> Vec<u8> {
            let pixels = LETTER.concat().into_bytes();
            let samples = |chunk: &[u8]| {
                chunk.iter().fold(0_u16, |byte, pixel| byte << bits | if *pixel == b'#' { black } else { white }) as u8
            };
            pixels.chunks(8 / usize::from(bits)).map(samples).collect()
        };
        for (photometric, data) in [(0, packed(brightest, 0)), (1, packed(0, brightest))] {
            let image = page(tiff(&tags(24, 8, bits, 1, photometric), &[data], false)).expect("a page");
            assert_eq!(drawn(&image), LETTER, "{bits} bits, photometric interpretation {photometric}");
        }
        let mut with_palette = tags(24, 8, bits, 1, 3);
        let mut colours = vec![0_u16; 3 << bits];
        for (plane, value) in [0x1234, 0xABCD, 0x5678].into_iter().enumerate() {
            colours[(plane << bits) + 1] = value;
        }
        with_palette.push((320, colours));
        let image = page(tiff(&with_palette, &[packed(0, 1)], false)).expect("a page");
        assert_eq!(drawn(&image), LETTER, "a palette of {bits} bits");
        assert_eq!(image.to_rgb8().get_pixel(0, 0).0, [0x12, 0xAB, 0x56]);
    }
}

#[test]
fn runs_differences_tiles_and_strips() {
    // A literal row of three bytes each: the simplest way to write runs.
    let runs: Vec<u8> = letter_bits().chunks(3).flat_map(|row| [&[2], row].concat()).collect();
    assert_eq!(drawn(&page(tiff(&tags(24, 8, 1, 32_773, 0), &[runs], false)).expect("a page")), LETTER);
    assert_eq!(unpacked_runs(&[0xFE, 7, 0x80, 1, 8, 9, 0xFF], 10), [7, 7, 7, 8, 9], "a run, nothing, two bytes, cut");

    let mut differences = tags(3, 1, 8, 1, 1);
    differences.push((317, vec![2]));
    let image = page(tiff(&differences, &[vec![10, 20, 250]], false)).expect("a page");
    assert_eq!(image.to_luma8().into_raw(), [10, 30, 24]);

    let mut strips = tags(24, 8, 1, 1, 0);
    strips.retain(|(tag, _)| *tag != 278);
    strips.push((278, vec![3]));
    let chunks: Vec<Vec<u8>> = letter_bits().chunks(9).map(<[u8]>::to_vec).collect();
    assert_eq!(drawn(&page(tiff(&strips, &chunks, false)).expect("a page")), LETTER);

    // Tiles of 16 × 16 reach over the edges.
    let mut tiled = tags(24, 8, 1, 1, 0);
    tiled.retain(|(tag, _)| *tag != 278);
    tiled.extend([(322, vec![16]), (323, vec![16])]);
    let tile = |first: usize, bytes: usize| -> Vec<u8> {
        let rows = letter_bits();
        let mut tile: Vec<u8> =
            rows.chunks(3).flat_map(|row| row[first..first + bytes].iter().copied().chain([0]).take(2)).collect();
        tile.resize(32, 0);
        tile
    };
    assert_eq!(drawn(&page(tiff(&tiled, &[tile(0, 2), tile(2, 1)], true)).expect("a page")), LETTER);
}

#[test]
fn what_cannot_be_read_says_why() {
    let data = hex::decode("26a05e7e231f91dd3fd3e34ec45464d5").expect("hexadecimal");
    for (what, file, reason) in [
        ("a fax that is cut off", tiff(&tags(24, 8, 1, 4, 0), &[data[..8].to_vec()], false), Reason::Corrupt),
        ("a fax of noise", tiff(&tags(24, 8, 1, 3, 0), &[vec![0xA5; 40]], false), Reason::Corrupt),
        ("rows that are missing", tiff(&tags(24, 8, 1, 1, 0), &[vec![0; 9]], false), Reason::Corrupt),
        ("no strip", tiff(&tags(24, 8, 1, 1, 0), &[], false), Reason::Corrupt),
        ("old-style JPEG", tiff(&tags(24, 8, 8, 6, 6), &[vec![0xFF, 0xD8]], false), Reason::UnsupportedFormat),
        ("JBIG", tiff(&tags(24, 8, 1, 34_661, 0), &[vec![0; 9]], false), Reason::UnsupportedFormat),
    ] {
        assert_eq!(page(file).expect_err(what).reason, reason, "{what}");
    }
    let mut gigantic_tile = tags(24, 8, 1, 4, 0);
    gigantic_tile.extend([(322, vec![65_520]), (323, vec![65_520])]);
    assert!(page(tiff(&gigantic_tile, &[vec![0; 9]], true)).is_err());
}

#[test]
fn a_scratch_on_a_fax_is_covered_by_the_line_above() {
    // Twenty lines of one black pixel in the middle of eight, and one that is longer than a line can be.
    let line = "000000000001 1011 010 1011";
    let broken = "000000000001 11011";
    let text = [[line; 10].concat(), broken.to_owned(), [line; 10].concat()].concat();
    let bits: Vec<u8> = text.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    let data: Vec<u8> =
        bits.chunks(8).map(|byte| byte.iter().chain(&[0; 8]).take(8).fold(0, |all, bit| all << 1 | bit)).collect();
    let scheme = FaxScheme::Group3 { two_dimensional: false };
    assert_eq!(fax_lines::decode(&data, 9, 21, scheme), Ok([0b0000_1000, 0].repeat(21)));
    assert!(fax_lines::decode(&data, 9, 40, scheme).is_err(), "half of the lines are missing");
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_picture_or_a_reason(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        compression in prop_oneof![Just(1_u16), Just(2), Just(3), Just(4), Just(5), Just(8), Just(32_773)],
        bits in prop_oneof![Just(1_u16), Just(4), Just(8)],
        options in 0_u16..8,
        width in 1_u16..300,
        height in 1_u16..50,
    ) {
        let mut tags = tags(width, height, bits, compression, 0);
        tags.push((292, vec![options]));
        let _ = page(tiff(&tags, &[data], false));
    }

    #[test]
    fn a_group_4_page_reads_as_it_was_written(rows in proptest::collection::vec(any::<u64>(), 1..20), width in 1_u16..64) {
        let is_black = |row: u64, column: u16| row >> column & 1 == 1;
        let mut encoder = fax::encoder::Encoder::new(fax::VecWriter::new());
        for row in &rows {
            let colour = |column| if is_black(*row, column) { fax::Color::Black } else { fax::Color::White };
            encoder.encode_line((0..width).map(colour), width).expect("a line");
        }
        let data = encoder.finish().expect("an end").finish();
        let read = fax_lines::decode(&data, width.into(), rows.len() as u32, FaxScheme::Group4).expect("a page");
        for (row, packed) in rows.iter().zip(read.chunks(usize::from(width).div_ceil(8))) {
            for (column, sample) in (0..width).zip(unpack(packed, 1)) {
                prop_assert_eq!(sample == 1, is_black(*row, column));
            }
        }
    }

    #[test]
    fn any_directory_ends_in_a_picture_or_a_reason(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut with_head = b"II*\0\x08\0\0\0\x0a\0".to_vec();
        with_head.extend(file);
        if let Ok(mut decoder) = Decoder::new(Cursor::new(with_head))
            && let Some(layout) = SampleLayout::of(&mut decoder)
            && u64::from(layout.width) * u64::from(layout.height) < 1_000_000
        {
            let _ = layout.decode(decoder.inner());
        }
    }
}
