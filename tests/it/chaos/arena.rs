//! Where it happens: servers behind a relay and a fault proxy each, and daemons that share one queue.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::relay::Relay;
use super::toxiproxy::Proxy;
use crate::harness::{Daemon, World, repository, testbed, toxiproxy};

/// Short, so that what a killed or stopped daemon held comes back soon.
pub const VISIBILITY: Duration = Duration::from_secs(10);
/// What does not finish in it goes back to the queue.
const DRAIN_SECONDS: &str = "4";
/// A page that hangs is killed after it. A page of these scans takes a second or two here.
const OCR_TIMEOUT_SECONDS: &str = "15";
const PROCESSING_TIMEOUT_SECONDS: &str = "30";
/// The first daemon's spool, where a file system of its own can be mounted.
const SMALL_DISK: &str = "size=16m,mode=700";
/// A stopped daemon does not answer; nobody waits for it.
const STATUS_PATIENCE: Duration = Duration::from_millis(300);

/// The way from the daemons to one server.
pub struct Line {
    pub relay: Relay,
    pub proxy: Proxy,
}

impl Line {
    async fn to(target: &str, name: &str, seed: u64) -> Self {
        let proxy = Proxy::create(toxiproxy(), name, target).await;
        let relay = Relay::to(&proxy.address, seed).await;
        Self { relay, proxy }
    }

    pub async fn heal(&self) {
        self.relay.leave_alone();
        self.proxy.heal().await;
    }
}

/// One life of a daemon, from start to end.
pub struct Life {
    pub log: PathBuf,
    /// Pages read by OCR, as last seen: what was read in the second before a kill is missed.
    pub pages_ocr: u64,
}

/// A daemon that is started again whenever it ends.
pub struct Slot {
    pub daemon: Daemon,
    pub lives: Vec<Life>,
    temp_dir: PathBuf,
    /// Its instance's metadata service, where there is a stub of it.
    pub metadata: Option<MetadataStub>,
    /// An end that was asked for: a kill, a signal, a notice.
    pub may_end: bool,
}

impl Slot {
    /// Sends the signal to the daemon's children.
    pub fn signal_children(&self, signal: i32) {
        for pid in self.daemon.children() {
            // SAFETY: a worker of our own daemon.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Its numbers, unless it is stopped, starting or gone.
    pub async fn status(&self) -> Option<Value> {
        let (_, text) = tokio::time::timeout(STATUS_PATIENCE, self.daemon.get("/status")).await.ok()??;
        serde_json::from_str(&text).ok()
    }
}

/// Servers, faults and daemons of one run.
pub struct Arena {
    pub world: Arc<World>,
    pub sqs: Line,
    pub s3: Line,
    pub index: Line,
    pub slots: Vec<Slot>,
    /// The first daemon's spool on a disk of its own; `None` where nothing may be mounted.
    pub small_disk: Option<SmallDisk>,
}

impl Arena {
    pub async fn new(name: &str, daemons: usize, seed: u64) -> Self {
        let world = Arc::new(World::without_index(name, VISIBILITY.as_secs() as u32).await);
        assert!(world.command().arg("--create-index").status().expect("run").success());
        let servers = testbed();
        let sqs = Line::to(&servers.sqs, &format!("{}-sqs", world.name), seed).await;
        let s3 = Line::to(&servers.s3, &format!("{}-s3", world.name), seed ^ 1).await;
        let index = Line::to(&servers.opensearch, &format!("{}-index", world.name), seed ^ 2).await;
        let mut arena = Self { world, sqs, s3, index, slots: Vec::new(), small_disk: None };
        for number in 0..daemons {
            let temp_dir = arena.world.temp.path().join(format!("spool-of-{number}"));
            std::fs::create_dir(&temp_dir).expect("create a folder");
            if number == 0 {
                arena.small_disk = SmallDisk::mount(&temp_dir);
            }
            let metadata = MetadataStub::start();
            let daemon = arena.start(&temp_dir, metadata.as_ref());
            let lives = vec![Life { log: daemon.log.clone(), pages_ocr: 0 }];
            arena.slots.push(Slot { daemon, lives, temp_dir, metadata, may_end: false });
        }
        for slot in &arena.slots {
            slot.daemon.wait_until_ready().await;
        }
        arena
    }

    fn start(&self, temp_dir: &Path, metadata: Option<&MetadataStub>) -> Daemon {
        let visibility = VISIBILITY.as_secs().to_string();
        let mut variables = vec![
            ("AWS_ENDPOINT_URL_SQS", self.sqs.relay.address.as_str()),
            ("AWS_ENDPOINT_URL_S3", &self.s3.relay.address),
            ("OPENSEARCH_ENDPOINT", &self.index.relay.address),
            ("SQS_VISIBILITY_TIMEOUT", &visibility),
            ("DRAIN_TIMEOUT", DRAIN_SECONDS),
            ("OCR_TIMEOUT", OCR_TIMEOUT_SECONDS),
            ("PROCESSING_TIMEOUT", PROCESSING_TIMEOUT_SECONDS),
            ("TEMP_DIR", temp_dir.to_str().expect("UTF-8")),
            ("OMP_THREAD_LIMIT", "1"),
        ];
        if let Some(stub) = metadata {
            variables.push(("AWS_EC2_METADATA_DISABLED", "false"));
            variables.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", &stub.address));
        }
        self.world.start_daemon(&variables)
    }

    /// How the daemon ended, if it did.
    pub fn ended(&mut self, number: usize) -> Option<ExitStatus> {
        self.slots[number].daemon.process.try_wait().expect("wait")
    }

    /// A new life for a daemon that has ended.
    pub fn restart(&mut self, number: usize) {
        let slot = &self.slots[number];
        let daemon = self.start(&slot.temp_dir, slot.metadata.as_ref());
        let slot = &mut self.slots[number];
        slot.lives.push(Life { log: daemon.log.clone(), pages_ocr: 0 });
        slot.daemon = daemon;
        slot.may_end = false;
    }

    /// Notes how many pages each daemon has read so far.
    pub async fn look_at_daemons(&mut self) {
        for slot in &mut self.slots {
            let Some(status) = slot.status().await else { continue };
            let pages = status["children"]["pages_ocr"].as_u64().unwrap_or(0);
            if let Some(life) = slot.lives.last_mut() {
                life.pages_ocr = life.pages_ocr.max(pages);
            }
        }
    }

    /// Whether no daemon works on anything: one that lost its lease may, although the queue is empty.
    pub async fn is_idle(&self) -> bool {
        for slot in &self.slots {
            let jobs = slot.status().await.and_then(|status| status["jobs_in_flight"].as_u64());
            if jobs != Some(0) {
                return false;
            }
        }
        true
    }

    /// Pages read by OCR in all lives of all daemons.
    pub fn pages_ocr(&self) -> u64 {
        self.slots.iter().flat_map(|slot| &slot.lives).map(|life| life.pages_ocr).sum()
    }

    /// Ends the daemons, then what they stand on.
    pub fn tear_down(&mut self) {
        for slot in &mut self.slots {
            let _ = slot.daemon.process.kill();
            let _ = slot.daemon.process.wait();
        }
        self.small_disk = None;
    }
}

/// How a process ended, in words.
pub fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

/// A small file system of its own; unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SMALL_DISK, "file-processor-chaos"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self { folder: folder.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Writes until nothing fits any more.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.filler()).expect("create the filler");
        let block = vec![0; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..512]).is_ok() {}
    }

    pub fn empty(&self) {
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

/// A stub of the instance metadata service, one for each daemon.
pub struct MetadataStub {
    process: Child,
    address: String,
}

impl MetadataStub {
    /// `None` where the testbed has no stub.
    fn start() -> Option<Self> {
        let script = repository().join("scripts/testbed/imds_stub.py");
        if !script.exists() {
            return None;
        }
        let mut process = Command::new("python3")
            .arg(script)
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the stub");
        let mut address = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("the stub's address");
        Some(Self { process, address: address.trim().to_owned() })
    }

    /// The notice that the instance is taken away in two minutes.
    pub async fn announce_interruption(&self) {
        self.control(json!({ "spot/instance-action": { "action": "terminate", "time": two_minutes_from_now() } }))
            .await;
    }

    pub async fn withdraw(&self) {
        self.control(json!({ "spot/instance-action": null })).await;
    }

    async fn control(&self, state: Value) {
        let url = format!("{}/_control", self.address);
        let answer = reqwest::Client::new().post(&url).json(&state).send().await.expect("the stub answers");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
    }
}

impl Drop for MetadataStub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn two_minutes_from_now() -> String {
    let moment = jiff::Timestamp::now() + Duration::from_secs(120);
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Time since the start of a run, for its history.
pub fn stamp(started: Instant) -> String {
    format!("{:7.1} s", started.elapsed().as_secs_f64())
}
