//! A relay in front of a server that understands HTTP/1.1: it can answer in the server's place, lose an answer after
//! the server has applied the request, or cut an answer short. Faults of the connection itself are toxiproxy's.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A head larger than this is no HTTP that any of our clients speaks.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Receipt handles that are remembered.
const MAX_HANDLES: usize = 20;

const HOLD_PAUSE: Duration = Duration::from_millis(20);

/// What is done to requests while it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Disturbance {
    #[default]
    None,
    /// Answered in the server's place; the server never hears of it.
    Refuse { status: u16, content_type: &'static str, body: &'static str },
    /// The server applies the request; its answer is lost and the connection closed.
    LoseAnswer,
    /// The answer ends in the middle, and with it the connection.
    CutAnswer,
    /// The request is held back until something else is set; then it goes on, whoever still waits for its answer. Questions
    /// to the index about single documents pass: it is changes that come too late.
    Hold,
}

/// A disturbance and how many of a hundred requests it hits.
#[derive(Clone, Debug, Default)]
struct Setting {
    disturbance: Disturbance,
    percent: u8,
}

/// A running relay.
pub struct Relay {
    /// `http://127.0.0.1:…`
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    setting: Mutex<Setting>,
    random: Mutex<fastrand::Rng>,
    hits: Mutex<BTreeMap<&'static str, u64>>,
    handles: Mutex<VecDeque<String>>,
}

impl Relay {
    /// To `target`, an `http://` address. `seed` decides which requests are hit.
    pub async fn to(target: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let shared = Arc::new(Shared {
            target: target.trim_start_matches("http://").to_owned(),
            setting: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            hits: Mutex::default(),
            handles: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                // A connection that fails is what this is for; client and server both see it.
                tokio::spawn(async move { shared.serve(client).await });
            }
        });
        Self { address, shared }
    }

    pub fn disturb(&self, disturbance: Disturbance, percent: u8) {
        *self.shared.setting.lock().expect("lock") = Setting { disturbance, percent };
    }

    pub fn leave_alone(&self) {
        self.disturb(Disturbance::None, 0);
    }

    /// Requests that were hit so far, by what hit them.
    pub fn hits(&self) -> BTreeMap<&'static str, u64> {
        self.shared.hits.lock().expect("lock").clone()
    }

    /// The receipt handles that went by last: what somebody holds whose messages are to be taken away.
    pub fn take_receipt_handles(&self) -> Vec<String> {
        self.shared.handles.lock().expect("lock").drain(..).collect()
    }
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut server = Connection::new(TcpStream::connect(&self.target).await?);
        client.set_nodelay(true)?;
        server.stream.set_nodelay(true)?;
        let mut from_client = Connection::new(client);
        loop {
            let Some(request_head) = from_client.head().await? else { return Ok(()) };
            if header(&request_head, "expect").is_some() {
                from_client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let request_body = from_client.body(&request_head, Side::Request).await?;
            let disturbance = self.drawn(&request_head);
            if let Disturbance::Refuse { status, content_type, body } = disturbance {
                from_client.stream.write_all(&answer(status, content_type, body, &request_head)).await?;
                continue;
            }
            while disturbance == Disturbance::Hold && self.is_holding() {
                tokio::time::sleep(HOLD_PAUSE).await;
            }
            server.stream.write_all(&without_expect(&request_head)).await?;
            server.stream.write_all(&request_body).await?;
            let Some(answer_head) = server.head().await? else { return Ok(()) };
            let side = Side::Answer { of_head: request_head.starts_with(b"HEAD ") };
            let answer_body = server.body(&answer_head, side).await?;
            self.remember_handles(&answer_body);
            match disturbance {
                Disturbance::LoseAnswer => return Ok(()),
                Disturbance::CutAnswer => {
                    from_client.stream.write_all(&answer_head).await?;
                    from_client.stream.write_all(&answer_body[..answer_body.len() / 2]).await?;
                    return Ok(());
                }
                Disturbance::None | Disturbance::Hold | Disturbance::Refuse { .. } => {}
            }
            from_client.stream.write_all(&answer_head).await?;
            from_client.stream.write_all(&answer_body).await?;
        }
    }

    fn is_holding(&self) -> bool {
        self.setting.lock().expect("lock").disturbance == Disturbance::Hold
    }

    fn remember_handles(&self, answer_body: &[u8]) {
        const BEFORE: &[u8] = b"\"ReceiptHandle\":\"";
        let mut rest = answer_body;
        while let Some(start) = find(rest, BEFORE) {
            rest = &rest[start + BEFORE.len()..];
            let Some(end) = rest.iter().position(|byte| *byte == b'"') else { return };
            let mut handles = self.handles.lock().expect("lock");
            handles.push_back(String::from_utf8_lossy(&rest[..end]).into_owned());
            if handles.len() > MAX_HANDLES {
                handles.pop_front();
            }
        }
    }

    /// What is done to the next request.
    fn drawn(&self, request_head: &[u8]) -> Disturbance {
        let setting = self.setting.lock().expect("lock").clone();
        if setting.percent <= self.random.lock().expect("lock").u8(..100) {
            return Disturbance::None;
        }
        let name = match setting.disturbance {
            Disturbance::None => return Disturbance::None,
            Disturbance::Refuse { .. } => "refused",
            Disturbance::LoseAnswer => "answer lost",
            Disturbance::CutAnswer => "answer cut",
            Disturbance::Hold if find(request_head, b"/_mget").is_some() => return Disturbance::None,
            Disturbance::Hold => "held",
        };
        *self.hits.lock().expect("lock").entry(name).or_default() += 1;
        setting.disturbance
    }
}

fn answer(status: u16, content_type: &str, body: &str, request_head: &[u8]) -> Vec<u8> {
    let shown = if request_head.starts_with(b"HEAD ") { "" } else { body };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Refused\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         x-amzn-requestid: relay\r\n\r\n{shown}"
    )
    .into_bytes()
}

enum Side {
    Request,
    Answer { of_head: bool },
}

/// One side of a relayed connection: what was read beyond the current message is kept for the next.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Reads more; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(16 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next message's head with its empty line; `None` when the other side is done.
    async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                // An interim answer; the real one follows.
                if head.starts_with(b"HTTP/1.1 1") {
                    continue;
                }
                return Ok(Some(head));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The body that belongs to a head, as it is on the wire.
    async fn body(&mut self, head: &[u8], side: Side) -> io::Result<Vec<u8>> {
        if matches!(side, Side::Answer { of_head: true }) || is_without_body(head) {
            return Ok(Vec::new());
        }
        if header(head, "transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
            return self.chunked().await;
        }
        match header(head, "content-length").map(|value| value.parse::<usize>()) {
            Some(Ok(length)) => self.exactly(length).await,
            Some(Err(_)) => Err(io::ErrorKind::InvalidData.into()),
            None if matches!(side, Side::Request) => Ok(Vec::new()),
            None => {
                while self.fill().await? {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                return Ok(self.buffer.drain(..end + 2).collect());
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Chunks up to the last one and the trailer after it.
    async fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let size_line = self.line().await?;
            let digits = String::from_utf8_lossy(&size_line);
            let size = usize::from_str_radix(digits.trim().split(';').next().unwrap_or_default(), 16)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            whole.extend(size_line);
            if size == 0 {
                break;
            }
            whole.extend(self.exactly(size + 2).await?);
        }
        loop {
            let trailer = self.line().await?;
            let is_end = trailer == b"\r\n";
            whole.extend(trailer);
            if is_end {
                return Ok(whole);
            }
        }
    }
}

fn is_without_body(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/1.1 204") || head.starts_with(b"HTTP/1.1 304")
}

/// A header's value.
fn header(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The head without `Expect`, which the relay has answered.
fn without_expect(head: &[u8]) -> Vec<u8> {
    if header(head, "expect").is_none() {
        return head.to_vec();
    }
    let text = String::from_utf8_lossy(head);
    let lines = text.split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("expect:"));
    lines.collect::<String>().into_bytes()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
