//! Documents that kill what reads them: they cost nobody else anything, and each ends with its reason.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::json;

use crate::harness::World;
use crate::pdf;

/// Above what a test needs until it kills the daemon; the page never answers.
const NEVER: (&str, &str) = ("OCR_TIMEOUT", "600");
const VISIBILITY: (&str, &str) = ("SQS_VISIBILITY_TIMEOUT", "3");

async fn world(name: &str) -> World {
    let world = World::without_index(name, 3).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    world
}

#[tokio::test]
async fn a_page_that_kills_every_reader_is_indexed_with_its_reason_and_leaves_nothing_behind() {
    let world = World::new("poison-page").await;
    let daemon = world.daemon().await;
    world.upload("crash.pdf", pdf::hostile_scan(1, "recognize:segfault:always")).await;
    world.upload("innocent.pdf", pdf::scan(1)).await;
    let document = world.wait_for_document("crash.pdf").await;
    assert_eq!((&document["outcome"], &document["reason"]), (&json!("indexed_without_text"), &json!("crashed")));
    assert_eq!(document["success"], false);
    assert_eq!(world.wait_for_document("innocent.pdf").await["outcome"], "indexed");
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert_eq!(world.state_objects().await, [] as [String; 0]);
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn a_page_that_is_too_much_at_full_resolution_is_read_at_a_lower_one() {
    let world = World::new("poison-reduced").await;
    let _daemon = world.daemon().await;
    world.upload("heavy.pdf", pdf::hostile_scan(2, "recognize:segfault:normal")).await;
    let document = world.wait_for_document("heavy.pdf").await;
    assert_eq!((&document["outcome"], &document["pages_ocr"]), (&json!("indexed"), &json!(2)));
}

#[tokio::test]
async fn a_document_over_which_daemons_die_climbs_down_the_ladder_and_is_written_without_text() {
    let world = world("poison-daemon").await;
    world.upload("deadly.pdf", pdf::hostile_scan(1, "open:hang:always")).await;
    let mut measures = Vec::new();
    // The first attempt leaves no marker: it costs no call. The next three do.
    for _ in 0..4 {
        let daemon = world.daemon_with(&[NEVER, VISIBILITY]).await;
        daemon.wait_until_busy().await;
        // A child has it; the marker is written at the same moment.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let log = daemon.kill().await;
        measures.extend(["alone", "text_layer_only", "given_up"].into_iter().filter(|measure| log.contains(measure)));
    }
    let _last = world.daemon_with(&[NEVER, VISIBILITY]).await;
    let document = world.wait_for_document("deadly.pdf").await;
    assert_eq!(measures, ["alone", "text_layer_only"]);
    assert_eq!((&document["outcome"], &document["reason"]), (&json!("indexed_without_text"), &json!("crashed")));
    assert!(document["error_message"].as_str().is_some_and(|text| text.contains("given up after 3")), "{document}");
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert_eq!(world.state_objects().await, [] as [String; 0]);
}

#[tokio::test]
async fn a_document_beside_a_deadly_one_is_not_blamed_for_its_deeds() {
    let world = world("poison-neighbour").await;
    let variables = [NEVER, VISIBILITY, ("MAX_WORKERS", "2")];
    world.upload("deadly.pdf", pdf::hostile_scan(1, "open:hang:always")).await;
    world.upload("innocent.pdf", pdf::scan(30)).await;
    let both = async || world.document("innocent.pdf").await.is_some() && world.document("deadly.pdf").await.is_some();
    for _ in 0..10 {
        let daemon = world.daemon_with(&variables).await;
        let gives_up_at = Instant::now() + Duration::from_secs(10);
        while Instant::now() < gives_up_at && !both().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if both().await {
            break;
        }
        daemon.kill().await;
    }
    let innocent = world.document("innocent.pdf").await.expect("indexed");
    assert_eq!((&innocent["outcome"], &innocent["pages_ocr"]), (&json!("indexed"), &json!(30)), "{innocent}");
    assert_eq!(world.document("deadly.pdf").await.expect("indexed")["reason"], "crashed");
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_message_that_was_only_ever_released_is_sent_anew_before_the_queue_gives_it_up() {
    let world = world("sent-anew").await;
    world.put("scan.pdf", pdf::scan(60)).await;
    let tenant = MessageAttributeValue::builder().data_type("String").string_value("road").build().expect("attribute");
    let body = json!({ "key": "scan.pdf" }).to_string();
    let message = world.sqs.send_message().queue_url(&world.queue_url).message_body(body);
    message.message_attributes("tenant", tenant).send().await.expect("send");
    let mut sent_anew = false;
    // The queue moves a message to its dead-letter queue after 5 receives.
    for _ in 0..7 {
        let mut daemon = world.daemon_with(&[("DRAIN_TIMEOUT", "1"), ("CHECKPOINT_MIN_PAGES", "1000")]).await;
        daemon.wait_until_busy().await;
        daemon.signal(libc::SIGTERM);
        assert_eq!(daemon.wait_for_exit().await, Some(0));
        sent_anew |= daemon.log_text().contains("message sent anew");
        assert_eq!(world.queue_counts().await, (1, 0), "{}", daemon.log_text());
    }
    assert!(sent_anew);
    assert_eq!(world.dead_letter_count().await, 0);
    let received = world
        .sqs
        .receive_message()
        .queue_url(&world.queue_url)
        .message_attribute_names("All")
        .send()
        .await
        .expect("receive");
    let attributes = received.messages.unwrap_or_default()[0].message_attributes.clone().unwrap_or_default();
    assert_eq!(attributes["tenant"].string_value.as_deref(), Some("road"), "its attributes travel on");
    let previous = attributes["previous_receives"].string_value.as_deref().and_then(|count| count.parse::<u32>().ok());
    assert!(previous >= Some(4), "{attributes:?}");
}
