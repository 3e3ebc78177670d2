//! Why the daemon has to end, and how much time that leaves: one drain, whatever comes and however often.
//!
//! The first cause starts the drain. A later one that leaves less time shortens it: a spot notice after a rebalance
//! recommendation, or SIGTERM after Auto Scaling (systemd then counts its own time-out). None ever prolongs a drain or
//! starts a second one. [`Interruptions::abandon`] ends it at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;

/// A spot instance is told two minutes before it goes. A time further away comes from a clock that is wrong.
pub const SPOT_NOTICE: Duration = Duration::from_secs(120);
/// Kept back of a spot notice's time: for the last log lines on their way to CloudWatch, and for a clock that is a
/// little off.
const SPOT_RESERVE: Duration = Duration::from_secs(10);
/// After the deadline: what has been cancelled gives its message back, which takes a moment.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// The same after a second signal. Whoever sends two does not want to wait.
const ABANDON_LIMIT: Duration = Duration::from_secs(3);

/// What ends the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `SIGTERM` or `SIGINT`: an operator, a deployment, or the machine going down.
    Signal(&'static str),
    /// EC2 takes the spot instance back at that time.
    SpotInterruption { at: Timestamp },
    /// EC2 expects to take the spot instance back; the group may start another one first.
    RebalanceRecommendation,
    /// Auto Scaling wants the instance terminated.
    LifecycleTermination,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Cause::Signal(name) => name,
            Cause::SpotInterruption { .. } => "spot interruption",
            Cause::RebalanceRecommendation => "spot rebalance recommendation",
            Cause::LifecycleTermination => "termination by Auto Scaling",
        })
    }
}

/// The time that the causes without a time of their own leave.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// `DRAIN_TIMEOUT`. A rebalance recommendation has no deadline either, but a spot notice may follow it any time,
    /// so it gets no more.
    pub signal: Duration,
    /// `LIFECYCLE_DRAIN_TIMEOUT`: heartbeats keep the group waiting meanwhile.
    pub lifecycle: Duration,
}

impl Budgets {
    pub fn of_settings(settings: &Settings) -> Self {
        Self { signal: settings.drain_timeout, lifecycle: settings.lifecycle.drain_timeout }
    }

    /// What a cause that is seen at `now` leaves.
    fn of(&self, cause: Cause, now: Timestamp) -> Duration {
        match cause {
            Cause::Signal(_) | Cause::RebalanceRecommendation => self.signal,
            Cause::LifecycleTermination => self.lifecycle,
            Cause::SpotInterruption { at } => {
                // A time that has passed is as good as now.
                let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                left.min(SPOT_NOTICE).saturating_sub(SPOT_RESERVE)
            }
        }
    }
}

/// The interruption that holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// Whose deadline it is.
    pub cause: Cause,
    /// What is not finished by then is given back.
    pub deadline: Instant,
}

impl Interruption {
    /// What is left until the deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The one switch that all causes turn; clones are the same switch.
#[derive(Clone, Debug)]
pub struct Interruptions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budgets: Budgets,
    current: watch::Sender<Option<Interruption>>,
    stop: CancellationToken,
    abandoned: CancellationToken,
    terminating: CancellationToken,
}

impl Interruptions {
    pub fn new(budgets: Budgets) -> Self {
        Self(Arc::new(Shared {
            budgets,
            current: watch::Sender::new(None),
            stop: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            terminating: CancellationToken::new(),
        }))
    }

    /// Something wants the daemon to end. The first cause starts the drain, a later one can only shorten it.
    pub fn report(&self, cause: Cause) {
        let budget = self.0.budgets.of(cause, Timestamp::now());
        let reported = Interruption { cause, deadline: Instant::now() + budget };
        self.0.current.send_if_modified(|current| {
            let is_more_urgent = current.is_none_or(|known| reported.deadline < known.deadline);
            if is_more_urgent {
                *current = Some(reported);
            }
            is_more_urgent
        });
        if cause == Cause::LifecycleTermination {
            self.0.terminating.cancel();
        }
        self.0.stop.cancel();
    }

    /// No time is left: everything is given back now.
    pub fn abandon(&self) {
        let now = Instant::now();
        self.0.current.send_if_modified(|current| {
            let Some(interruption) = current else { return false };
            interruption.deadline = interruption.deadline.min(now);
            true
        });
        self.0.abandoned.cancel();
    }

    /// Cancelled by the first cause: stop receiving and drain.
    pub fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Cancelled by [`Interruptions::abandon`].
    pub fn abandoned(&self) -> &CancellationToken {
        &self.0.abandoned
    }

    /// Cancelled when Auto Scaling is among the causes, first or not: it waits to hear that we are done.
    pub fn terminating(&self) -> &CancellationToken {
        &self.0.terminating
    }

    /// The most urgent cause so far; `None` before the first.
    pub fn current(&self) -> Option<Interruption> {
        *self.0.current.borrow()
    }

    /// Told of every change of [`Interruptions::current`].
    pub fn changes(&self) -> watch::Receiver<Option<Interruption>> {
        self.0.current.subscribe()
    }

    /// What is left of the drain; `None` before the first cause.
    pub fn remaining(&self) -> Option<Duration> {
        self.current().map(|interruption| interruption.remaining())
    }

    /// The moment after which nobody waits for what is still being given back; `None` before the first cause.
    pub fn last_moment(&self) -> Option<Instant> {
        let limit = if self.0.abandoned.is_cancelled() { ABANDON_LIMIT } else { SETTLE_LIMIT };
        self.current().map(|interruption| interruption.deadline + limit)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tokio::time::sleep;

    use super::*;

    const BUDGETS: Budgets = Budgets { signal: Duration::from_secs(60), lifecycle: Duration::from_secs(300) };
    const SIGTERM: Cause = Cause::Signal("SIGTERM");

    fn spot_in(seconds: i64) -> Cause {
        Cause::SpotInterruption { at: Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).unwrap() }
    }

    /// Whole seconds left: between two looks at the wall clock a moment passes even under paused time.
    fn seconds_left(interruptions: &Interruptions) -> u64 {
        interruptions.remaining().expect("a cause was reported").as_secs_f64().round() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn each_cause_has_its_own_budget() {
        for (cause, seconds) in [
            (SIGTERM, 60),
            (Cause::RebalanceRecommendation, 60),
            (Cause::LifecycleTermination, 300),
            (spot_in(120), 110),
            (spot_in(30), 20),
            (spot_in(5), 0),
            (spot_in(-1000), 0),
            (spot_in(86_400), 110),
        ] {
            let interruptions = Interruptions::new(BUDGETS);
            interruptions.report(cause);
            assert_eq!(seconds_left(&interruptions), seconds, "{cause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_for_before_the_first_cause() {
        let interruptions = Interruptions::new(BUDGETS);
        assert_eq!((interruptions.current(), interruptions.last_moment()), (None, None));
        assert!(!interruptions.stop().is_cancelled());
        interruptions.report(SIGTERM);
        assert!(interruptions.stop().is_cancelled() && !interruptions.abandoned().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_spot_notice_shortens_the_drain_of_a_rebalance_recommendation() {
        let interruptions = Interruptions::new(Budgets { signal: Duration::from_secs(600), ..BUDGETS });
        interruptions.report(Cause::RebalanceRecommendation);
        sleep(Duration::from_secs(20)).await;
        let notice = spot_in(120);
        interruptions.report(notice);
        assert_eq!(interruptions.current().map(|current| current.cause), Some(notice));
        assert_eq!(seconds_left(&interruptions), 110);
    }

    #[tokio::test(start_paused = true)]
    async fn sigterm_shortens_the_drain_of_a_lifecycle_hook_which_is_completed_all_the_same() {
        let interruptions = Interruptions::new(BUDGETS);
        interruptions.report(Cause::LifecycleTermination);
        sleep(Duration::from_secs(10)).await;
        interruptions.report(SIGTERM);
        assert_eq!(interruptions.current().map(|current| current.cause), Some(SIGTERM));
        assert_eq!(seconds_left(&interruptions), 60);
        assert!(interruptions.terminating().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn no_later_cause_prolongs_a_drain() {
        let interruptions = Interruptions::new(BUDGETS);
        interruptions.report(SIGTERM);
        let mut changes = interruptions.changes();
        sleep(Duration::from_secs(50)).await;
        for cause in [SIGTERM, Cause::RebalanceRecommendation, spot_in(120), Cause::LifecycleTermination] {
            interruptions.report(cause);
            assert_eq!(seconds_left(&interruptions), 10, "{cause:?}");
        }
        assert!(!changes.has_changed().unwrap() && changes.borrow_and_update().unwrap().cause == SIGTERM);
        assert!(interruptions.terminating().is_cancelled(), "seen in the middle of another drain: completed, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_leaves_a_moment_to_give_back_and_no_more() {
        let interruptions = Interruptions::new(BUDGETS);
        interruptions.report(Cause::LifecycleTermination);
        sleep(Duration::from_secs(10)).await;
        interruptions.abandon();
        assert_eq!(interruptions.remaining(), Some(Duration::ZERO));
        assert_eq!(interruptions.last_moment(), Some(Instant::now() + ABANDON_LIMIT));
        interruptions.report(SIGTERM);
        assert_eq!(interruptions.remaining(), Some(Duration::ZERO));
    }
}
