//! Why a child ended, in the words of contract §4: `timeout`, `out_of_memory` or `crashed`.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::document::{Failure, Reason};

/// What allocators and libraries say before they give up. Looked for only in a child that died.
const OUT_OF_MEMORY_PHRASES: [&str; 4] = [
    "memory allocation of", // Rust
    "bad_alloc",            // C++
    "out of memory",        // `allocator`, and libraries of their own accord
    "Cannot allocate memory",
];

/// How the parent saw a request end without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The parent killed it: no answer within the limit.
    OverTime(Duration),
    /// The parent killed it: what it said was no answer to the question.
    Nonsense(String),
    /// It ended by itself, or something else ended it.
    Gone,
}

/// The failure that the page gets whose reading the child did not survive.
///
/// `status` is `None` when the process did not end by itself; `stderr` is the end of what it said there.
pub fn verdict(ending: &Ending, status: Option<ExitStatus>, stderr: &str, memory_limit_bytes: u64) -> Failure {
    match ending {
        Ending::OverTime(limit) => {
            Failure::new(Reason::Timeout, format!("the reading process gave no answer within {limit:?} and was killed"))
        }
        Ending::Nonsense(what) => {
            Failure::new(Reason::Crashed, format!("the reading process spoke nonsense and was killed: {what}"))
        }
        Ending::Gone => departed(status, stderr, memory_limit_bytes),
    }
}

fn departed(status: Option<ExitStatus>, stderr: &str, memory_limit_bytes: u64) -> Failure {
    let how = match status {
        Some(status) => describe(status),
        None => "closed its socket without ending".to_string(),
    };
    let is_killed_by_system = status.and_then(|status| status.signal()) == Some(libc::SIGKILL);
    if is_killed_by_system || says_out_of_memory(stderr) {
        let limit_mib = memory_limit_bytes / (1024 * 1024);
        let detail = format!("the reading process ran out of memory (limit {limit_mib} MiB) and {how}");
        return Failure::new(Reason::OutOfMemory, detail);
    }
    Failure::new(Reason::Crashed, format!("the reading process {how}"))
}

fn says_out_of_memory(stderr: &str) -> bool {
    OUT_OF_MEMORY_PHRASES.iter().any(|phrase| stderr.contains(phrase))
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by {}", signal_name(signal)),
        (None, Some(code)) => format!("exited with status {code}"),
        (None, None) => "ended".to_string(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGABRT => "SIGABRT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1024 * 1024 * 1024;

    fn by_signal(signal: i32, stderr: &str) -> Reason {
        verdict(&Ending::Gone, Some(ExitStatus::from_raw(signal)), stderr, LIMIT).reason
    }

    #[test]
    fn a_segfault_is_a_crash() {
        assert_eq!(by_signal(libc::SIGSEGV, ""), Reason::Crashed);
    }

    #[test]
    fn an_abort_is_what_the_allocator_says_it_is() {
        assert_eq!(by_signal(libc::SIGABRT, "thread 'main' panicked"), Reason::Crashed);
        assert_eq!(by_signal(libc::SIGABRT, "memory allocation of 99 bytes failed"), Reason::OutOfMemory);
        assert_eq!(by_signal(libc::SIGABRT, "what():  std::bad_alloc"), Reason::OutOfMemory);
        assert_eq!(by_signal(libc::SIGABRT, crate::allocator::LAST_WORDS), Reason::OutOfMemory);
    }

    #[test]
    fn a_kill_that_was_not_ours_is_the_kernel_s_for_want_of_memory() {
        assert_eq!(by_signal(libc::SIGKILL, ""), Reason::OutOfMemory);
    }

    #[test]
    fn a_kill_of_ours_keeps_its_cause() {
        let killed = Some(ExitStatus::from_raw(libc::SIGKILL));
        let over_time = verdict(&Ending::OverTime(Duration::from_secs(180)), killed, "std::bad_alloc", LIMIT);
        assert_eq!(over_time.reason, Reason::Timeout);
        assert!(over_time.detail.contains("180s"), "{}", over_time.detail);
        let nonsense = verdict(&Ending::Nonsense("a frame".into()), killed, "", LIMIT);
        assert_eq!(nonsense.reason, Reason::Crashed);
    }

    #[test]
    fn an_exit_names_its_status() {
        let failure = verdict(&Ending::Gone, Some(ExitStatus::from_raw(3 << 8)), "", LIMIT);
        assert_eq!(failure, Failure::new(Reason::Crashed, "the reading process exited with status 3"));
    }
}
