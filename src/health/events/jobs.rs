//! What became of objects.

use std::time::Duration;

use super::seconds;
use crate::document::{Failure, Outcome, Reason};
use crate::health::emf;
use crate::health::metrics::{Counter, Histogram};

/// How long each stage of a document took. Zero: the stage was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    pub fetch: Duration,
    pub extract: Duration,
    pub index: Duration,
    /// From the receive to the durable outcome, waiting included.
    pub total: Duration,
}

/// The pages of a finished document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// With text from the file itself.
    pub text: u32,
    pub ocr: u32,
    pub failed: u32,
}

/// One object came to its outcome (contract §4). Emitted through [`crate::health::status::Status::job_finished`].
#[derive(Clone, Debug)]
pub struct JobFinished<'a> {
    pub key: &'a str,
    pub outcome: Outcome,
    /// The reason with its sentence; `None` for `indexed` and `deleted`.
    pub failure: Option<&'a Failure>,
    /// Of the source file; 0 when it was not fetched.
    pub bytes: u64,
    pub pages: PageCounts,
    /// The key of the document whose text was taken over, because its file has the same bytes.
    pub same_as: Option<&'a str>,
    pub times: StageTimes,
}

impl JobFinished<'_> {
    pub fn emit(self) {
        let reason = self.failure.map(|failure| failure.reason);
        self.count(reason);
        emf::count(&self);
        log::log!(
            self.level(),
            key:% = self.key,
            outcome:% = self.outcome,
            reason = reason.map(Reason::as_str),
            detail = self.failure.map(|failure| failure.detail.as_str()),
            bytes = self.bytes,
            pages_text = self.pages.text,
            pages_ocr = self.pages.ocr,
            pages_failed = self.pages.failed,
            same_as = self.same_as,
            fetch_seconds = seconds(self.times.fetch),
            extract_seconds = seconds(self.times.extract),
            index_seconds = seconds(self.times.index),
            seconds = seconds(self.times.total);
            "{}", self.message()
        );
    }

    fn count(&self, reason: Option<Reason>) {
        let outcome = ("outcome", self.outcome.as_str());
        Counter::Documents.add(1, &[outcome, ("reason", reason.map_or("none", Reason::as_str))]);
        if self.same_as.is_some() {
            Counter::DocumentsReused.add(1, &[]);
        }
        Counter::SourceBytes.add(self.bytes, &[]);
        Counter::Pages.add(u64::from(self.pages.text), &[("source", "text")]);
        Counter::Pages.add(u64::from(self.pages.ocr), &[("source", "ocr")]);
        if self.pages.failed > 0 {
            let page_reason = reason.map_or("none", Reason::as_str);
            Counter::PagesFailed.add(u64::from(self.pages.failed), &[("reason", page_reason)]);
        }
        Histogram::Document.record(self.times.total, &[outcome]);
        let stages = [("fetch", self.times.fetch), ("extract", self.times.extract), ("index", self.times.index)];
        for (stage, duration) in stages.into_iter().filter(|(_, duration)| !duration.is_zero()) {
            Histogram::Stage.record(duration, &[("stage", stage)]);
        }
    }

    /// A bad file is a finding about the file, not about the worker: INFO. A message that leaves the queue for the
    /// dead-letter queue wants to be looked at some day: WARN.
    fn level(&self) -> log::Level {
        match self.outcome {
            Outcome::DeadLettered => log::Level::Warn,
            _ => log::Level::Info,
        }
    }

    fn message(&self) -> &'static str {
        match self.outcome {
            Outcome::Indexed => "document indexed",
            Outcome::IndexedPartial => "document indexed, some pages are missing",
            Outcome::IndexedWithoutText => "document indexed without text",
            Outcome::Deleted => "document deleted",
            Outcome::Skipped => "object skipped",
            Outcome::DeadLettered => "object given up, its message goes to the dead-letter queue",
            Outcome::Retry => "object left for another try",
        }
    }
}

/// A job ended by a panic: a defect of this program. Its message comes again.
#[derive(Clone, Copy, Debug)]
pub struct JobPanicked<'a> {
    pub message_id: &'a str,
}

impl JobPanicked<'_> {
    pub fn emit(self) {
        Counter::JobsPanicked.add(1, &[]);
        log::error!(message_id:% = self.message_id; "job ended by a defect of the program, its message comes again");
    }
}

/// A thumbnail could not be made or stored; the document is indexed without it (contract §3).
#[derive(Clone, Debug)]
pub struct ThumbnailFailed<'a> {
    pub key: &'a str,
    pub why: &'a str,
}

impl ThumbnailFailed<'_> {
    pub fn emit(self) {
        Counter::ThumbnailsFailed.add(1, &[]);
        log::warn!(key:% = self.key, why:% = self.why; "thumbnail failed, document indexed without it");
    }
}

/// The smoke test's document went the whole way (contract §1 kind 8). The deploy pipeline waits for this line.
#[derive(Clone, Debug)]
pub struct SmokeTestPassed<'a> {
    pub id: &'a str,
    pub extract: Duration,
    pub index: Duration,
    pub read_back: Duration,
    /// From the receive to the end.
    pub total: Duration,
}

impl SmokeTestPassed<'_> {
    pub fn emit(self) {
        Counter::SmokeTests.add(1, &[("result", "passed")]);
        // The id stands in the message itself: contract §1 asks for these very words.
        log::info!(
            extract_seconds = seconds(self.extract),
            index_seconds = seconds(self.index),
            read_back_seconds = seconds(self.read_back),
            seconds = seconds(self.total);
            "smoke test passed id={}", self.id
        );
    }
}

/// The smoke test's document did not go the whole way.
#[derive(Clone, Debug)]
pub struct SmokeTestFailed<'a> {
    pub id: &'a str,
    pub stage: &'a str,
    pub why: &'a str,
}

impl SmokeTestFailed<'_> {
    pub fn emit(self) {
        Counter::SmokeTests.add(1, &[("result", "failed")]);
        log::error!(stage:% = self.stage, why:% = self.why; "smoke test failed id={}", self.id);
    }
}
