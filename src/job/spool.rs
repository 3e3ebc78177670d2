//! The spool: source files on local disk while children read them, bounded in bytes.
//!
//! Each process has a folder of its own in `TEMP_DIR`, held by a file lock; folders that nobody holds any more
//! (the process was killed) are removed at the next start. Files that nobody holds any more (a fetch that was cancelled
//! while the file was being created) are swept now and then.
//!
//! Room is asked for before a byte is fetched. A file that does not fit now, but will when files before it are done,
//! waits for those; one that does not fit into what others leave of the disk is an [`Outage`]: everything waits,
//! small files too, because receiving more would only cost receive counts, and the numbers say what to do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::disk_room::{self, DiskRoom};
use crate::config::MEGABYTE;
use crate::health::outage::{Outage, OutageCause};

const FOLDER_PREFIX: &str = "spool-";
const LOCK_FILE: &str = "lock";
/// Written by [`Spool::probe`].
const PROBE_FILE: &str = "probe";
/// A probe writes at least so much: some disks refuse the first byte only.
const PROBE_BYTES: usize = 64 * 1024;

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
    parent: PathBuf,
    folder: PathBuf,
    /// Says to other processes that the folder is in use. Another one when the folder had to be made anew.
    lock: Mutex<File>,
    next_number: AtomicU64,
    books: Arc<Books>,
    budget: Arc<Semaphore>,
    budget_megabytes: u32,
}

/// The files that somebody holds, by number.
#[derive(Default)]
struct Books {
    files: Mutex<BTreeMap<u64, Entry>>,
    given_back: Notify,
}

struct Entry {
    path: PathBuf,
    size_bytes: u64,
    /// Room was found for it; until then it waits.
    has_room: bool,
}

impl Entry {
    /// 0 while it is not created.
    fn bytes_on_disk(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn missing_bytes(&self) -> u64 {
        self.size_bytes.saturating_sub(self.bytes_on_disk())
    }
}

impl Books {
    fn files(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // Nothing can panic while the lock is held.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Creates this process's folder under `parent` and removes those that dead processes left there.
    pub fn create(parent: &Path, budget_bytes: u64) -> Result<Self, SpoolError> {
        let folder = parent.join(format!("{FOLDER_PREFIX}{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()));
        let lock = establish(parent, &folder).map_err(|source| SpoolError { folder: parent.to_owned(), source })?;
        // A file larger than the whole budget must still pass, alone: see `reserve`.
        let budget_megabytes = u32::try_from(budget_bytes / MEGABYTE).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Ok(Self {
            parent: parent.to_owned(),
            folder,
            lock: Mutex::new(lock),
            next_number: AtomicU64::new(0),
            books: Arc::default(),
            budget: Arc::new(Semaphore::new(budget_megabytes as usize)),
            budget_megabytes,
        })
    }

    /// The folder that children may read.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until `size_bytes` fit into the budget and names a new file. A file larger than the whole budget
    /// waits until it has the spool for itself. Whether the disk has room is asked by [`Spool::room_for`].
    pub async fn reserve(&self, size_bytes: u64) -> SpoolFile {
        let megabytes =
            u32::try_from(size_bytes.div_ceil(MEGABYTE)).unwrap_or(u32::MAX).clamp(1, self.budget_megabytes);
        let reservation =
            Arc::clone(&self.budget).acquire_many_owned(megabytes).await.expect("the spool's budget is never closed");
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(number.to_string());
        let entry = Entry { path: path.clone(), size_bytes, has_room: false };
        self.books.files().insert(number, entry);
        SpoolFile { path, number, books: Arc::clone(&self.books), _reservation: reservation }
    }

    /// Waits until the disk has room for the file, as far as that comes by itself: when other files are done.
    ///
    /// # Errors
    /// When it does not: the disk is full (of other things than ours), or gone.
    pub async fn room_for(&self, file: &SpoolFile) -> Result<(), Outage> {
        loop {
            // Registered before the look, so that a file given back in between is not missed.
            let given_back = self.books.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            if self.finds_room(file.number)? {
                return Ok(());
            }
            given_back.await;
        }
    }

    /// `Ok(false)`: not before other files are done.
    fn finds_room(&self, number: u64) -> Result<bool, Outage> {
        let disk = self.disk()?;
        let mut files = self.books.files();
        // In the worst case nothing of what was promised is written yet: with room for that, too, no file is looked at.
        let others: u64 = files.iter().filter(|(other, _)| **other != number).map(|(_, entry)| entry.size_bytes).sum();
        if let Some(entry) = files.get_mut(&number)
            && disk.takes(entry.size_bytes.saturating_add(others))
        {
            entry.has_room = true;
            return Ok(true);
        }
        let with_room = || files.iter().filter(|(other, entry)| **other != number && entry.has_room);
        let promised: u64 = with_room().map(|(_, entry)| entry.missing_bytes()).sum();
        let ours: u64 = with_room().map(|(_, entry)| entry.bytes_on_disk()).sum();
        // Only its holder asks for room for a file, so it is in the books.
        let Some(size_bytes) = files.get(&number).map(|entry| entry.size_bytes) else { return Ok(true) };
        if disk.takes(size_bytes.saturating_add(promised)) {
            files.entry(number).and_modify(|entry| entry.has_room = true);
            return Ok(true);
        }
        let without_ours = DiskRoom { free_bytes: disk.free_bytes.saturating_add(ours), ..disk };
        if without_ours.takes(size_bytes) {
            return Ok(false);
        }
        Err(self.full(&disk, size_bytes))
    }

    /// Whether there is any use in receiving more: the folder is there and the disk has room. Costs two system calls.
    ///
    /// # Errors
    /// What is wrong.
    pub fn look(&self) -> Result<DiskRoom, Outage> {
        if !self.is_in_place() {
            return Err(Outage::new(OutageCause::Missing, format!("{} was deleted", self.folder.display())));
        }
        let disk = self.disk()?;
        if disk.takes(0) { Ok(disk) } else { Err(self.full(&disk, 0)) }
    }

    /// Tries whether files can be written again: makes the folder anew where somebody deleted it, looks for room for
    /// everything that waits, and writes. `Ok(true)`: the folder is a new one, which children that are up cannot read.
    ///
    /// Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// What is wrong.
    pub fn probe(&self) -> Result<bool, Outage> {
        let is_new = !self.is_in_place();
        if is_new {
            let lock = establish(&self.parent, &self.folder).map_err(|error| self.outage(&error))?;
            *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
        }
        let disk = self.disk()?;
        let wanted = self.wanted_bytes();
        if !disk.takes(wanted) {
            return Err(self.full(&disk, wanted));
        }
        let path = self.folder.join(PROBE_FILE);
        let written = write_probe(&path, wanted);
        // A probe that was not created cannot be removed; one that was is overwritten by the next.
        let _ = fs::remove_file(&path);
        written.map_err(|error| self.outage(&error))?;
        Ok(is_new)
    }

    /// Bytes that are promised and not written yet, and the largest file that waits for a promise.
    fn wanted_bytes(&self) -> u64 {
        let files = self.books.files();
        let promised: u64 = files.values().filter(|entry| entry.has_room).map(Entry::missing_bytes).sum();
        let waiting = files.values().filter(|entry| !entry.has_room).map(|entry| entry.size_bytes).max();
        promised.saturating_add(waiting.unwrap_or(0))
    }

    /// Removes files that nobody holds; says how many.
    pub fn sweep(&self) -> usize {
        let Ok(entries) = fs::read_dir(&self.folder) else { return 0 };
        let mut removed = 0;
        for entry in entries.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
            // A file is entered into the books before it is created.
            if !self.books.files().contains_key(&number) && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        removed
    }

    /// What a failed write means.
    pub fn outage(&self, error: &io::Error) -> Outage {
        let folder = self.folder.display();
        if !disk_room::is_for_want_of_room(error) {
            return Outage::new(OutageCause::Failing, format!("{folder}: {error}"));
        }
        match DiskRoom::of(&self.folder) {
            Ok(disk) => Outage::new(OutageCause::Full, format!("{} {disk}: {error}", self.parent.display())),
            Err(_) => Outage::new(OutageCause::Full, format!("{folder}: {error}")),
        }
    }

    fn full(&self, disk: &DiskRoom, wanted_bytes: u64) -> Outage {
        let parent = self.parent.display();
        let detail = match wanted_bytes.div_ceil(MEGABYTE) {
            0 => format!("{parent} {disk}"),
            wanted => format!("{parent} {disk}; {wanted} MB are wanted"),
        };
        Outage::new(OutageCause::Full, detail)
    }

    fn disk(&self) -> Result<DiskRoom, Outage> {
        DiskRoom::of(&self.folder).map_err(|error| self.outage(&error))
    }

    fn is_in_place(&self) -> bool {
        self.folder.join(LOCK_FILE).exists()
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
    number: u64,
    books: Arc<Books>,
    _reservation: OwnedSemaphorePermit,
}

impl SpoolFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is (still) on disk. A file that vanished while a child read it makes the child's answer
    /// worthless.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.path);
        self.books.files().remove(&self.number);
        self.books.given_back.notify_waiters();
    }
}

/// Makes the folder of this process, and clears away those of dead ones; the lock that holds it.
///
/// All of it under a lock on the parent: a process that starts at the same time must not take a folder for abandoned
/// whose owner has not come to lock it.
fn establish(parent: &Path, folder: &Path) -> io::Result<File> {
    fs::create_dir_all(parent)?;
    let parent_lock = File::open(parent)?;
    flock(&parent_lock, FlockOperation::LockExclusive)?;
    remove_abandoned(parent);
    if !folder.is_dir() {
        create_private_dir(folder)?;
    }
    let lock = File::create(folder.join(LOCK_FILE))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// Writes a little, and takes the room for the rest: a quota, or blocks that are others', show only that way.
fn write_probe(path: &Path, wanted_bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&[0; PROBE_BYTES])?;
    let allocated = match wanted_bytes {
        0 => Ok(()),
        bytes => fallocate(&file, FallocateFlags::empty(), 0, bytes),
    };
    match allocated {
        // Not every file system can.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.sync_data(),
        Err(errno) => Err(errno.into()),
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

    #[tokio::test]
    async fn a_file_that_nobody_holds_is_swept_and_one_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path(), 2 * MEGABYTE).unwrap();
        let held = spool.reserve(1).await;
        fs::write(held.path(), b"x").unwrap();
        // A fetch that was cancelled while the file was being created creates it all the same, a moment later.
        let cancelled = spool.reserve(1).await;
        let late = cancelled.path().to_owned();
        drop(cancelled);
        fs::write(&late, b"").unwrap();
        assert_eq!(spool.sweep(), 1);
        assert!(held.is_there() && !late.exists() && spool.is_in_place());
    }

    #[tokio::test]
    async fn a_folder_that_was_deleted_is_an_outage_that_a_probe_mends() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("cache");
        let spool = Spool::create(&root, MEGABYTE).unwrap();
        assert!(spool.look().is_ok());
        assert_eq!(spool.probe(), Ok(false));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(spool.look().unwrap_err().cause, OutageCause::Missing);
        let file = spool.reserve(1).await;
        assert!(spool.room_for(&file).await.is_err());

        assert_eq!(spool.probe(), Ok(true));
        assert!(spool.room_for(&file).await.is_ok());
        let _other = Spool::create(&root, MEGABYTE).unwrap();
        assert!(spool.look().is_ok(), "the new folder is locked like the first: another process leaves it alone");
        assert_eq!(fs::read_dir(spool.folder()).unwrap().count(), 1, "the probe leaves nothing behind");
    }

    #[tokio::test]
    async fn a_file_larger_than_what_others_leave_is_an_outage_and_one_that_waits_for_ours_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path(), 1 << 50).unwrap();
        let free = DiskRoom::of(parent.path()).unwrap().free_bytes;
        let far_too_large = spool.reserve(free.saturating_mul(2)).await;
        let outage = spool.room_for(&far_too_large).await.unwrap_err();
        assert_eq!(outage.cause, OutageCause::Full);
        assert!(outage.detail.contains("MB free") && outage.detail.contains("MB are wanted"), "{outage}");
        let found = spool.probe().unwrap_err();
        assert_eq!(found.cause, OutageCause::Full, "the probe looks for the room that is wanted");
        drop(far_too_large);
        assert_eq!(spool.probe(), Ok(false));
    }

    #[test]
    fn only_want_of_room_is_full() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path(), MEGABYTE).unwrap();
        for (errno, cause) in [
            (Errno::NOSPC, OutageCause::Full),
            (Errno::DQUOT, OutageCause::Full),
            (Errno::IO, OutageCause::Failing),
            (Errno::ROFS, OutageCause::Failing),
            (Errno::ACCESS, OutageCause::Failing),
        ] {
            assert_eq!(spool.outage(&errno.into()).cause, cause, "{errno}");
        }
    }
}
