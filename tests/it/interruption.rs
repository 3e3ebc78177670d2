//! The end of an instance, announced: by the metadata service, by Auto Scaling, by signals. Whatever comes, nothing is
//! lost, nothing half-done is written, messages are visible again at once, and the exit code is 0.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Daemon, World, repository};
use crate::pdf;

const INSTANCE: &str = "i-0123456789abcdef0";
const GROUP: &str = "ingest-asg";
const HOOK: &str = "drain";
/// More pages than any drain here leaves time for.
const LONG_SCAN: usize = 300;

/// One instance's metadata service and Auto Scaling (`scripts/testbed/imds_stub.py`), this test's own.
struct Instance {
    process: Child,
    url: String,
}

impl Instance {
    fn start() -> Self {
        let mut process = Command::new("python3")
            .arg(repository().join("scripts/testbed/imds_stub.py"))
            .arg("0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the stub");
        let mut url = String::new();
        let stdout = process.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut url).expect("the stub says its URL");
        Self { process, url: url.trim().to_owned() }
    }

    /// Merges into the stub's state; see the top of imds_stub.py.
    async fn set(&self, state: Value) {
        let client = reqwest::Client::new();
        let answer = client.post(format!("{}/_control", self.url)).json(&state).send().await.expect("control");
        assert!(answer.status().is_success());
    }

    async fn control(&self) -> Value {
        reqwest::get(format!("{}/_control", self.url)).await.expect("control").json().await.expect("JSON")
    }

    async fn requests(&self, path: &str) -> u64 {
        self.control().await["requests"][path].as_u64().unwrap_or(0)
    }

    /// The recorded Auto Scaling calls.
    async fn calls(&self) -> Vec<Value> {
        self.control().await["calls"].as_array().expect("calls").clone()
    }

    async fn give_spot_notice(&self, seconds: i64) {
        let at = Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).expect("a time");
        self.set(json!({"spot/instance-action": {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}}))
            .await;
    }

    async fn terminate(&self) {
        self.set(json!({"autoscaling/target-lifecycle-state": "Terminated"})).await;
    }

    /// What makes a daemon live on this instance, and what else its test wants.
    fn variables<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut variables = vec![
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.url.as_str()),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", self.url.as_str()),
            ("SQS_VISIBILITY_TIMEOUT", "600"),
        ];
        variables.extend(more);
        variables
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A world whose messages stay away for ten minutes unless somebody releases them.
async fn world(name: &str) -> World {
    let world = World::without_index(name, 600).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    world
}

/// Uploads a long scan and waits until a child reads it.
async fn upload_scan(world: &World, daemon: &Daemon, pages: usize) {
    world.upload("scan.pdf", pdf::scan(pages)).await;
    world
        .wait_for("a busy child", async || {
            let (_, status) = daemon.get("/status").await?;
            let status: Value = serde_json::from_str(&status).ok()?;
            (status["children"]["busy"].as_u64() > Some(0)).then_some(())
        })
        .await;
}

async fn wait_for_log(world: &World, daemon: &Daemon, text: &str) {
    world.wait_for(text, async || daemon.log_text().contains(text).then_some(())).await;
}

/// The scan was let go of: its message is visible again although ten minutes have not passed, nothing was written.
async fn assert_released(world: &World) {
    let exited = Instant::now();
    world.wait_for("a visible message", async || (world.queue_counts().await == (1, 0)).then_some(())).await;
    eprintln!("{}: the message was visible {:?} after the exit", world.name, exited.elapsed());
    assert!(world.document("scan.pdf").await.is_none(), "no empty and no half document");
    assert_eq!(world.dead_letter_count().await, 0);
}

fn assert_completed(calls: &[Value]) {
    let expected = json!({
        "Action": "CompleteLifecycleAction",
        "Version": "2011-01-01",
        "InstanceId": INSTANCE,
        "AutoScalingGroupName": GROUP,
        "LifecycleHookName": HOOK,
        "LifecycleActionResult": "CONTINUE",
        "Status": 200,
    });
    assert_eq!(calls.last(), Some(&expected), "{calls:#?}");
    assert_eq!(calls.iter().filter(|call| call["Action"] == "CompleteLifecycleAction").count(), 1, "{calls:#?}");
}

#[tokio::test]
async fn a_spot_notice_in_the_middle_of_ocr_releases_the_message_and_systemd_is_told_why() {
    let (world, instance) = (world("spot").await, Instance::start());
    let socket_path = world.temp.path().join("notify.socket");
    let socket = notify_socket(&socket_path);
    let notify = ("NOTIFY_SOCKET", socket_path.to_str().expect("UTF-8"));
    let mut daemon = world.daemon_with(&instance.variables(&[notify])).await;
    upload_scan(&world, &daemon, LONG_SCAN).await;
    instance.give_spot_notice(20).await;
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert_released(&world).await;
    assert!(daemon.log_text().contains("spot interruption"), "{}", daemon.log_text());
    let said = heard(&socket);
    assert!(said.contains("(spot interruption)") && said.contains("STOPPING=1"), "{said}");
    assert_eq!(instance.calls().await, Vec::<Value>::new(), "no lifecycle action waits");
}

fn notify_socket(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("bind");
    socket.set_nonblocking(true).expect("nonblocking");
    socket
}

fn heard(socket: &UnixDatagram) -> String {
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while let Ok(count) = socket.recv(&mut buffer) {
        said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        said.push('\n');
    }
    said
}

#[tokio::test]
async fn a_rebalance_recommendation_drains_an_idle_daemon() {
    let (world, instance) = (world("rebalance").await, Instance::start());
    let socket_path = world.temp.path().join("notify.socket");
    let socket = notify_socket(&socket_path);
    let notify = ("NOTIFY_SOCKET", socket_path.to_str().expect("UTF-8"));
    let mut daemon = world.daemon_with(&instance.variables(&[notify])).await;
    instance.set(json!({"events/recommendations/rebalance": {"noticeTime": "2026-11-22T08:22:00Z"}})).await;
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert!(daemon.log_text().contains("spot rebalance recommendation"), "{}", daemon.log_text());
    let said = heard(&socket);
    assert!(said.contains("(spot rebalance recommendation)") && said.contains("STOPPING=1"), "{said}");
}

#[tokio::test]
async fn auto_scaling_is_kept_waiting_until_what_fits_is_finished() {
    let (world, instance) = (world("lifecycle").await, Instance::start());
    instance.set(json!({"tags/instance/aws:autoscaling:groupName": GROUP})).await;
    let mut daemon = world.daemon_with(&instance.variables(&[("LIFECYCLE_HOOK_NAME", HOOK)])).await;
    upload_scan(&world, &daemon, 60).await;
    instance.terminate().await;
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    let document = world.document("scan.pdf").await.expect("finished before the exit");
    assert_eq!(document["pages_ocr"], 60);
    assert_eq!(world.queue_counts().await, (0, 0));
    let calls = instance.calls().await;
    assert_completed(&calls);
    assert_eq!(calls[0]["Action"], "RecordLifecycleActionHeartbeat");
    assert!(daemon.log_text().contains("termination by Auto Scaling"), "{}", daemon.log_text());
}

#[tokio::test]
async fn heartbeats_are_recorded_while_the_drain_goes_on_and_sigterm_shortens_it() {
    let (world, instance) = (world("heartbeat").await, Instance::start());
    let more = [
        ("LIFECYCLE_HOOK_NAME", HOOK),
        ("AUTO_SCALING_GROUP_NAME", GROUP),
        ("LIFECYCLE_DRAIN_TIMEOUT", "3600"),
        ("DRAIN_TIMEOUT", "1"),
    ];
    let mut daemon = world.daemon_with(&instance.variables(&more)).await;
    upload_scan(&world, &daemon, LONG_SCAN).await;
    instance.terminate().await;
    world.wait_for("a second heartbeat", async || (instance.calls().await.len() >= 2).then_some(())).await;
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert_released(&world).await;
    let calls = instance.calls().await;
    assert_completed(&calls);
    let heartbeats = &calls[..calls.len() - 1];
    assert!(heartbeats.len() >= 2, "{calls:#?}");
    for heartbeat in heartbeats {
        assert_eq!(heartbeat["Action"], "RecordLifecycleActionHeartbeat");
        assert_eq!(heartbeat["Status"], 200, "{heartbeat}");
    }
    assert!(daemon.log_text().contains("drain shortened"), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_daemon_that_is_terminated_before_it_is_ready_completes_the_action_too() {
    let (world, instance) = (World::without_index("terminated-early", 600).await, Instance::start());
    let names = [("LIFECYCLE_HOOK_NAME", HOOK), ("AUTO_SCALING_GROUP_NAME", GROUP)];
    let mut daemon = world.start_daemon(&instance.variables(&names));
    world.wait_for("a first look", async || (instance.requests("spot/instance-action").await > 0).then_some(())).await;
    instance.terminate().await;
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert_completed(&instance.calls().await);
}

#[tokio::test]
async fn an_action_that_cannot_be_named_or_is_refused_is_a_warning_and_no_failure() {
    let world = world("no-hook").await;
    for (names, why) in [
        (vec![], "LIFECYCLE_HOOK_NAME is not set"),
        (vec![("LIFECYCLE_HOOK_NAME", HOOK)], "AUTO_SCALING_GROUP_NAME is not set"),
        (vec![("LIFECYCLE_HOOK_NAME", "another"), ("AUTO_SCALING_GROUP_NAME", GROUP)], "No active Lifecycle Action"),
    ] {
        let instance = Instance::start();
        instance.terminate().await;
        let mut daemon = world.start_daemon(&instance.variables(&names));
        assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
        let log = daemon.log_text();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("lifecycle action not completed")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(why) && !log.contains("ERROR"), "{log}");
    }
}

#[tokio::test]
async fn a_second_sigterm_ends_at_once_and_releases_everything() {
    let world = world("sigterm-twice").await;
    let variables = [("DRAIN_TIMEOUT", "3600"), ("SQS_VISIBILITY_TIMEOUT", "600")];
    let mut daemon = world.daemon_with(&variables).await;
    upload_scan(&world, &daemon, LONG_SCAN).await;
    daemon.signal(libc::SIGTERM);
    wait_for_log(&world, &daemon, "draining").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(daemon.process.try_wait().expect("wait").is_none(), "the scan fits: one SIGTERM lets it finish");
    let asked = Instant::now();
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    eprintln!("a second SIGTERM ended the daemon after {:?}", asked.elapsed());
    assert_released(&world).await;
}

#[tokio::test]
async fn a_job_that_does_not_fit_is_let_go_of_at_once() {
    let world = world("does-not-fit").await;
    let mut daemon = world.daemon_with(&[("DRAIN_TIMEOUT", "30"), ("SQS_VISIBILITY_TIMEOUT", "600")]).await;
    upload_scan(&world, &daemon, 1000).await;
    let asked = Instant::now();
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    eprintln!("a daemon in the middle of OCR drained in {:?}", asked.elapsed());
    assert_released(&world).await;
    assert!(daemon.log_text().contains("deadline_reached=false"), "{}", daemon.log_text());
}

#[tokio::test]
async fn without_a_metadata_service_the_daemon_works_and_says_so_once() {
    let world = world("no-metadata").await;
    let nobody = "http://127.0.0.1:1";
    let absent = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody)];
    let mut daemon = world.daemon_with(&absent).await;
    world.upload("a.txt", "text").await;
    world.wait_for_document("a.txt").await;
    wait_for_log(&world, &daemon, "no instance metadata service").await;
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0));
    assert!(!daemon.log_text().contains("WARN"), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_token_that_is_no_longer_accepted_is_replaced() {
    let (world, instance) = (world("token").await, Instance::start());
    let mut daemon = world.daemon_with(&instance.variables(&[])).await;
    world.wait_for("a first look", async || (instance.requests("spot/instance-action").await > 0).then_some(())).await;
    assert_eq!(instance.requests("token").await, 1, "one token serves all looks");
    instance.set(json!({"$expire_tokens": true, "events/recommendations/rebalance": {}})).await;
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert!(!daemon.log_text().contains("WARN"), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_metadata_service_in_trouble_is_asked_on_and_its_notice_is_heard_afterwards() {
    let (world, instance) = (world("metadata-trouble").await, Instance::start());
    let mut daemon = world.daemon_with(&instance.variables(&[])).await;
    wait_for_log(&world, &daemon, "instance metadata service answers").await;
    instance.set(json!({"$fail_metadata": 500, "$forget": true, "$expire_tokens": true})).await;
    world.upload("a.txt", "text").await;
    world.wait_for_document("a.txt").await;
    world.wait_for("three looks", async || (instance.requests("spot/instance-action").await >= 3).then_some(())).await;
    let complaints = daemon.log_text().matches("instance metadata service does not answer").count();
    assert_eq!(complaints, 1, "{}", daemon.log_text());
    instance.set(json!({"$fail_metadata": null})).await;
    instance.give_spot_notice(60).await;
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert!(daemon.log_text().contains("spot interruption"), "{}", daemon.log_text());
}

#[tokio::test]
async fn local_never_asks_for_notices() {
    let instance = Instance::start();
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("a.txt"), "text").expect("write");
    let output = local(folder.path(), &instance.url);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(instance.control().await["requests"], json!({}));
}

fn local(folder: &Path, metadata: &str) -> std::process::Output {
    Command::new(crate::harness::binary())
        .args(["local".as_ref(), folder.as_os_str()])
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata)
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .env("XDG_STATE_HOME", folder.join("state"))
        .output()
        .expect("run")
}
