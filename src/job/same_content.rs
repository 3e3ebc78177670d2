//! A file that the archive holds more than once is recognised once: copies take their text from the index.
//!
//! Reports are filed under several projects, and folders are copied as a whole. What a document says of its content
//! depends on the bytes and on the engine alone (its fingerprint covers models and settings), so a copy's document gets
//! the same fields as the one that stands in the index, and the same thumbnail. Only what was read completely and by
//! OCR is taken over: everything else is read faster than it is looked for, or deserves another try.

use crate::document::{Document, Outcome, keys};
use crate::store::Fetched;

use super::calls::Calls;
use super::object::Interruption;
use super::plan;

/// What the index knows of the same bytes.
pub struct Known {
    /// Of the other object; only what it says about its content is of interest.
    pub document: Box<Document>,
    /// JPEG; `None` when the other document has none.
    pub thumbnail: Option<Vec<u8>>,
}

/// Looks for a document of the same bytes (`REUSE_SAME_CONTENT`), for a file of which pages need OCR. Not when everything is to
/// be read anew.
///
/// One try each: this only saves work, so an index that may not be searched, or a thumbnail that is gone, means that the
/// file is read. An outage is for the calls that have to succeed.
///
/// # Errors
/// When the job has to end.
pub async fn find(calls: Calls<'_>, source_key: &str, fetched: &Fetched) -> Result<Option<Known>, Interruption> {
    let context = calls.context;
    let is_wanted = context.settings.reuse_same_content && context.settings.skip_unchanged && !context.force;
    if !is_wanted || !plan::may_need_ocr(source_key) {
        return Ok(None);
    }
    let engine = &context.engine_fingerprint;
    let found = calls.step(context.index.with_content(&fetched.content_sha256, engine)).await?;
    let Some(document) = found.ok().flatten().filter(|document| is_complete(document, fetched, engine)) else {
        return Ok(None);
    };
    let mut thumbnail = None;
    if document.thumbnail_url.is_some() {
        let key = keys::thumbnail_key(&document.file_key);
        let Ok(jpeg) = calls.step(context.store.read_state(&key)).await? else { return Ok(None) };
        thumbnail = Some(jpeg);
    }
    Ok(Some(Known { document: Box::new(document), thumbnail }))
}

/// A search may answer with what somebody else wrote: taken over is only what this worker would have written itself.
fn is_complete(document: &Document, fetched: &Fetched, engine: &str) -> bool {
    document.outcome == Some(Outcome::Indexed)
        && document.success
        && document.content_sha256.as_deref() == Some(&fetched.content_sha256)
        && document.ocr_engine.as_deref() == Some(engine)
        && document.converted_etag.is_none()
        && document.file_size == Some(fetched.size_bytes)
        && document.pages_ocr > 0
        && document.extracted_text.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = "engine";

    fn fetched() -> Fetched {
        Fetched { size_bytes: 7, content_sha256: "abc".to_owned() }
    }

    fn complete() -> Document {
        Document {
            success: true,
            outcome: Some(Outcome::Indexed),
            content_sha256: Some("abc".to_owned()),
            ocr_engine: Some(ENGINE.to_owned()),
            file_size: Some(7),
            pages_ocr: 1,
            extracted_text: Some("道路橋".to_owned()),
            ..Document::default()
        }
    }

    #[test]
    fn only_a_complete_reading_of_the_same_bytes_by_the_same_engine_is_taken_over() {
        assert!(is_complete(&complete(), &fetched(), ENGINE));
        let others: [fn(&mut Document); 7] = [
            |document| document.outcome = Some(Outcome::IndexedPartial),
            |document| document.success = false,
            |document| document.content_sha256 = Some("abd".to_owned()),
            |document| document.ocr_engine = Some("older engine".to_owned()),
            |document| document.converted_etag = Some("etag".to_owned()),
            |document| document.pages_ocr = 0,
            |document| document.extracted_text = None,
        ];
        for change in others {
            let mut document = complete();
            change(&mut document);
            assert!(!is_complete(&document, &fetched(), ENGINE), "{document:?}");
        }
    }
}
