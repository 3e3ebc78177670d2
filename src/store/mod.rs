//! Where the files are: S3, or a folder in embedded mode.
//!
//! * [`s3`]: the real store
//! * [`dir`]: a folder as the store (embedded mode), whose keys are [`folder_key`]'s business
//! * [`walk`]: every file below a folder, in one order
//! * `spool`: a spool file while it is written

pub mod dir;
pub mod folder_key;
pub mod s3;
pub mod spool;
pub mod walk;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::bytes::Bytes;

use crate::aws::outage_of;
use crate::health::error_chain;
use crate::health::outage::{Outage, OutageCause};

/// What the store says about an object now (HeadObject).
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectState {
    /// Without quotes.
    pub etag: String,
    pub size_bytes: u64,
    pub last_modified: Timestamp,
    pub version_id: Option<String>,
    /// The bytes cannot be had without a restore (Glacier, Deep Archive, archived Intelligent-Tiering).
    pub archived: bool,
    /// User metadata, names in lower case without the `x-amz-meta-` prefix.
    pub user_metadata: BTreeMap<String, String>,
}

/// One state object: what the worker itself remembers about an unfinished object, beside the thumbnails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateObject {
    pub key: String,
    pub last_modified: Timestamp,
}

/// What a fetch left in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub size_bytes: u64,
    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub content_sha256: String,
}

/// Why the store did not answer with the object. `Unavailable` is never the object's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the object does not exist")]
    NotFound,
    #[error("the object changed while it was read")]
    Changed,
    #[error("access denied")]
    AccessDenied,
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("the object is in an archive storage class")]
    Archived,
    /// The spool is full or not writable: the worker's own trouble, not the object's.
    #[error("write spool file")]
    Spool(#[source] std::io::Error),
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// What this says about the store as a whole, once it is known to be nobody's object's fault.
    pub fn outage(&self) -> Outage {
        let of_kind = |cause| Outage::new(cause, self.to_string());
        match self {
            StoreError::Unavailable(source) => outage_of(source.as_ref()),
            StoreError::AccessDenied => of_kind(OutageCause::Refused),
            StoreError::NoSuchBucket => of_kind(OutageCause::Missing),
            StoreError::Spool(_) => Outage::new(OutageCause::Failing, error_chain(self)),
            StoreError::NotFound | StoreError::Changed | StoreError::Archived => of_kind(OutageCause::Failing),
        }
    }
}

/// The store of source objects and of thumbnails.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// The object's present state. `NotFound` when there is none.
    async fn head(&self, bucket: &str, key: &str) -> Result<ObjectState, StoreError>;

    /// The same as [`ObjectStore::head`], with the object's bytes where it has no more than `most_bytes` and they come
    /// at the price of the look.
    async fn peek(
        &self,
        bucket: &str,
        key: &str,
        _most_bytes: u64,
    ) -> Result<(ObjectState, Option<Bytes>), StoreError> {
        Ok((self.head(bucket, key).await?, None))
    }

    /// Copies the object's bytes to `spool_file` (created, at most `state.size_bytes` long), pinned to
    /// `state.etag`: `Changed` when the store holds something else by now.
    async fn fetch(
        &self,
        bucket: &str,
        key: &str,
        state: &ObjectState,
        spool_file: &Path,
    ) -> Result<Fetched, StoreError>;

    /// Writes a thumbnail (`image/jpeg`) under `key` in the thumbnail bucket.
    async fn put_thumbnail(&self, key: &str, jpeg: Vec<u8>) -> Result<(), StoreError>;

    /// Removes a thumbnail; one that does not exist is no error.
    async fn delete_thumbnail(&self, key: &str) -> Result<(), StoreError>;

    /// Writes a state object into the thumbnail bucket.
    async fn write_state(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// A state object's bytes; `NotFound` when there is none.
    async fn read_state(&self, key: &str) -> Result<Vec<u8>, StoreError>;

    /// The state objects under a prefix that ends with `/`: one page of the listing, at most 1000, from the one
    /// after `after`.
    async fn list_state(&self, prefix: &str, after: Option<&str>) -> Result<Vec<StateObject>, StoreError>;

    /// Removes a state object; one that does not exist is no error.
    async fn delete_state(&self, key: &str) -> Result<(), StoreError> {
        self.delete_thumbnail(key).await
    }

    /// Whether looking for state costs next to nothing, so that it is done also where there hardly is any.
    fn is_local(&self) -> bool {
        false
    }

    /// `s3://bucket/key` of a thumbnail (`file://…` in embedded mode).
    fn thumbnail_url(&self, key: &str) -> String;

    /// `s3://bucket/key` of an object (`file://…` in embedded mode).
    fn object_url(&self, bucket: &str, key: &str) -> String;

    /// Whether the source bucket answers at all: what tells "the store is down" from "this object's fault". One short
    /// try: the caller asks again soon.
    async fn probe(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
pub mod state_tests {
    use super::*;

    /// What every store must do with state objects.
    pub async fn state_is_listed_in_order_read_and_removed(store: &dyn ObjectStore) {
        let prefix = "thumbnails/checkpoints/one/";
        let listed = async |after| {
            let objects = store.list_state(prefix, after).await.unwrap();
            objects.into_iter().map(|object| object.key).collect::<Vec<_>>()
        };
        assert_eq!(listed(None).await, [] as [String; 0]);
        let keys = ["a.json", "b.json"].map(|name| format!("{prefix}{name}"));
        for key in &keys {
            store.write_state(key, key.clone().into_bytes()).await.unwrap();
        }
        store.write_state("thumbnails/checkpoints/other/a.json", Vec::new()).await.unwrap();
        store.write_state(&keys[0], b"again".to_vec()).await.unwrap();
        assert_eq!(listed(None).await, keys);
        assert_eq!(listed(Some(&keys[0])).await, [keys[1].clone()]);
        assert_eq!(store.read_state(&keys[0]).await.unwrap(), b"again");
        for _ in 0..2 {
            store.delete_state(&keys[0]).await.unwrap();
        }
        assert!(matches!(store.read_state(&keys[0]).await, Err(StoreError::NotFound)));
        assert_eq!(listed(None).await, [keys[1].clone()]);
    }
}
