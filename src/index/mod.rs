//! Where the documents go: OpenSearch, or a tantivy index in embedded mode.

pub mod embedded;
pub mod opensearch;

use std::time::Duration;

use async_trait::async_trait;

use crate::document::Document;
use crate::health::outage::{Outage, OutageCause};

/// What decides which of two states of one object is newer: the sequencer where both have one, else the
/// store's LastModified (blueprint, "Truth check").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOrder {
    /// Hexadecimal; compared after right-padding with zeros.
    pub sequencer: Option<String>,
    /// Milliseconds since 1970-01-01 UTC.
    pub last_modified_ms: i64,
}

impl ObjectOrder {
    /// Whether this state is newer than `other`. Equal states, and states that cannot be compared, are not.
    pub fn is_newer_than(&self, other: &ObjectOrder) -> bool {
        let (Some(ours), Some(theirs)) = (&self.sequencer, &other.sequencer) else {
            return self.last_modified_ms > other.last_modified_ms;
        };
        let length = ours.len().max(theirs.len());
        let padded = |sequencer: &str| format!("{:0<length$}", sequencer.to_lowercase());
        padded(ours) > padded(theirs)
    }
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The index acknowledged it.
    Written,
    /// The index holds a newer state of this object: nothing was changed.
    Superseded,
}

/// What the index holds about a key, as far as it tells whether work is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexedState {
    pub etag: Option<String>,
    pub converted_etag: Option<String>,
    pub ocr_engine: Option<String>,
    pub outcome: Option<String>,
    pub s3_last_modified: Option<String>,
    /// Perhaps from a message of the producer's that nobody sends again.
    pub nas_path: Option<String>,
    pub modified_at: Option<String>,
}

/// How long the smoke test's document took.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmokeTestTimes {
    pub written: Duration,
    pub read_back: Duration,
}

/// Why the index did not take a write.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// This document's fault (HTTP 400 for the item); the text is the index's own.
    #[error("the index rejected the document: {0}")]
    Rejected(String),
    /// Never the document's fault: down, throttled, refusing our credentials, read-only, missing index.
    #[error("the index is unavailable: {0}")]
    Unavailable(Outage),
}

impl IndexError {
    /// What this says about the index as a whole.
    pub fn outage(&self) -> Outage {
        match self {
            IndexError::Unavailable(outage) => outage.clone(),
            IndexError::Rejected(text) => Outage::new(OutageCause::Failing, text),
        }
    }
}

/// The index of documents.
#[async_trait]
pub trait Index: Send + Sync {
    /// Writes the document unless the index holds a newer state; fields of other programs survive.
    /// `force` writes whatever the order says (the bucket went back to an older state).
    async fn put(&self, document: &Document, order: &ObjectOrder, force: bool) -> Result<Verdict, IndexError>;

    /// The same without force where the index held nothing under the key a moment ago, which may be cheaper to write.
    async fn put_new(&self, document: &Document, order: &ObjectOrder) -> Result<Verdict, IndexError> {
        self.put(document, order, false).await
    }

    /// Removes the key's document unless it is of a newer state than `order`; absent is `Written`.
    async fn delete(&self, key: &str, order: Option<&ObjectOrder>) -> Result<Verdict, IndexError>;

    /// What the index holds under the key; `None` when there is no document.
    async fn state(&self, key: &str) -> Result<Option<IndexedState>, IndexError>;

    /// A document, of any key, that the engine made of a file with these bytes (SHA-256 in hexadecimal), with pages that
    /// it recognised, all of them. Documents written in the last moments may not be found yet. An index that does not
    /// look for content answers `None`.
    async fn with_content(&self, _content_sha256: &str, _engine: &str) -> Result<Option<Document>, IndexError> {
        Ok(None)
    }

    /// Whether the index exists, answers and takes writes. One short try: the caller asks again soon.
    async fn probe(&self) -> Result<(), IndexError>;

    /// Writes a smoke test's document (contract §1 kind 8) under `id` into the smoke-test index, which is created
    /// when missing, reads it back, and removes those older than a day.
    async fn write_smoke_test(&self, id: &str, document: &Document) -> Result<SmokeTestTimes, IndexError>;

    /// Whether the smoke-test index holds a document under `id`.
    async fn has_smoke_test(&self, id: &str) -> Result<bool, IndexError>;

    /// Makes everything written so far durable and searchable (end of an embedded run).
    async fn flush(&self) -> Result<(), IndexError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(sequencer: Option<&str>, last_modified_ms: i64) -> ObjectOrder {
        ObjectOrder { sequencer: sequencer.map(str::to_owned), last_modified_ms }
    }

    #[test]
    fn sequencers_decide_where_both_have_one_and_dates_otherwise() {
        assert!(order(Some("0055AED6DCD90281E51"), 0).is_newer_than(&order(Some("0055aed6dcd90281e5"), 9)));
        assert!(!order(Some("00A0"), 9).is_newer_than(&order(Some("00a"), 0)), "right-padded they are equal");
        assert!(order(Some("00A"), 2).is_newer_than(&order(None, 1)));
        assert!(!order(None, 1).is_newer_than(&order(None, 1)));
    }
}
