//! A folder as the queue (embedded mode): every file below it is a message, and so is every key of the index
//! whose file is gone. The bodies are those of contract §1 (kind 5 and `FILE_DELETED` of kind 4), so the same
//! pipeline reads them.
//!
//! * `inbox`: leases, delays and receive counts in memory; the queue's semantics without its network
//! * `scan`: the thread that walks the folder, once or again and again
//!
//! Memory is bounded whatever the folder holds: the walk stops while enough messages wait. Only watching needs
//! to remember every file (about 150 bytes each).

mod inbox;
mod scan;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{MessageHandle, Queue, QueueError, QueueInfo, ReceivedMessage};
use crate::document::{Failure, Reason};
use inbox::{Expired, SharedInbox};
use scan::ScanPlan;

/// A message is given up after so many receives, as the queue's redrive policy would do.
pub const MAX_RECEIVES: u32 = 5;
/// How long a receive waits for something to come.
const WAIT_TIME: Duration = Duration::from_secs(20);
/// Below the state folder: one JSON line a message that was given up.
const DEAD_LETTER_FILE: &str = "dead-letter.jsonl";
const DEAD_LETTER_FILE_MODE: u32 = 0o600;

/// What a folder queue is made from.
#[derive(Clone, Debug)]
pub struct FolderQueueSettings {
    /// The folder that is walked.
    pub root: PathBuf,
    /// Where dead letters go; left out of the walk when it is below `root`.
    pub state_dir: PathBuf,
    /// The bucket named in the messages.
    pub bucket: String,
    /// Keys in the index: those whose file is gone become `FILE_DELETED` messages.
    pub known_keys: Vec<String>,
    /// How long a received message stays invisible unless it is extended.
    pub visibility_timeout: Duration,
    /// Keep looking for changes, with so much time between two looks; `None`: one look.
    pub watch_interval: Option<Duration>,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Messages that have left the queue.
    pub done: u64,
    /// Messages in all; `None` until the files have been counted.
    pub total: Option<u64>,
}

/// See the module.
pub struct FolderQueue {
    inbox: Arc<SharedInbox>,
    root: PathBuf,
    state_dir: PathBuf,
    visibility_timeout: Duration,
    watches: bool,
}

/// One line of the dead-letter file.
#[derive(Serialize)]
struct DeadLetter<'a> {
    time: String,
    reason: &'a str,
    detail: &'a str,
    attempts: u32,
    worker_version: &'a str,
    original_message_id: &'a str,
    body: &'a str,
}

#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
struct FolderError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FolderQueue {
    /// Starts the walk in a thread of its own. The root must be a readable folder; the state folder is made.
    pub fn start(settings: FolderQueueSettings) -> io::Result<Self> {
        let root = settings.root.canonicalize()?;
        std::fs::read_dir(&root)?;
        std::fs::create_dir_all(&settings.state_dir)?;
        let state_dir = settings.state_dir.canonicalize()?;
        let inbox = Arc::new(SharedInbox::new(settings.visibility_timeout));
        let plan = ScanPlan {
            root: root.clone(),
            left_out: state_dir.clone(),
            bucket: settings.bucket,
            known_keys: settings.known_keys,
            watch_interval: settings.watch_interval,
        };
        scan::start(plan, inbox.clone())?;
        Ok(Self {
            inbox,
            root,
            state_dir,
            visibility_timeout: settings.visibility_timeout,
            watches: settings.watch_interval.is_some(),
        })
    }

    pub fn progress(&self) -> Progress {
        self.inbox.lock().progress()
    }

    /// Messages that were given up, each a line in [`FolderQueue::dead_letter_file`].
    pub fn dead_letters(&self) -> u64 {
        self.inbox.lock().dead_letters
    }

    /// Files and folders that the walk could not read.
    pub fn unreadable(&self) -> u64 {
        self.inbox.lock().unreadable
    }

    pub fn dead_letter_file(&self) -> PathBuf {
        self.state_dir.join(DEAD_LETTER_FILE)
    }

    async fn record(&self, message: &ReceivedMessage, failure: &Failure) -> Result<(), QueueError> {
        let letter = DeadLetter {
            time: Timestamp::now().to_string(),
            reason: failure.reason.as_str(),
            detail: &failure.detail,
            attempts: message.receive_count,
            worker_version: env!("CARGO_PKG_VERSION"),
            original_message_id: &message.message_id,
            body: &message.body,
        };
        let mut line = serde_json::to_string(&letter).map_err(|error| QueueError::Unavailable(Box::new(error)))?;
        line.push('\n');
        let path = self.dead_letter_file();
        let appended = tokio::task::spawn_blocking(move || append(&path, &line)).await;
        appended
            .map_err(|error| QueueError::Unavailable(Box::new(error)))?
            .map_err(|error| QueueError::Unavailable(Box::new(error)))?;
        self.inbox.lock().dead_letters += 1;
        Ok(())
    }

    /// A message that used up its receives leaves the queue for the dead-letter file.
    async fn give_up(&self, expired: Expired) {
        let failure = Failure::new(
            Reason::Crashed,
            format!("given up after {} attempts; none of them ended", expired.message.receive_count),
        );
        match self.record(&expired.message, &failure).await {
            Ok(()) => self.inbox.drop_expired(),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                log::warn!(path:% = self.dead_letter_file().display(), cause:% = cause; "dead letter not written; trying again");
                self.inbox.put_back(expired);
            }
        }
    }
}

impl Drop for FolderQueue {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

#[async_trait]
impl Queue for FolderQueue {
    async fn receive(&self, max: usize) -> Result<Vec<ReceivedMessage>, QueueError> {
        let give_up_waiting_at = Instant::now() + WAIT_TIME;
        loop {
            // Registered before the look, so that a message in between is not missed.
            let changed = self.inbox.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let taken = self.inbox.take(max.max(1), now);
            for expired in taken.expired {
                self.give_up(expired).await;
            }
            if !taken.messages.is_empty() || self.is_exhausted() || now >= give_up_waiting_at {
                return Ok(taken.messages);
            }
            let look_again_at = taken.next_visible_at.map_or(give_up_waiting_at, |at| at.min(give_up_waiting_at));
            tokio::select! {
                () = changed => {}
                () = sleep_until(look_again_at) => {}
            }
        }
    }

    async fn change_visibility(&self, message: &MessageHandle, timeout: Duration) -> Result<(), QueueError> {
        self.inbox.change_visibility(message, timeout, Instant::now())
    }

    async fn delete(&self, message: &MessageHandle) -> Result<(), QueueError> {
        self.inbox.delete(message)
    }

    async fn dead_letter(&self, message: &ReceivedMessage, failure: &Failure) -> Result<(), QueueError> {
        self.record(message, failure).await
    }

    async fn send(&self, body: &str) -> Result<(), QueueError> {
        self.inbox.send(body.to_owned());
        Ok(())
    }

    async fn probe(&self) -> Result<QueueInfo, QueueError> {
        let root = self.root.clone();
        let listed = tokio::fs::read_dir(&root).await;
        listed.map(drop).map_err(|source| {
            let error = FolderError { operation: "list folder", path: root, source };
            QueueError::Unavailable(Box::new(error))
        })?;
        let inbox = self.inbox.lock();
        Ok(QueueInfo {
            visible: inbox.visible(),
            in_flight: inbox.in_flight(),
            dead_letter_target: Some(self.dead_letter_file().display().to_string()),
            max_receive_count: Some(MAX_RECEIVES),
        })
    }

    async fn probe_dead_letter(&self) -> Result<String, QueueError> {
        let path = self.dead_letter_file();
        let shown = path.display().to_string();
        let opened = tokio::task::spawn_blocking(move || append(&path, "")).await;
        opened
            .map_err(|error| QueueError::Unavailable(Box::new(error)))?
            .map_err(|error| QueueError::Unavailable(Box::new(error)))?;
        Ok(shown)
    }

    fn is_exhausted(&self) -> bool {
        !self.watches && self.inbox.lock().is_exhausted()
    }
}

impl std::fmt::Debug for FolderQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FolderQueue")
            .field("root", &self.root)
            .field("visibility_timeout", &self.visibility_timeout)
            .finish_non_exhaustive()
    }
}

/// One write for the whole line, so that two lines never mix.
fn append(path: &Path, line: &str) -> Result<(), FolderError> {
    let failed = |operation| move |source| FolderError { operation, path: path.to_path_buf(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("make folder of"))?;
    }
    let mut file =
        OpenOptions::new().append(true).create(true).mode(DEAD_LETTER_FILE_MODE).open(path).map_err(failed("open"))?;
    file.write_all(line.as_bytes()).map_err(failed("append to"))
}
