use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::document::Reason;
use crate::queue::Queue;
use crate::queue::double::{Trouble, UnkindQueue};

const VISIBILITY: Duration = Duration::from_secs(30);

struct Bench {
    queue: Arc<UnkindQueue>,
    keeper: LeaseKeeper,
}

impl Bench {
    fn with(queue: UnkindQueue) -> Self {
        let shared_queue = Arc::new(queue);
        Self { keeper: LeaseKeeper::start(shared_queue.clone(), VISIBILITY), queue: shared_queue }
    }

    fn new() -> Self {
        Self::with(UnkindQueue::new(VISIBILITY))
    }

    async fn send_and_lease(&self) -> Lease {
        self.queue.send("{}").await.unwrap();
        self.receive_new().await
    }

    async fn receive_new(&self) -> Lease {
        let mut messages = self.queue.receive(1).await.unwrap();
        match self.keeper.lease(messages.remove(0)) {
            Adoption::New(lease) => lease,
            Adoption::AlreadyInFlight => panic!("expected a new lease"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_longer_than_the_visibility_timeout_keeps_its_message() {
    let bench = Bench::new();
    let lease = bench.send_and_lease().await;
    sleep(VISIBILITY * 40).await;
    assert!(!bench.queue.has_visible());
    assert!(!lease.lost().is_cancelled());
    lease.complete().await.unwrap();
    assert_eq!(bench.queue.deleted().len(), 1);
    assert_eq!(bench.keeper.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_ends_the_heartbeat_and_the_message_comes_again() {
    let bench = Bench::new();
    drop(bench.send_and_lease().await);
    assert_eq!(bench.keeper.in_flight(), 0);
    sleep(VISIBILITY).await;
    let again = bench.receive_new().await;
    assert_eq!(again.message().receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stale_handle_cancels_the_job_and_deletes_nothing() {
    let bench = Bench::new();
    let lease = bench.send_and_lease().await;
    bench.queue.steal(&lease.message().message_id);
    lease.lost().clone().cancelled().await;
    assert!(matches!(lease.complete().await, Err(QueueError::LeaseLost)));
    assert!(bench.queue.deleted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_message_received_again_is_new_work() {
    let bench = Bench::new();
    let lost_lease = bench.send_and_lease().await;
    bench.queue.steal(&lost_lease.message().message_id);
    lost_lease.lost().clone().cancelled().await;
    sleep(VISIBILITY).await;
    let second_lease = bench.receive_new().await;
    // The former job winds down late; that must not end the new one's heartbeat.
    drop(lost_lease);
    sleep(VISIBILITY * 3).await;
    assert!(!second_lease.lost().is_cancelled());
    second_lease.complete().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_fails_is_tried_again_before_the_lease_ends() {
    let bench = Bench::new();
    bench.queue.order_visibility_trouble(Trouble::FailNext(5));
    let lease = bench.send_and_lease().await;
    sleep(VISIBILITY * 5).await;
    assert!(!lease.lost().is_cancelled());
    assert!(!bench.queue.has_visible());
}

#[tokio::test(start_paused = true)]
async fn a_message_received_again_while_in_work_goes_on_with_the_new_handle() {
    let bench = Bench::new();
    // The queue cannot be reached for so long that the message becomes visible again.
    bench.queue.order_visibility_trouble(Trouble::FailNext(20));
    let lease = bench.send_and_lease().await;
    sleep(VISIBILITY + Duration::from_millis(10)).await;
    let again = bench.queue.receive(1).await.unwrap().remove(0);
    assert_ne!(again.receipt_handle, lease.message().receipt_handle);
    assert!(matches!(bench.keeper.lease(again), Adoption::AlreadyInFlight));
    assert_eq!(bench.keeper.in_flight(), 1);
    sleep(VISIBILITY * 4).await;
    assert!(!lease.lost().is_cancelled());
    assert!(!bench.queue.has_visible());
    lease.complete().await.unwrap();
    assert_eq!(bench.queue.deleted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_a_message_for_more_than_twelve_hours() {
    let bench = Bench::new();
    let lease = bench.send_and_lease().await;
    let leased_at = lease.message().leased_at;
    timeout(ledger::MAX_LEASE * 2, lease.lost().clone().cancelled()).await.expect("the lease ends");
    let held = Instant::now() - leased_at;
    assert!(held >= ledger::MAX_LEASE, "{held:?}");
    assert!(held < ledger::MAX_LEASE + Duration::from_secs(1), "{held:?}");
    let asked = bench.queue.visibility_changes();
    sleep(VISIBILITY * 4).await;
    assert_eq!(bench.queue.visibility_changes(), asked, "extended after the end");
    assert!(bench.queue.has_visible());
}

#[tokio::test(start_paused = true)]
async fn an_old_clock_counts_against_the_lease() {
    let bench = Bench::new();
    bench.queue.send("{}").await.unwrap();
    let mut message = bench.queue.receive(1).await.unwrap().remove(0);
    // A long poll that was answered late: the lease may be that old.
    sleep(Duration::from_secs(20)).await;
    message.leased_at = Instant::now() - Duration::from_secs(20);
    let _lease = bench.keeper.lease(message);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.queue.visibility_changes().len(), 1, "past half-time: extended at once");
}

#[tokio::test(start_paused = true)]
async fn an_absurd_visibility_timeout_does_not_overflow_the_clock() {
    let queue = Arc::new(UnkindQueue::new(VISIBILITY));
    let keeper = LeaseKeeper::start(queue.clone(), Duration::MAX);
    queue.send("{}").await.unwrap();
    let lease = keeper.lease(queue.receive(1).await.unwrap().remove(0));
    assert!(matches!(lease, Adoption::New(_)));
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_due_together_are_extended_together() {
    let bench = Bench::new();
    let mut leases = Vec::new();
    for _ in 0..25 {
        leases.push(bench.send_and_lease().await);
        sleep(Duration::from_millis(40)).await;
    }
    sleep(VISIBILITY * 10).await;
    assert!(leases.iter().all(|lease| !lease.lost().is_cancelled()));
    assert!(!bench.queue.has_visible());
    assert_eq!(bench.keeper.in_flight(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_slow_extension_does_not_hold_up_the_others() {
    let bench = Bench::new();
    bench.queue.delay_visibility_changes(Duration::from_secs(12));
    let first = bench.send_and_lease().await;
    sleep(Duration::from_secs(5)).await;
    let second = bench.send_and_lease().await;
    sleep(VISIBILITY * 3).await;
    assert!(!first.lost().is_cancelled() && !second.lost().is_cancelled());
    assert!(!bench.queue.has_visible());
}

#[tokio::test(start_paused = true)]
async fn an_extension_on_its_way_does_not_undo_a_release() {
    let bench = Bench::new();
    bench.queue.delay_visibility_changes(Duration::from_secs(3));
    let lease = bench.send_and_lease().await;
    sleep(VISIBILITY / 2 + Duration::from_secs(1)).await;
    // The extension is on its way and slow; the release overtakes it unless it waits.
    bench.queue.delay_visibility_changes(Duration::ZERO);
    lease.release(Duration::from_secs(5)).await.unwrap();
    sleep(Duration::from_secs(6)).await;
    assert!(bench.queue.has_visible());
    let again = bench.receive_new().await;
    assert_eq!(again.message().receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_released_without_delay_is_visible_at_once() {
    let bench = Bench::new();
    bench.send_and_lease().await.release(Duration::ZERO).await.unwrap();
    assert!(bench.queue.has_visible());
}

#[tokio::test(start_paused = true)]
async fn a_released_message_stays_away_for_the_delay() {
    let bench = Bench::new();
    let lease = bench.send_and_lease().await;
    lease.release(Duration::from_secs(100)).await.unwrap();
    sleep(Duration::from_secs(99)).await;
    assert!(!bench.queue.has_visible());
    sleep(Duration::from_secs(2)).await;
    assert!(bench.queue.has_visible());
}

#[tokio::test(start_paused = true)]
async fn a_message_received_during_its_own_release_is_new_work() {
    let bench = Bench::new();
    let lease = bench.send_and_lease().await;
    bench.queue.order_visibility_trouble(Trouble::LoseAnswer(1));
    let queue = bench.queue.clone();
    let releasing = tokio::spawn(lease.release(Duration::ZERO));
    while !queue.has_visible() {
        tokio::task::yield_now().await;
    }
    // Visible already, but the release has not had its answer yet and tries again.
    let _second = bench.receive_new().await;
    assert!(matches!(releasing.await.unwrap(), Err(QueueError::LeaseLost)));
    sleep(VISIBILITY * 3).await;
    assert!(!bench.queue.has_visible(), "the new lease is kept");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_is_tried_again() {
    let bench = Bench::new();
    bench.queue.order_delete_trouble(Trouble::FailNext(3));
    bench.send_and_lease().await.complete().await.unwrap();
    assert_eq!(bench.queue.deleted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_keeps_failing_says_so_and_the_message_comes_again() {
    let bench = Bench::new();
    bench.queue.order_delete_trouble(Trouble::FailNext(usize::MAX));
    let settled = bench.send_and_lease().await.complete().await;
    assert!(matches!(settled, Err(QueueError::Unavailable(_))));
    sleep(VISIBILITY * 2).await;
    assert!(bench.queue.has_visible());
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlives_the_wait_for_its_dead_letter_copy() {
    let bench = Bench::new();
    bench.queue.order_dead_letter_trouble(Trouble::FailNext(2));
    let failure = Failure::new(Reason::MalformedMessage, "not JSON");
    let lease = bench.send_and_lease().await;
    for _ in 0..2 {
        let copied = lease.copy_to_dead_letter_queue(&failure).await;
        assert!(matches!(copied, Err(QueueError::Unavailable(_))));
        assert!(bench.queue.deleted().is_empty(), "a copy that is not accepted deletes nothing");
        sleep(VISIBILITY * 2).await;
    }
    lease.copy_to_dead_letter_queue(&failure).await.unwrap();
    lease.complete().await.unwrap();
    let copies = bench.queue.dead_letters();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].1, failure);
    assert_eq!(bench.queue.deleted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_the_keeper_stopped_leases_run_out() {
    let bench = Bench::new();
    let lease = bench.send_and_lease().await;
    bench.keeper.stop().await;
    sleep(VISIBILITY * 2).await;
    assert!(bench.queue.has_visible());
    drop(lease);
}

#[test]
fn the_back_off_grows_and_is_bounded() {
    for receive_count in [0, 1, 2, 3, 7, 100, u32::MAX] {
        for _ in 0..200 {
            let delay = retry_delay(receive_count);
            assert!(delay >= RETRY_MIN && delay <= RETRY_MAX, "{receive_count}: {delay:?}");
            assert!(receive_count > 1 || delay <= RETRY_BASE);
        }
    }
    let late: Vec<Duration> = (0..200).map(|_| retry_delay(7)).collect();
    assert!(late.iter().any(|delay| *delay > RETRY_BASE * 10), "full jitter over the whole range");
}

#[tokio::test(start_paused = true)]
async fn the_last_receive_is_known_as_such_and_a_first_one_never_is() {
    for (maximum, last_receives) in [(1, vec![false, true]), (3, vec![false, false, true, true])] {
        let bench = Bench::with(UnkindQueue::with_max_receive_count(VISIBILITY, maximum));
        bench.queue.send("{}").await.unwrap();
        for (position, is_last) in last_receives.into_iter().enumerate() {
            let lease = bench.receive_new().await;
            assert_eq!(lease.is_last_receive(), is_last, "receive {} of {maximum}", position + 1);
            lease.release(Duration::ZERO).await.unwrap();
        }
    }
    let bench = Bench::new();
    assert!(!bench.send_and_lease().await.is_near_redrive(1), "a queue without redrive");
}
