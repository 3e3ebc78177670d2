//! A document under assembly: the answers that came so far, kept within bounds.
//!
//! A child has been handed hostile bytes and may say anything. Each of its frames is capped, but a thousand pages
//! of a frame each would still be eight gigabytes in the parent, so what is kept of a document has a bound of its own.

use std::collections::BTreeMap;

use crate::document::{Failure, MetadataValue, Reason};
use crate::pool::child::failed_page;
use crate::pool::extraction::Extraction;
use crate::pool::protocol::{Opened, Page, PageSource};

/// Text kept of one document. The index takes under 1,000,000 UTF-16 units (contract §3), which are at most 3 MB
/// of UTF-8; the first that many of a document are always among what is kept.
pub const MAX_DOCUMENT_TEXT_BYTES: usize = 6 * 1024 * 1024;

const MAX_METADATA_ENTRIES: usize = 100;
const MAX_METADATA_TEXT_BYTES: usize = 4 * 1024;
const MAX_METADATA_NAME_BYTES: usize = 128;
const MAX_MIME_TYPE_BYTES: usize = 128;
const MAX_DETAIL_BYTES: usize = 1024;
/// A JPEG of contract §3's 200 × 200 has some 10 KB.
const MAX_THUMBNAIL_BYTES: usize = 1024 * 1024;

/// What is known of a document, page by page.
#[derive(Debug, Default)]
pub struct Assembly {
    extraction: Extraction,
    pages: BTreeMap<u32, Page>,
    text_bytes: usize,
}

impl Assembly {
    pub fn opened(&mut self, opened: Opened) {
        self.mime_type(Some(opened.mime_type));
        self.extraction.page_count = opened.paginated.then_some(opened.page_count);
        self.extraction.metadata = opened.metadata.into_iter().take(MAX_METADATA_ENTRIES).map(bound_entry).collect();
    }

    pub fn mime_type(&mut self, mime_type: Option<String>) {
        self.extraction.mime_type = mime_type.map(|name| cut(name, MAX_MIME_TYPE_BYTES));
    }

    /// Keeps a page. Over the bound, the text of the last pages goes: the index cuts there anyway.
    pub fn page(&mut self, mut page: Page) {
        if page.source == PageSource::Failed && page.failure.is_none() {
            page.failure = Some(Failure::new(Reason::Crashed, "the page failed without a reason"));
        }
        page.failure = page.failure.map(bound_failure);
        self.text_bytes += page.text.len();
        self.pages.insert(page.number, page);
        while self.text_bytes > MAX_DOCUMENT_TEXT_BYTES {
            let excess = self.text_bytes - MAX_DOCUMENT_TEXT_BYTES;
            let Some(last) = self.pages.values_mut().rev().find(|page| !page.text.is_empty()) else { return };
            let length_before = last.text.len();
            last.text = cut(std::mem::take(&mut last.text), length_before.saturating_sub(excess));
            last.truncated = true;
            self.text_bytes -= length_before - last.text.len();
        }
    }

    pub fn failed_page(&mut self, number: u32, failure: Failure) {
        self.page(failed_page(number, failure));
    }

    pub fn thumbnail(&mut self, jpeg: Option<Vec<u8>>) {
        self.extraction.thumbnail = jpeg.filter(|bytes| bytes.len() <= MAX_THUMBNAIL_BYTES);
    }

    /// The document as a whole failed. The first reason stays.
    pub fn failed(&mut self, failure: Failure) {
        self.extraction.failure.get_or_insert(bound_failure(failure));
    }

    pub fn pages_done(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    pub fn finish(mut self) -> Extraction {
        self.extraction.pages = self.pages.into_values().collect();
        self.extraction
    }
}

fn bound_entry((name, value): (String, MetadataValue)) -> (String, MetadataValue) {
    let bounded = match value {
        MetadataValue::Text(text) => MetadataValue::Text(cut(text, MAX_METADATA_TEXT_BYTES)),
        number @ MetadataValue::Number(_) => number,
    };
    (cut(name, MAX_METADATA_NAME_BYTES), bounded)
}

fn bound_failure(failure: Failure) -> Failure {
    Failure { reason: failure.reason, detail: cut(failure.detail, MAX_DETAIL_BYTES) }
}

/// At most `limit` bytes of `text`, whole characters, without keeping the memory of the rest.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32, text: String) -> Page {
        Page { text, source: PageSource::Text, failure: None, ..failed_page(number, Failure::new(Reason::Corrupt, "")) }
    }

    #[test]
    fn pages_come_out_in_order_however_they_came_in() {
        let mut assembly = Assembly::default();
        for number in [3, 1, 2] {
            assembly.page(page(number, number.to_string()));
        }
        let texts: Vec<String> = assembly.finish().pages.into_iter().map(|page| page.text).collect();
        assert_eq!(texts, ["1", "2", "3"]);
    }

    #[test]
    fn too_much_text_is_cut_at_the_end_and_not_where_it_arrived_last() {
        let mut assembly = Assembly::default();
        let half = "あ".repeat(MAX_DOCUMENT_TEXT_BYTES / 6);
        assembly.page(page(3, half.clone()));
        assembly.page(page(2, half.clone()));
        assembly.page(page(1, half.clone()));
        let pages = assembly.finish().pages;
        assert_eq!(pages[0].text, half);
        assert!(!pages[0].truncated);
        assert_eq!((pages[2].text.len(), pages[2].truncated), (0, true));
        assert!(pages.iter().map(|page| page.text.len()).sum::<usize>() <= MAX_DOCUMENT_TEXT_BYTES);
    }

    #[test]
    fn what_a_child_says_beside_the_text_is_bounded() {
        let mut assembly = Assembly::default();
        let metadata = (0..5000).map(|n| (n.to_string(), MetadataValue::Text("y".repeat(100_000)))).collect();
        let (mime_type, page_count) = ("x".repeat(100_000), 1);
        assembly.opened(Opened { mime_type, page_count, paginated: false, has_text_layer: true, metadata });
        assembly.thumbnail(Some(vec![0; MAX_THUMBNAIL_BYTES + 1]));
        assembly.failed(Failure::new(Reason::Corrupt, "z".repeat(100_000)));
        assembly.failed(Failure::new(Reason::Timeout, "later"));
        let extraction = assembly.finish();
        assert_eq!(extraction.metadata.len(), MAX_METADATA_ENTRIES);
        assert_eq!(extraction.mime_type.unwrap().len(), MAX_MIME_TYPE_BYTES);
        assert_eq!((extraction.page_count, extraction.thumbnail), (None, None));
        let failure = extraction.failure.unwrap();
        assert_eq!((failure.reason, failure.detail.len()), (Reason::Corrupt, MAX_DETAIL_BYTES));
    }
}
