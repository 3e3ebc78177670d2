//! Lease keeper, slots, settling and drain under random schedules and paused time: the real parts, an unkind queue, and
//! jobs that work for a random time and end at random. Each seed is another history; a failing one names itself.
//!
//! What must hold in every history: no two live jobs for one message; no job deletes a message whose lease it lost; each
//! job ends in one way; no delivery is released twice; and a calm worker afterwards finds every message that was not
//! deleted, so that in the end each was deleted exactly once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::drain::{self, Pace};
use super::interruption::{Budgets, Cause, Interruptions};
use super::jobs::{Job, JobGuard, Jobs};
use super::service::{Receiving, release_late_messages};
use crate::document::{Failure, Reason};
use crate::job::JobProgress;
use crate::pool::Progress;
use crate::queue::double::{Trouble, UnkindQueue};
use crate::queue::lease::{Adoption, Lease, LeaseKeeper, retry_delay};
use crate::queue::{Queue, QueueError};

const SEEDS: u64 = 300;
const VISIBILITY: Duration = Duration::from_secs(30);
const MESSAGES: usize = 15;
const SLOTS: usize = 4;
const PAGE: Duration = Duration::from_secs(3);
const LAST_RECEIVE: Duration = Duration::from_millis(1_200);
/// Longer than any history here.
const CALM: Duration = Duration::from_secs(4 * 3600);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Completed,
    DeadLettered,
    Released,
    Lost,
    /// The queue did not take it; the message comes again.
    NotSettled,
}

/// What is known of all jobs of one history.
#[derive(Default)]
struct Records {
    /// By message: the number of its live job, and whether its lease is lost.
    live: HashMap<String, (usize, CancellationToken)>,
    started: usize,
    ends: Vec<End>,
}

/// One worker process.
struct Worker {
    queue: Arc<UnkindQueue>,
    keeper: LeaseKeeper,
    jobs: Arc<Jobs>,
    interruptions: Interruptions,
    records: Arc<Mutex<Records>>,
    tasks: TaskTracker,
    /// Whether every job ends well and quickly.
    calm: bool,
}

impl Worker {
    fn start(queue: &Arc<UnkindQueue>, records: &Arc<Mutex<Records>>, calm: bool) -> Self {
        let budgets = Budgets { signal: Duration::from_secs(40), lifecycle: Duration::from_secs(200) };
        Self {
            queue: Arc::clone(queue),
            keeper: LeaseKeeper::start(Arc::clone(queue) as Arc<dyn Queue>, VISIBILITY),
            jobs: Arc::default(),
            interruptions: Interruptions::new(budgets),
            records: Arc::clone(records),
            tasks: TaskTracker::new(),
            calm,
        }
    }

    /// As the service: receives until it is stopped, drains, stops the keeper last.
    async fn run(self, mut random: Rng) {
        let late = self.receive_until_stopped(&mut random).await.map(|receiving| {
            let queue = Arc::clone(&self.queue) as Arc<dyn Queue>;
            tokio::spawn(release_late_messages(receiving, queue, CancellationToken::new()))
        });
        let pace = || Pace { page: Some(PAGE), children: 1 };
        drain::drain(&self.jobs, &self.interruptions, pace).await;
        self.tasks.close();
        if self.jobs.len() == 0 {
            self.tasks.wait().await;
        }
        if let Some(late) = late {
            let _ = timeout(LAST_RECEIVE, late).await;
        }
        self.keeper.stop().await;
    }

    async fn receive_until_stopped(&self, random: &mut Rng) -> Option<Receiving> {
        let slots = Arc::new(Semaphore::new(SLOTS));
        let stop = self.interruptions.stop();
        loop {
            let permit = stop.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await?.expect("never closed");
            let queue = Arc::clone(&self.queue);
            let mut receiving = tokio::spawn(async move { queue.receive(1).await });
            let answer = tokio::select! {
                answer = &mut receiving => answer.expect("no panic"),
                () = stop.cancelled() => return Some(receiving),
            };
            let Some(message) = answer.expect("receives do not fail here").pop() else {
                stop.run_until_cancelled(sleep(Duration::from_secs(1))).await?;
                continue;
            };
            let Adoption::New(lease) = self.keeper.lease(message) else { continue };
            let progress = Arc::new(JobProgress::default());
            let cancel = lease.lost().child_token();
            let guard = self.jobs.enter(Job {
                message_id: lease.message().message_id.clone(),
                progress: Arc::clone(&progress),
                cancel: cancel.clone(),
            });
            let (records, calm, seed) = (Arc::clone(&self.records), self.calm, random.u64(..));
            self.tasks.spawn(async move {
                work(lease, &progress, &cancel, guard, &records, calm, Rng::with_seed(seed)).await;
                drop(permit);
            });
        }
    }
}

/// One job: pages, then an end, as `job::message` settles.
async fn work(
    lease: Lease,
    progress: &JobProgress,
    cancel: &CancellationToken,
    guard: JobGuard,
    records: &Mutex<Records>,
    calm: bool,
    mut random: Rng,
) {
    let message_id = lease.message().message_id.clone();
    let number = begin(records, &message_id, lease.lost());
    let pages = if calm { 1 } else { random.u32(1..40) };
    // Some notice too late that they have to end: then the lease must refuse what they do.
    let listens = calm || random.u32(0..5) > 0;
    let pages_of_document = progress.observer().progress;
    let reading = async {
        for pages_done in 0..pages {
            pages_of_document.send_replace(Progress { pages_done, pages_total: pages });
            sleep(PAGE.mul_f64(random.f64() * 2.0)).await;
        }
        pages_of_document.send_replace(Progress { pages_done: pages, pages_total: pages });
    };
    let finished = match listens {
        true => cancel.run_until_cancelled(reading).await.is_some(),
        false => {
            reading.await;
            true
        }
    };
    let was_lost = lease.lost().is_cancelled();
    let attempts = lease.message().receive_count;
    let choice = if calm { 0 } else { random.u32(0..10) };
    // While it deletes, a job is live: the message must not be given to another one.
    if choice >= 6 || !finished {
        leave(records, &message_id, number);
    }
    let (settled, intended) = match (finished, choice) {
        (false, _) if was_lost => (Err(QueueError::LeaseLost), End::Released),
        (false, _) => (lease.release(Duration::ZERO).await, End::Released),
        (true, 0..6) => (lease.complete().await, End::Completed),
        (true, 6..8) => (lease.release(retry_delay(attempts)).await, End::Released),
        (true, _) => (dead_letter(lease).await, End::DeadLettered),
    };
    assert!(!(was_lost && settled.is_ok()), "{message_id}: settled although its lease was lost");
    leave(records, &message_id, number);
    let end = match settled {
        Ok(()) => intended,
        Err(QueueError::LeaseLost) => End::Lost,
        Err(_) => End::NotSettled,
    };
    records.lock().unwrap().ends.push(end);
    drop(guard);
}

async fn dead_letter(lease: Lease) -> Result<(), QueueError> {
    match lease.copy_to_dead_letter_queue(&Failure::new(Reason::Corrupt, "")).await {
        Ok(()) => lease.complete().await,
        Err(error) => lease.release(retry_delay(1)).await.and(Err(error)),
    }
}

fn begin(records: &Mutex<Records>, message_id: &str, lost: &CancellationToken) -> usize {
    let mut records = records.lock().unwrap();
    records.started += 1;
    let number = records.started;
    let former = records.live.insert(message_id.to_owned(), (number, lost.clone()));
    assert!(former.is_none_or(|(_, lost)| lost.is_cancelled()), "{message_id} has two live jobs");
    number
}

fn leave(records: &Mutex<Records>, message_id: &str, number: usize) {
    let mut records = records.lock().unwrap();
    if records.live.get(message_id).is_some_and(|(live, _)| *live == number) {
        records.live.remove(message_id);
    }
}

/// Does something to the queue every now and then.
async fn make_trouble(queue: &UnkindQueue, mut random: Rng) {
    loop {
        sleep(Duration::from_millis(random.u64(0..8000))).await;
        let message = random.choice(queue.left());
        let trouble = match random.bool() {
            true => Trouble::FailNext(random.usize(1..12)),
            false => Trouble::LoseAnswer(random.usize(1..4)),
        };
        match (random.u32(0..9), message) {
            (0, Some(message)) => queue.steal(&message),
            (1 | 2, Some(message)) => queue.redeliver(&message),
            (3, _) => queue.order_visibility_trouble(trouble),
            (4, _) => queue.order_delete_trouble(trouble),
            (5, _) => queue.order_dead_letter_trouble(trouble),
            (6, _) => queue.delay_visibility_changes(Duration::from_millis(random.u64(0..20_000))),
            (7, _) => queue.delay_receives(Duration::from_millis(random.u64(0..40_000))),
            _ => {
                queue.delay_visibility_changes(Duration::ZERO);
                queue.delay_receives(Duration::ZERO);
            }
        }
    }
}

/// Interrupts the worker at a random moment, some more urgently later.
async fn interrupt(interruptions: Interruptions, mut random: Rng) {
    sleep(Duration::from_millis(random.u64(0..300_000))).await;
    interruptions.report(random.choice([Cause::LifecycleTermination, Cause::Signal("SIGTERM")]).unwrap());
    if random.bool() {
        sleep(Duration::from_millis(random.u64(0..60_000))).await;
        interruptions.report(Cause::RebalanceRecommendation);
    }
    if random.bool() {
        sleep(Duration::from_millis(random.u64(0..60_000))).await;
        interruptions.abandon();
    }
}

/// Ways in which jobs of this history ended.
async fn history(seed: u64) -> HashSet<End> {
    let mut random = Rng::with_seed(seed);
    fastrand::seed(seed);
    let queue = Arc::new(UnkindQueue::new(VISIBILITY));
    for _ in 0..MESSAGES {
        queue.send("{}").await.unwrap();
    }
    let records = Arc::new(Mutex::new(Records::default()));
    let (troubled, troubles) = (Arc::clone(&queue), random.fork());
    let trouble_ends = CancellationToken::new();
    let until = trouble_ends.clone();
    tokio::spawn(async move { until.run_until_cancelled(make_trouble(&troubled, troubles)).await });
    for _ in 0..3 {
        let worker = Worker::start(&queue, &records, false);
        tokio::spawn(interrupt(worker.interruptions.clone(), random.fork()));
        worker.run(random.fork()).await;
        // Those that a worker did not wait for die with its process; here they come to their end.
        sleep(VISIBILITY * 20).await;
    }
    trouble_ends.cancel();
    queue.order_visibility_trouble(Trouble::FailNext(0));
    queue.order_delete_trouble(Trouble::FailNext(0));
    queue.delay_visibility_changes(Duration::ZERO);
    queue.delay_receives(Duration::ZERO);

    let calm = Worker::start(&queue, &records, true);
    let (interruptions, emptied) = (calm.interruptions.clone(), Arc::clone(&queue));
    tokio::spawn(async move {
        let deadline = Instant::now() + CALM;
        while !emptied.left().is_empty() && Instant::now() < deadline {
            sleep(Duration::from_secs(10)).await;
        }
        interruptions.report(Cause::Signal("SIGTERM"));
    });
    calm.run(random.fork()).await;

    assert_eq!(queue.left(), Vec::<String>::new(), "stuck");
    let deleted = queue.deleted();
    assert_eq!(deleted.iter().collect::<HashSet<_>>().len(), deleted.len(), "deleted twice");
    assert_eq!(deleted.len(), MESSAGES);
    let releases = queue.releases();
    assert_eq!(releases.iter().collect::<HashSet<_>>().len(), releases.len(), "a delivery was released twice");
    let records = records.lock().unwrap();
    assert_eq!((records.started, records.live.len()), (records.ends.len(), 0), "every job comes to one end");
    records.ends.iter().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_worked_on_twice_settled_twice_or_left_behind() {
    let mut reached = HashSet::new();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        reached.extend(history(seed).await);
    }
    assert_eq!(reached.len(), 5, "histories in which something never happens prove little: {reached:?}");
}
