//! AWS credentials that are asked for at every request and renewed before they expire.
//!
//! The `opensearch` crate calls the provider for every request that it signs, and the SDK's default chain does
//! not remember anything by itself. Without the memory here, every request would cost calls to the instance metadata
//! service; with credentials captured once, every request would be refused after six hours, which is what happened
//! to the Python worker. The identity cache that SDK clients have instead cannot be told that a server refused what
//! it holds, so S3 and SQS use this memory, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

/// Credentials are renewed so long before they expire; the metadata service has new ones five minutes ahead.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(4 * 60);

/// A provider that keeps what it was given until shortly before it expires.
///
/// Credentials without an expiry (environment, profile) cost nothing to get and are asked for each time, so that
/// keys exchanged in a profile are picked up.
#[derive(Clone, Debug)]
pub struct RenewedCredentials {
    provider: SharedCredentialsProvider,
    held: Arc<Mutex<Option<Credentials>>>,
}

impl RenewedCredentials {
    pub fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, held: Arc::default() }
    }

    /// Asks the provider again at the next request: the server refused what we hold.
    pub fn forget(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn held(&self) -> Option<Credentials> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let held = self.held();
        if let Some(credentials) = &held
            && valid_for(credentials, RENEW_BEFORE_EXPIRY)
        {
            return Ok(credentials.clone());
        }
        match self.provider.provide_credentials().await {
            Ok(credentials) => {
                if credentials.expiry().is_some() {
                    *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
                }
                Ok(credentials)
            }
            // A provider that is away for a moment is no reason to stop while the old ones still work.
            Err(error) => held.filter(|credentials| valid_for(credentials, Duration::ZERO)).ok_or(error),
        }
    }
}

impl ProvideCredentials for RenewedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

fn valid_for(credentials: &Credentials, margin: Duration) -> bool {
    credentials.expiry().is_some_and(|expiry| expiry > SystemTime::now() + margin)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Hands out `key-0`, `key-1`, … each valid for the given time, and fails once `limit` were given.
    #[derive(Debug)]
    struct Numbered {
        given: AtomicUsize,
        limit: usize,
        lifetime: Option<Duration>,
    }

    impl ProvideCredentials for Numbered {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.given.fetch_add(1, Ordering::SeqCst);
            if number >= self.limit {
                return future::ProvideCredentials::ready(Err(CredentialsError::provider_error("away")));
            }
            let expiry = self.lifetime.map(|lifetime| SystemTime::now() + lifetime);
            let credentials = Credentials::new(format!("key-{number}"), "secret", None, expiry, "test");
            future::ProvideCredentials::ready(Ok(credentials))
        }
    }

    fn numbered(limit: usize, lifetime: Option<Duration>) -> RenewedCredentials {
        let provider = Numbered { given: AtomicUsize::new(0), limit, lifetime };
        RenewedCredentials::new(SharedCredentialsProvider::new(provider))
    }

    async fn key_of(credentials: &RenewedCredentials) -> String {
        credentials.provide_credentials().await.unwrap().access_key_id().to_owned()
    }

    #[tokio::test]
    async fn long_lived_credentials_are_fetched_once() {
        let credentials = numbered(9, Some(Duration::from_secs(3600)));
        assert_eq!(key_of(&credentials).await, "key-0");
        assert_eq!(key_of(&credentials).await, "key-0");
        credentials.forget();
        assert_eq!(key_of(&credentials).await, "key-1", "a refusal makes us ask again");
    }

    #[tokio::test]
    async fn credentials_near_their_end_are_renewed_and_outlive_an_absent_provider() {
        let credentials = numbered(2, Some(Duration::from_secs(60)));
        assert_eq!(key_of(&credentials).await, "key-0");
        assert_eq!(key_of(&credentials).await, "key-1");
        assert_eq!(key_of(&credentials).await, "key-1", "the provider is away, key-1 is still good");
    }

    #[tokio::test]
    async fn credentials_without_an_end_are_asked_for_each_time() {
        let credentials = numbered(9, None);
        assert_eq!(key_of(&credentials).await, "key-0");
        assert_eq!(key_of(&credentials).await, "key-1");
    }
}
