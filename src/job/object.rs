//! One object's way: look at the bucket → fetch → extract → write → look again.
//!
//! The bucket is the truth and the event only a hint: whatever the event said, the index is made to agree with what
//! the bucket holds *now*. After the write the bucket is asked once more; if it holds something else by then, the
//! way starts again. So duplicates, reordering and replays end in the same document.
//!
//! What a document depends on may be more than one object (see [`super::docuworks`]): then all of them are looked at
//! before and after, and an event for one is followed by a look at the others' documents.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::document::build::{self, Content, DocumentInput, Engine};
use crate::document::{Document, Failure, Outcome, Reason, keys};
use crate::event::{EventKind, ObjectEvent};
use crate::health::error_chain;
use crate::health::events::{JobFinished, PageCounts, StageTimes, ThumbnailFailed};
use crate::index::{IndexedState, ObjectOrder, Verdict};
use crate::pool::Observer;
use crate::store::{ObjectState, StoreError};

use super::calls::Calls;
use super::docuworks::{self, Family, Relation, Sight};
use super::history::History;
use super::plan::{self, Plan};
use super::turns::Turn;
use super::{Context, JobProgress};
use reading::{AtHand, ReadObject, Reading};

mod reading;

/// An object that changes this often while it is looked at goes back to the queue.
const MAX_ROUNDS: usize = 5;

/// How long a job waits for another one about the same object. After that the message is given back, so that messages
/// about one long document do not fill all slots.
const TURN_LIMIT: Duration = Duration::from_secs(30);

/// How an object's way ended when it was not interrupted.
#[derive(Debug)]
pub enum ObjectEnd {
    /// The outcome is durable, or there was nothing to do.
    Finished,
    /// The object's own fault, and nothing can be indexed for it: `dead_lettered`.
    Fault(Failure),
}

/// Why an object's way ended early. Nothing wrong was written.
#[derive(Debug)]
pub enum Interruption {
    /// The lease is lost or the daemon has to go.
    Cancelled,
    /// The same, after a write was sent and before it was looked whether the bucket still agrees with it.
    CancelledInDoubt,
    /// Somebody else's fault; the message goes back to the queue.
    Retry(String),
    /// Store or index are down for so long that keeping the lease has no use.
    Outage(String),
}

enum Round {
    Settled(ObjectEnd),
    /// The bucket holds something else by now.
    LookAgain,
}

/// One delivery of the message that the object's event came in.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    pub message_id: &'a str,
    /// Deliveries so far, this one included; from 1.
    pub number: u32,
    pub progress: &'a JobProgress,
    /// Cancelled when the job has to end.
    pub cancel: &'a CancellationToken,
    /// Cancelled when the message is somebody else's now.
    pub lost: &'a CancellationToken,
}

/// Makes the index agree with the bucket about the event's key.
pub async fn process(context: &Context, event: &ObjectEvent, attempt: Attempt<'_>) -> Result<ObjectEnd, Interruption> {
    if keys::ignored_key(&event.key) {
        context.finished(&event.key, Outcome::Skipped, Some(Reason::IgnoredKey));
        return Ok(ObjectEnd::Finished);
    }
    let mut job = ObjectJob::new(context, event, attempt);
    let _turn = job.take_turn().await?;
    let mut end = job.run().await?;
    let Some(family) = Family::of(&job.key) else { return Ok(end) };
    for sibling in family.others(&job.key) {
        let event = docuworks::event_for(sibling, event);
        let sibling_end = ObjectJob { is_sibling: true, ..ObjectJob::new(context, &event, attempt) }.run().await?;
        if let ObjectEnd::Finished = end {
            end = sibling_end;
        }
    }
    Ok(end)
}

struct ObjectJob<'a> {
    context: &'a Context,
    event: &'a ObjectEvent,
    attempt: Attempt<'a>,
    /// The event's key, or its decoded form once that one was found.
    key: String,
    /// No event was about this key, only about one that its document may depend on: without a change of the document
    /// there is nothing to tell.
    is_sibling: bool,
    started: Instant,
    content: Option<ReadObject>,
    /// The bytes of a small file, which came with the first look at it.
    at_hand: Option<AtHand>,
    /// What the index held when it was looked at; `Some(None)`: nothing.
    indexed: Option<Option<IndexedState>>,
    /// The bucket went back to an older state than the index holds.
    force_write: bool,
    /// A write was sent, and nobody has looked yet whether the bucket agrees with it.
    is_write_in_doubt: bool,
    times: StageTimes,
    history: History<'a>,
    observer: Observer,
}

impl<'a> ObjectJob<'a> {
    fn new(context: &'a Context, event: &'a ObjectEvent, attempt: Attempt<'a>) -> Self {
        Self {
            context,
            event,
            attempt,
            key: event.key.clone(),
            is_sibling: false,
            started: Instant::now(),
            content: None,
            at_hand: None,
            indexed: None,
            force_write: false,
            is_write_in_doubt: false,
            times: StageTimes::default(),
            history: History::new(context, &event.bucket, &event.key, attempt.number),
            observer: attempt.progress.observer(),
        }
    }

    async fn run(&mut self) -> Result<ObjectEnd, Interruption> {
        let end = match self.rounds().await {
            Err(Interruption::Cancelled) if self.is_write_in_doubt => Err(Interruption::CancelledInDoubt),
            end => end,
        };
        match &end {
            Ok(_) => self.history.clear().await,
            // Somebody else is at it already: nothing of ours may get in the way.
            Err(_) if self.attempt.lost.is_cancelled() => {}
            Err(_) => self.history.leave(&self.observer).await,
        }
        end
    }

    fn calls(&self) -> Calls<'_> {
        Calls { context: self.context, cancel: self.attempt.cancel, lost: self.attempt.lost, subject: &self.key }
    }

    /// One job at a time for one object: several messages about it find it done when their turn comes, instead of
    /// reading it side by side.
    async fn take_turn(&self) -> Result<Turn, Interruption> {
        let waiting = docuworks::take_turn(self.context, &self.event.bucket, &self.key);
        let turn = self.calls().step(tokio::time::timeout(TURN_LIMIT, waiting)).await?;
        turn.map_err(|_elapsed| Interruption::Retry(format!("{} is being read for another message", self.key)))
    }

    async fn rounds(&mut self) -> Result<ObjectEnd, Interruption> {
        for _ in 0..MAX_ROUNDS {
            match self.round().await? {
                Round::Settled(end) => return Ok(end),
                Round::LookAgain => {}
            }
        }
        Err(Interruption::Retry(format!("{} changed {MAX_ROUNDS} times while it was read", self.key)))
    }

    async fn round(&mut self) -> Result<Round, Interruption> {
        let state = match self.find().await? {
            Ok(Some(state)) => state,
            // Its own event tells, or has told, that it is gone.
            Ok(None) if self.is_sibling => return Ok(Round::Settled(ObjectEnd::Finished)),
            Ok(None) => return self.remove(Reason::NotFound).await,
            Err(failure) => return Ok(Round::Settled(ObjectEnd::Fault(failure))),
        };
        let seen = match self.sight(state).await? {
            Ok(seen) => seen,
            Err(failure) => return Ok(Round::Settled(ObjectEnd::Fault(failure))),
        };
        if seen.relation == Relation::BelongsToOriginal {
            return self.leave_to_original().await;
        }
        let (source_key, source) = seen.source(&self.key);
        match plan::plan(source_key, source, &self.context.settings.file_size_limits) {
            Plan::Skip(_) if self.is_sibling => Ok(Round::Settled(ObjectEnd::Finished)),
            Plan::Skip(Reason::Empty) => self.remove(Reason::Empty).await,
            Plan::Skip(reason) => Ok(self.finished(Outcome::Skipped, Some(reason))),
            Plan::WithoutDownload(failure) => {
                if self.is_unchanged(&seen, None).await? {
                    return Ok(self.finished(Outcome::Skipped, Some(Reason::Unchanged)));
                }
                self.index_without_download(&seen, failure).await
            }
            Plan::Fetch => {
                if self.content.is_none() && self.is_unchanged(&seen, Some(&self.context.engine_fingerprint)).await? {
                    return Ok(self.finished(Outcome::Skipped, Some(Reason::Unchanged)));
                }
                self.index_content(&seen).await
            }
        }
    }

    /// The object's state now. The inner `Ok(None)`: there is no such object; `Err`: its own fault.
    async fn find(&mut self) -> Result<Result<Option<ObjectState>, Failure>, Interruption> {
        let found = self.first_look().await?;
        let (Ok(None), Some(decoded)) = (&found, &self.event.decoded_key) else { return Ok(found) };
        if *decoded == self.key || keys::ignored_key(decoded) {
            return Ok(found);
        }
        let found_decoded = self.head(decoded).await?;
        if let Ok(Some(_)) = &found_decoded {
            self.forget_literal().await?;
            self.key.clone_from(decoded);
            self.indexed = None;
            self.history.rename(decoded);
        }
        Ok(found_decoded)
    }

    /// There is no object under the literal key, and another one under its decoded form: the document of the literal
    /// key, if there is one, is of an object that is gone.
    async fn forget_literal(&mut self) -> Result<(), Interruption> {
        if let Ok(None) = self.calls().on_index(|| self.context.index.state(&self.key)).await? {
            return Ok(());
        }
        // An index that refuses to remove it says so again when the key's own event comes.
        let _ = self.calls().write(|| self.context.index.delete(&self.key, None)).await?;
        self.delete_thumbnail().await;
        Ok(())
    }

    async fn delete_thumbnail(&self) {
        let thumbnail_key = keys::thumbnail_key(&self.key);
        if let Err(error) = self.context.store.delete_thumbnail(&thumbnail_key).await {
            ThumbnailFailed { key: &self.key, why: &error_chain(&error) }.emit();
        }
    }

    /// A look that brings the bytes of a small file, too.
    async fn first_look(&mut self) -> Result<Result<Option<ObjectState>, Failure>, Interruption> {
        if self.content.is_some() || !plan::is_mostly_small(&self.key) {
            return self.head(&self.key).await;
        }
        let (store, bucket, key) = (&self.context.store, &self.event.bucket, &self.key);
        let seen = self.calls().on_store(|| store.peek(bucket, key, plan::SMALL_FILE_BYTES)).await?;
        let seen = seen.map(|(state, bytes)| {
            self.at_hand = bytes.map(|bytes| AtHand { etag: state.etag.clone(), bytes });
            state
        });
        Ok(self.found(&self.key, seen))
    }

    async fn head(&self, key: &str) -> Result<Result<Option<ObjectState>, Failure>, Interruption> {
        let bucket = &self.event.bucket;
        let seen = self.calls().on_store(|| self.context.store.head(bucket, key)).await?;
        Ok(self.found(key, seen))
    }

    fn found(&self, key: &str, seen: Result<ObjectState, StoreError>) -> Result<Option<ObjectState>, Failure> {
        match seen {
            Ok(state) => Ok(Some(state)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(self.fault(key, error)),
        }
    }

    /// A converted PDF has no document of its own while its original is there.
    async fn leave_to_original(&mut self) -> Result<Round, Interruption> {
        if self.is_sibling {
            let indexed = self.calls().on_index(|| self.context.index.state(&self.key)).await?;
            if let Ok(None) = indexed {
                return Ok(Round::Settled(ObjectEnd::Finished));
            }
        }
        self.remove(Reason::BelongsToOriginal).await
    }

    async fn is_unchanged(&mut self, seen: &Sight, engine: Option<&str>) -> Result<bool, Interruption> {
        // A sibling has events of its own for those who want it read anew.
        let is_asked_for_anew = self.context.force || !self.context.settings.skip_unchanged;
        if is_asked_for_anew && !self.is_sibling {
            return Ok(false);
        }
        // Anew in every round: the index may hold by now what the round before wrote.
        self.indexed = None;
        let indexed = self.look_at_index().await?;
        Ok(indexed.is_some_and(|indexed| seen.is_in(indexed, engine)))
    }

    /// What the index holds, as of this round's first look.
    async fn look_at_index(&mut self) -> Result<Option<&IndexedState>, Interruption> {
        if self.indexed.is_none() {
            let found = self.calls().on_index(|| self.context.index.state(&self.key)).await?;
            // An index that refuses to tell says so again when it is written to.
            self.indexed = Some(found.unwrap_or_default());
        }
        Ok(self.indexed.as_ref().and_then(Option::as_ref))
    }

    async fn index_without_download(&mut self, seen: &Sight, failure: Failure) -> Result<Round, Interruption> {
        self.look_at_index().await?;
        if Family::of(&self.key).is_some() {
            // Of a converted PDF that is gone. Before the write, after which it is looked whether there is another one.
            self.delete_thumbnail().await;
            self.content = None;
        }
        let document = self.build(seen, Content::NotRead(&failure), None);
        self.write(seen, document).await
    }

    async fn index_content(&mut self, seen: &Sight) -> Result<Round, Interruption> {
        let own_key = self.key.clone();
        let (source_key, source) = seen.source(&own_key);
        if self.content.as_ref().is_none_or(|content| content.etag != source.etag) {
            match self.read(source_key, source).await? {
                Ok(content) => self.content = Some(content),
                Err(StoreError::NotFound | StoreError::Changed) => return Ok(Round::LookAgain),
                Err(StoreError::Archived) => {
                    let failure = Failure::new(
                        Reason::ArchivedStorageClass,
                        format!("{source_key} is in an archive storage class; restore it to have it read"),
                    );
                    return self.index_without_download(seen, failure).await;
                }
                Err(error) => return Ok(Round::Settled(ObjectEnd::Fault(self.fault(source_key, error)))),
            }
        }
        self.look_at_index().await?;
        let thumbnail_url = self.put_thumbnail().await;
        let content = self.content.as_ref().expect("read above, or in the round before");
        let engine = Engine {
            fingerprint: &self.context.engine_fingerprint,
            ocr_language: &self.context.settings.extraction.ocr_language,
        };
        let content_sha256 = &content.fetched.content_sha256;
        let content = match &content.reading {
            Reading::Extracted(extraction) => Content::Extracted { extraction, content_sha256, engine },
            Reading::Known(known) => Content::Known { document: &known.document, content_sha256 },
        };
        let document = self.build(seen, content, thumbnail_url.as_deref());
        self.write(seen, document).await
    }

    /// Writes the document, then looks whether the bucket still holds what was written.
    async fn write(&mut self, seen: &Sight, document: Document) -> Result<Round, Interruption> {
        let index_started = Instant::now();
        let order = self.order(&seen.state);
        let force = self.force_write;
        let is_new = !force && self.indexed == Some(None);
        self.is_write_in_doubt = true;
        let index = &self.context.index;
        let put = || if is_new { index.put_new(&document, &order) } else { index.put(&document, &order, force) };
        let verdict = match self.calls().write(put).await? {
            Ok(verdict) => verdict,
            Err(rejection) => {
                let failure = Failure::new(Reason::IndexRejected, format!("{}: {rejection}", self.key));
                return Ok(Round::Settled(ObjectEnd::Fault(failure)));
            }
        };
        self.times.index = index_started.elapsed();
        let still_there = match self.look().await? {
            Ok(now) => now.is_some_and(|now| now.agrees_with(seen)),
            Err(failure) => return Ok(Round::Settled(ObjectEnd::Fault(failure))),
        };
        self.is_write_in_doubt = !still_there;
        match (verdict, still_there) {
            (_, false) => Ok(Round::LookAgain),
            (Verdict::Written, true) => {
                self.report(&document);
                Ok(Round::Settled(ObjectEnd::Finished))
            }
            // The index claims to know better, but the bucket says it again: the bucket went back to an older
            // state (a version was deleted). The bucket is the truth.
            (Verdict::Superseded, true) if !force => {
                self.force_write = true;
                Ok(Round::LookAgain)
            }
            (Verdict::Superseded, true) => Ok(self.finished(Outcome::Skipped, Some(Reason::Superseded))),
        }
    }

    async fn sight(&self, state: ObjectState) -> Result<Result<Sight, Failure>, Interruption> {
        let seen = docuworks::sight(self.calls(), &self.event.bucket, &self.key, state).await?;
        Ok(seen.map_err(|(key, error)| self.fault(&key, error)))
    }

    /// What the bucket holds now of all that the key's document depends on; `None` when the object is gone.
    async fn look(&self) -> Result<Result<Option<Sight>, Failure>, Interruption> {
        match self.head(&self.key).await? {
            Ok(Some(state)) => Ok(self.sight(state).await?.map(Some)),
            Ok(None) => Ok(Ok(None)),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Removes the key's document and thumbnail, then looks whether there really is to be none.
    async fn remove(&mut self, reason: Reason) -> Result<Round, Interruption> {
        self.is_write_in_doubt = true;
        let removed = self.calls().write(|| self.context.index.delete(&self.key, None)).await?;
        if let Err(rejection) = removed {
            let failure = Failure::new(Reason::IndexRejected, format!("{}: {rejection}", self.key));
            return Ok(Round::Settled(ObjectEnd::Fault(failure)));
        }
        self.delete_thumbnail().await;
        match self.look().await? {
            Ok(Some(Sight { state, relation })) if state.size_bytes > 0 && relation != Relation::BelongsToOriginal => {
                Ok(Round::LookAgain)
            }
            _ if self.is_sibling => {
                self.context.finished(&self.key, Outcome::Deleted, Some(reason));
                Ok(Round::Settled(ObjectEnd::Finished))
            }
            _ if self.event.kind == EventKind::Delete => Ok(self.finished(Outcome::Deleted, None)),
            _ => Ok(self.finished(Outcome::Skipped, Some(reason))),
        }
    }

    fn build(&self, seen: &Sight, content: Content<'_>, thumbnail_url: Option<&str>) -> Document {
        let now = Timestamp::now();
        build::build(DocumentInput {
            key: &self.key,
            bucket: Some(&self.event.bucket),
            object_url: &self.context.store.object_url(&self.event.bucket, &self.key),
            state: &seen.state,
            converted: seen.converted().map(|(_key, state)| state),
            event: Some(self.event),
            indexed: self.indexed.as_ref().and_then(Option::as_ref),
            content,
            thumbnail_url,
            processor: super::PROCESSOR,
            processing_time: self.started.elapsed(),
            processed_at: now,
            indexed_at: now,
        })
    }

    fn order(&self, state: &ObjectState) -> ObjectOrder {
        ObjectOrder { sequencer: self.event.sequencer.clone(), last_modified_ms: state.last_modified.as_millisecond() }
    }

    /// Counts and logs a document that is in the index.
    fn report(&self, document: &Document) {
        let failure =
            document.reason.map(|reason| Failure::new(reason, document.error_message.clone().unwrap_or_default()));
        self.context.status.job_finished(JobFinished {
            key: &self.key,
            outcome: document.outcome.unwrap_or(Outcome::Indexed),
            failure: failure.as_ref(),
            bytes: self.content.as_ref().map_or(0, |content| content.fetched.size_bytes),
            pages: PageCounts { text: document.pages_text, ocr: document.pages_ocr, failed: document.pages_failed },
            same_as: self.content.as_ref().and_then(ReadObject::same_as),
            times: StageTimes { total: self.started.elapsed(), ..self.times },
        });
    }

    fn finished(&self, outcome: Outcome, reason: Option<Reason>) -> Round {
        if !self.is_sibling {
            self.context.finished(&self.key, outcome, reason);
        }
        Round::Settled(ObjectEnd::Finished)
    }

    /// An error of the store that probing has shown to be this object's own.
    fn fault(&self, key: &str, error: StoreError) -> Failure {
        let reason = match error {
            StoreError::NoSuchBucket => Reason::NoSuchBucket,
            _ => Reason::AccessDenied,
        };
        Failure::new(reason, format!("s3://{}/{key}: {}", self.event.bucket, error_chain(&error)))
    }
}
