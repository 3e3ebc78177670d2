//! The index of embedded mode: tantivy in a folder, written by one process, searched by any.
//!
//! * `atoms`, `tokenizer`: what a text consists of, for Japanese and Latin alike
//! * `schema`, `columns`: the entries, and what is remembered of them
//! * `writer`: the thread that writes
//! * `search`, `snippet`: queries and what is shown of a hit
//! * [`last`]: which index was written last on this account

mod atoms;
mod columns;
pub mod last;
mod schema;
mod search;
mod snippet;
#[cfg(test)]
mod tests;
mod tokenizer;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tantivy::directory::MmapDirectory;
use tantivy::directory::error::LockError;
use tantivy::indexer::IndexWriterOptions;
use tantivy::{Index as TantivyIndex, IndexReader, ReloadPolicy, TantivyError};
use tokio::sync::oneshot;

pub use self::columns::Keys;
use self::schema::{Fields, register_tokenizer, schema};
pub use self::search::{Hit, Searcher};
pub use self::snippet::Snippet;
use self::writer::{Command, Reply, Writer, unavailable};
use crate::document::Document;
use crate::health::outage::{Outage, OutageCause};
use crate::index::{Index, IndexError, IndexedState, ObjectOrder, SmokeTestTimes, Verdict};

/// Memory of the one indexing thread before it writes a segment; tantivy takes no less than 15 MB. One thread, and
/// one for merging: this process stays small, the children have the work.
const INDEXING_MEMORY_BYTES: usize = 16_000_000;
/// Stored documents that a reader keeps unpacked; one may be of several megabytes, and none is read twice.
const CACHED_DOCUMENTS: usize = 2;

/// Why an embedded index could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("there is no index in {}", .0.display())]
    Missing(PathBuf),
    /// Exit code 75 (contract §2).
    #[error("somebody else is writing the index in {}", .0.display())]
    Busy(PathBuf),
    #[error("the index in {} was made by another version ({detail}): delete that folder and index again", path.display())]
    Incompatible { path: PathBuf, detail: String },
    #[error("create the folder {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("open the index in {}", path.display())]
    Open { path: PathBuf, source: TantivyError },
}

/// The embedded index, open for writing. Dropping it commits and waits until the folder is free.
pub struct EmbeddedIndex {
    path: PathBuf,
    reader: IndexReader,
    /// `None` only while dropping.
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedIndex {
    /// Opens the index in the folder, creating both where missing. One process at a time: `Busy` otherwise.
    pub fn open(path: &Path) -> Result<Self, EmbeddedError> {
        fs::create_dir_all(path).map_err(|source| EmbeddedError::Folder { path: path.to_owned(), source })?;
        let (index, fields) = open_index(path, true)?;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(INDEXING_MEMORY_BYTES)
            .build();
        let writer = index.writer_with_options(options).map_err(|error| open_error(path, error))?;
        let reader = open_reader(path, &index)?;

        let (commands, received) = channel();
        let writing = Writer::new(writer, reader.clone(), fields);
        let thread = std::thread::Builder::new()
            .name("embedded-index".to_owned())
            .spawn(move || writing.run(&received))
            .map_err(|error| open_error(path, error.into()))?;
        Ok(Self { path: path.to_owned(), reader, commands: Some(commands), thread: Some(thread) })
    }

    /// Every key in the index with what is known of it, after committing what was written so far.
    pub async fn keys(&self) -> Result<Keys, IndexError> {
        self.flush().await?;
        Ok(Keys::of(self.reader.searcher()))
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, IndexError> {
        let stopped = || IndexError::Unavailable(Outage::new(OutageCause::Failing, "the embedded index has stopped"));
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        commands.send(command(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for EmbeddedIndex {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!(path:% = self.path.display(); "the embedded index's thread has panicked");
        }
    }
}

#[async_trait]
impl Index for EmbeddedIndex {
    /// Durable with the next commit: a process that dies before it finds the folder unequal to the index at the
    /// next start and does the work again.
    async fn put(&self, document: &Document, order: &ObjectOrder, force: bool) -> Result<Verdict, IndexError> {
        let document = Box::new(document.clone());
        let order = order.clone();
        self.ask(|reply| Command::Put { document, order, force, reply }).await
    }

    async fn delete(&self, key: &str, order: Option<&ObjectOrder>) -> Result<Verdict, IndexError> {
        let key = key.to_owned();
        let order = order.cloned();
        self.ask(|reply| Command::Delete { key, order, reply }).await
    }

    async fn state(&self, key: &str) -> Result<Option<IndexedState>, IndexError> {
        let key = key.to_owned();
        self.ask(|reply| Command::State { key, reply }).await
    }

    /// A folder's queue holds no smoke-test messages: there is no deploy pipeline to tell.
    async fn write_smoke_test(&self, _id: &str, _document: &Document) -> Result<SmokeTestTimes, IndexError> {
        Err(IndexError::Rejected("the embedded index has no smoke test".to_owned()))
    }

    async fn has_smoke_test(&self, _id: &str) -> Result<bool, IndexError> {
        Err(IndexError::Rejected("the embedded index has no smoke test".to_owned()))
    }

    /// Commits: a full disk shows there, and nowhere before.
    async fn probe(&self) -> Result<(), IndexError> {
        self.flush().await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.ask(|reply| Command::Commit { reply }).await?;
        self.reader.reload().map_err(|error| unavailable("reload the embedded index", &error))
    }
}

/// Opens the folder's index; creates one where there is none if `create`.
fn open_index(path: &Path, create: bool) -> Result<(TantivyIndex, Fields), EmbeddedError> {
    if !path.is_dir() {
        return Err(EmbeddedError::Missing(path.to_owned()));
    }
    let directory = MmapDirectory::open(path).map_err(|error| open_error(path, error.into()))?;
    let exists = TantivyIndex::exists(&directory).map_err(|error| open_error(path, error.into()))?;
    let (wanted, fields) = schema();
    if !exists && !create {
        return Err(EmbeddedError::Missing(path.to_owned()));
    }
    let index = if exists {
        TantivyIndex::open(directory).map_err(|error| open_error(path, error))?
    } else {
        TantivyIndex::create(directory, wanted.clone(), tantivy::IndexSettings::default())
            .map_err(|error| open_error(path, error))?
    };
    if index.schema() != wanted {
        let detail = "its fields are others".to_owned();
        return Err(EmbeddedError::Incompatible { path: path.to_owned(), detail });
    }
    register_tokenizer(&index);
    Ok((index, fields))
}

/// A reader that is reloaded by hand, so that no thread watches the folder.
fn open_reader(path: &Path, index: &TantivyIndex) -> Result<IndexReader, EmbeddedError> {
    index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .doc_store_cache_num_blocks(CACHED_DOCUMENTS)
        .try_into()
        .map_err(|error| open_error(path, error))
}

fn open_error(path: &Path, error: TantivyError) -> EmbeddedError {
    let path = path.to_owned();
    match error {
        TantivyError::LockFailure(LockError::LockBusy, _) => EmbeddedError::Busy(path),
        TantivyError::IncompatibleIndex(detail) => EmbeddedError::Incompatible { path, detail: format!("{detail:?}") },
        TantivyError::DataCorruption(detail) => EmbeddedError::Incompatible { path, detail: format!("{detail:?}") },
        source => EmbeddedError::Open { path, source },
    }
}
