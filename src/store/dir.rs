//! The embedded store: a folder. Keys are paths below it (see [`super::folder_key`]); the bucket is ignored.
//!
//! An object's ETag is its size and modification time in nanoseconds: what a file system offers without reading
//! the bytes. The inode is not part of it, because network file systems number anew on every mount, and each
//! file would be read again; during a fetch the file handle tells whether the name has been given to another file.

#[cfg(test)]
#[path = "dir/tests.rs"]
mod tests;

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use url::Url;

use super::spool::SpoolFile;
use super::{Fetched, ObjectState, ObjectStore, StateObject, StoreError, folder_key};

/// Read at once; hashed between two reads, so not more than the runtime can wait for.
const COPY_BUFFER_BYTES: usize = 256 * 1024;
/// Longest file name of the common file systems.
const MAX_FILE_NAME_BYTES: usize = 255;
/// What thumbnail keys begin with (contract §3); also the folder's name below the state folder.
const THUMBNAILS: &str = "thumbnails";

/// Most entries of one listing, as S3 has it.
const LISTING_PAGE: usize = 1000;

/// A folder of source files, and another for what is made of them.
pub struct DirStore {
    root: PathBuf,
    thumbnail_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
struct FileCallFailed {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl DirStore {
    /// `root` must be a folder. Thumbnails go to `<state_dir>/thumbnails`, made when the first one comes.
    pub fn open(root: &Path, state_dir: &Path) -> io::Result<Self> {
        let absolute_root = root.canonicalize()?;
        if !absolute_root.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { root: absolute_root, thumbnail_dir: std::path::absolute(state_dir)?.join(THUMBNAILS) })
    }

    /// The regular file that the key names.
    async fn find_file(&self, key: &str) -> Result<(PathBuf, Metadata), StoreError> {
        let root = self.root.clone();
        let wanted_key = key.to_owned();
        let found = tokio::task::spawn_blocking(move || folder_key::find(&root, &wanted_key)).await;
        let looked_up = found.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        let (path, metadata) = looked_up
            .map_err(|error| store_error("look up file", &self.root.join(key.trim_start_matches('/')), error))?;
        if !metadata.is_file() {
            return Err(StoreError::NotFound);
        }
        Ok((path, metadata))
    }

    async fn open_file(&self, path: &Path) -> Result<(File, Metadata), StoreError> {
        let mut options = std::fs::OpenOptions::new();
        // The name may have become a symlink or a pipe since it was looked at.
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
        let file = tokio::fs::OpenOptions::from(options).open(path).await.map_err(|error| {
            if error.raw_os_error() == Some(libc::ELOOP) {
                return StoreError::Changed;
            }
            store_error("open file", path, error)
        })?;
        let metadata = file.metadata().await.map_err(|error| store_error("look at open file", path, error))?;
        Ok((file, metadata))
    }

    /// Thumbnail keys look like `thumbnails/…`; always a path below the thumbnail folder.
    fn thumbnail_path(&self, key: &str) -> Option<PathBuf> {
        let relative = key.strip_prefix("thumbnails/").unwrap_or(key);
        let mut path = self.thumbnail_dir.clone();
        for name in relative.split('/') {
            if matches!(name, "" | "." | "..") || name.contains('\0') {
                return None;
            }
            path.push(shortened(name));
        }
        Some(path)
    }
}

#[async_trait]
impl ObjectStore for DirStore {
    async fn head(&self, _bucket: &str, key: &str) -> Result<ObjectState, StoreError> {
        let (_, metadata) = self.find_file(key).await?;
        Ok(ObjectState {
            etag: etag_of(&metadata),
            size_bytes: metadata.len(),
            last_modified: modified_at(&metadata),
            version_id: None,
            archived: false,
            user_metadata: BTreeMap::new(),
        })
    }

    async fn fetch(
        &self,
        _bucket: &str,
        key: &str,
        state: &ObjectState,
        spool_file: &Path,
    ) -> Result<Fetched, StoreError> {
        let (path, _) = self.find_file(key).await?;
        let (mut file, opened) = self.open_file(&path).await?;
        if !opened.is_file() || etag_of(&opened) != state.etag {
            return Err(StoreError::Changed);
        }
        let mut spool = SpoolFile::create(spool_file, state.size_bytes).await?;
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            let read_bytes = file.read(&mut buffer).await.map_err(|error| store_error("read file", &path, error))?;
            if read_bytes == 0 {
                break;
            }
            if spool.write(&buffer[..read_bytes]).await.map_err(StoreError::Spool)?.is_err() {
                return Err(StoreError::Changed);
            }
        }
        // Written to while it was read, or replaced by another file under the same name.
        let (_, now) = self.find_file(key).await?;
        let is_same_file = now.ino() == opened.ino() && now.dev() == opened.dev();
        if !is_same_file || etag_of(&now) != state.etag || spool.written_bytes() != state.size_bytes {
            return Err(StoreError::Changed);
        }
        spool.finish().await
    }

    async fn put_thumbnail(&self, key: &str, jpeg: Vec<u8>) -> Result<(), StoreError> {
        let path = self.thumbnail_path(key).ok_or(StoreError::NotFound)?;
        let written = tokio::task::spawn_blocking(move || replace_file(&path, &jpeg)).await;
        written
            .map_err(|error| StoreError::Unavailable(Box::new(error)))?
            .map_err(|error| StoreError::Unavailable(Box::new(error)))
    }

    async fn delete_thumbnail(&self, key: &str) -> Result<(), StoreError> {
        let Some(path) = self.thumbnail_path(key) else { return Ok(()) };
        match tokio::fs::remove_file(&path).await {
            Err(error) if !folder_key::is_absence(error.kind()) => Err(store_error("remove thumbnail", &path, error)),
            _ => Ok(()),
        }
    }

    async fn write_state(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.put_thumbnail(key, bytes).await
    }

    async fn read_state(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.thumbnail_path(key).ok_or(StoreError::NotFound)?;
        tokio::fs::read(&path).await.map_err(|error| store_error("read state", &path, error))
    }

    async fn list_state(&self, prefix: &str, after: Option<&str>) -> Result<Vec<StateObject>, StoreError> {
        let folder = self.thumbnail_path(prefix.trim_end_matches('/')).ok_or(StoreError::NotFound)?;
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let listing = tokio::task::spawn_blocking(move || list_files(&folder, &prefix, after.as_deref())).await;
        listing.map_err(|error| StoreError::Unavailable(Box::new(error)))
    }

    async fn delete_state(&self, key: &str) -> Result<(), StoreError> {
        self.delete_thumbnail(key).await?;
        if let Some(folder) = self.thumbnail_path(key).as_deref().and_then(Path::parent) {
            // Not while anything else is in it.
            let _ = tokio::fs::remove_dir(folder).await;
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn thumbnail_url(&self, key: &str) -> String {
        file_url(&self.thumbnail_path(key).unwrap_or_else(|| self.thumbnail_dir.clone()))
    }

    fn object_url(&self, _bucket: &str, key: &str) -> String {
        file_url(&folder_key::path_of(&self.root, key))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let listed = tokio::fs::read_dir(&self.root).await;
        // Also a missing folder is the store's trouble here, not an object's.
        listed.map(drop).map_err(|source| {
            let path = self.root.clone();
            StoreError::Unavailable(Box::new(FileCallFailed { operation: "list folder", path, source }))
        })
    }
}

/// `file://` with everything percent-encoded that a URL cannot carry.
fn file_url(path: &Path) -> String {
    Url::from_file_path(path).map_or_else(|()| format!("file://{}", path.display()), String::from)
}

fn etag_of(metadata: &Metadata) -> String {
    let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    format!("{}-{modified_ns}", metadata.len())
}

fn modified_at(metadata: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    Timestamp::new(metadata.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A name the file system takes: the beginning goes, the end (with the hash of the key) stays.
fn shortened(name: &str) -> &str {
    &name[name.ceil_char_boundary(name.len().saturating_sub(MAX_FILE_NAME_BYTES))..]
}

/// The files below a folder as keys under `prefix`, in the order of the keys, those after `after`.
fn list_files(folder: &Path, prefix: &str, after: Option<&str>) -> Vec<StateObject> {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let mut objects: Vec<StateObject> = files
        .filter_map(|entry| {
            let relative = entry.path().strip_prefix(folder).ok()?.to_str()?;
            let last_modified = modified_at(&entry.metadata().ok()?);
            Some(StateObject { key: format!("{prefix}{relative}"), last_modified })
        })
        .filter(|object| after.is_none_or(|after| object.key.as_str() > after))
        .collect();
    objects.sort_by(|left, right| left.key.cmp(&right.key));
    objects.truncate(LISTING_PAGE);
    objects
}

/// Nobody ever sees half a thumbnail.
fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), FileCallFailed> {
    let failed = |operation| move |source| FileCallFailed { operation, path: path.to_path_buf(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(failed("make folder of"))?;
    let mut unfinished = tempfile::NamedTempFile::new_in(folder).map_err(failed("make file beside"))?;
    io::Write::write_all(&mut unfinished, bytes).map_err(failed("write"))?;
    unfinished.persist(path).map_err(|error| failed("put in place")(error.error))?;
    Ok(())
}

fn store_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    if folder_key::is_absence(source.kind()) {
        return StoreError::NotFound;
    }
    if source.kind() == io::ErrorKind::PermissionDenied {
        return StoreError::AccessDenied;
    }
    StoreError::Unavailable(Box::new(FileCallFailed { operation, path: path.to_path_buf(), source }))
}
