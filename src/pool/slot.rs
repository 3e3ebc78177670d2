//! One place for a child, and the task that keeps it filled: starts the child, hands it one request at a time,
//! watches the clock, kills, finds out why, starts the next.
//!
//! The slot decides nothing about documents; it tells the dispatcher what happened. Whatever it is doing it
//! answers an assignment: a slot without a child gives it back at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::document::Failure;
use crate::health::events::{ChildDied, ChildReplaced, ChildStarted, ChildrenCannotStart, ReplacementCause};
use crate::pool::dialogue::{Answer, Dialogue, Turn};
use crate::pool::frames::FrameError;
use crate::pool::protocol::{ChildReady, ChildSettings, Reply, Request};
use crate::pool::snapshot::Counters;
use crate::pool::spawn::{ChildProcess, SpawnError, Spawner};
use crate::pool::verdict::{Ending, verdict};

/// Loading models takes a fraction of a second; a machine that just booted reads them from a cold disk.
const START_LIMIT: Duration = Duration::from_secs(60);

const FIRST_RESTART_DELAY: Duration = Duration::from_millis(100);
const LONGEST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// What every slot of a pool needs.
#[derive(Clone)]
pub struct SlotSettings {
    pub program: PathBuf,
    pub child: ChildSettings,
    /// `OCR_TIMEOUT`: from request to first answer, and from answer to answer
    pub page_timeout: Duration,
    pub child_max_pages: u32,
    pub child_resident_limit_bytes: u64,
}

/// One request for the child in a slot.
pub struct Assignment {
    pub request: Request,
    /// Fired when nobody wants the answer any more: the child is killed.
    pub kill: CancellationToken,
}

/// Which child the dispatcher wants in a slot: one of this generation, or none. A child of an earlier generation
/// leaves as soon as it has nothing to do.
pub type Wanted = Option<u64>;

/// The dispatcher's ends of the channels into a slot.
pub struct SlotControls {
    pub assignments: mpsc::Sender<Assignment>,
    pub wanted: watch::Sender<Wanted>,
}

/// What a slot tells the dispatcher.
#[derive(Debug)]
pub struct Event {
    pub slot: usize,
    pub kind: EventKind,
}

#[derive(Debug)]
pub enum EventKind {
    /// A fresh child is there.
    Ready(ChildReady),
    /// No child could be started; the slot goes on trying.
    StartFailed(StartError),
    /// The child was lost while it had nothing to do.
    Lost,
    /// The assignment was answered, in part or whole.
    Answer(Answer),
    /// The last word about the assignment.
    Ended(End),
}

/// How an assignment ended.
#[derive(Debug)]
pub enum End {
    /// All answers are there. `child_leaves`: it is being replaced, and `Ready` will follow.
    Finished { child_leaves: bool },
    /// The child did not survive it; `Ready` will follow.
    Died(Failure),
    /// Killed because the dispatcher wanted so; `Ready` will follow.
    Killed,
    /// There was no child to give it to.
    NotStarted,
}

/// Why a child did not get ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("start a child process")]
    Spawn(#[from] SpawnError),
    /// The child's own sentence: which model or library is missing and every place tried.
    #[error("{0}")]
    NotReady(String),
    #[error("a child process did not get ready: {0}")]
    Died(Failure),
}

pub struct Slot {
    pub number: usize,
    pub settings: Arc<SlotSettings>,
    pub spawner: Spawner,
    pub assignments: mpsc::Receiver<Assignment>,
    pub wanted: watch::Receiver<Wanted>,
    pub events: mpsc::Sender<Event>,
    pub counters: Arc<Counters>,
    pub stop: CancellationToken,
}

/// What serving a child came to.
enum Next {
    Replace,
    /// Replace, but not in a hurry: it died without having done anything.
    ReplaceAfterDelay,
    Stop,
}

impl Slot {
    /// Keeps a child in the slot until the pool stops.
    pub async fn run(mut self) {
        // Starts anew when a child did some work, so only children that are lost at once are waited with.
        let mut delays = restart_delays();
        while let Some((generation, child)) = self.fill(&mut delays).await {
            self.counters.child_is(self.number, Some(child.pid()));
            let next = self.serve(child, generation).await;
            self.counters.child_is(self.number, None);
            match next {
                Next::Replace => delays = restart_delays(),
                Next::ReplaceAfterDelay => {
                    let delay = delays.next().unwrap_or(LONGEST_RESTART_DELAY);
                    if self.give_back_until(tokio::time::sleep(delay)).await.is_none() {
                        return;
                    }
                }
                Next::Stop => return,
            }
        }
    }

    /// Starts children until one is ready, as long as one is wanted; `None` when the pool stops.
    async fn fill(&mut self, delays: &mut impl Iterator<Item = Duration>) -> Option<(u64, ChildProcess)> {
        loop {
            let generation = self.until_wanted().await?;
            let attempt = start_child(self.settings.clone(), self.spawner.clone());
            match self.give_back_until(attempt).await? {
                Ok((child, ready)) => {
                    self.tell(EventKind::Ready(ready)).await;
                    return Some((generation, child));
                }
                Err(error) => {
                    ChildrenCannotStart { error: &Chain(&error).to_string() }.emit();
                    self.tell(EventKind::StartFailed(error)).await;
                }
            }
            let delay = delays.next().unwrap_or(LONGEST_RESTART_DELAY);
            self.give_back_until(tokio::time::sleep(delay)).await?;
        }
    }

    /// Waits until a child is wanted: of which generation. `None` when the pool stops.
    async fn until_wanted(&mut self) -> Option<u64> {
        let mut wanted = self.wanted.clone();
        let becomes_wanted = async move { wanted.wait_for(Option::is_some).await.ok().and_then(|wanted| *wanted) };
        self.give_back_until(becomes_wanted).await?
    }

    /// Waits for `future` without a child: assignments go back. `None` when the pool stops.
    async fn give_back_until<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                result = &mut future => return Some(result),
                assignment = self.assignments.recv() => {
                    assignment?;
                    self.tell(EventKind::Ended(End::NotStarted)).await;
                }
            }
        }
    }

    /// Serves with one child until it has to be replaced, or is not wanted any more.
    async fn serve(&mut self, mut child: ChildProcess, generation: u64) -> Next {
        let mut served: Option<u32> = None;
        loop {
            let assignment = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                unexpected = child.frames.receive::<Reply>() => {
                    self.lost_idle(child, unexpected).await;
                    return if served.is_some() { Next::Replace } else { Next::ReplaceAfterDelay };
                }
                () = until_unwanted(&mut self.wanted, generation) => {
                    self.replaced(&child, ReplacementCause::Unwanted, served.unwrap_or(0));
                    child.dismiss().await;
                    return Next::Replace;
                }
                assignment = self.assignments.recv() => assignment,
            };
            let Some(assignment) = assignment else {
                child.dismiss().await;
                return Next::Stop;
            };
            let pages_done = served.unwrap_or(0).saturating_add(pages_of(&assignment.request));
            served = Some(pages_done);
            self.counters.request_given(self.number);
            let performed = self.perform(&mut child, &assignment).await;
            self.counters.request_done(self.number);
            match performed {
                Performed::Finished if self.is_worn(&child, pages_done) => {
                    self.tell(EventKind::Ended(End::Finished { child_leaves: true })).await;
                    self.counters.child_recycled();
                    self.replaced(&child, ReplacementCause::Worn, pages_done);
                    child.dismiss().await;
                    return Next::Replace;
                }
                Performed::Finished => self.tell(EventKind::Ended(End::Finished { child_leaves: false })).await,
                Performed::Killed => {
                    child.kill();
                    self.counters.child_cancelled();
                    self.replaced(&child, ReplacementCause::Cancelled, pages_done);
                    self.tell(EventKind::Ended(End::Killed)).await;
                    child.depart().await;
                    return Next::Replace;
                }
                Performed::Lost(ending) => {
                    let pid = child.pid();
                    let failure = self.bury(child, &ending).await;
                    let (document, page) = subject_of(&assignment.request);
                    ChildDied { slot: self.number, pid, failure: &failure, document, page }.emit();
                    self.counters.child_lost(failure.reason);
                    self.tell(EventKind::Ended(End::Died(failure))).await;
                    return Next::Replace;
                }
            }
        }
    }

    fn replaced(&self, child: &ChildProcess, cause: ReplacementCause, pages: u32) {
        ChildReplaced { slot: self.number, pid: child.pid(), cause, pages }.emit();
    }

    /// Nothing is due from an idle child, so whatever comes is its end, or nonsense.
    async fn lost_idle(&self, child: ChildProcess, unexpected: Result<Option<Reply>, FrameError>) {
        let ending = match unexpected {
            Ok(Some(_)) => Ending::Nonsense("it spoke without being asked".into()),
            Ok(None) => Ending::Gone,
            Err(error) => ending_by(&error),
        };
        let pid = child.pid();
        let failure = self.bury(child, &ending).await;
        ChildDied { slot: self.number, pid, failure: &failure, document: None, page: None }.emit();
        self.counters.child_lost(failure.reason);
        self.tell(EventKind::Lost).await;
    }

    /// One request and its replies.
    async fn perform(&self, child: &mut ChildProcess, assignment: &Assignment) -> Performed {
        let mut dialogue = Dialogue::new(&assignment.request);
        let limit = self.settings.page_timeout;
        self.counters.answer_due(self.number, limit);
        let sending = tokio::time::timeout(limit, child.frames.send(&assignment.request));
        let sent = tokio::select! {
            biased;
            () = assignment.kill.cancelled() => return Performed::Killed,
            () = self.stop.cancelled() => return Performed::Killed,
            sent = sending => sent,
        };
        match sent {
            Err(_) => return Performed::Lost(Ending::OverTime(limit)),
            // A socket that does not take a request has nobody at its other end.
            Ok(Err(_)) => return Performed::Lost(Ending::Gone),
            Ok(Ok(())) => {}
        }
        loop {
            let receiving = tokio::time::timeout(limit, child.frames.receive::<Reply>());
            let received = tokio::select! {
                biased;
                () = assignment.kill.cancelled() => return Performed::Killed,
                () = self.stop.cancelled() => return Performed::Killed,
                received = receiving => received,
            };
            let reply = match received {
                Err(_) => return Performed::Lost(Ending::OverTime(limit)),
                Ok(Ok(None)) => return Performed::Lost(Ending::Gone),
                Ok(Ok(Some(reply))) => reply,
                Ok(Err(error)) => return Performed::Lost(ending_by(&error)),
            };
            self.counters.answer_due(self.number, limit);
            match dialogue.accept(reply) {
                Ok(Turn::Answer(answer)) => self.tell(EventKind::Answer(answer)).await,
                Ok(Turn::LastAnswer(answer)) => {
                    self.tell(EventKind::Answer(answer)).await;
                    return Performed::Finished;
                }
                Ok(Turn::Done) => return Performed::Finished,
                Err(nonsense) => return Performed::Lost(Ending::Nonsense(nonsense)),
            }
        }
    }

    fn is_worn(&self, child: &ChildProcess, pages_done: u32) -> bool {
        pages_done >= self.settings.child_max_pages
            || child.resident_bytes().is_some_and(|bytes| bytes > self.settings.child_resident_limit_bytes)
    }

    async fn bury(&self, child: ChildProcess, ending: &Ending) -> Failure {
        bury(child, ending, self.settings.child.memory_limit_bytes).await
    }

    async fn tell(&self, kind: EventKind) {
        // Nobody listens when the pool is being dropped, and then nothing is to be told.
        let _ = self.events.send(Event { slot: self.number, kind }).await;
    }
}

/// Returns when no child is wanted here, or one of another generation.
async fn until_unwanted(wanted: &mut watch::Receiver<Wanted>, generation: u64) {
    // A sender that is gone means the same: the pool is being dropped.
    let _ = wanted.wait_for(|wanted| *wanted != Some(generation)).await;
}

enum Performed {
    Finished,
    Killed,
    Lost(Ending),
}

fn ending_by(error: &FrameError) -> Ending {
    if error.is_disconnect() { Ending::Gone } else { Ending::Nonsense(Chain(error).to_string()) }
}

/// Recognised pages: a child that only reads texts would otherwise spend more time on starting than on reading. How
/// much memory it has gathered is looked at in any case.
fn pages_of(request: &Request) -> u32 {
    u32::from(matches!(request, Request::Recognize { .. }))
}

/// The document and the page that a request is about, for the log.
fn subject_of(request: &Request) -> (Option<u64>, Option<u32>) {
    match request {
        Request::Open { document, .. } | Request::Thumbnail { document } => (Some(document.id), None),
        Request::Survey { document, first, .. } => (Some(document.id), Some(*first)),
        Request::Recognize { document, page, .. } => (Some(document.id), Some(*page)),
        _ => (None, None),
    }
}

fn restart_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_RESTART_DELAY)
        .with_max_delay(LONGEST_RESTART_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Starts one child and waits until it is ready.
async fn start_child(settings: Arc<SlotSettings>, spawner: Spawner) -> Result<(ChildProcess, ChildReady), StartError> {
    let mut child = spawner.spawn(settings.program.clone()).await?;
    let greeting = tokio::time::timeout(START_LIMIT, async {
        child.frames.send(&settings.child).await?;
        child.frames.receive::<Reply>().await
    });
    let ending = match greeting.await {
        Ok(Ok(Some(Reply::Ready(ready)))) => {
            ChildStarted { pid: child.pid(), sandbox: &ready.sandbox }.emit();
            return Ok((child, ready));
        }
        Ok(Ok(Some(Reply::NotReady(sentence)))) => return Err(StartError::NotReady(sentence)),
        Ok(Ok(Some(_))) => Ending::Nonsense("its first reply was not Ready".into()),
        Ok(Ok(None)) => Ending::Gone,
        Ok(Err(error)) => ending_by(&error),
        Err(_) => Ending::OverTime(START_LIMIT),
    };
    let (mut failure, stderr) = bury_with_stderr(child, &ending, settings.child.memory_limit_bytes).await;
    if let Some(last_line) = stderr.lines().rfind(|line| !line.is_empty()) {
        failure.detail = format!("{}; its last words: {}", failure.detail, last_line.escape_debug());
    }
    Err(StartError::Died(failure))
}

async fn bury(child: ChildProcess, ending: &Ending, memory_limit_bytes: u64) -> Failure {
    bury_with_stderr(child, ending, memory_limit_bytes).await.0
}

/// Makes sure that the child is gone, and finds out why.
async fn bury_with_stderr(child: ChildProcess, ending: &Ending, memory_limit_bytes: u64) -> (Failure, String) {
    if *ending != Ending::Gone {
        child.kill();
    }
    let departure = child.depart().await;
    let failure = verdict(ending, departure.status, &departure.stderr, memory_limit_bytes);
    (failure, departure.stderr)
}

/// An error with its causes, for a log line or a sentence.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
