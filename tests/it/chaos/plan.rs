//! What is done to the bucket and said in the queue, when, and what must be there in the end. All from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::content::Class;
use crate::agreement::Expected;
use crate::bodies::{Change, Kind};
use crate::harness::World;

/// Of a thousand messages, so many are none, and so many are about a bucket that does not exist.
const GARBAGE_PER_THOUSAND: usize = 10;
const NO_BUCKET_PER_THOUSAND: usize = 5;
/// Of a thousand messages, so many ask for nothing: test events, folder markers, previews, other event names.
const IRRELEVANT_PER_THOUSAND: usize = 20;
/// Kinds of event that name their bucket, so that it can be a missing one.
const KINDS_WITH_BUCKET: [Kind; 4] = [Kind::Notification, Kind::EventBridge, Kind::Transformed, Kind::Scanner];

enum Step {
    Put { key: String, bytes: Vec<u8> },
    Delete { key: String },
    Send { body: String },
}

/// The whole plan of a run.
pub struct Plan {
    steps: Vec<(Duration, Step)>,
    /// What must stand in the index about every object that is in the bucket in the end.
    pub expected: BTreeMap<String, Expected>,
    /// Bodies that must end in the dead-letter queue, with the reason.
    pub dead_letters: BTreeMap<String, &'static str>,
    pub messages: usize,
}

/// How large a plan is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub messages: usize,
    pub objects: usize,
    /// Time over which messages are sent.
    pub spread: Duration,
}

impl Plan {
    pub fn new(seed: u64, size: Size, bucket: &str) -> Self {
        let mut plan =
            Self { steps: Vec::new(), expected: BTreeMap::new(), dead_letters: BTreeMap::new(), messages: 0 };
        let mut random = fastrand::Rng::with_seed(seed);
        for number in 0..size.objects {
            plan.add_object(&mut random, number, size.spread, bucket);
        }
        plan.add_garbage(&mut random, size, bucket);
        plan.add_irrelevant(&mut random, size, bucket);
        plan.add_replays(&mut random, size);
        // Stable: a change stays before what is said about it at the same moment.
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    fn send(&mut self, at: Duration, body: String) {
        self.messages += 1;
        self.steps.push((at, Step::Send { body }));
    }

    /// An object's versions, each told once; duplicates come with the replays.
    fn add_object(&mut self, random: &mut fastrand::Rng, number: usize, spread: Duration, bucket: &str) {
        let class = Class::FIRST.get(number).copied().unwrap_or_else(|| Class::drawn(random));
        let key = key(random, class, number);
        let changes = changes(random, class);
        let mut times: Vec<Duration> = changes.iter().map(|_| within(random, spread)).collect();
        if times.len() > 1 && random.u8(..3) == 0 {
            // Within one second: the states differ by nothing but their content.
            let first = times[0];
            times.iter_mut().for_each(|time| *time = first + within(random, Duration::from_millis(300)));
        }
        times.sort();
        for (version, (at, change)) in times.into_iter().zip(changes).enumerate() {
            match change {
                Change::Put => {
                    let (bytes, expected) = class.content(random);
                    self.expected.insert(key.clone(), expected);
                    self.steps.push((at, Step::Put { key: key.clone(), bytes }));
                }
                Change::Delete => {
                    self.expected.remove(&key);
                    self.steps.push((at, Step::Delete { key: key.clone() }));
                }
            }
            let sequencer = format!("{:018X}", 0x0055_aed6_dcd9_0281_u64 + version as u64);
            let kind = Kind::ALL[random.usize(..Kind::ALL.len())];
            let body = kind.body(change, bucket, &key, random.bool().then_some(sequencer.as_str()));
            let delay = Duration::from_millis([0, 5, 200, 2_000][random.usize(..4)]);
            self.send(at + delay, body);
        }
    }

    /// What must end in the dead-letter queue. Every body is there once, so that it can be counted.
    fn add_garbage(&mut self, random: &mut fastrand::Rng, size: Size, bucket: &str) {
        for number in 0..(size.messages * GARBAGE_PER_THOUSAND / 1000).max(1) {
            let body = garbage(random, number, bucket);
            self.dead_letters.insert(body.clone(), "malformed_message");
            self.send(within(random, size.spread), body);
        }
        for number in 0..(size.messages * NO_BUCKET_PER_THOUSAND / 1000).max(1) {
            let kind = KINDS_WITH_BUCKET[random.usize(..KINDS_WITH_BUCKET.len())];
            let body = kind.body(Change::Put, "a-bucket-that-is-not-there", &format!("nowhere/{number}.txt"), None);
            self.dead_letters.insert(body.clone(), "no_such_bucket");
            self.send(within(random, size.spread), body);
        }
    }

    fn add_irrelevant(&mut self, random: &mut fastrand::Rng, size: Size, bucket: &str) {
        for number in 0..(size.messages * IRRELEVANT_PER_THOUSAND / 1000).max(5) {
            let body = match number % 5 {
                0 => json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket }).to_string(),
                1 => Kind::Notification.body(Change::Put, bucket, &format!("files/folder {number}/"), None),
                2 => Kind::Direct.body(Change::Put, bucket, &format!("thumbnails/{number}.jpg"), None),
                3 => json!({ "eventType": "FILE_LOOKED_AT", "s3Key": format!("{number}.txt") }).to_string(),
                _ => Kind::EventBridge.body(Change::Put, bucket, &format!("never/there-{number}.txt"), None),
            };
            self.send(within(random, size.spread), body);
        }
    }

    /// Fills up with second and third deliveries of what was said before, soon after or much later.
    fn add_replays(&mut self, random: &mut fastrand::Rng, size: Size) {
        let said: Vec<(Duration, String)> = self
            .steps
            .iter()
            .filter_map(|(at, step)| match step {
                Step::Send { body } if !self.dead_letters.contains_key(body) => Some((*at, body.clone())),
                _ => None,
            })
            .collect();
        while self.messages < size.messages {
            let (at, body) = said[random.usize(..said.len())].clone();
            let later = if random.bool() { Duration::from_secs(3) } else { size.spread.saturating_sub(at) };
            self.send(at + within(random, later.max(Duration::from_millis(1))), body);
        }
    }

    /// Carries the plan out. Talks to the servers without the faults in between. `sent` counts messages.
    pub async fn perform(steps: Steps, world: Arc<World>, sent: Arc<AtomicUsize>) {
        let started = Instant::now();
        for (at, step) in steps.0 {
            tokio::time::sleep(at.saturating_sub(started.elapsed())).await;
            match step {
                Step::Put { key, bytes } => world.put(&key, bytes).await,
                Step::Delete { key } => world.remove(&key).await,
                Step::Send { body } => {
                    world.send(body).await;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// The steps, to be performed elsewhere.
    pub fn take_steps(&mut self) -> Steps {
        Steps(std::mem::take(&mut self.steps))
    }
}

/// See [`Plan::take_steps`].
pub struct Steps(Vec<(Duration, Step)>);

fn key(random: &mut fastrand::Rng, class: Class, number: usize) -> String {
    let folder = ["documents/road/ts-server3/橋梁 点検/", "documents/structure/ts-server6/設計/", "files/2026/03/01/"]
        [random.usize(..3)];
    let name = ["報告書", "plan", "見積 (改)", "100%25", "a+b", "x&y=z"][random.usize(..6)];
    format!("{folder}{name}-{number}.{}", class.extension(random))
}

/// Most objects are put once; some are overwritten, deleted, put again. Reading a scan twice would not be waste, so
/// scans mostly stay as they are: the count of pages read should show waste only.
fn changes(random: &mut fastrand::Rng, class: Class) -> Vec<Change> {
    let is_scan = matches!(class, Class::Scan | Class::Poison);
    match random.u8(..100) {
        _ if is_scan => vec![Change::Put],
        0..60 => vec![Change::Put],
        60..78 => vec![Change::Put, Change::Put],
        78..86 => vec![Change::Put, Change::Put, Change::Put],
        86..94 => vec![Change::Put, Change::Delete],
        94..97 => vec![Change::Put, Change::Delete, Change::Put],
        _ => vec![Change::Put, Change::Put, Change::Delete],
    }
}

/// A body that nobody can understand.
fn garbage(random: &mut fastrand::Rng, number: usize, bucket: &str) -> String {
    match random.u8(..5) {
        0 => format!("not JSON at all {number}"),
        1 => json!({ "hello": "world", "number": number }).to_string(),
        2 => json!([number]).to_string(),
        3 => json!({ "Records": [{ "eventName": "ObjectCreated:Put", "number": number }] }).to_string(),
        _ => json!({ "eventType": "FILE_UPLOADED", "s3Bucket": bucket, "number": number }).to_string(),
    }
}

fn within(random: &mut fastrand::Rng, time: Duration) -> Duration {
    Duration::from_millis(random.u64(..time.as_millis() as u64))
}
