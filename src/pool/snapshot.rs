//! The pool's state as numbers that anyone may read at any time: the health page, the metrics, the watchdog.
//! Atomics, so that a reader never makes a page wait.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::document::Reason;
use crate::pool::protocol::PageSource;

/// How late the parent's own killing may be before the watchdog calls it broken.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// The pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// Children that are up.
    pub children: u64,
    /// Children that get work: `MAX_WORKERS`, or fewer while memory is short.
    pub wanted: u64,
    /// Children that have a task.
    pub busy: u64,
    /// Documents on their way.
    pub documents: u64,
    /// Pages that wait for a child; a document not yet open counts as one.
    pub pages_waiting: u64,
    /// Pages done since the start.
    pub pages: PagesDone,
    /// Children lost since the start.
    pub lost: ChildrenLost,
    /// Children replaced as planned: they had read their number of pages or had grown too large.
    pub recycled: u64,
    /// The children's processor time for the pages they have read by OCR.
    pub ocr_cost: Duration,
    /// A busy child is past its limit and was not killed: the pool itself is stuck. The watchdog must starve.
    pub is_child_over_limit: bool,
}

/// Pages done, by where their text came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagesDone {
    pub text: u64,
    pub ocr: u64,
    pub both: u64,
    pub blank: u64,
    pub failed: u64,
}

impl PagesDone {
    pub fn total(&self) -> u64 {
        self.text + self.ocr + self.both + self.blank + self.failed
    }
}

impl PoolSnapshot {
    /// Mean processor time of a page read by OCR; `None` before the first. The drain's measure of what still fits.
    pub fn mean_ocr_time(&self) -> Option<Duration> {
        let pages = u32::try_from(self.pages.ocr + self.pages.both).unwrap_or(u32::MAX);
        (pages > 0).then(|| self.ocr_cost / pages)
    }
}

/// Children lost, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildrenLost {
    pub crashed: u64,
    pub timeout: u64,
    pub out_of_memory: u64,
    /// Killed because nobody wanted the document any more, or its time was over.
    pub cancelled: u64,
}

/// Where the pool keeps count.
#[derive(Debug)]
pub struct Counters {
    epoch: Instant,
    children: AtomicU64,
    wanted: AtomicU64,
    busy: AtomicU64,
    documents: AtomicU64,
    pages_waiting: AtomicU64,
    pages_text: AtomicU64,
    pages_ocr: AtomicU64,
    pages_both: AtomicU64,
    pages_blank: AtomicU64,
    pages_failed: AtomicU64,
    lost_crashed: AtomicU64,
    lost_timeout: AtomicU64,
    lost_out_of_memory: AtomicU64,
    lost_cancelled: AtomicU64,
    recycled: AtomicU64,
    ocr_cost_ms: AtomicU64,
    /// Per child: milliseconds since `epoch` by which it must have answered; 0 while it is idle.
    due_ms: Vec<AtomicU64>,
    /// Per child: its process number; 0 where none is.
    pids: Vec<AtomicI32>,
}

impl Counters {
    pub fn new(workers: usize) -> Self {
        Self {
            epoch: Instant::now(),
            children: AtomicU64::new(0),
            wanted: AtomicU64::new(workers as u64),
            busy: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            pages_waiting: AtomicU64::new(0),
            pages_text: AtomicU64::new(0),
            pages_ocr: AtomicU64::new(0),
            pages_both: AtomicU64::new(0),
            pages_blank: AtomicU64::new(0),
            pages_failed: AtomicU64::new(0),
            lost_crashed: AtomicU64::new(0),
            lost_timeout: AtomicU64::new(0),
            lost_out_of_memory: AtomicU64::new(0),
            lost_cancelled: AtomicU64::new(0),
            recycled: AtomicU64::new(0),
            ocr_cost_ms: AtomicU64::new(0),
            due_ms: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            pids: (0..workers).map(|_| AtomicI32::new(0)).collect(),
        }
    }

    /// What changes with each step of the dispatcher.
    pub fn set_load(&self, children: usize, busy: usize, documents: usize, pages_waiting: u64) {
        self.children.store(children as u64, Ordering::Relaxed);
        self.busy.store(busy as u64, Ordering::Relaxed);
        self.documents.store(documents as u64, Ordering::Relaxed);
        self.pages_waiting.store(pages_waiting, Ordering::Relaxed);
    }

    pub fn set_wanted(&self, children: usize) {
        self.wanted.store(children as u64, Ordering::Relaxed);
    }

    pub fn page_done(&self, source: PageSource) {
        let counter = match source {
            PageSource::Text => &self.pages_text,
            PageSource::Ocr => &self.pages_ocr,
            PageSource::Both => &self.pages_both,
            PageSource::Blank => &self.pages_blank,
            PageSource::Failed => &self.pages_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A page was read by OCR: what it cost its child.
    pub fn ocr_cost(&self, milliseconds: u32) {
        self.ocr_cost_ms.fetch_add(u64::from(milliseconds), Ordering::Relaxed);
    }

    pub fn child_lost(&self, reason: Reason) {
        let counter = match reason {
            Reason::Timeout => &self.lost_timeout,
            Reason::OutOfMemory => &self.lost_out_of_memory,
            _ => &self.lost_crashed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn child_cancelled(&self) {
        self.lost_cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub fn child_recycled(&self) {
        self.recycled.fetch_add(1, Ordering::Relaxed);
    }

    /// The child must answer within `limit` from now.
    pub fn answer_due(&self, slot: usize, limit: Duration) {
        let due = self.epoch.elapsed().saturating_add(limit).saturating_add(KILL_GRACE);
        self.set_due(slot, u64::try_from(due.as_millis()).unwrap_or(u64::MAX));
    }

    pub fn nothing_due(&self, slot: usize) {
        self.set_due(slot, 0);
    }

    fn set_due(&self, slot: usize, milliseconds: u64) {
        if let Some(due) = self.due_ms.get(slot) {
            due.store(milliseconds, Ordering::Relaxed);
        }
    }

    /// The slot has this process for a child; `None`: it has none.
    pub fn child_is(&self, slot: usize, pid: Option<i32>) {
        if let Some(number) = self.pids.get(slot) {
            number.store(pid.unwrap_or(0), Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub fn child_pids(&self) -> Vec<i32> {
        self.pids.iter().map(|pid| pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0).collect()
    }

    pub fn snapshot(&self) -> PoolSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now_ms = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        PoolSnapshot {
            children: load(&self.children),
            wanted: load(&self.wanted),
            busy: load(&self.busy),
            documents: load(&self.documents),
            pages_waiting: load(&self.pages_waiting),
            pages: PagesDone {
                text: load(&self.pages_text),
                ocr: load(&self.pages_ocr),
                both: load(&self.pages_both),
                blank: load(&self.pages_blank),
                failed: load(&self.pages_failed),
            },
            lost: ChildrenLost {
                crashed: load(&self.lost_crashed),
                timeout: load(&self.lost_timeout),
                out_of_memory: load(&self.lost_out_of_memory),
                cancelled: load(&self.lost_cancelled),
            },
            recycled: load(&self.recycled),
            ocr_cost: Duration::from_millis(load(&self.ocr_cost_ms)),
            is_child_over_limit: self.due_ms.iter().map(load).any(|due_ms| due_ms != 0 && due_ms < now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_past_its_limit_shows_until_it_is_idle_again() {
        let counters = Counters::new(2);
        assert!(!counters.snapshot().is_child_over_limit);
        counters.answer_due(1, Duration::from_secs(3600));
        assert!(!counters.snapshot().is_child_over_limit);
        let mut started_long_ago = Counters::new(2);
        started_long_ago.answer_due(1, Duration::ZERO);
        started_long_ago.epoch -= KILL_GRACE + Duration::from_secs(1);
        assert!(started_long_ago.snapshot().is_child_over_limit);
        started_long_ago.nothing_due(1);
        assert!(!started_long_ago.snapshot().is_child_over_limit);
    }
}
