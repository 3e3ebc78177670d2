//! Leases: holding one *is* the heartbeat; settling consumes it, so a message is settled at most once.
//!
//! One [`LeaseKeeper`] extends all leases: a message whose job outlives the visibility timeout is not delivered
//! to another worker. The keeper's bookkeeping is [`ledger`], which knows no network and no clock of its own.
//!
//! Rules (blueprint, "Leases"): extended at half-time; the clock starts *before* the receive or extend call was
//! sent; never beyond 12 hours after the receive (SQS quota); a handle that the queue no longer accepts cancels
//! the job. A lease whose time ran out because the queue could not be reached is *not* given up: doing a
//! document twice is harmless, throwing away its work is not; the queue's word decides when it answers again.

mod keeper;
mod ledger;
#[cfg(test)]
mod tests;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio_util::sync::CancellationToken;

use super::{QueueError, ReceivedMessage};
use crate::document::Failure;
pub use keeper::LeaseKeeper;
use keeper::SharedLedger;
use ledger::LeaseId;

/// First step of the back-off between two attempts at a message.
const RETRY_BASE: Duration = Duration::from_secs(10);
/// Its bound: long enough for an outage to pass without using up the queue's maxReceiveCount at once.
const RETRY_MAX: Duration = Duration::from_secs(900);
/// Nothing is tried again sooner.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Further attempts when settling a message fails for a reason that may pass.
const SETTLE_RETRIES: usize = 4;
const SETTLE_RETRY_MIN: Duration = Duration::from_millis(200);
const SETTLE_RETRY_MAX: Duration = Duration::from_secs(5);

/// What became of a message that was handed to the keeper.
#[derive(Debug)]
pub enum Adoption {
    /// Work on it.
    New(Lease),
    /// The same message is in work already; its lease goes on with the new handle. Nothing to do.
    AlreadyInFlight,
}

/// The right to work on one message. Dropped without being settled, it ends the heartbeat: the message returns
/// when its visibility timeout ends.
#[derive(Debug)]
pub struct Lease {
    message: ReceivedMessage,
    lost: CancellationToken,
    id: LeaseId,
    shared: SharedLedger,
    settled: bool,
}

impl Lease {
    fn new(message: ReceivedMessage, lost: CancellationToken, id: LeaseId, shared: SharedLedger) -> Self {
        Self { message, lost, id, shared, settled: false }
    }

    /// As first received; the keeper knows the handle that is valid now.
    pub fn message(&self) -> &ReceivedMessage {
        &self.message
    }

    /// Cancelled when the lease is lost: stop working, write nothing, delete nothing.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// The message's outcome is durable: it leaves the queue. Tries a few times; an error says that the message
    /// will come again, not that its job failed.
    pub async fn complete(mut self) -> Result<(), QueueError> {
        self.shared.begin_settling(self.id);
        let verdict = self.delete().await;
        self.settled = true;
        verdict
    }

    /// Whether the queue moves the message to its dead-letter queue unless it is settled this time. A first delivery
    /// is never the last one: with a maximum of one, nothing would ever be worked on.
    pub fn is_last_receive(&self) -> bool {
        self.message.receive_count > 1 && self.is_near_redrive(0)
    }

    /// Whether the queue would move the message to its dead-letter queue after so many more receives, or fewer.
    pub fn is_near_redrive(&self, receives_left: u32) -> bool {
        let reached = self.message.receive_count.saturating_add(receives_left);
        self.shared.queue().max_receive_count().is_some_and(|maximum| reached >= maximum)
    }

    /// Puts a copy with the attributes into the queue, whoever holds the message by now. To be completed then, where
    /// it is still ours: the copy is the message from now on.
    pub async fn send_anew(&self, delay: Duration) -> Result<(), QueueError> {
        (|| self.shared.queue().send_anew(&self.message, delay))
            .retry(settle_retries())
            .when(is_worth_another_try)
            .await
    }

    /// Gives the message back: visible again after `delay`, zero = at once.
    pub async fn release(mut self, delay: Duration) -> Result<(), QueueError> {
        let verdict = self.give_back(delay).await;
        self.settled = true;
        verdict
    }

    /// Puts a copy of the message with the failure as attributes into the dead-letter queue; one call. The message
    /// itself is settled by the next step: [`Lease::complete`] once the copy was accepted, [`Lease::release`] to leave
    /// it to the queue's own redrive (`NoDeadLetterQueue`, `TooLarge`), another copy later (`Unavailable`).
    pub async fn copy_to_dead_letter_queue(&self, failure: &Failure) -> Result<(), QueueError> {
        if self.lost.is_cancelled() {
            return Err(QueueError::LeaseLost);
        }
        self.shared.queue().dead_letter(&self.message, failure).await
    }

    async fn delete(&self) -> Result<(), QueueError> {
        (|| self.delete_once()).retry(settle_retries()).when(is_worth_another_try).await
    }

    async fn delete_once(&self) -> Result<(), QueueError> {
        loop {
            if self.lost.is_cancelled() {
                return Err(QueueError::LeaseLost);
            }
            let Some(handle) = self.shared.handle(self.id) else { return Err(QueueError::LeaseLost) };
            let verdict = self.shared.queue().delete(&handle).await;
            // Delivered again meanwhile: the newer handle is the one to delete with.
            let was_swapped = self.shared.handle(self.id).is_some_and(|current| current != handle);
            if !(matches!(verdict, Err(QueueError::LeaseLost)) && was_swapped) {
                return verdict;
            }
        }
    }

    async fn give_back(&self, delay: Duration) -> Result<(), QueueError> {
        // An extension on its way would hide the message again after the release.
        let Some(handle) = self.shared.end_heartbeat(self.id).await else { return Err(QueueError::LeaseLost) };
        if self.lost.is_cancelled() {
            return Err(QueueError::LeaseLost);
        }
        (|| self.shared.queue().change_visibility(&handle, delay))
            .retry(settle_retries())
            .when(is_worth_another_try)
            .await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.forget(self.id);
        if !self.settled && !self.lost.is_cancelled() {
            log::warn!(
                message_id:% = self.message.message_id;
                "lease dropped before its message was settled; the message returns when its visibility timeout ends"
            );
        }
    }
}

/// How long a message waits before it is tried again: back-off by receive count with full jitter, so that the
/// messages of one outage do not come back together.
pub fn retry_delay(receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(16);
    let bound = RETRY_BASE.saturating_mul(1 << doublings).min(RETRY_MAX);
    RETRY_MIN + bound.saturating_sub(RETRY_MIN).mul_f64(fastrand::f64())
}

fn settle_retries() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(SETTLE_RETRY_MIN)
        .with_max_delay(SETTLE_RETRY_MAX)
        .with_max_times(SETTLE_RETRIES)
}

fn is_worth_another_try(error: &QueueError) -> bool {
    matches!(error, QueueError::Unavailable(_))
}
