//! `doctor`: what it finds on a world that is whole, and on one with each thing broken.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::chaos::toxiproxy::Proxy;
use crate::harness::{World, binary, testbed, toxiproxy};

/// What a `Gatekeeper` does to requests whose method, path or target contains `pattern`.
#[derive(Clone, Debug)]
struct Refusal {
    pattern: &'static str,
    status: u16,
    body: String,
}

/// A server's porter: hands requests on, refuses some, and may tell another time of day.
#[derive(Clone)]
struct Gatekeeper {
    target: String,
    refusals: Vec<Refusal>,
    date: Option<&'static str>,
    http: reqwest::Client,
}

impl Gatekeeper {
    fn before(target: &str) -> Self {
        Self { target: target.to_owned(), refusals: Vec::new(), date: None, http: reqwest::Client::new() }
    }

    fn refusing(mut self, pattern: &'static str, status: u16, body: impl ToString) -> Self {
        self.refusals.push(Refusal { pattern, status, body: body.to_string() });
        self
    }

    fn at(mut self, date: &'static str) -> Self {
        self.date = Some(date);
        self
    }

    /// Its address. Lives as long as the test's process, on a thread of its own: tests wait for the binary blocking.
    fn open(self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the porter stands");
        listener.set_nonblocking(true).expect("the porter stands");
        let address = format!("http://{}", listener.local_addr().expect("the porter stands"));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the porter stands");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the porter stands");
                axum::serve(listener, Router::new().fallback(pass).with_state(self)).await.expect("the porter stands");
            });
        });
        address
    }
}

async fn pass(
    State(porter): State<Gatekeeper>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let target = headers.get("x-amz-target").map_or("", |value| value.to_str().unwrap_or_default());
    let request = format!("{method} {uri} {target}");
    let mut answer_headers = HeaderMap::new();
    if let Some(date) = porter.date {
        answer_headers.insert("date", HeaderValue::from_static(date));
    }
    if let Some(refusal) = porter.refusals.iter().find(|refusal| request.contains(refusal.pattern)) {
        return (
            StatusCode::from_u16(refusal.status).expect("the porter stands"),
            answer_headers,
            Bytes::from(refusal.body.clone()),
        );
    }
    let answer =
        porter.http.request(method, format!("{}{uri}", porter.target)).headers(headers).body(body).send().await;
    let answer = answer.expect("the server answers");
    let status = answer.status();
    if let Some(kind) = answer.headers().get("content-type") {
        answer_headers.insert("content-type", kind.clone());
    }
    (status, answer_headers, answer.bytes().await.expect("a body"))
}

fn sqs_error(code: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "no identity-based policy allows it" })
}

fn s3_error(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Access Denied</Message></Error>")
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("run the binary")
}

/// The report of `doctor --json` with these variables over the world's own.
fn examine(world: &World, variables: &[(&str, &str)]) -> Report {
    let output = run(world.command().args(["doctor", "--json", "--timeout", "3"]).envs(variables.iter().copied()));
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    Report { json, exit_code: output.status.code() }
}

struct Report {
    json: Value,
    exit_code: Option<i32>,
}

impl Report {
    fn check(&self, name: &str) -> &Value {
        let checks = self.json["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {:#}", self.json))
    }

    fn found(&self, name: &str) -> &str {
        self.check(name)["found"].as_str().expect("text")
    }

    /// Asserts how checks ended.
    fn expect(&self, verdict: &str, names: &[&str]) -> &Self {
        for name in names {
            assert_eq!(self.check(name)["verdict"], verdict, "{name}: {:#}", self.json);
        }
        self
    }

    /// Asserts that a check failed, what it found, and what it advises.
    fn expect_failure(&self, name: &str, found: &str, action: &str) -> &Self {
        self.expect("FAIL", &[name]);
        assert!(self.found(name).contains(found), "{found}: {:#}", self.check(name));
        let advised = self.check(name)["action"].as_str().expect("an action");
        assert!(advised.contains(action), "{action}: {advised}");
        assert_eq!((self.exit_code, &self.json["ok"]), (Some(1), &Value::Bool(false)));
        let actions = self.json["recommended_actions"].as_array().expect("actions");
        assert!(actions.iter().any(|listed| listed["action"] == advised), "{actions:?}");
        self
    }
}

const SQS: [&str; 7] = [
    "queue",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueUrl",
    "sqs:SendMessage",
    "sqs:SendMessage (DLQ)",
];
const S3: [&str; 6] = [
    "bucket",
    "s3:GetObject",
    "thumbnail bucket",
    "s3:GetObject (thumbnails)",
    "s3:PutObject (thumbnails)",
    "s3:DeleteObject (thumbnails)",
];
const INDEX: [&str; 3] = ["index", "es:ESHttpPost (search)", "es:ESHttpPut (smoke-test index)"];
const MACHINE: [&str; 4] = ["disk", "models", "pdfium", "sandbox"];

#[tokio::test]
async fn a_world_that_is_whole_passes_and_nothing_is_left_in_it() {
    let world = World::new("doctor").await;
    world.send("{}").await;
    let report = examine(&world, &[]);
    report
        .expect("OK", &["queue endpoint", "bucket endpoint", "index endpoint", "credentials", "clock", "configuration"])
        .expect("OK", &SQS)
        .expect("OK", &S3)
        .expect("OK", &INDEX)
        .expect("OK", &MACHINE[..3])
        .expect("OK", &["dead-letter queue"]);
    assert_eq!((report.exit_code, &report.json["ok"]), (Some(0), &Value::Bool(true)), "{:#}", report.json);

    assert_eq!(world.queue_counts().await, (1, 0), "no message was added or is in flight");
    let received = world
        .sqs
        .receive_message()
        .queue_url(&world.queue_url)
        .message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::ApproximateReceiveCount);
    let message = received.send().await.unwrap().messages.unwrap().remove(0);
    let count = &message.attributes.unwrap()[&aws_sdk_sqs::types::MessageSystemAttributeName::ApproximateReceiveCount];
    assert_eq!(count, "1", "this receive is the first");
    assert_eq!(world.dead_letter_count().await, 0);
    let objects = world.s3.list_objects_v2().bucket(&world.thumbnail_bucket).send().await.unwrap();
    assert_eq!(objects.contents.unwrap_or_default().len(), 0, "the probe object was removed");
    world.refresh().await;
    let documents = world.opensearch_post(&format!("{}/_search", world.index), json!({})).await;
    assert_eq!(documents["hits"]["total"]["value"], 0);
}

#[tokio::test]
async fn the_table_ends_with_what_to_do_and_no_secret_shows() {
    let world = World::new("doctor-table").await;
    let env_file = world.temp.path().join("env");
    std::fs::write(&env_file, "OPENSEARCH_USERNAME=admin\nOPENSEARCH_PASSWORD='very secret words'\nPDF_DPY=200\n")
        .unwrap();
    let output = run(world
        .command()
        .args(["doctor", "--env-file", env_file.to_str().unwrap()])
        .env_remove("OPENSEARCH_USERNAME")
        .env_remove("OPENSEARCH_PASSWORD")
        .env("AWS_SESSION_TOKEN", "a-token-that-is-secret"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for secret in ["very secret words", "testsecret", "a-token-that-is-secret"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let (_, actions) = text.split_once("Recommended actions:").unwrap_or_else(|| panic!("{text}"));
    assert!(actions.contains("chmod 0640"), "an environment file that others may read: {actions}");
    assert!(text.lines().any(|line| line.starts_with("WARN") && line.contains("PDF_DPY")), "{text}");
    let columns: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(|line| &line[..9]).collect();
    assert!(columns.iter().all(|column| column.ends_with("  ")), "aligned: {text}");
}

#[tokio::test]
async fn a_missing_queue_bucket_or_index_is_named_with_its_variable() {
    let world = World::without_index("doctor-missing", 30).await;
    let no_queue = format!("{}-that-is-not-there", world.queue_url);
    examine(&world, &[("SQS_QUEUE_URL", &no_queue), ("S3_BUCKET", "no-such-bucket-here")])
        .expect("OK", &["queue endpoint", "bucket endpoint", "index endpoint"])
        .expect_failure("queue", "QueueDoesNotExist", "SQS_QUEUE_URL")
        .expect("SKIPPED", &SQS[1..])
        .expect_failure("bucket", "no-such-bucket-here", "S3_BUCKET")
        .expect("OK", &S3[2..])
        .expect_failure("index", &world.index, "--create-index")
        .expect("OK", &MACHINE[..3]);
}

#[tokio::test]
async fn a_server_that_swallows_everything_costs_its_time_and_no_more() {
    let world = World::new("doctor-hole").await;
    let servers = testbed();
    let mut proxies = Vec::new();
    for (name, target) in [("sqs", &servers.sqs), ("s3", &servers.s3), ("index", &servers.opensearch)] {
        let proxy = Proxy::create(toxiproxy(), &format!("{}-{name}", world.name), target).await;
        proxy.add("timeout", "upstream", json!({ "timeout": 0 })).await;
        proxies.push(proxy);
    }
    let started = Instant::now();
    let report = examine(
        &world,
        &[
            ("AWS_ENDPOINT_URL_SQS", &proxies[0].address),
            ("AWS_ENDPOINT_URL_S3", &proxies[1].address),
            ("OPENSEARCH_ENDPOINT", &proxies[2].address),
        ],
    );
    assert!(started.elapsed() < Duration::from_secs(60), "it ended by its own deadlines: {:?}", started.elapsed());
    for name in ["queue endpoint", "bucket endpoint", "index endpoint"] {
        report.expect_failure(name, "connected", "whether the server hangs");
    }
    report.expect("SKIPPED", &SQS).expect("SKIPPED", &S3).expect("SKIPPED", &INDEX).expect("SKIPPED", &["clock"]);
    report.expect("OK", &MACHINE[..3]);
}

#[tokio::test]
async fn the_stages_of_the_way_are_told_apart() {
    let world = World::new("doctor-way").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{free}");
    let no_tls = testbed().opensearch.replace("http://", "https://");
    let variables = [
        ("AWS_ENDPOINT_URL_SQS", "http://sqs.no-such-host.invalid"),
        ("AWS_ENDPOINT_URL_S3", closed.as_str()),
        ("OPENSEARCH_ENDPOINT", no_tls.as_str()),
    ];
    examine(&world, &variables)
        .expect_failure("queue endpoint", "cannot be resolved", "spelling")
        .expect_failure("bucket endpoint", "refused", "nothing listens there")
        .expect_failure("index endpoint", "connected", "http against https");
}

#[tokio::test]
async fn wrong_credentials_are_told_from_missing_permissions() {
    let world = World::new("doctor-keys").await;
    let stranger = Gatekeeper::before(&testbed().sqs).refusing("AmazonSQS", 403, sqs_error("InvalidClientTokenId"));
    let report =
        examine(&world, &[("AWS_SECRET_ACCESS_KEY", "another-secret-key"), ("AWS_ENDPOINT_URL_SQS", &stranger.open())]);
    report
        .expect("OK", &["queue endpoint", "bucket endpoint"])
        .expect_failure("queue", "InvalidClientTokenId", "instance profile")
        .expect("SKIPPED", &SQS[1..])
        .expect_failure("bucket", "SignatureDoesNotMatch", "clock");

    let no_keys = run(world.command().args(["doctor", "--json"]).env_remove("AWS_ACCESS_KEY_ID"));
    let json: Value = serde_json::from_slice(&no_keys.stdout).unwrap();
    let report = Report { json, exit_code: no_keys.status.code() };
    report.expect_failure("credentials", "", "instance profile").expect("SKIPPED", &SQS).expect("SKIPPED", &S3);
    report.expect("OK", &INDEX);
}

#[tokio::test]
async fn each_missing_permission_is_found_by_itself() {
    let world = World::new("doctor-denied").await;
    let denied = || sqs_error("AccessDeniedException");
    for (operation, check) in [
        ("AmazonSQS.ReceiveMessage", "sqs:ReceiveMessage"),
        ("AmazonSQS.DeleteMessageBatch", "sqs:DeleteMessage"),
        ("AmazonSQS.ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"),
    ] {
        let sqs = Gatekeeper::before(&testbed().sqs).refusing(operation, 400, denied()).open();
        let report = examine(&world, &[("AWS_ENDPOINT_URL_SQS", &sqs)]);
        report.expect_failure(check, "AccessDenied", &format!("allow {check} on"));
        let others: Vec<&str> = SQS.into_iter().filter(|name| *name != check).collect();
        report.expect("OK", &others);
    }

    let sqs = Gatekeeper::before(&testbed().sqs).refusing("AmazonSQS.SendMessage", 400, denied()).open();
    let no_put = format!("PUT /{}", world.thumbnail_bucket);
    let no_get = format!("GET /{}/", world.bucket);
    let s3 = Gatekeeper::before(&testbed().s3).refusing(no_put.leak(), 403, s3_error("AccessDenied")).refusing(
        no_get.leak(),
        403,
        s3_error("AccessDenied"),
    );
    let front = json!({ "message": "User: arn:aws:sts::1:assumed-role/worker is not authorized: es:ESHttpPut" });
    let index = Gatekeeper::before(&testbed().opensearch).refusing("PUT /", 403, &front);
    let variables = [
        ("AWS_ENDPOINT_URL_SQS", sqs.as_str()),
        ("AWS_ENDPOINT_URL_S3", &s3.open()),
        ("OPENSEARCH_ENDPOINT", &index.open()),
    ];
    let report = examine(&world, &variables);
    report
        .expect_failure("sqs:SendMessage (DLQ)", "AccessDenied", "-dlq")
        .expect("WARN", &["sqs:SendMessage"])
        .expect("OK", &["bucket", "thumbnail bucket", "s3:DeleteObject (thumbnails)"])
        .expect_failure("s3:GetObject", "AccessDenied", "allow s3:GetObject")
        .expect_failure("s3:PutObject (thumbnails)", "AccessDenied", "allow s3:PutObject")
        .expect("OK", &INDEX[..2])
        .expect_failure("es:ESHttpPut (smoke-test index)", "not authorized", "es:ESHttpPut");
}

#[tokio::test]
async fn without_listing_a_read_cannot_be_told_and_that_is_said() {
    let world = World::new("doctor-list").await;
    let source = format!("HEAD /{} ", world.bucket);
    let slash = format!("HEAD /{}/", world.bucket);
    let read = format!("GET /{}/", world.bucket);
    let s3 = Gatekeeper::before(&testbed().s3)
        .refusing(source.leak(), 403, "")
        .refusing(slash.leak(), 403, "")
        .refusing(read.leak(), 403, s3_error("AccessDenied"));
    examine(&world, &[("AWS_ENDPOINT_URL_S3", &s3.open())])
        .expect_failure("bucket", "AccessDenied", "allow s3:ListBucket")
        .expect("SKIPPED", &["s3:GetObject"])
        .expect("OK", &S3[2..]);
}

#[tokio::test]
async fn a_clock_that_is_off_is_found_by_the_servers_times() {
    let world = World::new("doctor-clock").await;
    let sqs = Gatekeeper::before(&testbed().sqs).at("Sun, 06 Nov 1994 08:49:37 GMT").open();
    let report = examine(&world, &[("AWS_ENDPOINT_URL_SQS", &sqs)]);
    report.expect_failure("clock", "ahead", "chrony");
    assert!(
        report.found("clock").contains("S3 agrees") || report.found("clock").contains("S3 1 s"),
        "{:#}",
        report.json
    );
}

#[tokio::test]
async fn an_index_that_does_not_take_writes_is_told_with_its_block() {
    let world = World::new("doctor-block").await;
    world.opensearch_put(&format!("{}/_settings", world.index), json!({ "index.blocks.write": true })).await;
    examine(&world, &[]).expect_failure("index", "may not write", "blocks");
}

#[tokio::test]
async fn the_running_daemon_has_its_say() {
    let world = World::new("doctor-daemon").await;
    let daemon = world.daemon().await;
    let report = examine(&world, &[("STATUS_ADDRESS", &daemon.status_address)]);
    report.expect("OK", &["daemon"]);
    assert!(report.found("daemon").starts_with("ready; "), "{}", report.found("daemon"));
    let other = examine(&world, &[("STATUS_ADDRESS", "127.0.0.1:1")]);
    other.expect("SKIPPED", &["daemon"]);
}

#[test]
fn a_wrong_configuration_is_the_finding_and_the_rest_waits() {
    let output = run(Command::new(binary()).env_clear().args(["doctor", "--json"]).env("MAX_WORKERS", "many"));
    let report = Report { json: serde_json::from_slice(&output.stdout).unwrap(), exit_code: output.status.code() };
    report.expect_failure("configuration", "SQS_QUEUE_URL is required", "/etc/file-processor/env");
    report.expect("SKIPPED", &["everything else"]);
    assert!(report.json.to_string().contains("MAX_WORKERS="), "all of it at once: {:#}", report.json);
}

#[tokio::test]
async fn offline_looks_at_this_machine_only() {
    let world = World::without_index("doctor-offline", 30).await;
    let output = run(world.command().args(["doctor", "--json", "--offline"]).env("S3_BUCKET", "no-such-bucket-here"));
    let report = Report { json: serde_json::from_slice(&output.stdout).unwrap(), exit_code: output.status.code() };
    report.expect("SKIPPED", &["servers"]).expect("OK", &MACHINE[..3]);
    assert_eq!(report.exit_code, Some(0), "{:#}", report.json);
}

/// The unit is asked of systemctl, whatever stands under that name on PATH.
#[tokio::test]
async fn the_units_state_is_told_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::without_index("doctor-unit", 30).await;
    let folder = tempfile::tempdir().unwrap();
    let stub = folder.path().join("systemctl");
    let answer = "LoadState=loaded\\nActiveState=failed\\nSubState=failed\\nResult=exit-code\\nNRestarts=0\\nExecMainStatus=78\\n";
    std::fs::write(&stub, format!("#!/bin/sh\nprintf '{answer}'\n")).unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = run(world.command().args(["doctor", "--json", "--offline"]).env("PATH", path));
    let report = Report { json: serde_json::from_slice(&output.stdout).unwrap(), exit_code: output.status.code() };
    report.expect_failure("service", "exit code 78", "/etc/file-processor/env").expect("WARN", &["CloudWatch agent"]);
}
