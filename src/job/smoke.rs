//! The smoke test (contract §1 kind 8): the whole path on a document built into the binary.
//!
//! It touches neither the bucket nor the production documents: the document is a scan, so that the children, pdfium
//! and the OCR engine are proven too, and it goes into an index of its own.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::document::build::{self, Content, DocumentInput, Engine};
use crate::document::{Document, Outcome};
use crate::health::events::{SmokeTestFailed, SmokeTestPassed};
use crate::health::status::Dependency;
use crate::pool::{Extraction, Source};
use crate::store::ObjectState;

use super::Context;
use super::calls::Calls;
use super::object::Interruption;

/// One scanned page of our own making.
const SCAN: &[u8] = include_bytes!("smoke_test.pdf");
/// What has to be found in it. A word that OCR reads reliably: this proves the path, not the quality.
const EXPECTED: &str = "smoke test";
const FILE_NAME: &str = "smoke_test.pdf";

/// Runs the smoke test and logs its one line. An interruption gives the message back: a worker that cannot read its
/// own document must not acknowledge it.
pub async fn run(context: &Context, id: &str, cancel: &CancellationToken) -> Result<(), Interruption> {
    let started = Instant::now();
    // It writes through no call of these that would have to know the difference.
    let calls = Calls { context, cancel, lost: cancel, subject: id };
    let spool_file = calls.spool_file(SCAN.len() as u64).await?;
    while let Err(error) = tokio::fs::write(spool_file.path(), SCAN).await {
        calls.wait_out_spool_failure(&error).await?;
    }

    let source = Source::new(spool_file.path().to_owned(), FILE_NAME);
    let extraction = context.pool.extract(source, cancel).await.map_err(|_cancelled| Interruption::Cancelled)?;
    let extracted = started.elapsed();

    let document = build_document(context, id, &extraction, extracted);
    let text = document.extracted_text.as_deref().unwrap_or_default();
    if document.outcome != Some(Outcome::Indexed) || !text.contains(EXPECTED) {
        let sentence = document.error_message.as_deref().unwrap_or("its text was not recognised");
        SmokeTestFailed { id, stage: "extract", why: sentence }.emit();
        return Err(Interruption::Retry(format!("smoke test {id} failed: {sentence}")));
    }
    let began = tokio::time::Instant::now();
    let times = match context.index.write_smoke_test(id, &document).await {
        Ok(times) => times,
        Err(error) => {
            SmokeTestFailed { id, stage: "index", why: &error.to_string() }.emit();
            // The smoke test's own index may be the trouble; only the documents' index makes an outage.
            if let Err(outage) = context.index.probe().await.map_err(|probed| probed.outage()) {
                context.status.dependency_failed(Dependency::Index, began, &outage);
            }
            return Err(Interruption::Retry(format!("smoke test {id}: {error}")));
        }
    };
    SmokeTestPassed {
        id,
        extract: extracted,
        index: times.written,
        read_back: times.read_back,
        total: started.elapsed(),
    }
    .emit();
    Ok(())
}

fn build_document(context: &Context, id: &str, extraction: &Extraction, processing_time: Duration) -> Document {
    let now = Timestamp::now();
    let state = ObjectState {
        etag: String::new(),
        size_bytes: SCAN.len() as u64,
        last_modified: now,
        version_id: None,
        archived: false,
        user_metadata: Default::default(),
    };
    let engine =
        Engine { fingerprint: &context.engine_fingerprint, ocr_language: &context.settings.extraction.ocr_language };
    build::build(DocumentInput {
        key: id,
        bucket: None,
        object_url: &format!("smoke-test:{id}"),
        state: &state,
        converted: None,
        event: None,
        indexed: None,
        content: Content::Extracted { extraction, content_sha256: "", engine },
        thumbnail_url: None,
        processor: super::PROCESSOR,
        processing_time,
        processed_at: now,
        indexed_at: now,
    })
}
