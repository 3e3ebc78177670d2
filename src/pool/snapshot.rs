//! The pool's state as numbers that anyone may read at any time: the health page, the metrics, the watchdog.
//! Atomics, so that a reader never makes a page wait.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
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
    /// Time during which children had a request in hand, summed over all children; requests under way included.
    pub busy_time: Duration,
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
    /// Per child: how long it has had requests in hand.
    stopwatches: Vec<Stopwatch>,
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
            stopwatches: (0..workers).map(|_| Stopwatch::default()).collect(),
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

    /// The child is being given a request, and has it in hand until [`Counters::request_done`].
    pub fn request_given(&self, slot: usize) {
        if let Some(stopwatch) = self.stopwatches.get(slot) {
            stopwatch.start(self.epoch.elapsed());
        }
    }

    /// The child's request has come to its end, whichever that is.
    pub fn request_done(&self, slot: usize) {
        self.set_due(slot, 0);
        if let Some(stopwatch) = self.stopwatches.get(slot) {
            stopwatch.stop(self.epoch.elapsed());
        }
    }

    /// The child must answer within `limit` from now.
    pub fn answer_due(&self, slot: usize, limit: Duration) {
        let due = self.epoch.elapsed().saturating_add(limit).saturating_add(KILL_GRACE);
        self.set_due(slot, u64::try_from(due.as_millis()).unwrap_or(u64::MAX));
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
        let now = self.epoch.elapsed();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
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
            busy_time: self.stopwatches.iter().map(|stopwatch| stopwatch.total(now)).sum(),
            is_child_over_limit: self.due_ms.iter().map(load).any(|due_ms| due_ms != 0 && due_ms < now_ms),
        }
    }
}

/// Time spent in one of two states, exact also for a reader that comes while it runs. One number holds everything, so that
/// no reader meets a stopwatch between two states: the lowest bit says whether it runs; the rest is the total in
/// microseconds, and while it runs the total less the moment it was started at.
#[derive(Debug, Default)]
struct Stopwatch(AtomicI64);

impl Stopwatch {
    const RUNS: i64 = 1;

    /// `now` and every later moment count from the same beginning. Only one task may start and stop it.
    fn start(&self, now: Duration) {
        let total = self.total(now);
        self.0.store((microseconds(total) - microseconds(now)) << 1 | Self::RUNS, Ordering::Relaxed);
    }

    fn stop(&self, now: Duration) {
        self.0.store(microseconds(self.total(now)) << 1, Ordering::Relaxed);
    }

    fn total(&self, now: Duration) -> Duration {
        let state = self.0.load(Ordering::Relaxed);
        let running_since = if state & Self::RUNS != 0 { microseconds(now) } else { 0 };
        Duration::from_micros(u64::try_from((state >> 1) + running_since).unwrap_or(0))
    }
}

/// Half of what an `i64` holds, and so a hundred thousand years, fits a [`Stopwatch`].
fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_counts_what_lies_between_start_and_stop_and_what_runs() {
        let at = Duration::from_millis;
        let stopwatch = Stopwatch::default();
        assert_eq!(stopwatch.total(at(7)), at(0));
        stopwatch.start(at(10));
        assert_eq!(stopwatch.total(at(10)), at(0));
        assert_eq!(stopwatch.total(at(13)), at(3));
        stopwatch.stop(at(15));
        assert_eq!(stopwatch.total(at(40)), at(5));
        stopwatch.start(at(50));
        assert_eq!(stopwatch.total(at(52)), at(7));
        stopwatch.stop(at(60));
        stopwatch.stop(at(70));
        assert_eq!(stopwatch.total(at(80)), at(15), "a second stop counts nothing");
    }

    #[test]
    fn busy_time_is_summed_over_children_and_goes_on_while_a_request_is_under_way() {
        let mut counters = Counters::new(2);
        counters.request_given(0);
        counters.request_given(1);
        counters.epoch -= Duration::from_secs(10);
        counters.request_done(1);
        let both_worked = counters.snapshot().busy_time;
        assert!(both_worked >= Duration::from_secs(20), "{both_worked:?}");
        counters.epoch -= Duration::from_secs(5);
        let one_went_on = counters.snapshot().busy_time;
        assert!(one_went_on >= both_worked + Duration::from_secs(5), "{one_went_on:?}");
        assert!(one_went_on < both_worked + Duration::from_secs(10), "the idle one counts nothing: {one_went_on:?}");
    }

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
        started_long_ago.request_done(1);
        assert!(!started_long_ago.snapshot().is_child_over_limit);
    }
}
