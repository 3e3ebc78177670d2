//! Typed settings: every variable of contract §2 by its name, with units, defaults and one-line errors.
//!
//! [`Settings`] is what the rest of the program sees: resolved, cross-checked, no strings left to parse.
//! What was typed where (defaults < TOML < env file < environment) stays in this module:
//!
//! * `variables`: the one table of names, kinds, defaults and descriptions
//! * `env_file`: a file as systemd reads `EnvironmentFile=`
//! * `sources`: the layers, still strings, each with its origin
//! * `parse`: from one string to one type, strictly
//! * `resolve`: from all of it to [`Settings`]; `checks`: what must hold between settings; `temp_dir`: its default
//! * `error`: what can be wrong, one line each

mod checks;
mod env_file;
mod error;
mod parse;
mod resolve;
mod sources;
mod temp_dir;
#[cfg(test)]
mod tests;
pub mod variables;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use error::ConfigErrors;
pub use sources::{ConfigSources, Origin};
pub use variables::Variable;

/// sysexits.h EX_CONFIG: a missing required or an unparsable variable (contract §2). The unit does not restart on it.
pub const EX_CONFIG: u8 = 78;

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

/// How the daemon ends together with its instance.
#[derive(Clone, Debug)]
pub struct LifecycleSettings {
    /// `LIFECYCLE_DRAIN_TIMEOUT`: time to finish when Auto Scaling terminates the instance
    pub drain_timeout: Duration,
    /// `AUTO_SCALING_GROUP_NAME`; otherwise the instance's tags may say it.
    pub group_name: Option<String>,
    /// `LIFECYCLE_HOOK_NAME`; without it no lifecycle action is completed.
    pub hook_name: Option<String>,
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
    /// `ARCHIVE_CONTENTS`: whether what is in archives is read, or only listed
    pub archive_contents: bool,
    /// `CHILD_MEMORY_MB`: address space of one child, beyond which its page is `out_of_memory`
    pub child_memory_bytes: u64,
    /// `CHILD_MAX_PAGES`: a child is replaced after so many recognised pages
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
    /// `REUSE_SAME_CONTENT`: a scan whose bytes were read before by the same engine is not recognised again
    pub reuse_same_content: bool,
    /// `CHECKPOINT_MIN_PAGES`: recognised pages of documents with so many or more survive the worker
    pub checkpoint_min_pages: u32,
    /// `CHECKPOINT_DAYS`
    pub checkpoint_max_age: Duration,
    /// `DRAIN_TIMEOUT`: what SIGTERM and a rebalance recommendation leave for finishing
    pub drain_timeout: Duration,
    pub lifecycle: LifecycleSettings,
    pub queue: QueueSettings,
    pub file_size_limits: FileSizeLimits,
    pub extraction: ExtractionSettings,
    pub telemetry: TelemetrySettings,
    /// `None` for `extract`, `local` and `search`, which need no servers.
    pub servers: Option<ServerSettings>,
}

/// A variable with the value that holds, for the `config` command.
#[derive(Clone, Debug)]
pub struct EffectiveValue {
    pub variable: &'static Variable,
    /// Secrets are masked. `None`: not set, without default.
    pub shown: Option<String>,
    /// `None`: not set, without default.
    pub origin: Option<Origin>,
}

/// A variable that was set and does nothing, and why (contract §2: start-up says so).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredVariable {
    pub variable: &'static str,
    pub why: &'static str,
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Every variable of the table, in its order.
    pub values: Vec<EffectiveValue>,
    /// What works but probably was not meant: misspelt names, lines that systemd drops, a spool in memory, …
    pub warnings: Vec<String>,
    pub ignored: Vec<IgnoredVariable>,
    /// Variables of the env file that are not ours and not in the environment: systemd would hand them to the service
    /// (`AWS_ENDPOINT_URL_SQS`, `AWS_CA_BUNDLE`, …), so a run by hand with `--env-file` should have them too.
    /// See [`Loaded::export_foreign_variables`].
    pub foreign_variables: Vec<(String, String)>,
}

impl Settings {
    /// Reads, parses and cross-checks the configuration. Nothing is created and no network is touched.
    ///
    /// `need_servers`: whether `SQS_QUEUE_URL`, `S3_BUCKET` and `OPENSEARCH_ENDPOINT` must be set; only then is
    /// [`Settings::servers`] filled. What is set must be right either way.
    ///
    /// # Errors
    /// All that is wrong, one line each; the program's exit code is then [`EX_CONFIG`].
    pub fn load(sources: &ConfigSources, need_servers: bool) -> Result<Loaded, ConfigErrors> {
        let layers = sources::Layers::read(sources).map_err(|errors| ConfigErrors {
            errors,
            values: Vec::new(),
            warnings: Vec::new(),
        })?;
        let resolved = resolve::resolve(sources, &layers, need_servers);
        let mut warnings = layers.warnings;
        warnings.extend(resolved.warnings);
        if !resolved.errors.is_empty() {
            return Err(ConfigErrors { errors: resolved.errors, values: resolved.values, warnings });
        }
        Ok(Loaded {
            settings: resolved.settings,
            ignored: ignored_variables(&resolved.values),
            values: resolved.values,
            warnings,
            foreign_variables: layers.foreign.into_iter().collect(),
        })
    }
}

impl Loaded {
    /// Puts [`Loaded::foreign_variables`] into this process's environment, where the AWS SDK looks for its own.
    ///
    /// # Safety
    /// As for [`std::env::set_var`]: no other thread may run yet, so before the logger and the runtime are started.
    pub unsafe fn export_foreign_variables(&self) {
        for (name, value) in &self.foreign_variables {
            // SAFETY: the caller promises that this is the only thread.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Variables that were set by somebody although they change nothing here.
fn ignored_variables(values: &[EffectiveValue]) -> Vec<IgnoredVariable> {
    let was_set = |name: &str| {
        let value = values.iter().find(|value| value.variable.name == name);
        value.is_some_and(|value| !matches!(value.origin, None | Some(Origin::Default | Origin::Computed(_))))
    };
    let reported_only =
        [("CLOUDWATCH_LOG_GROUP", "the CloudWatch agent's configuration names the group that LOG_FILE goes to")];
    reported_only
        .into_iter()
        .filter(|(variable, _)| was_set(variable))
        .map(|(variable, why)| IgnoredVariable { variable, why })
        .collect()
}
