//! Every operational event is one struct whose `emit` writes its log line and moves its metric, so that the two
//! cannot disagree and this list is the operator's manual.
//!
//! Levels: ERROR = data at risk, or a person must act (the deploy pipeline fails on any line with ERROR, so a bad file
//! is never one). WARN = something failed and was recovered from, nothing is lost. INFO = what an operator wants to
//! read the next morning. DEBUG = the rest. Fields carry the values, the message stays the same, so that it can be
//! searched for.
//!
//! Events that change the daemon's state (a finished job, a dependency that goes down, the drain) are emitted by
//! [`super::status::Status`], which is told of them by the pipeline.

mod checkpoints;
mod children;
mod dependencies;
mod interruptions;
mod jobs;
mod life;
mod messages;

pub use checkpoints::{CheckpointFailed, GuiltyAttempts, PagesRestored};
pub use children::{
    ChildDied, ChildReplaced, ChildStarted, ChildrenCannotStart, PoolResized, ReplacementCause, ResizeDirection,
};
pub use dependencies::{
    DependencyDown, DependencyUp, IndexFieldsLeftOut, IndexItemsRetried, SpoolFailed, StatusServerUnavailable,
};
pub use interruptions::{
    DrainShortened, LifecycleActionCompleted, LifecycleActionFailed, LifecycleActionUnknown, LifecycleHeartbeat,
    LifecycleHeartbeatFailed, MetadataAbsent, MetadataAnswers, MetadataUnavailable,
};
pub use jobs::{JobFinished, JobPanicked, PageCounts, SmokeTestFailed, SmokeTestPassed, StageTimes, ThumbnailFailed};
pub use life::{
    ConfigurationIgnored, ConfigurationWarning, DrainFinished, DrainStarted, Ready, Starting, WatchdogWithheld,
};
pub use messages::{
    DeadLetterFailed, DeleteFailed, LeaseExtended, LeaseExtensionFailed, LeaseLost, MessageDeadLettered,
    MessageDeleted, MessageReleased, MessageSentAnew, MessagesReceived, ReceiveFailed, ReleaseCause, SentAnewCause,
};

#[cfg(test)]
mod tests;

/// Seconds with milliseconds: what a person reads and a query can compare.
fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
