//! Deletes of many callers in one call: SQS is paid and throttled by the call, and takes ten at a time.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{MAX_BATCH_ENTRIES, MessageHandle, QueueError, entry_verdicts, share_call_error};
use crate::aws::CallError;

/// How long the first delete of a batch waits for others. Somewhat arbitrary: short against a document's time,
/// long against the gaps between small documents.
const COLLECT_TIME: Duration = Duration::from_millis(30);
/// Deletes waiting for the collector; callers beyond that wait to hand theirs in.
const WAITING_DELETES: usize = 64;

/// One delete and who waits for its verdict.
struct Delete {
    receipt_handle: String,
    verdict: oneshot::Sender<Result<(), QueueError>>,
}

/// The callers' end of the collecting task, which ends when this is dropped and everything handed in is answered.
pub(super) struct DeleteBatcher {
    deletes: mpsc::Sender<Delete>,
}

#[derive(Debug, thiserror::Error)]
#[error("the task that collects deletes has ended")]
struct CollectorGone;

impl DeleteBatcher {
    pub(super) fn start(client: Client, queue_url: String) -> Self {
        let (deletes, incoming) = mpsc::channel(WAITING_DELETES);
        tokio::spawn(collect(client, queue_url, incoming));
        Self { deletes }
    }

    pub(super) async fn delete(&self, message: &MessageHandle) -> Result<(), QueueError> {
        let gone = || QueueError::Unavailable(Box::new(CollectorGone));
        let (verdict, answered) = oneshot::channel();
        let delete = Delete { receipt_handle: message.receipt_handle.clone(), verdict };
        self.deletes.send(delete).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn collect(client: Client, queue_url: String, mut incoming: mpsc::Receiver<Delete>) {
    while let Some(first) = incoming.recv().await {
        let full_at = Instant::now() + COLLECT_TIME;
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH_ENTRIES {
            let Ok(Some(next)) = timeout_at(full_at, incoming.recv()).await else { break };
            batch.push(next);
        }
        // A slow call must not hold up the next batch.
        tokio::spawn(delete_batch(client.clone(), queue_url.clone(), batch));
    }
}

async fn delete_batch(client: Client, queue_url: String, batch: Vec<Delete>) {
    let entries = batch.iter().enumerate().map(|(position, delete)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(position.to_string())
            .receipt_handle(&delete.receipt_handle)
            .build()
            .expect("id and handle are set")
    });
    let answer = client.delete_message_batch().queue_url(&queue_url).set_entries(Some(entries.collect())).send().await;
    let verdicts = match answer {
        Ok(answered) => {
            let succeeded = answered.successful.into_iter().map(|entry| entry.id).collect();
            entry_verdicts(batch.len(), succeeded, answered.failed)
        }
        Err(error) => share_call_error(CallError::new("DeleteMessageBatch", &queue_url, error), batch.len()),
    };
    for (delete, verdict) in batch.into_iter().zip(verdicts) {
        // A caller that no longer waits needs no verdict.
        let _ = delete.verdict.send(verdict);
    }
}
