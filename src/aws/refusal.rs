//! A call that S3 or SQS refuses because of its credentials is made once more, at once, with fresh ones.
//!
//! Instance credentials are exchanged while requests are on their way, and a clock that was wrong for a while makes
//! good ones look expired. The SDK itself would go on with what it holds until that expires. Two of its extension
//! points work together, because neither can do it alone: the interceptor may change things but not order a retry,
//! the classifier may order a retry but not remember that there was one.

use std::time::Duration;

use aws_sdk_sqs::config::interceptors::FinalizerInterceptorContextMut;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use aws_smithy_types::retry::ErrorKind;

use super::call_error::STALE_CREDENTIALS;
use super::credentials::RenewedCredentials;

/// From the interceptor to the classifier: added to the answer, because a classifier sees nothing else.
const FRESH_CREDENTIALS_MARK: &str = "x-file-processor-worker-fresh-credentials";

/// Forgets refused credentials, once a call.
#[derive(Debug)]
pub(super) struct FreshCredentials(pub RenewedCredentials);

/// The call has had its fresh credentials.
#[derive(Debug)]
struct HadItsChance;

impl Storable for HadItsChance {
    type Storer = StoreReplace<Self>;
}

impl Intercept for FreshCredentials {
    fn name(&self) -> &'static str {
        "FreshCredentials"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context.response_mut() else { return Ok(()) };
        if !is_refusal(response) {
            return Ok(());
        }
        self.0.forget();
        if config.load::<HadItsChance>().is_none() {
            config.interceptor_state().store_put(HadItsChance);
            response.headers_mut().insert(FRESH_CREDENTIALS_MARK, "1");
        }
        Ok(())
    }
}

/// Whether the credentials were refused. The answer to a HEAD has no body, and S3 answers it 400 when the token has
/// expired: there every refusal counts, at the price of one more request.
fn is_refusal(response: &HttpResponse) -> bool {
    if !matches!(response.status().as_u16(), 400 | 401 | 403) {
        return false;
    }
    match response.body().bytes() {
        Some(body) if !body.is_empty() => {
            let text = String::from_utf8_lossy(body);
            STALE_CREDENTIALS.iter().any(|code| text.contains(code))
        }
        _ => true,
    }
}

/// Orders the retry that [`FreshCredentials`] asks for.
#[derive(Debug)]
pub(super) struct OnceMore;

impl ClassifyRetry for OnceMore {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let is_marked = context.response().is_some_and(|it| it.headers().get(FRESH_CREDENTIALS_MARK).is_some());
        match is_marked {
            true => RetryAction::retryable_error_with_explicit_delay(ErrorKind::ClientError, Duration::ZERO),
            false => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "OnceMore"
    }
}
