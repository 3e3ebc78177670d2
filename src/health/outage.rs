//! Why something that the daemon depends on does not work, in one word for metrics and in words for people.

use std::fmt;

use serde::Serialize;

use super::status::Dependency;

/// The kind of an outage: it tells an operator where to look, and the breaker how soon to believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutageCause {
    /// No answer: connection refused or reset, name not found, time-out.
    Unreachable,
    /// An answer that says "later": 429, 503, throttling.
    Throttled,
    /// Our credentials or permissions are not accepted.
    Refused,
    /// What we write to takes no writes: an index block.
    ReadOnly,
    /// The cluster's disks are over the flood-stage watermark; it blocks writes until there is room.
    FloodStage,
    /// The queue, bucket or index does not exist.
    Missing,
    /// A local disk has no room left, or no inodes.
    Full,
    /// Any other answer that is nobody's object's fault.
    Failing,
}

impl OutageCause {
    /// In logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            OutageCause::Unreachable => "unreachable",
            OutageCause::Throttled => "throttled",
            OutageCause::Refused => "refused",
            OutageCause::ReadOnly => "read_only",
            OutageCause::FloodStage => "flood_stage",
            OutageCause::Missing => "missing",
            OutageCause::Full => "full",
            OutageCause::Failing => "failing",
        }
    }
}

/// One observation of something that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub cause: OutageCause,
    /// What was said or seen, for a person.
    pub detail: String,
}

impl Outage {
    pub fn new(cause: OutageCause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

/// What a person can do about it, where the cause tells; everything else passes by itself.
pub fn advice(dependency: Dependency, cause: OutageCause) -> Option<&'static str> {
    match (dependency, cause) {
        (Dependency::Index, OutageCause::FloodStage) => Some("free disk space on the cluster"),
        (Dependency::Index, OutageCause::ReadOnly) => Some("remove the block from the index"),
        (Dependency::Index, OutageCause::Missing) => Some("check OPENSEARCH_INDEX, or run --create-index"),
        (Dependency::Index, OutageCause::Refused) => Some(
            "check the domain's access policy for the instance role, or OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD",
        ),
        (Dependency::Store, OutageCause::Missing) => Some("check S3_BUCKET"),
        (Dependency::Store, OutageCause::Refused) => Some("check the instance role's access to S3_BUCKET"),
        (Dependency::Queue, OutageCause::Missing) => Some("check SQS_QUEUE_URL"),
        (Dependency::Queue, OutageCause::Refused) => Some("check the instance role's access to SQS_QUEUE_URL"),
        (Dependency::DeadLetterQueue, OutageCause::Missing) => {
            Some("create it, or check DLQ_QUEUE_URL and the queue's redrive policy")
        }
        (Dependency::DeadLetterQueue, OutageCause::Refused) => Some("check the instance role's access to it"),
        (Dependency::Spool, OutageCause::Full) => Some("free disk space under TEMP_DIR"),
        _ => None,
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.cause.as_str().replace('_', " "), self.detail)
    }
}
