//! Against the test bed's S3 (`TESTBED_S3_ENDPOINT`), and scripted answers for what only AWS says.

use std::path::PathBuf;

use super::*;
use crate::aws::testing::{Answer, ScriptedServer, test_config, testbed_config};

/// A bucket of its own, and a spool.
struct Bed {
    client: Client,
    store: S3Store,
    bucket: String,
    config: SdkConfig,
    spool: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Option<Self> {
        let config = testbed_config("TESTBED_S3_ENDPOINT").await?;
        let client = aws::s3_client(&config);
        let bucket = format!("test-{}", uuid::Uuid::new_v4());
        client.create_bucket().bucket(&bucket).send().await.unwrap();
        let store = S3Store::new(&config, &bucket, &bucket);
        Some(Self { client, store, bucket, config, spool: tempfile::tempdir().unwrap() })
    }

    async fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        let bytes = ByteStream::from(body.into());
        let request = self.client.put_object().bucket(&self.bucket).key(key).body(bytes);
        request
            .metadata("Original-Path", "%E9%81%93")
            .metadata("modified-at", "2024-05-01T10:00:00")
            .send()
            .await
            .unwrap();
    }

    async fn fetch(&self, key: &str, state: &ObjectState) -> Result<Fetched, StoreError> {
        self.store.fetch(&self.bucket, key, state, &self.spooled()).await
    }

    fn spooled(&self) -> PathBuf {
        self.spool.path().join("object")
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes))
}

#[tokio::test]
async fn objects_are_found_and_fetched_under_every_kind_of_key() {
    let Some(bed) = Bed::new().await else { return };
    let keys = [
        "documents/road/ts-server3/資料/道路橋示方書 (改訂).pdf",
        "landing/a+b.txt",
        "landing/a b.txt",
        "landing/100%.txt",
        "landing/a%20b.txt",
        "landing/a%2Bb.txt",
        // NFD: か followed by the combining mark.
        "landing/か\u{3099}.txt",
        "landing/が.txt",
        "landing/quote'\"&<>.txt",
        "landing/..draft..txt",
    ];
    for key in keys {
        bed.put(key, key).await;
    }
    for key in keys {
        let state = bed.store.head(&bed.bucket, key).await.unwrap();
        assert_eq!(state.size_bytes, key.len() as u64, "{key}");
        assert!(!state.etag.is_empty() && !state.etag.contains('"'), "{}", state.etag);
        assert!(!state.archived);
        assert_eq!(state.user_metadata["original-path"], "%E9%81%93");
        assert_eq!(state.user_metadata["modified-at"], "2024-05-01T10:00:00");
        let fetched = bed.fetch(key, &state).await.unwrap();
        assert_eq!(fetched, Fetched { size_bytes: key.len() as u64, content_sha256: sha256(key.as_bytes()) });
        assert_eq!(std::fs::read(bed.spooled()).unwrap(), key.as_bytes(), "{key}");
        std::fs::remove_file(bed.spooled()).unwrap();
    }
}

#[tokio::test]
async fn big_and_empty_objects_arrive_whole() {
    let Some(bed) = Bed::new().await else { return };
    let megabytes: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    for (key, body) in [("big", megabytes), ("empty", Vec::new())] {
        bed.put(key, body.clone()).await;
        let state = bed.store.head(&bed.bucket, key).await.unwrap();
        let fetched = bed.fetch(key, &state).await.unwrap();
        assert_eq!(fetched, Fetched { size_bytes: body.len() as u64, content_sha256: sha256(&body) });
        std::fs::remove_file(bed.spooled()).unwrap();
    }
}

#[tokio::test]
async fn an_object_that_was_replaced_has_changed_and_leaves_nothing_in_the_spool() {
    let Some(bed) = Bed::new().await else { return };
    bed.put("file", "first").await;
    let state = bed.store.head(&bed.bucket, "file").await.unwrap();
    bed.put("file", "other").await;
    assert!(matches!(bed.fetch("file", &state).await, Err(StoreError::Changed)));
    bed.client.delete_object().bucket(&bed.bucket).key("file").send().await.unwrap();
    assert!(matches!(bed.fetch("file", &state).await, Err(StoreError::NotFound)));
    assert!(!bed.spooled().exists());
}

#[tokio::test]
async fn a_peek_tells_what_a_look_does_and_brings_small_objects_whole() {
    const MOST: u64 = 4;
    let Some(bed) = Bed::new().await else { return };
    for (key, body, is_brought) in
        [("small", "1234", true), ("large", "12345", false), ("道 a+b", "x", true), ("empty", "", false)]
    {
        bed.put(key, body).await;
        let (state, bytes) = bed.store.peek(&bed.bucket, key, MOST).await.unwrap();
        assert_eq!(state, bed.store.head(&bed.bucket, key).await.unwrap(), "{key}");
        assert_eq!(bytes.as_deref(), is_brought.then_some(body.as_bytes()), "{key}");
    }
    assert!(matches!(bed.store.peek(&bed.bucket, "missing", MOST).await, Err(StoreError::NotFound)));
    let missing_bucket = bed.store.peek("no-such-bucket-here", "missing", MOST).await;
    assert!(matches!(missing_bucket, Err(StoreError::NoSuchBucket)), "{missing_bucket:?}");
}

#[tokio::test]
async fn a_missing_key_and_a_missing_bucket_are_told_apart() {
    let Some(bed) = Bed::new().await else { return };
    assert!(matches!(bed.store.head(&bed.bucket, "missing").await, Err(StoreError::NotFound)));
    let missing_bucket = bed.store.head("no-such-bucket-here", "missing").await;
    assert!(matches!(missing_bucket, Err(StoreError::NoSuchBucket)), "{missing_bucket:?}");
    bed.put("file", "x").await;
    let state = bed.store.head(&bed.bucket, "file").await.unwrap();
    let fetched = bed.store.fetch("no-such-bucket-here", "file", &state, &bed.spooled()).await;
    assert!(matches!(fetched, Err(StoreError::NoSuchBucket)), "{fetched:?}");
    bed.store.probe().await.unwrap();
    let elsewhere = S3Store::new(&bed.config, "no-such-bucket-here", "x-y-z");
    assert!(matches!(elsewhere.probe().await, Err(StoreError::NoSuchBucket)));
}

#[tokio::test]
async fn thumbnails_are_jpeg_and_deleting_twice_is_no_error() {
    let Some(bed) = Bed::new().await else { return };
    let key = "thumbnails/図面 1_0123abcd_thumb.jpg";
    bed.store.put_thumbnail(key, b"jpeg".to_vec()).await.unwrap();
    let object = bed.client.head_object().bucket(&bed.bucket).key(key).send().await.unwrap();
    assert_eq!(object.content_type(), Some("image/jpeg"));
    assert_eq!(bed.store.thumbnail_url(key), format!("s3://{}/{key}", bed.bucket));
    bed.store.delete_thumbnail(key).await.unwrap();
    bed.store.delete_thumbnail(key).await.unwrap();
    assert!(matches!(bed.store.head(&bed.bucket, key).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn state_objects_are_listed_read_and_removed() {
    let Some(bed) = Bed::new().await else { return };
    crate::store::state_tests::state_is_listed_in_order_read_and_removed(&bed.store).await;
}

#[tokio::test]
async fn wrong_credentials_are_not_the_objects_fault() {
    let Some(bed) = Bed::new().await else { return };
    bed.put("file", "x").await;
    let state = bed.store.head(&bed.bucket, "file").await.unwrap();
    let wrong = aws_sdk_s3::config::Credentials::new("testkey", "wrong", None, None, "test");
    let provider = aws_sdk_s3::config::SharedCredentialsProvider::new(wrong);
    let config = bed.config.clone().into_builder().credentials_provider(provider).build();
    let store = S3Store::new(&config, &bed.bucket, &bed.bucket);
    let fetched = store.fetch(&bed.bucket, "file", &state, &bed.spooled()).await;
    assert!(matches!(fetched, Err(StoreError::Unavailable(_))), "{fetched:?}");
    assert!(store.probe().await.is_err());
}

#[tokio::test]
async fn names_that_cannot_exist_cost_no_call() {
    let config = test_config("http://127.0.0.1:9").await;
    let store = S3Store::new(&config, "bucket", "thumbnails");
    assert!(matches!(store.head("bucket", &"x".repeat(1025)).await, Err(StoreError::NotFound)));
    assert!(matches!(store.head("bucket", "").await, Err(StoreError::NotFound)));
    assert!(matches!(store.head("../x", "key").await, Err(StoreError::NoSuchBucket)));
    assert!(matches!(store.head("", "key").await, Err(StoreError::NoSuchBucket)));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let config = test_config("http://127.0.0.1:9").await;
    let store = S3Store::new(&config, "bucket", "thumbnails");
    assert!(matches!(store.head("bucket", "key").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.probe().await, Err(StoreError::Unavailable(_))));
}

// What only AWS says, and what only broken networks do.

async fn scripted(answers: Vec<Answer>) -> (ScriptedServer, S3Store) {
    let server = ScriptedServer::start(answers).await;
    let store = S3Store::new(&test_config(&server.endpoint).await, "bucket", "thumbnails");
    (server, store)
}

fn object_answer(body: &str) -> Answer {
    Answer::new(200, body).header("etag", "\"e1\"").header("last-modified", "Wed, 01 May 2024 10:00:00 GMT")
}

fn error_answer(status: u16, code: &str) -> Answer {
    Answer::new(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"))
        .header("content-type", "application/xml")
}

fn state_of(body: &str) -> ObjectState {
    ObjectState {
        etag: "e1".to_owned(),
        size_bytes: body.len() as u64,
        last_modified: Timestamp::UNIX_EPOCH,
        version_id: None,
        archived: false,
        user_metadata: Default::default(),
    }
}

#[tokio::test]
async fn archive_classes_need_a_finished_restore() {
    let finished = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2030 00:00:00 GMT\"";
    let cases: [(&[(&'static str, &str)], bool); 7] = [
        (&[], false),
        (&[("x-amz-storage-class", "GLACIER")], true),
        (&[("x-amz-storage-class", "DEEP_ARCHIVE"), ("x-amz-restore", "ongoing-request=\"true\"")], true),
        (&[("x-amz-storage-class", "DEEP_ARCHIVE"), ("x-amz-restore", finished)], false),
        (&[("x-amz-storage-class", "GLACIER_IR")], false),
        (&[("x-amz-storage-class", "INTELLIGENT_TIERING"), ("x-amz-archive-status", "ARCHIVE_ACCESS")], true),
        (&[("x-amz-storage-class", "INTELLIGENT_TIERING")], false),
    ];
    for (headers, archived) in cases {
        let answer = headers.iter().fold(object_answer("x"), |answer, (name, value)| answer.header(name, *value));
        let (_server, store) = scripted(vec![answer]).await;
        let state = store.head("bucket", "key").await.unwrap();
        assert_eq!(state.archived, archived, "{headers:?}");
        assert_eq!((state.etag.as_str(), state.size_bytes), ("e1", 1));
        assert_eq!(state.last_modified.to_string(), "2024-05-01T10:00:00Z");
    }
}

#[tokio::test]
async fn each_refusal_of_a_fetch_has_its_meaning() {
    type Check = fn(&StoreError) -> bool;
    let cases: [(u16, &str, Check); 10] = [
        (404, "NoSuchKey", |error| matches!(error, StoreError::NotFound)),
        (404, "NoSuchBucket", |error| matches!(error, StoreError::NoSuchBucket)),
        (403, "AccessDenied", |error| matches!(error, StoreError::AccessDenied)),
        (403, "InvalidObjectState", |error| matches!(error, StoreError::Archived)),
        (403, "InvalidAccessKeyId", |error| matches!(error, StoreError::Unavailable(_))),
        (400, "ExpiredToken", |error| matches!(error, StoreError::Unavailable(_))),
        (400, "KMS.DisabledException", |error| matches!(error, StoreError::AccessDenied)),
        (400, "KMS.ThrottlingException", |error| matches!(error, StoreError::Unavailable(_))),
        (412, "PreconditionFailed", |error| matches!(error, StoreError::Changed)),
        (503, "SlowDown", |error| matches!(error, StoreError::Unavailable(_))),
    ];
    let spool = tempfile::tempdir().unwrap();
    for (status, code, is_expected) in cases {
        let (_server, store) = scripted(vec![error_answer(status, code)]).await;
        let error = store.fetch("bucket", "key", &state_of("x"), &spool.path().join("object")).await.unwrap_err();
        assert!(is_expected(&error), "{status} {code}: {error:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_refused_without_a_body_is_told_apart_by_status() {
    for status in [400, 403] {
        let (_server, store) = scripted(vec![Answer::new(status, "")]).await;
        assert!(matches!(store.head("bucket", "key").await, Err(StoreError::AccessDenied)));
        let probed = store.probe().await.unwrap_err().outage();
        assert_eq!(probed.cause, crate::health::outage::OutageCause::Refused);
    }
    let (_server, store) = scripted(vec![Answer::new(404, ""), Answer::new(200, "")]).await;
    assert!(matches!(store.head("bucket", "key").await, Err(StoreError::NotFound)));
    let (_server, store) = scripted(vec![Answer::new(404, "")]).await;
    assert!(matches!(store.head("bucket", "key").await, Err(StoreError::NoSuchBucket)));
    // Nobody knows whether the key is missing: nothing may be deleted.
    let (_server, store) = scripted(vec![Answer::new(404, ""), Answer::new(500, "")]).await;
    assert!(matches!(store.head("bucket", "key").await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_fetched_again_from_the_start() {
    let body = "0123456789".repeat(1000);
    let broken = object_answer(&body[..4000]).claiming_length(body.len());
    let (server, store) = scripted(vec![broken, object_answer(&body)]).await;
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("object");
    let fetched = store.fetch("bucket", "key", &state_of(&body), &path).await.unwrap();
    assert_eq!(fetched, Fetched { size_bytes: 10_000, content_sha256: sha256(body.as_bytes()) });
    assert_eq!(server.requests().len(), 2);
    assert!(server.requests()[0].to_lowercase().contains("if-match: \"e1\""));
}

#[tokio::test]
async fn a_body_that_always_breaks_off_is_unavailable_and_never_a_short_file() {
    let body = "0123456789".repeat(1000);
    let (server, store) = scripted(vec![object_answer(&body[..4000]).claiming_length(body.len())]).await;
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("object");
    let error = store.fetch("bucket", "key", &state_of(&body), &path).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(server.requests().len(), 1 + BODY_RETRIES);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_body_of_another_length_than_head_said_is_not_fetched() {
    let (_server, store) = scripted(vec![object_answer("longer than that")]).await;
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("object");
    let error = store.fetch("bucket", "key", &state_of("x"), &path).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed), "{error:?}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_spool_that_cannot_be_written_is_the_spools_trouble() {
    let (_server, store) = scripted(vec![object_answer("x")]).await;
    let error = store.fetch("bucket", "key", &state_of("x"), Path::new("/no/such/spool/object")).await.unwrap_err();
    assert!(matches!(error, StoreError::Spool(_)), "{error:?}");
}
