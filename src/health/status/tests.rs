//! What is told to the status, and what it then says.

use super::*;
use crate::health::outage::OutageCause;

fn status() -> Status {
    Status::new(Duration::from_secs(20))
}

fn unreachable(detail: &str) -> Outage {
    Outage::new(OutageCause::Unreachable, detail)
}

#[test]
fn the_phase_follows_from_what_was_told() {
    let status = status();
    assert_eq!(status.snapshot().phase(), Phase::Starting);
    status.dependency_up(Dependency::Index);
    status.set_ready();
    assert_eq!(status.snapshot().phase(), Phase::Ready);
    status.dependency_down(Dependency::Index, &unreachable("connection refused"));
    assert_eq!(status.snapshot().phase(), Phase::Paused);
    status.dependency_up(Dependency::Index);
    assert_eq!(status.snapshot().phase(), Phase::Ready);
    status.drain_started("SIGTERM", Duration::from_secs(60));
    status.dependency_down(Dependency::Index, &unreachable("connection refused"));
    assert_eq!(status.snapshot().phase(), Phase::Draining);
}

#[test]
fn an_outage_keeps_its_beginning_and_shows_its_latest_reason() {
    let status = status();
    status.dependency_down(Dependency::Store, &unreachable("first"));
    let first = status.snapshot();
    status.dependency_down(Dependency::Store, &unreachable("second"));
    let second = status.snapshot();
    let (_, since, outage) = second.outages().next().unwrap();
    assert_eq!(*outage, unreachable("second"));
    assert_eq!(Some(since), first.outages().next().map(|(_, since, _)| since));
}

#[test]
fn jobs_are_counted_while_their_guard_lives() {
    let status = status();
    let first = status.job_started();
    let second = status.job_started();
    assert_eq!(status.snapshot().jobs_in_flight, 2);
    drop((first, second));
    assert_eq!(status.snapshot().jobs_in_flight, 0);
}

#[test]
fn outcomes_are_counted_by_kind() {
    let status = status();
    let event = |outcome| JobFinished {
        key: "a",
        outcome,
        failure: None,
        bytes: 0,
        pages: Default::default(),
        same_as: None,
        times: Default::default(),
    };
    status.job_finished(event(Outcome::Indexed));
    status.job_finished(event(Outcome::Indexed));
    status.job_finished(event(Outcome::Deleted));
    let snapshot = status.snapshot();
    assert_eq!((snapshot.count(Outcome::Indexed), snapshot.count(Outcome::Deleted)), (2, 1));
    assert!(snapshot.last_document_at.is_some());
}

#[test]
fn a_poll_loop_that_stands_still_is_not_healthy_but_one_that_has_not_begun_is() {
    let status = status();
    let later = Duration::from_secs(3600);
    assert_eq!(status.poll_loop_health(later), Ok(()));
    status.poll_loop_turned();
    assert_eq!(status.poll_loop_health(Duration::from_secs(40)), Ok(()));
    assert!(status.poll_loop_health(later).is_err_and(|why| why.contains("poll loop")));
}

#[test]
fn a_child_over_its_limit_is_not_healthy() {
    let status = status();
    status.watch_pool(|| PoolState { over_limit: true, ..PoolState::default() });
    assert!(status.health().is_err());
}
