//! What every AWS client of this program shares: region, credentials, endpoints, time limits, errors.
//!
//! The endpoints themselves are the SDK's business: `AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL_S3`,
//! `AWS_ENDPOINT_URL` and `AWS_EC2_METADATA_SERVICE_ENDPOINT` are read by it. A client talks to its endpoint
//! whatever host a queue URL carries: SQS gets the queue URL as a parameter only.

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::identity::IdentityCache;
use aws_config::imds::client::ImdsResponseRetryClassifier;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::retries::classifiers::SharedRetryClassifier;

/// Shows in the User-Agent of every request, and so in CloudTrail and access logs.
const APPLICATION_NAME: &str = "file-processor-worker";

/// An instance's metadata service may be slow while the instance boots; the SDK's defaults are 1 s each.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const METADATA_READ_TIMEOUT: Duration = Duration::from_secs(5);
const METADATA_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(7);
const METADATA_TIMEOUT: Duration = Duration::from_secs(40);
const METADATA_ATTEMPTS: u32 = 5;
/// How long a request waits for credentials: above [`METADATA_TIMEOUT`] for the token and for the role.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(90);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A long poll answers after its wait time at the latest. Without a limit above it a half-open connection
/// hangs the receive for ever (aws-sdk-rust#1094).
const RECEIVE_GRACE: Duration = Duration::from_secs(10);
/// Deleting and extending are small and urgent: a lease runs meanwhile.
const SQS_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);
const SQS_OPERATION_TIMEOUT: Duration = Duration::from_secs(20);
/// Until the answer's headers are there; the body has its own rule below.
const S3_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// A body that brings nothing for so long is given up. The SDK's default of a few seconds cuts bodies that
/// are merely slow.
const STALLED_BODY_GRACE: Duration = Duration::from_secs(60);

/// The configuration that all clients are made from. Makes no network call; credentials are looked for when
/// the first request needs them, and again before they expire.
pub async fn sdk_config(region: &str) -> SdkConfig {
    let aws_region = Region::new(region.to_owned());
    let credentials = DefaultCredentialsChain::builder()
        .region(aws_region.clone())
        .imds_client(metadata_client_builder().build())
        .build()
        .await;
    aws_config::defaults(BehaviorVersion::latest())
        .region(aws_region)
        .app_name(AppName::new(APPLICATION_NAME).expect("letters and dashes are a valid application name"))
        .credentials_provider(credentials)
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALLED_BODY_GRACE).build())
        .load()
        .await
}

/// The instance metadata service with patience for a booting instance. Its endpoint is the SDK's business
/// (`AWS_EC2_METADATA_SERVICE_ENDPOINT`).
fn metadata_client_builder() -> aws_config::imds::client::Builder {
    let retry_classifier = ImdsResponseRetryClassifier::default().with_retry_connect_timeouts(true);
    aws_config::imds::Client::builder()
        .connect_timeout(METADATA_CONNECT_TIMEOUT)
        .read_timeout(METADATA_READ_TIMEOUT)
        .operation_attempt_timeout(METADATA_ATTEMPT_TIMEOUT)
        .operation_timeout(METADATA_TIMEOUT)
        .max_attempts(METADATA_ATTEMPTS)
        .retry_classifier(SharedRetryClassifier::new(retry_classifier))
}

/// For everything but receiving: short time limits.
pub fn sqs_client(config: &SdkConfig) -> aws_sdk_sqs::Client {
    let time_limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(SQS_ATTEMPT_TIMEOUT)
        .operation_timeout(SQS_OPERATION_TIMEOUT)
        .build();
    aws_sdk_sqs::Client::from_conf(aws_sdk_sqs::config::Builder::from(config).timeout_config(time_limits).build())
}

/// For receiving only: waits longer than the long poll does. The SDK does not retry, because the lease's clock
/// must be taken anew before each attempt; the caller retries.
pub fn sqs_receive_client(config: &SdkConfig, wait_time: Duration) -> aws_sdk_sqs::Client {
    let time_limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(wait_time.saturating_add(RECEIVE_GRACE))
        .build();
    let client_config = aws_sdk_sqs::config::Builder::from(config)
        .timeout_config(time_limits)
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_sqs::Client::from_conf(client_config)
}

/// Path style whenever an endpoint is set: a server elsewhere rarely answers to `bucket.host`.
pub fn s3_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    let time_limits =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(S3_ATTEMPT_TIMEOUT).build();
    let client_config = aws_sdk_s3::config::Builder::from(config)
        .timeout_config(time_limits)
        .force_path_style(s3_endpoint_is_set(config))
        .build();
    aws_sdk_s3::Client::from_conf(client_config)
}

fn s3_endpoint_is_set(config: &SdkConfig) -> bool {
    let set_in_environment = |name: &str| std::env::var_os(name).is_some_and(|endpoint| !endpoint.is_empty());
    config.endpoint_url().is_some()
        || set_in_environment("AWS_ENDPOINT_URL_S3")
        || set_in_environment("AWS_ENDPOINT_URL")
}

/// A call to AWS that failed: which call, on what, and what the service said.
///
/// Code and message are taken out of the SDK's error because its own `Display` says "service error" only.
#[derive(Debug, thiserror::Error)]
#[error("{operation} ({target}){}", spell_answer(.code, .message))]
pub struct CallError {
    /// The API's name of the call: `ReceiveMessage`.
    pub operation: &'static str,
    /// The queue URL, or bucket and key.
    pub target: String,
    /// The service's error code; `None` when no answer came, or an answer without a body.
    pub code: Option<String>,
    /// The service's words.
    pub message: Option<String>,
    /// The HTTP status; `None` when no answer came.
    pub status: Option<u16>,
    /// Whether the same call may work in a moment: no answer, a broken one, throttling, or a server error.
    pub transient: bool,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl CallError {
    pub fn new<E>(operation: &'static str, target: impl Into<String>, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let code = error.code().map(str::to_owned);
        let message = error.message().map(str::to_owned);
        let status = error.raw_response().map(|response| response.status().as_u16());
        let transient = match &error {
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
            _ => status.is_some_and(|status_code| status_code >= 500 || status_code == 429) || is_throttling(&code),
        };
        Self { operation, target: target.into(), code, message, status, transient, source: Box::new(error) }
    }

    /// The error code without the decoration that differs between the services' protocols:
    /// `AWS.SimpleQueueService.MessageNotInflight` and `InvalidParameterValueException` become
    /// `MessageNotInflight` and `InvalidParameterValue`.
    pub fn plain_code(&self) -> &str {
        plain_code(self.code.as_deref().unwrap_or_default())
    }
}

/// See [`CallError::plain_code`].
pub fn plain_code(code: &str) -> &str {
    let last_part = code.rsplit(['.', '#']).next().unwrap_or(code);
    last_part.strip_suffix("Exception").unwrap_or(last_part)
}

fn is_throttling(code: &Option<String>) -> bool {
    code.as_deref().is_some_and(|text| text.contains("Throttl") || text.contains("SlowDown"))
}

fn spell_answer(code: &Option<String>, message: &Option<String>) -> String {
    match (code, message) {
        (Some(code_text), Some(message_text)) => format!(": {code_text}: {message_text}"),
        (Some(code_text), None) => format!(": {code_text}"),
        (None, Some(message_text)) => format!(": {message_text}"),
        (None, None) => String::new(),
    }
}
