//! The one outcome that every object ends in, and the reason for it (contract §4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of one object (contract §4). Exactly one per object and delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The document is in the index with all of its text.
    Indexed,
    /// The document is in the index; some of its pages are missing (`pages_failed`, or a limit).
    IndexedPartial,
    /// The document is in the index, findable by name and path, without text; the reason says why.
    IndexedWithoutText,
    /// The object is gone and so is its document.
    Deleted,
    /// A recognised no-op; the reason says which.
    Skipped,
    /// The message was copied to the dead-letter queue with the reason as attribute.
    DeadLettered,
    /// Nothing was written; the message goes back to the queue.
    Retry,
}

impl Outcome {
    /// Every outcome, in the order in which summaries list them.
    pub const ALL: [Outcome; 7] = [
        Outcome::Indexed,
        Outcome::IndexedPartial,
        Outcome::IndexedWithoutText,
        Outcome::Deleted,
        Outcome::Skipped,
        Outcome::DeadLettered,
        Outcome::Retry,
    ];

    /// The name used in the index, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Indexed => "indexed",
            Outcome::IndexedPartial => "indexed_partial",
            Outcome::IndexedWithoutText => "indexed_without_text",
            Outcome::Deleted => "deleted",
            Outcome::Skipped => "skipped",
            Outcome::DeadLettered => "dead_lettered",
            Outcome::Retry => "retry",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Why an object ended in its outcome, or why a page has no text (contract §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    NoText,
    UnsupportedFormat,
    Encrypted,
    Corrupt,
    TooLarge,
    TooManyPages,
    TooManyPixels,
    ArchiveBomb,
    Timeout,
    OutOfMemory,
    Crashed,
    Empty,
    LowConfidence,
    MetadataOnly,
    NotFound,
    AccessDenied,
    NoSuchBucket,
    ArchivedStorageClass,
    MalformedMessage,
    IndexRejected,
    /// A notification that asks for nothing (contract §1 kind 11).
    IrrelevantEvent,
    /// Thumbnails, previews and folder markers (contract §1).
    IgnoredKey,
    /// The S3 test event (contract §1 kind 7).
    TestEvent,
    /// Index and bucket agree already: same ETag, same engine fingerprint.
    Unchanged,
    /// The index holds a newer state of the object.
    Superseded,
    /// A converted PDF whose text is in the document of its DocuWorks original (contract §5).
    BelongsToOriginal,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 26;

    /// Every reason, in the order of their declaration, so that `ALL[reason as usize] == reason`.
    pub const ALL: [Reason; Reason::COUNT] = [
        Reason::NoText,
        Reason::UnsupportedFormat,
        Reason::Encrypted,
        Reason::Corrupt,
        Reason::TooLarge,
        Reason::TooManyPages,
        Reason::TooManyPixels,
        Reason::ArchiveBomb,
        Reason::Timeout,
        Reason::OutOfMemory,
        Reason::Crashed,
        Reason::Empty,
        Reason::LowConfidence,
        Reason::MetadataOnly,
        Reason::NotFound,
        Reason::AccessDenied,
        Reason::NoSuchBucket,
        Reason::ArchivedStorageClass,
        Reason::MalformedMessage,
        Reason::IndexRejected,
        Reason::IrrelevantEvent,
        Reason::IgnoredKey,
        Reason::TestEvent,
        Reason::Unchanged,
        Reason::Superseded,
        Reason::BelongsToOriginal,
    ];

    /// The name used in the index, in message attributes, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoText => "no_text",
            Reason::UnsupportedFormat => "unsupported_format",
            Reason::Encrypted => "encrypted",
            Reason::Corrupt => "corrupt",
            Reason::TooLarge => "too_large",
            Reason::TooManyPages => "too_many_pages",
            Reason::TooManyPixels => "too_many_pixels",
            Reason::ArchiveBomb => "archive_bomb",
            Reason::Timeout => "timeout",
            Reason::OutOfMemory => "out_of_memory",
            Reason::Crashed => "crashed",
            Reason::Empty => "empty",
            Reason::LowConfidence => "low_confidence",
            Reason::MetadataOnly => "metadata_only",
            Reason::NotFound => "not_found",
            Reason::AccessDenied => "access_denied",
            Reason::NoSuchBucket => "no_such_bucket",
            Reason::ArchivedStorageClass => "archived_storage_class",
            Reason::MalformedMessage => "malformed_message",
            Reason::IndexRejected => "index_rejected",
            Reason::IrrelevantEvent => "irrelevant_event",
            Reason::IgnoredKey => "ignored_key",
            Reason::TestEvent => "test_event",
            Reason::Unchanged => "unchanged",
            Reason::Superseded => "superseded",
            Reason::BelongsToOriginal => "belongs_to_original",
        }
    }

    /// Whether a document without text for this reason still counts as `success: true`
    /// (contract §4: everything worked, there was nothing to read).
    pub fn is_success(self) -> bool {
        matches!(self, Reason::NoText | Reason::MetadataOnly)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A reason with the words that explain it to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    /// A sentence: what happened to which thing. Goes into `error_message` and the DLQ's `detail`.
    pub detail: String,
}

impl Failure {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_reasons_is_in_the_order_of_their_declaration_and_names_are_those_of_the_index() {
        for (position, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
            assert_eq!(serde_json::to_value(reason).expect("a reason is a string"), reason.as_str());
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).expect("an outcome is a string"), outcome.as_str());
        }
    }
}
