//! The receive loop, and the way to its end. The daemon and `local` run this same service.
//!
//! A slot of the [`JobWindow`] is taken *before* a message is received, moves into its job and ends with it: that is all
//! of the back-pressure. While store, index or spool are down nothing is received, so an outage costs no receive counts.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::health::error_chain;
use crate::health::events::{DrainFinished, JobPanicked, MessagesReceived, ReceiveFailed};
use crate::health::status::{Dependency, Status};
use crate::job::{Context, JobProgress, dependencies, message, spool_watch};
use crate::queue::lease::{Adoption, Lease, LeaseKeeper};
use crate::queue::{Queue, QueueError, ReceivedMessage};

use super::drain::{self, Pace};
use super::interruption::Interruptions;
use super::jobs::{Job, Jobs};
use super::memory;
use super::window::{JobSlot, JobWindow};

/// Pause after a failed receive; grows up to the second.
const RECEIVE_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a receive that is under way at the end may still answer. Until then whatever it brings is released: the
/// queue would otherwise hand the messages we have just released to our own open long poll, and nobody would see
/// them before their visibility timeout. Longer than the shortest long poll of 1 s, which so is never left behind.
const LAST_RECEIVE: Duration = Duration::from_millis(1_200);
/// An embedded folder that yields nothing more is looked at again this often while jobs are still in flight.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);
/// How long the last calls to the queue may take at the very end: what they do not achieve, the visibility timeout does.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// The poll loop says that it turns at least this often while it waits for a free slot.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How the service came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Jobs that did not fit and were released.
    pub released: u64,
}

/// Everything that runs between READY and the end.
pub struct Service {
    pub context: Arc<Context>,
    pub queue: Arc<dyn Queue>,
    pub status: Arc<Status>,
    pub jobs: Arc<Jobs>,
    /// Says when to stop receiving, and how much time is left then.
    pub interruptions: Interruptions,
}

impl Service {
    /// Receives until the first interruption (or until the queue is exhausted), then drains within what it leaves.
    pub async fn run(self) -> Drained {
        let keeper = LeaseKeeper::start(Arc::clone(&self.queue), self.context.settings.queue.visibility_timeout);
        let probes = TaskTracker::new();
        let probes_stop = CancellationToken::new();
        self.start_probes(&probes, &probes_stop);

        let tasks = TaskTracker::new();
        let last_receive = self.receive_until_stopped(&keeper, &tasks).await;
        let give_up_receive = CancellationToken::new();
        let late_messages = last_receive.map(|receiving| {
            tokio::spawn(release_late_messages(receiving, Arc::clone(&self.queue), give_up_receive.clone()))
        });

        let started = Instant::now();
        let in_flight = self.jobs.len() as u64;
        let released = self.let_jobs_finish().await;
        tasks.close();
        if self.jobs.len() == 0 {
            tasks.wait().await;
        }
        if let Some(mut late) = late_messages
            && tokio::time::timeout(LAST_RECEIVE, &mut late).await.is_err()
        {
            give_up_receive.cancel();
            // What it brought in the last moment is still being released.
            let _ = tokio::time::timeout(LAST_CALLS, late).await;
        }
        if tokio::time::timeout(LAST_CALLS, keeper.stop()).await.is_err() {
            log::warn!("the lease keeper's last calls are not waited for");
        }
        probes_stop.cancel();
        probes.close();
        probes.wait().await;
        DrainFinished {
            finished: in_flight.saturating_sub(released),
            released,
            took: started.elapsed(),
            deadline_reached: self.interruptions.remaining().is_some_and(|remaining| remaining.is_zero()),
        }
        .emit();
        Drained { released }
    }

    /// Waits for the jobs in flight; how many had to be released.
    async fn let_jobs_finish(&self) -> u64 {
        // A queue that is exhausted has no deadline: its last jobs finish in their own time, unless the stop comes.
        let stop = self.interruptions.stop();
        if !stop.is_cancelled() {
            tokio::select! {
                () = self.wait_for_jobs() => return 0,
                () = stop.cancelled() => {}
            }
        }
        let pace = || {
            let pool = self.context.pool.snapshot();
            Pace { page: pool.mean_ocr_time(), children: u32::try_from(pool.wanted).unwrap_or(u32::MAX) }
        };
        let mut changes = self.interruptions.changes();
        if let Some(interruption) = *changes.borrow_and_update() {
            self.status.drain_started(&interruption.cause.to_string(), interruption.remaining());
        }
        let tell_of_changes = async {
            while changes.changed().await.is_ok() {
                if let Some(interruption) = *changes.borrow_and_update() {
                    self.status.drain_shortened(&interruption.cause.to_string(), interruption.remaining());
                }
            }
        };
        let draining = pin!(drain::drain(&self.jobs, &self.interruptions, pace));
        match select(draining, pin!(tell_of_changes)).await {
            Either::Left((released, _)) => released,
            Either::Right(((), draining)) => draining.await,
        }
    }

    async fn wait_for_jobs(&self) {
        while self.jobs.len() > 0 {
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
    }

    fn start_probes(&self, probes: &TaskTracker, stop: &CancellationToken) {
        let (context, store_stop) = (Arc::clone(&self.context), stop.clone());
        probes.spawn(async move {
            let probe = async || context.store.probe().await.map_err(|error| error.outage());
            dependencies::keep_probing(&context.status, Dependency::Store, &store_stop, probe).await;
        });
        let (context, index_stop) = (Arc::clone(&self.context), stop.clone());
        probes.spawn(async move {
            let probe = async || context.index.probe().await.map_err(|error| error.outage());
            dependencies::keep_probing(&context.status, Dependency::Index, &index_stop, probe).await;
        });
        let (status, queue, queue_stop) = (Arc::clone(&self.status), Arc::clone(&self.queue), stop.clone());
        probes.spawn(async move {
            let probe = async || queue.probe_dead_letter().await.map(|_name| ()).map_err(|error| error.outage());
            dependencies::keep_probing(&status, Dependency::DeadLetterQueue, &queue_stop, probe).await;
        });
        let (context, spool_stop) = (Arc::clone(&self.context), stop.clone());
        probes.spawn(async move { spool_watch::watch(&context, &spool_stop).await });
        let (context, memory_stop) = (Arc::clone(&self.context), stop.clone());
        probes.spawn(async move {
            let resize = |children| context.pool.set_wanted(children);
            let source = memory::MemorySource::of_this_process();
            memory::watch(context.settings.extraction.workers, source, resize, memory_stop).await;
        });
    }

    /// The receive that is still under way when the stop came.
    async fn receive_until_stopped(&self, keeper: &LeaseKeeper, tasks: &TaskTracker) -> Option<Receiving> {
        let window = JobWindow::new(self.context.settings.extraction.workers);
        let mut pause = RECEIVE_PAUSE.0;
        while let Some(slots) = self.free_slots(&window).await {
            self.status.poll_loop_turned();
            let mut receiving = self.start_receive(slots.len());
            let answer = tokio::select! {
                answer = &mut receiving => answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())),
                () = self.interruptions.stop().cancelled() => return Some(receiving),
            };
            match answer {
                Ok(messages) => {
                    pause = RECEIVE_PAUSE.0;
                    let received_none = messages.is_empty();
                    if !received_none {
                        MessagesReceived { count: messages.len() }.emit();
                    }
                    for (received, slot) in messages.into_iter().zip(slots) {
                        self.start_job(keeper, tasks, received, slot);
                    }
                    if received_none && self.queue.is_exhausted() {
                        return None;
                    }
                }
                Err(error) => {
                    ReceiveFailed { error: &error_chain(&error) }.emit();
                    drop(slots);
                    self.interruptions.stop().run_until_cancelled(tokio::time::sleep(pause)).await?;
                    pause = (pause * 2).min(RECEIVE_PAUSE.1);
                }
            }
        }
        None
    }

    /// In a task of its own: a long poll that is dropped half-way may take messages with it.
    fn start_receive(&self, max: usize) -> Receiving {
        let queue = Arc::clone(&self.queue);
        tokio::spawn(async move { queue.receive(max).await })
    }

    /// As many slots as one receive call may fill, at least one; `None` when the stop comes first.
    async fn free_slots(&self, window: &Arc<JobWindow>) -> Option<Vec<JobSlot>> {
        let free = async {
            loop {
                let ready = async {
                    dependencies::wait_until_work_is_possible(&self.status).await;
                    window.take(self.context.settings.queue.max_messages).await
                };
                // The loop is alive while it waits for a child to finish: that is what the watchdog asks.
                match tokio::time::timeout(HEARTBEAT, ready).await {
                    Ok(slots) => return slots,
                    Err(_elapsed) => self.status.poll_loop_turned(),
                }
            }
        };
        self.interruptions.stop().run_until_cancelled(free).await
    }

    fn start_job(&self, keeper: &LeaseKeeper, tasks: &TaskTracker, received: ReceivedMessage, slot: JobSlot) {
        let lease: Lease = match keeper.lease(received) {
            Adoption::New(lease) => lease,
            // Delivered twice while in flight: the keeper has swapped the receipt handle.
            Adoption::AlreadyInFlight => return,
        };
        let progress = Arc::new(JobProgress::default());
        let cancel = lease.lost().child_token();
        let guard = self.jobs.enter(Job {
            message_id: lease.message().message_id.clone(),
            progress: Arc::clone(&progress),
            cancel: cancel.clone(),
        });
        self.status.set_messages_held(self.jobs.len());
        let (context, status) = (Arc::clone(&self.context), Arc::clone(&self.status));
        let (after, jobs) = (Arc::clone(&context), Arc::clone(&self.jobs));
        tasks.spawn(async move {
            let _counted = status.job_started();
            let message_id = lease.message().message_id.clone();
            // The lease is dropped with the job, so the message comes again when its visibility timeout ends.
            let job = AssertUnwindSafe(message::handle(context, lease, progress, cancel));
            if job.catch_unwind().await.is_err() {
                JobPanicked { message_id: &message_id }.emit();
            }
            drop(guard);
            status.set_messages_held(jobs.len());
            slot.give_back(&after.pool.snapshot());
        });
    }
}

/// A receive call under way.
pub(super) type Receiving = JoinHandle<Result<Vec<ReceivedMessage>, QueueError>>;

/// Gives back what the last receive brings.
pub(super) async fn release_late_messages(receiving: Receiving, queue: Arc<dyn Queue>, give_up: CancellationToken) {
    let Some(Ok(Ok(messages))) = give_up.run_until_cancelled(receiving).await else { return };
    for message in messages {
        if let Err(error) = queue.change_visibility(&message.handle(), Duration::ZERO).await {
            log::warn!(
                message_id:% = message.message_id, error:% = error_chain(&error);
                "message not released, it comes back by itself"
            );
        }
    }
}
