//! The real queue: SQS.
//!
//! * `delete_batch`: deletes of many callers in one call
//! * `dead_letter`: what a dead-letter copy carries (contract §1)

mod dead_letter;
mod delete_batch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName,
};
use backon::{ExponentialBuilder, Retryable};
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::{MAX_SEND_DELAY, MessageHandle, Queue, QueueError, QueueInfo, ReceivedMessage};
use crate::aws::{self, CallError, EntryRefused, plain_code};
use crate::config::QueueSettings;
use crate::document::Failure;
use dead_letter::{CopyAttribute, MAX_MESSAGE_BYTES, attributes_anew, compose_attributes};
use delete_batch::DeleteBatcher;

/// Most entries of one batch call (SQS quota).
const MAX_BATCH_ENTRIES: usize = 10;
/// Most messages of one receive call (SQS quota).
const MAX_RECEIVE: usize = 10;
/// Longest visibility timeout (SQS quota).
const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);
/// Attempts of one receive when no answer comes; each with its own clock.
const RECEIVE_RETRIES: usize = 2;

/// One SQS queue and its dead-letter queue.
pub struct SqsQueue {
    client: Client,
    receive_client: Client,
    queue_url: String,
    configured_dead_letter_url: Option<String>,
    /// Looked up once and forgotten when it stops to exist.
    dead_letter_queue: Mutex<Option<DeadLetterQueue>>,
    wait_time: Duration,
    visibility_timeout: Duration,
    max_messages: usize,
    deletes: DeleteBatcher,
    /// 0: none, or not known yet.
    max_receive_count: AtomicU32,
}

#[derive(Clone, Debug)]
struct DeadLetterQueue {
    url: String,
    /// The queue's own MaximumMessageSize, at most [`MAX_MESSAGE_BYTES`].
    max_message_bytes: usize,
}

/// What a queue's RedrivePolicy attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RedrivePolicy {
    /// `arn:aws:sqs:region:account:name`
    target_arn: String,
    max_receive_count: Option<u32>,
}

impl SqsQueue {
    /// Makes no network call. Must be called within a tokio runtime: deletes are collected by a task.
    pub fn new(
        config: &SdkConfig,
        queue_url: &Url,
        dead_letter_queue_url: Option<&Url>,
        settings: &QueueSettings,
    ) -> Self {
        let client = aws::sqs_client(config);
        Self {
            deletes: DeleteBatcher::start(client.clone(), queue_url.to_string()),
            client,
            receive_client: aws::sqs_receive_client(config, settings.wait_time),
            queue_url: queue_url.to_string(),
            configured_dead_letter_url: dead_letter_queue_url.map(Url::to_string),
            dead_letter_queue: Mutex::new(None),
            wait_time: settings.wait_time,
            visibility_timeout: settings.visibility_timeout,
            max_messages: settings.max_messages.clamp(1, MAX_RECEIVE),
            max_receive_count: AtomicU32::new(0),
        }
    }

    /// One receive call. The clock is taken before it is sent: the lease cannot have started earlier.
    async fn receive_once(&self, max: usize) -> Result<Vec<ReceivedMessage>, CallError> {
        let leased_at = Instant::now();
        let answer = self
            .receive_client
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(max.clamp(1, self.max_messages) as i32)
            .wait_time_seconds(whole_seconds(self.wait_time))
            .visibility_timeout(whole_seconds(self.visibility_timeout.min(MAX_VISIBILITY)))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|error| CallError::new("ReceiveMessage", &self.queue_url, error))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().map(|message| received_message(message, leased_at)).collect())
    }

    async fn attributes(
        &self,
        queue_url: &str,
        names: Vec<QueueAttributeName>,
    ) -> Result<BTreeMap<String, String>, CallError> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(queue_url)
            .set_attribute_names(Some(names))
            .send()
            .await
            .map_err(|error| CallError::new("GetQueueAttributes", queue_url, error))?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(attributes.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect())
    }

    /// `DLQ_QUEUE_URL`, else what the queue's own redrive policy names.
    async fn dead_letter_url(&self) -> Result<String, QueueError> {
        if let Some(url) = &self.configured_dead_letter_url {
            return Ok(url.clone());
        }
        let attributes =
            self.attributes(&self.queue_url, vec![QueueAttributeName::RedrivePolicy]).await.map_err(unavailable)?;
        let policy = redrive_policy(&attributes).ok_or(QueueError::NoDeadLetterQueue)?;
        let (account, name) = account_and_name(&policy.target_arn).ok_or(QueueError::NoDeadLetterQueue)?;
        let answer = self
            .client
            .get_queue_url()
            .queue_name(name)
            .queue_owner_aws_account_id(account)
            .send()
            .await
            .map_err(|error| unavailable(CallError::new("GetQueueUrl", &policy.target_arn, error)))?;
        answer.queue_url.ok_or(QueueError::NoDeadLetterQueue)
    }

    async fn find_dead_letter_queue(&self) -> Result<DeadLetterQueue, QueueError> {
        if let Some(known) = self.lock_dead_letter_queue().clone() {
            return Ok(known);
        }
        let url = self.dead_letter_url().await?;
        // A role that may only send there is enough: without an answer the quota of SQS holds.
        let max_message_bytes = match self.attributes(&url, vec![QueueAttributeName::MaximumMessageSize]).await {
            Ok(attributes) => number(&attributes, "MaximumMessageSize").unwrap_or(MAX_MESSAGE_BYTES),
            Err(error) => {
                log::debug!(queue_url:% = url, error:% = error; "size limit of the dead-letter queue unknown");
                MAX_MESSAGE_BYTES
            }
        };
        let found = DeadLetterQueue { url, max_message_bytes: max_message_bytes.min(MAX_MESSAGE_BYTES) };
        *self.lock_dead_letter_queue() = Some(found.clone());
        Ok(found)
    }

    fn lock_dead_letter_queue(&self) -> std::sync::MutexGuard<'_, Option<DeadLetterQueue>> {
        self.dead_letter_queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Up to [`MAX_BATCH_ENTRIES`] changes in one call.
    async fn change_visibility_chunk(&self, changes: &[(MessageHandle, Duration)]) -> Vec<Result<(), QueueError>> {
        let entries = changes.iter().enumerate().map(|(position, (handle, timeout))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(&handle.receipt_handle)
                .visibility_timeout(whole_seconds((*timeout).min(MAX_VISIBILITY)))
                .build()
                .expect("id and handle are set")
        });
        let answer = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.queue_url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| CallError::new("ChangeMessageVisibilityBatch", &self.queue_url, error));
        let answer = match answer {
            Ok(answered) => answered,
            Err(error) => return share_call_error(error, changes.len()),
        };
        let succeeded = answer.successful.into_iter().map(|entry| entry.id).collect();
        entry_verdicts(changes.len(), succeeded, answer.failed)
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn receive(&self, max: usize) -> Result<Vec<ReceivedMessage>, QueueError> {
        let retries = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(200))
            .with_max_times(RECEIVE_RETRIES);
        let is_worth_another_try = |error: &CallError| error.transient || error.has_stale_credentials();
        (|| self.receive_once(max)).retry(retries).when(is_worth_another_try).await.map_err(unavailable)
    }

    async fn change_visibility(&self, message: &MessageHandle, timeout: Duration) -> Result<(), QueueError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(&message.receipt_handle)
            .visibility_timeout(whole_seconds(timeout.min(MAX_VISIBILITY)))
            .send()
            .await
            .map_err(|error| handle_error(CallError::new("ChangeMessageVisibility", &self.queue_url, error)))?;
        Ok(())
    }

    async fn change_visibility_batch(&self, changes: &[(MessageHandle, Duration)]) -> Vec<Result<(), QueueError>> {
        let chunks = changes.chunks(MAX_BATCH_ENTRIES).map(|chunk| self.change_visibility_chunk(chunk));
        join_all(chunks).await.into_iter().flatten().collect()
    }

    async fn delete(&self, message: &MessageHandle) -> Result<(), QueueError> {
        self.deletes.delete(message).await
    }

    async fn dead_letter(&self, message: &ReceivedMessage, failure: &Failure) -> Result<(), QueueError> {
        let target = self.find_dead_letter_queue().await?;
        let attributes = compose_attributes(message, failure, target.max_message_bytes)?;
        let sent = self
            .client
            .send_message()
            .queue_url(&target.url)
            .message_body(&message.body)
            .set_message_attributes(Some(attributes.into_iter().map(sdk_attribute).collect()))
            .send()
            .await
            .map_err(|error| CallError::new("SendMessage", &target.url, error));
        let Err(error) = sent else { return Ok(()) };
        if is_missing_queue(&error) {
            *self.lock_dead_letter_queue() = None;
        }
        // The answer to a message over the queue's limit; everything else in it was checked before.
        if error.plain_code() == "InvalidParameterValue" {
            return Err(QueueError::TooLarge);
        }
        Err(unavailable(error))
    }

    async fn send(&self, body: &str) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .send()
            .await
            .map_err(|error| unavailable(CallError::new("SendMessage", &self.queue_url, error)))?;
        Ok(())
    }

    async fn send_anew(&self, message: &ReceivedMessage, delay: Duration) -> Result<(), QueueError> {
        let attributes = attributes_anew(message).into_iter().map(sdk_attribute).collect();
        self.client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(&message.body)
            .set_message_attributes(Some(attributes))
            .delay_seconds(whole_seconds(delay.min(MAX_SEND_DELAY)))
            .send()
            .await
            .map_err(|error| unavailable(CallError::new("SendMessage", &self.queue_url, error)))?;
        Ok(())
    }

    fn max_receive_count(&self) -> Option<u32> {
        Some(self.max_receive_count.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }

    async fn probe(&self) -> Result<QueueInfo, QueueError> {
        let names = vec![
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::RedrivePolicy,
        ];
        let attributes = self.attributes(&self.queue_url, names).await.map_err(unavailable)?;
        let policy = redrive_policy(&attributes);
        let max_receive_count = policy.as_ref().and_then(|known| known.max_receive_count);
        self.max_receive_count.store(max_receive_count.unwrap_or(0), Ordering::Relaxed);
        Ok(QueueInfo {
            visible: number(&attributes, "ApproximateNumberOfMessages").unwrap_or_default(),
            in_flight: number(&attributes, "ApproximateNumberOfMessagesNotVisible").unwrap_or_default(),
            dead_letter_target: self
                .configured_dead_letter_url
                .clone()
                .or_else(|| policy.as_ref().map(|known| known.target_arn.clone())),
            max_receive_count,
        })
    }

    async fn probe_dead_letter(&self) -> Result<String, QueueError> {
        let url = self.dead_letter_url().await?;
        self.attributes(&url, vec![QueueAttributeName::QueueArn]).await.map_err(unavailable)?;
        Ok(url)
    }
}

fn received_message(message: Message, leased_at: Instant) -> ReceivedMessage {
    let system = |name: MessageSystemAttributeName| {
        message.attributes.as_ref().and_then(|attributes| attributes.get(&name)).cloned()
    };
    let receive_count = system(MessageSystemAttributeName::ApproximateReceiveCount);
    let sent_milliseconds = system(MessageSystemAttributeName::SentTimestamp);
    let attributes = message.message_attributes.unwrap_or_default().into_iter();
    ReceivedMessage {
        message_id: message.message_id.unwrap_or_default(),
        receipt_handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        attributes: attributes.filter_map(|(name, value)| Some((name, value.string_value?))).collect(),
        receive_count: receive_count.and_then(|count| count.parse().ok()).unwrap_or(1),
        sent_at: sent_milliseconds
            .and_then(|milliseconds| milliseconds.parse().ok())
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok()),
        leased_at,
    }
}

fn sdk_attribute(attribute: CopyAttribute) -> (String, MessageAttributeValue) {
    let value = MessageAttributeValue::builder()
        .data_type(attribute.data_type)
        .string_value(attribute.value)
        .build()
        .expect("the data type is set");
    (attribute.name, value)
}

/// SQS counts in whole seconds: rounded up, so that a lease never ends before its keeper thinks so.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

fn number<N: std::str::FromStr>(attributes: &BTreeMap<String, String>, name: &str) -> Option<N> {
    attributes.get(name)?.parse().ok()
}

fn redrive_policy(attributes: &BTreeMap<String, String>) -> Option<RedrivePolicy> {
    let policy: serde_json::Value = serde_json::from_str(attributes.get("RedrivePolicy")?).ok()?;
    // A number, or a number in quotes: AWS hands back what was set.
    let max_receive_count = match policy.get("maxReceiveCount") {
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_u64().and_then(|count| u32::try_from(count).ok()),
        None => None,
    };
    Some(RedrivePolicy { target_arn: policy.get("deadLetterTargetArn")?.as_str()?.to_owned(), max_receive_count })
}

/// `arn:aws:sqs:region:account:name` → (account, name)
fn account_and_name(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.split(':').skip(4);
    Some((parts.next()?, parts.next()?))
}

/// What the queue says about a handle that no longer names a delivery. `InvalidParameterValue` is AWS's answer
/// to one that has expired; our other parameters are within their limits by construction.
fn is_lease_lost(code: &str) -> bool {
    matches!(plain_code(code), "ReceiptHandleIsInvalid" | "MessageNotInflight" | "InvalidParameterValue")
}

/// For calls that carry a receipt handle.
fn handle_error(error: CallError) -> QueueError {
    if error.code.as_deref().is_some_and(is_lease_lost) {
        return QueueError::LeaseLost;
    }
    unavailable(error)
}

fn unavailable(error: CallError) -> QueueError {
    QueueError::Unavailable(Box::new(error))
}

fn is_missing_queue(error: &CallError) -> bool {
    matches!(error.plain_code(), "QueueDoesNotExist" | "NonExistentQueue")
}

/// A batch call that failed as a whole failed for each of its entries.
fn share_call_error(error: CallError, entries: usize) -> Vec<Result<(), QueueError>> {
    let shared = Arc::new(error);
    (0..entries).map(|_| Err(QueueError::Unavailable(Box::new(shared.clone())))).collect()
}

/// One verdict for each of `count` entries whose ids are their positions.
fn entry_verdicts(
    count: usize,
    succeeded: Vec<String>,
    failed: Vec<aws_sdk_sqs::types::BatchResultErrorEntry>,
) -> Vec<Result<(), QueueError>> {
    let mut verdicts: Vec<Result<(), QueueError>> = (0..count)
        .map(|_| {
            let forgotten = EntryRefused { code: "NoVerdict".to_owned(), message: "not in the answer".to_owned() };
            Err(QueueError::Unavailable(Box::new(forgotten)))
        })
        .collect();
    let position = |id: &str| id.parse().ok().filter(|position: &usize| *position < count);
    for id in succeeded {
        if let Some(index) = position(&id) {
            verdicts[index] = Ok(());
        }
    }
    for entry in failed {
        let Some(index) = position(&entry.id) else { continue };
        verdicts[index] = Err(if is_lease_lost(&entry.code) {
            QueueError::LeaseLost
        } else {
            QueueError::Unavailable(Box::new(EntryRefused {
                code: entry.code,
                message: entry.message.unwrap_or_default(),
            }))
        });
    }
    verdicts
}
