//! Child processes: how they begin, what they say on stderr, how they end.
//!
//! All of them are started by one thread that lives as long as the pool, because PDEATHSIG fires when the
//! *thread* that forked ends: started from a thread of the runtime's blocking pool, a child would be killed
//! whenever that thread has been idle for a while. The same thread reaps children whose owner went away.
//!
//! A child inherits its socket as stdin, a pipe as stderr, nothing as stdout and two variables: everything else
//! in this process's environment may be a credential. Other descriptors are close-on-exec in Rust; the child
//! closes what libraries may have left open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixStream, unix::pipe};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::allocator::ENVIRONMENT_OF_A_CHILD;
use crate::pool::CHILD_ARGUMENT;
use crate::pool::frames::FrameStream;

/// What a child has for an environment. OpenMP makes Tesseract two to three times slower here, and it reads the
/// variable when it is loaded, which is before the child's `main`.
const ENVIRONMENT: [(&str, &str); 2] = [("OMP_THREAD_LIMIT", "1"), ("LC_ALL", "C.UTF-8")];

/// What process lists show.
const PROCESS_NAME: &str = "file-processor-worker";

/// How much of the end of a child's stderr is kept for the verdict.
const STDERR_TAIL_BYTES: usize = 8 * 1024;

/// After a child's death its stderr ends at once; this only bounds the impossible.
const STDERR_END_LIMIT: Duration = Duration::from_secs(1);

/// A child whose socket was closed has that long to exit by itself.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// Why no child could be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("{operation} for a child process")]
    Operation {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the thread that starts child processes has ended")]
    NoSpawner,
}

enum Order {
    Spawn { program: PathBuf, reply: oneshot::Sender<Result<Raw, SpawnError>> },
    Reap(Child),
}

/// A started process, not yet bound to the runtime.
struct Raw {
    process: Child,
    socket: StdUnixStream,
    pidfd: OwnedFd,
}

/// A handle on the thread that starts children; the thread ends with the last handle.
#[derive(Clone, Debug)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    pub fn start() -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel();
        std::thread::Builder::new().name("child-spawner".into()).spawn(move || work(&receiver))?;
        Ok(Self { orders })
    }

    /// Starts `program` as a child and returns when it runs (it has said nothing yet).
    pub async fn spawn(&self, program: PathBuf) -> Result<ChildProcess, SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Spawn { program, reply }).map_err(|_| SpawnError::NoSpawner)?;
        let raw = answer.await.map_err(|_| SpawnError::NoSpawner)??;
        ChildProcess::new(raw, self.clone())
    }

    fn reap(&self, process: Child) {
        // Without the thread the whole pool is gone, and PDEATHSIG has ended the child.
        let _ = self.orders.send(Order::Reap(process));
    }
}

fn work(orders: &mpsc::Receiver<Order>) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::Spawn { program, reply } => {
                if let Err(Ok(unwanted)) = reply.send(spawn_here(&program)) {
                    end_here(unwanted.process);
                }
            }
            Order::Reap(process) => end_here(process),
        }
    }
}

fn end_here(mut process: Child) {
    if let Err(error) = process.kill().and_then(|()| process.wait()) {
        log::warn!(error:%; "a child process could not be ended");
    }
}

/// `DOTPRODUCT=avx2`, if that is the parent's: our build of the engine then computes as on a processor without AVX-512
/// VNNI. For measuring; it changes no text.
fn without_vnni() -> Option<(&'static str, &'static str)> {
    std::env::var_os("DOTPRODUCT").filter(|value| value == "avx2").map(|_| ("DOTPRODUCT", "avx2"))
}

fn spawn_here(program: &PathBuf) -> Result<Raw, SpawnError> {
    let failed = |operation| move |source| SpawnError::Operation { operation, source };
    let (socket, child_socket) = StdUnixStream::pair().map_err(failed("make a socket pair"))?;
    let process = Command::new(program)
        .arg0(PROCESS_NAME)
        .arg(CHILD_ARGUMENT)
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(ENVIRONMENT_OF_A_CHILD)
        .envs(without_vnni())
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(child_socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("start the program"))?;
    match pidfd_open(Pid::from_child(&process), PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Raw { process, socket, pidfd }),
        Err(errno) => {
            end_here(process);
            Err(failed("open the pidfd")(errno.into()))
        }
    }
}

/// How a child ended and what it said last.
#[derive(Debug)]
pub struct Departure {
    /// `None` when it did not end by itself.
    pub status: Option<ExitStatus>,
    pub stderr: String,
}

/// A running child, owned by one task. Dropping it ends the process.
pub struct ChildProcess {
    pub frames: FrameStream,
    /// `None` once it was reaped.
    process: Option<Child>,
    pidfd: AsyncFd<OwnedFd>,
    pid: Pid,
    stderr: Option<JoinHandle<String>>,
    spawner: Spawner,
}

impl ChildProcess {
    fn new(raw: Raw, spawner: Spawner) -> Result<Self, SpawnError> {
        let Raw { mut process, socket, pidfd } = raw;
        let pid = Pid::from_child(&process);
        let stderr = process.stderr.take();
        let bound = bind_to_runtime(socket, pidfd, stderr.map(OwnedFd::from));
        let (frames, pidfd, stderr) = match bound {
            Ok(bound) => bound,
            Err(source) => {
                spawner.reap(process);
                return Err(SpawnError::Operation { operation: "watch the socket and pipe", source });
            }
        };
        let stderr = stderr.map(|pipe| tokio::spawn(keep_tail(pipe, pid)));
        Ok(Self { frames, process: Some(process), pidfd, pid, stderr, spawner })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills the child's whole session. It is not waited for: see [`ChildProcess::depart`].
    pub fn kill(&self) {
        if self.process.is_none() {
            return;
        }
        // The process is not reaped yet, so its number is still its own. It has no group before its `setsid`,
        // and no members in it behind its sandbox; both calls may find nobody.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = pidfd_send_signal(self.pidfd.get_ref().as_fd(), Signal::KILL);
    }

    /// Resident memory in bytes; `None` when it cannot be read.
    pub fn resident_bytes(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).ok()?;
        let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
        // SAFETY: sysconf takes a number and returns one.
        let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        pages.checked_mul(page_bytes)
    }

    /// Waits for the end of a child that is ending already or was told to by [`ChildProcess::kill`]; one that
    /// takes longer than a moment is killed.
    pub async fn depart(mut self) -> Departure {
        let status = match tokio::time::timeout(EXIT_LIMIT, self.exited()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill();
                // Only so that its stderr is at an end; a process that resists even this is left to `drop`.
                let _ = tokio::time::timeout(EXIT_LIMIT, self.exited()).await;
                None
            }
        };
        let stderr = match self.stderr.take() {
            Some(tail) => tokio::time::timeout(STDERR_END_LIMIT, tail).await.ok().and_then(Result::ok),
            None => None,
        };
        Departure { status, stderr: stderr.unwrap_or_default() }
    }

    /// Closes the socket, upon which an idle child exits by itself.
    pub async fn dismiss(mut self) -> Departure {
        self.frames.close().await;
        self.depart().await
    }

    async fn exited(&mut self) -> Option<ExitStatus> {
        self.pidfd.readable().await.ok()?.retain_ready();
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if let Some(process) = self.process.take() {
            self.spawner.reap(process);
        }
    }
}

type Bound = (FrameStream, AsyncFd<OwnedFd>, Option<pipe::Receiver>);

fn bind_to_runtime(socket: StdUnixStream, pidfd: OwnedFd, stderr: Option<OwnedFd>) -> io::Result<Bound> {
    socket.set_nonblocking(true)?;
    let frames = FrameStream::new(UnixStream::from_std(socket)?);
    // SAFETY: an OwnedFd is open as long as the AsyncFd that owns it, and always the same descriptor.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(io::Error::from)?;
    let stderr = stderr.map(pipe::Receiver::from_owned_fd).transpose()?;
    Ok((frames, pidfd, stderr))
}

/// Reads a child's stderr to its end, logs it line by line, and returns the last of it.
async fn keep_tail(mut pipe: pipe::Receiver, pid: Pid) -> String {
    let mut tail = Tail::default();
    let mut buffer = [0_u8; 1024];
    while let Ok(length) = pipe.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        for line in tail.push(&buffer[..length]) {
            log::debug!(child_pid = pid.as_raw_nonzero().get(), line:%; "child says");
        }
    }
    tail.text()
}

/// The last bytes of a stream, and its lines as they become whole.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    /// Where the line begins that has no end yet.
    line_start: usize,
}

impl Tail {
    fn push(&mut self, more: &[u8]) -> Vec<String> {
        self.bytes.extend_from_slice(more);
        let mut lines = Vec::new();
        while let Some(length) = self.bytes[self.line_start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.bytes[self.line_start..self.line_start + length];
            // What a document makes a library say must not steer a terminal.
            lines.push(String::from_utf8_lossy(line).escape_debug().to_string());
            self.line_start += length + 1;
        }
        let excess = self.bytes.len().saturating_sub(STDERR_TAIL_BYTES);
        self.bytes.drain(..excess);
        self.line_start = self.line_start.saturating_sub(excess);
        lines
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_end_and_yields_whole_lines() {
        let mut tail = Tail::default();
        assert!(tail.push(b"half").is_empty());
        assert_eq!(tail.push(b" line\nnext\nre"), ["half line", "next"]);
        tail.push(&[b'x'; STDERR_TAIL_BYTES]);
        assert_eq!(tail.push(b"st\nend"), [format!("{}st", "x".repeat(STDERR_TAIL_BYTES))]);
        assert!(tail.text().ends_with("st\nend"));
        assert_eq!(tail.text().len(), STDERR_TAIL_BYTES);
    }
}
