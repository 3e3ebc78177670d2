//! A known-bad message on its way to the dead-letter queue.
//!
//! The message is deleted only when the copy was accepted (contract §1, §4). A dead-letter queue that is down is not
//! the message's fault, and good messages go on meanwhile: the bad one waits for it, holding its lease, as a job waits
//! for the index. What it holds besides is its slot, and that is the back-pressure when there are many.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::document::{Failure, Outcome};
use crate::health::error_chain;
use crate::health::events::{DeadLetterFailed, DeleteFailed, MessageDeadLettered, ReleaseCause};
use crate::health::status::Dependency;
use crate::queue::QueueError;
use crate::queue::lease::{Lease, retry_delay};

use super::Context;
use super::calls::{Calls, OUTAGE_HOLD};
use super::message::{Fault, give_back, release};
use super::object::Interruption;

/// A queue that stays down is tried all the same once in this time: a role that may send to the dead-letter queue need
/// not be allowed to look at it, and then only sending can prove that it is back.
const TRY_ANYWAY: Duration = Duration::from_secs(60);
/// How long a copy that is on its way may take when the job has to end. One whose answer nobody reads would be made a
/// second time.
const LAST_COPY: Duration = Duration::from_secs(2);

/// Copies the message and deletes it, or gives it back. The copy carries the first fault's reason; each fault is an
/// outcome of its own.
pub(super) async fn settle(context: &Context, lease: Lease, faults: &[Fault], cancel: &CancellationToken) {
    let Some(Fault { failure, .. }) = faults.first() else { return };
    let report = |outcome| {
        for Fault { key, failure } in faults {
            context.dropped(key, outcome, Some(failure));
        }
    };
    let message_id = lease.message().message_id.clone();
    let attempts = lease.message().receive_count;
    let calls = Calls { context, cancel, lost: lease.lost(), subject: &message_id };
    let copied = match copy(&calls, &lease, failure).await {
        Ok(copied) => copied,
        // The keeper has said so already; another delivery owns the message now.
        Err(Interruption::Cancelled | Interruption::CancelledInDoubt) if lease.lost().is_cancelled() => return,
        Err(Interruption::Cancelled | Interruption::CancelledInDoubt) => {
            report(Outcome::Retry);
            return release(lease, &message_id, ReleaseCause::Drain, Duration::ZERO).await;
        }
        Err(Interruption::Retry(reason) | Interruption::Outage(reason)) => {
            report(Outcome::Retry);
            log::warn!(message_id:%, reason:%; "message goes back to the queue");
            return release(lease, &message_id, ReleaseCause::Outage, retry_delay(attempts)).await;
        }
    };
    if let Err(error) = copied {
        report(Outcome::Retry);
        DeadLetterFailed { message_id: &message_id, failure, why: &error_chain(&error) }.emit();
        return give_back(lease, &message_id, ReleaseCause::Retry, retry_delay(attempts)).await;
    }
    report(Outcome::DeadLettered);
    MessageDeadLettered { message_id: &message_id, failure, attempts }.emit();
    if let Err(error) = lease.complete().await {
        DeleteFailed { message_id: &message_id, error: &error_chain(&error) }.emit();
    }
}

/// Copies the message, through outages of the dead-letter queue. What comes back as an error is final.
async fn copy(calls: &Calls<'_>, lease: &Lease, failure: &Failure) -> Result<Result<(), QueueError>, Interruption> {
    let status = &calls.context.status;
    let give_up_at = Instant::now() + OUTAGE_HOLD;
    for attempt in 0.. {
        let patience = TRY_ANYWAY.min(give_up_at.saturating_duration_since(Instant::now()));
        let waited = tokio::time::timeout(patience, status.wait_until_up(Dependency::DeadLetterQueue));
        // Elapsed: see `TRY_ANYWAY`.
        let _ = calls.step(waited).await?;
        match copy_once(calls.cancel, lease, failure).await? {
            Err(QueueError::Unavailable(_)) if Instant::now() >= give_up_at => break,
            Err(QueueError::Unavailable(_)) => calls.pause(attempt).await?,
            answer => return Ok(answer),
        }
    }
    Err(Interruption::Outage(format!("{} is still down", Dependency::DeadLetterQueue.title())))
}

async fn copy_once(
    cancel: &CancellationToken,
    lease: &Lease,
    failure: &Failure,
) -> Result<Result<(), QueueError>, Interruption> {
    let copying = lease.copy_to_dead_letter_queue(failure);
    tokio::pin!(copying);
    if let Some(answer) = cancel.run_until_cancelled(&mut copying).await {
        return Ok(answer);
    }
    tokio::time::timeout(LAST_COPY, copying).await.map_err(|_elapsed| Interruption::Cancelled)
}
