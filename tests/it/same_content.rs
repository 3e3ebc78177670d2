//! Files that the archive holds more than once: recognised once, and every copy has the same document.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Daemon, STATE_PREFIX, World, read_fixture};

const SCAN: &str = "samples/documents/structure/ts-server7/Harbour_viaduct/P4 bearing note.jpg";
const FIRST: &str = "documents/road/ts-server3/橋梁/点検.jpg";
const COPY: &str = "documents/structure/ts-server7/控え/点検 (2).jpg";
const ABOUT_CONTENT: &[&str] = &[
    "success",
    "outcome",
    "reason",
    "error_message",
    "mime_type",
    "file_size",
    "extracted_text",
    "text_truncated",
    "page_count",
    "word_count",
    "char_count",
    "ocr_confidence",
    "ocr_language",
    "ocr_engine",
    "pages_ocr",
    "pages_text",
    "pages_failed",
    "metadata",
    "content_sha256",
];

async fn recognised(daemon: &Daemon) -> f64 {
    daemon.metric("file_processor_pages_recognized_total").await
}

async fn indexed(world: &World, key: &str) -> Value {
    let document = world.wait_for_document(key).await;
    world.wait_until_settled().await;
    world.refresh().await;
    document
}

#[tokio::test]
async fn a_copy_gets_the_text_of_the_first_without_being_recognised_again() {
    let world = World::new("same-content").await;
    let daemon = world.daemon().await;
    world.upload(FIRST, read_fixture(SCAN)).await;
    let first = indexed(&world, FIRST).await;
    assert!(first["pages_ocr"].as_u64() > Some(0), "{first}");
    let recognised_once = recognised(&daemon).await;

    world.upload(COPY, read_fixture(SCAN)).await;
    let copy = indexed(&world, COPY).await;
    assert_eq!(recognised(&daemon).await, recognised_once);
    assert_eq!(daemon.metric("file_processor_documents_reused_total").await, 1.0);
    for field in ABOUT_CONTENT {
        assert_eq!(copy[*field], first[*field], "{field}");
    }
    assert_eq!(copy["file_key"], COPY);
    assert_eq!(copy["category"], "structure");
    let url = copy["thumbnail_url"].as_str().expect("a thumbnail");
    assert_ne!(Some(url), first["thumbnail_url"].as_str());
    let key = url.strip_prefix(&format!("s3://{}/", world.thumbnail_bucket)).expect("in the thumbnail bucket");
    let thumbnail = world.s3.head_object().bucket(&world.thumbnail_bucket).key(key).send().await.expect("is there");
    assert!(thumbnail.content_length() > Some(0));
}

#[tokio::test]
async fn a_copy_of_what_was_not_read_completely_or_by_another_engine_is_read() {
    let world = World::new("same-content-not").await;
    let daemon = world.daemon().await;
    world.upload(FIRST, read_fixture(SCAN)).await;
    let first = indexed(&world, FIRST).await;
    let recognised_once = recognised(&daemon).await;
    for (field, value) in [("outcome", "indexed_partial"), ("ocr_engine", "another engine")] {
        let mut changed = first.clone();
        changed[field] = value.into();
        world.opensearch_put(&format!("{}/_doc/another", world.index), changed).await;
        world.remove(FIRST).await;
        world.opensearch_post(&format!("{}/_delete_by_query?refresh=true", world.index), only_key(FIRST)).await;
        world.refresh().await;
        let before = recognised(&daemon).await;
        world.upload(COPY, read_fixture(SCAN)).await;
        indexed(&world, COPY).await;
        assert_eq!(recognised(&daemon).await - before, recognised_once, "{field}");
        world.opensearch_post(&format!("{}/_delete_by_query?refresh=true", world.index), only_key(COPY)).await;
    }
}

#[tokio::test]
async fn a_copy_that_may_not_be_recognised_any_more_gets_the_text_of_the_first() {
    let world = World::new("same-content-guilty").await;
    // The poll of a daemon that has ended may take the next message; it comes back soon.
    let variables = [("SQS_VISIBILITY_TIMEOUT", "3")];
    let daemon = world.daemon_with(&variables).await;
    world.upload(FIRST, read_fixture(SCAN)).await;
    let first = indexed(&world, FIRST).await;
    assert!(recognised(&daemon).await > 0.0);
    daemon.stop().await;
    for (attempts, measure) in [(2, "text_layer_only"), (3, "given_up")] {
        world.upload(COPY, read_fixture(SCAN)).await;
        leave_guilt(&world, COPY, attempts).await;
        receive_once(&world).await;

        let daemon = world.daemon_with(&variables).await;
        let copy = indexed(&world, COPY).await;
        for field in ABOUT_CONTENT {
            assert_eq!(copy[*field], first[*field], "{field}, {measure}");
        }
        assert_eq!(recognised(&daemon).await, 0.0, "{measure}");
        assert_eq!(world.state_objects().await, [] as [String; 0], "{measure}");
        let log = daemon.stop().await;
        assert!(log.contains(measure), "{log}");
        world.opensearch_post(&format!("{}/_delete_by_query?refresh=true", world.index), only_key(COPY)).await;
    }
}

#[tokio::test]
async fn what_an_attempt_left_behind_goes_when_another_message_has_done_the_work() {
    let world = World::new("same-content-done").await;
    let variables = [("SQS_VISIBILITY_TIMEOUT", "3")];
    let daemon = world.daemon_with(&variables).await;
    world.upload(FIRST, read_fixture(SCAN)).await;
    indexed(&world, FIRST).await;
    daemon.stop().await;

    world.upload(FIRST, read_fixture(SCAN)).await;
    leave_guilt(&world, FIRST, 1).await;
    receive_once(&world).await;
    let daemon = world.daemon_with(&variables).await;
    let is_removed = async || world.state_objects().await.is_empty().then_some(());
    world.wait_for("the record to be removed", is_removed).await;
    assert_eq!(recognised(&daemon).await, 0.0, "nothing was read");
}

/// From its second receive on a message's object has a past.
async fn receive_once(world: &World) {
    let receive = || world.sqs.receive_message().queue_url(&world.queue_url).visibility_timeout(0).send();
    let received = async || (receive().await.expect("receive").messages().len() == 1).then_some(());
    world.wait_for("the message", received).await;
}

/// What daemons leave behind of an object at which that many attempts have failed. Other versions of the daemon read it,
/// too: the names are not free to change.
async fn leave_guilt(world: &World, key: &str, attempts: u32) {
    let object = world.s3.head_object().bucket(&world.bucket).key(key).send().await.expect("is there");
    let record = json!({
        "bucket": world.bucket,
        "key": key,
        "etag": object.e_tag().expect("an ETag").trim_matches('"'),
        "guilty_attempts": attempts,
        "failure": { "reason": "crashed", "detail": "page 1 crashed" },
        "running": null,
    });
    let folder = hex::encode(Sha256::digest(format!("{}\0{key}\0", world.bucket)));
    let state_key = format!("{STATE_PREFIX}{}/guilt.json", &folder[..32]);
    let put = world.s3.put_object().bucket(&world.thumbnail_bucket).key(state_key);
    put.body(record.to_string().into_bytes().into()).send().await.expect("put the record");
}

#[tokio::test]
async fn the_switch_reads_every_copy() {
    let world = World::new("same-content-off").await;
    let daemon = world.daemon_with(&[("REUSE_SAME_CONTENT", "false")]).await;
    world.upload(FIRST, read_fixture(SCAN)).await;
    indexed(&world, FIRST).await;
    let recognised_once = recognised(&daemon).await;
    world.upload(COPY, read_fixture(SCAN)).await;
    indexed(&world, COPY).await;
    assert_eq!(recognised(&daemon).await, 2.0 * recognised_once);
}

/// By the id of the document itself: the changed one carries the same `file_key`.
fn only_key(key: &str) -> Value {
    serde_json::json!({"query": {"ids": {"values": [key]}}})
}
