//! The one thread that writes the embedded index. Commits wait for the disk and adding may wait for the indexing
//! thread, so none of it happens on the async runtime.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tantivy::{IndexReader, IndexWriter, Term};
use tokio::sync::oneshot;

use super::columns::held_under;
use super::schema::{Fields, Held, entry};
use crate::document::Document;
use crate::health::outage::{Outage, OutageCause};
use crate::index::{IndexError, IndexedState, ObjectOrder, Verdict};

/// Writes become durable and searchable after so many …
const COMMIT_DOCUMENTS: usize = 1_000;
/// … or so many bytes of text: tantivy queues up to 10,000 documents in memory before it makes a writer wait,
/// which for long texts is more memory than a laptop has; a commit empties that queue …
const COMMIT_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// … or after this time, whichever comes first.
const COMMIT_INTERVAL: Duration = Duration::from_secs(10);

/// What the thread is asked to do.
pub enum Command {
    Put { document: Box<Document>, order: ObjectOrder, force: bool, reply: Reply<Verdict> },
    Delete { key: String, order: Option<ObjectOrder>, reply: Reply<Verdict> },
    State { key: String, reply: Reply<Option<IndexedState>> },
    Commit { reply: Reply<()> },
}

pub type Reply<T> = oneshot::Sender<Result<T, IndexError>>;

/// The thread's state.
pub struct Writer {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Fields,
    /// Written since the last commit, which searches do not see yet; `None` for a deleted key.
    pending: HashMap<String, Option<Held>>,
    pending_text_bytes: usize,
    oldest_pending: Option<Instant>,
}

impl Writer {
    pub fn new(writer: IndexWriter, reader: IndexReader, fields: Fields) -> Self {
        Self { writer, reader, fields, pending: HashMap::new(), pending_text_bytes: 0, oldest_pending: None }
    }

    /// Works until every sender is gone, then commits what is left and lets merges end.
    pub fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let received = match self.oldest_pending {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(oldest) => commands.recv_timeout(COMMIT_INTERVAL.saturating_sub(oldest.elapsed())),
            };
            match received {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.commit_is_due()
                && let Err(error) = self.commit()
            {
                log::error!(error:%; "embedded index could not be committed");
                // Not at once again: what is pending stays, and the next write tries to commit.
                self.oldest_pending = Some(Instant::now());
            }
        }
        if let Err(error) = self.commit() {
            log::error!(error:%; "embedded index could not be committed");
        }
        if let Err(error) = self.writer.wait_merging_threads() {
            log::warn!(error:%; "embedded index could not be tidied up");
        }
    }

    /// A caller that is gone needs no answer.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Put { document, order, force, reply } => {
                let _ = reply.send(self.put(*document, &order, force));
            }
            Command::Delete { key, order, reply } => {
                let _ = reply.send(self.delete(key, order.as_ref()));
            }
            Command::State { key, reply } => {
                let _ = reply.send(self.held(&key).map(|held| held.map(|held| held.state)));
            }
            Command::Commit { reply } => {
                let _ = reply.send(self.commit());
            }
        }
    }

    fn put(&mut self, document: Document, order: &ObjectOrder, force: bool) -> Result<Verdict, IndexError> {
        if !force && self.holds_newer(&document.file_key, order)? {
            return Ok(Verdict::Superseded);
        }
        let key = document.file_key.clone();
        let held = Held::of(&document, order);
        self.pending_text_bytes += document.extracted_text.as_ref().map_or(0, String::len);
        let entry = entry(&self.fields, document, &held).map_err(|error| IndexError::Rejected(error.to_string()))?;
        self.writer.delete_term(Term::from_field_text(self.fields.key, &key));
        self.writer.add_document(entry).map_err(|error| unavailable("add to the embedded index", &error))?;
        self.remember(key, Some(held));
        Ok(Verdict::Written)
    }

    fn delete(&mut self, key: String, order: Option<&ObjectOrder>) -> Result<Verdict, IndexError> {
        if let Some(order) = order
            && self.holds_newer(&key, order)?
        {
            return Ok(Verdict::Superseded);
        }
        self.writer.delete_term(Term::from_field_text(self.fields.key, &key));
        self.remember(key, None);
        Ok(Verdict::Written)
    }

    fn remember(&mut self, key: String, held: Option<Held>) {
        self.pending.insert(key, held);
        self.oldest_pending.get_or_insert_with(Instant::now);
    }

    fn holds_newer(&self, key: &str, order: &ObjectOrder) -> Result<bool, IndexError> {
        Ok(self.held(key)?.is_some_and(|held| held.order.is_newer_than(order)))
    }

    fn held(&self, key: &str) -> Result<Option<Held>, IndexError> {
        if let Some(pending) = self.pending.get(key) {
            return Ok(pending.clone());
        }
        held_under(&self.reader.searcher(), &self.fields, key)
            .map_err(|error| unavailable("read the embedded index", &error))
    }

    fn commit_is_due(&self) -> bool {
        self.pending.len() >= COMMIT_DOCUMENTS
            || self.pending_text_bytes >= COMMIT_TEXT_BYTES
            || self.oldest_pending.is_some_and(|oldest| oldest.elapsed() >= COMMIT_INTERVAL)
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.writer.commit().map_err(|error| unavailable("commit the embedded index", &error))?;
        self.reader.reload().map_err(|error| unavailable("reload the embedded index", &error))?;
        self.pending.clear();
        self.pending_text_bytes = 0;
        self.oldest_pending = None;
        Ok(())
    }
}

pub fn unavailable(operation: &str, error: &tantivy::TantivyError) -> IndexError {
    IndexError::Unavailable(Outage::new(OutageCause::Failing, format!("{operation}: {error}")))
}
