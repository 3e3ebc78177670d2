//! The pool as the rest of the program sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pool::dispatcher::{Dispatcher, DispatcherChannels, FIRST_GENERATION, Order};
use crate::pool::extraction::{Extraction, Source};
use crate::pool::protocol::{ChildReady, ChildSettings};
use crate::pool::scheduler::DocumentId;
use crate::pool::slot::{Event, Slot, SlotControls, SlotSettings, StartError};
use crate::pool::snapshot::{Counters, PoolSnapshot};
use crate::pool::spawn::Spawner;
use crate::pool::work::DocumentLimits;

/// This binary, also when the file it was started from has been replaced since.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// Events that slots may have said before the dispatcher listens; a slot that says more waits.
const EVENTS_PER_SLOT: usize = 16;

/// How many children, what they are told, and what they may cost.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// What is started as a child: [`OWN_PROGRAM`], except in tests.
    pub program: PathBuf,
    /// `MAX_WORKERS`; at least 1.
    pub workers: usize,
    pub child: ChildSettings,
    /// `OCR_TIMEOUT`: one page, one opening, one thumbnail
    pub page_timeout: Duration,
    /// `PROCESSING_TIMEOUT`: a document in the children's hands without an answer
    pub progress_timeout: Duration,
    /// `PROCESSING_TIMEOUT_TOTAL`: a document since a child first had it
    pub total_timeout: Duration,
    /// `MAX_PDF_PAGES`
    pub max_pages: u32,
    /// `CHILD_MAX_PAGES`: a child is replaced after so many recognised pages
    pub child_max_pages: u32,
    /// A child whose resident memory is above this after a request is replaced.
    pub child_resident_limit_bytes: u64,
}

/// Why the pool did not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("start the thread that starts child processes")]
    Spawner(#[source] std::io::Error),
    /// Its own words say what is missing and every place tried.
    #[error(transparent)]
    Child(#[from] StartError),
}

/// The document was not finished because nobody wants it any more, or the pool stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extraction was cancelled")]
pub struct Cancelled;

/// The children and the queue in front of them. Dropping it ends them.
pub struct Pool {
    orders: mpsc::UnboundedSender<Order>,
    ready: ChildReady,
    counters: Arc<Counters>,
    next_document: AtomicU64,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Pool {
    /// Starts all children and returns when every one is ready. The first that cannot be is the error.
    pub async fn start(settings: PoolSettings) -> Result<Pool, PoolError> {
        let limits = DocumentLimits {
            max_pages: settings.max_pages,
            progress_timeout: settings.progress_timeout,
            total_timeout: settings.total_timeout,
        };
        let counters = Arc::new(Counters::new(settings.workers.max(1)));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        // However this function is left without a pool, the slots stop.
        let stop_unless_started = stop.clone().drop_guard();
        let (slots, events) = start_slots(settings, &counters, &stop, &tasks)?;
        // Unbounded, because a cancellation must never wait; callers bound it: each has one document at a time.
        let (orders_in, orders) = mpsc::unbounded_channel();
        let channels = DispatcherChannels { orders, events, slots };
        let mut dispatcher = Dispatcher::new(limits, channels, counters.clone(), stop.clone());
        let ready = match dispatcher.wait_until_ready().await {
            Ok(ready) => ready,
            Err(error) => {
                drop((stop_unless_started, dispatcher));
                tasks.close();
                tasks.wait().await;
                return Err(error.into());
            }
        };
        stop_unless_started.disarm();
        tasks.spawn(dispatcher.run());
        tasks.close();
        Ok(Pool { orders: orders_in, ready, counters, next_document: AtomicU64::new(1), stop, tasks })
    }

    /// What the children said of themselves: versions and sandbox.
    pub fn ready(&self) -> ChildReady {
        self.ready.clone()
    }

    /// Reads one spooled file. Never fails because of the file: a bad one is an [`Extraction`] with `failure`.
    /// When `cancel` fires, or this future is dropped, the document's pages are killed and dropped at once.
    pub async fn extract(&self, source: Source, cancel: &CancellationToken) -> Result<Extraction, Cancelled> {
        let (_cancel_unless_finished, extraction) = self.order(source, None)?;
        until(cancel, extraction).await?.map_err(|_| Cancelled)
    }

    /// The same, but before the first page is recognised `is_known` is asked, once, and if it says so, the file is left:
    /// `None`. A file that needs no OCR is read without asking.
    pub async fn extract_unless(
        &self,
        source: Source,
        cancel: &CancellationToken,
        is_known: impl Future<Output = bool>,
    ) -> Result<Option<Extraction>, Cancelled> {
        let (needs_ocr, asked) = oneshot::channel();
        let (cancel_unless_finished, mut extraction) = self.order(source, Some(needs_ocr))?;
        let question = async {
            match asked.await {
                Ok(()) => is_known.await,
                // Nobody will ask any more; the answer to the order is on its way.
                Err(_) => std::future::pending().await,
            }
        };
        let either = async {
            tokio::select! {
                biased;
                extraction = &mut extraction => Some(extraction),
                is_known = question => {
                    let decision = Order::Decide { document: cancel_unless_finished.document, recognize: !is_known };
                    // Without a dispatcher the answer never comes.
                    let _ = self.orders.send(decision);
                    if is_known { None } else { Some((&mut extraction).await) }
                }
            }
        };
        match until(cancel, either).await? {
            Some(extraction) => extraction.map(Some).map_err(|_| Cancelled),
            None => {
                // What a child is doing for the file comes to its end: to kill it would cost more.
                let _ = until(cancel, extraction).await?;
                Ok(None)
            }
        }
    }

    fn order(
        &self,
        source: Source,
        needs_ocr: Option<oneshot::Sender<()>>,
    ) -> Result<(CancelOnDrop, oneshot::Receiver<Extraction>), Cancelled> {
        let document = self.next_document.fetch_add(1, Ordering::Relaxed);
        let (reply, extraction) = oneshot::channel();
        let cancel_unless_finished = CancelOnDrop { orders: self.orders.clone(), document };
        self.orders.send(Order::Extract { document, source, needs_ocr, reply }).map_err(|_| Cancelled)?;
        Ok((cancel_unless_finished, extraction))
    }

    /// How many children get work from now on, 1 to `MAX_WORKERS`. Surplus ones finish what they have and end; none is
    /// killed for it.
    pub fn set_wanted(&self, children: usize) {
        // Without a dispatcher there is nothing left to shrink.
        let _ = self.orders.send(Order::SetWanted(children));
    }

    /// Puts a fresh child into the place of every one, and kills those that are busy (their pages are given to the fresh
    /// ones): the sandbox of a child is bound to the spool's folder as it was when the child started.
    pub fn replace_children(&self) {
        // Without a dispatcher there are no children.
        let _ = self.orders.send(Order::ReplaceChildren);
    }

    /// The pool as numbers; waits for nothing.
    pub fn snapshot(&self) -> PoolSnapshot {
        self.counters.snapshot()
    }

    /// The process numbers of the children that are up.
    #[cfg(test)]
    pub fn child_pids(&self) -> Vec<i32> {
        self.counters.child_pids()
    }

    /// Ends the children; idle ones by themselves, busy ones by force: what they do is answered [`Cancelled`].
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Orders a child to misbehave: what it said, or the verdict on it. For tests.
    #[cfg(test)]
    pub async fn misbehave(
        &self,
        how: crate::pool::protocol::Misbehaviour,
    ) -> Result<Result<String, crate::document::Failure>, Cancelled> {
        let (reply, verdict) = oneshot::channel();
        let misdeed = crate::pool::dispatcher::Misdeed { how, reply };
        self.orders.send(Order::Misbehave(misdeed)).map_err(|_| Cancelled)?;
        verdict.await.map_err(|_| Cancelled)
    }
}

type SlotChannels = (Vec<SlotControls>, mpsc::Receiver<Event>);

fn start_slots(
    settings: PoolSettings,
    counters: &Arc<Counters>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<SlotChannels, PoolError> {
    let workers = settings.workers.max(1);
    let slot_settings = Arc::new(SlotSettings {
        program: settings.program,
        child: settings.child,
        page_timeout: settings.page_timeout,
        child_max_pages: settings.child_max_pages,
        child_resident_limit_bytes: settings.child_resident_limit_bytes,
    });
    let spawner = Spawner::start().map_err(PoolError::Spawner)?;
    let (events_in, events) = mpsc::channel(workers * EVENTS_PER_SLOT);
    let mut slots = Vec::with_capacity(workers);
    for number in 0..workers {
        let (assignments_in, slot_assignments) = mpsc::channel(1);
        let (wanted_in, wanted) = watch::channel(Some(FIRST_GENERATION));
        slots.push(SlotControls { assignments: assignments_in, wanted: wanted_in });
        let slot = Slot {
            number,
            settings: slot_settings.clone(),
            spawner: spawner.clone(),
            assignments: slot_assignments,
            wanted,
            events: events_in.clone(),
            counters: counters.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(slot.run());
    }
    Ok((slots, events))
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the future comes to, unless `cancel` fires first.
async fn until<T>(cancel: &CancellationToken, future: impl Future<Output = T>) -> Result<T, Cancelled> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Cancelled),
        value = future => Ok(value),
    }
}

/// Says that nobody waits any more. For a document that is finished it means nothing.
struct CancelOnDrop {
    orders: mpsc::UnboundedSender<Order>,
    document: DocumentId,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // Without a dispatcher there is nothing left to cancel.
        let _ = self.orders.send(Order::Cancel { document: self.document });
    }
}
