//! Writes that arrive when the world has moved on: the lease is lost, another daemon has settled the message, and only
//! then does the index apply what the first one had sent. Nobody else will ever look at that object again.

use std::time::Duration;

use crate::bodies::{Change, Kind};
use crate::chaos::relay::{Disturbance, Relay};
use crate::harness::{Daemon, World, testbed};

/// Short, so that the first daemon learns soon that its lease is lost.
const VISIBILITY_SECONDS: &str = "4";
/// A receive call that is under way waits no longer than this.
const LAST_RECEIVE: Duration = Duration::from_secs(3);

/// A daemon whose write hangs on its way, and the lines that it hangs on.
struct Delayed {
    world: World,
    index: Relay,
    sqs: Relay,
    daemon: Daemon,
}

/// `key` was read and its document sent; the request is held in front of the index.
async fn delayed_write(name: &str, key: &str, text: &str) -> Delayed {
    let world = World::without_index(name, 4).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let index = Relay::to(&world.opensearch, 1).await;
    let sqs = Relay::to(&testbed().sqs, 1).await;
    let variables = [
        ("OPENSEARCH_ENDPOINT", index.address.as_str()),
        ("AWS_ENDPOINT_URL_SQS", &sqs.address),
        ("SQS_VISIBILITY_TIMEOUT", VISIBILITY_SECONDS),
    ];
    let daemon = world.daemon_with(&variables).await;
    // What a daemon asks the index once is not what shall be held.
    world.upload("before.txt", "before").await;
    world.wait_for_document("before.txt").await;
    world.wait_until_settled().await;
    index.disturb(Disturbance::Hold, 100);
    world.upload(key, text).await;
    world.wait_for("a write on its way", async || index.hits().contains_key("held").then_some(())).await;
    Delayed { world, index, sqs, daemon }
}

impl Delayed {
    /// From now on the daemon can neither extend its lease nor receive what comes next.
    async fn cut_off(&self) {
        self.sqs.disturb(Disturbance::Hold, 100);
        tokio::time::sleep(LAST_RECEIVE).await;
    }

    /// A second daemon gets and settles all messages; then the write arrives.
    async fn arrive_after_another_daemon(&self) {
        let mut second = self.world.daemon_with(&[("SQS_VISIBILITY_TIMEOUT", VISIBILITY_SECONDS)]).await;
        self.world.wait_until_settled().await;
        second.signal(libc::SIGTERM);
        second.wait_for_exit().await;
        self.sqs.leave_alone();
        self.index.leave_alone();
        // Either its job still looked again by itself, or it has asked somebody to look.
        let is_over = async || {
            let log = self.daemon.log_text();
            let has_outcome = log.lines().any(|line| line.contains("outcome=") && line.contains("key=a.txt"));
            (has_outcome || log.contains("write_in_doubt")).then_some(())
        };
        self.world.wait_for("an end of the late write", is_over).await;
        self.world.wait_until_settled().await;
    }
}

#[tokio::test]
async fn a_write_that_arrives_after_its_object_was_deleted_and_settled_elsewhere_is_taken_back() {
    let delayed = delayed_write("late-after-delete", "a.txt", "the first text").await;
    let world = &delayed.world;
    world.remove("a.txt").await;
    delayed.cut_off().await;
    world.send(Kind::Notification.body(Change::Delete, &world.bucket, "a.txt", None)).await;
    delayed.arrive_after_another_daemon().await;
    assert_eq!(world.document("a.txt").await, None);
}

#[tokio::test]
async fn a_write_that_arrives_after_an_overwrite_of_the_same_second_was_settled_elsewhere_is_put_right() {
    let delayed = delayed_write("late-after-overwrite", "a.txt", "the first text").await;
    let world = &delayed.world;
    world.put("a.txt", "the second text").await;
    delayed.cut_off().await;
    world.send(Kind::Direct.body(Change::Put, &world.bucket, "a.txt", None)).await;
    delayed.arrive_after_another_daemon().await;
    let document = world.document("a.txt").await.expect("a document");
    assert_eq!(document["extracted_text"].as_str().map(str::trim), Some("the second text"), "{document}");
}
