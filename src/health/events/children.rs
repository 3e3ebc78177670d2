//! What becomes of child processes.

use crate::document::Failure;
use crate::health::metrics::Counter;
use crate::pool::protocol::SandboxLevel;

/// A child is ready for pages.
#[derive(Clone, Copy, Debug)]
pub struct ChildStarted<'a> {
    pub pid: i32,
    /// What the kernel lets it give up.
    pub sandbox: &'a SandboxLevel,
}

impl ChildStarted<'_> {
    pub fn emit(self) {
        Counter::ChildrenStarted.add(1, &[]);
        log::debug!(pid = self.pid, sandbox:% = self.sandbox; "child started");
    }
}

/// A child was lost: crashed, killed for its time or its memory. Another one takes its place; its page is tried again.
#[derive(Clone, Debug)]
pub struct ChildDied<'a> {
    /// Its place in the pool, from 0.
    pub slot: usize,
    pub pid: i32,
    /// How it was lost: `crashed`, `timeout` or `out_of_memory`, with the details.
    pub failure: &'a Failure,
    /// The document (its number in the pool) and the page it was at; `None` when it was idle.
    pub document: Option<u64>,
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
            document = self.document,
            page = self.page;
            "child lost, another takes its place"
        );
    }
}

/// Why a child was replaced in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplacementCause {
    /// It read its number of pages (`CHILD_MAX_PAGES`), or its resident memory grew past the mark.
    Worn,
    /// Its document was no longer wanted (lease lost, time over): it was killed.
    Cancelled,
}

impl ReplacementCause {
    pub fn as_str(self) -> &'static str {
        match self {
            ReplacementCause::Worn => "worn",
            ReplacementCause::Cancelled => "cancelled",
        }
    }
}

/// A child was replaced as planned.
#[derive(Clone, Copy, Debug)]
pub struct ChildReplaced {
    pub slot: usize,
    pub pid: i32,
    pub cause: ReplacementCause,
    pub pages: u32,
}

impl ChildReplaced {
    pub fn emit(self) {
        Counter::ChildrenReplaced.add(1, &[("cause", self.cause.as_str())]);
        log::debug!(slot = self.slot, pid = self.pid, cause = self.cause.as_str(), pages = self.pages; "child replaced");
    }
}

/// A child cannot be started (a model or a library is missing, no memory): it is tried again and again, and nothing is
/// read in its place until somebody mends that.
#[derive(Clone, Debug)]
pub struct ChildrenCannotStart<'a> {
    pub error: &'a str,
}

impl ChildrenCannotStart<'_> {
    pub fn emit(self) {
        log::error!(error:% = self.error; "a child cannot be started, nothing is read in its place until this is mended");
    }
}
