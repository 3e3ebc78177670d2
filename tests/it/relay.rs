//! A TCP relay to one of the servers that can be made to misbehave: an outage for one daemon only.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Room for a whole small request, so that a canned answer is written after it was read.
const BUFFER_BYTES: usize = 256 * 1024;

/// What the relay does to requests.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Connections are dropped: what a server that is gone looks like.
    Cut,
    /// The same for so many requests.
    CutRequests(usize),
    /// The server is not asked; every request gets this answer.
    Answer {
        status: u16,
        body: String,
    },
    /// So many bulk requests reach the server, which does what they say, and their answers are lost.
    LoseBulkAnswers(usize),
}

/// See the module.
pub struct Cable {
    pub address: String,
    state: Arc<State>,
}

struct State {
    fault: Mutex<Fault>,
    /// Requests and answers that were tampered with.
    harmed: AtomicUsize,
}

impl Cable {
    pub fn to(target: &str) -> Self {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let state = Arc::new(State { fault: Mutex::new(Fault::None), harmed: AtomicUsize::new(0) });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for incoming in listener.incoming().flatten() {
                // Dropping the connection is what a server that is gone looks like.
                if shared.is_cut() {
                    continue;
                }
                if let Ok(outgoing) = TcpStream::connect(&target) {
                    relay(incoming, outgoing, &shared);
                }
            }
        });
        Self { address, state }
    }

    pub fn cut(&self) {
        self.set(Fault::Cut);
    }

    pub fn cut_requests(&self, count: usize) {
        self.set(Fault::CutRequests(count));
    }

    pub fn answer(&self, status: u16, body: &str) {
        self.set(Fault::Answer { status, body: body.to_owned() });
    }

    pub fn lose_bulk_answers(&self, count: usize) {
        self.set(Fault::LoseBulkAnswers(count));
    }

    pub fn mend(&self) {
        self.set(Fault::None);
    }

    /// Requests and answers that were tampered with so far.
    pub fn harmed(&self) -> usize {
        self.state.harmed.load(Ordering::SeqCst)
    }

    fn set(&self, fault: Fault) {
        *self.state.fault.lock().expect("lock") = fault;
    }
}

impl State {
    fn is_cut(&self) -> bool {
        *self.fault.lock().expect("lock") == Fault::Cut
    }

    /// What is to be done to a request now, and one fewer left to do it to.
    fn fault_for_request(&self) -> Fault {
        let mut fault = self.fault.lock().expect("lock");
        let current = fault.clone();
        match &mut *fault {
            Fault::CutRequests(0) | Fault::LoseBulkAnswers(_) => return Fault::None,
            Fault::CutRequests(left) => *left -= 1,
            _ => {}
        }
        if current != Fault::None {
            self.harmed.fetch_add(1, Ordering::SeqCst);
        }
        current
    }

    fn loses_this_bulk_answer(&self) -> bool {
        let mut fault = self.fault.lock().expect("lock");
        let Fault::LoseBulkAnswers(left @ 1..) = &mut *fault else { return false };
        *left -= 1;
        self.harmed.fetch_add(1, Ordering::SeqCst);
        true
    }
}

fn relay(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let last_was_bulk = Arc::new(AtomicBool::new(false));
    let ends = |stream: &TcpStream| stream.try_clone().expect("clone");
    let (request_from, request_to) = (ends(&client), ends(&server));
    let (shared, is_bulk) = (Arc::clone(state), Arc::clone(&last_was_bulk));
    std::thread::spawn(move || carry_requests(request_from, request_to, &shared, &is_bulk));
    let shared = Arc::clone(state);
    std::thread::spawn(move || carry_answers(server, client, &shared, &last_was_bulk));
}

fn carry_requests(mut client: TcpStream, mut server: TcpStream, state: &State, is_bulk: &AtomicBool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..count];
        let begins_request = [&b"GET "[..], b"PUT ", b"POST ", b"HEAD ", b"DELETE "];
        if begins_request.iter().any(|method| bytes.starts_with(method)) {
            is_bulk.store(bytes.windows(6).take(500).any(|window| window == b"/_bulk"), Ordering::SeqCst);
            match state.fault_for_request() {
                Fault::Answer { status, body } => {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                    );
                    let _ = client.write_all((head + &body).as_bytes());
                    let _ = client.shutdown(Shutdown::Write);
                    // Unread bytes would turn the end into a reset, which throws the answer away.
                    while let Ok(1..) = client.read(&mut buffer) {}
                    break;
                }
                Fault::Cut | Fault::CutRequests(_) => break,
                Fault::None | Fault::LoseBulkAnswers(_) => {}
            }
        }
        if server.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    end(&client, &server);
}

fn carry_answers(mut server: TcpStream, mut client: TcpStream, state: &State, is_bulk: &AtomicBool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let is_lost = is_bulk.load(Ordering::SeqCst) && state.loses_this_bulk_answer();
        if is_lost || state.is_cut() || client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    end(&client, &server);
}

fn end(client: &TcpStream, server: &TcpStream) {
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
