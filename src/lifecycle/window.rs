//! How many jobs may be under way at once: the back-pressure of the receive loop.
//!
//! A slot is taken *before* a message is received, moves into its job and ends with it. Scans need few more jobs than
//! there are children: the next files are fetched while the children read. Small texts are bound by round trips to
//! store, index and queue, so with few jobs the children and the servers idle. Therefore the window grows while
//! children find nothing to do although every slot is taken, and falls back when pages keep waiting for children: a
//! worker then holds no more messages than it can work on, and an interruption gives few back. Texts come in bursts (one
//! answer of the index ends many jobs), whose pages wait too, but only for milliseconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pool::snapshot::PoolSnapshot;

/// Jobs beyond one per child that are always allowed: their files are fetched while the children are busy, and their
/// documents are written while the next pages are read.
const LOOK_AHEAD: usize = 10;
/// Jobs beyond one per child at most. At 300 ms of round trips for one text, half of it in a loaded index, this is four
/// hundred texts a second, and what so many documents hold in memory stays small.
const MOST_LOOK_AHEAD: usize = 128;
/// Pages that wait for children for so long are more than a burst.
const CROWDED: Duration = Duration::from_millis(250);
/// The window grows by this with each job that ends while a child has nothing to do: it doubles with each round.
const GROWTH: usize = 1;
/// How long a receive waits for further slots while jobs are under way, so that one call brings several messages. Short
/// against the work that [`LOOK_AHEAD`] jobs are.
const GATHERING: Duration = Duration::from_millis(100);

/// Jobs at once, for so many children, at most.
pub fn most_jobs(children: usize) -> usize {
    children + MOST_LOOK_AHEAD
}

/// The slots that jobs take.
pub struct JobWindow {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    least: usize,
    most: usize,
    allowed: usize,
    taken: usize,
    /// Since when pages have been waiting at the end of every job.
    crowded_since: Option<Instant>,
}

impl State {
    fn free(&self) -> usize {
        self.allowed.saturating_sub(self.taken)
    }
}

/// One job's place; free again when dropped.
pub struct JobSlot {
    window: Arc<JobWindow>,
}

impl JobWindow {
    pub fn new(children: usize) -> Arc<Self> {
        let least = children + LOOK_AHEAD;
        let state = State { least, most: most_jobs(children), allowed: least, taken: 0, crowded_since: None };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Waits until a slot is free and takes as many as there are then, `most` at most.
    pub async fn take(self: &Arc<Self>, most: usize) -> Vec<JobSlot> {
        loop {
            let changed = self.changed.notified();
            let (free, taken) = {
                let state = self.lock();
                (state.free(), state.taken)
            };
            if free == 0 {
                changed.await;
                continue;
            }
            if taken > 0 {
                // The time is all that there is to wait for; what is free then is taken.
                let _ = tokio::time::timeout(GATHERING, self.until_free(most)).await;
            }
            let slots = self.take_free(most);
            if !slots.is_empty() {
                return slots;
            }
        }
    }

    async fn until_free(&self, wanted: usize) {
        loop {
            let changed = self.changed.notified();
            if self.lock().free() >= wanted {
                return;
            }
            changed.await;
        }
    }

    fn take_free(self: &Arc<Self>, most: usize) -> Vec<JobSlot> {
        let mut state = self.lock();
        let count = state.free().min(most);
        state.taken += count;
        (0..count).map(|_| JobSlot { window: Arc::clone(self) }).collect()
    }

    /// What the children do when a job ends says whether more or fewer should be under way.
    fn adapt(&self, pool: &PoolSnapshot) {
        let mut state = self.lock();
        if pool.pages_waiting >= pool.wanted.max(1) {
            if state.crowded_since.get_or_insert_with(Instant::now).elapsed() >= CROWDED {
                state.allowed = state.least;
            }
            return;
        }
        state.crowded_since = None;
        if pool.busy < pool.wanted && state.free() == 0 {
            state.allowed = (state.allowed + GROWTH).min(state.most);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers without an invariant that a panic could break.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobSlot {
    /// The job has ended, and this is what the children were doing then.
    pub fn give_back(self, pool: &PoolSnapshot) {
        self.window.adapt(pool);
    }
}

impl Drop for JobSlot {
    fn drop(&mut self) {
        self.window.lock().taken -= 1;
        self.window.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILDREN: usize = 2;
    const LEAST: usize = CHILDREN + LOOK_AHEAD;

    fn pool(busy: u64, pages_waiting: u64) -> PoolSnapshot {
        PoolSnapshot { children: 2, wanted: 2, busy, pages_waiting, ..PoolSnapshot::default() }
    }

    /// Ends jobs one after the other, with another one in each place, while the pool looks like this.
    async fn jobs_end(window: &Arc<JobWindow>, count: usize, pool: PoolSnapshot) -> Vec<JobSlot> {
        let mut slots = window.take_free(usize::MAX);
        for _ in 0..count {
            window.adapt(&pool);
            slots.pop();
            slots.append(&mut window.take_free(usize::MAX));
        }
        slots
    }

    #[tokio::test]
    async fn it_grows_while_children_have_nothing_to_do_but_not_for_ever() {
        let window = JobWindow::new(CHILDREN);
        let few = jobs_end(&window, 12, pool(1, 0)).await.len();
        assert!(few > LEAST && few < most_jobs(CHILDREN), "{few}");
        let window = JobWindow::new(CHILDREN);
        assert_eq!(jobs_end(&window, 1000, pool(0, 0)).await.len(), most_jobs(CHILDREN));
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_small_while_children_are_busy_and_falls_back_when_pages_keep_waiting() {
        let window = JobWindow::new(CHILDREN);
        assert_eq!(jobs_end(&window, 100, pool(2, 1)).await.len(), LEAST);
        let window = JobWindow::new(CHILDREN);
        let mut slots = jobs_end(&window, 1000, pool(0, 0)).await;
        for is_waiting in [true, false, true] {
            window.adapt(&pool(2, if is_waiting { 9 } else { 0 }));
            tokio::time::advance(CROWDED * 3 / 4).await;
        }
        slots.pop();
        slots.append(&mut window.take_free(usize::MAX));
        assert_eq!(slots.len(), most_jobs(CHILDREN), "bursts are not what it is about");
        for _ in 0..2 {
            window.adapt(&pool(2, 9));
            tokio::time::advance(CROWDED).await;
        }
        slots.truncate(LEAST);
        assert!(window.take_free(usize::MAX).is_empty(), "no more than the least before others have ended");
        slots.pop();
        assert_eq!(window.take_free(usize::MAX).len(), 1);
    }

    #[tokio::test]
    async fn free_slots_without_jobs_do_not_make_it_grow() {
        let window = JobWindow::new(CHILDREN);
        let one = window.take_free(1);
        for _ in 0..100 {
            window.adapt(&pool(0, 0));
        }
        drop(one);
        assert_eq!(window.take_free(usize::MAX).len(), LEAST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receive_waits_for_a_slot_and_then_for_more_of_them() {
        let window = JobWindow::new(CHILDREN);
        let mut slots = window.take(usize::MAX).await;
        assert_eq!(slots.len(), LEAST);
        let waiting = tokio::spawn({
            let window = Arc::clone(&window);
            async move { window.take(10).await }
        });
        tokio::task::yield_now().await;
        slots.pop();
        tokio::task::yield_now().await;
        slots.truncate(LEAST - 5);
        assert_eq!(waiting.await.expect("no panic").len(), 5);
    }
}
