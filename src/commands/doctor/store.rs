//! The source bucket and the thumbnail bucket, permission by permission.
//!
//! Reading is tried with a key that is not there: "no such key" is said only to those who may read and list; to others
//! it is a 403. Writing is tried in the thumbnail bucket with one small object, which is removed again.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use tokio::time::Instant;

use super::finding::{Finding, all_skipped};
use super::queue::{action_for, words};
use super::reach::{self, Witness};
use super::{Examined, Servers};
use crate::aws::{self, CallError};
use crate::health::status::Dependency;

const ENDPOINT: &str = "bucket endpoint";
const BUCKET: &str = "bucket";
const READ: &str = "s3:GetObject";
const THUMBNAILS: &str = "thumbnail bucket";
const THUMBNAILS_READ: &str = "s3:GetObject (thumbnails)";
const THUMBNAILS_WRITE: &str = "s3:PutObject (thumbnails)";
const THUMBNAILS_DELETE: &str = "s3:DeleteObject (thumbnails)";
const BEYOND_ENDPOINT: [&str; 6] = [BUCKET, READ, THUMBNAILS, THUMBNAILS_READ, THUMBNAILS_WRITE, THUMBNAILS_DELETE];

/// Beside the worker's own notes; what should be left over there is removed with them after `CHECKPOINT_DAYS`.
const PROBE_PREFIX: &str = "thumbnails/checkpoints/doctor";
const PROBE_BODY: &[u8] = b"written by file-processor-worker doctor; may be deleted";

/// How a bucket answered the two questions that change nothing.
struct Look {
    list: Result<(), CallError>,
    /// `Ok`: a key that is not there was said to be missing.
    read: Result<(), CallError>,
}

pub async fn examine(context: &Servers<'_>, has_credentials: bool) -> Examined {
    let mut examined = Examined { findings: Vec::new(), clock: None };
    let why_not = match (context.servers.bucket.starts_with("file:"), has_credentials) {
        (true, _) => Some("the bucket is a folder"),
        (_, false) => Some("not tried without credentials"),
        _ => None,
    };
    if let Some(why) = why_not {
        examined.findings = all_skipped(&[&[ENDPOINT], &BEYOND_ENDPOINT[..]].concat(), why);
        return examined;
    }
    let witness = Witness::default();
    let client = client(context, witness.clone());
    let bucket = &context.servers.bucket;
    let started = Instant::now();
    let list = head_bucket(&client, bucket).await;
    let asked =
        witness.url().unwrap_or_else(|| format!("https://{bucket}.s3.{}.amazonaws.com", context.settings.region));
    examined.clock = witness.clock();
    if let Err(error) = &list
        && error.status.is_none()
    {
        examined.findings.push(reach::not_answered(ENDPOINT, &asked, &words(error)).await);
        examined.findings.extend(all_skipped(&BEYOND_ENDPOINT, "not tried: the endpoint does not answer"));
        return examined;
    }
    examined.findings.push(reach::answered(ENDPOINT, &asked, started));
    let source = Look { list, read: get_missing(&client, bucket).await };
    examined.findings.extend(look_findings(bucket, "S3_BUCKET", [BUCKET, READ], &source));
    examined.findings.extend(thumbnails(&client, &context.servers.thumbnail_bucket).await);
    examined
}

fn client(context: &Servers<'_>, witness: Witness) -> Client {
    let time_limits = TimeoutConfig::builder().connect_timeout(context.limit).operation_timeout(context.limit).build();
    let config = aws::s3_client(context.sdk_config)
        .config()
        .to_builder()
        .interceptor(witness)
        .timeout_config(time_limits)
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

async fn head_bucket(client: &Client, bucket: &str) -> Result<(), CallError> {
    let answer = client.head_bucket().bucket(bucket).send().await;
    answer.map(drop).map_err(|error| CallError::new("HeadBucket", bucket, error))
}

/// `Ok` when the store says that there is no such key.
async fn get_missing(client: &Client, bucket: &str) -> Result<(), CallError> {
    let key = format!("{PROBE_PREFIX}/{}", uuid::Uuid::new_v4());
    let Err(error) = client.get_object().bucket(bucket).key(&key).send().await else { return Ok(()) };
    let error = CallError::new("GetObject", format!("s3://{bucket}/{key}"), error);
    if error.plain_code() == "NoSuchKey" { Ok(()) } else { Err(error) }
}

/// The answer to HeadBucket has no body: what is wrong with credentials or bucket, the other call says.
fn look_findings(bucket: &str, variable: &str, names: [&'static str; 2], look: &Look) -> [Finding; 2] {
    let [list_name, read_name] = names;
    let said = |error: &CallError| match &look.read {
        Err(read) if read.code.is_some() => words(read),
        _ => format!("{}: HTTP {}", words(error), error.status.unwrap_or_default()),
    };
    match (&look.list, &look.read) {
        (Ok(()), Ok(())) => [
            Finding::ok(list_name, format!("{bucket}; s3:ListBucket allowed")),
            Finding::ok(read_name, "allowed (a missing key is said to be missing)"),
        ],
        (Ok(()), Err(error)) => [
            Finding::ok(list_name, format!("{bucket}; s3:ListBucket allowed")),
            Finding::fail(read_name, words(error), permission(error, "s3:GetObject", &format!("{bucket}/*"))),
        ],
        (Err(error), read) => {
            let whole = read.as_ref().err().filter(|it| it.code.is_some()).unwrap_or(error);
            let action = match error.status {
                Some(404) => format!("there is no bucket {bucket}: check {variable} and AWS_REGION"),
                Some(301) => format!("bucket {bucket} is in another region: set AWS_REGION to it, or check {variable}"),
                _ => permission(whole, "s3:ListBucket", bucket),
            };
            let read_finding = match read {
                Ok(()) => Finding::ok(read_name, "allowed (a missing key is said to be missing)"),
                Err(_) if error.status == Some(403) => Finding::skipped(
                    read_name,
                    format!("cannot be told: a key that is missing is refused as well while {list_name} is"),
                ),
                Err(_) => Finding::skipped(read_name, format!("not tried: see {list_name}")),
            };
            [Finding::fail(list_name, format!("{bucket}: {}", said(error)), action), read_finding]
        }
    }
}

fn permission(error: &CallError, action: &str, resource: &str) -> String {
    let is_plain_refusal = matches!(error.plain_code(), "AccessDenied" | "Forbidden" | "");
    if error.status == Some(403) && is_plain_refusal {
        return format!(
            "allow {action} on arn:aws:s3:::{resource} in the instance role's policy; look at the bucket's own policy and at the VPC endpoint's, too"
        );
    }
    action_for(error, Dependency::Store)
}

async fn thumbnails(client: &Client, bucket: &str) -> Vec<Finding> {
    let look = Look { list: head_bucket(client, bucket).await, read: get_missing(client, bucket).await };
    let mut findings = look_findings(bucket, "S3_THUMBNAIL_BUCKET", [THUMBNAILS, THUMBNAILS_READ], &look).to_vec();
    if look.list.as_ref().is_err_and(|error| error.status == Some(404)) {
        findings.extend(all_skipped(&[THUMBNAILS_WRITE, THUMBNAILS_DELETE], "not tried: there is no such bucket"));
        return findings;
    }
    let key = format!("{PROBE_PREFIX}/{}.txt", uuid::Uuid::new_v4());
    let target = format!("s3://{bucket}/{key}");
    let resource = format!("{bucket}/*");
    let body = ByteStream::from_static(PROBE_BODY);
    let written = client.put_object().bucket(bucket).key(&key).content_type("text/plain").body(body).send().await;
    let written = written.map_err(|error| CallError::new("PutObject", &target, error));
    findings.push(match &written {
        Ok(_) => Finding::ok(THUMBNAILS_WRITE, "allowed (one small object)"),
        Err(error) => Finding::fail(THUMBNAILS_WRITE, words(error), permission(error, "s3:PutObject", &resource)),
    });
    // Also after a write that failed: it may have arrived all the same, and removing what is not there is no error.
    let deleted = client.delete_object().bucket(bucket).key(&key).send().await;
    findings.push(match deleted.map_err(|error| CallError::new("DeleteObject", &target, error)) {
        Ok(_) => Finding::ok(THUMBNAILS_DELETE, "allowed (the same object; nothing is left)"),
        Err(error) => {
            let left = if written.is_ok() { format!("; {target} is left behind") } else { String::new() };
            let found = format!("{}{left}", words(&error));
            Finding::fail(THUMBNAILS_DELETE, found, permission(&error, "s3:DeleteObject", &resource))
        }
    });
    findings
}
