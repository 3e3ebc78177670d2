//! The spool: source files on local disk while children read them, bounded in bytes.
//!
//! Each process has a folder of its own in `TEMP_DIR`, held by a file lock; folders that nobody holds any more
//! (the process was killed) are removed at the next start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::MEGABYTE;

const FOLDER_PREFIX: &str = "spool-";
const LOCK_FILE: &str = "lock";

/// Why there is no spool. Names the folder and what to do.
#[derive(Debug, thiserror::Error)]
#[error("create the spool in {folder} (TEMP_DIR)")]
pub struct SpoolError {
    folder: PathBuf,
    #[source]
    source: io::Error,
}

/// The folder of this process, and how many bytes it may hold.
pub struct Spool {
    folder: PathBuf,
    _lock: File,
    next_number: AtomicU64,
    budget: Arc<Semaphore>,
    budget_megabytes: u32,
}

impl Spool {
    /// Creates this process's folder under `parent` and removes those that dead processes left there.
    pub fn create(parent: &Path, budget_bytes: u64) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError { folder: parent.to_owned(), source };
        fs::create_dir_all(parent).map_err(failed)?;
        remove_abandoned(parent);
        let folder = parent.join(format!("{FOLDER_PREFIX}{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()));
        create_private_dir(&folder).map_err(failed)?;
        let lock = File::create(folder.join(LOCK_FILE)).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| failed(errno.into()))?;
        // A file larger than the whole budget must still pass, alone: see `reserve`.
        let budget_megabytes = u32::try_from(budget_bytes / MEGABYTE).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Ok(Self {
            folder,
            _lock: lock,
            next_number: AtomicU64::new(0),
            budget: Arc::new(Semaphore::new(budget_megabytes as usize)),
            budget_megabytes,
        })
    }

    /// The folder that children may read.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until `size_bytes` fit into the budget and names a new file. A file larger than the whole budget
    /// waits until it has the spool for itself.
    pub async fn reserve(&self, size_bytes: u64) -> SpoolFile {
        let megabytes =
            u32::try_from(size_bytes.div_ceil(MEGABYTE)).unwrap_or(u32::MAX).clamp(1, self.budget_megabytes);
        let reservation =
            Arc::clone(&self.budget).acquire_many_owned(megabytes).await.expect("the spool's budget is never closed");
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        SpoolFile { path: self.folder.join(number.to_string()), _reservation: reservation }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file in the spool; dropping it removes the file and gives its bytes back.
pub struct SpoolFile {
    path: PathBuf,
    _reservation: OwnedSemaphorePermit,
}

impl SpoolFile {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.path);
    }
}

fn create_private_dir(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX) {
            continue;
        }
        let folder = entry.path();
        let held = File::open(folder.join(LOCK_FILE))
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
        if !held && let Err(error) = fs::remove_dir_all(&folder) {
            log::warn!(folder:% = folder.display(), error:%; "could not remove an abandoned spool folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_removed_and_its_bytes_returned_when_it_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path(), 2 * MEGABYTE).unwrap();
        let first = spool.reserve(2 * MEGABYTE).await;
        fs::write(first.path(), b"x").unwrap();
        let path = first.path().to_owned();
        let second = spool.reserve(1);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending(), "the budget is used up");
        drop(first);
        assert!(!path.exists());
        second.await;
    }

    #[tokio::test]
    async fn a_file_larger_than_the_budget_gets_the_spool_for_itself() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path(), MEGABYTE).unwrap();
        let large = spool.reserve(50 * MEGABYTE).await;
        assert!(large.path().starts_with(spool.folder()));
    }

    #[test]
    fn folders_of_dead_processes_are_removed_and_those_of_living_ones_kept() {
        let parent = tempfile::tempdir().unwrap();
        let abandoned = parent.path().join("spool-1-abc");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("0"), b"left behind").unwrap();
        let living = Spool::create(parent.path(), MEGABYTE).unwrap();
        assert!(!abandoned.exists());
        let _other = Spool::create(parent.path(), MEGABYTE).unwrap();
        assert!(living.folder().exists());
    }
}
