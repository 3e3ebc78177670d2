//! Page checkpoints: what was recognised of a long document survives the instance that recognised it.
//!
//! Pages are stored in chunks beside the thumbnails, below `thumbnails/checkpoints/`, a prefix that is never processed
//! as input (contract §1). A chunk's name tells which bytes and which engine its pages are of, so that pages of
//! another content or another engine are never taken for this one's.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::pool::protocol::Page;

/// Everything that is remembered about unfinished objects.
pub const ROOT: &str = "thumbnails/checkpoints/";
/// The name of the [`super::attempt::GuiltRecord`] in an object's folder.
const GUILT: &str = "guilt.json";
const CHUNK_PREFIX: &str = "pages-";
/// Characters of a digest that are enough to tell things apart.
const SHORT_DIGEST: usize = 32;

/// Where an object's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(String);

impl Folder {
    /// By bucket and key, as a digest: keys have characters and lengths that would not fit behind a prefix.
    pub fn of(bucket: &str, key: &str) -> Self {
        Self(format!("{ROOT}{}/", digest(&[bucket, key])))
    }

    /// Ends with `/`.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    pub fn guilt_key(&self) -> String {
        format!("{}{GUILT}", self.0)
    }

    /// A new name for a chunk; chunks written at the same time by two workers do not meet.
    pub fn new_chunk_key(&self, content: &ContentId) -> String {
        format!("{}{CHUNK_PREFIX}{}-{}.json", self.0, content.0, uuid::Uuid::new_v4().simple())
    }

    /// Whether the key names a chunk of this content.
    pub fn is_chunk_of(&self, content: &ContentId, key: &str) -> bool {
        key.strip_prefix(&self.0).is_some_and(|name| name.starts_with(&format!("{CHUNK_PREFIX}{}-", content.0)))
    }
}

/// Which bytes were read by which engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentId(String);

impl ContentId {
    pub fn of(content_sha256: &str, engine_fingerprint: &str) -> Self {
        Self(digest(&[content_sha256, engine_fingerprint]))
    }
}

/// Some pages of a document.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Chunk {
    pub pages: Vec<Page>,
}

fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())[..SHORT_DIGEST].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::keys::ignored_key;

    #[test]
    fn checkpoints_are_never_taken_for_input() {
        let folder = Folder::of("bucket", "documents/road/橋.pdf");
        assert!(ignored_key(&folder.guilt_key()));
        assert!(ignored_key(&folder.new_chunk_key(&ContentId::of("sha", "engine"))));
    }

    #[test]
    fn chunks_of_another_content_or_engine_are_not_this_one_s() {
        let folder = Folder::of("bucket", "key");
        let content = ContentId::of("sha", "engine");
        let key = folder.new_chunk_key(&content);
        assert!(folder.is_chunk_of(&content, &key));
        assert!(!folder.is_chunk_of(&ContentId::of("sha", "another engine"), &key));
        assert!(!folder.is_chunk_of(&ContentId::of("another sha", "engine"), &key));
        assert!(!Folder::of("bucket", "another key").is_chunk_of(&content, &key));
        assert!(!folder.is_chunk_of(&content, &folder.guilt_key()));
    }
}
