//! What the daemon says about itself, to people and to machines.
//!
//! * [`events`]: every operational event, one struct each: its log line and its metric
//! * [`metrics`]: the names of all metrics, and their rendering for `/metrics`
//! * [`logging`]: where log lines go: journal, terminal, JSON lines
//! * [`status`]: the daemon's state, readable without holding up the pipeline; [`sentence`]: the same in words
//! * [`http`]: `/livez /readyz /metrics /status` on loopback
//! * [`systemd`]: READY, STATUS, WATCHDOG, STOPPING

pub mod events;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod sentence;
pub mod status;
pub mod systemd;
