//! A child that does on order what bad documents make children do, so that tests can prove what the parent and
//! the sandbox make of it. Not in release builds.
//!
//! What kills is done for real. What the sandbox must deny is tried, and the answer is a page whose text says what
//! came of it: `denied: EPERM …`, or the loot.
//!
//! A document can give the order, too, so that the whole daemon can be tested with files that kill their readers:
//! see [`obey_document`].

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::pool::frames::{self, FrameError};
use crate::pool::protocol::{
    ChildSettings, DocumentRef, Effort, MAX_FRAME_BYTES, Misbehaviour, Page, PageSource, Reply, Request,
};

/// What the exit status of [`Misbehaviour::Exit`] is.
pub const EXIT_STATUS: i32 = 3;

/// How an order in a document begins: `%fpw-test:<stage>:<how>:<effort>` among its last bytes, where stage is `open`,
/// `survey` or `recognize`, how is `segfault`, `hang` or `memory`, and effort `normal` (not when the page is tried
/// again with less) or `always`.
const ORDER_MARK: &str = "%fpw-test:";
/// Where an order is looked for.
const ORDER_TAIL_BYTES: i64 = 200;

const CHUNK_BYTES: usize = 16 * 1024 * 1024;

pub fn misbehave(how: Misbehaviour, settings: &ChildSettings, socket: &mut UnixStream) -> Result<(), FrameError> {
    let result = match how {
        Misbehaviour::Segfault => segfault(),
        Misbehaviour::Abort => std::process::abort(),
        Misbehaviour::Exit => std::process::exit(EXIT_STATUS),
        Misbehaviour::Hang => hang(),
        Misbehaviour::EatMemory => eat_memory(),
        Misbehaviour::Garbage => {
            return socket
                .write_all(&[0, 0, 0, 9, 255, 255, 255, 255, 255, 255, 255, 255, 255])
                .map_err(FrameError::Transfer);
        }
        Misbehaviour::OversizedFrame => {
            let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap_or(u32::MAX);
            return socket.write_all(&length.to_be_bytes()).map_err(FrameError::Transfer);
        }
        Misbehaviour::WrongReply => return frames::write_blocking(socket, &Reply::NeedsOcr { page: 4711 }),
        Misbehaviour::OpenSocket => open_sockets(),
        Misbehaviour::Execute => Command::new("/bin/true").status().map(|status| status.to_string()),
        Misbehaviour::ReadSecret => fs::read_to_string("/etc/passwd"),
        Misbehaviour::WriteFile => {
            let target = settings.spool_dir.join("written-by-a-child");
            fs::write(&target, "x").map(|()| format!("wrote {}", target.display()))
        }
        Misbehaviour::PrintEnvironment => Ok(environment()),
    };
    let text = result.unwrap_or_else(|error| format!("denied: {error}"));
    frames::write_blocking(socket, &Reply::Page(text_page(text)))
}

/// Misbehaves when the document of the request orders it for this stage.
pub fn obey_document(request: &Request) {
    let (stage, document, effort) = match request {
        Request::Open { document, .. } => ("open", document, Effort::Normal),
        Request::Survey { document, .. } => ("survey", document, Effort::Normal),
        Request::Recognize { document, effort, .. } => ("recognize", document, *effort),
        _ => return,
    };
    let Some(order) = order_in(document) else { return };
    let mut words = order.split(':');
    let (for_stage, how, for_effort) = (words.next(), words.next(), words.next());
    if for_stage != Some(stage) || (for_effort == Some("normal") && effort != Effort::Normal) {
        return;
    }
    match how {
        Some("segfault") => segfault(),
        Some("hang") => hang(),
        Some("memory") => drop(eat_memory()),
        _ => {}
    }
}

fn order_in(document: &DocumentRef) -> Option<String> {
    let mut file = File::open(&document.spool_file).ok()?;
    let mut tail = Vec::new();
    // A shorter file is read from its beginning.
    let _ = file.seek(SeekFrom::End(-ORDER_TAIL_BYTES));
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let order = text.split(ORDER_MARK).nth(1)?;
    Some(order.lines().next().unwrap_or_default().trim().to_owned())
}

fn text_page(text: String) -> Page {
    Page { number: 1, source: PageSource::Text, confidence: None, failure: None, text, truncated: false, cost_ms: 0 }
}

/// What a C library does with a null pointer to a struct.
fn segfault() -> ! {
    const NEAR_NULL: usize = 8;
    // SAFETY: it is not safe, which is the point: nothing is ever mapped there, so the kernel ends the process.
    unsafe { std::ptr::without_provenance_mut::<u8>(NEAR_NULL).write_volatile(1) };
    std::process::abort()
}

fn hang() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Takes memory until there is none. `strdup` allocates inside a shared library, as those that read documents do;
/// it would hand back a null and go on.
fn eat_memory() -> io::Result<String> {
    let text = CString::new(vec![b'x'; CHUNK_BYTES])?;
    loop {
        // SAFETY: the text is a C string. The copy is kept on purpose; without the black box, none would be made.
        let copy = std::hint::black_box(unsafe { libc::strdup(text.as_ptr()) });
        if copy.is_null() {
            return Ok("went on without memory".to_string());
        }
    }
}

/// Internet and abstract sockets; each must fail.
fn open_sockets() -> io::Result<String> {
    let mut errors = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK] {
        // SAFETY: socket takes three numbers.
        let descriptor = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if descriptor >= 0 {
            return Ok(format!("opened a socket of family {family}"));
        }
        errors.push(io::Error::last_os_error());
    }
    errors.pop().map_or_else(|| Ok("tried nothing".to_string()), Err)
}

fn environment() -> String {
    let mut variables: Vec<String> =
        std::env::vars_os().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
    variables.sort();
    variables.join("\n")
}
