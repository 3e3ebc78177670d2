//! From all that is known about an object to its index document (contract §3).

use std::time::Duration;

use jiff::Timestamp;

use crate::event::ObjectEvent;
use crate::index::IndexedState;
use crate::pool::Extraction;
use crate::pool::protocol::{Page, PageSource};
use crate::store::ObjectState;

use super::dates::{format_date, parse_date};
use super::original_path::decode_original_path;
use super::paths::{LocationHints, locate};
use super::text::join_pages;
use super::verdict::{DocumentVerdict, count, outcome_of, pages_failed, text_of};
use super::{Document, Failure, Outcome, keys, metadata};

/// User metadata of the NAS scanner (contract §1).
const ORIGINAL_PATH: &str = "original-path";
const MODIFIED_AT: &str = "modified-at";

/// Everything that a document is made of.
#[derive(Clone, Copy, Debug)]
pub struct DocumentInput<'a> {
    pub key: &'a str,
    /// `None` for `extract`, which knows no bucket.
    pub bucket: Option<&'a str>,
    /// `ObjectStore::object_url`
    pub object_url: &'a str,
    /// What the store said when the content was fetched.
    pub state: &'a ObjectState,
    /// The converted PDF that `content` is about, where the object is a DocuWorks file that has one (contract §5).
    pub converted: Option<&'a ObjectState>,
    /// The event that started the work, for what the bucket does not know; `None` without one.
    pub event: Option<&'a ObjectEvent>,
    /// What the index holds under the key, for what only an earlier event has told; `None` when nobody has looked.
    pub indexed: Option<&'a IndexedState>,
    pub content: Content<'a>,
    /// Where the thumbnail was written, if one was.
    pub thumbnail_url: Option<&'a str>,
    pub processor: Processor<'a>,
    /// From taking the job up to the text being ready.
    pub processing_time: Duration,
    pub processed_at: Timestamp,
    pub indexed_at: Timestamp,
}

/// What is known of the object's content.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// The file was fetched and read.
    Extracted {
        extraction: &'a Extraction,
        /// `Fetched::content_sha256`
        content_sha256: &'a str,
        engine: Engine<'a>,
    },
    /// The file was fetched; what it holds is known from another document of the same bytes and engine.
    Known { document: &'a Document, content_sha256: &'a str },
    /// The file was not read, and why (`Plan::WithoutDownload`).
    NotRead(&'a Failure),
}

/// What read the pages.
#[derive(Clone, Copy, Debug)]
pub struct Engine<'a> {
    /// Engine, models and settings: changes when another run could read something else.
    pub fingerprint: &'a str,
    /// `OCR_LANGUAGE`
    pub ocr_language: &'a str,
}

/// Who made the document.
#[derive(Clone, Copy, Debug)]
pub struct Processor<'a> {
    pub name: &'a str,
    pub version: &'a str,
}

/// Builds the document. Total: whatever was extracted, there is a document to be found by name and path.
pub fn build(input: DocumentInput<'_>) -> Document {
    let mut document = named(input.key, input.bucket, Some(input.object_url));
    fill_from_object(&mut document, &input);
    match input.content {
        Content::Extracted { extraction, content_sha256, engine } => {
            document.content_sha256 = Some(content_sha256.to_owned());
            fill_from_extraction(&mut document, extraction, engine);
            settle(&mut document, outcome_of(extraction));
        }
        Content::Known { document: known, content_sha256 } => {
            document.content_sha256 = Some(content_sha256.to_owned());
            fill_from_known(&mut document, known);
        }
        Content::NotRead(failure) => settle(&mut document, DocumentVerdict::without_text(failure)),
    }
    if let Some(converted) = input.converted {
        document.converted_etag = Some(converted.etag.clone());
        // The PDF's. Of the object itself, whose bytes nobody has seen, it is not known.
        document.mime_type = None;
    }
    document.thumbnail_url = input.thumbnail_url.map(str::to_owned);
    document.processor_name = input.processor.name.to_owned();
    document.processor_version = input.processor.version.to_owned();
    // Whole milliseconds: more digits would be noise.
    document.processing_time_seconds = input.processing_time.as_millis() as f64 / 1000.0;
    document.processed_at = Some(format_date(input.processed_at));
    document.indexed_at = Some(format_date(input.indexed_at));
    document
}

/// The line that `extract` prints for a file that it cannot read at all. Never indexed.
pub fn skipped(key: &str, object_url: &str, failure: &Failure) -> Document {
    Document {
        success: false,
        outcome: Some(Outcome::Skipped),
        reason: Some(failure.reason),
        error_message: Some(failure.detail.clone()),
        ..named(key, None, Some(object_url))
    }
}

/// What the key alone says.
fn named(key: &str, bucket: Option<&str>, object_url: Option<&str>) -> Document {
    let file_name = keys::file_name(key);
    let extension = keys::extension(file_name);
    Document {
        file_key: key.to_owned(),
        bucket: bucket.map(str::to_owned),
        s3_url: object_url.map(str::to_owned),
        file_path: object_url.map(str::to_owned),
        file_name: file_name.to_owned(),
        file_type: extension.clone(),
        file_extension: extension,
        ..Document::default()
    }
}

/// What the store and the message say: state, dates, the place on the NAS.
fn fill_from_object(document: &mut Document, input: &DocumentInput<'_>) {
    let state = input.state;
    document.file_size = Some(state.size_bytes);
    document.etag = Some(state.etag.clone());
    document.version_id = state.version_id.clone();
    document.s3_last_modified = Some(format_date(state.last_modified));
    document.sequencer = input.event.and_then(|event| event.sequencer.clone());

    // The search page filters and sorts by both dates; one modification date is all that the NAS scanner knows.
    let modified_at = state.user_metadata.get(MODIFIED_AT).and_then(|text| parse_date(text));
    let modified_at = modified_at.or_else(|| parse_date(input.event?.modified_at.as_deref()?));
    let modified_at = modified_at.or_else(|| input.indexed.and_then(|indexed| told_date(indexed, state)));
    let date = format_date(modified_at.unwrap_or(state.last_modified));
    document.created_at = Some(date.clone());
    document.modified_at = Some(date);

    // The bucket before the message: a re-run without the message must give the same document.
    let original_path = state.user_metadata.get(ORIGINAL_PATH).and_then(|sent| decode_original_path(sent));
    let original_path = original_path.or_else(|| decode_original_path(input.event?.original_path.as_deref()?));
    let hints = LocationHints {
        category: input.event.and_then(|event| event.category.as_deref()),
        nas_server: input.event.and_then(|event| event.nas_server.as_deref()),
    };
    let mut location = locate(input.key, original_path.as_deref(), hints);
    // The NAS scanner may have said in its message where the file is at home, and an event that comes later, about the
    // converted PDF for one, does not say it again.
    let told_path = input.indexed.and_then(|indexed| indexed.nas_path.as_deref());
    if original_path.is_none() && told_path.is_some() && location.nas_path.as_deref() != told_path {
        location = locate(input.key, told_path, hints);
    }
    document.category = location.category.map(|category| category.as_str().to_owned());
    document.category_display = location.category.map(|category| category.display().to_owned());
    document.nas_server = location.nas_server;
    document.root_folder = location.root_folder;
    document.nas_path = location.nas_path;
}

/// The modification date that an earlier event told of the object in this very state.
fn told_date(indexed: &IndexedState, state: &ObjectState) -> Option<Timestamp> {
    let seen = parse_date(indexed.s3_last_modified.as_deref()?)?;
    let is_same_state =
        indexed.etag.as_deref() == Some(&state.etag) && seen.as_second() == state.last_modified.as_second();
    parse_date(indexed.modified_at.as_deref()?).filter(|_| is_same_state)
}

/// What the content says.
fn fill_from_extraction(document: &mut Document, extraction: &Extraction, engine: Engine<'_>) {
    let joined = join_pages(extraction.pages.iter().map(text_of));
    let ocr_pages: Vec<&Page> = extraction.pages.iter().filter(|page| was_ocred(page)).collect();
    let text_pages = extraction.pages.iter().filter(|page| has_own_text(page));

    document.mime_type = extraction.mime_type.clone();
    document.page_count = extraction.page_count;
    document.text_truncated = joined.truncated || extraction.pages.iter().any(|page| page.truncated);
    document.word_count = Some(joined.word_count);
    document.char_count = Some(joined.char_count);
    document.extracted_text = Some(joined.text);
    document.pages_text = count(text_pages.count());
    document.pages_ocr = count(ocr_pages.len());
    document.pages_failed = pages_failed(extraction);
    document.ocr_confidence = mean_confidence(&ocr_pages);
    document.ocr_language = (!ocr_pages.is_empty()).then(|| engine.ocr_language.to_owned());
    document.ocr_engine = Some(engine.fingerprint.to_owned());
    document.metadata = metadata::bounded(&extraction.metadata);
}

/// What another document says about the same content.
fn fill_from_known(document: &mut Document, known: &Document) {
    document.success = known.success;
    document.outcome = known.outcome;
    document.reason = known.reason;
    document.error_message = known.error_message.clone();
    document.mime_type = known.mime_type.clone();
    document.page_count = known.page_count;
    document.text_truncated = known.text_truncated;
    document.word_count = known.word_count;
    document.char_count = known.char_count;
    document.extracted_text = known.extracted_text.clone();
    document.pages_text = known.pages_text;
    document.pages_ocr = known.pages_ocr;
    document.pages_failed = known.pages_failed;
    document.ocr_confidence = known.ocr_confidence;
    document.ocr_language = known.ocr_language.clone();
    document.ocr_engine = known.ocr_engine.clone();
    document.metadata = known.metadata.clone();
}

fn settle(document: &mut Document, verdict: DocumentVerdict) {
    document.success = verdict.success();
    document.outcome = Some(verdict.outcome);
    document.reason = verdict.reason;
    document.error_message = verdict.sentence;
}

/// `both` counts as OCRed and as text: the page has some of each.
fn was_ocred(page: &Page) -> bool {
    matches!(page.source, PageSource::Ocr | PageSource::Both)
}

fn has_own_text(page: &Page) -> bool {
    matches!(page.source, PageSource::Text | PageSource::Both)
}

/// The mean over OCRed pages, each page counting once (contract §3), in hundredths of a point; `None` when no page
/// has a confidence. Numbers out of range come from a child that lies and do not count.
fn mean_confidence(ocr_pages: &[&Page]) -> Option<f32> {
    let confidences: Vec<f64> = ocr_pages
        .iter()
        .filter_map(|page| page.confidence)
        .filter(|confidence| (0.0..=100.0).contains(confidence))
        .map(f64::from)
        .collect();
    if confidences.is_empty() {
        return None;
    }
    let mean = confidences.iter().sum::<f64>() / confidences.len() as f64;
    Some(((mean * 100.0).round() / 100.0) as f32)
}

#[cfg(test)]
mod tests;
