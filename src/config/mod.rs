//! Typed settings: every variable of contract §2 by its name, with units, defaults and one-line errors.
//!
//! [`Settings`] is what the rest of the program sees: resolved, cross-checked, no strings left to parse.
//! What was typed where (defaults < TOML < env file < environment) stays in this module.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// 1 MB in the configuration (contract §2).
pub const MEGABYTE: u64 = 1_048_576;

/// The servers: required by the daemon and by every command that talks to them.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// `SQS_QUEUE_URL`
    pub queue_url: Url,
    /// `DLQ_QUEUE_URL`; otherwise the queue's own redrive policy says it.
    pub dead_letter_queue_url: Option<Url>,
    /// `S3_BUCKET`
    pub bucket: String,
    /// `S3_THUMBNAIL_BUCKET`
    pub thumbnail_bucket: String,
    /// `OPENSEARCH_ENDPOINT`: scheme, host, port and path prefix
    pub opensearch_endpoint: Url,
    /// `OPENSEARCH_USERNAME` and `OPENSEARCH_PASSWORD`; otherwise requests are signed (SigV4).
    pub opensearch_basic_auth: Option<BasicAuth>,
    /// `OPENSEARCH_VERIFY_CERTS`
    pub opensearch_verify_certs: bool,
}

/// A user name and a password that never shows in a log.
#[derive(Clone)]
pub struct BasicAuth {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BasicAuth").field("username", &self.username).field("password", &"****").finish()
    }
}

/// Sizes above which an object is not fetched (contract §2).
#[derive(Clone, Debug)]
pub struct FileSizeLimits {
    /// `MAX_FILE_SIZE_MB`: every other kind
    pub file_bytes: u64,
    /// `MAX_IMAGE_SIZE_MB`
    pub image_bytes: u64,
    /// `MAX_PDF_SIZE_MB`
    pub pdf_bytes: u64,
    /// `MAX_OFFICE_SIZE_MB`
    pub office_bytes: u64,
}

/// The queue's clock.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// `SQS_WAIT_TIME`, at most 20 s
    pub wait_time: Duration,
    /// `SQS_VISIBILITY_TIMEOUT`
    pub visibility_timeout: Duration,
    /// `SQS_MAX_MESSAGES`, 1–10 a receive call
    pub max_messages: usize,
}

/// What the children are told and how they are watched.
#[derive(Clone, Debug)]
pub struct ExtractionSettings {
    /// `MAX_WORKERS`: child processes; default: the CPU count
    pub workers: usize,
    /// `MAX_PDF_PAGES`: pages read of one document
    pub max_pages: u32,
    /// `PROCESSING_TIMEOUT`: without a finished page
    pub progress_timeout: Duration,
    /// `PROCESSING_TIMEOUT_TOTAL`: a document in all
    pub total_timeout: Duration,
    /// `OCR_TIMEOUT`: one page
    pub page_timeout: Duration,
    /// `OCR_LANGUAGE`
    pub ocr_language: String,
    /// `PDF_DPI`
    pub pdf_dpi: u32,
    /// `IMAGE_PREPROCESSING`
    pub image_preprocessing: bool,
    /// `MIN_OCR_CONFIDENCE`, 0–100
    pub min_ocr_confidence: f32,
    /// `TESSDATA_PREFIX`
    pub tessdata_prefix: Option<PathBuf>,
    /// `PDFIUM_LIBRARY_PATH`: the library or the folder it is in
    pub pdfium_library_path: Option<PathBuf>,
    /// `MAX_IMAGE_PIXELS`: width × height of one page or image
    pub max_image_pixels: u64,
    /// `CHILD_MEMORY_MB`: address space of one child, beyond which its page is `out_of_memory`
    pub child_memory_bytes: u64,
    /// `CHILD_MAX_PAGES`: a child is replaced after so many pages
    pub child_max_pages: u32,
    /// `THUMBNAIL_WIDTH`, `THUMBNAIL_HEIGHT`, pixels
    pub thumbnail_width: u32,
    pub thumbnail_height: u32,
    /// `THUMBNAIL_QUALITY`, 1–100
    pub thumbnail_quality: u8,
}

/// Logs and status.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// `LOG_LEVEL`
    pub log_level: log::LevelFilter,
    /// `LOG_FILE`
    pub log_file: Option<PathBuf>,
    /// `CLOUDWATCH_LOG_GROUP`: named in the agent's configuration; the daemon only reports it
    pub cloudwatch_log_group: String,
    /// `STATUS_ADDRESS`; empty = off
    pub status_address: Option<SocketAddr>,
}

/// Everything, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `AWS_REGION`
    pub region: String,
    /// `OPENSEARCH_INDEX`
    pub index_name: String,
    /// `TEMP_DIR`: the spool's parent
    pub temp_dir: PathBuf,
    /// `SPOOL_MB`: bytes of source files on disk at once
    pub spool_bytes: u64,
    /// `SKIP_UNCHANGED`: an object whose ETag and engine fingerprint stand in the index already is left alone
    pub skip_unchanged: bool,
    /// `DRAIN_TIMEOUT`: what SIGTERM leaves for finishing
    pub drain_timeout: Duration,
    pub queue: QueueSettings,
    pub file_size_limits: FileSizeLimits,
    pub extraction: ExtractionSettings,
    pub telemetry: TelemetrySettings,
    /// `None` for `extract`, `local` and `search`, which need no servers.
    pub servers: Option<ServerSettings>,
}
