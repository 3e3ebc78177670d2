//! Random histories: objects are put, overwritten and deleted, their events come twice, late and in the wrong order,
//! with a sequencer or without, and daemons are killed in between. Whatever happened, the index agrees with the bucket
//! in the end.
//!
//! `HISTORIES_SEED` repeats a history, `HISTORIES_KEYS` and `HISTORIES_ROUNDS` make it larger. What servers and
//! processes do at the same time no seed repeats; the seed repeats what is done to them and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::agreement::{self, Expected};
use crate::bodies::{Change, Kind};
use crate::harness::{Daemon, World, read_fixture};
use crate::pdf;

const DEFAULT_KEYS: u64 = 30;
const DEFAULT_ROUNDS: u64 = 2;
/// Daemons at once on one queue.
const DAEMONS: usize = 2;
/// Short, so that what a killed daemon held comes back soon.
const VISIBILITY_SECONDS: u32 = 5;
/// A kill costs a delivery of what was held; the queue allows five.
const KILLS: usize = 3;
/// First changes of objects fall into this time.
const HISTORY: Duration = Duration::from_secs(6);
/// Replays come up to so much later than the history.
const REPLAYS: Duration = Duration::from_secs(4);
/// Between two changes of one object: none, within a second, over it.
const GAPS_MS: [u64; 4] = [0, 40, 400, 1_300];
/// Between a change and a delivery of its event.
const DELAYS_MS: [u64; 5] = [0, 30, 300, 1_500, 4_000];

#[derive(Debug)]
enum Action {
    Put { key: String, bytes: Vec<u8>, expected: Expected },
    Delete { key: String },
    Deliver { body: String },
    Kill { daemon: usize },
}

/// What is done, and when since the start.
type Timeline = Vec<(Duration, Action)>;

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"))
}

/// The seed from the environment, or a new one.
pub fn seed(name: &str) -> u64 {
    number(name, u64::from(fastrand::u32(..)))
}

#[tokio::test]
async fn whatever_happened_the_index_agrees_with_the_bucket_in_the_end() {
    let seed = seed("HISTORIES_SEED");
    for round in 0..number("HISTORIES_ROUNDS", DEFAULT_ROUNDS) {
        let seed_of_round = seed.wrapping_add(round);
        eprintln!("history: HISTORIES_SEED={seed_of_round}");
        live_through(seed_of_round, number("HISTORIES_KEYS", DEFAULT_KEYS)).await;
    }
}

async fn live_through(seed: u64, keys: u64) {
    let world = World::without_index("history", VISIBILITY_SECONDS).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let mut daemons = Vec::new();
    for _ in 0..DAEMONS {
        daemons.push(start(&world));
    }
    for daemon in &daemons {
        daemon.wait_until_ready().await;
    }
    let timeline = timeline(&mut fastrand::Rng::with_seed(seed), keys, &world.bucket);
    let expected = perform(&world, &mut daemons, timeline).await;
    world.wait_until_settled().await;

    let agreement = agreement::compare(&world, &expected).await;
    let differences: Vec<String> = agreement.differences.iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "HISTORIES_SEED={seed}:\n{}", differences.join("\n"));
    assert_eq!(agreement.right, agreement.objects);
    assert_eq!(world.dead_letters().await, [], "HISTORIES_SEED={seed}");
}

fn start(world: &World) -> Daemon {
    world.start_daemon(&[("SQS_VISIBILITY_TIMEOUT", &VISIBILITY_SECONDS.to_string())])
}

/// Does what the timeline says; what must be true of each object at its end.
async fn perform(world: &World, daemons: &mut [Daemon], timeline: Timeline) -> BTreeMap<String, Expected> {
    let started = Instant::now();
    let mut bucket = BTreeMap::new();
    for (at, action) in timeline {
        tokio::time::sleep(at.saturating_sub(started.elapsed())).await;
        match action {
            Action::Put { key, bytes, expected } => {
                world.put(&key, bytes).await;
                bucket.insert(key, expected);
            }
            Action::Delete { key } => {
                world.remove(&key).await;
                bucket.remove(&key);
            }
            Action::Deliver { body } => world.send(body).await,
            Action::Kill { daemon } => {
                daemons[daemon].signal(libc::SIGKILL);
                daemons[daemon].wait_for_exit().await;
                daemons[daemon] = start(world);
            }
        }
    }
    bucket
}

fn timeline(random: &mut fastrand::Rng, keys: u64, bucket: &str) -> Timeline {
    let mut timeline = Vec::new();
    for number in 0..keys {
        let key = key(random, number);
        history(random, &key, bucket, &mut timeline);
    }
    for _ in 0..KILLS {
        let at = within(random, HISTORY + REPLAYS);
        timeline.push((at, Action::Kill { daemon: random.usize(..DAEMONS) }));
    }
    // Stable: a change stays before what was said about it at the same moment.
    timeline.sort_by_key(|(at, _)| *at);
    timeline
}

/// Keys that producers really have: Japanese, spaces, signs that form encoding and URLs give a meaning to.
fn key(random: &mut fastrand::Rng, number: u64) -> String {
    let folder = ["documents/road/ts-server3/橋梁 点検/", "files/2026/03/01/", "", "a b/c+d/100%/"][random.usize(..4)];
    let name = ["報告書", "plan", "見積 (改)", "100%25", "a+b", "x&y=z"][random.usize(..6)];
    let extension = ["txt", "txt", "txt", "csv", "md", "png", "dwg"][random.usize(..7)];
    format!("{folder}{name}-{number}.{extension}")
}

/// One object's changes, each told at least once after it happened.
fn history(random: &mut fastrand::Rng, key: &str, bucket: &str, timeline: &mut Timeline) {
    let mut at = within(random, HISTORY);
    let mut last_put: Option<(Vec<u8>, Expected)> = None;
    for version in 0..random.u64(1..=5) {
        let change = if last_put.is_some() && random.u8(..10) < 3 { Change::Delete } else { Change::Put };
        let action = match (change, &last_put) {
            (Change::Delete, _) => Action::Delete { key: key.to_owned() },
            (Change::Put, Some((bytes, expected))) if random.u8(..10) < 2 => {
                Action::Put { key: key.to_owned(), bytes: bytes.clone(), expected: expected.clone() }
            }
            (Change::Put, _) => {
                let (bytes, expected) = content(random, key, version);
                last_put = Some((bytes.clone(), expected.clone()));
                Action::Put { key: key.to_owned(), bytes, expected }
            }
        };
        timeline.push((at, action));
        // S3's sequencers grow with each change of a key.
        let sequencer = format!("{:018X}", 0x0055_aed6_dcd9_0281_u64 + version);
        deliveries(random, change, bucket, key, &sequencer, at, timeline);
        at += Duration::from_millis(GAPS_MS[random.usize(..GAPS_MS.len())]);
    }
}

/// One event: at least once, often twice, sometimes replayed when everything is over.
fn deliveries(
    random: &mut fastrand::Rng,
    change: Change,
    bucket: &str,
    key: &str,
    sequencer: &str,
    at: Duration,
    timeline: &mut Timeline,
) {
    for _ in 0..random.u64(1..=3) {
        let delay = Duration::from_millis(DELAYS_MS[random.usize(..DELAYS_MS.len())]);
        timeline.push((at + delay, Action::Deliver { body: body(random, change, bucket, key, sequencer) }));
    }
    if random.u8(..10) < 2 {
        let replayed = at.max(HISTORY) + within(random, REPLAYS);
        timeline.push((replayed, Action::Deliver { body: body(random, change, bucket, key, sequencer) }));
    }
}

fn body(random: &mut fastrand::Rng, change: Change, bucket: &str, key: &str, sequencer: &str) -> String {
    let kind = Kind::ALL[random.usize(..Kind::ALL.len())];
    kind.body(change, bucket, key, random.bool().then_some(sequencer))
}

/// Other bytes for every version: readable text, a picture with a thumbnail, nothing at all, or never read.
fn content(random: &mut fastrand::Rng, key: &str, version: u64) -> (Vec<u8>, Expected) {
    if random.u8(..12) == 0 {
        return (Vec::new(), Expected::nothing());
    }
    let marker = format!("marker{:08x}v{version}", random.u32(..));
    if key.ends_with(".dwg") {
        return (marker.into_bytes(), Expected::metadata_only());
    }
    if key.ends_with(".png") {
        let mut bytes = read_fixture("images/1x1.png");
        bytes.extend_from_slice(marker.as_bytes());
        let expected = Expected::bytes(&bytes, &["indexed_without_text"]);
        return (bytes, expected);
    }
    let bytes = format!("橋梁点検の記録\n{marker}\n").into_bytes();
    let expected = Expected::text(&bytes, &marker);
    (bytes, expected)
}

fn within(random: &mut fastrand::Rng, time: Duration) -> Duration {
    Duration::from_millis(random.u64(..time.as_millis() as u64))
}

/// Pages read by OCR since the daemon started, of finished documents.
async fn pages_ocr(daemon: &Daemon) -> u64 {
    let (_, metrics) = daemon.get("/metrics").await.expect("metrics");
    let prefix = "file_processor_pages_total{source=\"ocr\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(prefix)).map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test]
async fn an_unchanged_object_is_not_read_again_unless_it_is_forced() {
    let world = World::new("unchanged").await;
    let mut daemon = world.daemon().await;
    world.upload("scan.pdf", pdf::scan(2)).await;
    let first = world.wait_for_document("scan.pdf").await;
    world.wait_until_settled().await;
    assert_eq!(pages_ocr(&daemon).await, 2);

    for kind in Kind::ALL {
        world.send(kind.body(Change::Put, &world.bucket, "scan.pdf", Some("0055AED6DCD90281"))).await;
    }
    world.wait_until_settled().await;
    assert_eq!(pages_ocr(&daemon).await, 2, "replays read nothing");
    assert_eq!(world.document("scan.pdf").await, Some(first.clone()), "and write nothing");

    daemon.signal(libc::SIGTERM);
    daemon.wait_for_exit().await;
    let forced = world.daemon_with(&[("SKIP_UNCHANGED", "false")]).await;
    world.send(Kind::Direct.body(Change::Put, &world.bucket, "scan.pdf", None)).await;
    world.wait_until_settled().await;
    assert_eq!(pages_ocr(&forced).await, 2, "read again");
    let again = world.document("scan.pdf").await.expect("the document");
    assert_ne!(again["processed_at"], first["processed_at"]);
    assert_eq!(again["extracted_text"], first["extracted_text"]);
}

#[tokio::test]
async fn an_object_that_several_messages_name_at_once_is_read_once() {
    let world = World::new("named-at-once").await;
    world.put("scan.pdf", pdf::scan(3)).await;
    for kind in Kind::ALL {
        world.send(kind.body(Change::Put, &world.bucket, "scan.pdf", None)).await;
    }
    let daemon = world.daemon().await;
    world.wait_until_settled().await;
    assert!(world.document("scan.pdf").await.is_some());
    assert_eq!(pages_ocr(&daemon).await, 3, "the messages lay side by side in the queue");
}

#[tokio::test]
async fn a_deleted_object_whose_key_reads_like_another_ones_is_forgotten_too() {
    let world = World::new("twin-keys").await;
    let _daemon = world.daemon().await;
    world.upload("a b.txt", "with a space").await;
    world.upload("a+b.txt", "with a plus").await;
    world.wait_for_document("a b.txt").await;
    world.wait_for_document("a+b.txt").await;
    world.remove("a+b.txt").await;
    world.send(Kind::Scanner.body(Change::Delete, &world.bucket, "a+b.txt", None)).await;
    world.wait_until_settled().await;
    assert!(world.document("a b.txt").await.is_some(), "the other object is still there");
    assert!(world.document("a+b.txt").await.is_none(), "its document must go with it");
}
