//! What is remembered about unfinished documents.

use crate::health::metrics::Counter;

/// Pages of a long document were found that an earlier attempt had read; they are not read again.
#[derive(Clone, Copy, Debug)]
pub struct PagesRestored<'a> {
    pub key: &'a str,
    pub pages: usize,
}

impl PagesRestored<'_> {
    pub fn emit(self) {
        Counter::PagesRestored.add(self.pages as u64, &[]);
        log::info!(key:% = self.key, pages = self.pages; "pages of an earlier attempt taken over");
    }
}

/// A checkpoint or a guilt record could not be read, written or removed. Work goes on without it: pages may be read
/// twice, and what stays behind expires.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointFailed<'a> {
    pub key: &'a str,
    pub operation: &'a str,
    pub why: &'a str,
}

impl CheckpointFailed<'_> {
    pub fn emit(self) {
        Counter::CheckpointFailures.add(1, &[]);
        log::warn!(key:% = self.key, operation:% = self.operation, why:% = self.why; "checkpoint failed, going on without");
    }
}

/// A document was read before, and those attempts failed through its own fault: this one tries less.
#[derive(Clone, Copy, Debug)]
pub struct GuiltyAttempts<'a> {
    pub key: &'a str,
    pub attempts: u32,
    /// What is done about it: `alone`, `text_layer_only` or `given_up`.
    pub measure: &'static str,
    pub why: &'a str,
}

impl GuiltyAttempts<'_> {
    pub fn emit(self) {
        Counter::GuiltyAttempts.add(1, &[("measure", self.measure)]);
        log::warn!(
            key:% = self.key,
            attempts = self.attempts,
            measure = self.measure,
            why:% = self.why;
            "earlier attempts at the document failed, trying less"
        );
    }
}
