//! What becomes of child processes.

use crate::document::Failure;
use crate::health::metrics::Counter;
use crate::lifecycle::memory::MemoryReading;
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
    /// It recognised its number of pages (`CHILD_MAX_PAGES`), or its resident memory grew past the mark.
    Worn,
    /// Its document was no longer wanted (lease lost, time over): it was killed.
    Cancelled,
    /// The pool was made smaller, or the spool's folder is another one than the child may read.
    Unwanted,
}

impl ReplacementCause {
    pub fn as_str(self) -> &'static str {
        match self {
            ReplacementCause::Worn => "worn",
            ReplacementCause::Cancelled => "cancelled",
            ReplacementCause::Unwanted => "unwanted",
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

/// Which way the pool was resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeDirection {
    /// Memory is short: one child fewer gets work.
    Smaller,
    /// Memory was plenty for a while: one more again.
    Larger,
}

/// The number of children that get work was changed because of memory. Nothing is lost, work is only slower for a
/// while; if it happens often, the machine is too small for MAX_WORKERS.
#[derive(Clone, Copy, Debug)]
pub struct PoolResized {
    pub direction: ResizeDirection,
    /// Children that get work now.
    pub wanted: usize,
    /// `MAX_WORKERS`
    pub most: usize,
    pub reading: MemoryReading,
}

impl PoolResized {
    pub fn emit(self) {
        let (direction, level, message) = match self.direction {
            ResizeDirection::Smaller => ("smaller", log::Level::Warn, "memory is short, one child fewer gets work"),
            ResizeDirection::Larger => ("larger", log::Level::Info, "memory suffices again, one more child gets work"),
        };
        Counter::PoolResizes.add(1, &[("direction", direction)]);
        log::log!(
            level,
            children = self.wanted,
            max_workers = self.most,
            used_bytes = self.reading.used_bytes,
            limit_bytes = self.reading.limit_bytes,
            stall_percent = self.reading.stall_percent;
            "{message}"
        );
    }
}
