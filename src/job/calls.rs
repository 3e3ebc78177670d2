//! Calls to store and index that outlast an outage.
//!
//! A dependency that fails is never the object's fault (contract §4): the call waits until the dependency works
//! again and is made anew. What comes back as an error is about this object. Every step ends early when the job is
//! cancelled.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::health::error_chain;
use crate::health::outage::{Outage, OutageCause};
use crate::health::status::Dependency;
use crate::index::IndexError;
use crate::store::StoreError;

use super::Context;
use super::object::Interruption;

/// A call that fails this often although its dependency answers probes goes back to the queue.
const MAX_CALL_ATTEMPTS: usize = 4;
/// How long a job keeps its lease through an outage before the message is given back.
const OUTAGE_HOLD: Duration = Duration::from_secs(900);

/// The calls of one job.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    pub context: &'a Context,
    pub cancel: &'a CancellationToken,
    /// The object or message that the job is about, for errors.
    pub subject: &'a str,
}

impl Calls<'_> {
    /// Runs one step unless the job has to end.
    pub async fn step<T>(&self, step: impl Future<Output = T>) -> Result<T, Interruption> {
        self.cancel.run_until_cancelled(step).await.ok_or(Interruption::Cancelled)
    }

    /// Calls the store, through outages. What comes back as an error is about this object.
    pub async fn on_store<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<Result<T, StoreError>, Interruption> {
        let down = |why: &str| {
            let outage = Outage::new(OutageCause::Failing, why);
            self.context.status.dependency_down(Dependency::Store, &outage);
        };
        for _ in 0..MAX_CALL_ATTEMPTS {
            self.wait_up(Dependency::Store).await?;
            match self.step(call()).await? {
                Err(StoreError::Unavailable(source)) => down(&error_chain(source.as_ref())),
                Err(error @ (StoreError::AccessDenied | StoreError::NoSuchBucket)) => {
                    // One object's fault only if the store lets us in otherwise (contract §4).
                    match self.step(self.context.store.probe()).await? {
                        Ok(()) => return Ok(Err(error)),
                        Err(outage) => down(&error_chain(&outage)),
                    }
                }
                Err(StoreError::Spool(source)) => self.wait_out_spool_failure(&source).await?,
                answer => return Ok(answer),
            }
        }
        Err(Interruption::Retry(format!("the store failed {MAX_CALL_ATTEMPTS} times for {}", self.subject)))
    }

    /// Calls the index, through outages. The inner error is the index's refusal of this document.
    pub async fn on_index<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T, IndexError>>,
    ) -> Result<Result<T, String>, Interruption> {
        for _ in 0..MAX_CALL_ATTEMPTS {
            self.wait_up(Dependency::Index).await?;
            match self.step(call()).await? {
                Ok(value) => return Ok(Ok(value)),
                Err(IndexError::Rejected(text)) => return Ok(Err(text)),
                Err(IndexError::Unavailable(reason)) => {
                    let outage = Outage::new(OutageCause::Failing, reason);
                    self.context.status.dependency_down(Dependency::Index, &outage);
                }
            }
        }
        Err(Interruption::Retry(format!("the index failed {MAX_CALL_ATTEMPTS} times for {}", self.subject)))
    }

    pub(super) async fn wait_up(&self, dependency: Dependency) -> Result<(), Interruption> {
        let held = tokio::time::timeout(OUTAGE_HOLD, self.context.status.wait_until_up(dependency));
        self.step(held).await?.map_err(|_elapsed| Interruption::Outage(format!("{} is still down", dependency.title())))
    }
}
