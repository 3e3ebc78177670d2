//! What becomes of messages and their leases.

use std::time::Duration;

use super::seconds;
use crate::document::Failure;
use crate::health::metrics::Counter;

/// A receive call brought messages.
#[derive(Clone, Copy, Debug)]
pub struct MessagesReceived {
    pub count: usize,
}

impl MessagesReceived {
    pub fn emit(self) {
        Counter::MessagesReceived.add(self.count as u64, &[]);
        log::debug!(count = self.count; "messages received");
    }
}

/// A receive call failed; it is made again.
#[derive(Clone, Debug)]
pub struct ReceiveFailed<'a> {
    pub error: &'a str,
}

impl ReceiveFailed<'_> {
    pub fn emit(self) {
        Counter::ReceiveFailures.add(1, &[]);
        log::warn!(error:% = self.error; "receive failed, trying again");
    }
}

/// A message left the queue: the outcome of everything in it is durable.
#[derive(Clone, Debug)]
pub struct MessageDeleted<'a> {
    pub message_id: &'a str,
}

impl MessageDeleted<'_> {
    pub fn emit(self) {
        Counter::MessagesDeleted.add(1, &[]);
        log::debug!(message_id:% = self.message_id; "message deleted");
    }
}

/// A message whose work is done could not be deleted: it comes again and is found done.
#[derive(Clone, Debug)]
pub struct DeleteFailed<'a> {
    pub message_id: &'a str,
    pub error: &'a str,
}

impl DeleteFailed<'_> {
    pub fn emit(self) {
        Counter::DeleteFailures.add(1, &[]);
        log::warn!(message_id:% = self.message_id, error:% = self.error; "delete failed, the message comes again");
    }
}

/// The dead-letter queue took a copy of a known-bad message (contract §1).
#[derive(Clone, Debug)]
pub struct MessageDeadLettered<'a> {
    pub message_id: &'a str,
    pub failure: &'a Failure,
    /// Deliveries so far, this one included.
    pub attempts: u32,
}

impl MessageDeadLettered<'_> {
    pub fn emit(self) {
        Counter::MessagesDeadLettered.add(1, &[("reason", self.failure.reason.as_str())]);
        log::warn!(
            message_id:% = self.message_id,
            reason:% = self.failure.reason,
            detail:% = self.failure.detail,
            attempts = self.attempts;
            "message copied to the dead-letter queue"
        );
    }
}

/// A known-bad message could not be copied (no queue known, copy too large, call failed). It stays where it is; the
/// queue's own redrive is left to deal with it.
#[derive(Clone, Debug)]
pub struct DeadLetterFailed<'a> {
    pub message_id: &'a str,
    pub failure: &'a Failure,
    pub why: &'a str,
}

impl DeadLetterFailed<'_> {
    pub fn emit(self) {
        Counter::DeadLetterFailures.add(1, &[]);
        log::warn!(
            message_id:% = self.message_id,
            reason:% = self.failure.reason,
            why:% = self.why;
            "known-bad message not copied, it is left to the queue's own redrive"
        );
    }
}

/// Why a message was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// The daemon stops.
    Drain,
    /// The index or the store is down.
    Outage,
    /// The attempt failed; the next one comes after a delay.
    Retry,
}

impl ReleaseCause {
    pub fn as_str(self) -> &'static str {
        match self {
            ReleaseCause::Drain => "drain",
            ReleaseCause::Outage => "outage",
            ReleaseCause::Retry => "retry",
        }
    }
}

/// Why a message was sent anew with its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentAnewCause {
    /// It was close to its maxReceiveCount without having done anything to deserve the dead-letter queue.
    NearRedrive,
    /// Its lease was lost while a write was on its way: somebody has to look at the object after that.
    WriteInDoubt,
}

impl SentAnewCause {
    pub fn as_str(self) -> &'static str {
        match self {
            SentAnewCause::NearRedrive => "near_redrive",
            SentAnewCause::WriteInDoubt => "write_in_doubt",
        }
    }
}

/// A copy of a message, with its attributes, was put into the queue.
#[derive(Clone, Copy, Debug)]
pub struct MessageSentAnew<'a> {
    pub message_id: &'a str,
    pub cause: SentAnewCause,
    /// Deliveries of the message so far.
    pub receives: u32,
    pub delay: Duration,
}

impl MessageSentAnew<'_> {
    pub fn emit(self) {
        Counter::MessagesSentAnew.add(1, &[("cause", self.cause.as_str())]);
        log::info!(
            message_id:% = self.message_id,
            cause = self.cause.as_str(),
            receives = self.receives,
            delay_seconds = seconds(self.delay);
            "message sent anew"
        );
    }
}

/// A message was given back to the queue, nothing written.
#[derive(Clone, Debug)]
pub struct MessageReleased<'a> {
    pub message_id: &'a str,
    pub cause: ReleaseCause,
    /// Until it is visible again; zero: at once.
    pub delay: Duration,
}

impl MessageReleased<'_> {
    pub fn emit(self) {
        Counter::MessagesReleased.add(1, &[("cause", self.cause.as_str())]);
        log::info!(
            message_id:% = self.message_id,
            cause = self.cause.as_str(),
            delay_seconds = self.delay.as_secs();
            "message given back to the queue"
        );
    }
}

/// A lease was extended.
#[derive(Clone, Debug)]
pub struct LeaseExtended<'a> {
    pub message_id: &'a str,
    /// From now.
    pub until: Duration,
}

impl LeaseExtended<'_> {
    pub fn emit(self) {
        Counter::LeasesExtended.add(1, &[]);
        log::debug!(message_id:% = self.message_id, seconds = seconds(self.until); "lease extended");
    }
}

/// A lease could not be extended; it is tried again while the lease lasts.
#[derive(Clone, Debug)]
pub struct LeaseExtensionFailed<'a> {
    pub message_id: &'a str,
    pub error: &'a str,
}

impl LeaseExtensionFailed<'_> {
    pub fn emit(self) {
        Counter::LeaseExtensionFailures.add(1, &[]);
        log::warn!(message_id:% = self.message_id, error:% = self.error; "lease not extended, trying again");
    }
}

/// A lease is lost: somebody else may have the message by now, so its job is cancelled and writes nothing.
#[derive(Clone, Debug)]
pub struct LeaseLost<'a> {
    pub message_id: &'a str,
}

impl LeaseLost<'_> {
    pub fn emit(self) {
        Counter::LeasesLost.add(1, &[]);
        log::warn!(message_id:% = self.message_id; "lease lost, its job is cancelled");
    }
}
