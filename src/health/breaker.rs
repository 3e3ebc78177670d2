//! When a dependency counts as down: the arithmetic of the breaker, without clock, network or lock.
//!
//! Closed, it counts failures that follow each other; any success sets the count back. It opens when there are
//! [`FAILURES_TO_OPEN`] of them, or at the first that no second try could change. What closes it again is a probe, and
//! that is not decided here.

use super::outage::OutageCause;

/// Failures in a row that make a dependency count as down. One is a blip (a node that restarts, a connection that was
/// closed under our hands); with the pauses between them, three take about a second.
pub const FAILURES_TO_OPEN: u32 = 3;

/// The count of one dependency. `Moment` is any clock.
#[derive(Clone, Copy, Debug)]
pub struct Breaker<Moment> {
    failures: u32,
    last_counted: Option<Moment>,
}

impl<Moment> Default for Breaker<Moment> {
    fn default() -> Self {
        Self { failures: 0, last_counted: None }
    }
}

impl<Moment: Copy + PartialOrd> Breaker<Moment> {
    /// A call worked: what failed before it was no outage.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call that began at `began` failed just `now`; whether the dependency counts as down from here on.
    ///
    /// A call that was under way when the last failure was counted met the same trouble and is not counted again:
    /// twenty jobs that lose one connection have seen one failure.
    pub fn failed(&mut self, cause: OutageCause, began: Moment, now: Moment) -> bool {
        if is_lasting(cause) {
            return true;
        }
        if self.last_counted.is_none_or(|counted| began > counted) {
            self.failures += 1;
            self.last_counted = Some(now);
        }
        self.failures >= FAILURES_TO_OPEN
    }
}

/// Whether the next try would be answered the same until somebody has done something about it.
fn is_lasting(cause: OutageCause) -> bool {
    match cause {
        OutageCause::Refused
        | OutageCause::ReadOnly
        | OutageCause::FloodStage
        | OutageCause::Missing
        | OutageCause::Full => true,
        OutageCause::Unreachable | OutageCause::Throttled | OutageCause::Failing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLIP: OutageCause = OutageCause::Unreachable;

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not_let_them() {
        let mut breaker = Breaker::default();
        assert_eq!([1, 2, 3].map(|at| breaker.failed(BLIP, at, at)), [false, false, true]);
        let mut interrupted = Breaker::default();
        assert!(!interrupted.failed(BLIP, 1, 1) && !interrupted.failed(BLIP, 2, 2));
        interrupted.succeeded();
        assert_eq!([3, 4, 5].map(|at| interrupted.failed(BLIP, at, at)), [false, false, true]);
    }

    #[test]
    fn calls_that_fail_together_are_one_failure() {
        let mut breaker = Breaker::default();
        assert!((10..40).all(|now| !breaker.failed(BLIP, 5, now)));
        assert!(!breaker.failed(BLIP, 40, 41));
        assert!(breaker.failed(BLIP, 42, 43));
    }

    #[test]
    fn what_no_second_try_could_change_opens_it_at_once() {
        for cause in [OutageCause::Refused, OutageCause::ReadOnly, OutageCause::FloodStage, OutageCause::Missing] {
            assert!(Breaker::default().failed(cause, 0, 0), "{cause:?}");
        }
        for cause in [OutageCause::Unreachable, OutageCause::Throttled, OutageCause::Failing] {
            assert!(!Breaker::default().failed(cause, 0, 0), "{cause:?}");
        }
    }
}
