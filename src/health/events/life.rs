//! From start to stop.

use std::time::Duration;

use super::seconds;

/// The program starts; configuration is read.
#[derive(Clone, Debug)]
pub struct Starting<'a> {
    pub version: &'a str,
    pub commit: &'a str,
    /// The command: `run`, `local`, …
    pub command: &'a str,
}

impl Starting<'_> {
    pub fn emit(self) {
        log::info!(
            version:% = self.version,
            commit:% = self.commit,
            command:% = self.command,
            pid = std::process::id();
            "starting"
        );
    }
}

/// A setting works but probably was not meant.
#[derive(Clone, Debug)]
pub struct ConfigurationWarning<'a> {
    /// A sentence that names the variable.
    pub text: &'a str,
}

impl ConfigurationWarning<'_> {
    pub fn emit(self) {
        log::warn!("configuration: {}", self.text);
    }
}

/// A variable was set that does nothing here (contract §2: start-up says why).
#[derive(Clone, Debug)]
pub struct ConfigurationIgnored<'a> {
    pub variable: &'a str,
    pub why: &'a str,
}

impl ConfigurationIgnored<'_> {
    pub fn emit(self) {
        log::info!(variable:% = self.variable, why:% = self.why; "configuration: variable ignored");
    }
}

/// Configuration, children, queue, bucket and index are proven; messages are being taken.
/// Emitted through [`crate::health::status::Status::set_ready`].
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub start_took: Duration,
}

impl Ready {
    pub fn emit(self) {
        log::info!(seconds = seconds(self.start_took); "ready");
    }
}

/// Receiving stopped; jobs in flight are finished as far as the time reaches.
/// Emitted through [`crate::health::status::Status::drain_started`].
#[derive(Clone, Debug)]
pub struct DrainStarted<'a> {
    /// `SIGTERM`, `spot interruption`, …
    pub cause: &'a str,
    pub jobs_in_flight: u64,
    pub budget: Duration,
}

impl DrainStarted<'_> {
    pub fn emit(self) {
        log::info!(
            cause:% = self.cause,
            jobs_in_flight = self.jobs_in_flight,
            budget_seconds = seconds(self.budget);
            "draining"
        );
    }
}

/// The drain is over; what was not finished is back in the queue.
#[derive(Clone, Copy, Debug)]
pub struct DrainFinished {
    /// Jobs that came to their outcome during the drain.
    pub finished: u64,
    /// Messages given back.
    pub released: u64,
    pub took: Duration,
    /// Whether the budget ended before the jobs did.
    pub deadline_reached: bool,
}

impl DrainFinished {
    pub fn emit(self) {
        log::info!(
            finished = self.finished,
            released = self.released,
            seconds = seconds(self.took),
            deadline_reached = self.deadline_reached;
            "drained"
        );
    }
}

/// systemd is not told that the daemon lives, because something in it does not: systemd will restart it.
#[derive(Clone, Debug)]
pub struct WatchdogWithheld<'a> {
    pub why: &'a str,
}

impl WatchdogWithheld<'_> {
    pub fn emit(self) {
        log::error!(why:% = self.why; "watchdog withheld, systemd restarts the daemon unless this ends");
    }
}
