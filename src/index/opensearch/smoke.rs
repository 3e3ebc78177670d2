//! The smoke test's own index, `{index}-smoke-test` (contract §1 kind 8): made when missing, kept for a day.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::{OpenSearchIndex, outage};
use crate::document::Document;
use crate::index::{IndexError, ObjectOrder, SmokeTestTimes};

const SUFFIX: &str = "-smoke-test";
/// How long smoke-test documents are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Writes the document under the id, reads it back, and removes what is older than a day.
pub async fn write(index: &OpenSearchIndex, id: &str, document: &Document) -> Result<SmokeTestTimes, IndexError> {
    let started = Instant::now();
    let smoke_index = smoke_test_index(index);
    smoke_index.create().await?;
    let order = ObjectOrder { sequencer: None, last_modified_ms: Timestamp::now().as_millisecond() };
    smoke_index.put_as(id, document, &order, true).await?;
    let written = started.elapsed();
    let Some(stored) = smoke_index.source(id).await? else {
        return Err(outage::not_understood(format!("smoke test {id}: the document cannot be read back")));
    };
    if stored.get("extracted_text").and_then(|text| text.as_str()) != document.extracted_text.as_deref() {
        return Err(outage::not_understood(format!("smoke test {id}: the document read back has another text")));
    }
    let read_back = started.elapsed().saturating_sub(written);
    // Left-overs of other smoke tests are no reason for this one to fail.
    if let Err(error) = smoke_index.delete_older_than(Timestamp::now() - KEPT).await {
        log::warn!(error:% = error; "old smoke-test documents could not be removed");
    }
    Ok(SmokeTestTimes { written, read_back })
}

/// Whether a worker has written the document.
pub async fn exists(index: &OpenSearchIndex, id: &str) -> Result<bool, IndexError> {
    Ok(smoke_test_index(index).source(id).await?.is_some())
}

/// The smoke-test index that belongs to an index.
pub(super) fn smoke_test_index(index: &OpenSearchIndex) -> OpenSearchIndex {
    index.with_index(&format!("{}{SUFFIX}", index.index_name()))
}
