//! PowerPoint 97–2003 presentations (.ppt): a section for each slide in the order of the show, with its notes, comments,
//! header and footer.
//!
//! A file is saved by adding to its end, so that old states of a slide stay in it; the newest directory of objects tells
//! which are valid (MS-PPT 2.1.2, 2.3.4).

use std::collections::HashMap;

use super::bounds::Budget;
use super::ole::{Container, u16_at, u32_at, utf_16};
use super::package::encrypted;
use super::text_sink::TextSink;
use super::{StructuredFile, ole_pictures};
use crate::document::{Failure, Reason};

/// Containers in containers.
const MAX_DEPTH: u32 = 40;
/// Earlier states of the file that are followed.
const MAX_EDITS: usize = 10_000;
/// Records of the whole file: slides that overlap must not multiply the work.
const MAX_RECORDS: usize = 5_000_000;

const SLIDE: u16 = 1006;
const SLIDE_ATOM: u16 = 1007;
const NOTES: u16 = 1008;
const SLIDE_PERSIST: u16 = 1011;
const TEXT_UTF_16: u16 = 4000;
const TEXT_BYTES: u16 = 4008;
const STRING: u16 = 4026;
const HEADERS_FOOTERS: u16 = 4057;
const SLIDE_LIST: u16 = 4080;
const USER_EDIT: u16 = 4085;
const TAG_DATA: u16 = 5003;
const DIRECTORY: u16 = 6002;
const COMMENT: u16 = 12_000;

/// Marks a presentation with a password in the stream that points to the newest state.
const ENCRYPTED_TOKEN: u32 = 0xF3D1_C4DF;

/// Reads the presentation in a container.
///
/// # Errors
/// `encrypted`, `corrupt`, `archive_bomb`
pub fn read(container: &mut Container<'_>, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let stream = container.stream("PowerPoint Document", budget)?.unwrap_or_default();
    let user = container.stream("Current User", budget)?.unwrap_or_default();
    if u32_at(&user, 12) == Some(ENCRYPTED_TOKEN) {
        return Err(encrypted());
    }
    let mut show = Show { stream: &stream, left: MAX_RECORDS, sink: TextSink::new() };
    let newest = u32_at(&user, 16).and_then(|offset| objects(&stream, offset as usize));
    let slides = match newest {
        Some((document, objects)) => show.append_document(document, &objects),
        None => None,
    };
    // Without a directory, whatever slides there are.
    let count = match slides {
        Some(count) => count,
        None => show.append_all_slides(),
    };
    if show.left == 0 {
        show.sink.mark_truncated();
    }
    if count == 0 && show.sink.is_empty() && Record::at(&stream, 0).is_none() {
        return Err(Failure::new(Reason::Corrupt, "The presentation holds no readable record."));
    }
    let mut file = show.sink.finish();
    ole_pictures::add_from_stream(container, "Pictures", &mut file, budget);
    Ok(file)
}

/// A record of the stream.
#[derive(Clone, Copy)]
struct Record<'a> {
    is_container: bool,
    instance: u16,
    kind: u16,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    fn at(bytes: &'a [u8], offset: usize) -> Option<Record<'a>> {
        let first = u16_at(bytes, offset)?;
        let length = u32_at(bytes, offset.checked_add(4)?)? as usize;
        let start = offset.checked_add(8)?;
        let body = bytes.get(start..start.checked_add(length)?)?;
        Some(Record { is_container: first & 0xF == 0xF, instance: first >> 4, kind: u16_at(bytes, offset + 2)?, body })
    }

    fn children(&self) -> Vec<Record<'a>> {
        records(self.body)
    }
}

fn records(bytes: &[u8]) -> Vec<Record<'_>> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(record) = Record::at(bytes, offset) {
        found.push(record);
        offset += 8 + record.body.len();
    }
    found
}

/// The document's offset and the offsets of all objects, the newest state of each; `None` when the chain is damaged.
fn objects(stream: &[u8], newest: usize) -> Option<(usize, HashMap<u32, usize>)> {
    let mut objects = HashMap::new();
    let mut document = None;
    let mut offset = newest;
    for _ in 0..MAX_EDITS {
        let edit = Record::at(stream, offset).filter(|record| record.kind == USER_EDIT)?;
        document = document.or(u32_at(edit.body, 16));
        let directory =
            Record::at(stream, u32_at(edit.body, 12)? as usize).filter(|record| record.kind == DIRECTORY)?;
        add_objects(directory.body, &mut objects);
        offset = u32_at(edit.body, 8)? as usize;
        if offset == 0 {
            break;
        }
    }
    Some((*objects.get(&document?)?, objects))
}

/// Runs of objects: the first's number, how many, and where each is. Those that are known are newer.
fn add_objects(directory: &[u8], objects: &mut HashMap<u32, usize>) {
    let mut position = 0;
    while let Some(head) = u32_at(directory, position) {
        position += 4;
        for number in 0..head >> 20 {
            let Some(offset) = u32_at(directory, position) else { return };
            objects.entry((head & 0x000F_FFFF) + number).or_insert(offset as usize);
            position += 4;
        }
    }
}

/// A slide or a page of notes in the document's lists.
struct Listed<'a> {
    object: u32,
    /// What slides call their notes by.
    id: u32,
    texts: Vec<Record<'a>>,
}

struct Show<'a> {
    stream: &'a [u8],
    /// Records that may still be looked at.
    left: usize,
    sink: TextSink,
}

impl<'a> Show<'a> {
    /// The slides as the document lists them; `None` when there is no document.
    fn append_document(&mut self, document: usize, objects: &HashMap<u32, usize>) -> Option<usize> {
        let children = Record::at(self.stream, document)?.children();
        let slides = listed(&children, 0);
        let notes = listed(&children, 2);
        let object = |number: u32| Record::at(self.stream, *objects.get(&number)?);
        let found: Vec<_> = slides.iter().map(|slide| (slide, object(slide.object))).collect();
        let notes_by_id: HashMap<u32, Option<Record<'a>>> =
            notes.iter().map(|page| (page.id, object(page.object))).collect();
        for (slide, record) in found {
            for text in &slide.texts {
                self.text(text);
            }
            let Some(record) = record else {
                self.sink.mark_truncated();
                continue;
            };
            self.append(&record, 0);
            let atom = record.children().into_iter().find(|child| child.kind == SLIDE_ATOM);
            let notes_id = atom.and_then(|atom| u32_at(atom.body, 16)).filter(|id| *id != 0);
            if let Some(Some(page)) = notes_id.and_then(|id| notes_by_id.get(&id)) {
                self.append(page, 0);
            }
            self.sink.end_section();
        }
        Some(slides.len())
    }

    fn append_all_slides(&mut self) -> usize {
        let mut count = 0;
        for record in records(self.stream) {
            if matches!(record.kind, SLIDE | NOTES) {
                self.append(&record, 0);
                self.sink.end_section();
                count += usize::from(record.kind == SLIDE);
            }
        }
        count
    }

    /// All text in a record.
    fn append(&mut self, record: &Record<'_>, depth: u32) {
        if depth > MAX_DEPTH || self.sink.is_full() {
            self.sink.mark_truncated();
            return;
        }
        for child in record.children() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            match child.kind {
                TEXT_UTF_16 | TEXT_BYTES => self.text(&child),
                // Elsewhere strings are names of fonts and programs.
                STRING if record.kind == HEADERS_FOOTERS || record.kind == COMMENT && child.instance == 1 => {
                    self.text(&child);
                }
                _ if child.is_container || child.kind == TAG_DATA => self.append(&child, depth + 1),
                _ => {}
            }
        }
    }

    fn text(&mut self, record: &Record<'_>) {
        let text = match record.kind {
            // The lower halves of UTF-16.
            TEXT_BYTES => record.body.iter().map(|byte| char::from(*byte)).collect(),
            _ => utf_16(record.body),
        };
        // Single asterisks stand where numbers and dates of slides go.
        if text.trim() != "*" {
            self.sink.line(&text);
        }
    }
}

/// The list of slides (instance 0) or notes (2), with the texts that the list itself holds.
fn listed<'a>(document: &[Record<'a>], instance: u16) -> Vec<Listed<'a>> {
    let mut found: Vec<Listed<'a>> = Vec::new();
    for list in document.iter().filter(|record| record.kind == SLIDE_LIST && record.instance == instance) {
        for record in list.children() {
            match record.kind {
                SLIDE_PERSIST => found.push(Listed {
                    object: u32_at(record.body, 0).unwrap_or(0),
                    id: u32_at(record.body, 12).unwrap_or(0),
                    texts: Vec::new(),
                }),
                TEXT_UTF_16 | TEXT_BYTES => {
                    if let Some(last) = found.last_mut() {
                        last.texts.push(record);
                    }
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::structured::{made, ole};

    fn record(first: u16, kind: u16, body: &[u8]) -> Vec<u8> {
        [&first.to_le_bytes()[..], &kind.to_le_bytes(), &(body.len() as u32).to_le_bytes(), body].concat()
    }

    fn numbers(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn text(text: &str) -> Vec<u8> {
        record(0, TEXT_UTF_16, &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
    }

    /// An old state of a slide, the slide, and a document that lists it.
    fn presentation(token: u32) -> tempfile::NamedTempFile {
        let old = record(0xF, SLIDE, &text("古い"));
        let slide = record(0xF, SLIDE, &[text("橋梁\r点検"), record(0, TEXT_BYTES, b"*")].concat());
        let persist = record(0, SLIDE_PERSIST, &numbers(&[2, 0, 0, 256, 0]));
        let list = record(0xF, SLIDE_LIST, &[persist, text("表題")].concat());
        let document = record(0xF, 1000, &list);
        let at_slide = old.len();
        let at_document = at_slide + slide.len();
        let at_directory = at_document + document.len();
        let directory = record(0, DIRECTORY, &numbers(&[2 << 20 | 1, at_document as u32, at_slide as u32]));
        let at_edit = at_directory + directory.len();
        let edit = record(0, USER_EDIT, &numbers(&[0, 0, 0, at_directory as u32, 1, 3, 0]));
        let stream = [old, slide, document, directory, edit].concat();
        let user = record(0, 4086, &numbers(&[20, token, at_edit as u32]));
        made::container_file(&[("PowerPoint Document", &stream), ("Current User", &user)])
    }

    #[test]
    fn the_newest_state_of_listed_slides_is_read() {
        let read = made::read(ole::read, presentation(0xE391_C05F).path()).expect("read");
        assert_eq!((read.sections[0].text.as_str(), read.sections.len()), ("表題\n橋梁\n点検", 1));
    }

    #[test]
    fn a_password_is_a_reason() {
        let failure = made::read(ole::read, presentation(ENCRYPTED_TOKEN).path()).expect_err("encrypted");
        assert_eq!(failure.reason, Reason::Encrypted);
    }

    #[test]
    fn records_that_contain_each_other_without_end_are_left() {
        let mut stream = Vec::new();
        for _ in 0..10_000 {
            stream = record(0xF, SLIDE, &stream);
            if stream.len() > 2_000 {
                break;
            }
        }
        let file = made::container_file(&[("PowerPoint Document", &stream)]);
        assert!(made::read(ole::read, file.path()).expect("read").sections[0].truncated);
        let broken = made::container_file(&[("PowerPoint Document", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF".as_slice())]);
        assert_eq!(made::read(ole::read, broken.path()).expect_err("corrupt").reason, Reason::Corrupt);
    }

    #[test]
    fn a_corpus_presentation_is_read() {
        let Some(path) = made::corpus_file("simple.ppt") else { return };
        let text = made::read_text(ole::read, &path);
        println!("{text}");
        assert!(text.contains("Title") || text.contains("title"), "{text}");
    }
}
