//! One HTTP call to the cluster: address, authentication, time limit, and what its answer says in words.
//!
//! The `opensearch` crate's transport is used below its typed API: it signs the exact bytes of every request
//! with credentials that it asks the provider for each time, and it never retries by itself, so each retry of
//! ours is signed anew. Its typed API would add nothing, since bulk answers are untyped there.

use std::error::Error;
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use opensearch::auth::Credentials;
use opensearch::cert::CertificateValidation;
use opensearch::http::Method;
use opensearch::http::headers::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use opensearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio_util::bytes::Bytes;

use super::outage;
use crate::aws::PROBE_TIMEOUT;
use crate::aws::credentials::RenewedCredentials;
use crate::config::ServerSettings;
use crate::health::outage::{Outage, OutageCause};
use crate::index::IndexError;

/// Reads and administration.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A bulk request; above what a loaded cluster needs for 5 MiB, below every lease.
const BULK_TIMEOUT: Duration = Duration::from_secs(60);
/// The service name in signatures for OpenSearch Serverless; every other domain is `es`.
const SERVERLESS_SERVICE: &str = "aoss";
/// Hosts of OpenSearch Serverless collections end so.
const SERVERLESS_HOST_SUFFIXES: [&str; 2] = [".aoss.amazonaws.com", ".aoss.amazonaws.com.cn"];
/// Longest part of an answer that is quoted in an error.
const QUOTED_CHARACTERS: usize = 600;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("set up the connection to {endpoint}: {detail}")]
    Build { endpoint: String, detail: String },
    #[error("sign requests to {endpoint}: no AWS credentials provider, and OPENSEARCH_USERNAME is not set")]
    NoCredentials { endpoint: String },
}

/// What the server said: always an HTTP answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// The server's clock.
    pub date: Option<String>,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `None` when it is not.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Status and error of an answer that is not a success, for a person.
    pub fn explain(&self) -> String {
        let text = match self.json() {
            Some(body) => body.get("error").map_or_else(|| plain_message(&body), explain_error),
            None => String::from_utf8_lossy(&self.body).into_owned(),
        };
        format!("HTTP {} {}", self.status, shortened(text.trim()))
    }
}

/// `{"message": …}` is what AWS's own front end answers.
fn plain_message(body: &Value) -> String {
    body.get("message").or_else(|| body.get("Message")).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// An OpenSearch error object with its causes in one line.
pub fn explain_error(error: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut level = Some(error);
    while let Some(current) = level {
        let kind = current.get("type").and_then(Value::as_str).unwrap_or_default();
        let reason = current.get("reason").and_then(Value::as_str).or_else(|| current.as_str()).unwrap_or_default();
        parts.push(format!("{kind}: {reason}").trim_matches([':', ' ']).to_owned());
        level = current.get("caused_by");
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; caused by ")
}

/// The text, or its beginning.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A cluster, and how we are known to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    credentials: Option<RenewedCredentials>,
    serverless: bool,
}

impl Client {
    /// Basic auth when the settings have a user, otherwise SigV4 with the configuration's credentials provider.
    /// No network is touched.
    pub fn new(servers: &ServerSettings, region: &str, sdk_config: &SdkConfig) -> Result<Self, ConnectError> {
        let endpoint = &servers.opensearch_endpoint;
        let serverless = is_serverless(endpoint.host_str().unwrap_or_default());
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(endpoint.clone())).timeout(CALL_TIMEOUT);
        if !servers.opensearch_verify_certs {
            builder = builder.cert_validation(CertificateValidation::None);
        }

        let mut credentials = None;
        if let Some(basic) = &servers.opensearch_basic_auth {
            builder = builder.auth(Credentials::Basic(basic.username.clone(), basic.password.clone()));
        } else {
            let provider = sdk_config
                .credentials_provider()
                .ok_or_else(|| ConnectError::NoCredentials { endpoint: endpoint.to_string() })?;
            let renewed = RenewedCredentials::new(provider);
            builder = builder.service_name(if serverless { SERVERLESS_SERVICE } else { "es" }).auth(
                Credentials::AwsSigV4(SharedCredentialsProvider::new(renewed.clone()), Region::new(region.to_owned())),
            );
            credentials = Some(renewed);
        }

        let transport = builder
            .build()
            .map_err(|error| ConnectError::Build { endpoint: endpoint.to_string(), detail: chain(&error) })?;
        Ok(Self { transport, credentials, serverless })
    }

    /// Whether this is OpenSearch Serverless, which lacks part of the API.
    pub fn is_serverless(&self) -> bool {
        self.serverless
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Outage> {
        self.call(Method::Get, path, None).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, Outage> {
        self.call(Method::Put, path, Some(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, Outage> {
        self.call(Method::Post, path, Some(body)).await
    }

    /// Sends newline-delimited actions to `/{index}/_bulk`. Only the named index: the IAM policy allows no other.
    pub async fn bulk(&self, index: &str, lines: Bytes) -> Result<Answer, Outage> {
        self.bulk_within(index, lines, BULK_TIMEOUT).await
    }

    /// The same for a request so small that its answer comes soon or the cluster is in trouble.
    pub async fn short_bulk(&self, index: &str, lines: Bytes) -> Result<Answer, Outage> {
        self.bulk_within(index, lines, PROBE_TIMEOUT).await
    }

    async fn bulk_within(&self, index: &str, lines: Bytes, timeout: Duration) -> Result<Answer, Outage> {
        let path = format!(
            "{}/_bulk?filter_path=items.*._id,items.*.status,items.*.result,items.*.error",
            path_segment(index)
        );
        self.send(Method::Post, &path, "application/x-ndjson", Some(lines), timeout).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Outage> {
        let bytes = body.map(|value| Bytes::from(value.to_string()));
        self.send(method, path, "application/json", bytes, CALL_TIMEOUT).await
    }

    /// An `Err` means that no answer came: it is unknown whether the server did what was asked.
    ///
    /// Credentials that are refused are asked for anew and the request is made once more, signed with them: they are
    /// exchanged while requests are on their way.
    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, Outage> {
        let answer = self.send_once(method, path, content_type, body.clone(), timeout).await?;
        let Some(credentials) = self.credentials.as_ref().filter(|_| is_refusal(&answer)) else { return Ok(answer) };
        credentials.forget();
        self.send_once(method, path, content_type, body, timeout).await
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, Outage> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let response = self
            .transport
            .send(method, path, headers, None::<&()>, body, Some(timeout))
            .await
            .map_err(|error| no_answer(&error))?;
        let status = response.status_code().as_u16();
        let date = response.headers().get(DATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(|error| no_answer(&error))?;
        Ok(Answer { status, body, date })
    }
}

fn no_answer(error: &dyn Error) -> Outage {
    Outage::new(OutageCause::Unreachable, chain(error))
}

/// Whether the cluster did not accept who we are, or what we may do. A block on an index is answered 403, too.
fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403) && outage::of_answer("", answer).cause == OutageCause::Refused
}

/// Percent-encodes what stands between two slashes of a path.
pub fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace("%2D", "-").replace("%5F", "_").replace("%2E", ".")
}

/// An answer that has to be a success and JSON; anything else is the cluster's trouble.
pub fn expect_json(operation: &str, answer: Result<Answer, Outage>) -> Result<Value, IndexError> {
    let answer = answer
        .map_err(|seen| IndexError::Unavailable(Outage::new(seen.cause, format!("{operation}: {}", seen.detail))))?;
    if !answer.is_success() {
        return Err(IndexError::Unavailable(outage::of_answer(operation, &answer)));
    }
    answer.json().ok_or_else(|| outage::not_understood(format!("{operation}: the answer is not JSON")))
}

fn is_serverless(host: &str) -> bool {
    SERVERLESS_HOST_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

/// An error and all its sources in one line, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn serverless_is_known_by_its_host() {
        assert!(is_serverless("abc.ap-northeast-1.aoss.amazonaws.com"));
        assert!(!is_serverless("vpc-cis.ap-northeast-1.es.amazonaws.com"));
        assert!(!is_serverless("aoss.amazonaws.com.example.org"));
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = json!({"type": "mapper_parsing_exception", "reason": "failed to parse field [created_at]",
            "caused_by": {"type": "illegal_argument_exception", "reason": "failed to parse date field [yesterday]"}});
        assert_eq!(
            explain_error(&error),
            "mapper_parsing_exception: failed to parse field [created_at]; \
             caused by illegal_argument_exception: failed to parse date field [yesterday]"
        );
    }

    #[test]
    fn an_answer_of_the_aws_front_end_is_told_too() {
        let body = Bytes::from_static(br#"{"message":"The security token expired"}"#);
        let answer = Answer { status: 403, body, date: None };
        assert_eq!(answer.explain(), "HTTP 403 The security token expired");
    }

    #[test]
    fn index_names_keep_their_usual_characters_in_a_path() {
        assert_eq!(path_segment("cis-files-v2_x.1"), "cis-files-v2_x.1");
        assert_eq!(path_segment("a/b?c"), "a%2Fb%3Fc");
    }
}
