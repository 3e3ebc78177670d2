//! The servers, a test's own world in them, and the daemon as a process.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use serde_json::{Value, json};

/// Below it, in the bucket of thumbnails, lies what the worker remembers about unfinished objects.
pub const STATE_PREFIX: &str = "thumbnails/checkpoints/";

/// How long a test waits for something that normally takes a second: only a hung daemon gets here.
pub const PATIENCE: Duration = Duration::from_secs(120);
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Where the servers answer.
#[derive(Debug)]
pub struct Testbed {
    pub sqs: String,
    pub s3: String,
    pub opensearch: String,
    access_key: String,
    secret_key: String,
}

/// The servers; started by the first test when nobody did before.
pub fn testbed() -> &'static Testbed {
    static TESTBED: OnceLock<Testbed> = OnceLock::new();
    TESTBED.get_or_init(|| {
        let mut variables: HashMap<String, String> = std::env::vars().collect();
        if !variables.contains_key("TESTBED_SQS_ENDPOINT") {
            variables.extend(start_testbed());
        }
        let get = |name: &str| variables.get(name).unwrap_or_else(|| panic!("{name} is not set")).clone();
        Testbed {
            sqs: get("TESTBED_SQS_ENDPOINT"),
            s3: get("TESTBED_S3_ENDPOINT"),
            opensearch: get("TESTBED_OPENSEARCH_ENDPOINT"),
            access_key: get("AWS_ACCESS_KEY_ID"),
            secret_key: get("AWS_SECRET_ACCESS_KEY"),
        }
    })
}

/// The fault proxy's API; started by the first test that needs it when nobody did before.
pub fn toxiproxy() -> &'static str {
    static API: OnceLock<String> = OnceLock::new();
    API.get_or_init(|| {
        if let Ok(endpoint) = std::env::var("TESTBED_TOXIPROXY_ENDPOINT") {
            return endpoint;
        }
        let script = repository().join("scripts/testbed/start-toxiproxy.sh");
        let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("run start-toxiproxy.sh");
        assert!(output.status.success(), "start-toxiproxy.sh failed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

fn start_testbed() -> HashMap<String, String> {
    let script = repository().join("scripts/testbed/up.sh");
    let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("run scripts/testbed/up.sh");
    assert!(output.status.success(), "scripts/testbed/up.sh failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// Cargo runs tests in the package's folder. A path built into the test binary would be another checkout's when several
/// share a target folder.
pub fn repository() -> PathBuf {
    std::env::current_dir().expect("a working directory")
}

pub fn fixture(path: &str) -> PathBuf {
    repository().join("tests/fixtures").join(path)
}

pub fn read_fixture(path: &str) -> Vec<u8> {
    let file = fixture(path);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The corpus, or `None` with a message where the folder is missing.
pub fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("CORPUS_DIR").map_or_else(|| repository().join("../shared/corpus"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no corpus at {}", folder.display());
    None
}

/// The worker under test: `WORKER_BINARY`, or the one that cargo has just built.
pub fn binary() -> PathBuf {
    std::env::var_os("WORKER_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_file-processor-worker")), PathBuf::from)
}

/// A test's own queue, dead-letter queue, buckets and index.
pub struct World {
    pub name: String,
    pub sqs: aws_sdk_sqs::Client,
    pub s3: aws_sdk_s3::Client,
    pub http: reqwest::Client,
    pub queue_url: String,
    pub dead_letter_queue_url: String,
    pub bucket: String,
    pub thumbnail_bucket: String,
    pub index: String,
    pub opensearch: String,
    pub temp: tempfile::TempDir,
}

impl World {
    /// With an index made by `--create-index`.
    pub async fn new(name: &str) -> Self {
        let world = Self::without_index(name, 30).await;
        let output = world.command().arg("--create-index").output().expect("run --create-index");
        assert!(output.status.success(), "--create-index: {}", String::from_utf8_lossy(&output.stderr));
        world
    }

    pub async fn without_index(name: &str, visibility_seconds: u32) -> Self {
        let servers = testbed();
        let unique = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let credentials =
            aws_sdk_sqs::config::Credentials::new(&servers.access_key, &servers.secret_key, None, None, "testbed");
        let region = aws_sdk_sqs::config::Region::new("us-east-1");
        let sqs = aws_sdk_sqs::Client::from_conf(
            aws_sdk_sqs::Config::builder()
                .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
                .region(region.clone())
                .credentials_provider(credentials.clone())
                .endpoint_url(&servers.sqs)
                .build(),
        );
        let s3 = aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::Config::builder()
                .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
                .region(region)
                .credentials_provider(credentials)
                .endpoint_url(&servers.s3)
                .force_path_style(true)
                .build(),
        );
        let (queue_url, dead_letter_queue_url) = create_queues(&sqs, &unique, visibility_seconds).await;
        let bucket = unique.clone();
        let thumbnail_bucket = format!("{unique}-thumbnails");
        for each in [&bucket, &thumbnail_bucket] {
            s3.create_bucket().bucket(each).send().await.expect("create bucket");
        }
        Self {
            index: unique.clone(),
            name: unique,
            sqs,
            s3,
            http: reqwest::Client::new(),
            queue_url,
            dead_letter_queue_url,
            bucket,
            thumbnail_bucket,
            opensearch: servers.opensearch.clone(),
            temp: tempfile::tempdir().expect("temporary folder"),
        }
    }

    /// The binary with the environment of this world and nothing else.
    pub fn command(&self) -> Command {
        let servers = testbed();
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", std::env::var("HOME").unwrap_or_default())
            .env("AWS_ACCESS_KEY_ID", &servers.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &servers.secret_key)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL_SQS", &servers.sqs)
            .env("AWS_ENDPOINT_URL_S3", &servers.s3)
            .env("SQS_QUEUE_URL", &self.queue_url)
            .env("SQS_WAIT_TIME", "2")
            .env("SQS_VISIBILITY_TIMEOUT", "30")
            .env("S3_BUCKET", &self.bucket)
            .env("S3_THUMBNAIL_BUCKET", &self.thumbnail_bucket)
            .env("OPENSEARCH_ENDPOINT", &self.opensearch)
            .env("OPENSEARCH_INDEX", &self.index)
            // A user name keeps requests from being signed; the test cluster has no security plugin.
            .env("OPENSEARCH_USERNAME", "test")
            .env("OPENSEARCH_PASSWORD", "test")
            .env("MAX_WORKERS", "1")
            .env("TEMP_DIR", self.temp.path())
            .env("LOG_LEVEL", "INFO");
        command
    }

    /// Starts the daemon and waits until it is ready.
    pub async fn daemon(&self) -> Daemon {
        self.daemon_with(&[]).await
    }

    pub async fn daemon_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let daemon = self.start_daemon(variables);
        daemon.wait_until_ready().await;
        daemon
    }

    /// Starts the daemon without waiting.
    pub fn start_daemon(&self, variables: &[(&str, &str)]) -> Daemon {
        let status_address = format!("127.0.0.1:{}", free_port());
        let log = self.temp.path().join(format!("daemon-{}.log", uuid::Uuid::new_v4().simple()));
        let log_file = std::fs::File::create(&log).expect("create log file");
        let mut command = self.command();
        command.env("STATUS_ADDRESS", &status_address).envs(variables.iter().copied());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).spawn().expect("start");
        Daemon { process, status_address, log }
    }

    pub async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.put_with_metadata(key, bytes, &[]).await;
    }

    pub async fn put_with_metadata(&self, key: &str, bytes: impl Into<Vec<u8>>, metadata: &[(&str, &str)]) {
        let mut request = self.s3.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes.into()));
        for (name, value) in metadata {
            request = request.metadata(*name, *value);
        }
        request.send().await.unwrap_or_else(|error| panic!("put {key}: {error:?}"));
    }

    pub async fn remove(&self, key: &str) {
        self.s3.delete_object().bucket(&self.bucket).key(key).send().await.expect("delete object");
    }

    pub async fn send(&self, body: impl ToString) {
        self.sqs
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body.to_string())
            .send()
            .await
            .expect("send message");
    }

    /// Puts the object and sends the direct message (contract §1 kind 5) for it.
    pub async fn upload(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.put(key, bytes).await;
        self.send(json!({ "key": key })).await;
    }

    /// The document under a key as the index holds it now, searchable or not.
    pub async fn document(&self, key: &str) -> Option<Value> {
        self.document_of(&self.index, key).await
    }

    pub async fn document_of(&self, index: &str, id: &str) -> Option<Value> {
        let mut url = url::Url::parse(&self.opensearch).expect("endpoint");
        url.path_segments_mut().expect("base").extend([index, "_doc", id]);
        let answer = self.http.get(url).send().await.ok()?;
        let body: Value = answer.json().await.ok()?;
        (body["found"] == true).then(|| body["_source"].clone())
    }

    pub async fn wait_for_document(&self, key: &str) -> Value {
        self.wait_for(&format!("document {key}"), async || self.document(key).await).await
    }

    pub async fn wait_for_no_document(&self, key: &str) {
        self.wait_for(&format!("no document {key}"), async || self.document(key).await.is_none().then_some(())).await;
    }

    /// Polls until `probe` answers something.
    pub async fn wait_for<T>(&self, what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            assert!(Instant::now() < deadline, "{}: waited in vain for {what}\n{}", self.name, self.logs());
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }

    /// What the worker remembers about unfinished objects.
    pub async fn state_objects(&self) -> Vec<String> {
        let listing = self.s3.list_objects_v2().bucket(&self.thumbnail_bucket).prefix(STATE_PREFIX);
        let page = listing.send().await.expect("list state objects");
        page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect()
    }

    /// Everything the daemons of this world logged, for the message of a failing test.
    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.temp.path()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("daemon-") {
                text.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        text
    }

    /// (visible, in flight) of the queue.
    pub async fn queue_counts(&self) -> (u64, u64) {
        counts(&self.sqs, &self.queue_url).await
    }

    /// Waits until the queue holds nothing, visible or in flight.
    pub async fn wait_until_settled(&self) {
        self.wait_for("an empty queue", async || (self.queue_counts().await == (0, 0)).then_some(())).await;
    }

    pub async fn dead_letter_count(&self) -> u64 {
        counts(&self.sqs, &self.dead_letter_queue_url).await.0
    }

    /// The dead-letter queue's messages: body and string attributes. Takes them out.
    pub async fn dead_letters(&self) -> Vec<(String, HashMap<String, String>)> {
        let mut letters = Vec::new();
        loop {
            let answer = self
                .sqs
                .receive_message()
                .queue_url(&self.dead_letter_queue_url)
                .max_number_of_messages(10)
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .send()
                .await
                .expect("receive from the dead-letter queue");
            let messages = answer.messages.unwrap_or_default();
            if messages.is_empty() {
                return letters;
            }
            for message in messages {
                let attributes = message.message_attributes.unwrap_or_default();
                let attributes =
                    attributes.into_iter().filter_map(|(name, value)| Some((name, value.string_value?))).collect();
                letters.push((message.body.unwrap_or_default(), attributes));
                self.sqs
                    .delete_message()
                    .queue_url(&self.dead_letter_queue_url)
                    .receipt_handle(message.receipt_handle.unwrap_or_default())
                    .send()
                    .await
                    .expect("delete from the dead-letter queue");
            }
        }
    }

    pub async fn wait_for_dead_letters(&self, count: u64) -> Vec<(String, HashMap<String, String>)> {
        self.wait_for("dead letters", async || (self.dead_letter_count().await >= count).then_some(())).await;
        self.dead_letters().await
    }

    /// POSTs to the index's API and returns the answer.
    pub async fn opensearch_post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.opensearch);
        let answer = self.http.post(&url).json(&body).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.json().await.expect("JSON")
    }

    pub async fn opensearch_put(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.opensearch);
        let answer = self.http.put(&url).json(&body).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.json().await.expect("JSON")
    }

    pub async fn refresh(&self) {
        self.opensearch_post(&format!("{}/_refresh", self.index), json!({})).await;
    }
}

impl Drop for World {
    /// A cluster takes a thousand shards; servers that are left running would be full after a few runs. What fails
    /// here is not the test's business.
    fn drop(&mut self) {
        let Some(address) = self.opensearch.strip_prefix("http://") else { return };
        let request = format!(
            "DELETE /{0},{0}-smoke-test?ignore_unavailable=true HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
            self.index
        );
        if let Ok(mut stream) = std::net::TcpStream::connect(address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

async fn create_queues(sqs: &aws_sdk_sqs::Client, name: &str, visibility_seconds: u32) -> (String, String) {
    let dead_letter_name = format!("{name}-dlq");
    let dead_letter_queue =
        sqs.create_queue().queue_name(&dead_letter_name).send().await.expect("create the dead-letter queue");
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{dead_letter_name}");
    let redrive = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 5 }).to_string();
    let queue = sqs
        .create_queue()
        .queue_name(name)
        .attributes(QueueAttributeName::VisibilityTimeout, visibility_seconds.to_string())
        .attributes(QueueAttributeName::RedrivePolicy, redrive)
        .send()
        .await
        .expect("create the queue");
    (queue.queue_url.expect("queue URL"), dead_letter_queue.queue_url.expect("queue URL"))
}

async fn counts(sqs: &aws_sdk_sqs::Client, queue_url: &str) -> (u64, u64) {
    let answer = sqs
        .get_queue_attributes()
        .queue_url(queue_url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .expect("queue attributes");
    let attributes = answer.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|value| value.parse().ok()).unwrap_or(0);
    (
        number(QueueAttributeName::ApproximateNumberOfMessages),
        number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

/// A running daemon; killed when the test ends.
pub struct Daemon {
    pub process: Child,
    pub status_address: String,
    pub log: PathBuf,
}

impl Daemon {
    pub async fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            assert!(Instant::now() < deadline, "the daemon is not ready\n{}", self.log_text());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_some_and(|(status, _)| status == 200)
    }

    /// Status code and body of a page on the status address.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://{}{path}", self.status_address)).await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// The sum over all labels of a counter or gauge in `/metrics`.
    pub async fn metric(&self, name: &str) -> f64 {
        let Some((_, text)) = self.get("/metrics").await else { return 0.0 };
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a child is at work.
    pub async fn wait_until_busy(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric("file_processor_children_busy").await < 1.0 {
            assert!(Instant::now() < deadline, "no child gets busy\n{}", self.log_text());
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }

    /// Ends it as systemd does, in good order; what it logged.
    pub async fn stop(mut self) -> String {
        self.signal(libc::SIGTERM);
        assert_eq!(self.wait_for_exit().await, Some(0), "{}", self.log_text());
        self.log_text()
    }

    /// Ends it as an instance that vanishes does.
    pub async fn kill(mut self) -> String {
        self.signal(libc::SIGKILL);
        self.wait_for_exit().await;
        self.log_text()
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to our own child process.
        unsafe { libc::kill(self.process.id() as i32, signal) };
    }

    /// Waits for the process to end; its exit code, `None` when a signal ended it.
    pub async fn wait_for_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("wait") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon does not end\n{}", self.log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The process ids of its children (the workers).
    pub fn children(&self) -> Vec<i32> {
        let mut children = Vec::new();
        let tasks = Path::new("/proc").join(self.process.id().to_string()).join("task");
        for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        children
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
