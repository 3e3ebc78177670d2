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
use crate::health::events::{
    DeleteFailed, MessageDeleted, MessageReleased, MessageSentAnew, ReleaseCause, SentAnewCause,
};
use crate::queue::lease::{Lease, retry_delay};

use super::object::{self, Attempt, Interruption, ObjectEnd};
use super::{Context, JobProgress, dead_letter, smoke};

/// A message that may be received so many times more is sent anew instead of being released: it does the document no
/// wrong, and nothing is lost by doing it one receive early.
const RECEIVES_LEFT: u32 = 1;

/// How long a message waits whose write was still on its way when the daemon had to go.
const IN_DOUBT_DELAY: Duration = Duration::from_secs(10);

/// Something that cannot be indexed, and why: an object, or what should have named one.
pub(super) struct Fault {
    /// The object's key, or the message's id.
    pub key: String,
    pub failure: Failure,
}

/// What settles the message.
enum MessageEnd {
    Complete,
    /// A copy is in the queue.
    SentAnew,
    DeadLetter(Vec<Fault>),
    Retry {
        cause: ReleaseCause,
        reason: String,
    },
    /// The daemon has to go, or the lease is lost.
    Cancelled,
    /// The same, and a write may still arrive of which nobody has looked whether it is right.
    CancelledInDoubt,
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
        Message::Malformed(failure) => MessageEnd::DeadLetter(vec![Fault { key: message.message_id.clone(), failure }]),
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
            // If this daemon dies over it, or over another one, the queue must not take it for a bad one.
            if lease.is_last_receive() && send_anew(lease, SentAnewCause::NearRedrive, Duration::ZERO).await {
                return MessageEnd::SentAnew;
            }
            let (message_id, number, lost) = (message.message_id.as_str(), message.attempts(), lease.lost());
            let attempt = Attempt { message_id, number, progress, cancel, lost };
            objects(context, &events, malformed, attempt).await
        }
    }
}

async fn objects(
    context: &Context,
    events: &[ObjectEvent],
    malformed: Vec<Failure>,
    attempt: Attempt<'_>,
) -> MessageEnd {
    let message_id = attempt.message_id;
    let mut faults: Vec<Fault> =
        malformed.into_iter().map(|failure| Fault { key: message_id.to_owned(), failure }).collect();
    let mut unfinished = Vec::new();
    let mut end = None;
    for (position, event) in events.iter().enumerate() {
        match object::process(context, event, attempt).await {
            Ok(ObjectEnd::Finished) => {}
            Ok(ObjectEnd::Fault(failure)) => faults.push(Fault { key: event.key.clone(), failure }),
            Err(cancelled @ (Interruption::Cancelled | Interruption::CancelledInDoubt)) => {
                unfinished.extend(events[position..].iter().map(|event| event.key.as_str()));
                end = Some(cancelled.into());
                break;
            }
            Err(interruption) => {
                unfinished.push(event.key.as_str());
                end.get_or_insert_with(|| interruption.into());
            }
        }
    }
    let Some(end) = end else {
        return if faults.is_empty() { MessageEnd::Complete } else { MessageEnd::DeadLetter(faults) };
    };
    // The whole message comes again, its faulty records too; those that are done are cheap to look at again. What
    // becomes of a message that is somebody else's now, they will say.
    if !attempt.lost.is_cancelled() {
        for key in unfinished.into_iter().chain(faults.iter().map(|fault| fault.key.as_str())) {
            context.dropped(key, Outcome::Retry, None);
        }
    }
    end
}

impl From<Interruption> for MessageEnd {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Cancelled => MessageEnd::Cancelled,
            Interruption::CancelledInDoubt => MessageEnd::CancelledInDoubt,
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
        // Another delivery owns the message, and may have been settled before our write arrived. A new one brings
        // somebody to look at the object after it.
        MessageEnd::CancelledInDoubt if lease.lost().is_cancelled() => {
            send_anew(&lease, SentAnewCause::WriteInDoubt, Duration::ZERO).await;
        }
        // The keeper has said so already; another delivery owns the message now.
        MessageEnd::Cancelled if lease.lost().is_cancelled() => {}
        MessageEnd::Cancelled => release(lease, &message_id, ReleaseCause::Drain, Duration::ZERO).await,
        // The next one is to look after our write has arrived, not before.
        MessageEnd::CancelledInDoubt => release(lease, &message_id, ReleaseCause::Drain, IN_DOUBT_DELAY).await,
        MessageEnd::SentAnew => complete(lease, &message_id).await,
        MessageEnd::Retry { cause, reason } => {
            log::warn!(message_id:%, reason:%; "message goes back to the queue");
            release(lease, &message_id, cause, retry_delay(attempts)).await;
        }
        MessageEnd::Complete => complete(lease, &message_id).await,
        MessageEnd::DeadLetter(faults) => dead_letter::settle(context, lease, &faults, cancel).await,
    }
}

pub(super) async fn complete(lease: Lease, message_id: &str) {
    match lease.complete().await {
        Ok(()) => MessageDeleted { message_id }.emit(),
        Err(error) => DeleteFailed { message_id, error: &error_chain(&error) }.emit(),
    }
}

/// Whether a copy of the message is in the queue now.
async fn send_anew(lease: &Lease, cause: SentAnewCause, delay: Duration) -> bool {
    let (message_id, receives) = (&lease.message().message_id, lease.message().receive_count);
    match lease.send_anew(delay).await {
        Ok(()) => {
            MessageSentAnew { message_id, cause, receives, delay }.emit();
            true
        }
        Err(error) => {
            log::warn!(message_id:%, receives, error:% = error_chain(&error); "message could not be sent anew");
            false
        }
    }
}

/// Gives the message back. One that has been received nearly as often as the queue allows is sent anew instead: it
/// was released through no fault of its own, and what its documents are guilty of is counted elsewhere.
pub(super) async fn release(lease: Lease, message_id: &str, cause: ReleaseCause, delay: Duration) {
    if lease.is_near_redrive(RECEIVES_LEFT) && send_anew(&lease, SentAnewCause::NearRedrive, delay).await {
        return complete(lease, message_id).await;
    }
    give_back(lease, message_id, cause, delay).await;
}

/// Gives the message back, also when that was its last receive: the queue's own redrive is what is left for it.
pub(super) async fn give_back(lease: Lease, message_id: &str, cause: ReleaseCause, delay: Duration) {
    match lease.release(delay).await {
        Ok(()) => MessageReleased { message_id, cause, delay }.emit(),
        Err(error) => {
            log::warn!(message_id:%, error:% = error_chain(&error); "message not released, it comes back by itself");
        }
    }
}
