//! A call to AWS that failed: which call, on what, what the service said, and which kind of outage that is.

use std::error::Error;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use crate::health::error_chain;
use crate::health::outage::{Outage, OutageCause};

/// Codes that say "these credentials are no good (any more)": others may be. Bodies of answers are searched for them,
/// so the decoration that differs between the services is left out.
pub(super) const STALE_CREDENTIALS: [&str; 8] = [
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestExpired",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClient",
    "InvalidSecurity",
];

/// Codes that refuse us whatever credentials are fetched. See "Error responses" of Amazon S3 and "Common error types"
/// of Amazon SQS.
const REFUSED: [&str; 12] = [
    "AccessDenied",
    "AccountProblem",
    "AuthFailure",
    "IncompleteSignature",
    "InvalidSignature",
    "KmsAccessDenied",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "NotSignedUp",
    "OptInRequired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

const THROTTLED: [&str; 6] =
    ["SlowDown", "RequestLimitExceeded", "TooManyRequests", "RequestThrottled", "OverLimit", "BandwidthLimitExceeded"];

const MISSING: [&str; 4] = ["QueueDoesNotExist", "NonExistentQueue", "NoSuchBucket", "ResourceNotFound"];

/// A call to AWS that failed.
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
            _ => {
                status.is_some_and(|status_code| status_code >= 500)
                    || cause_of(code.as_deref(), status) == OutageCause::Throttled
            }
        };
        Self { operation, target: target.into(), code, message, status, transient, source: Box::new(error) }
    }

    /// The error code without the decoration that differs between the services' protocols:
    /// `AWS.SimpleQueueService.MessageNotInflight` and `InvalidParameterValueException` become
    /// `MessageNotInflight` and `InvalidParameterValue`.
    pub fn plain_code(&self) -> &str {
        plain_code(self.code.as_deref().unwrap_or_default())
    }

    /// Whether fresh credentials may make the same call work.
    pub fn has_stale_credentials(&self) -> bool {
        STALE_CREDENTIALS.contains(&self.plain_code())
    }

    fn outage_cause(&self) -> OutageCause {
        if self.status.is_none() && has_no_credentials(self.source.as_ref()) {
            return OutageCause::Refused;
        }
        cause_of(self.code.as_deref(), self.status)
    }
}

/// One entry of a batch call that the service refused, or that its answer forgot.
#[derive(Debug, thiserror::Error)]
#[error("batch entry refused: {code}: {message}")]
pub struct EntryRefused {
    pub code: String,
    pub message: String,
}

/// Which outage an error is, as far as the calls to AWS among its causes tell; `Failing` when there is none.
pub fn outage_of(error: &(dyn Error + 'static)) -> Outage {
    let mut level = Some(error);
    while let Some(current) = level {
        if let Some(cause) = told_cause(current) {
            return Outage::new(cause, error_chain(error));
        }
        level = current.source();
    }
    Outage::new(OutageCause::Failing, error_chain(error))
}

fn told_cause(error: &(dyn Error + 'static)) -> Option<OutageCause> {
    if let Some(call) = error.downcast_ref::<CallError>() {
        return Some(call.outage_cause());
    }
    if let Some(call) = error.downcast_ref::<Arc<CallError>>() {
        return Some(call.outage_cause());
    }
    error.downcast_ref::<EntryRefused>().map(|entry| cause_of(Some(&entry.code), Some(400)))
}

/// A provider that is away for a moment is like any other server that does not answer; no provider at all is not.
fn has_no_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut level = Some(error);
    while let Some(current) = level {
        if let Some(told) = current.downcast_ref::<CredentialsError>() {
            use CredentialsError::{CredentialsNotLoaded, InvalidConfiguration};
            return matches!(told, CredentialsNotLoaded(_) | InvalidConfiguration(_));
        }
        level = current.source();
    }
    false
}

fn cause_of(code: Option<&str>, status: Option<u16>) -> OutageCause {
    let code = plain_code(code.unwrap_or_default());
    let Some(status) = status else { return OutageCause::Unreachable };
    if status == 429 || code.contains("Throttl") || THROTTLED.contains(&code) {
        return OutageCause::Throttled;
    }
    if MISSING.contains(&code) {
        return OutageCause::Missing;
    }
    if REFUSED.contains(&code) || STALE_CREDENTIALS.contains(&code) {
        return OutageCause::Refused;
    }
    match status {
        401 | 403 => OutageCause::Refused,
        404 => OutageCause::Missing,
        503 => OutageCause::Throttled,
        _ => OutageCause::Failing,
    }
}

/// See [`CallError::plain_code`].
pub fn plain_code(code: &str) -> &str {
    let last_part = code.rsplit(['.', '#']).next().unwrap_or(code);
    last_part.strip_suffix("Exception").unwrap_or(last_part)
}

fn spell_answer(code: &Option<String>, message: &Option<String>) -> String {
    match (code, message) {
        (Some(code_text), Some(message_text)) => format!(": {code_text}: {message_text}"),
        (Some(code_text), None) => format!(": {code_text}"),
        (None, Some(message_text)) => format!(": {message_text}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_an_outage_of_its_kind() {
        let cases = [
            (None, None, OutageCause::Unreachable),
            (Some("SlowDown"), Some(503), OutageCause::Throttled),
            (None, Some(503), OutageCause::Throttled),
            (Some("ThrottlingException"), Some(400), OutageCause::Throttled),
            (Some("com.amazonaws.sqs#RequestThrottled"), Some(403), OutageCause::Throttled),
            (Some("RequestLimitExceeded"), Some(503), OutageCause::Throttled),
            (Some("ExpiredToken"), Some(400), OutageCause::Refused),
            (Some("InvalidClientTokenId"), Some(403), OutageCause::Refused),
            (Some("UnrecognizedClientException"), Some(400), OutageCause::Refused),
            (Some("SignatureDoesNotMatch"), Some(403), OutageCause::Refused),
            (None, Some(403), OutageCause::Refused),
            (Some("AWS.SimpleQueueService.NonExistentQueue"), Some(400), OutageCause::Missing),
            (Some("NoSuchBucket"), Some(404), OutageCause::Missing),
            (Some("InternalError"), Some(500), OutageCause::Failing),
        ];
        for (code, status, expected) in cases {
            assert_eq!(cause_of(code, status), expected, "{code:?} {status:?}");
        }
    }

    #[test]
    fn an_entry_of_a_batch_tells_its_cause_below_other_errors() {
        let entry = EntryRefused { code: "RequestThrottled".to_owned(), message: "later".to_owned() };
        let outage = outage_of(&crate::queue::QueueError::Unavailable(Box::new(entry)));
        assert_eq!(outage.cause, OutageCause::Throttled);
        assert!(outage.detail.contains("later"), "{outage}");
    }

    #[test]
    fn error_codes_lose_their_decoration() {
        assert_eq!(plain_code("AWS.SimpleQueueService.MessageNotInflight"), "MessageNotInflight");
        assert_eq!(plain_code("InvalidParameterValueException"), "InvalidParameterValue");
        assert_eq!(plain_code("com.amazonaws.sqs#ReceiptHandleIsInvalid"), "ReceiptHandleIsInvalid");
        assert_eq!(plain_code(""), "");
    }
}
