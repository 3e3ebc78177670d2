//! The limits of the machine: a full disk, no inodes left, a spool that somebody deleted, a log file without room; and
//! the count of outcomes, which no limit may falsify.
//!
//! Full disks are small tmpfs that the tests mount, which takes root; without it those tests say `SKIPPED`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Daemon, World};

/// A small file system of our own.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `options` as in mount(8): `size=6m`, `nr_inodes=40`.
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        if mount.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        eprintln!("SKIPPED: a small disk cannot be mounted here: {mount:?}");
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn text(&self) -> &str {
        self.path().to_str().expect("UTF-8")
    }

    /// Leaves so many bytes free.
    fn fill(&self, leave_bytes: usize) -> PathBuf {
        let ballast = self.path().join("ballast");
        let free = free_bytes(self.path());
        fs::write(&ballast, vec![1; free.saturating_sub(leave_bytes)]).expect("write the ballast");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn free_bytes(folder: &Path) -> usize {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output().expect("run df");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number of bytes")
}

/// Waits until the daemon says that its spool is down, and returns its words.
async fn words_of_outage(world: &World, daemon: &Daemon) -> String {
    let says = async || {
        let (status, words) = daemon.get("/readyz").await?;
        (status == 503 && words.contains("spool disk down since")).then_some(words)
    };
    world.wait_for("a spool that is down", says).await
}

async fn wait_until_ready(world: &World, daemon: &Daemon) {
    world.wait_for("a ready daemon", async || daemon.is_ready().await.then_some(())).await;
}

#[tokio::test]
async fn a_full_disk_pauses_receiving_says_so_and_work_resumes_by_itself() {
    let Some(disk) = SmallDisk::mount("size=8m") else { return };
    let world = World::new("full-disk").await;
    let daemon = world.daemon_with(&[("TEMP_DIR", disk.text())]).await;
    world.upload("before.txt", "before").await;
    world.wait_for_document("before.txt").await;
    world.wait_until_settled().await;

    let ballast = disk.fill(0);
    let words = words_of_outage(&world, &daemon).await;
    assert!(words.contains("full: ") && words.contains(disk.text()) && words.contains("has 0 MB free"), "{words}");
    for number in 0..3 {
        world.upload(&format!("during-{number}.txt"), format!("during {number}")).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let (visible, in_flight) = world.queue_counts().await;
    assert_eq!(visible + in_flight, 3, "nothing was deleted");
    let (_, metrics) = daemon.get("/metrics").await.expect("metrics");
    assert!(metrics.contains("file_processor_dependency_up{dependency=\"spool\"} 0"), "{metrics}");

    fs::remove_file(ballast).expect("remove the ballast");
    for number in 0..3 {
        world.wait_for_document(&format!("during-{number}.txt")).await;
    }
    world.wait_until_settled().await;
    wait_until_ready(&world, &daemon).await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(!daemon.log_text().contains("ERROR"), "no person had to act: {}", daemon.log_text());
}

#[tokio::test]
async fn a_file_that_does_not_fit_keeps_its_lease_and_waits_for_room() {
    let Some(disk) = SmallDisk::mount("size=8m") else { return };
    let world = World::new("large-file").await;
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).expect("write the ballast");
    let daemon = world.daemon_with(&[("TEMP_DIR", disk.text())]).await;
    world.upload("large.txt", "large ".repeat(1 << 20)).await;
    let words = words_of_outage(&world, &daemon).await;
    assert!(words.contains("6 MB are wanted"), "{words}");
    world.upload("small.txt", "small").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let (visible, in_flight) = world.queue_counts().await;
    assert_eq!((visible + in_flight, world.dead_letter_count().await), (2, 0));
    assert!(in_flight >= 1, "the large one is held");

    fs::remove_file(ballast).expect("remove the ballast");
    world.wait_for_document("large.txt").await;
    world.wait_for_document("small.txt").await;
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_disk_without_inodes_is_a_full_disk() {
    let Some(disk) = SmallDisk::mount("size=8m,nr_inodes=60") else { return };
    let world = World::new("no-inodes").await;
    let daemon = world.daemon_with(&[("TEMP_DIR", disk.text())]).await;
    let hoard = disk.path().join("hoard");
    fs::create_dir(&hoard).expect("create a folder");
    for number in 0..100 {
        if fs::write(hoard.join(number.to_string()), "").is_err() {
            break;
        }
    }
    let words = words_of_outage(&world, &daemon).await;
    assert!(words.contains("has 0 inodes free"), "{words}");
    world.upload("a.txt", "text").await;
    fs::remove_dir_all(&hoard).expect("remove the hoard");
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;
    assert!(!daemon.log_text().contains("ERROR"), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_spool_that_somebody_deleted_is_made_anew_and_its_children_can_read_it() {
    let world = World::new("deleted-spool").await;
    let folder = world.temp.path().join("cache");
    let daemon = world.daemon_with(&[("TEMP_DIR", folder.to_str().expect("UTF-8"))]).await;
    world.upload("before.txt", "before").await;
    world.wait_for_document("before.txt").await;
    fs::remove_dir_all(&folder).expect("delete the spool");
    world.upload("after.txt", "after").await;
    let document = world.wait_for_document("after.txt").await;
    assert_eq!((&document["outcome"], &document["extracted_text"]), (&json!("indexed"), &json!("after")));
    world.wait_until_settled().await;
    wait_until_ready(&world, &daemon).await;
    assert!(!daemon.log_text().contains("ERROR"), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_log_file_without_room_neither_kills_nor_blocks() {
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    let world = World::new("full-log").await;
    let ballast = disk.fill(0);
    let log_file = disk.path().join("worker.log");
    let daemon = world.daemon_with(&[("LOG_FILE", log_file.to_str().expect("UTF-8"))]).await;
    world.upload("a.txt", "text").await;
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;
    let standard_error = daemon.log_text();
    assert!(standard_error.contains("document indexed"), "{standard_error}");
    assert_eq!(standard_error.matches("LOG_FILE").count(), 1, "told once: {standard_error}");

    fs::remove_file(ballast).expect("remove the ballast");
    world.upload("b.txt", "text").await;
    world.wait_for_document("b.txt").await;
    world.wait_until_settled().await;
    let lines = log_lines(&log_file);
    assert!(lines.iter().any(|line| line["key"] == "b.txt" && line["outcome"] == "indexed"), "{lines:?}");
    assert!(daemon.log_text().contains("lines are not in it"), "{}", daemon.log_text());
}

/// Every line is JSON.
fn log_lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the log file");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn record(event_name: &str, bucket: &str, object: Value) -> Value {
    json!({ "eventVersion": "2.1", "eventName": event_name, "s3": { "bucket": { "name": bucket }, "object": object } })
}

/// Every kind of contract §1, good and bad, each key once.
async fn send_the_mixed_bag(world: &World) {
    let bucket = world.bucket.as_str();
    for key in ["1a.txt", "1b.txt", "2.txt", "3.txt", "4.txt", "5.txt", "6.txt", "9.txt", "good.txt", "dlq.txt"] {
        world.put(key, format!("text of {key}")).await;
    }
    world.put("corrupt.pdf", "%PDF-1.7 and then nothing of the kind").await;
    world.put("archive.rar", "never opened").await;
    world.put("empty.txt", "").await;
    let created = |key: &str| record("ObjectCreated:Put", bucket, json!({ "key": key, "size": 5 }));
    let event_bridge = json!({ "detail-type": "Object Created",
        "detail": { "bucket": { "name": bucket }, "object": { "key": "2.txt" } } });
    let bodies = [
        json!({ "Records": [created("1a.txt"), created("1b.txt")] }),
        event_bridge,
        json!({ "eventType": "S3_OBJECT_CREATED", "s3Bucket": bucket, "s3Key": "3.txt", "processingRequired": true }),
        json!({ "eventType": "FILE_UPLOADED", "s3Bucket": bucket, "s3Key": "4.txt" }),
        json!({ "eventType": "FILE_DELETED", "s3Bucket": bucket, "s3Key": "never-was.txt" }),
        json!({ "key": "5.txt" }),
        json!({ "key": "missing.txt" }),
        json!({ "key": "empty.txt" }),
        json!({ "key": "corrupt.pdf" }),
        json!({ "key": "archive.rar" }),
        json!({ "key": "thumbnails/x_thumb.jpg" }),
        json!({ "key": "a/folder/" }),
        json!({ "Type": "Notification", "Message": json!({ "Records": [created("6.txt")] }).to_string() }),
        json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket }),
        json!({ "test": true, "bucket": "test-bucket", "key": "test.pdf", "id": "counted" }),
        json!({ "original_message": { "Body": json!({ "key": "9.txt" }).to_string() } }),
        json!({ "hello": "world" }),
        json!({ "Records": [] }),
        json!({ "Records": [record("ObjectTagging:Put", bucket, json!({ "key": "1a.txt" }))] }),
        json!({ "Records": [record("ObjectCreated:Put", bucket, json!({})), created("good.txt")] }),
        json!({ "bucket": "no-such-bucket-at-all", "key": "dlq.txt" }),
    ];
    for body in bodies {
        world.send(body).await;
    }
    world.send("not json").await;
}

/// Outcomes by name, as the log lines tell them.
fn outcomes_in(lines: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for outcome in lines.iter().filter_map(|line| line["outcome"].as_str()) {
        *counts.entry(outcome.to_owned()).or_default() += 1;
    }
    counts
}

/// The same as `/metrics` tells them.
fn outcomes_of(metrics: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("file_processor_documents_total{outcome=\"")) {
        let (outcome, rest) = line.split_once('"').expect("a label");
        let count: u64 = rest.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        *counts.entry(outcome.to_owned()).or_default() += count;
    }
    counts
}

#[tokio::test]
async fn every_object_has_one_outcome_in_the_log_in_the_metrics_and_in_cloudwatch() {
    let world = World::new("outcomes").await;
    let log_file = world.temp.path().join("worker.log");
    let mut daemon = world.daemon_with(&[("LOG_FILE", log_file.to_str().expect("UTF-8"))]).await;
    send_the_mixed_bag(&world).await;
    world.wait_for_dead_letters(4).await;
    world.wait_until_settled().await;
    let expected = BTreeMap::from([
        ("indexed".to_owned(), 9),
        ("indexed_without_text".to_owned(), 2),
        ("deleted".to_owned(), 1),
        // missing, empty, thumbnail, folder, test event, no records, irrelevant event
        ("skipped".to_owned(), 7),
        // two malformed bodies, one malformed record, one bucket that does not exist
        ("dead_lettered".to_owned(), 4),
    ]);
    let lines = log_lines(&log_file);
    assert_eq!(outcomes_in(&lines), expected);
    let (_, metrics) = daemon.get("/metrics").await.expect("metrics");
    assert_eq!(outcomes_of(&metrics), expected);
    assert!(metrics.contains("file_processor_smoke_tests_total{result=\"passed\"} 1"), "{metrics}");

    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0));
    let lines = log_lines(&log_file);
    let shipped: Vec<&Value> = lines.iter().filter(|line| line["_aws"].is_object()).collect();
    let sum = |name: &str| shipped.iter().filter_map(|line| line[name].as_u64()).sum::<u64>();
    // The archive is read by name only, as it should be; the corrupt file failed.
    assert_eq!((sum("ProcessingSuccess"), sum("ProcessingFailure")), (9 + 1, 1 + 4), "{shipped:?}");
    for line in shipped {
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "FileProcessor/Worker");
        assert_eq!(directive["Dimensions"], json!([["InstanceId"]]));
        assert!(line["InstanceId"].as_str().is_some_and(|id| !id.is_empty()));
        assert!(line["ProcessingTime"].as_array().is_some_and(|times| (1..=100).contains(&times.len())), "{line}");
    }
    assert!(!daemon.log_text().contains("_aws"), "for the agent only");
}
