//! A file inside another one: an attachment, an entry. Read by the same readers, within the same budget.

use std::io::Cursor;

use super::bounds::Budget;
use super::embedded::{self, Embedded, EmbeddedKind};
use super::{Section, StructuredFile};
use crate::extract::sniff::{self, Kind};
use crate::extract::text;

/// Adds what stands inside another file: a section with its name first, and after it all that can be read in it.
/// Of what is not read, the name is there to be found.
pub fn add_nested(outer: &mut StructuredFile, name: &str, bytes: Vec<u8>, budget: &mut Budget) {
    outer.push_section(Section { text: name.to_owned(), truncated: false });
    if !outer.has_room() {
        outer.mark_truncated();
        return;
    }
    let Ok(sniffed) = sniff::sniff(&mut Cursor::new(&bytes), name) else { return };
    let kind = match sniffed.kind {
        Kind::Pdf => EmbeddedKind::Pdf,
        Kind::Image(format) if embedded::may_be_page(&bytes, format) => EmbeddedKind::Picture(format),
        Kind::Image(_) => return,
        Kind::Text => return add_under_name(outer, read_text(&bytes)),
        Kind::Structured(reader) => {
            let read = budget.descend().and_then(|()| {
                let read = reader(&mut Cursor::new(&bytes), budget);
                budget.ascend();
                read
            });
            match read {
                Ok(file) => add_under_name(outer, file),
                Err(failure) => outer.fail(name, failure),
            }
            return;
        }
    };
    embedded::keep(outer, Embedded { name: name.to_owned(), kind, bytes });
}

/// The first section follows the name, which is the last thing that was added.
fn add_under_name(outer: &mut StructuredFile, mut inner: StructuredFile) {
    if let Some(named) = outer.sections.last_mut()
        && !inner.sections.is_empty()
    {
        let first = inner.sections.remove(0);
        named.text = format!("{}\n{}", named.text, first.text).trim().to_owned();
        named.truncated |= first.truncated;
    }
    outer.add(inner);
}

fn read_text(bytes: &[u8]) -> StructuredFile {
    let section =
        text::from_bytes(bytes).map(|file| Section { text: file.text, truncated: file.truncated }).unwrap_or_default();
    StructuredFile::of_section(section)
}
