//! Where log lines go.
//!
//! * under systemd (standard error is the journal's socket): to the journal, with fields (`journal`)
//! * else to standard error, readable (`terminal`)
//! * and to `LOG_FILE` as JSON lines, when set (`json_lines`, `rotated_file`); metrics go there too ([`write_to_file`])
//!
//! `LOG_LEVEL` is about our own lines. Libraries say little below WARN that an operator can use, and at TRACE some of
//! them print headers; so they stay at WARN, and are let in one level later than ours at DEBUG and TRACE.

mod fields;
mod journal;
mod json_lines;
mod rotated_file;
mod terminal;

use std::path::PathBuf;
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};

use crate::config::TelemetrySettings;
use fields::WithoutNulls;
use json_lines::JsonLines;
pub use json_lines::timestamp;
pub use terminal::keep_off_progress_bars;

/// The prefix of our own targets.
const OUR_TARGET: &str = env!("CARGO_CRATE_NAME");

/// `LOG_FILE`, for lines that go nowhere else.
static LOG_FILE: OnceLock<&'static JsonLines> = OnceLock::new();

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("open LOG_FILE {}", path.display())]
    OpenLogFile { path: PathBuf, source: std::io::Error },
    #[error("a logger is installed already")]
    AlreadyInstalled,
}

/// Installs the loggers of this process.
///
/// # Errors
/// When `LOG_FILE` cannot be opened: a daemon whose log nobody gets must not start.
pub fn init(settings: &TelemetrySettings) -> Result<(), LoggingError> {
    let mut sinks: Vec<Box<dyn Log>> = vec![journal::connect().unwrap_or_else(terminal::standard_error)];
    let mut log_file = None;
    if let Some(path) = &settings.log_file {
        let file = JsonLines::open(path).map_err(|source| LoggingError::OpenLogFile { path: path.clone(), source })?;
        // The loggers live as long as the process anyway.
        let shared: &'static JsonLines = Box::leak(Box::new(file));
        sinks.push(Box::new(shared));
        log_file = Some(shared);
    }
    let filter = Filter::new(settings.log_level);
    let logger = FanOut { filter, sinks };
    log::set_boxed_logger(Box::new(logger)).map_err(|_| LoggingError::AlreadyInstalled)?;
    log::set_max_level(filter.ours.max(filter.others));
    if let Some(file) = log_file {
        // Logging is installed once, so this is, too.
        let _ = LOG_FILE.set(file);
    }
    Ok(())
}

/// Whether there is a `LOG_FILE`.
pub fn has_file() -> bool {
    LOG_FILE.get().is_some()
}

/// Writes a line of JSON, with its line end, to `LOG_FILE` alone, whatever `LOG_LEVEL` says; without a file it goes
/// nowhere.
pub fn write_to_file(line: &[u8]) {
    if let Some(file) = LOG_FILE.get() {
        file.write(line);
    }
}

/// Makes sure that everything logged has been handed over, the metrics of the last minute too. Call it last.
pub fn flush() {
    super::emf::flush();
    log::logger().flush();
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Filter {
    ours: LevelFilter,
    others: LevelFilter,
}

impl Filter {
    fn new(level: LevelFilter) -> Self {
        let others = match level {
            LevelFilter::Off | LevelFilter::Error => level,
            LevelFilter::Warn | LevelFilter::Info => LevelFilter::Warn,
            LevelFilter::Debug => LevelFilter::Info,
            LevelFilter::Trace => LevelFilter::Debug,
        };
        Self { ours: level, others }
    }

    fn wants(self, metadata: &Metadata<'_>) -> bool {
        let rest = metadata.target().strip_prefix(OUR_TARGET);
        let is_ours = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        metadata.level() <= if is_ours { self.ours } else { self.others }
    }
}

/// One line to every sink.
struct FanOut {
    filter: Filter,
    sinks: Vec<Box<dyn Log>>,
}

impl Log for FanOut {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.wants(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.wants(record.metadata()) {
            return;
        }
        let present = WithoutNulls(record.key_values());
        let record_without_nulls = record.to_builder().key_values(&present).build();
        for sink in &self.sinks {
            sink.log(&record_without_nulls);
        }
    }

    fn flush(&self) {
        for sink in &self.sinks {
            sink.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    fn wanted(level: LevelFilter, target: &str) -> Vec<Level> {
        let filter = Filter::new(level);
        let wants = |level: &Level| filter.wants(&Metadata::builder().level(*level).target(target).build());
        Level::iter().filter(wants).collect()
    }

    #[test]
    fn our_lines_follow_log_level() {
        assert_eq!(wanted(LevelFilter::Info, "file_processor_worker::queue"), [Level::Error, Level::Warn, Level::Info]);
        assert_eq!(wanted(LevelFilter::Error, "file_processor_worker"), [Level::Error]);
    }

    #[test]
    fn lines_of_libraries_need_a_warning_unless_one_is_looking_for_something() {
        assert_eq!(wanted(LevelFilter::Info, "hyper"), [Level::Error, Level::Warn]);
        assert_eq!(wanted(LevelFilter::Error, "hyper"), [Level::Error]);
        assert_eq!(wanted(LevelFilter::Debug, "hyper"), [Level::Error, Level::Warn, Level::Info]);
        assert!(!wanted(LevelFilter::Trace, "rustls").contains(&Level::Trace));
        assert_eq!(wanted(LevelFilter::Info, "file_processor_worker_other"), [Level::Error, Level::Warn]);
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let settings = TelemetrySettings {
            log_level: LevelFilter::Info,
            log_file: Some(blocked.join("worker.log")),
            status_address: None,
        };
        let error = init(&settings).expect_err("a file is no folder");
        assert!(error.to_string().starts_with("open LOG_FILE ") && error.to_string().ends_with("file/worker.log"));
    }
}
