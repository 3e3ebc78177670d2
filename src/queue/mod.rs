//! Where the work comes from: SQS, or a folder that is scanned in embedded mode.
//!
//! * [`sqs`]: the real queue
//! * [`folder`]: a folder as the queue (embedded mode)
//! * [`lease`]: the keeper that extends what is in work, and the lease that settles a message exactly once
//! * [`observed`]: any queue, with its failures told to the status

#[cfg(test)]
pub mod double;
pub mod folder;
pub mod lease;
pub mod observed;
pub mod sqs;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::aws::outage_of;
use crate::document::Failure;
use crate::health::outage::{Outage, OutageCause};

/// Attribute of a message that was sent anew: its receives before that. What happened to its objects so far is looked
/// up by it, as it is by the receive count.
pub const PREVIOUS_RECEIVES: &str = "previous_receives";
/// Longest DelaySeconds (SQS quota).
pub const MAX_SEND_DELAY: Duration = Duration::from_secs(900);

/// A message as received: it is leased to us until its visibility timeout ends.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    pub message_id: String,
    pub receipt_handle: String,
    pub body: String,
    /// Message attributes with a text value (String and Number): what DLQ copies carry on.
    pub attributes: BTreeMap<String, String>,
    /// ApproximateReceiveCount, 1 at the first delivery.
    pub receive_count: u32,
    /// SentTimestamp: how long the message has waited. `None` when the queue does not say.
    pub sent_at: Option<Timestamp>,
    /// Taken *before* the receive call was sent: the lease cannot have started earlier.
    pub leased_at: Instant,
}

/// Why the queue refused. `LeaseLost` is final for that delivery; `Unavailable` is nobody's fault.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("the lease on the message is lost (receipt handle no longer valid)")]
    LeaseLost,
    #[error("the message copy is larger than the queue accepts")]
    TooLarge,
    #[error("no dead-letter queue is known")]
    NoDeadLetterQueue,
    #[error("the queue is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl QueueError {
    /// What this says about the queue as a whole.
    pub fn outage(&self) -> Outage {
        match self {
            QueueError::Unavailable(source) => outage_of(source.as_ref()),
            QueueError::NoDeadLetterQueue => Outage::new(OutageCause::Missing, self.to_string()),
            QueueError::LeaseLost | QueueError::TooLarge => Outage::new(OutageCause::Failing, self.to_string()),
        }
    }
}

/// What the queue says about itself; shown by `--validate-only` and in STATUS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueInfo {
    pub visible: u64,
    pub in_flight: u64,
    pub dead_letter_target: Option<String>,
    /// From the redrive policy.
    pub max_receive_count: Option<u32>,
}

/// The queue of hints.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Waits up to the long-poll time for at most `max` messages (1 or more).
    async fn receive(&self, max: usize) -> Result<Vec<ReceivedMessage>, QueueError>;

    /// Sets the time until the message is visible again, counted from now. Zero releases it at once.
    async fn change_visibility(&self, message: &MessageHandle, timeout: Duration) -> Result<(), QueueError>;

    /// The same for several messages in as few calls as the queue offers; one answer each, in order.
    async fn change_visibility_batch(&self, changes: &[(MessageHandle, Duration)]) -> Vec<Result<(), QueueError>> {
        join_all(changes.iter().map(|(handle, timeout)| self.change_visibility(handle, *timeout))).await
    }

    /// Removes the message for good.
    async fn delete(&self, message: &MessageHandle) -> Result<(), QueueError>;

    /// Puts a copy of the message with the failure as attributes (contract §1) into the dead-letter queue.
    /// The message itself stays: deleting it after the copy was accepted is the caller's next step.
    async fn dead_letter(&self, message: &ReceivedMessage, failure: &Failure) -> Result<(), QueueError>;

    /// Puts a new message into the queue.
    async fn send(&self, body: &str) -> Result<(), QueueError>;

    /// Puts a new message with the body and the attributes of a received one into the queue, visible after `delay`
    /// (at most [`MAX_SEND_DELAY`]). The copy carries [`PREVIOUS_RECEIVES`]; the received message stays.
    /// A queue without a maximum of receives has no use for it.
    async fn send_anew(&self, message: &ReceivedMessage, _delay: Duration) -> Result<(), QueueError> {
        self.send(&message.body).await
    }

    /// After how many receives the queue itself moves a message to its dead-letter queue, as of the last
    /// [`Queue::probe`]; `None`: never, or not known.
    fn max_receive_count(&self) -> Option<u32> {
        None
    }

    /// Whether the queue answers, and what it says about itself.
    async fn probe(&self) -> Result<QueueInfo, QueueError>;

    /// Proves that the dead-letter queue is known and answers; says its name or URL.
    async fn probe_dead_letter(&self) -> Result<String, QueueError> {
        Err(QueueError::NoDeadLetterQueue)
    }

    /// True when no message will ever come again (an embedded folder that was scanned to its end).
    fn is_exhausted(&self) -> bool {
        false
    }
}

/// What names one delivery of one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageHandle {
    pub message_id: String,
    pub receipt_handle: String,
}

impl ReceivedMessage {
    /// Deliveries in all, this one included, also those before the message was sent anew.
    pub fn attempts(&self) -> u32 {
        let previous = self.attributes.get(PREVIOUS_RECEIVES).and_then(|count| count.parse::<u32>().ok());
        self.receive_count.saturating_add(previous.unwrap_or(0))
    }

    pub fn handle(&self) -> MessageHandle {
        MessageHandle { message_id: self.message_id.clone(), receipt_handle: self.receipt_handle.clone() }
    }
}
