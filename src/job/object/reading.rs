//! An object's bytes: fetched, read by the children or known already, and what becomes of its thumbnail.

use std::time::Instant;

use futures_util::FutureExt;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Interruption, ObjectJob};
use crate::document::keys;
use crate::health::error_chain;
use crate::health::events::ThumbnailFailed;
use crate::job::attempt::Rung;
use crate::job::calls::Calls;
use crate::job::same_content::{self, Known};
use crate::job::spool::SpoolFile;
use crate::pool::{Care, Extraction, Source};
use crate::store::{Fetched, ObjectState, StoreError, spool};

/// The bytes of one ETag, already read: a change of metadata alone does not read them again.
pub struct ReadObject {
    pub etag: String,
    pub fetched: Fetched,
    pub reading: Reading,
}

/// The bytes of one ETag, not read yet.
pub struct AtHand {
    pub etag: String,
    pub bytes: Bytes,
}

pub enum Reading {
    Extracted(Extraction),
    /// Taken over from another document of the same bytes.
    Known(Known),
}

impl ReadObject {
    pub fn same_as(&self) -> Option<&str> {
        match &self.reading {
            Reading::Extracted(_) => None,
            Reading::Known(known) => Some(&known.document.file_key),
        }
    }

    fn thumbnail(&mut self) -> &mut Option<Vec<u8>> {
        match &mut self.reading {
            Reading::Extracted(extraction) => &mut extraction.thumbnail,
            Reading::Known(known) => &mut known.thumbnail,
        }
    }
}

impl ObjectJob<'_> {
    /// Fetches and extracts the object in this state.
    pub(super) async fn read(
        &mut self,
        source_key: &str,
        state: &ObjectState,
    ) -> Result<Result<ReadObject, StoreError>, Interruption> {
        let spool_file = self.calls().spool_file(state.size_bytes).await?;
        let fetch_started = Instant::now();
        let at_hand = self.at_hand.take().filter(|held| held.etag == state.etag && source_key == self.key);
        let (store, bucket) = (&self.context.store, &self.event.bucket);
        let fetch = || match &at_hand {
            Some(held) => spool::write_whole(spool_file.path(), held.bytes.clone()).boxed(),
            None => store.fetch(bucket, source_key, state, spool_file.path()),
        };
        let fetched = match self.calls().on_store(fetch).await? {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        self.times.fetch = fetch_started.elapsed();
        let extract_started = Instant::now();
        let reading = self.reading(source_key, state, &fetched, &spool_file).await?;
        self.times.extract = extract_started.elapsed();
        Ok(Ok(ReadObject { etag: state.etag.clone(), fetched, reading }))
    }

    /// Has the file read as far as the object's history allows, or, where that needs OCR, takes over what another document
    /// of the same bytes says.
    async fn reading(
        &mut self,
        source_key: &str,
        state: &ObjectState,
        fetched: &Fetched,
        spool_file: &SpoolFile,
    ) -> Result<Reading, Interruption> {
        let calls =
            Calls { context: self.context, cancel: self.attempt.cancel, lost: self.attempt.lost, subject: &self.key };
        let find = || same_content::find(calls, source_key, fetched);
        let beginning = self.history.begin(calls, &state.etag, &fetched.content_sha256).await?;
        let may_recognize = matches!(beginning.rung, Rung::Read(Care::Normal | Care::Alone));
        // Where no page may be recognised, nothing will ask.
        if !may_recognize && let Some(known) = find().await? {
            return Ok(Reading::Known(known));
        }
        let care = match beginning.rung {
            Rung::Read(care) => care,
            Rung::GiveUp(failure) => {
                return Ok(Reading::Extracted(Extraction { failure: Some(failure), ..Extraction::default() }));
            }
        };
        let source = Source {
            spool_file: spool_file.path().to_owned(),
            file_name: keys::file_name(source_key).to_owned(),
            thumbnail: true,
            care,
            known_pages: beginning.known_pages,
            observer: self.history.observe(self.observer.clone()),
        };
        let done = CancellationToken::new();
        let mut known = Ok(None);
        let reading = async {
            let is_known = async {
                known = find().await;
                !matches!(known, Ok(None))
            };
            let extraction = self.context.pool.extract_unless(source, self.attempt.cancel, is_known).await;
            done.cancel();
            extraction
        };
        let (read, ()) = tokio::join!(reading, self.history.watch(&self.observer, &done));
        let extraction = read.map_err(|_cancelled| Interruption::Cancelled)?;
        if let Some(known) = known? {
            return Ok(Reading::Known(known));
        }
        let Some(extraction) = extraction else { return Err(Interruption::Cancelled) };
        if !spool_file.is_there() {
            // Somebody deleted the spool: whatever the child made of that says nothing about the object.
            return Err(Interruption::Retry(format!("the spool file of {} vanished while it was read", self.key)));
        }
        Ok(Reading::Extracted(extraction))
    }

    /// Where the thumbnail is, `None` when there is none; one that fails never fails the document (contract §3).
    pub(super) async fn put_thumbnail(&mut self) -> Option<String> {
        let content = self.content.as_mut()?;
        let thumbnail_key = keys::thumbnail_key(&self.key);
        if let Some(jpeg) = content.thumbnail().take() {
            if let Err(error) = self.context.store.put_thumbnail(&thumbnail_key, jpeg).await {
                ThumbnailFailed { key: &self.key, why: &error_chain(&error) }.emit();
                return None;
            }
            *content.thumbnail() = Some(Vec::new());
        }
        content.thumbnail().as_ref().map(|_written| self.context.store.thumbnail_url(&thumbnail_key))
    }
}
