//! A leased message on its way to being settled.
//!
//! The good records of a message are finished first, one after the other; only then is the message settled, once,
//! by what the worst of them needs: back to the queue, to the dead-letter queue, or deleted (contract §1, §4).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::document::{Failure, Outcome, Reason};
use crate::event::{self, Message, ObjectEvent};
use crate::health::error_chain;
use crate::health::events::{DeleteFailed, MessageDeleted, MessageReleased, ReleaseCause};
use crate::queue::lease::{Lease, retry_delay};

use super::object::{self, Interruption, ObjectEnd};
use super::{Context, JobProgress, dead_letter, smoke};

/// What settles the message.
enum MessageEnd {
    Complete,
    DeadLetter(Failure),
    Retry {
        cause: ReleaseCause,
        reason: String,
    },
    /// The daemon has to go, or the lease is lost.
    Cancelled,
}

/// Takes a message from lease to settlement. `cancel` ends it at the next step: with the lease lost nothing is
/// written and nothing deleted; otherwise the message is released at once.
pub async fn handle(context: Arc<Context>, lease: Lease, progress: Arc<JobProgress>, cancel: CancellationToken) {
    let end = work(&context, &lease, &progress, &cancel).await;
    settle(&context, lease, end, &cancel).await;
}

async fn work(context: &Context, lease: &Lease, progress: &JobProgress, cancel: &CancellationToken) -> MessageEnd {
    let message = lease.message();
    match event::parse(&message.body, &message.attributes, &context.default_bucket, &message.message_id) {
        Message::Malformed(failure) => MessageEnd::DeadLetter(failure),
        Message::S3TestEvent => {
            context.finished("", Outcome::Skipped, Some(Reason::TestEvent));
            MessageEnd::Complete
        }
        Message::SmokeTest { id } => match smoke::run(context, &id, cancel).await {
            Ok(()) => MessageEnd::Complete,
            Err(interruption) => interruption.into(),
        },
        Message::Objects { events, malformed, irrelevant } => {
            for _ in 0..irrelevant {
                context.finished("", Outcome::Skipped, Some(Reason::IrrelevantEvent));
            }
            objects(context, &events, malformed, progress, cancel).await
        }
    }
}

async fn objects(
    context: &Context,
    events: &[ObjectEvent],
    malformed: Vec<Failure>,
    progress: &JobProgress,
    cancel: &CancellationToken,
) -> MessageEnd {
    let mut dead_letter = malformed.into_iter().next();
    let mut retry = None;
    for event in events {
        match object::process(context, event, progress, cancel).await {
            Ok(ObjectEnd::Finished) => {}
            Ok(ObjectEnd::Fault(failure)) => dead_letter = dead_letter.or(Some(failure)),
            Err(Interruption::Cancelled) => return MessageEnd::Cancelled,
            Err(Interruption::Retry(reason)) => retry = retry.or(Some((ReleaseCause::Retry, reason))),
            Err(Interruption::Outage(reason)) => retry = retry.or(Some((ReleaseCause::Outage, reason))),
        }
    }
    // A retry comes first: the records that are done already are cheap to look at again.
    match (retry, dead_letter) {
        (Some((cause, reason)), _) => MessageEnd::Retry { cause, reason },
        (None, Some(failure)) => MessageEnd::DeadLetter(failure),
        (None, None) => MessageEnd::Complete,
    }
}

impl From<Interruption> for MessageEnd {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Cancelled => MessageEnd::Cancelled,
            Interruption::Retry(reason) => MessageEnd::Retry { cause: ReleaseCause::Retry, reason },
            Interruption::Outage(reason) => MessageEnd::Retry { cause: ReleaseCause::Outage, reason },
        }
    }
}

/// An error here loses nothing: the visibility timeout brings the message back, and doing its work again gives the
/// same document.
async fn settle(context: &Context, lease: Lease, end: MessageEnd, cancel: &CancellationToken) {
    let message_id = lease.message().message_id.clone();
    let attempts = lease.message().receive_count;
    match end {
        // The keeper has said so already; another delivery owns the message now.
        MessageEnd::Cancelled if lease.lost().is_cancelled() => {}
        MessageEnd::Cancelled => release(lease, &message_id, ReleaseCause::Drain, Duration::ZERO).await,
        MessageEnd::Retry { cause, reason } => {
            context.dropped(&message_id, Outcome::Retry, None);
            log::warn!(message_id:%, reason:%; "message goes back to the queue");
            release(lease, &message_id, cause, retry_delay(attempts)).await;
        }
        MessageEnd::Complete => match lease.complete().await {
            Ok(()) => MessageDeleted { message_id: &message_id }.emit(),
            Err(error) => DeleteFailed { message_id: &message_id, error: &error_chain(&error) }.emit(),
        },
        MessageEnd::DeadLetter(failure) => dead_letter::settle(context, lease, &failure, cancel).await,
    }
}

pub(super) async fn release(lease: Lease, message_id: &str, cause: ReleaseCause, delay: Duration) {
    match lease.release(delay).await {
        Ok(()) => MessageReleased { message_id, cause, delay }.emit(),
        Err(error) => {
            log::warn!(message_id:%, error:% = error_chain(&error); "message not released, it comes back by itself");
        }
    }
}
