//! Store and index as things that may be down: who is down, since when, why; probed until back.
//!
//! An outage is never a message's fault (contract §4). A job that meets one reports it here and waits; the receive
//! loop stops asking for messages while anything is down; one task per dependency probes with a growing pause. So
//! an outage costs no receive counts, and the work goes on by itself where it stood.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::events;

/// The pause between probes grows from this …
const FIRST_PROBE_PAUSE: Duration = Duration::from_millis(250);
/// … to this: an outage of any length is noticed to be over within this time.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(5);

/// Whom the worker depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DependencyName {
    Queue,
    Store,
    Index,
}

impl fmt::Display for DependencyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            DependencyName::Queue => "queue",
            DependencyName::Store => "store",
            DependencyName::Index => "index",
        })
    }
}

/// Since when a dependency is down, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub since: Timestamp,
    pub reason: String,
}

/// One dependency's state; cheap to read, to wait for and to report to.
#[derive(Debug)]
pub struct Dependency {
    name: DependencyName,
    state: watch::Sender<Option<Outage>>,
}

impl Dependency {
    fn new(name: DependencyName) -> Self {
        Self { name, state: watch::Sender::new(None) }
    }

    /// `None` while it is up.
    pub fn outage(&self) -> Option<Outage> {
        self.state.borrow().clone()
    }

    /// A call failed for a reason that is not its object's fault.
    pub fn report_down(&self, reason: &str) {
        self.state.send_if_modified(|state| match state {
            Some(outage) => {
                outage.reason = reason.to_owned();
                false
            }
            None => {
                events::DependencyDown { dependency: self.name, reason }.emit();
                *state = Some(Outage { since: Timestamp::now(), reason: reason.to_owned() });
                true
            }
        });
    }

    pub fn report_up(&self) {
        self.state.send_if_modified(|state| match state.take() {
            Some(outage) => {
                events::DependencyUp { dependency: self.name, since: outage.since }.emit();
                true
            }
            None => false,
        });
    }

    /// Returns when it is up, at once if it is.
    pub async fn wait_up(&self) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.state.subscribe().wait_for(Option::is_none).await;
    }

    async fn wait_down(&self) {
        let _ = self.state.subscribe().wait_for(Option::is_some).await;
    }

    /// While it is down, calls `probe` until that succeeds. Runs until `stop`.
    pub async fn keep_probing<Probe, Answer>(&self, stop: &CancellationToken, probe: Probe)
    where
        Probe: Fn() -> Answer,
        Answer: Future<Output = Result<(), String>>,
    {
        let watch_over = async {
            loop {
                self.wait_down().await;
                let mut pause = FIRST_PROBE_PAUSE;
                while let Err(reason) = probe().await {
                    self.report_down(&reason);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PROBE_PAUSE);
                }
                self.report_up();
            }
        };
        stop.run_until_cancelled(watch_over).await;
    }
}

/// All of them.
#[derive(Debug)]
pub struct Dependencies {
    pub queue: Dependency,
    pub store: Dependency,
    pub index: Dependency,
}

impl Dependencies {
    pub fn new() -> Self {
        Self {
            queue: Dependency::new(DependencyName::Queue),
            store: Dependency::new(DependencyName::Store),
            index: Dependency::new(DependencyName::Index),
        }
    }

    /// Returns when both store and index are up: only then is there a use in receiving.
    pub async fn wait_until_work_is_possible(&self) {
        loop {
            self.store.wait_up().await;
            self.index.wait_up().await;
            if self.store.outage().is_none() {
                return;
            }
        }
    }

    /// Those that are down, with their outage.
    pub fn outages(&self) -> Vec<(DependencyName, Outage)> {
        [&self.queue, &self.store, &self.index]
            .into_iter()
            .filter_map(|dependency| dependency.outage().map(|outage| (dependency.name, outage)))
            .collect()
    }
}
