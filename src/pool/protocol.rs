//! What parent and child say to each other: postcard frames over a socketpair, each capped.
//!
//! The parent sends one [`Request`] at a time and reads [`Reply`]s until [`Reply::Done`] or
//! [`Reply::DocumentFailed`]. Pixels never travel; a page's text is capped by the child. The parent trusts
//! nothing a child says: a frame that is too long, does not parse or does not belong to the request means that
//! the child is killed and counted as crashed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::document::{Failure, MetadataValue};

/// Frames longer than this are nonsense: a page's text (1,000,000 UTF-16 units are at most 3 MB of UTF-8) fits.
pub const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Everything a child needs to know; it has no environment and reads no configuration file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildSettings {
    /// The only place where documents are; readable to the child, and nothing else but models and fonts.
    pub spool_dir: PathBuf,
    pub tessdata_dir: PathBuf,
    /// As Tesseract takes it: `jpn+eng`.
    pub ocr_language: String,
    /// The absolute path of `libpdfium.so`.
    pub pdfium_library: PathBuf,
    /// Dots per inch at which pages without an image resolution of their own are rendered.
    pub pdf_dpi: u32,
    pub image_preprocessing: bool,
    /// 0–100; see `MIN_OCR_CONFIDENCE`.
    pub min_ocr_confidence: f32,
    /// Width × height that is decoded at most.
    pub max_pixels: u64,
    /// Whether what is in archives is read, or only listed.
    pub archive_contents: bool,
    /// RLIMIT_AS of the child.
    pub memory_limit_bytes: u64,
    pub thumbnail_width: u32,
    pub thumbnail_height: u32,
    /// JPEG quality, 1–100.
    pub thumbnail_quality: u8,
}

/// The document a request is about. A child keeps its last document open and opens another when `id` differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Unique within this parent process.
    pub id: u64,
    pub spool_file: PathBuf,
    /// The file's name, for its extension only: the content decides, the name breaks ties (`.csv` or `.txt`).
    pub file_name: String,
}

/// How hard to try with a page: a page that killed a child is tried again with less (blueprint, "When a page fails").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effort {
    Normal,
    /// Lower resolution.
    Reduced,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Sniff and open; answered by `Opened`, then `Done`. With `whole`, a running text ([`Opened::is_running_text`]) is
    /// done with at once: after `Opened` come `Page` or `NeedsOcr` and `Thumbnail`, and the document is forgotten.
    Open { document: DocumentRef, whole: bool },
    /// For `count` pages from `first` (both from 1): each answers `Page` (its text layer, or it is blank) or
    /// `NeedsOcr`, in order; then `Done`.
    Survey { document: DocumentRef, first: u32, count: u32 },
    /// OCR one page: answers `Page`, then `Done`.
    Recognize { document: DocumentRef, page: u32, effort: Effort },
    /// Answers `Thumbnail` (`None` when the format has none), then `Done`.
    Thumbnail { document: DocumentRef },
    /// Forget the open document (its spool file is about to be removed); answers `Done`.
    Close,
    /// Misbehave in the way named; tests prove that the parent survives it. Not in release builds.
    #[cfg(debug_assertions)]
    Misbehave { how: Misbehaviour },
}

/// What a test may order a child to do.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misbehaviour {
    Segfault,
    Abort,
    Exit,
    Hang,
    EatMemory,
    Garbage,
    OversizedFrame,
    WrongReply,
    OpenSocket,
    Execute,
    ReadSecret,
    WriteFile,
    PrintEnvironment,
}

/// What the first look at a document found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// From the content.
    pub mime_type: String,
    /// Pages in the document, before any limit.
    pub page_count: u32,
    /// Whether `page_count` means something to a reader (PDF, images), as opposed to running text.
    pub paginated: bool,
    /// Whether pages may have text of their own: `Survey` comes first. Otherwise straight to `Recognize`.
    pub has_text_layer: bool,
    /// Title, author, dates …: flat and bounded.
    #[serde(with = "tagged_metadata")]
    pub metadata: BTreeMap<String, MetadataValue>,
}

impl Opened {
    /// One part with text of its own and without pages: read in less time than it takes to talk about it.
    pub fn is_running_text(&self) -> bool {
        self.page_count == 1 && !self.paginated && self.has_text_layer
    }
}

/// Where a page's text came from (`extract --pages`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageSource {
    Text,
    Ocr,
    Both,
    Blank,
    Failed,
}

/// One page's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// From 1.
    pub number: u32,
    pub source: PageSource,
    /// Mean word confidence 0–100 weighted by length; `None` where nothing was OCRed.
    pub confidence: Option<f32>,
    /// Set when `source` is `Failed`.
    pub failure: Option<Failure>,
    pub text: String,
    /// The page's text was cut at the limit of one page.
    pub truncated: bool,
    /// The child's processor time, milliseconds.
    pub cost_ms: u32,
}

/// What a child can do, said once when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildReady {
    pub tesseract_version: String,
    pub pdfium_version: String,
    /// `full`, or what is missing: shown by `--validate-only`.
    pub sandbox: SandboxLevel,
}

/// What the kernel let the child give up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLevel {
    /// Landlock ABI in force, 0 when the kernel has none.
    pub landlock_abi: u32,
    pub seccomp: bool,
    pub resource_limits: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Ready(ChildReady),
    /// The child cannot start: model or library missing. Names every place tried.
    NotReady(String),
    Opened(Opened),
    Page(Page),
    NeedsOcr {
        page: u32,
    },
    Thumbnail(Option<Vec<u8>>),
    /// The document as a whole cannot be read; ends the request. Its type is known where the content told.
    DocumentFailed {
        failure: Failure,
        mime_type: Option<String>,
    },
    Done,
}

/// [`MetadataValue`] is a bare string or number in the index's JSON; postcard cannot read a value whose kind is not
/// written, so in frames it is.
mod tagged_metadata {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::document::MetadataValue;

    #[derive(Serialize, Deserialize)]
    enum TaggedValue {
        Number(f64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(
        metadata: &BTreeMap<String, MetadataValue>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let tagged = metadata.iter().map(|(name, value)| match value {
            MetadataValue::Number(number) => (name, TaggedValue::Number(*number)),
            MetadataValue::Text(text) => (name, TaggedValue::Text(text.clone())),
        });
        serializer.collect_map(tagged)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, MetadataValue>, D::Error> {
        let tagged = BTreeMap::<String, TaggedValue>::deserialize(deserializer)?;
        let untagged = tagged.into_iter().map(|(name, value)| match value {
            TaggedValue::Number(number) => (name, MetadataValue::Number(number)),
            TaggedValue::Text(text) => (name, MetadataValue::Text(text)),
        });
        Ok(untagged.collect())
    }
}
