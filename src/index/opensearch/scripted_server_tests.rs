//! Against a server that answers by script: what a real cluster does rarely or not on order (throttling, limits,
//! nonsense, lost answers), and what it cannot show (the headers that we sent).

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::real_server_tests::{servers, signing_config};
use super::*;
use crate::config::BasicAuth;

/// One request as received.
#[derive(Clone, Debug)]
struct Received {
    line: String,
    headers: String,
    body: String,
}

impl Received {
    /// The ids of a bulk request's actions without the guard.
    fn ids(&self) -> Vec<String> {
        let actions = self.body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ids = actions.filter_map(|line| {
            let (_, action) = line.as_object()?.iter().next()?;
            Some(action.get("_id")?.as_str()?.to_owned())
        });
        ids.filter(|id| !id.contains("guard")).collect()
    }

    fn is_bulk(&self) -> bool {
        self.line.contains("/_bulk")
    }
}

/// What the server answers to the n-th bulk request (from 0); `None` closes the connection.
type Script = fn(usize, &Received) -> Option<(u16, String)>;

struct ScriptedServer {
    address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl ScriptedServer {
    /// Requests for the mapping get an empty one; bulk requests get what the script says.
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let record = Arc::clone(&received);
        tokio::spawn(async move {
            let bulks = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script, Arc::clone(&record), Arc::clone(&bulks)));
            }
        });
        Self { address, received }
    }

    fn index(&self) -> OpenSearchIndex {
        self.index_with(&signing_config())
    }

    fn index_with(&self, sdk_config: &SdkConfig) -> OpenSearchIndex {
        OpenSearchIndex::connect(&servers(&self.address, None), "ap-northeast-1", "files", sdk_config).unwrap()
    }

    fn bulks(&self) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|request| request.is_bulk()).cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, script: Script, record: Arc<Mutex<Vec<Received>>>, bulks: Arc<AtomicUsize>) {
    while let Some(request) = read_request(&mut stream).await {
        record.lock().unwrap().push(request.clone());
        let answer = if request.is_bulk() {
            script(bulks.fetch_add(1, Ordering::SeqCst), &request)
        } else {
            Some((200, json!({"files": {"mappings": {}}}).to_string()))
        };
        let Some((status, body)) = answer else { return };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                let (line, headers) = head.split_once("\r\n").unwrap();
                return Some(Received { line: line.to_owned(), headers: headers.to_owned(), body: body.to_owned() });
            }
        }
        let mut chunk = [0; 65_536];
        let count = stream.read(&mut chunk).await.ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// A bulk answer that gives each of the request's ids (and the guard) what the function says.
fn answer_items(request: &Received, item: impl Fn(&str) -> Value) -> Option<(u16, String)> {
    let mut items = vec![json!({"update": {"_id": "__file-processor-worker-guard__", "status": 404,
        "error": {"type": "index_not_found_exception", "reason": "not an alias"}}})];
    for id in request.ids() {
        let mut result = item(&id);
        result["_id"] = json!(id);
        items.push(json!({"update": result}));
    }
    Some((200, json!({"items": items}).to_string()))
}

fn updated() -> Value {
    json!({"status": 200, "result": "updated"})
}

fn throttled() -> Value {
    json!({"status": 429, "error": {"type": "rejected_execution_exception", "reason": "queue full"}})
}

fn document(key: &str) -> Document {
    Document { file_key: key.to_owned(), extracted_text: Some("text".to_owned()), ..Document::default() }
}

async fn put_many(index: &OpenSearchIndex, keys: &[&str]) -> Vec<Result<Verdict, IndexError>> {
    let writes = keys.iter().map(|key| {
        let index = index.clone();
        let document = document(key);
        async move { index.put(&document, &ObjectOrder::default(), false).await }
    });
    futures_util::future::join_all(writes).await
}

#[tokio::test]
async fn throttled_items_are_sent_again_alone() {
    let server = ScriptedServer::start(|number, request| {
        answer_items(request, |id| if id == "b" && number < 2 { throttled() } else { updated() })
    })
    .await;
    let results = put_many(&server.index(), &["a", "b", "c"]).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Verdict::Written))), "{results:?}");
    let sent: Vec<Vec<String>> = server.bulks().iter().map(Received::ids).collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0].len(), 3, "one request for all of them");
    assert_eq!(sent[1..], [["b"], ["b"]]);
}

#[tokio::test]
async fn each_request_begins_with_the_guard() {
    let server = ScriptedServer::start(|_, request| answer_items(request, |_| updated())).await;
    put_many(&server.index(), &["a"]).await.remove(0).unwrap();
    let first = server.bulks()[0].body.lines().next().unwrap().to_owned();
    assert!(first.contains("\"require_alias\":true"), "{first}");
}

#[tokio::test]
async fn a_throttled_or_lost_request_is_sent_again() {
    let server = ScriptedServer::start(|number, request| match number {
        0 => Some((429, json!({"error": {"type": "circuit_breaking_exception", "reason": "too large"}}).to_string())),
        1 => None,
        2 => Some((503, "busy".to_owned())),
        _ => answer_items(request, |_| updated()),
    })
    .await;
    let results = put_many(&server.index(), &["a", "b"]).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Verdict::Written))), "{results:?}");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_and_one_huge_document_is_rejected() {
    let server = ScriptedServer::start(|_, request| {
        let ids = request.ids();
        if ids.len() > 2 || ids.contains(&"huge".to_owned()) {
            return Some((413, String::new()));
        }
        answer_items(request, |_| updated())
    })
    .await;
    let results = put_many(&server.index(), &["a", "b", "huge", "c", "d"]).await;
    for (position, result) in results.iter().enumerate() {
        if position == 2 {
            assert!(matches!(result, Err(IndexError::Rejected(text)) if text.contains("413")), "{result:?}");
        } else {
            assert!(matches!(result, Ok(Verdict::Written)), "{result:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_never_a_success() {
    let nonsense: [Script; 5] = [
        |_, _| Some((200, "<html>login</html>".to_owned())),
        |_, _| Some((200, "{}".to_owned())),
        |_, _| Some((403, json!({"message": "The security token included in the request is expired"}).to_string())),
        |_, _| Some((400, json!({"error": {"type": "illegal_argument_exception", "reason": "no"}}).to_string())),
        |_, request| {
            let shuffled: Vec<Value> =
                request.ids().iter().map(|_| json!({"update": {"_id": "x", "status": 200}})).collect();
            Some((200, json!({"items": shuffled}).to_string()))
        },
    ];
    for script in nonsense {
        let server = ScriptedServer::start(script).await;
        let result = put_many(&server.index(), &["a"]).await.remove(0);
        assert!(matches!(result, Err(IndexError::Unavailable(_))), "{result:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let index =
        OpenSearchIndex::connect(&servers(&address, None), "ap-northeast-1", "files", &signing_config()).unwrap();
    assert!(matches!(index.state("a").await, Err(IndexError::Unavailable(_))));
    assert!(matches!(index.create().await, Err(IndexError::Unavailable(_))));
    assert!(matches!(index.validate().await, Err(IndexError::Unavailable(_))));
}

/// `key-0`, `key-1`, … one a request, as after a rotation.
#[derive(Debug)]
struct Rotating(AtomicUsize);

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        future::ProvideCredentials::ready(Ok(Credentials::new(format!("key-{number}"), "s", None, None, "test")))
    }
}

#[tokio::test]
async fn each_retry_is_signed_anew_with_the_providers_present_credentials() {
    let server = ScriptedServer::start(|number, request| {
        if number < 2 { Some((503, String::new())) } else { answer_items(request, |_| updated()) }
    })
    .await;
    put_many(&server.index_with(&signing_with_rotating_keys()), &["a"]).await.remove(0).unwrap();
    let keys: Vec<String> = server.bulks().iter().map(signing_key).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] < keys[1] && keys[1] < keys[2], "{keys:?}");
}

fn signing_key(request: &Received) -> String {
    assert!(request.headers.contains("x-amz-content-sha256"), "{}", request.headers);
    assert!(request.headers.contains("/ap-northeast-1/es/aws4_request"), "{}", request.headers);
    let (_, credential) = request.headers.split_once("Credential=").unwrap();
    credential.split('/').next().unwrap().to_owned()
}

fn signing_with_rotating_keys() -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(Rotating(AtomicUsize::new(0))))
        .build()
}

#[tokio::test]
async fn a_refused_request_is_made_once_more_with_fresh_credentials_and_then_it_is_an_outage() {
    let server = ScriptedServer::start(|number, request| match number {
        0 => Some((403, json!({"message": "The security token is expired"}).to_string())),
        _ => answer_items(request, |_| updated()),
    })
    .await;
    let index = server.index_with(&signing_with_rotating_keys());
    assert!(index.probe().await.is_ok());
    let keys: Vec<String> = server.bulks().iter().map(signing_key).collect();
    assert!(keys.len() == 2 && keys[0] < keys[1], "{keys:?}");

    let refusing = ScriptedServer::start(|_, _| Some((403, "{\"message\":\"no permission\"}".to_owned()))).await;
    let index = refusing.index_with(&signing_with_rotating_keys());
    let error = put_many(&index, &["a"]).await.remove(0).unwrap_err();
    assert_eq!(error.outage().cause, OutageCause::Refused);
    assert_eq!(refusing.bulks().len(), 2);
}

#[tokio::test]
async fn a_request_that_gets_no_answer_is_sent_once_more_and_then_it_is_for_the_breaker_to_decide() {
    let server = ScriptedServer::start(|_, _| None).await;
    let error = put_many(&server.index(), &["a"]).await.remove(0).unwrap_err();
    assert_eq!(error.outage().cause, OutageCause::Unreachable);
    assert_eq!(server.bulks().len(), 2);
}

#[tokio::test]
async fn a_probe_is_one_request_whatever_the_answer() {
    let server = ScriptedServer::start(|_, _| Some((429, String::new()))).await;
    let error = server.index().probe().await.unwrap_err();
    assert_eq!(error.outage().cause, OutageCause::Throttled);
    assert_eq!(server.bulks().len(), 1, "the batcher's patience would keep recovery back");
}

#[tokio::test]
async fn basic_auth_and_a_path_prefix_reach_the_server() {
    let server = ScriptedServer::start(|_, request| answer_items(request, |_| updated())).await;
    let auth = BasicAuth { username: "user".to_owned(), password: "pass".to_owned() };
    let endpoint = format!("{}/search/v1", server.address);
    let index = OpenSearchIndex::connect(&servers(&endpoint, Some(auth)), "x", "files", &signing_config()).unwrap();
    put_many(&index, &["a"]).await.remove(0).unwrap();
    let request = server.bulks().remove(0);
    assert!(request.line.starts_with("POST /search/v1/files/_bulk?"), "{}", request.line);
    assert!(request.headers.contains("Basic dXNlcjpwYXNz"), "{}", request.headers);
}

/// A TLS server with a certificate that nobody signed; it answers every GET with a page that is not JSON.
struct SelfSigned {
    process: std::process::Child,
    endpoint: String,
    _folder: tempfile::TempDir,
}

impl SelfSigned {
    async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"])
            .args(["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: openssl cannot make a certificate");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let process = std::process::Command::new("openssl")
            .args(["s_server", "-www", "-quiet", "-key", "key.pem", "-cert", "cert.pem", "-accept", &port.to_string()])
            .current_dir(folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { process, endpoint: format!("https://localhost:{port}"), _folder: folder })
    }
}

impl Drop for SelfSigned {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_switched_off() {
    let Some(server) = SelfSigned::start().await else { return };
    let mut settings = servers(&server.endpoint, None);
    let connect = |settings: &ServerSettings| {
        OpenSearchIndex::connect(settings, "ap-northeast-1", "files", &signing_config()).unwrap()
    };
    let refused = connect(&settings).create().await.unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    settings.opensearch_verify_certs = false;
    let reached = connect(&settings).create().await.unwrap_err().to_string();
    assert!(reached.contains("the answer is not JSON"), "{reached}");
}
