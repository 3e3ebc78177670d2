//! What becomes of child processes.

use crate::document::Failure;
use crate::health::metrics::Counter;

/// A child is ready for pages.
#[derive(Clone, Copy, Debug)]
pub struct ChildStarted {
    /// Its place in the pool, from 0.
    pub slot: usize,
    pub pid: u32,
}

impl ChildStarted {
    pub fn emit(self) {
        Counter::ChildrenStarted.add(1, &[]);
        log::debug!(slot = self.slot, pid = self.pid; "child started");
    }
}

/// A child was lost: crashed, killed for its time or its memory. Another one takes its place; its page is tried again.
#[derive(Clone, Debug)]
pub struct ChildDied<'a> {
    pub slot: usize,
    pub pid: u32,
    /// How it was lost: `crashed`, `timeout` or `out_of_memory`, with the details.
    pub failure: &'a Failure,
    /// The file and the page it was at; `None` when it was idle.
    pub key: Option<&'a str>,
    pub page: Option<u32>,
}

impl ChildDied<'_> {
    pub fn emit(self) {
        Counter::ChildrenDied.add(1, &[("kind", self.failure.reason.as_str())]);
        log::warn!(
            slot = self.slot,
            pid = self.pid,
            kind:% = self.failure.reason,
            detail:% = self.failure.detail,
            key = self.key,
            page = self.page;
            "child lost, another takes its place"
        );
    }
}

/// Why a child was replaced in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplacementCause {
    /// It read its number of pages (`CHILD_MAX_PAGES`).
    Pages,
    /// Its resident memory grew past the mark.
    Memory,
    /// Its document was no longer wanted (lease lost, time over): it was killed.
    Cancelled,
}

impl ReplacementCause {
    pub fn as_str(self) -> &'static str {
        match self {
            ReplacementCause::Pages => "pages",
            ReplacementCause::Memory => "memory",
            ReplacementCause::Cancelled => "cancelled",
        }
    }
}

/// A child was replaced as planned.
#[derive(Clone, Copy, Debug)]
pub struct ChildReplaced {
    pub slot: usize,
    pub pid: u32,
    pub cause: ReplacementCause,
    pub pages: u64,
}

impl ChildReplaced {
    pub fn emit(self) {
        Counter::ChildrenReplaced.add(1, &[("cause", self.cause.as_str())]);
        log::debug!(slot = self.slot, pid = self.pid, cause = self.cause.as_str(), pages = self.pages; "child replaced");
    }
}

/// Children cannot be started at all (a model or a library is missing): nothing is read until somebody mends that.
#[derive(Clone, Debug)]
pub struct ChildrenCannotStart<'a> {
    pub error: &'a str,
}

impl ChildrenCannotStart<'_> {
    pub fn emit(self) {
        log::error!(error:% = self.error; "children cannot be started, nothing is read until this is mended");
    }
}
