//! A leased message on its way to being settled.
//!
//! The good records of a message are finished first, one after the other; only then is the message settled, once,
//! by what the worst of them needs: back to the queue, to the dead-letter queue, or deleted (contract §1, §4).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::document::{Failure, Outcome, Reason};
use crate::event::{self, Message, ObjectEvent};
use crate::health::events;
use crate::queue::lease::{Lease, retry_delay};

use super::object::{self, Interruption, ObjectEnd};
use super::{Context, JobProgress, smoke};

/// What settles the message.
enum MessageEnd {
    Complete,
    DeadLetter(Failure),
    Retry(String),
    /// The daemon has to go, or the lease is lost: see [`settle`].
    Cancelled,
}

/// Takes a message from lease to settlement. `cancel` ends it at the next step: with the lease lost nothing is
/// written and nothing deleted; otherwise the message is released at once.
pub async fn handle(context: Arc<Context>, lease: Lease, progress: Arc<JobProgress>, cancel: CancellationToken) {
    let end = work(&context, &lease, &progress, &cancel).await;
    settle(lease, end).await;
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
            Err(Interruption::Retry(reason)) => retry = retry.or(Some(reason)),
        }
    }
    // A retry comes first: the records that are done already are cheap to look at again.
    match (retry, dead_letter) {
        (Some(reason), _) => MessageEnd::Retry(reason),
        (None, Some(failure)) => MessageEnd::DeadLetter(failure),
        (None, None) => MessageEnd::Complete,
    }
}

impl From<Interruption> for MessageEnd {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Cancelled => MessageEnd::Cancelled,
            Interruption::Retry(reason) => MessageEnd::Retry(reason),
        }
    }
}

/// Failures to settle are logged by the lease: the visibility timeout then brings the message back, and doing it
/// again gives the same document.
async fn settle(lease: Lease, end: MessageEnd) {
    let message_id = lease.message().message_id.clone();
    let settled = match end {
        MessageEnd::Cancelled if lease.lost().is_cancelled() => {
            drop(lease);
            Ok(())
        }
        MessageEnd::Cancelled => lease.release(std::time::Duration::ZERO).await,
        MessageEnd::Complete => lease.complete().await,
        MessageEnd::Retry(reason) => {
            let delay = retry_delay(lease.message().receive_count);
            events::MessageReleased { message_id: &message_id, reason: &reason, delay }.emit();
            lease.release(delay).await
        }
        MessageEnd::DeadLetter(failure) => lease.dead_letter(&failure).await,
    };
    if let Err(error) = settled {
        events::SettleFailed { message_id: &message_id, error: &error }.emit();
    }
}
