//! What the daemon says about itself, to people and to machines.
//!
//! * [`events`]: every operational event, one struct each: its log line and its metric
//! * [`metrics`]: the names of all metrics, and their rendering for `/metrics`
//! * [`emf`]: the contract's metrics for CloudWatch, in the log file
//! * [`logging`]: where log lines go: journal, terminal, JSON lines
//! * [`status`]: the daemon's state, readable without holding up the pipeline; [`sentence`]: the same in words
//! * [`outage`]: why a dependency does not work; [`breaker`]: from which failure on it counts as down
//! * [`http`]: `/livez /readyz /metrics /status` on loopback
//! * [`systemd`]: READY, STATUS, WATCHDOG, STOPPING

mod bounded_listener;
pub mod breaker;
pub mod emf;
pub mod events;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod outage;
pub mod sentence;
pub mod status;
pub mod systemd;

/// An error and its causes on one line: what a log line or a STATUS says of it.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let next = source.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = source.source();
    }
    text
}
