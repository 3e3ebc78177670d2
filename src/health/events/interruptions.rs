//! What announces the end of this instance, and what is told back.

use std::time::Duration;

use super::seconds;

/// A drain is on its way and something more urgent came: less time is left.
/// Emitted through [`crate::health::status::Status::drain_shortened`].
#[derive(Clone, Debug)]
pub struct DrainShortened<'a> {
    /// `SIGTERM`, `spot interruption`, …
    pub cause: &'a str,
    /// From now.
    pub budget: Duration,
}

impl DrainShortened<'_> {
    pub fn emit(self) {
        log::info!(cause:% = self.cause, budget_seconds = seconds(self.budget); "drain shortened");
    }
}

/// There is no instance metadata service here, so no notices: not on EC2, or switched off.
#[derive(Clone, Debug)]
pub struct MetadataAbsent<'a> {
    pub why: &'a str,
}

impl MetadataAbsent<'_> {
    pub fn emit(self) {
        log::info!(why:% = self.why; "no instance metadata service: spot and scaling notices are not watched");
    }
}

/// The metadata service has stopped answering. It is asked on; until it answers, notices are seen late.
#[derive(Clone, Debug)]
pub struct MetadataUnavailable<'a> {
    pub error: &'a str,
}

impl MetadataUnavailable<'_> {
    pub fn emit(self) {
        log::warn!(error:% = self.error; "instance metadata service does not answer, asked on");
    }
}

/// The metadata service answers; said at the start and after [`MetadataUnavailable`].
#[derive(Clone, Copy, Debug)]
pub struct MetadataAnswers;

impl MetadataAnswers {
    pub fn emit(self) {
        log::info!("instance metadata service answers: spot and scaling notices are watched");
    }
}

/// The group waits with the termination of this instance, and we cannot tell it that we are done: it waits until the
/// hook's own timeout.
#[derive(Clone, Debug)]
pub struct LifecycleActionUnknown<'a> {
    /// What is missing, and which variable would say it.
    pub why: &'a str,
}

impl LifecycleActionUnknown<'_> {
    pub fn emit(self) {
        log::warn!(why:% = self.why; "lifecycle action not completed, its hook ends by its own timeout");
    }
}

/// The group was told that the drain goes on.
#[derive(Clone, Debug)]
pub struct LifecycleHeartbeat<'a> {
    pub hook: &'a str,
}

impl LifecycleHeartbeat<'_> {
    pub fn emit(self) {
        log::debug!(hook:% = self.hook; "lifecycle action prolonged");
    }
}

/// The group could not be told that the drain goes on. It may terminate the instance before the drain is over: what is
/// in work then comes back when its visibility timeout ends.
#[derive(Clone, Debug)]
pub struct LifecycleHeartbeatFailed<'a> {
    pub hook: &'a str,
    pub error: &'a str,
}

impl LifecycleHeartbeatFailed<'_> {
    pub fn emit(self) {
        log::warn!(hook:% = self.hook, error:% = self.error; "lifecycle action not prolonged");
    }
}

/// The group may terminate the instance now.
#[derive(Clone, Debug)]
pub struct LifecycleActionCompleted<'a> {
    pub group: &'a str,
    pub hook: &'a str,
}

impl LifecycleActionCompleted<'_> {
    pub fn emit(self) {
        log::info!(group:% = self.group, hook:% = self.hook; "lifecycle action completed");
    }
}

/// The group could not be told that we are done: it waits until the hook's own timeout.
#[derive(Clone, Debug)]
pub struct LifecycleActionFailed<'a> {
    pub group: &'a str,
    pub hook: &'a str,
    pub error: &'a str,
}

impl LifecycleActionFailed<'_> {
    pub fn emit(self) {
        log::warn!(
            group:% = self.group, hook:% = self.hook, error:% = self.error;
            "lifecycle action not completed, its hook ends by its own timeout"
        );
    }
}
