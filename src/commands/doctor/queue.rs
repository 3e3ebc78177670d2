//! The queue and its dead-letter queue, permission by permission.
//!
//! Deleting, extending and sending are tried by batch calls of one entry that cannot be carried out: SQS decides about
//! the permission for the call as a whole and answers 403, and about the entry in its answer. So an answer that refuses
//! the entry proves the permission, and nothing has happened. Receiving has no such form. A receive of zero messages is
//! answered by an error about the number; where the permission is missing, by a refusal.

use std::future::Future;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use tokio::time::Instant;

use super::finding::{Finding, all_skipped};
use super::reach::{self, Witness};
use super::{Examined, Servers};
use crate::aws::{self, CallError, outage_of};
use crate::commands::validate;
use crate::health::error_chain;
use crate::health::outage::{OutageCause, advice};
use crate::health::status::Dependency;
use crate::queue::sqs::SqsQueue;

const ENDPOINT: &str = "queue endpoint";
const RECEIVE: &str = "sqs:ReceiveMessage";
const DELETE: &str = "sqs:DeleteMessage";
const EXTEND: &str = "sqs:ChangeMessageVisibility";
const LOOK_UP: &str = "sqs:GetQueueUrl";
const SEND: &str = "sqs:SendMessage";
const SEND_DEAD_LETTER: &str = "sqs:SendMessage (DLQ)";
const ENCRYPTION: &str = "queue encryption";
/// What is not tried when the queue does not answer.
const BEYOND_ENDPOINT: [&str; 8] =
    ["queue", "dead-letter queue", RECEIVE, DELETE, EXTEND, LOOK_UP, SEND, SEND_DEAD_LETTER];

/// No message has it.
const NO_HANDLE: &str = "file-processor-worker-doctor";
/// The longest delay is 900 s (SQS quota): an entry with this one is refused.
const IMPOSSIBLE_DELAY: i32 = 901;
/// Should a server take the impossible entry: the one message that every worker skips.
const HARMLESS_BODY: &str = r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#;

pub async fn examine(context: &Servers<'_>, has_credentials: bool) -> Examined {
    let mut examined = Examined { findings: Vec::new(), clock: None };
    let url = context.servers.queue_url.as_str();
    let why_not = match (context.servers.queue_url.scheme(), has_credentials) {
        ("file", _) => Some("the queue is a folder"),
        (_, false) => Some("not tried without credentials"),
        _ => None,
    };
    if let Some(why) = why_not {
        examined.findings = all_skipped(&[&[ENDPOINT], &BEYOND_ENDPOINT[..]].concat(), why);
        return examined;
    }
    let witness = Witness::default();
    let client = client(context, witness.clone());
    let started = Instant::now();
    let answer = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send().await;
    examined.clock = witness.clock();
    let asked = witness.url().unwrap_or_else(|| url.to_owned());
    let answer = answer.map_err(|error| CallError::new("GetQueueAttributes", url, error));
    if let Err(error) = &answer
        && error.status.is_none()
    {
        examined.findings.push(reach::not_answered(ENDPOINT, &asked, &words(error)).await);
        examined.findings.extend(all_skipped(&BEYOND_ENDPOINT, "not tried: the endpoint does not answer"));
        return examined;
    }
    examined.findings.push(reach::answered(ENDPOINT, &asked, started));
    if let Err(error) = &answer
        && is_pointless(error)
    {
        let action = action_for(error, Dependency::Queue);
        examined.findings.push(Finding::fail("queue", words(error), action));
        examined.findings.extend(all_skipped(&BEYOND_ENDPOINT[1..], "not tried: see queue"));
        return examined;
    }

    let attributes = answer.ok().and_then(|answered| answered.attributes).unwrap_or_default();
    let (own, receive, delete, extend, look_up, send) = tokio::join!(
        known_checks(context),
        receive(&client, url),
        delete(&client, url),
        extend(&client, url),
        look_up(&client, url),
        send(&client, url),
    );
    examined.findings.extend(own);
    examined.findings.extend([receive, delete, extend, look_up, send]);
    examined.findings.push(dead_letter(context, &client).await);
    if let Some(key) = attributes.get(&QueueAttributeName::KmsMasterKeyId) {
        let why = format!(
            "key {key}: receiving needs kms:Decrypt, sending kms:GenerateDataKey; only `file-processor-worker smoke-test` can show it"
        );
        examined.findings.push(Finding::skipped(ENCRYPTION, why));
    }
    examined
}

/// One short try each, seen by the witness.
fn client(context: &Servers<'_>, witness: Witness) -> Client {
    let time_limits = TimeoutConfig::builder().connect_timeout(context.limit).operation_timeout(context.limit).build();
    let config = aws::sqs_client(context.sdk_config)
        .config()
        .to_builder()
        .interceptor(witness)
        .timeout_config(time_limits)
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// Whether every other call would be answered the same: no queue, or credentials that are nobody's.
fn is_pointless(error: &CallError) -> bool {
    let cause = outage_of(error).cause;
    error.has_stale_credentials()
        || cause == OutageCause::Missing
        || ["SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidSignature"].contains(&error.plain_code())
}

/// What the service said; where it said nothing, all that is known.
pub(super) fn words(error: &CallError) -> String {
    if error.code.is_some() { error.to_string() } else { error_chain(error) }
}

/// What a person can do about a refused call.
pub(super) fn action_for(error: &CallError, dependency: Dependency) -> String {
    if error.has_stale_credentials() {
        return "the credentials are unknown or expired: give the instance its role (instance profile), or renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN".to_owned();
    }
    if ["SignatureDoesNotMatch", "InvalidSignature", "RequestTimeTooSkewed"].contains(&error.plain_code()) {
        return "the signature is refused: look at the line `clock`, then at AWS_SECRET_ACCESS_KEY and AWS_REGION"
            .to_owned();
    }
    advice(dependency, outage_of(error).cause)
        .unwrap_or("look at what the service said; if it passes by itself, run this again")
        .to_owned()
}

/// `--validate-only`'s checks of the queue and its dead-letter queue.
async fn known_checks(context: &Servers<'_>) -> Vec<Finding> {
    let servers = context.servers;
    let dead_letters = servers.dead_letter_queue_url.as_ref();
    let queue = SqsQueue::new(context.sdk_config, &servers.queue_url, dead_letters, &context.settings.queue);
    let checks = validate::queue_checks(&queue, servers.queue_url.as_str());
    let Ok(checks) = tokio::time::timeout(context.limit * 2, checks).await else {
        return vec![Finding::fail(
            "queue",
            "GetQueueAttributes: no answer in time",
            "run this again; see queue endpoint",
        )];
    };
    let action = |name| match name {
        "queue" => "allow sqs:GetQueueAttributes on the queue in the instance role's policy and in the queue's own",
        _ => {
            "give the queue a redrive policy (maxReceiveCount 5 or more) or set DLQ_QUEUE_URL, and allow sqs:GetQueueUrl and sqs:GetQueueAttributes on that queue"
        }
    };
    checks
        .into_iter()
        .map(|check| (check.name, check))
        .map(|(name, check)| Finding::of_check(check, action(name)))
        .collect()
}

async fn receive(client: &Client, url: &str) -> Finding {
    let answer = client.receive_message().queue_url(url).max_number_of_messages(0).wait_time_seconds(0).send().await;
    let Err(error) = answer else { return Finding::ok(RECEIVE, "allowed (asked for no message)") };
    let error = CallError::new("ReceiveMessage", url, error);
    match error.plain_code() {
        "InvalidParameterValue" | "InvalidAttributeValue" | "ReadCountOutOfRange" => {
            Finding::ok(RECEIVE, "not refused (asked for no message, so that none counts a receive)")
        }
        _ => refused(RECEIVE, &error, true),
    }
}

async fn delete(client: &Client, url: &str) -> Finding {
    let entry = DeleteMessageBatchRequestEntry::builder().id("doctor").receipt_handle(NO_HANDLE).build();
    let entry = entry.expect("id and handle are set");
    let call = client.delete_message_batch().queue_url(url).entries(entry).send();
    tried(DELETE, url, "DeleteMessageBatch", call).await
}

async fn extend(client: &Client, url: &str) -> Finding {
    let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
        .id("doctor")
        .receipt_handle(NO_HANDLE)
        .visibility_timeout(30)
        .build()
        .expect("id and handle are set");
    let call = client.change_message_visibility_batch().queue_url(url).entries(entry).send();
    tried(EXTEND, url, "ChangeMessageVisibilityBatch", call).await
}

async fn look_up(client: &Client, url: &str) -> Finding {
    let name = url.rsplit('/').next().unwrap_or(url);
    match client.get_queue_url().queue_name(name).send().await {
        Ok(_) => Finding::ok(LOOK_UP, "allowed"),
        // The queue of another account, or one whose URL is no usual one: only dead-letter queues are looked up.
        Err(error) => refused(LOOK_UP, &CallError::new("GetQueueUrl", name, error), false),
    }
}

async fn send(client: &Client, url: &str) -> Finding {
    let finding = try_to_send(client, SEND, url, false).await;
    match finding.action {
        Some(_) => Finding {
            action: Some(
                "allow sqs:SendMessage on the queue in the instance role's policy: without it, messages near maxReceiveCount cannot be sent anew and end in the dead-letter queue though nothing is wrong with them"
                    .to_owned(),
            ),
            ..finding
        },
        None => finding,
    }
}

async fn dead_letter(context: &Servers<'_>, client: &Client) -> Finding {
    let servers = context.servers;
    let queue = SqsQueue::new(
        context.sdk_config,
        &servers.queue_url,
        servers.dead_letter_queue_url.as_ref(),
        &context.settings.queue,
    );
    let known = tokio::time::timeout(context.limit, crate::queue::Queue::probe_dead_letter(&queue)).await;
    let Ok(Ok(url)) = known else {
        return Finding::skipped(SEND_DEAD_LETTER, "not tried: see dead-letter queue");
    };
    try_to_send(client, SEND_DEAD_LETTER, &url, true).await
}

async fn try_to_send(client: &Client, name: &'static str, url: &str, is_required: bool) -> Finding {
    let entry = SendMessageBatchRequestEntry::builder()
        .id("doctor")
        .message_body(HARMLESS_BODY)
        .delay_seconds(IMPOSSIBLE_DELAY)
        .build()
        .expect("id and body are set");
    match client.send_message_batch().queue_url(url).entries(entry).send().await {
        Ok(_) => Finding::ok(name, "allowed (an impossible message was refused as such)"),
        Err(error) => refused(name, &CallError::new("SendMessageBatch", url, error), is_required),
    }
}

/// A batch call that the service takes is allowed, whatever became of its one entry.
async fn tried<T, E>(
    name: &'static str,
    url: &str,
    operation: &'static str,
    call: impl Future<Output = Result<T, aws_sdk_sqs::error::SdkError<E, aws_sdk_sqs::config::http::HttpResponse>>>,
) -> Finding
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match call.await {
        Ok(_) => Finding::ok(name, "allowed (a receipt handle of no message was refused as such)"),
        Err(error) => refused(name, &CallError::new(operation, url, error), true),
    }
}

fn refused(name: &'static str, error: &CallError, is_required: bool) -> Finding {
    let call = name.split(' ').next().unwrap_or(name);
    let action = match outage_of(error).cause {
        OutageCause::Refused if !error.has_stale_credentials() => format!(
            "allow {call} on {} in the instance role's policy; look at the queue's own policy and at organisation policies, too",
            error.target
        ),
        _ => action_for(error, Dependency::Queue),
    };
    if is_required { Finding::fail(name, words(error), action) } else { Finding::warn(name, words(error), action) }
}
