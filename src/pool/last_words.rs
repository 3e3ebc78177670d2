//! What a dying child still says: how much address space it had when a signal ended it.
//!
//! A C library whose `malloc` returned null mostly crashes on the null. From outside that is one more SIGSEGV, and
//! the page would be called `crashed` where `out_of_memory` is the truth. The kernel forgets the process's memory
//! before the parent can look, so the child itself writes one line to stderr, from the signal handler.

use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// How the line begins; the figure that follows is in kB, as in `/proc/self/status`.
pub const PREFIX: &str = "last words: ";
/// The field of `/proc/self/status` that is repeated.
pub const PEAK_FIELD: &str = "VmPeak:";

/// Enough for the fields up to `VmPeak`, small enough for the alternate signal stack.
const STATUS_BYTES: usize = 2048;

const FATAL_SIGNALS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGILL, libc::SIGTRAP, libc::SIGFPE];

static STATUS_FILE: AtomicI32 = AtomicI32::new(-1);

/// Installs the handler. Must come before the sandbox, behind which `/proc` cannot be opened.
pub fn prepare() -> io::Result<()> {
    let status_file = File::open("/proc/self/status")?;
    STATUS_FILE.store(status_file.into_raw_fd(), Ordering::Relaxed);
    for signal in FATAL_SIGNALS {
        install(signal)?;
    }
    Ok(())
}

fn install(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: sigaction is a plain C struct for which all zeroes (no flags, empty mask) is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = speak as *const () as usize;
    // The default action is back as soon as the handler runs, so the signal that it raises again is the end;
    // the alternate stack (set up by Rust's runtime) is for overflows of the ordinary one.
    action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
    // SAFETY: the handler uses only calls that are safe in a signal handler, and `action` outlives the call.
    if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn speak(signal: libc::c_int) {
    let mut status = [0_u8; STATUS_BYTES];
    // SAFETY: pread, write and raise are safe in a signal handler; the buffers are on this stack and their
    // lengths are right.
    unsafe {
        let length = libc::pread(STATUS_FILE.load(Ordering::Relaxed), status.as_mut_ptr().cast(), status.len(), 0);
        let known = &status[..usize::try_from(length).unwrap_or(0).min(STATUS_BYTES)];
        if let Some(line) = peak_line(known) {
            libc::write(libc::STDERR_FILENO, PREFIX.as_ptr().cast(), PREFIX.len());
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        }
        libc::raise(signal);
    }
}

/// The line of the field with its line end, without allocating.
fn peak_line(status: &[u8]) -> Option<&[u8]> {
    let start = status.windows(PEAK_FIELD.len()).position(|window| window == PEAK_FIELD.as_bytes())?;
    let length = status[start..].iter().position(|byte| *byte == b'\n')?;
    Some(&status[start..=start + length])
}

/// The peak that the child's stderr tells of, in bytes. A child may lie: the figure only chooses between two
/// reasons for the same failed page.
pub fn peak_bytes(stderr: &str) -> Option<u64> {
    let line = stderr.lines().rev().find_map(|line| line.strip_prefix(PREFIX)?.strip_prefix(PEAK_FIELD))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_kernel_is_found_and_read_back() {
        let status = b"Name:\tx\nVmPeak:\t  123456 kB\nVmSize:\t 1 kB\n";
        let line = std::str::from_utf8(peak_line(status).unwrap()).unwrap();
        assert_eq!(peak_bytes(&format!("noise\n{PREFIX}{line}")), Some(123_456 * 1024));
    }

    #[test]
    fn other_words_tell_nothing() {
        assert_eq!(peak_bytes("terminate called\nVmPeak: 5 kB\n"), None);
        assert_eq!(peak_bytes("last words: VmPeak: many kB\n"), None);
        assert_eq!(peak_line(b"VmPeak:\t 12"), None);
    }
}
