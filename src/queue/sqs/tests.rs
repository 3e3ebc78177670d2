//! Against the test bed's SQS (`TESTBED_SQS_ENDPOINT`), and scripted answers for what only AWS says.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::aws::testing::{Answer, ScriptedServer, test_config, testbed_config};
use crate::document::Reason;
use crate::queue::lease::{Adoption, LeaseKeeper};

const VISIBILITY: Duration = Duration::from_secs(2);

fn settings(wait_time: Duration) -> QueueSettings {
    QueueSettings { wait_time, visibility_timeout: VISIBILITY, max_messages: 10 }
}

/// A queue of its own with a dead-letter queue.
struct Bed {
    config: SdkConfig,
    queue_url: Url,
    dead_letter_url: String,
}

impl Bed {
    async fn new() -> Option<Self> {
        let config = testbed_config("TESTBED_SQS_ENDPOINT").await?;
        let client = aws::sqs_client(&config);
        let name = format!("test-{}", uuid::Uuid::new_v4());
        let dead_letter_name = format!("{name}-dlq");
        let dead_letter_url =
            client.create_queue().queue_name(&dead_letter_name).send().await.unwrap().queue_url.unwrap();
        let policy = json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:000000000000:{dead_letter_name}"),
            "maxReceiveCount": "5",
        });
        let created = client
            .create_queue()
            .queue_name(&name)
            .attributes(QueueAttributeName::RedrivePolicy, policy.to_string())
            .send()
            .await
            .unwrap();
        // The server of another port, as a queue URL that was made elsewhere would carry it.
        let mut queue_url: Url = created.queue_url.unwrap().parse().unwrap();
        queue_url.set_port(Some(9)).unwrap();
        Some(Self { config, queue_url, dead_letter_url })
    }

    fn queue(&self) -> SqsQueue {
        SqsQueue::new(&self.config, &self.queue_url, None, &settings(Duration::from_secs(1)))
    }

    async fn dead_letters(&self) -> Vec<ReceivedMessage> {
        let url = self.dead_letter_url.parse().unwrap();
        SqsQueue::new(&self.config, &url, None, &settings(Duration::from_secs(1))).receive(10).await.unwrap()
    }
}

#[tokio::test]
async fn a_message_arrives_with_count_time_and_attributes_from_the_endpoint_not_the_urls_host() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    let value = MessageAttributeValue::builder().data_type("String").string_value("nas").build().unwrap();
    let body = r#"{"key":"資料/道路 橋+100%.pdf"}"#;
    queue
        .client
        .send_message()
        .queue_url(&queue.queue_url)
        .message_body(body)
        .message_attributes("producer", value)
        .send()
        .await
        .unwrap();
    let before = Instant::now();
    let message = queue.receive(10).await.unwrap().remove(0);
    assert!(message.leased_at >= before && message.leased_at <= Instant::now());
    assert_eq!(message.body, body);
    assert_eq!(message.receive_count, 1);
    assert_eq!(message.attributes["producer"], "nas");
    assert!(message.sent_at.is_some());

    queue.change_visibility(&message.handle(), Duration::ZERO).await.unwrap();
    let again = queue.receive(10).await.unwrap().remove(0);
    assert_eq!(again.message_id, message.message_id);
    assert_eq!(again.receive_count, 2);
    queue.delete(&again.handle()).await.unwrap();
    assert!(queue.receive(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_longer_than_the_visibility_timeout_keeps_its_message() {
    let Some(bed) = Bed::new().await else { return };
    let queue = Arc::new(bed.queue());
    let keeper = LeaseKeeper::start(queue.clone(), VISIBILITY);
    queue.send("{}").await.unwrap();
    let message = queue.receive(1).await.unwrap().remove(0);
    let Adoption::New(lease) = keeper.lease(message) else { panic!("new") };
    let job = tokio::time::sleep(VISIBILITY * 3);
    tokio::pin!(job);
    let thief = bed.queue();
    loop {
        tokio::select! {
            () = &mut job => break,
            stolen = thief.receive(10) => assert!(stolen.unwrap().is_empty(), "delivered twice"),
        }
    }
    lease.complete().await.unwrap();
    keeper.stop().await;
    let left = queue.probe().await.unwrap();
    assert_eq!((left.visible, left.in_flight), (0, 0));
}

#[tokio::test]
async fn a_stale_handle_is_a_lost_lease() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    queue.send("{}").await.unwrap();
    let first = queue.receive(1).await.unwrap().remove(0);
    queue.change_visibility(&first.handle(), Duration::ZERO).await.unwrap();
    let second = queue.receive(1).await.unwrap().remove(0);
    let stale = first.handle();
    assert_ne!(stale, second.handle());
    assert!(matches!(queue.change_visibility(&stale, VISIBILITY).await, Err(QueueError::LeaseLost)));
    let batch = queue.change_visibility_batch(&[(stale, VISIBILITY), (second.handle(), VISIBILITY)]).await;
    assert!(matches!(batch[0], Err(QueueError::LeaseLost)));
    assert!(batch[1].is_ok());
}

#[tokio::test]
async fn deletes_are_batched_and_each_caller_gets_its_own_verdict() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    for number in 0..25 {
        queue.send(&number.to_string()).await.unwrap();
    }
    let mut messages = Vec::new();
    while messages.len() < 25 {
        messages.extend(queue.receive(10).await.unwrap());
    }
    let mut handles: Vec<MessageHandle> = messages.iter().map(ReceivedMessage::handle).collect();
    handles[7].receipt_handle = "no-such-handle".to_owned();
    let verdicts = join_all(handles.iter().map(|handle| queue.delete(handle))).await;
    for (position, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.is_ok(), position != 7, "{position}: {verdict:?}");
    }
    assert!(matches!(verdicts[7], Err(QueueError::LeaseLost)));
    let left = queue.probe().await.unwrap();
    assert_eq!(left.visible + left.in_flight, 1);
}

#[tokio::test]
async fn extensions_beyond_one_batch_are_all_made() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    for number in 0..23 {
        queue.send(&number.to_string()).await.unwrap();
    }
    let mut messages = Vec::new();
    while messages.len() < 23 {
        messages.extend(queue.receive(10).await.unwrap());
    }
    let changes: Vec<_> = messages.iter().map(|message| (message.handle(), Duration::ZERO)).collect();
    let verdicts = queue.change_visibility_batch(&changes).await;
    assert_eq!(verdicts.len(), 23);
    assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
    let mut again = BTreeSet::new();
    while again.len() < 23 {
        again.extend(queue.receive(10).await.unwrap().into_iter().map(|message| message.message_id));
    }
}

#[tokio::test]
async fn a_dead_letter_copy_carries_the_reason_and_the_original_is_deleted_afterwards() {
    let Some(bed) = Bed::new().await else { return };
    let queue = Arc::new(bed.queue());
    let keeper = LeaseKeeper::start(queue.clone(), VISIBILITY);
    queue.send("nonsense").await.unwrap();
    let message = queue.receive(1).await.unwrap().remove(0);
    let message_id = message.message_id.clone();
    let Adoption::New(lease) = keeper.lease(message) else { panic!("new") };
    let failure = Failure::new(Reason::MalformedMessage, "文書ではない\u{0}: expected value");
    lease.copy_to_dead_letter_queue(&failure).await.unwrap();
    lease.complete().await.unwrap();

    let copies = bed.dead_letters().await;
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].body, "nonsense");
    let attributes = &copies[0].attributes;
    assert_eq!(attributes["reason"], "malformed_message");
    assert_eq!(attributes["detail"], "文書ではない : expected value");
    assert_eq!(attributes["attempts"], "1");
    assert_eq!(attributes["worker_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(attributes["original_message_id"], message_id);
    let left = queue.probe().await.unwrap();
    assert_eq!(left.visible + left.in_flight, 0);
}

#[tokio::test]
async fn a_message_of_one_mebibyte_is_copied_with_its_reason_or_left_to_the_redrive() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    let failure = Failure::new(Reason::MalformedMessage, "nothing but brackets");
    let with_reason_only = "[".repeat(MAX_MESSAGE_BYTES - 64);
    let without_room = "[".repeat(MAX_MESSAGE_BYTES);
    for (body, fits) in [(with_reason_only, true), (without_room, false)] {
        queue.send(&body).await.unwrap();
        let message = queue.receive(1).await.unwrap().remove(0);
        assert_eq!(message.body.len(), body.len());
        let verdict = queue.dead_letter(&message, &failure).await;
        queue.delete(&message.handle()).await.unwrap();
        if fits {
            verdict.unwrap();
            let copies = bed.dead_letters().await;
            assert_eq!(copies[0].attributes.keys().collect::<Vec<_>>(), ["reason"]);
        } else {
            assert!(matches!(verdict, Err(QueueError::TooLarge)), "{verdict:?}");
        }
    }
}

#[tokio::test]
async fn the_probe_tells_depth_and_redrive_policy() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    queue.send("1").await.unwrap();
    queue.send("2").await.unwrap();
    queue.receive(1).await.unwrap();
    let info = queue.probe().await.unwrap();
    assert_eq!((info.visible, info.in_flight, info.max_receive_count), (1, 1, Some(5)));
    assert!(info.dead_letter_target.unwrap().ends_with("-dlq"));
    assert_eq!(queue.probe_dead_letter().await.unwrap(), bed.dead_letter_url);
}

#[tokio::test]
async fn a_queue_without_dead_letter_queue_and_one_that_does_not_exist_are_told_apart() {
    let Some(bed) = Bed::new().await else { return };
    let lonely_url = bed.dead_letter_url.parse().unwrap();
    let lonely = SqsQueue::new(&bed.config, &lonely_url, None, &settings(Duration::ZERO));
    assert!(matches!(lonely.probe_dead_letter().await, Err(QueueError::NoDeadLetterQueue)));
    assert_eq!(lonely.probe().await.unwrap().dead_letter_target, None);

    let missing_url = bed.dead_letter_url.replace("-dlq", "-missing").parse().unwrap();
    let missing = SqsQueue::new(&bed.config, &missing_url, None, &settings(Duration::ZERO));
    let Err(QueueError::Unavailable(cause)) = missing.probe().await else { panic!("a missing queue answers") };
    assert!(cause.to_string().contains("QueueDoesNotExist"), "{cause}");
    assert!(matches!(missing.receive(1).await, Err(QueueError::Unavailable(_))));
}

#[tokio::test]
async fn after_too_many_receives_the_queues_own_redrive_takes_over() {
    let Some(bed) = Bed::new().await else { return };
    let queue = bed.queue();
    queue.send("again and again").await.unwrap();
    for expected in 1..=5 {
        let message = queue.receive(1).await.unwrap().remove(0);
        assert_eq!(message.receive_count, expected);
        queue.change_visibility(&message.handle(), Duration::ZERO).await.unwrap();
    }
    assert!(queue.receive(1).await.unwrap().is_empty());
    assert_eq!(bed.dead_letters().await.len(), 1);
}

// What only AWS says.

async fn scripted(answers: Vec<Answer>) -> (ScriptedServer, SqsQueue) {
    let server = ScriptedServer::start(answers).await;
    let config = test_config(&server.endpoint).await;
    let url = "https://sqs.ap-northeast-1.amazonaws.com/123456789012/ingest".parse().unwrap();
    let queue = SqsQueue::new(&config, &url, None, &settings(Duration::ZERO));
    (server, queue)
}

fn some_handle() -> MessageHandle {
    MessageHandle { message_id: "id".to_owned(), receipt_handle: "handle".to_owned() }
}

fn json_answer(body: Value) -> Answer {
    Answer::new(200, body.to_string()).header("content-type", "application/x-amz-json-1.0")
}

#[tokio::test]
async fn every_answer_of_aws_to_an_expired_handle_is_a_lost_lease() {
    let expired = "Value handle for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
    for code in [
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValue",
    ] {
        let (_server, queue) = scripted(vec![Answer::sqs_error(code, expired)]).await;
        let verdict = queue.change_visibility(&some_handle(), VISIBILITY).await;
        assert!(matches!(verdict, Err(QueueError::LeaseLost)), "{code}: {verdict:?}");
    }
}

#[tokio::test]
async fn refused_credentials_are_not_the_messages_fault() {
    let (_server, queue) =
        scripted(vec![Answer::sqs_error("InvalidClientTokenId", "The security token is invalid")]).await;
    let Err(QueueError::Unavailable(cause)) = queue.change_visibility(&some_handle(), VISIBILITY).await else {
        panic!("unavailable")
    };
    assert!(cause.to_string().contains("InvalidClientTokenId"), "{cause}");
    assert!(matches!(queue.delete(&some_handle()).await, Err(QueueError::Unavailable(_))));
}

#[tokio::test]
async fn a_batch_answer_gives_each_entry_its_verdict_and_forgotten_entries_none() {
    let answer = json_answer(json!({
        "Successful": [{"Id": "0"}],
        "Failed": [
            {"Id": "1", "Code": "ReceiptHandleIsInvalid", "SenderFault": true},
            {"Id": "2", "Code": "InternalError", "SenderFault": false, "Message": "try again"},
            {"Id": "77", "Code": "InternalError", "SenderFault": false},
        ],
    }));
    let (_server, queue) = scripted(vec![answer]).await;
    let changes: Vec<_> = (0..4).map(|_| (some_handle(), VISIBILITY)).collect();
    let verdicts = queue.change_visibility_batch(&changes).await;
    assert!(verdicts[0].is_ok());
    assert!(matches!(verdicts[1], Err(QueueError::LeaseLost)));
    assert!(matches!(verdicts[2], Err(QueueError::Unavailable(_))));
    assert!(matches!(verdicts[3], Err(QueueError::Unavailable(_))));
}

#[tokio::test]
async fn a_receive_that_broke_off_is_tried_again_with_a_clock_of_its_own() {
    let message = json!({"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "{}"}]});
    let (server, queue) = scripted(vec![Answer::new(503, ""), json_answer(message)]).await;
    let before = Instant::now();
    let received = queue.receive(3).await.unwrap();
    assert_eq!(server.requests().len(), 2);
    assert_eq!(received[0].receive_count, 1);
    assert!(received[0].leased_at > before + Duration::from_millis(100), "the second attempt's clock");
}

#[tokio::test]
async fn a_dead_letter_queue_with_a_smaller_limit_is_respected() {
    let attributes = json_answer(json!({"Attributes": {"MaximumMessageSize": "1024"}}));
    let server = ScriptedServer::start(vec![attributes, json_answer(json!({"MessageId": "copy"}))]).await;
    let config = test_config(&server.endpoint).await;
    let url: Url = "https://sqs.ap-northeast-1.amazonaws.com/123456789012/ingest".parse().unwrap();
    let queue = SqsQueue::new(&config, &url, Some(&url), &settings(Duration::ZERO));
    let mut message =
        received_message(Message::builder().message_id("m").body("[".repeat(1000)).build(), Instant::now());
    message.attributes.insert("producer".to_owned(), "nas".to_owned());
    let failure = Failure::new(Reason::MalformedMessage, "x");
    assert!(matches!(queue.dead_letter(&message, &failure).await, Err(QueueError::TooLarge)));
    message.body.truncate(990);
    queue.dead_letter(&message, &failure).await.unwrap();
    assert!(!server.requests().last().unwrap().contains("producer"));
}

#[test]
fn redrive_policies_are_read_with_numbers_in_and_without_quotes() {
    for count in ["5", "\"5\""] {
        let text = format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:r:123:dlq","maxReceiveCount":{count}}}"#);
        let attributes = BTreeMap::from([("RedrivePolicy".to_owned(), text)]);
        let policy = redrive_policy(&attributes).unwrap();
        assert_eq!(policy.max_receive_count, Some(5));
        assert_eq!(account_and_name(&policy.target_arn), Some(("123", "dlq")));
    }
    assert_eq!(redrive_policy(&BTreeMap::new()), None);
}

#[test]
fn visibility_is_never_rounded_down() {
    assert_eq!(whole_seconds(Duration::ZERO), 0);
    assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
    assert_eq!(whole_seconds(Duration::MAX), i32::MAX);
}
