//! Every body of contract §1, through the real queue, ends in its outcome.

use serde_json::{Value, json};

use crate::harness::World;

/// SQS's limit on body and attributes together.
const MAX_MESSAGE_BYTES: usize = 1_048_576;

fn s3_record(event_name: &str, bucket: &str, encoded_key: &str) -> Value {
    json!({
        "eventVersion": "2.1",
        "eventName": event_name,
        "s3": {
            "bucket": { "name": bucket },
            "object": { "key": encoded_key, "size": 5, "eTag": "0", "sequencer": "0055AED6DCD90281E5" }
        }
    })
}

#[tokio::test]
async fn every_record_of_an_s3_notification_counts_and_its_keys_are_form_decoded() {
    let world = World::new("s3-notification").await;
    let _daemon = world.daemon().await;
    world.put("landing/道路 橋+1.txt", "最初の記録").await;
    world.put("landing/second%20.txt", "second record").await;
    world
        .send(json!({ "Records": [
            s3_record("ObjectCreated:Put", &world.bucket, "landing/%E9%81%93%E8%B7%AF+%E6%A9%8B%2B1.txt"),
            s3_record("ObjectCreated:CompleteMultipartUpload", &world.bucket, "landing/second%2520.txt"),
        ] }))
        .await;
    let first = world.wait_for_document("landing/道路 橋+1.txt").await;
    assert_eq!(first["extracted_text"], "最初の記録");
    assert_eq!(first["sequencer"], "0055AED6DCD90281E5");
    world.wait_for_document("landing/second%20.txt").await;
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_removed_object_loses_its_document_and_its_thumbnail() {
    let world = World::new("removed").await;
    let _daemon = world.daemon().await;
    let key = "documents/road/ts-server3/橋梁/写真.png";
    world.upload(key, crate::harness::read_fixture("images/alpha.png")).await;
    let document = world.wait_for_document(key).await;
    let thumbnail = document["thumbnail_url"].as_str().expect("a thumbnail").to_owned();
    let prefix = format!("s3://{}/", world.thumbnail_bucket);
    let thumbnail_key = thumbnail.strip_prefix(&prefix).expect("in the thumbnail bucket").to_owned();
    let head = || world.s3.head_object().bucket(&world.thumbnail_bucket).key(&thumbnail_key).send();
    assert!(head().await.is_ok());

    world.remove(key).await;
    let encoded: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    world.send(json!({ "Records": [s3_record("ObjectRemoved:Delete", &world.bucket, &encoded)] })).await;
    world.wait_for_no_document(key).await;
    world.wait_until_settled().await;
    assert!(head().await.is_err(), "the thumbnail is gone too");
}

#[tokio::test]
async fn the_bodies_with_literal_keys_are_understood() {
    let world = World::new("literal-keys").await;
    let _daemon = world.daemon().await;
    let bucket = &world.bucket;
    let bodies = [
        (
            "a/raw+event.txt",
            json!({ "detail-type": "Object Created", "detail": {
            "bucket": { "name": bucket }, "object": { "key": "a/raw+event.txt", "size": 5, "etag": "0" } } }),
        ),
        (
            "a/transformed%20.txt",
            json!({ "eventType": "S3_OBJECT_CREATED", "s3Bucket": bucket,
            "s3Key": "a/transformed%20.txt", "fileSize": 5, "etag": "0", "eventTime": "2024-05-01T00:00:00Z",
            "processingRequired": true }),
        ),
        (
            "a/scanner.txt",
            json!({ "eventType": "FILE_UPLOADED", "s3Bucket": bucket, "s3Key": "a/scanner.txt",
            "fileSize": 5, "mimeType": "text/plain", "originalPath": "\\\\ts-server6\\share\\構造\\scanner.txt",
            "timestamp": "2024-05-01T00:00:00Z", "metadata": { "modifiedAt": "1987-04-01T09:30:00" } }),
        ),
        ("a/direct.txt", json!({ "key": "a/direct.txt" })),
        ("a/restored.txt", json!({ "Records": [s3_record("ObjectRestore:Completed", bucket, "a/restored.txt")] })),
        ("a/redriven.txt", json!({ "original_message": { "Body": json!({ "key": "a/redriven.txt" }).to_string() } })),
        (
            "a/sns.txt",
            json!({ "Type": "Notification", "Message":
            json!({ "Records": [s3_record("ObjectCreated:Put", bucket, "a/sns.txt")] }).to_string() }),
        ),
    ];
    for (key, body) in &bodies {
        world.put(key, format!("text of {key}")).await;
        world.send(body).await;
    }
    for (key, _) in &bodies {
        let document = world.wait_for_document(key).await;
        assert_eq!(document["extracted_text"], format!("text of {key}"), "{key}");
        assert_eq!(document["outcome"], "indexed", "{key}");
        assert_eq!(document["file_key"], *key);
    }
    let scanned = world.wait_for_document("a/scanner.txt").await;
    assert_eq!(scanned["nas_path"], "\\\\ts-server6\\share\\構造\\scanner.txt");
    assert_eq!(scanned["category"], "structure");
    assert_eq!(scanned["modified_at"], "1987-04-01T00:30:00Z", "a date without zone is Japan time");
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_literal_key_that_is_not_found_is_tried_decoded() {
    let world = World::new("decoded-key").await;
    let _daemon = world.daemon().await;
    world.put("a/道路 橋.txt", "道路橋").await;
    world.send(json!({ "key": "a/%E9%81%93%E8%B7%AF+%E6%A9%8B.txt" })).await;
    let document = world.wait_for_document("a/道路 橋.txt").await;
    assert_eq!(document["file_name"], "道路 橋.txt");
    world.wait_until_settled().await;
}

#[tokio::test]
async fn a_deletion_by_the_scanner_removes_the_document() {
    let world = World::new("scanner-delete").await;
    let _daemon = world.daemon().await;
    world.upload("a/gone.txt", "soon gone").await;
    world.wait_for_document("a/gone.txt").await;
    world.remove("a/gone.txt").await;
    world.send(json!({ "eventType": "FILE_DELETED", "s3Bucket": world.bucket, "s3Key": "a/gone.txt" })).await;
    world.wait_for_no_document("a/gone.txt").await;
    world.wait_until_settled().await;
}

#[tokio::test]
async fn no_ops_are_acknowledged_and_leave_nothing_behind() {
    let world = World::new("no-ops").await;
    let daemon = world.daemon().await;
    world.put("thumbnails/x_thumb.jpg", "not an input").await;
    world.put("empty.txt", "").await;
    world.send(json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": world.bucket })).await;
    world.send(json!({ "Records": [] })).await;
    world.send(json!({ "Records": [s3_record("ObjectTagging:Put", &world.bucket, "a.txt")] })).await;
    world.send(json!({ "key": "thumbnails/x_thumb.jpg" })).await;
    world.send(json!({ "key": "a/folder/" })).await;
    world.send(json!({ "key": "empty.txt" })).await;
    world.send(json!({ "key": "never/was.txt" })).await;
    world.wait_until_settled().await;
    world.refresh().await;
    let count = world.opensearch_post(&format!("{}/_count", world.index), json!({})).await;
    assert_eq!(count["count"], 0);
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(!daemon.log_text().contains("ERROR"), "{}", daemon.log_text());
}

#[tokio::test]
async fn an_object_that_became_empty_loses_its_document() {
    let world = World::new("became-empty").await;
    let _daemon = world.daemon().await;
    world.upload("a.txt", "something").await;
    world.wait_for_document("a.txt").await;
    world.upload("a.txt", "").await;
    world.wait_for_no_document("a.txt").await;
    world.wait_until_settled().await;
}

#[tokio::test]
async fn what_nobody_understands_goes_to_the_dead_letter_queue_with_the_reason() {
    let world = World::new("malformed").await;
    let _daemon = world.daemon().await;
    // The last one leaves room in the queue's 1 MiB for `reason` alone.
    let bodies = ["not json".to_owned(), json!({ "hello": "world" }).to_string(), "[".repeat(MAX_MESSAGE_BYTES - 100)];
    for body in &bodies {
        world.send(body).await;
    }
    let letters = world.wait_for_dead_letters(3).await;
    world.wait_until_settled().await;
    assert_eq!(letters.len(), 3);
    for (body, attributes) in &letters {
        assert!(bodies.contains(body), "the body is copied as it was");
        assert_eq!(attributes["reason"], "malformed_message");
        if body.len() < 1024 {
            assert!(attributes["detail"].len() <= 256);
            assert_eq!(attributes["attempts"], "1");
            assert!(attributes.contains_key("worker_version") && attributes.contains_key("original_message_id"));
        }
    }
}

#[tokio::test]
async fn a_message_of_one_mebibyte_of_brackets_is_left_to_the_queues_own_redrive_with_a_warning() {
    let world = World::new("brackets").await;
    let daemon = world.daemon().await;
    world.send("[".repeat(MAX_MESSAGE_BYTES)).await;
    world
        .wait_for("the warning", async || daemon.log_text().contains("left to the queue's own redrive").then_some(()))
        .await;
    let (visible, in_flight) = world.queue_counts().await;
    assert_eq!(visible + in_flight, 1, "not deleted: no copy was accepted");
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn good_records_are_finished_before_the_message_with_a_bad_one_is_dead_lettered() {
    let world = World::new("mixed").await;
    let _daemon = world.daemon().await;
    world.put("good.txt", "good").await;
    let mut bad = s3_record("ObjectCreated:Put", &world.bucket, "x");
    bad["s3"]["object"] = json!({});
    world.send(json!({ "Records": [bad, s3_record("ObjectCreated:Put", &world.bucket, "good.txt")] })).await;
    let letters = world.wait_for_dead_letters(1).await;
    assert_eq!(letters[0].1["reason"], "malformed_message");
    assert!(world.document("good.txt").await.is_some(), "indexed before the copy was made");
    world.wait_until_settled().await;
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_that_objects_fault() {
    let world = World::new("no-such-bucket").await;
    let _daemon = world.daemon().await;
    world.send(json!({ "bucket": "no-such-bucket-at-all", "key": "a.txt" })).await;
    let letters = world.wait_for_dead_letters(1).await;
    assert_eq!(letters[0].1["reason"], "no_such_bucket");
    world.wait_until_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_test_runs_the_whole_path_into_an_index_of_its_own() {
    let world = World::new("smoke").await;
    let daemon = world.daemon().await;
    let output = tokio::task::block_in_place(|| world.command().args(["smoke-test", "--timeout", "60"]).output());
    let output = output.expect("run smoke-test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.wait_until_settled().await;
    let log = daemon.log_text();
    assert!(log.contains("smoke test passed id="), "{log}");
    assert!(!log.contains("ERROR"));
    world.refresh().await;
    let count = world.opensearch_post(&format!("{}/_count", world.index), json!({})).await;
    assert_eq!(count["count"], 0, "the production index is untouched");

    // The deploy pipeline's own message, as documented.
    world.send(json!({ "test": true, "bucket": "test-bucket", "key": "test.pdf", "id": "deploy-42" })).await;
    let smoke_index = format!("{}-smoke-test", world.index);
    let document =
        world.wait_for("the smoke document", async || world.document_of(&smoke_index, "deploy-42").await).await;
    assert_eq!(document["success"], true);
    world.wait_until_settled().await;
}

#[tokio::test]
async fn each_faulty_object_of_a_message_has_an_outcome_of_its_own() {
    let world = World::new("two-faults").await;
    let daemon = world.daemon().await;
    let record = |key| s3_record("ObjectCreated:Put", "there-is-no-such-bucket", key);
    world.send(json!({ "Records": [record("first.txt"), record("second.txt")] })).await;
    let letters = world.wait_for_dead_letters(1).await;
    assert_eq!(letters.len(), 1, "the message is copied once");
    world.wait_until_settled().await;
    let log = daemon.log_text();
    for key in ["first.txt", "second.txt"] {
        let outcomes = log.lines().filter(|line| line.contains("outcome=") && line.contains(key)).count();
        assert_eq!(outcomes, 1, "{key}\n{log}");
    }
    assert_eq!(daemon.metric("file_processor_documents_total").await, 2.0);
}
