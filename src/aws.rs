//! What every AWS client of this program shares: region, credentials, endpoints, time limits, errors.
//!
//! * [`call_error`]: a call that failed, and which kind of outage that is
//! * [`credentials`]: credentials that are renewed before they expire, and when they are refused
//! * `refusal`: a refused call is made once more with fresh credentials
//!
//! The endpoints themselves are the SDK's business: `AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL_S3`,
//! `AWS_ENDPOINT_URL` and `AWS_EC2_METADATA_SERVICE_ENDPOINT` are read by it. A client talks to its endpoint
//! whatever host a queue URL carries: SQS gets the queue URL as a parameter only.

pub mod call_error;
pub mod credentials;
mod refusal;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::identity::IdentityCache;
use aws_config::imds::client::ImdsResponseRetryClassifier;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::retries::classifiers::SharedRetryClassifier;

pub use call_error::{CallError, EntryRefused, outage_of, plain_code};
use credentials::RenewedCredentials;
use refusal::{FreshCredentials, OnceMore};

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
/// One look whether a dependency that was down is back. Short: it is asked again soon.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
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
    sqs_client_from(config, |builder| builder.timeout_config(time_limits))
}

/// For receiving only: waits longer than the long poll does. The SDK does not retry, because the lease's clock
/// must be taken anew before each attempt; the caller retries.
pub fn sqs_receive_client(config: &SdkConfig, wait_time: Duration) -> aws_sdk_sqs::Client {
    let time_limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(wait_time.saturating_add(RECEIVE_GRACE))
        .build();
    sqs_client_from(config, |builder| builder.timeout_config(time_limits).retry_config(RetryConfig::disabled()))
}

fn sqs_client_from(
    config: &SdkConfig,
    adapt: impl FnOnce(aws_sdk_sqs::config::Builder) -> aws_sdk_sqs::config::Builder,
) -> aws_sdk_sqs::Client {
    let Some((config, credentials)) = with_renewed_credentials(config) else {
        return aws_sdk_sqs::Client::from_conf(adapt(config.into()).build());
    };
    let builder = aws_sdk_sqs::config::Builder::from(&config)
        .interceptor(FreshCredentials(credentials))
        .retry_classifier(OnceMore);
    aws_sdk_sqs::Client::from_conf(adapt(builder).build())
}

/// For objects: patient, retries by itself.
pub fn s3_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    let time_limits =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(S3_ATTEMPT_TIMEOUT).build();
    s3_client_from(config, |builder| builder.timeout_config(time_limits))
}

/// For looking whether S3 is back: one short try, so that the next one comes soon.
pub fn s3_probe_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    let time_limits = TimeoutConfig::builder()
        .connect_timeout(PROBE_TIMEOUT)
        .operation_attempt_timeout(PROBE_TIMEOUT)
        .operation_timeout(PROBE_TIMEOUT)
        .build();
    let twice_for_fresh_credentials = RetryConfig::standard().with_max_attempts(2);
    s3_client_from(config, |builder| builder.timeout_config(time_limits).retry_config(twice_for_fresh_credentials))
}

/// Path style whenever an endpoint is set: a server elsewhere rarely answers to `bucket.host`.
fn s3_client_from(
    config: &SdkConfig,
    adapt: impl FnOnce(aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder,
) -> aws_sdk_s3::Client {
    let path_style = s3_endpoint_is_set(config);
    let Some((config, credentials)) = with_renewed_credentials(config) else {
        let builder = aws_sdk_s3::config::Builder::from(config).force_path_style(path_style);
        return aws_sdk_s3::Client::from_conf(adapt(builder).build());
    };
    let builder = aws_sdk_s3::config::Builder::from(&config)
        .force_path_style(path_style)
        .interceptor(FreshCredentials(credentials))
        .retry_classifier(OnceMore);
    aws_sdk_s3::Client::from_conf(adapt(builder).build())
}

/// The configuration with a memory for credentials that can be made to forget; the SDK's own cache in front of it
/// would keep what was refused until that expires. `None` without a provider. Each client has a memory of its own:
/// what one of them is refused with, the others will be, too, and find out themselves.
fn with_renewed_credentials(config: &SdkConfig) -> Option<(SdkConfig, RenewedCredentials)> {
    let credentials = RenewedCredentials::new(config.credentials_provider()?);
    let renewed = config
        .clone()
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
        .identity_cache(IdentityCache::no_cache())
        .build();
    Some((renewed, credentials))
}

fn s3_endpoint_is_set(config: &SdkConfig) -> bool {
    let set_in_environment = |name: &str| std::env::var_os(name).is_some_and(|endpoint| !endpoint.is_empty());
    config.endpoint_url().is_some()
        || set_in_environment("AWS_ENDPOINT_URL_S3")
        || set_in_environment("AWS_ENDPOINT_URL")
}
