//! Pictures in documents of Office 97–2003: pasted scans are as common there as in their successors.
//!
//! They stand as records of the drawing format (MS-ODRAW 2.2.23, "blips") in streams of different make: one after another
//! (PowerPoint), behind headers of Word's own, in pieces of an Excel record. All are found by the record's own header.

use super::StructuredFile;
use super::bounds::Budget;
use super::embedded::keep_if_page;
use super::ole::{Container, u16_at, u32_at};

/// Bytes of a stream that are looked through; more pictures than that are not kept anyway.
const MAX_STREAM_BYTES: u64 = 64 * 1024 * 1024;

/// A record's kind, instance, and the bytes between its header and the picture: one or two checksums of 16 bytes and a
/// tag. Drawings (EMF, WMF, PICT) and bitmaps without a file's header are left out.
const BLIPS: [(u16, u16, usize); 10] = [
    (0xF01D, 0x46A, 17),
    (0xF01D, 0x46B, 33),
    (0xF01D, 0x6E2, 17),
    (0xF01D, 0x6E3, 33),
    (0xF02A, 0x46A, 17),
    (0xF02A, 0x46B, 33),
    (0xF01E, 0x6E0, 17),
    (0xF01E, 0x6E1, 33),
    (0xF029, 0x6E4, 17),
    (0xF029, 0x6E5, 33),
];

const HEADER_BYTES: usize = 8;

/// Keeps the pictures in a stream that may be pages; many documents have no such stream.
pub fn add_from_stream(container: &mut Container<'_>, name: &str, file: &mut StructuredFile, budget: &mut Budget) {
    match container.beginning(name, MAX_STREAM_BYTES, budget) {
        Ok(Some((bytes, complete))) => {
            add_pictures(&bytes, file);
            if !complete {
                file.mark_truncated();
            }
        }
        Ok(None) => {}
        Err(failure) => file.fail("", failure),
    }
}

/// Keeps the pictures in these bytes that may be pages.
pub fn add_pictures(bytes: &[u8], file: &mut StructuredFile) {
    let mut position = 0;
    // The kind's upper byte, behind the instance and the kind's lower byte.
    while let Some(found) = bytes.get(position + 3..).and_then(|rest| rest.iter().position(|byte| *byte == 0xF0)) {
        position += found;
        let Some(picture) = picture_at(bytes, position) else {
            position += 1;
            continue;
        };
        position += HEADER_BYTES + picture.len();
        if !keep_if_page(file, picture.to_vec()) {
            return;
        }
    }
}

/// The picture in the record that begins here, if one does.
fn picture_at(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let (instance, kind) = (u16_at(bytes, position)? >> 4, u16_at(bytes, position + 2)?);
    let (_, _, before) = BLIPS.iter().find(|(of_kind, of_instance, _)| (*of_kind, *of_instance) == (kind, instance))?;
    let length = u32_at(bytes, position + 4)? as usize;
    let start = position + HEADER_BYTES;
    bytes.get(start + before..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::extract::structured::{made, ole};

    fn blip(kind: u16, instance: u16, checksums: usize, picture: &[u8]) -> Vec<u8> {
        let length = (16 * checksums + 1 + picture.len()) as u32;
        let head = [(instance << 4).to_le_bytes(), kind.to_le_bytes()].concat();
        [head, length.to_le_bytes().to_vec(), vec![0xF0; 16 * checksums + 1], picture.to_vec()].concat()
    }

    fn picture(format: image::ImageFormat, width: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image::GrayImage::new(width, 842).write_to(&mut bytes, format).expect("encode");
        bytes.into_inner()
    }

    #[test]
    fn pictures_are_found_between_other_records() {
        let (jpeg, png) = (picture(image::ImageFormat::Jpeg, 595), picture(image::ImageFormat::Png, 600));
        let stream = [
            vec![0xF0; 100],
            blip(0xF01D, 0x46A, 1, &jpeg),
            b"\x0F\0\x04\xF0\0\0\0\0".to_vec(),
            blip(0xF01E, 0x6E1, 2, &png),
            blip(0xF01A, 0x3D4, 1, b"a drawing"),
        ]
        .concat();
        let mut file = StructuredFile::default();
        add_pictures(&stream, &mut file);
        let kept: Vec<&[u8]> = file.embedded.iter().map(|embedded| embedded.bytes.as_slice()).collect();
        assert_eq!(kept, [jpeg, png]);
        // Cut anywhere, it is no picture, and no reason to stop.
        for length in [0, 3, 7, 104, 108, 130, stream.len() - 1] {
            add_pictures(&stream[..length], &mut StructuredFile::default());
        }
    }

    #[test]
    fn a_corpus_presentation_gives_its_pictures() {
        let Some(path) = made::corpus_file("simple.ppt") else { return };
        let read = made::read(ole::read, &path).expect("read");
        println!("{} pictures that may be pages", read.embedded.len());
    }
}
