//! The child: what runs when the parent starts this same binary with the hidden argument `child`.
//!
//! It reads documents that nobody vetted, with libraries in C and C++, so it is built to be lost: it knows
//! nothing worth stealing, gives up what it does not need before it sees the first byte of a document, and ends
//! with its parent. Its socket is file descriptor 0; stdout is nowhere; stderr goes to the parent's log.
//!
//! A page that cannot be read is an answer. Only what kills the process (a crash, a limit, the parent) ends a
//! request without one.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};

use crate::allocator;
use crate::document::Failure;
use crate::extract::{OpenError, Worker};
use crate::pool::frames::{self, FrameError};
use crate::pool::protocol::{ChildReady, ChildSettings, DocumentRef, Opened, Page, PageSource, Reply, Request};
use crate::pool::sandbox;

/// Makes the kernel's out-of-memory killer choose a child before anything else of the service (-1000 to 1000).
const OUT_OF_MEMORY_SCORE: &str = "500";

/// What `top` shows.
const SHORT_NAME: &CStr = c"file-proc-child";

/// Why a child ended by itself.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("`child` is for the worker itself: standard input is not its socket")]
    NotStartedByParent,
    #[error("the parent is gone")]
    Orphaned,
    #[error("{operation}")]
    Prepare {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("limit resources")]
    Limits(#[from] sandbox::SandboxError),
    #[error("make a failed allocation fatal")]
    Allocator(#[from] allocator::NotInForce),
    #[error("{0}")]
    NotReady(String),
    #[error("talk to the parent")]
    Frames(#[from] FrameError),
}

/// The child's main function. Returns when the parent has closed the socket.
pub fn run() -> ExitCode {
    match live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sandbox::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn live() -> Result<(), ChildError> {
    let mut socket = part_from_parent()?;
    let Some(settings) = frames::read_blocking::<ChildSettings>(&mut socket)? else { return Ok(()) };
    let (mut worker, ready) = match prepare(&settings) {
        Ok(prepared) => prepared,
        Err(ChildError::NotReady(sentence)) => {
            frames::write_blocking(&mut socket, &Reply::NotReady(sentence.clone()))?;
            return Err(ChildError::NotReady(sentence));
        }
        Err(error) => return Err(error),
    };
    frames::write_blocking(&mut socket, &Reply::Ready(ready))?;
    while let Some(request) = frames::read_blocking::<Request>(&mut socket)? {
        serve(&mut worker, &settings, request, &mut socket)?;
    }
    Ok(())
}

/// Cuts every tie to the parent but the socket, and makes sure not to outlive it.
fn part_from_parent() -> Result<UnixStream, ChildError> {
    let failed = |operation| move |source: io::Error| ChildError::Prepare { operation, source };
    let parent = socket_creator()?;
    // Before the parent is looked for: whoever dies in between is noticed by the comparison.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failed("ask to end with the parent")(errno.into()))?;
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(ChildError::Orphaned);
    }
    // A session of its own: neither the terminal's Ctrl-C nor a signal to the parent's group reaches it.
    setsid().map_err(|errno| failed("open a session")(errno.into()))?;
    ignore_stop_signals();
    // Process lists would show `exe`, after the path it was started by.
    // SAFETY: the name is a string of at most 15 bytes with its null.
    unsafe { libc::prctl(libc::PR_SET_NAME, SHORT_NAME.as_ptr()) };
    // SAFETY: nothing in this process has opened a descriptor above 2 yet that it still uses.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(failed("close inherited files")(io::Error::last_os_error()));
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE) {
        sandbox::complain(&error);
    }
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed("take over the socket"))?;
    Ok(UnixStream::from(socket))
}

/// The process that made the socket pair: the parent, whatever its number was when it forked.
fn socket_creator() -> Result<libc::pid_t, ChildError> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the buffer is a `ucred` and `length` its size.
    let result = unsafe {
        libc::getsockopt(
            io::stdin().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 || credentials.pid == 0 {
        return Err(ChildError::NotStartedByParent);
    }
    Ok(credentials.pid)
}

/// systemd sends SIGTERM to every process of the service. The parent drains then and needs its children: they
/// end when it closes the socket, or with it.
fn ignore_stop_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Limits first, so that they hold while models load; the sandbox last, because loading needs files outside it.
fn prepare(settings: &ChildSettings) -> Result<(Worker, ChildReady), ChildError> {
    sandbox::limit_resources(settings.memory_limit_bytes)?;
    allocator::arm()?;
    let worker = Worker::start(settings).map_err(ChildError::NotReady)?;
    let (tesseract_version, pdfium_version) = worker.versions();
    let sandbox = sandbox::confine(settings, true);
    Ok((worker, ChildReady { tesseract_version, pdfium_version, sandbox }))
}

fn serve(
    worker: &mut Worker,
    #[cfg_attr(not(debug_assertions), expect(unused_variables))] settings: &ChildSettings,
    request: Request,
    socket: &mut UnixStream,
) -> Result<(), FrameError> {
    #[cfg(debug_assertions)]
    crate::pool::misbehave::obey_document(&request);
    match request {
        Request::Open { document, whole } => match worker.open(&document) {
            Ok(opened) if whole && opened.is_running_text() => return read_whole(worker, &document, opened, socket),
            Ok(opened) => frames::write_blocking(socket, &Reply::Opened(opened))?,
            Err(OpenError { failure, mime_type }) => {
                return frames::write_blocking(socket, &Reply::DocumentFailed { failure, mime_type });
            }
        },
        Request::Survey { document, first, count } => survey(worker, &document, first, count, socket)?,
        Request::Recognize { document, page, effort } => {
            let result = worker.recognize(&document, page, effort);
            let answer = result.unwrap_or_else(|failure| failed_page(page, failure));
            frames::write_blocking(socket, &Reply::Page(answer))?;
        }
        Request::Thumbnail { document } => show(worker, &document, socket)?,
        Request::Close => worker.close(),
        #[cfg(debug_assertions)]
        Request::Misbehave { how } => crate::pool::misbehave::misbehave(how, settings, socket)?,
    }
    frames::write_blocking(socket, &Reply::Done)
}

/// Answers all that there is to say of a running text. In one write, so that the parent wakes up once.
fn read_whole(
    worker: &mut Worker,
    document: &DocumentRef,
    opened: Opened,
    socket: &mut UnixStream,
) -> Result<(), FrameError> {
    let mut answers = Vec::new();
    frames::write_blocking(&mut answers, &Reply::Opened(opened))?;
    survey(worker, document, 1, 1, &mut answers)?;
    show(worker, document, &mut answers)?;
    worker.close();
    frames::write_blocking(&mut answers, &Reply::Done)?;
    socket.write_all(&answers).map_err(FrameError::Transfer)
}

fn show(worker: &mut Worker, document: &DocumentRef, socket: &mut impl Write) -> Result<(), FrameError> {
    let thumbnail = worker.thumbnail(document).unwrap_or_else(|failure| {
        eprintln!("no thumbnail: {failure}");
        None
    });
    frames::write_blocking(socket, &Reply::Thumbnail(thumbnail))
}

/// Answers page by page, so that the parent's clock starts anew with each and a crash costs only its own page.
fn survey(
    worker: &mut Worker,
    document: &DocumentRef,
    first: u32,
    count: u32,
    socket: &mut impl Write,
) -> Result<(), FrameError> {
    for page in first..first.saturating_add(count) {
        let answer = match worker.survey(document, page) {
            Ok(Some(page)) => Reply::Page(page),
            Ok(None) => Reply::NeedsOcr { page },
            Err(failure) => Reply::Page(failed_page(page, failure)),
        };
        frames::write_blocking(socket, &answer)?;
    }
    Ok(())
}

/// A page without text and with the reason.
pub fn failed_page(number: u32, failure: Failure) -> Page {
    Page {
        number,
        source: PageSource::Failed,
        confidence: None,
        failure: Some(failure),
        text: String::new(),
        truncated: false,
        cost_ms: 0,
    }
}
