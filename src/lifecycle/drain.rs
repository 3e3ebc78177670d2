//! The drain: finish what fits the remaining time, release the rest at once.
//!
//! What fits is estimated from the pages a job has left and the mean time of a page in this process. A job nobody
//! knows the length of yet (still fetching) gets a short grace. The estimate is made anew every moment, so a
//! document that turns out slower than expected is let go in time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::interruption::Interruptions;
use super::jobs::{Job, Jobs};

/// How long a job of unknown length may take to be opened before it is released.
const GRACE_FOR_UNKNOWN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Kept back for settling: bulk, delete, visibility.
const SETTLE_RESERVE: Duration = Duration::from_secs(5);

/// How fast pages come out of the pool as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Mean time of one page in one child; `None` before the first.
    pub page: Option<Duration>,
    pub children: u32,
}

/// Used before the first page was measured.
const ASSUMED_PAGE: Duration = Duration::from_secs(3);

/// Waits until no job is in flight; cancels those that will not make it within what the interruption leaves, and all
/// of them when it is abandoned (second SIGTERM). A job that was cancelled and does not end is not waited for beyond
/// [`Interruptions::last_moment`]. Returns how many were cancelled.
pub async fn drain(jobs: &Arc<Jobs>, interruptions: &Interruptions, pace: impl Fn() -> Pace) -> u64 {
    let started = Instant::now();
    let mut released = 0;
    loop {
        let in_flight = jobs.snapshot();
        if in_flight.is_empty() {
            return released;
        }
        if interruptions.last_moment().is_some_and(|last_moment| Instant::now() >= last_moment) {
            log::warn!(
                jobs = in_flight.len();
                "jobs do not end, their messages come back when their visibility timeout ends"
            );
            return released;
        }
        let elapsed = started.elapsed();
        let remaining = interruptions.remaining().unwrap_or_default();
        for job in hopeless(in_flight, remaining, elapsed, pace()) {
            if !job.cancel.is_cancelled() {
                log::info!(
                    message_id:% = job.message_id, pages_left = job.progress.pages_left();
                    "job does not fit into the drain, its message is given back"
                );
                job.cancel.cancel();
                released += 1;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = interruptions.abandoned().cancelled(), if !remaining.is_zero() => {}
        }
    }
}

/// The jobs that do not fit: shortest first as long as their pages together fit the remaining time.
fn hopeless(mut jobs: Vec<Job>, remaining: Duration, elapsed: Duration, pace: Pace) -> Vec<Job> {
    let time_for_pages = remaining.saturating_sub(SETTLE_RESERVE);
    let page = pace.page.unwrap_or(ASSUMED_PAGE);
    let pages_that_fit = if page.is_zero() {
        u64::MAX
    } else {
        (time_for_pages.as_secs_f64() / page.as_secs_f64() * f64::from(pace.children.max(1))) as u64
    };
    jobs.sort_by_key(|job| job.progress.pages_left().unwrap_or(0));
    let mut pages_before = 0_u64;
    jobs.into_iter()
        .filter(|job| match job.progress.pages_left() {
            None => remaining.is_zero() || elapsed > GRACE_FOR_UNKNOWN,
            Some(pages) => {
                pages_before += u64::from(pages);
                // No page left: only settling, which the reserve is for.
                remaining.is_zero() || (pages > 0 && pages_before > pages_that_fit)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::job::JobProgress;
    use crate::lifecycle::interruption::{Budgets, Cause};
    use crate::pool::Progress;

    const PACE: Pace = Pace { page: Some(Duration::from_secs(1)), children: 2 };

    const A_LOT: Duration = Duration::from_secs(3600);

    fn interrupted() -> Interruptions {
        let interruptions = Interruptions::new(Budgets { signal: Duration::from_secs(60), lifecycle: A_LOT });
        interruptions.report(Cause::Signal("SIGTERM"));
        interruptions
    }

    fn job(pages_done: u32, pages_total: u32) -> Job {
        let progress = Arc::new(JobProgress::default());
        if pages_total > 0 {
            progress.observer().progress.send_replace(Progress { pages_done, pages_total });
        }
        Job { message_id: format!("{pages_total}"), progress, cancel: CancellationToken::new() }
    }

    fn names(jobs: Vec<Job>) -> Vec<String> {
        jobs.into_iter().map(|job| job.message_id).collect()
    }

    #[test]
    fn the_long_scan_goes_and_the_short_one_stays() {
        let jobs = vec![job(10, 300), job(0, 3)];
        let gone = hopeless(jobs, Duration::from_secs(25), Duration::ZERO, PACE);
        assert_eq!(names(gone), ["300"]);
    }

    #[test]
    fn jobs_share_the_time_that_is_left() {
        // 20 s for pages and two children: 40 pages fit, not 30 + 25.
        let jobs = vec![job(0, 30), job(0, 25)];
        let gone = hopeless(jobs, Duration::from_secs(25), Duration::ZERO, PACE);
        assert_eq!(names(gone), ["30"]);
    }

    #[test]
    fn a_job_of_unknown_length_gets_a_grace_and_no_more() {
        let left = Duration::from_secs(50);
        assert!(hopeless(vec![job(0, 0)], left, Duration::from_secs(1), PACE).is_empty());
        assert_eq!(hopeless(vec![job(0, 0)], left, Duration::from_secs(3), PACE).len(), 1);
    }

    #[test]
    fn with_no_time_left_all_go_but_settling_uses_the_reserve() {
        assert!(hopeless(vec![job(3, 3)], Duration::from_secs(1), Duration::from_secs(9), PACE).is_empty());
        assert_eq!(hopeless(vec![job(3, 3)], Duration::ZERO, Duration::from_secs(9), PACE).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_when_the_last_job_has_left() {
        let jobs = Arc::new(Jobs::default());
        let guard = jobs.enter(job(0, 1));
        let leaving = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(guard);
        });
        let released = drain(&jobs, &interrupted(), || PACE).await;
        assert_eq!(released, 0);
        leaving.await.expect("left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_cancels_at_once() {
        let jobs = Arc::new(Jobs::default());
        let short = job(0, 1);
        let guard = jobs.enter(short.clone());
        tokio::spawn(async move {
            short.cancel.cancelled().await;
            drop(guard);
        });
        let interruptions = interrupted();
        interruptions.abandon();
        let started = Instant::now();
        assert_eq!(drain(&jobs, &interruptions, || PACE).await, 1);
        assert!(started.elapsed() <= LOOK_AGAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_deadline_in_the_middle_of_a_drain_lets_go_of_what_no_longer_fits() {
        let jobs = Arc::new(Jobs::default());
        let long = job(0, 500);
        let guard = jobs.enter(long.clone());
        tokio::spawn(async move {
            long.cancel.cancelled().await;
            drop(guard);
        });
        let interruptions = Interruptions::new(Budgets { signal: Duration::from_secs(60), lifecycle: A_LOT });
        interruptions.report(Cause::LifecycleTermination);
        let (draining, reported) = (interruptions.clone(), Instant::now() + Duration::from_secs(20));
        tokio::spawn(async move {
            tokio::time::sleep_until(reported).await;
            draining.report(Cause::RebalanceRecommendation);
        });
        assert_eq!(drain(&jobs, &interruptions, || PACE).await, 1);
        assert!(Instant::now() >= reported && Instant::now() <= reported + LOOK_AGAIN * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_does_not_end_is_not_waited_for_for_ever() {
        let jobs = Arc::new(Jobs::default());
        let _guard = jobs.enter(job(0, 1));
        let interruptions = interrupted();
        assert_eq!(drain(&jobs, &interruptions, || PACE).await, 1);
        assert!(interruptions.last_moment().is_some_and(|last_moment| Instant::now() >= last_moment));
    }
}
