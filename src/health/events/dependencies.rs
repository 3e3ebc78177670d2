//! What the daemon depends on, and what it does without.

use std::net::SocketAddr;
use std::time::Duration;

use super::seconds;
use crate::health::metrics::{Counter, Histogram};
use crate::health::outage::{Outage, advice};
use crate::health::status::Dependency;

/// A dependency went down: messages stay in the queue, probes go on. Not an ERROR: nothing is lost
/// and work resumes by itself; an alarm on `file_processor_dependency_up` decides when a person is woken.
#[derive(Clone, Debug)]
pub struct DependencyDown<'a> {
    pub dependency: Dependency,
    pub outage: &'a Outage,
}

impl DependencyDown<'_> {
    pub fn emit(self) {
        let (dependency, cause) = (self.dependency.as_str(), self.outage.cause.as_str());
        Counter::DependencyOutages.add(1, &[("dependency", dependency), ("cause", cause)]);
        let advice = advice(self.dependency, self.outage.cause).unwrap_or("none: it passes by itself");
        log::warn!(dependency, cause, reason:% = self.outage.detail, advice; "dependency down, waiting for it");
    }
}

/// A dependency works again.
#[derive(Clone, Copy, Debug)]
pub struct DependencyUp {
    pub dependency: Dependency,
    pub down_for: Duration,
}

impl DependencyUp {
    pub fn emit(self) {
        Histogram::DependencyOutage.record(self.down_for, &[("dependency", self.dependency.as_str())]);
        log::info!(
            dependency = self.dependency.as_str(),
            down_seconds = seconds(self.down_for);
            "dependency works again"
        );
    }
}

/// Items of a bulk request were answered 429 or 503 and are sent again.
#[derive(Clone, Copy, Debug)]
pub struct IndexItemsRetried<'a> {
    pub items: usize,
    /// What the index said.
    pub why: &'a str,
}

impl IndexItemsRetried<'_> {
    pub fn emit(self) {
        Counter::IndexRetries.add(self.items as u64, &[]);
        log::info!(items = self.items, why:% = self.why; "index items are sent again");
    }
}

/// A `dynamic: strict` index lacks fields of ours; documents are written without them (contract §3). Once a start.
#[derive(Clone, Debug)]
pub struct IndexFieldsLeftOut<'a> {
    pub index: &'a str,
    /// Joined by commas.
    pub fields: &'a str,
}

impl IndexFieldsLeftOut<'_> {
    pub fn emit(self) {
        log::warn!(index:% = self.index, fields:% = self.fields; "index lacks fields, they are left out of documents");
    }
}

/// The spool cannot be written although its disk has room (broken, read-only, closed to us): nothing is read until
/// somebody mends that. A full disk is no such event: it is a dependency that is down.
#[derive(Clone, Debug)]
pub struct SpoolFailed<'a> {
    pub path: &'a str,
    pub error: &'a str,
}

impl SpoolFailed<'_> {
    pub fn emit(self) {
        log::error!(path:% = self.path, error:% = self.error; "spool cannot be written, nothing is read until this is mended");
    }
}

/// The status address cannot be listened on (a port in use). The daemon's work does not depend on it.
#[derive(Clone, Debug)]
pub struct StatusServerUnavailable<'a> {
    pub address: SocketAddr,
    pub error: &'a str,
}

impl StatusServerUnavailable<'_> {
    pub fn emit(self) {
        log::warn!(
            address:% = self.address,
            error:% = self.error;
            "status address not available, running without /livez /readyz /metrics /status"
        );
    }
}
