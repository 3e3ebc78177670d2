//! The index document: its fields (contract §3), the rules that fill them, and its limits.
//!
//! * [`outcome`]: outcomes and reasons (contract §4)
//! * [`verdict`]: from an extraction to its outcome
//! * [`build`]: from everything that is known about an object to the document
//! * [`keys`]: names, ids and thumbnails out of keys; which keys are none of our business
//! * [`paths`]: category, server, folder and NAS path out of keys and original paths
//! * [`original_path`]: decoding what the scanner says about the path on the NAS
//! * [`dates`]: dates as others write them, and as the index gets them
//! * [`text`]: joining pages, the cut at the index's limit, counting words
//! * [`metadata`]: what a file says about itself, in a fixed vocabulary
//!
//! No I/O anywhere in here.

pub mod build;
pub mod dates;
pub mod keys;
pub mod metadata;
pub mod original_path;
pub mod outcome;
pub mod paths;
pub mod text;
pub mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use outcome::{Failure, Outcome, Reason};

/// A flat value of the `metadata` object (contract §3: strings and numbers only, no mapping explosion).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetadataValue {
    Number(f64),
    Text(String),
}

/// The document as it stands in the index: every field of contract §3 that is ours, `null` where unknown.
///
/// Fields of other programs (`preview_images`, `department`, …) are not here and survive, because the write
/// removes and sets only these names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub success: bool,
    pub error_message: Option<String>,
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,

    pub file_key: String,
    pub bucket: Option<String>,
    pub s3_url: Option<String>,
    pub file_path: Option<String>,
    pub file_name: String,
    /// `.pdf`: lower case, with the dot; the same as `file_extension`. `null` without an extension.
    pub file_type: Option<String>,
    pub file_extension: Option<String>,
    /// From the content, not the name.
    pub mime_type: Option<String>,
    /// Bytes.
    pub file_size: Option<u64>,

    /// Under 1,000,000 UTF-16 units.
    pub extracted_text: Option<String>,
    pub text_truncated: bool,
    pub page_count: Option<u32>,
    pub word_count: Option<u32>,
    pub char_count: Option<u32>,
    /// Mean over OCRed pages, 0–100; `null` when no page was OCRed.
    pub ocr_confidence: Option<f32>,
    pub ocr_language: Option<String>,
    pub ocr_engine: Option<String>,
    pub pages_ocr: u32,
    pub pages_text: u32,
    pub pages_failed: u32,
    pub metadata: BTreeMap<String, MetadataValue>,

    pub processing_time_seconds: f64,
    pub processor_name: String,
    pub processor_version: String,
    pub processed_at: Option<String>,
    pub indexed_at: Option<String>,
    pub created_at: Option<String>,
    pub modified_at: Option<String>,

    pub category: Option<String>,
    pub category_display: Option<String>,
    pub nas_server: Option<String>,
    pub root_folder: Option<String>,
    pub nas_path: Option<String>,
    pub thumbnail_url: Option<String>,

    pub s3_last_modified: Option<String>,
    pub sequencer: Option<String>,
    pub content_sha256: Option<String>,
    pub etag: Option<String>,
    pub version_id: Option<String>,
    /// The ETag of the PDF that the text of a DocuWorks file was taken from; `null` for every other file. Where it is
    /// set, pages, metadata and `content_sha256` are that PDF's, too.
    pub converted_etag: Option<String>,
}

/// See [`Document::field_names`].
const FIELD_NAMES: &[&str] = &[
    "success",
    "error_message",
    "outcome",
    "reason",
    "file_key",
    "bucket",
    "s3_url",
    "file_path",
    "file_name",
    "file_type",
    "file_extension",
    "mime_type",
    "file_size",
    "extracted_text",
    "text_truncated",
    "page_count",
    "word_count",
    "char_count",
    "ocr_confidence",
    "ocr_language",
    "ocr_engine",
    "pages_ocr",
    "pages_text",
    "pages_failed",
    "metadata",
    "processing_time_seconds",
    "processor_name",
    "processor_version",
    "processed_at",
    "indexed_at",
    "created_at",
    "modified_at",
    "category",
    "category_display",
    "nas_server",
    "root_folder",
    "nas_path",
    "thumbnail_url",
    "s3_last_modified",
    "sequencer",
    "content_sha256",
    "etag",
    "version_id",
    "converted_etag",
];

impl Document {
    /// The names of all fields that are ours: what a write sets or removes, so that no stale value survives it.
    pub fn field_names() -> &'static [&'static str] {
        FIELD_NAMES
    }
}

#[cfg(test)]
mod tests {
    use super::Document;

    #[test]
    fn field_names_are_the_fields_that_are_written() {
        let written = serde_json::to_value(Document::default()).expect("JSON");
        let mut names: Vec<&str> = written.as_object().expect("an object").keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut listed = Document::field_names().to_vec();
        listed.sort_unstable();
        assert_eq!(listed, names);
    }
}
