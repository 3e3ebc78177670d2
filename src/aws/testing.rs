//! Servers for tests: the real ones of the test bed where they run, and one that answers what a test dictates:
//! for answers that only AWS gives, and for broken ones.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// What `Content-Length` claims; `None` tells the truth.
    pub claimed_length: Option<usize>,
    pub delay: Duration,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), claimed_length: None, delay: Duration::ZERO }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The connection ends before the body does.
    pub fn claiming_length(mut self, length: usize) -> Self {
        self.claimed_length = Some(length);
        self
    }

    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// An SQS error as AWS sends it (AWS JSON 1.0, query compatible).
    pub fn sqs_error(code: &str, message: &str) -> Self {
        let body = serde_json::json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": message});
        Self::new(400, body.to_string())
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amzn-query-error", format!("{code};Sender"))
    }
}

/// The running server. One scripted answer is used up a request, in order; the last one is repeated.
pub struct ScriptedServer {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    pub async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(answers));
        let recorded = requests.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, script.clone(), recorded.clone()));
            }
        });
        Self { endpoint, requests }
    }

    /// Head and body of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Vec<Answer>>>, recorded: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        let is_head = request.starts_with("HEAD ");
        recorded.lock().unwrap().push(request);
        let answer = {
            let mut answers = script.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        };
        tokio::time::sleep(answer.delay).await;
        let length = answer.claimed_length.unwrap_or(answer.body.len());
        let mut head = format!("HTTP/1.1 {} Scripted\r\ncontent-length: {length}\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        if !is_head && stream.write_all(&answer.body).await.is_err() {
            return;
        }
        if answer.claimed_length.is_some() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(position) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break position + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let body_length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0);
    while bytes.len() < head_end + body_length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A configuration with made-up credentials that talks to one endpoint.
pub async fn test_config(endpoint: &str) -> SdkConfig {
    let credentials = aws_sdk_sqs::config::Credentials::new("testkey", "testsecret", None, None, "test");
    super::sdk_config("us-east-1")
        .await
        .into_builder()
        .endpoint_url(endpoint)
        .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(credentials))
        .build()
}

/// The test bed's server whose endpoint this environment variable names (`TESTBED_SQS_ENDPOINT`,
/// `TESTBED_S3_ENDPOINT`); `None`, said on stdout, when it is not there.
pub async fn testbed_config(variable: &str) -> Option<SdkConfig> {
    let Ok(endpoint) = std::env::var(variable) else {
        println!("skipped: {variable} names no server");
        return None;
    };
    Some(test_config(&endpoint).await)
}
