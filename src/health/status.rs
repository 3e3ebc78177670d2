//! The daemon's state, in one place. The pipeline writes it; STATUS=, `/readyz`, `/status` and the gauges read it.
//!
//! Counts are atomics; what changes rarely (phase, outages) sits in a `watch` channel whose readers copy it out at
//! once. So no reader ever holds up the pipeline.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use super::breaker::Breaker;
use super::events::{
    ConfigurationWarning, DependencyDown, DependencyUp, DrainShortened, DrainStarted, JobFinished, Ready,
};
use super::metrics::Gauge;
use super::outage::Outage;
use crate::document::{Outcome, Reason};

/// How much longer than one long poll the poll loop may take for a turn. It has to turn also while it waits for a free
/// slot or for a dependency; half a minute is far more than any of its calls may take by their own limits.
const POLL_TURN_SLACK: Duration = Duration::from_secs(30);

/// What the daemon cannot work without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependency {
    Children,
    Queue,
    DeadLetterQueue,
    Store,
    Index,
    Spool,
}

impl Dependency {
    pub const ALL: [Dependency; 6] = [
        Dependency::Children,
        Dependency::Queue,
        Dependency::DeadLetterQueue,
        Dependency::Store,
        Dependency::Index,
        Dependency::Spool,
    ];

    /// Whether READY waits for it. The others count as working until they fail.
    pub fn is_proven_at_start(self) -> bool {
        match self {
            Dependency::Children | Dependency::Queue | Dependency::Store | Dependency::Index => true,
            Dependency::DeadLetterQueue | Dependency::Spool => false,
        }
    }

    /// Whether no message can be worked on without it. Without the dead-letter queue the good ones can: only
    /// known-bad messages wait for it.
    pub fn pauses_receiving(self) -> bool {
        self != Dependency::DeadLetterQueue
    }

    /// In logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Dependency::Children => "children",
            Dependency::Queue => "queue",
            Dependency::DeadLetterQueue => "dead_letter_queue",
            Dependency::Store => "store",
            Dependency::Index => "index",
            Dependency::Spool => "spool",
        }
    }

    /// To a person.
    pub fn title(self) -> &'static str {
        match self {
            Dependency::Children => "child processes",
            Dependency::Queue => "SQS queue",
            Dependency::DeadLetterQueue => "dead-letter queue",
            Dependency::Store => "S3 bucket",
            Dependency::Index => "OpenSearch",
            Dependency::Spool => "spool disk",
        }
    }
}

/// Whether a dependency works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DependencyState {
    /// Not proven since the start.
    #[default]
    Unproven,
    Up,
    Down {
        since: Timestamp,
        outage: Outage,
    },
}

/// A drain on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Whose deadline it is: the most urgent one that came so far.
    pub cause: String,
    pub since: Timestamp,
    /// When what is not finished is given back.
    pub deadline: Timestamp,
}

/// What changes rarely.
#[derive(Clone, Debug, Default)]
struct RareState {
    ready: bool,
    drain: Option<Drain>,
    dependencies: [DependencyState; Dependency::ALL.len()],
    notes: Vec<String>,
}

/// What the pool says about itself; see [`Status::watch_pool`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolState {
    /// Children alive.
    pub children: u64,
    /// Children that get work: `max_workers`, or fewer while memory is short.
    pub wanted: u64,
    /// `MAX_WORKERS`
    pub max_workers: u64,
    pub busy: u64,
    pub pages_queued: u64,
    /// Pages read by OCR since the start, those of documents that came to nothing included.
    pub pages_ocr: u64,
    /// Since the start, however each ended.
    pub pages_done: u64,
    /// Time during which children had a request in hand, summed over all children, since the start.
    #[serde(rename = "busy_seconds", serialize_with = "as_seconds")]
    pub busy_time: Duration,
    /// A busy child is past its limit and still alive: the pool is stuck.
    pub over_limit: bool,
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// The daemon's phase; in this order of precedence: draining, starting, paused, ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Starting,
    Ready,
    Paused,
    Draining,
}

/// The state at one moment, as plain values.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub now: Timestamp,
    pub started_at: Timestamp,
    pub ready: bool,
    pub drain: Option<Drain>,
    pub dependencies: [(Dependency, DependencyState); Dependency::ALL.len()],
    /// What an operator should know although work goes on (no dead-letter queue known, …).
    pub notes: Vec<String>,
    pub jobs_in_flight: u64,
    pub messages_held: u64,
    /// In the order of [`Outcome::ALL`], since the start.
    pub outcomes: [u64; Outcome::ALL.len()],
    pub last_document_at: Option<Timestamp>,
    pub pool: PoolState,
}

impl Snapshot {
    pub fn phase(&self) -> Phase {
        if self.drain.is_some() {
            Phase::Draining
        } else if !self.ready {
            Phase::Starting
        } else if self.outages().any(|(dependency, ..)| dependency.pauses_receiving()) {
            Phase::Paused
        } else {
            Phase::Ready
        }
    }

    /// Dependencies that are down, with since when and why.
    pub fn outages(&self) -> impl Iterator<Item = (Dependency, Timestamp, &Outage)> {
        self.dependencies.iter().filter_map(|(dependency, state)| match state {
            DependencyState::Down { since, outage } => Some((*dependency, *since, outage)),
            DependencyState::Unproven | DependencyState::Up => None,
        })
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        Outcome::ALL.iter().position(|listed| *listed == outcome).map_or(0, |index| self.outcomes[index])
    }
}

type PoolProbe = Box<dyn Fn() -> PoolState + Send + Sync>;

/// The daemon's state. One for each process, behind an `Arc`.
pub struct Status {
    started_at: Timestamp,
    started: Instant,
    rare: watch::Sender<RareState>,
    /// Locked for moments only.
    breakers: Mutex<[Breaker<tokio::time::Instant>; Dependency::ALL.len()]>,
    jobs_in_flight: AtomicU64,
    messages_held: AtomicU64,
    /// By outcome, then by reason (0: none).
    outcomes: [[AtomicU64; Reason::COUNT + 1]; Outcome::ALL.len()],
    /// Milliseconds since 1970; 0: none yet.
    last_document_ms: AtomicI64,
    /// Milliseconds since `started` plus one; 0: the loop has not begun.
    last_poll_turn_ms: AtomicU64,
    /// The longest that a turn of the poll loop may take.
    poll_turn_limit: Duration,
    pool: OnceLock<PoolProbe>,
}

/// A job in flight; it is counted until this is dropped.
pub struct JobGuard<'a>(&'a AtomicU64);

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`Status::changes`].
pub struct Changes(watch::Receiver<RareState>);

impl Changes {
    /// Waits for the next change since the last call. Never ends when the status is gone.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Status {
    /// A daemon that starts now and polls with `wait_time`.
    pub fn new(wait_time: Duration) -> Self {
        Self {
            started_at: Timestamp::now(),
            started: Instant::now(),
            rare: watch::Sender::new(RareState::default()),
            breakers: Mutex::default(),
            jobs_in_flight: AtomicU64::new(0),
            messages_held: AtomicU64::new(0),
            outcomes: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            last_document_ms: AtomicI64::new(0),
            last_poll_turn_ms: AtomicU64::new(0),
            poll_turn_limit: wait_time.saturating_add(POLL_TURN_SLACK),
            pool: OnceLock::new(),
        }
    }

    /// Where the pool's numbers come from. The probe must not block. Only the first call counts.
    pub fn watch_pool(&self, probe: impl Fn() -> PoolState + Send + Sync + 'static) {
        // A second pool would be a programming error without harm: the first goes on being shown.
        let _ = self.pool.set(Box::new(probe));
    }

    /// Everything the daemon needs is proven: from now on it takes messages.
    pub fn set_ready(&self) {
        let became_ready = self.rare.send_if_modified(|rare| !std::mem::replace(&mut rare.ready, true));
        if became_ready {
            Ready { start_took: self.started.elapsed() }.emit();
        }
    }

    /// A call to the dependency worked, or failed for a reason that is not the dependency's.
    pub fn dependency_answered(&self, dependency: Dependency) {
        self.lock_breakers()[dependency as usize].succeeded();
    }

    /// A call to the dependency, begun at `began`, failed, and that is not one object's fault. Whether the dependency
    /// counts as down now (see [`super::breaker`]); if it does not, the call is worth another try in a moment.
    pub fn dependency_failed(&self, dependency: Dependency, began: tokio::time::Instant, seen: &Outage) -> bool {
        let opens = self.lock_breakers()[dependency as usize].failed(seen.cause, began, tokio::time::Instant::now());
        if opens {
            self.dependency_down(dependency, seen);
        }
        self.is_down(dependency)
    }

    fn lock_breakers(&self) -> MutexGuard<'_, [Breaker<tokio::time::Instant>; Dependency::ALL.len()]> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dependency is proven to work. Tells the log when it was down.
    pub fn dependency_up(&self, dependency: Dependency) {
        self.dependency_answered(dependency);
        let mut was_down_since = None;
        self.rare.send_if_modified(|rare| {
            let state = &mut rare.dependencies[dependency as usize];
            if let DependencyState::Down { since, .. } = state {
                was_down_since = Some(*since);
            }
            let changed = *state != DependencyState::Up;
            *state = DependencyState::Up;
            changed
        });
        if let Some(since) = was_down_since {
            let down_for = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
            DependencyUp { dependency, down_for }.emit();
        }
    }

    /// The dependency is proven not to work. Told to the log once for each outage; a later reason replaces the earlier one in
    /// what is shown.
    pub fn dependency_down(&self, dependency: Dependency, seen: &Outage) {
        let mut is_news = false;
        self.rare.send_if_modified(|rare| {
            let state = &mut rare.dependencies[dependency as usize];
            if let DependencyState::Down { outage, .. } = state {
                let changed = outage != seen;
                seen.clone_into(outage);
                return changed;
            }
            is_news = true;
            *state = DependencyState::Down { since: Timestamp::now(), outage: seen.clone() };
            true
        });
        if is_news {
            DependencyDown { dependency, outage: seen }.emit();
        }
    }

    /// Whether the dependency is known to be down; one that was never asked is not.
    pub fn is_down(&self, dependency: Dependency) -> bool {
        matches!(self.rare.borrow().dependencies[dependency as usize], DependencyState::Down { .. })
    }

    /// Returns when the dependency is not down, at once if it is not.
    pub async fn wait_until_up(&self, dependency: Dependency) {
        self.wait_for(|rare| !matches!(rare.dependencies[dependency as usize], DependencyState::Down { .. })).await;
    }

    /// Returns when the dependency is down, at once if it is.
    pub async fn wait_until_down(&self, dependency: Dependency) {
        self.wait_for(|rare| matches!(rare.dependencies[dependency as usize], DependencyState::Down { .. })).await;
    }

    async fn wait_for(&self, condition: impl FnMut(&RareState) -> bool) {
        // The sender lives as long as `self`, so the channel cannot close meanwhile.
        let _ = self.rare.subscribe().wait_for(condition).await;
    }

    /// Something an operator should know although work goes on.
    pub fn note(&self, text: &str) {
        let is_new = self.rare.send_if_modified(|rare| {
            let is_new = !rare.notes.iter().any(|known| known == text);
            if is_new {
                rare.notes.push(text.to_owned());
            }
            is_new
        });
        if is_new {
            ConfigurationWarning { text }.emit();
        }
    }

    /// Receiving has stopped for good. Only the first cause counts.
    pub fn drain_started(&self, cause: &str, budget: Duration) {
        let since = Timestamp::now();
        let is_first = self.rare.send_if_modified(|rare| {
            let is_first = rare.drain.is_none();
            rare.drain.get_or_insert_with(|| Drain {
                cause: cause.to_owned(),
                since,
                deadline: since.saturating_add(budget).unwrap_or(Timestamp::MAX),
            });
            is_first
        });
        if is_first {
            DrainStarted { cause, jobs_in_flight: self.jobs_in_flight.load(Ordering::Relaxed), budget }.emit();
        }
    }

    /// Something more urgent came while we drain: `budget` is left from now, less than there was.
    pub fn drain_shortened(&self, cause: &str, budget: Duration) {
        self.rare.send_modify(|rare| {
            if let Some(drain) = &mut rare.drain {
                cause.clone_into(&mut drain.cause);
                drain.deadline = Timestamp::now().saturating_add(budget).unwrap_or(Timestamp::MAX);
            }
        });
        DrainShortened { cause, budget }.emit();
    }

    /// Counts a job until the guard is dropped.
    pub fn job_started(&self) -> JobGuard<'_> {
        self.jobs_in_flight.fetch_add(1, Ordering::Relaxed);
        JobGuard(&self.jobs_in_flight)
    }

    /// A job came to its outcome: counts it and emits the event.
    pub fn job_finished(&self, event: JobFinished<'_>) {
        if let Some(index) = Outcome::ALL.iter().position(|listed| *listed == event.outcome) {
            let reason = event.failure.map_or(0, |failure| failure.reason as usize + 1);
            self.outcomes[index][reason].fetch_add(1, Ordering::Relaxed);
        }
        if event.outcome != Outcome::Retry {
            self.last_document_ms.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
        }
        event.emit();
    }

    /// How many messages are leased to us now.
    pub fn set_messages_held(&self, count: usize) {
        self.messages_held.store(count as u64, Ordering::Relaxed);
    }

    /// The poll loop begins another turn. Call it at least once in each long poll's time, also while paused or
    /// waiting for room; stop calling is what starves the watchdog.
    pub fn poll_loop_turned(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_poll_turn_ms.store(elapsed + 1, Ordering::Relaxed);
    }

    /// Whether the daemon works as it should, as far as a restart could help: the poll loop turns, no child is past
    /// its limit. A dependency that is down is no reason. A drain is watched by its deadline instead.
    ///
    /// # Errors
    /// What is stuck, in words.
    pub fn health(&self) -> Result<(), String> {
        if self.rare.borrow().drain.is_none() {
            self.poll_loop_health(self.started.elapsed())?;
        }
        if self.pool_state().over_limit {
            return Err("a child is past its time limit and was not killed".to_owned());
        }
        Ok(())
    }

    fn poll_loop_health(&self, elapsed: Duration) -> Result<(), String> {
        let Some(last_turn_ms) = self.last_poll_turn_ms.load(Ordering::Relaxed).checked_sub(1) else {
            return Ok(());
        };
        let silence = elapsed.saturating_sub(Duration::from_millis(last_turn_ms));
        if silence > self.poll_turn_limit {
            return Err(format!("the poll loop has not turned for {} s", silence.as_secs()));
        }
        Ok(())
    }

    fn pool_state(&self) -> PoolState {
        self.pool.get().map(|probe| probe()).unwrap_or_default()
    }

    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        let mut rare = self.rare.borrow().clone();
        let last_document_ms = self.last_document_ms.load(Ordering::Relaxed);
        Snapshot {
            now: Timestamp::now(),
            started_at: self.started_at,
            ready: rare.ready,
            drain: rare.drain,
            dependencies: Dependency::ALL
                .map(|dependency| (dependency, std::mem::take(&mut rare.dependencies[dependency as usize]))),
            notes: rare.notes,
            jobs_in_flight: self.jobs_in_flight.load(Ordering::Relaxed),
            messages_held: self.messages_held.load(Ordering::Relaxed),
            outcomes: std::array::from_fn(|outcome| {
                self.outcomes[outcome].iter().map(|count| count.load(Ordering::Relaxed)).sum()
            }),
            last_document_at: Timestamp::from_millisecond(last_document_ms).ok().filter(|_| last_document_ms != 0),
            pool: self.pool_state(),
        }
    }

    /// What was finished since the start, by outcome and reason, in the order of [`Outcome::ALL`]; zeros left out.
    pub fn outcomes_by_reason(&self) -> Vec<(Outcome, Option<Reason>, u64)> {
        let reasons = std::iter::once(None).chain(Reason::ALL.into_iter().map(Some));
        let counts = Outcome::ALL.iter().zip(&self.outcomes).flat_map(|(outcome, by_reason)| {
            reasons.clone().zip(by_reason).map(|(reason, count)| (*outcome, reason, count.load(Ordering::Relaxed)))
        });
        counts.filter(|(_, _, count)| *count > 0).collect()
    }

    /// Told whenever the phase, an outage or a note changes.
    pub fn changes(&self) -> Changes {
        Changes(self.rare.subscribe())
    }

    /// The state in words; see [`super::sentence`].
    pub fn status_line(&self) -> String {
        super::sentence::status_line(&self.snapshot(), &jiff::tz::TimeZone::system())
    }

    /// Writes every gauge from the state now; called just before they are rendered.
    pub fn set_gauges(&self) {
        let snapshot = self.snapshot();
        let truth = |truth: bool| f64::from(u8::from(truth));
        Gauge::Ready.set(truth(snapshot.phase() == Phase::Ready), &[]);
        Gauge::JobsInFlight.set(snapshot.jobs_in_flight as f64, &[]);
        Gauge::MessagesHeld.set(snapshot.messages_held as f64, &[]);
        Gauge::Children.set(snapshot.pool.children as f64, &[]);
        Gauge::ChildrenWanted.set(snapshot.pool.wanted as f64, &[]);
        Gauge::ChildrenBusy.set(snapshot.pool.busy as f64, &[]);
        Gauge::PagesQueued.set(snapshot.pool.pages_queued as f64, &[]);
        for (dependency, state) in &snapshot.dependencies {
            let up = match state {
                DependencyState::Up => true,
                DependencyState::Unproven => !dependency.is_proven_at_start(),
                DependencyState::Down { .. } => false,
            };
            Gauge::DependencyUp.set(truth(up), &[("dependency", dependency.as_str())]);
        }
        Gauge::StartTime.set(snapshot.started_at.as_second() as f64, &[]);
        Gauge::LastDocumentTime.set(snapshot.last_document_at.map_or(0.0, |at| at.as_second() as f64), &[]);
    }
}

#[cfg(test)]
mod tests;
