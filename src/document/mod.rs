//! The index document: its fields (contract §3), the rules that fill them, and its limits.
//!
//! * [`outcome`]: outcomes and reasons (contract §4)
//! * `paths`: category, server, folder and NAS path out of keys and original paths
//! * `build`: from an extraction to the document
//! * `text`: joining pages, the cut at the index's limit, counting words

pub mod outcome;

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
}
