//! Each dependency down in each way (contract §4): receiving pauses, STATUS says which one, since when and why, nothing
//! is deleted and nothing dead-lettered, and work goes on by itself when the cause is gone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Daemon, World, testbed};
use crate::relay::Cable;

/// The daemon's report (`/status`).
async fn report(daemon: &Daemon) -> Option<Value> {
    let (_, body) = daemon.get("/status").await?;
    serde_json::from_str(&body).ok()
}

/// Waits until the daemon reports this dependency down with this cause; the state in words.
async fn wait_until_down(world: &World, daemon: &Daemon, dependency: &str, cause: &str) -> String {
    let is_down = async || {
        let report = report(daemon).await?;
        let listed = report["dependencies"].as_array()?.iter().find(|it| it["name"] == dependency)?.clone();
        (listed["up"] == false && listed["cause"] == cause && listed["down_since"].is_string())
            .then(|| report["status"].as_str().unwrap_or_default().to_owned())
    };
    world.wait_for(&format!("{dependency} down: {cause}"), is_down).await
}

/// The value of a metric; labels as they are rendered.
async fn metric(daemon: &Daemon, name_and_labels: &str) -> Option<f64> {
    let (_, text) = daemon.get("/metrics").await?;
    text.lines().find_map(|line| line.strip_prefix(name_and_labels)?.trim().parse().ok())
}

async fn assert_nothing_left(world: &World) {
    let (visible, in_flight) = world.queue_counts().await;
    assert_eq!(visible + in_flight, 2, "nothing was deleted");
    assert_eq!(world.dead_letter_count().await, 0);
}

/// Two objects come while the index is down; both are in it when it works again.
async fn index_outage(
    world: &World,
    daemon: &Daemon,
    break_index: impl AsyncFnOnce(),
    cause: &str,
    mend_index: impl AsyncFnOnce(),
) -> String {
    break_index().await;
    world.upload("a.txt", "first").await;
    world.upload("b.txt", "second").await;
    let words = wait_until_down(world, daemon, "index", cause).await;
    assert!(words.starts_with("paused: OpenSearch down since "), "{words}");
    let up = metric(daemon, "file_processor_dependency_up{dependency=\"index\"}").await;
    assert_eq!(up, Some(0.0));
    let outages = format!("file_processor_dependency_outages_total{{dependency=\"index\",cause=\"{cause}\"}}");
    assert_eq!(metric(daemon, &outages).await, Some(1.0));
    assert_nothing_left(world).await;
    mend_index().await;
    world.wait_for_document("a.txt").await;
    world.wait_for_document("b.txt").await;
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    world.wait_for("a ready daemon", async || daemon.is_ready().await.then_some(())).await;
    words
}

async fn set_block(world: &World, block: &str, value: Value) {
    let mut settings = json!({});
    settings[block] = value;
    world.opensearch_put(&format!("{}/_settings", world.index), settings).await;
}

#[tokio::test]
async fn an_index_at_the_flood_stage_is_told_with_what_helps_and_work_resumes_when_the_block_is_gone() {
    let world = World::new("flood-stage").await;
    let daemon = world.daemon().await;
    let block = "index.blocks.read_only_allow_delete";
    let break_index = async || set_block(&world, block, json!(true)).await;
    let mend_index = async || set_block(&world, block, Value::Null).await;
    let words = index_outage(&world, &daemon, break_index, "flood_stage", mend_index).await;
    assert!(words.contains("(flood stage: ") && words.contains("; free disk space on the cluster)"), "{words}");
}

#[tokio::test]
async fn an_index_with_a_write_block_is_read_only() {
    let world = World::new("write-block").await;
    let daemon = world.daemon().await;
    let break_index = async || set_block(&world, "index.blocks.write", json!(true)).await;
    let mend_index = async || set_block(&world, "index.blocks.write", Value::Null).await;
    let words = index_outage(&world, &daemon, break_index, "read_only", mend_index).await;
    assert!(words.contains("; remove the block from the index)"), "{words}");
}

#[tokio::test]
async fn a_missing_index_is_told_with_the_command_that_makes_it() {
    let world = World::new("index-gone").await;
    let daemon = world.daemon().await;
    let break_index = async || {
        let url = format!("{}/{}", world.opensearch, world.index);
        world.http.delete(url).send().await.expect("delete the index");
    };
    let mend_index = async || assert!(world.command().arg("--create-index").status().expect("run").success());
    let words = index_outage(&world, &daemon, break_index, "missing", mend_index).await;
    assert!(words.contains("--create-index"), "{words}");
}

#[tokio::test]
async fn an_index_that_throttles_everything_is_down_until_it_does_not() {
    let world = World::new("index-throttles").await;
    let cable = Cable::to(&world.opensearch);
    let daemon = world.daemon_with(&[("OPENSEARCH_ENDPOINT", &cable.address)]).await;
    let body = json!({"error": {"type": "circuit_breaking_exception", "reason": "[parent] Data too large"}});
    let throttle = async || cable.answer(429, &body.to_string());
    let words = index_outage(&world, &daemon, throttle, "throttled", async || cable.mend()).await;
    assert!(words.contains("(throttled: ") && words.contains("Data too large"), "{words}");
}

#[tokio::test]
async fn an_index_that_refuses_us_is_told_with_what_to_check() {
    let world = World::new("index-refuses").await;
    let cable = Cable::to(&world.opensearch);
    let daemon = world.daemon_with(&[("OPENSEARCH_ENDPOINT", &cable.address)]).await;
    let refuse = async || cable.answer(403, "{\"message\":\"User: anonymous is not authorized\"}");
    let words = index_outage(&world, &daemon, refuse, "refused", async || cable.mend()).await;
    assert!(words.contains("not authorized") && words.contains("access policy"), "{words}");
}

#[tokio::test]
async fn a_store_that_throttles_everything_is_down_until_it_does_not() {
    let world = World::new("store-throttles").await;
    let cable = Cable::to(&testbed().s3);
    let daemon = world.daemon_with(&[("AWS_ENDPOINT_URL_S3", &cable.address)]).await;
    cable.answer(503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>");
    world.upload("a.txt", "first").await;
    world.upload("b.txt", "second").await;
    let words = wait_until_down(&world, &daemon, "store", "throttled").await;
    assert!(words.starts_with("paused: S3 bucket down since "), "{words}");
    assert_nothing_left(&world).await;
    cable.mend();
    world.wait_for_document("a.txt").await;
    world.wait_for_document("b.txt").await;
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_queue_that_cannot_be_reached_is_told_and_asked_until_it_answers() {
    let world = World::new("queue-gone").await;
    let cable = Cable::to(&testbed().sqs);
    let daemon = world.daemon_with(&[("AWS_ENDPOINT_URL_SQS", &cable.address)]).await;
    cable.cut();
    let words = wait_until_down(&world, &daemon, "queue", "unreachable").await;
    assert!(words.starts_with("paused: SQS queue down since "), "{words}");
    assert_eq!(daemon.get("/livez").await.map(|(status, _)| status), Some(200), "a restart would not help");
    world.upload("a.txt", "text").await;
    cable.mend();
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;
    world.wait_for("a ready daemon", async || daemon.is_ready().await.then_some(())).await;
}

#[tokio::test]
async fn a_missing_dead_letter_queue_stops_only_the_bad_messages_and_they_are_copied_when_it_is_back() {
    let world = World::new("dlq-gone").await;
    let daemon = world.daemon().await;
    world.sqs.delete_queue().queue_url(&world.dead_letter_queue_url).send().await.expect("delete the queue");
    world.send("this is not JSON").await;
    let words = wait_until_down(&world, &daemon, "dead_letter_queue", "missing").await;
    assert!(words.starts_with("ready; ") && words.contains("dead-letter queue down since "), "{words}");

    world.upload("good.txt", "good").await;
    world.wait_for_document("good.txt").await;
    assert!(daemon.is_ready().await, "good messages go on");
    // Longer than the first back-off: a message that was released would be received again by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.wait_for("the bad message alone", async || (world.queue_counts().await == (0, 1)).then_some(())).await;
    assert_eq!(metric(&daemon, "file_processor_messages_received_total").await, Some(2.0));

    let name = world.dead_letter_queue_url.rsplit('/').next().expect("a name");
    world.sqs.create_queue().queue_name(name).send().await.expect("create the queue");
    let letters = world.wait_for_dead_letters(1).await;
    assert_eq!(letters[0].0, "this is not JSON");
    assert_eq!(letters[0].1["reason"], "malformed_message");
    assert_eq!(letters[0].1["attempts"], "1");
    world.wait_until_settled().await;
    let up = async || metric(&daemon, "file_processor_dependency_up{dependency=\"dead_letter_queue\"}").await;
    world.wait_for("the end of the outage", async || (up().await == Some(1.0)).then_some(())).await;
}

/// Nothing was told, nothing released.
async fn assert_unnoticed(daemon: &Daemon) {
    let (_, metrics) = daemon.get("/metrics").await.expect("metrics");
    let told = ["file_processor_dependency_outages_total", "file_processor_messages_released_total"];
    for line in metrics.lines().filter(|line| told.iter().any(|name| line.starts_with(name))) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn a_single_blip_neither_pauses_the_daemon_nor_releases_a_message() {
    let world = World::new("blip").await;
    let (index_cable, store_cable) = (Cable::to(&world.opensearch), Cable::to(&testbed().s3));
    let endpoints = [("OPENSEARCH_ENDPOINT", &*index_cable.address), ("AWS_ENDPOINT_URL_S3", &*store_cable.address)];
    let daemon = world.daemon_with(&endpoints).await;
    for (number, cable) in [&index_cable, &store_cable, &index_cable].into_iter().enumerate() {
        let harmed_before = cable.harmed();
        cable.cut_requests(1);
        let key = format!("{number}.txt");
        world.upload(&key, format!("text {number}")).await;
        world.wait_for_document(&key).await;
        assert_eq!(cable.harmed() - harmed_before, 1, "there was a blip");
    }
    world.wait_until_settled().await;
    assert_unnoticed(&daemon).await;
}

#[tokio::test]
async fn a_bulk_answer_that_is_lost_after_the_index_did_it_is_harmless() {
    let world = World::new("lost-answer").await;
    let cable = Cable::to(&world.opensearch);
    let daemon = world.daemon_with(&[("OPENSEARCH_ENDPOINT", &cable.address)]).await;
    cable.lose_bulk_answers(3);
    for number in 0..4 {
        world.upload(&format!("{number}.txt"), format!("text {number}")).await;
    }
    for number in 0..4 {
        let document = world.wait_for_document(&format!("{number}.txt")).await;
        assert_eq!(document["extracted_text"], format!("text {number}"));
    }
    world.wait_until_settled().await;
    assert_eq!(cable.harmed(), 3);
    assert_eq!(world.dead_letter_count().await, 0);
    let indexed = metric(&daemon, "file_processor_documents_total{outcome=\"indexed\",reason=\"none\"}").await;
    assert_eq!(indexed, Some(4.0), "one outcome each");
}

#[tokio::test]
#[ignore = "a minute long; prints the time from the end of an outage to the first document"]
async fn after_a_minute_without_the_index_the_first_document_comes_soon() {
    let world = World::new("recovery").await;
    let cable = Cable::to(&world.opensearch);
    let daemon = world.daemon_with(&[("OPENSEARCH_ENDPOINT", &cable.address)]).await;
    cable.cut();
    for number in 0..50 {
        world.upload(&format!("{number}.txt"), format!("text {number}")).await;
    }
    wait_until_down(&world, &daemon, "index", "unreachable").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    cable.mend();
    let mended = Instant::now();
    world
        .wait_for("a first document", async || {
            world.refresh().await;
            let found = world.opensearch_post(&format!("{}/_count", world.index), json!({})).await;
            (found["count"].as_u64() > Some(0)).then_some(())
        })
        .await;
    println!("first document {:?} after the index could be reached", mended.elapsed());
    world.wait_until_settled().await;
    println!("all of them {:?} after the index could be reached", mended.elapsed());
    assert_eq!(world.dead_letter_count().await, 0);
}
