//! What earlier attempts at an object left behind, and what this one leaves: guilt and page checkpoints.
//!
//! A first attempt that goes well costs no call. From the second receive on the history is looked up; a start marker
//! is written once a child has the document; recognised pages of long documents are stored in chunks as they come.
//! A clean release stores the rest and removes the marker; a durable outcome removes everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::attempt::{Guilt, GuiltRecord, Rung, Running};
use super::calls::Calls;
use super::checkpoint::{Chunk, ContentId, Folder, ROOT};
use super::object::Interruption;
use crate::document::Failure;
use crate::health::error_chain;
use crate::health::events::{CheckpointFailed, GuiltyAttempts, PagesRestored};
use crate::pool::Observer;
use crate::pool::protocol::Page;
use crate::store::{ObjectStore, StoreError};

/// Pages in a chunk: what a daemon that is killed loses of a document at most, beside the pages in its children's
/// hands. A request for every so many pages is cheap against their OCR.
const CHUNK_PAGES: usize = 8;
/// Pages are not kept unsaved for longer, however slowly they come.
const CHUNK_AGE: Duration = Duration::from_secs(30);
/// Pages that may wait to be taken up.
const PAGES_WAITING: usize = 64;
/// How long one write may take: a document that is done, or a drain, waits for it.
const WRITE_LIMIT: Duration = Duration::from_secs(3);
/// How long leaving may take: the drain has no more time to give.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// Chunks that are read at once.
const CHUNKS_AT_ONCE: usize = 8;
/// Listings of expired checkpoints that one start looks through; the next start goes on.
const EXPIRY_LISTINGS: usize = 10;

/// The history of one object while a job is at it.
pub struct History<'a> {
    context: &'a Context,
    bucket: &'a str,
    key: String,
    folder: Folder,
    /// This is not the first delivery of the message: there may be something to find. A folder's queue forgets its
    /// deliveries when the program ends, but there looking costs nothing.
    has_past: bool,
    loaded: bool,
    record: Option<GuiltRecord>,
    /// State objects that exist, as far as we know.
    keys: BTreeSet<String>,
    /// The state of the object that is being read.
    etag: String,
    content: Option<ContentId>,
    guilt: Guilt,
    is_guilty: bool,
    is_marked: bool,
    unsaved: Vec<Page>,
    oldest_unsaved: Option<Instant>,
    pages: Option<mpsc::Receiver<Page>>,
}

/// How an attempt begins.
pub struct Beginning {
    pub rung: Rung,
    pub known_pages: Vec<Page>,
}

impl<'a> History<'a> {
    /// `attempt` counts deliveries from 1.
    pub fn new(context: &'a Context, bucket: &'a str, key: &str, attempt: u32) -> Self {
        Self {
            context,
            bucket,
            key: key.to_owned(),
            folder: Folder::of(bucket, key),
            has_past: attempt > 1 || context.store.is_local(),
            loaded: false,
            record: None,
            keys: BTreeSet::new(),
            etag: String::new(),
            content: None,
            guilt: Guilt::default(),
            is_guilty: false,
            is_marked: false,
            unsaved: Vec::new(),
            oldest_unsaved: None,
            pages: None,
        }
    }

    /// The object turned out to have another key (contract §1: decoded once more).
    pub fn rename(&mut self, key: &str) {
        key.clone_into(&mut self.key);
        self.folder = Folder::of(self.bucket, key);
    }

    /// Looks up what is known of these bytes. What cannot be looked up is as good as unknown: the document is read.
    pub async fn begin(
        &mut self,
        calls: Calls<'_>,
        etag: &str,
        content_sha256: &str,
    ) -> Result<Beginning, Interruption> {
        etag.clone_into(&mut self.etag);
        self.unsaved.clear();
        (self.is_guilty, self.is_marked) = (false, false);
        let content = ContentId::of(content_sha256, &self.context.engine_fingerprint);
        if self.has_past && !self.loaded {
            self.load(calls).await?;
        }
        self.guilt = self.record.as_ref().map(|record| record.guilt(etag)).unwrap_or_default();
        let rung = self.guilt.rung();
        if let Some(measure) = rung.measure() {
            let why = self.guilt.failure.as_ref().map(Failure::to_string).unwrap_or_default();
            GuiltyAttempts { key: &self.key, attempts: self.guilt.attempts, measure, why: &why }.emit();
        }
        let chunks: Vec<String> =
            self.keys.iter().filter(|key| self.folder.is_chunk_of(&content, key)).cloned().collect();
        self.content = Some(content);
        let known_pages = match rung {
            Rung::Read(_) if !chunks.is_empty() => self.restore(calls, chunks).await?,
            _ => Vec::new(),
        };
        Ok(Beginning { rung, known_pages })
    }

    async fn load(&mut self, calls: Calls<'_>) -> Result<(), Interruption> {
        let store = &self.context.store;
        let expired_before = expiry(self.context);
        let listed = calls.on_store(|| store.list_state(self.folder.prefix(), None)).await?;
        match listed {
            Ok(objects) => {
                let fresh = objects.into_iter().filter(|object| object.last_modified >= expired_before);
                self.keys = fresh.map(|object| object.key).collect();
            }
            Err(StoreError::NotFound) => {}
            Err(error) => self.complain("list", &error),
        }
        let guilt_key = self.folder.guilt_key();
        if self.keys.contains(&guilt_key) {
            match calls.on_store(|| store.read_state(&guilt_key)).await? {
                Ok(bytes) => self.record = self.parse(&guilt_key, &bytes),
                Err(StoreError::NotFound) => {}
                Err(error) => self.complain("read guilt", &error),
            }
        }
        self.loaded = true;
        Ok(())
    }

    async fn restore(&self, calls: Calls<'_>, chunks: Vec<String>) -> Result<Vec<Page>, Interruption> {
        let store = &self.context.store;
        let mut reads = Vec::with_capacity(chunks.len());
        for key in &chunks {
            reads.push(calls.on_store(move || store.read_state(key)));
        }
        let answers: Vec<_> = stream::iter(reads).buffered(CHUNKS_AT_ONCE).collect().await;
        let mut pages = BTreeMap::new();
        for (key, answer) in chunks.iter().zip(answers) {
            match answer? {
                Ok(bytes) => {
                    let chunk: Option<Chunk> = self.parse(key, &bytes);
                    pages.extend(chunk.unwrap_or_default().pages.into_iter().map(|page| (page.number, page)));
                }
                Err(StoreError::NotFound) => {}
                Err(error) => self.complain("read pages", &error),
            }
        }
        PagesRestored { key: &self.key, pages: pages.len() }.emit();
        Ok(pages.into_values().collect())
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, key: &str, bytes: &[u8]) -> Option<T> {
        match serde_json::from_slice(bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                CheckpointFailed { key: &self.key, operation: "parse", why: &format!("{key}: {error}") }.emit();
                None
            }
        }
    }

    /// Where the pool is to tell what happens; see [`History::watch`].
    pub fn observe(&mut self, observer: Observer) -> Observer {
        let (sender, receiver) = mpsc::channel(PAGES_WAITING);
        self.pages = Some(receiver);
        // What happened to an earlier state of the object in this job says nothing about this one.
        observer.standing.send_replace(Default::default());
        Observer { pages: Some(sender), ..observer }
    }

    /// Remembers what the pool tells, until `done`. A write that is on its way then is waited for: it would otherwise
    /// arrive after everything was removed.
    pub async fn watch(&mut self, observer: &Observer, done: &CancellationToken) {
        let mut standing = observer.standing.subscribe();
        standing.mark_changed();
        loop {
            let saves_at = self.oldest_unsaved.filter(|_| self.is_long(observer)).map(|oldest| oldest + CHUNK_AGE);
            let next_page = async {
                match &mut self.pages {
                    Some(pages) => pages.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                () = done.cancelled() => return,
                Ok(()) = standing.changed() => {
                    let seen = standing.borrow_and_update().clone();
                    self.enter(seen.started, seen.guilt).await;
                }
                Some(page) = next_page => self.take(page),
                () = sleep_until(saves_at) => {}
            }
            let is_due = self.unsaved.len() >= CHUNK_PAGES
                || self.oldest_unsaved.is_some_and(|oldest| oldest.elapsed() >= CHUNK_AGE);
            if is_due && self.is_long(observer) {
                self.save_pages().await;
            }
        }
    }

    fn take(&mut self, page: Page) {
        self.oldest_unsaved.get_or_insert_with(Instant::now);
        self.unsaved.push(page);
    }

    fn is_long(&self, observer: &Observer) -> bool {
        observer.progress.borrow().pages_total >= self.context.settings.checkpoint_min_pages
    }

    async fn enter(&mut self, started: bool, guilt: Option<Failure>) {
        if let (Some(failure), false) = (guilt, self.is_guilty) {
            self.is_guilty = true;
            let guilt = self.guilt.with(failure);
            self.write_record(&guilt, None).await;
        } else if started && self.has_past && !self.is_marked && !self.is_guilty {
            self.is_marked = true;
            let guilt = self.guilt.clone();
            self.write_record(&guilt, Some(Running::now())).await;
        }
    }

    async fn write_record(&mut self, guilt: &Guilt, running: Option<Running>) {
        let record = GuiltRecord {
            bucket: self.bucket.to_owned(),
            key: self.key.clone(),
            etag: self.etag.clone(),
            guilty_attempts: guilt.attempts,
            failure: guilt.failure.clone(),
            running,
        };
        let bytes = serde_json::to_vec(&record).expect("a record has only strings and numbers");
        let key = self.folder.guilt_key();
        // Before the call: also a write whose answer is lost has to be removed some day.
        self.keys.insert(key.clone());
        if let Err(why) = self.write(&key, bytes).await {
            CheckpointFailed { key: &self.key, operation: "write guilt", why: &why }.emit();
        }
    }

    async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        match timeout(WRITE_LIMIT, self.context.store.write_state(key, bytes)).await {
            Ok(written) => written.map_err(|error| error_chain(&error)),
            Err(_elapsed) => Err(format!("no answer within {WRITE_LIMIT:?}")),
        }
    }

    /// One chunk with everything that is unsaved. What fails stays unsaved.
    async fn save_pages(&mut self) {
        let Some(content) = self.content.clone() else { return };
        let chunk = Chunk { pages: std::mem::take(&mut self.unsaved) };
        let bytes = serde_json::to_vec(&chunk).expect("a page has only strings and numbers");
        self.unsaved = chunk.pages;
        let key = self.folder.new_chunk_key(&content);
        self.keys.insert(key.clone());
        match self.write(&key, bytes).await {
            Ok(()) => {
                self.unsaved.clear();
                self.oldest_unsaved = None;
            }
            Err(why) => {
                self.oldest_unsaved = Some(Instant::now());
                CheckpointFailed { key: &self.key, operation: "write pages", why: &why }.emit();
            }
        }
    }

    /// The attempt ends without an outcome, and without fault of the daemon: what was read is kept for the next one,
    /// and the marker goes. Takes a bounded time.
    pub async fn leave(&mut self, observer: &Observer) {
        while let Some(Ok(page)) = self.pages.as_mut().map(mpsc::Receiver::try_recv) {
            self.take(page);
        }
        let is_long = self.is_long(observer);
        let leaving = async {
            if is_long && !self.unsaved.is_empty() {
                self.save_pages().await;
            }
            // Guilt of this attempt stays: it has no marker.
            if self.is_marked && !self.is_guilty {
                self.remove_marker().await;
            }
        };
        if timeout(LEAVE_LIMIT, leaving).await.is_err() {
            let why = format!("no answer within {LEAVE_LIMIT:?}");
            CheckpointFailed { key: &self.key, operation: "leave", why: &why }.emit();
        }
    }

    async fn remove_marker(&mut self) {
        if self.guilt.attempts > 0 {
            let guilt = self.guilt.clone();
            return self.write_record(&guilt, None).await;
        }
        let key = self.folder.guilt_key();
        match self.context.store.delete_state(&key).await {
            Ok(()) => drop(self.keys.remove(&key)),
            Err(error) => self.complain("remove the start marker", &error),
        }
    }

    /// The outcome is durable: nothing of the past matters any more, also when nobody had to look at it because another
    /// message's job has done the work. What cannot be removed expires.
    pub async fn clear(&mut self) {
        let store = &self.context.store;
        if self.has_past && !self.loaded {
            match store.list_state(self.folder.prefix(), None).await {
                Ok(objects) => self.keys.extend(objects.into_iter().map(|object| object.key)),
                Err(StoreError::NotFound) => {}
                Err(error) => self.complain("list", &error),
            }
        }
        let keys = std::mem::take(&mut self.keys);
        let mut removals = Vec::with_capacity(keys.len());
        for key in &keys {
            removals.push(store.delete_state(key));
        }
        for removal in futures_util::future::join_all(removals).await {
            if let Err(error) = removal {
                self.complain("remove", &error);
            }
        }
    }

    fn complain(&self, operation: &str, error: &StoreError) {
        CheckpointFailed { key: &self.key, operation, why: &error_chain(error) }.emit();
    }
}

fn expiry(context: &Context) -> Timestamp {
    Timestamp::now().saturating_sub(context.settings.checkpoint_max_age).unwrap_or(Timestamp::MIN)
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Removes checkpoints that nobody came back for. Bounded; what it does not get to is the next start's.
pub async fn remove_expired(context: &Context) {
    remove_older_than(expiry(context), context.store.as_ref()).await;
}

async fn remove_older_than(moment: Timestamp, store: &dyn ObjectStore) {
    let mut after: Option<String> = None;
    for _ in 0..EXPIRY_LISTINGS {
        let Ok(objects) = store.list_state(ROOT, after.as_deref()).await else { return };
        let Some(last) = objects.last() else { return };
        after = Some(last.key.clone());
        for object in objects.iter().filter(|object| object.last_modified < moment) {
            if let Err(error) = store.delete_state(&object.key).await {
                CheckpointFailed { key: &object.key, operation: "remove", why: &error_chain(&error) }.emit();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;
    use crate::store::dir::DirStore;

    #[tokio::test]
    async fn checkpoints_that_nobody_came_back_for_are_removed_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        let store = DirStore::open(&folder.path().join("root"), &folder.path().join("state")).unwrap();
        // More than one listing.
        let old_keys: Vec<String> = (0..1500).map(|number| Folder::of("b", &number.to_string()).guilt_key()).collect();
        for key in &old_keys {
            store.write_state(key, b"{}".to_vec()).await.unwrap();
            let file = File::options().write(true).open(folder.path().join("state").join(key)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(8 * 86_400)).unwrap();
        }
        let fresh_key = Folder::of("b", "fresh").guilt_key();
        store.write_state(&fresh_key, b"{}".to_vec()).await.unwrap();

        let a_week_ago = Timestamp::now().checked_sub(Duration::from_secs(7 * 86_400)).unwrap();
        remove_older_than(a_week_ago, &store).await;
        let left: Vec<String> =
            store.list_state(ROOT, None).await.unwrap().into_iter().map(|object| object.key).collect();
        assert_eq!(left, [fresh_key]);
    }
}
