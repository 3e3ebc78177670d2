//! How many files and sockets may be open, and how many are needed.
//!
//! The soft limit of most systems is 1024, kept low for programs that use select(2); it may be raised to the hard limit
//! by anybody. What the daemon needs is bounded: everything that opens a file does so for a child, for a job, or for
//! a client of the status pages, and there are limits on each. HTTP connections need no limit of their own: the SDK
//! and the OpenSearch client open one when a request finds none free, and requests are made by jobs one at a time.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::health::http::MAX_CONNECTIONS;

/// The soft limit is raised to this at most: some kernels allow a billion, and tables grow with it.
const RAISED_TO: u64 = 65_536;
/// A child's socket and stderr, both ends while it is started, and the pipe of its exit.
const FOR_EACH_CHILD: u64 = 8;
/// A job's file in the spool, and its connections to S3, to OpenSearch and to SQS; twice, since a connection that was
/// given up closes later than the next one opens.
const FOR_EACH_JOB: u64 = 8;
/// Runtime, log file, journal, locks, libraries, name look-ups, credentials, the receive call, probes.
const FOR_THE_REST: u64 = 128;

/// Raises the soft limit as far as it may go; what it is then. An unlimited one counts as the largest number.
///
/// # Errors
/// When the kernel refuses: the limit stays as it was.
pub fn raise() -> io::Result<u64> {
    let now = getrlimit(Resource::Nofile);
    let allowed = now.maximum.unwrap_or(u64::MAX).min(RAISED_TO);
    let current = now.current.unwrap_or(u64::MAX);
    if current >= allowed {
        return Ok(current);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: now.maximum })?;
    Ok(allowed)
}

/// What so many children and jobs need.
pub fn needed(children: usize, jobs: usize) -> u64 {
    let each = |count: usize, files: u64| (count as u64).saturating_mul(files);
    each(children, FOR_EACH_CHILD)
        .saturating_add(each(jobs, FOR_EACH_JOB))
        .saturating_add(MAX_CONNECTIONS as u64)
        .saturating_add(FOR_THE_REST)
}

/// A sentence for the operator when the limit is below the need; work goes on until it is reached.
pub fn shortage(limit: u64, needed: u64) -> Option<String> {
    (limit < needed).then(|| {
        format!("only {limit} open files are allowed, {needed} may be needed: raise LimitNOFILE or lower MAX_WORKERS")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_once_and_to_a_bound() {
        let raised = raise().unwrap();
        let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(raised >= allowed.min(RAISED_TO));
        assert_eq!(raise().unwrap(), raised);
    }

    #[test]
    fn the_usual_machine_needs_less_than_the_usual_limit() {
        assert!(needed(4, 14) < 1024);
        assert_eq!(shortage(1024, needed(4, 14)), None);
        let sentence = shortage(256, 300).unwrap();
        assert!(sentence.contains("256") && sentence.contains("300") && sentence.contains("LimitNOFILE"));
    }
}
