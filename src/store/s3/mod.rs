//! The real store: S3.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{AggregatedBytes, ByteStream, DateTime};
use aws_sdk_s3::types::StorageClass;
use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use tokio_util::bytes::Bytes;

use super::spool::SpoolFile;
use super::{Fetched, ObjectState, ObjectStore, StateObject, StoreError};
use crate::aws::{self, CallError};

/// Longest key (S3 quota). A longer one gets an answer without a body that says nothing; it cannot exist.
const MAX_KEY_BYTES: usize = 1024;
/// Further attempts after a body broke off; the SDK itself retries requests that got no answer.
const BODY_RETRIES: usize = 3;
const BODY_RETRY_MIN: Duration = Duration::from_millis(500);
/// The answer to a range of an object of no bytes.
const RANGE_NOT_SATISFIABLE: u16 = 416;
const THUMBNAIL_CONTENT_TYPE: &str = "image/jpeg";
const STATE_CONTENT_TYPE: &str = "application/json";

/// The source bucket and the thumbnail bucket.
pub struct S3Store {
    client: Client,
    probe_client: Client,
    /// `S3_BUCKET`: probed; messages may name others.
    bucket: String,
    thumbnail_bucket: String,
}

/// A fetch that ended before the object was in the spool.
enum FetchFailure {
    Final(StoreError),
    /// The answer had begun and broke off: worth another try from the start.
    BodyBroken(Box<dyn Error + Send + Sync>),
}

#[derive(Debug, thiserror::Error)]
#[error("body of s3://{bucket}/{key} ended after {received_bytes} of {expected_bytes} bytes")]
struct BodyTruncated {
    bucket: String,
    key: String,
    received_bytes: u64,
    expected_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("read body of s3://{bucket}/{key}")]
struct BodyUnreadable {
    bucket: String,
    key: String,
    #[source]
    source: aws_sdk_s3::primitives::ByteStreamError,
}

#[derive(Debug, thiserror::Error)]
#[error("answer to HeadObject lacks {0}")]
struct AnswerLacks(&'static str);

impl S3Store {
    /// Makes no network call.
    pub fn new(config: &SdkConfig, bucket: impl Into<String>, thumbnail_bucket: impl Into<String>) -> Self {
        Self {
            client: aws::s3_client(config),
            probe_client: aws::s3_probe_client(config),
            bucket: bucket.into(),
            thumbnail_bucket: thumbnail_bucket.into(),
        }
    }

    /// A HEAD answered 404 has no body: whether the key or the bucket is missing, a second question tells.
    async fn missing_key_or_bucket(&self, bucket: &str) -> StoreError {
        let Err(error) = self.client.head_bucket().bucket(bucket).send().await else { return StoreError::NotFound };
        let failure = CallError::new("HeadBucket", bucket, error);
        match failure.status {
            Some(404) => StoreError::NoSuchBucket,
            // Without permission to list, S3 would not have admitted that the key is missing either.
            Some(403) => StoreError::NotFound,
            _ => StoreError::Unavailable(Box::new(failure)),
        }
    }

    async fn put_beside_thumbnails(
        &self,
        key: &str,
        content_type: &'static str,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let bucket = &self.thumbnail_bucket;
        check_names(bucket, key)?;
        let request = self.client.put_object().bucket(bucket).key(key).content_type(content_type);
        let answer = request.body(ByteStream::from(bytes)).send().await;
        answer.map(drop).map_err(|error| store_error(CallError::new("PutObject", target(bucket, key), error)))
    }

    async fn fetch_once(
        &self,
        bucket: &str,
        key: &str,
        state: &ObjectState,
        spool_file: &Path,
    ) -> Result<Fetched, FetchFailure> {
        let answer = self.client.get_object().bucket(bucket).key(key).if_match(quoted(&state.etag)).send().await;
        let object = answer.map_err(|error| {
            FetchFailure::Final(store_error(CallError::new("GetObject", target(bucket, key), error)))
        })?;
        let announced = object.content_length().and_then(|length| u64::try_from(length).ok());
        if announced.is_some_and(|length| length != state.size_bytes) {
            return Err(FetchFailure::Final(StoreError::Changed));
        }
        spool_body(bucket, key, object, state.size_bytes, spool_file).await
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn head(&self, bucket: &str, key: &str) -> Result<ObjectState, StoreError> {
        check_names(bucket, key)?;
        let answer = self.client.head_object().bucket(bucket).key(key).send().await;
        let error = match answer {
            Ok(object) => return object_state(object),
            Err(error) => CallError::new("HeadObject", target(bucket, key), error),
        };
        match store_error(error) {
            StoreError::NotFound => Err(self.missing_key_or_bucket(bucket).await),
            other => Err(other),
        }
    }

    /// One GET of the first bytes instead of a HEAD and a GET. Whatever comes of it but the object, the HEAD tells more
    /// exactly: what is missing, what is empty (no range fits it), what is archived.
    async fn peek(&self, bucket: &str, key: &str, most_bytes: u64) -> Result<(ObjectState, Option<Bytes>), StoreError> {
        check_names(bucket, key)?;
        let range = format!("bytes=0-{}", most_bytes.saturating_sub(1));
        let object = match self.client.get_object().bucket(bucket).key(key).range(range).send().await {
            Ok(object) => object,
            Err(error) => {
                let refusal = CallError::new("GetObject", target(bucket, key), error);
                let is_empty = refusal.status == Some(RANGE_NOT_SATISFIABLE);
                return match store_error(refusal) {
                    outage @ StoreError::Unavailable(_) if !is_empty => Err(outage),
                    _ => Ok((self.head(bucket, key).await?, None)),
                };
            }
        };
        let Some(state) = peeked_state(&object) else { return Ok((self.head(bucket, key).await?, None)) };
        if state.size_bytes > most_bytes {
            return Ok((state, None));
        }
        // A body that breaks off is fetched anew, with all patience.
        let whole = object.body.collect().await.ok().map(AggregatedBytes::into_bytes);
        let bytes = whole.filter(|bytes| bytes.len() as u64 == state.size_bytes);
        Ok((state, bytes))
    }

    async fn fetch(
        &self,
        bucket: &str,
        key: &str,
        state: &ObjectState,
        spool_file: &Path,
    ) -> Result<Fetched, StoreError> {
        check_names(bucket, key)?;
        let retries =
            ExponentialBuilder::default().with_jitter().with_min_delay(BODY_RETRY_MIN).with_max_times(BODY_RETRIES);
        let fetched = (|| self.fetch_once(bucket, key, state, spool_file))
            .retry(retries)
            .when(|failure| matches!(failure, FetchFailure::BodyBroken(_)))
            .await;
        fetched.map_err(|failure| match failure {
            FetchFailure::Final(error) => error,
            FetchFailure::BodyBroken(cause) => StoreError::Unavailable(cause),
        })
    }

    async fn put_thumbnail(&self, key: &str, jpeg: Vec<u8>) -> Result<(), StoreError> {
        self.put_beside_thumbnails(key, THUMBNAIL_CONTENT_TYPE, jpeg).await
    }

    async fn delete_thumbnail(&self, key: &str) -> Result<(), StoreError> {
        check_names(&self.thumbnail_bucket, key)?;
        let answer = self.client.delete_object().bucket(&self.thumbnail_bucket).key(key).send().await;
        let Err(error) = answer else { return Ok(()) };
        match store_error(CallError::new("DeleteObject", target(&self.thumbnail_bucket, key), error)) {
            StoreError::NotFound => Ok(()),
            other => Err(other),
        }
    }

    async fn write_state(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.put_beside_thumbnails(key, STATE_CONTENT_TYPE, bytes).await
    }

    async fn read_state(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let bucket = &self.thumbnail_bucket;
        check_names(bucket, key)?;
        let answer = self.client.get_object().bucket(bucket).key(key).send().await;
        let object = answer.map_err(|error| store_error(CallError::new("GetObject", target(bucket, key), error)))?;
        let body = object.body.collect().await.map_err(|source| {
            let unreadable = BodyUnreadable { bucket: bucket.clone(), key: key.to_owned(), source };
            StoreError::Unavailable(Box::new(unreadable))
        })?;
        Ok(body.to_vec())
    }

    async fn list_state(&self, prefix: &str, after: Option<&str>) -> Result<Vec<StateObject>, StoreError> {
        let bucket = &self.thumbnail_bucket;
        check_names(bucket, prefix)?;
        let listing = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let answer = listing.set_start_after(after.map(str::to_owned)).send().await;
        let page =
            answer.map_err(|error| store_error(CallError::new("ListObjectsV2", target(bucket, prefix), error)))?;
        let objects = page.contents.unwrap_or_default().into_iter();
        Ok(objects
            .filter_map(|object| {
                Some(StateObject { key: object.key?, last_modified: object.last_modified.and_then(timestamp)? })
            })
            .collect())
    }

    fn thumbnail_url(&self, key: &str) -> String {
        target(&self.thumbnail_bucket, key)
    }

    fn object_url(&self, bucket: &str, key: &str) -> String {
        target(bucket, key)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let answer = self.probe_client.head_bucket().bucket(&self.bucket).send().await;
        let Err(error) = answer else { return Ok(()) };
        let failure = CallError::new("HeadBucket", &self.bucket, error);
        Err(match failure.status {
            Some(404) => StoreError::NoSuchBucket,
            _ => store_error(failure),
        })
    }
}

/// Streams the body into the spool: never more than `expected_bytes`, and not less.
async fn spool_body(
    bucket: &str,
    key: &str,
    mut object: GetObjectOutput,
    expected_bytes: u64,
    spool_file: &Path,
) -> Result<Fetched, FetchFailure> {
    let spool_failure = |error: io::Error| FetchFailure::Final(StoreError::Spool(error));
    let mut spool = SpoolFile::create(spool_file, expected_bytes).await.map_err(FetchFailure::Final)?;
    while let Some(chunk) = object.body.next().await {
        let bytes = chunk.map_err(|source| {
            let unreadable = BodyUnreadable { bucket: bucket.to_owned(), key: key.to_owned(), source };
            FetchFailure::BodyBroken(Box::new(unreadable))
        })?;
        if spool.write(&bytes).await.map_err(spool_failure)?.is_err() {
            return Err(FetchFailure::Final(StoreError::Changed));
        }
    }
    if spool.written_bytes() < expected_bytes {
        let truncated = BodyTruncated {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            received_bytes: spool.written_bytes(),
            expected_bytes,
        };
        return Err(FetchFailure::BodyBroken(Box::new(truncated)));
    }
    spool.finish().await.map_err(FetchFailure::Final)
}

fn object_state(object: HeadObjectOutput) -> Result<ObjectState, StoreError> {
    let lacks = |what| StoreError::Unavailable(Box::new(AnswerLacks(what)));
    let archived = is_archived(&object);
    let etag = object.e_tag.ok_or_else(|| lacks("ETag"))?;
    let metadata = object.metadata.unwrap_or_default();
    Ok(ObjectState {
        etag: unquoted(&etag).to_owned(),
        size_bytes: object
            .content_length
            .and_then(|length| u64::try_from(length).ok())
            .ok_or_else(|| lacks("length"))?,
        last_modified: object.last_modified.and_then(timestamp).ok_or_else(|| lacks("Last-Modified"))?,
        version_id: object.version_id,
        archived,
        user_metadata: metadata.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect(),
    })
}

/// What the answer to a GET of the first bytes says of the whole object; `None` when something is missing.
fn peeked_state(object: &GetObjectOutput) -> Option<ObjectState> {
    let size = match object.content_range() {
        // `bytes 0-5119/5120`
        Some(range) => range.rsplit('/').next()?.parse().ok()?,
        // The server does not know ranges.
        None => u64::try_from(object.content_length()?).ok()?,
    };
    let metadata = object.metadata().into_iter().flatten();
    Some(ObjectState {
        etag: unquoted(object.e_tag()?).to_owned(),
        size_bytes: size,
        last_modified: object.last_modified().copied().and_then(timestamp)?,
        version_id: object.version_id().map(str::to_owned),
        archived: false,
        user_metadata: metadata.map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
    })
}

/// Whether a GET would be refused: Glacier Flexible Retrieval and Deep Archive, and Intelligent-Tiering's archive
/// tiers, without a finished restore. Glacier Instant Retrieval can be read like any other class.
fn is_archived(object: &HeadObjectOutput) -> bool {
    let restored = object.restore().is_some_and(|restore| restore.contains("ongoing-request=\"false\""));
    let archive_class = matches!(object.storage_class(), Some(StorageClass::Glacier | StorageClass::DeepArchive));
    (archive_class || object.archive_status().is_some()) && !restored
}

/// Names that cannot exist, and that would get an answer which says nothing.
fn check_names(bucket: &str, key: &str) -> Result<(), StoreError> {
    let is_bucket_character = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    // Old buckets have up to 255 characters, capitals and underscores.
    if !(3..=255).contains(&bucket.len()) || !bucket.bytes().all(is_bucket_character) {
        return Err(StoreError::NoSuchBucket);
    }
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(StoreError::NotFound);
    }
    Ok(())
}

/// What a refused call means for the object. Refused credentials are not the object's fault; a plain 403 may be
/// either, which only `probe` can tell.
fn store_error(error: CallError) -> StoreError {
    match (error.plain_code(), error.status) {
        ("NoSuchBucket", _) => StoreError::NoSuchBucket,
        ("PreconditionFailed", _) | (_, Some(412)) => StoreError::Changed,
        ("InvalidObjectState", _) => StoreError::Archived,
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "RequestExpired",
            _,
        ) => StoreError::Unavailable(Box::new(error)),
        ("NoSuchKey" | "NotFound", _) | (_, Some(404)) => StoreError::NotFound,
        // Before the rest: the encryption keys' service throttles, too (`KMS.ThrottlingException`, 400).
        _ if error.transient => StoreError::Unavailable(Box::new(error)),
        // The answer to a HEAD has no body. 400 is said when the token has expired, and for an object that is
        // encrypted with a key of the customer's.
        ("", Some(400)) => StoreError::AccessDenied,
        // The object's encryption key refuses us, or is disabled.
        (_, Some(403)) => StoreError::AccessDenied,
        _ if error.code.as_deref().is_some_and(|code| code.starts_with("KMS.")) => StoreError::AccessDenied,
        _ => StoreError::Unavailable(Box::new(error)),
    }
}

fn timestamp(moment: DateTime) -> Option<Timestamp> {
    Timestamp::new(moment.secs(), i32::try_from(moment.subsec_nanos()).ok()?).ok()
}

fn unquoted(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn target(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}
