//! A spool file being written: owned until it is finished, removed when it is not.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio_util::bytes::Bytes;

use super::{Fetched, StoreError};

/// Readable to the service's user only: the children run as the same user.
const SPOOL_FILE_MODE: u32 = 0o600;

/// Bytes on their way into the spool, hashed as they pass.
pub(super) struct SpoolFile {
    file: File,
    hash: Sha256,
    written_bytes: u64,
    limit_bytes: u64,
    /// Removes the file unless the fetch is finished; also when the fetch is cancelled half-way.
    unfinished: RemoveOnDrop,
}

struct RemoveOnDrop(Option<PathBuf>);

/// More bytes than the limit arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Writes a file whose bytes are at hand: what [`SpoolFile`] does, in one go off the runtime's threads.
pub async fn write_whole(path: &Path, bytes: Bytes) -> Result<Fetched, StoreError> {
    let path = path.to_path_buf();
    let written = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(SPOOL_FILE_MODE).open(&path)?;
        let mut unfinished = RemoveOnDrop(Some(path));
        file.write_all(&bytes)?;
        unfinished.0 = None;
        Ok(Fetched { size_bytes: bytes.len() as u64, content_sha256: hex::encode(Sha256::digest(&bytes)) })
    });
    written.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())).map_err(StoreError::Spool)
}

impl SpoolFile {
    /// Creates the file; one that exists already is an error, so that nobody is tricked into overwriting.
    pub(super) async fn create(path: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(SPOOL_FILE_MODE)
            .open(path)
            .await
            .map_err(StoreError::Spool)?;
        let unfinished = RemoveOnDrop(Some(path.to_path_buf()));
        Ok(Self { file, hash: Sha256::new(), written_bytes: 0, limit_bytes, unfinished })
    }

    /// Nothing of a chunk that reaches over the limit is written.
    pub(super) async fn write(&mut self, chunk: &[u8]) -> Result<Result<(), TooLong>, io::Error> {
        let after = self.written_bytes.saturating_add(chunk.len() as u64);
        if after > self.limit_bytes {
            return Ok(Err(TooLong));
        }
        self.file.write_all(chunk).await?;
        self.hash.update(chunk);
        self.written_bytes = after;
        Ok(Ok(()))
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Keeps the file. A full disk may show only here: the last writes happen behind the scenes.
    pub(super) async fn finish(mut self) -> Result<Fetched, StoreError> {
        self.file.flush().await.map_err(StoreError::Spool)?;
        self.unfinished.0 = None;
        Ok(Fetched { size_bytes: self.written_bytes, content_sha256: hex::encode(self.hash.finalize()) })
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = std::fs::remove_file(path) {
            log::warn!(path:% = path.display(), error:% = error; "unfinished spool file not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_finished_file_is_private_hashed_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spooled");
        let mut spool = SpoolFile::create(&path, 3).await.unwrap();
        spool.write(b"ab").await.unwrap().unwrap();
        spool.write(b"c").await.unwrap().unwrap();
        let fetched = spool.finish().await.unwrap();
        assert_eq!(fetched.size_bytes, 3);
        assert_eq!(fetched.content_sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn nothing_over_the_limit_is_written_and_an_unfinished_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spooled");
        let mut spool = SpoolFile::create(&path, 3).await.unwrap();
        assert_eq!(spool.write(b"abcd").await.unwrap(), Err(TooLong));
        drop(spool);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_exists_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spooled");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(SpoolFile::create(&path, 3).await, Err(StoreError::Spool(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_file_written_whole_is_private_and_hashed_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spooled");
        let fetched = write_whole(&path, Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(fetched.size_bytes, 3);
        assert_eq!(fetched.content_sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(write_whole(&path, Bytes::from_static(b"x")).await, Err(StoreError::Spool(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    #[tokio::test]
    async fn a_full_disk_is_the_spools_trouble() {
        let mut spool = SpoolFile {
            file: OpenOptions::new().write(true).open("/dev/full").await.unwrap(),
            hash: Sha256::new(),
            written_bytes: 0,
            limit_bytes: 3,
            unfinished: RemoveOnDrop(None),
        };
        let _ = spool.write(b"abc").await;
        let error = spool.finish().await.unwrap_err();
        let StoreError::Spool(cause) = error else { panic!("{error}") };
        assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
    }
}
