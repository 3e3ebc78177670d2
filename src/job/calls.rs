//! Calls to store and index that outlast an outage.
//!
//! A dependency that fails is never the object's fault (contract §4). A call that fails is made again after a short
//! pause, so that a blip costs nothing; when the breaker opens (see [`crate::health::breaker`]) it waits, its lease
//! held, until a probe has found the dependency working. What comes back as an error is about this object. Every step
//! ends early when the job is cancelled.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::status::Dependency;
use crate::index::IndexError;
use crate::store::StoreError;

use super::Context;
use super::object::Interruption;

/// A call that fails this often although its dependency works for others (or answers probes between its failures) goes
/// back to the queue. Above [`crate::health::breaker::FAILURES_TO_OPEN`], so that no message is released before the
/// breaker has had its say.
const MAX_CALL_ATTEMPTS: u32 = 8;
/// The mean of the first pause between two attempts is half of this; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a change of the index that is on its way may take when the job has to end: within the drain's reserve.
const LAST_WRITE: Duration = Duration::from_secs(4);
/// The same when the lease is lost: above what a bulk request may take.
const LAST_WRITE_UNLEASED: Duration = Duration::from_secs(90);
/// How long a job keeps its lease through an outage before the message is given back.
pub const OUTAGE_HOLD: Duration = Duration::from_secs(900);

/// The calls of one job.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    pub context: &'a Context,
    pub cancel: &'a CancellationToken,
    /// Cancelled (and `cancel` with it) when the message is somebody else's now.
    pub lost: &'a CancellationToken,
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
        let status = &self.context.status;
        for attempt in 0..MAX_CALL_ATTEMPTS {
            self.wait_up(Dependency::Store).await?;
            let began = Instant::now();
            let outage = match self.step(call()).await? {
                Err(error @ StoreError::Unavailable(_)) => error.outage(),
                Err(error @ (StoreError::AccessDenied | StoreError::NoSuchBucket)) => {
                    // One object's fault only if the store lets us in otherwise (contract §4).
                    match self.step(self.context.store.probe()).await? {
                        Ok(()) => {
                            status.dependency_answered(Dependency::Store);
                            return Ok(Err(error));
                        }
                        Err(probed) => probed.outage(),
                    }
                }
                Err(StoreError::Spool(source)) => {
                    self.wait_out_spool_failure(&source).await?;
                    continue;
                }
                answer => {
                    status.dependency_answered(Dependency::Store);
                    return Ok(answer);
                }
            };
            if !status.dependency_failed(Dependency::Store, began, &outage) {
                self.pause(attempt).await?;
            }
        }
        Err(Interruption::Retry(format!("the store failed {MAX_CALL_ATTEMPTS} times for {}", self.subject)))
    }

    /// The same, but the end of a write that is on its way is waited for, although its answer comes too late for the
    /// job. With the lease lost there is no hurry: somebody has to look at the object after the write, not before.
    async fn step_to_its_end<T>(&self, mut step: BoxFuture<'_, T>, is_write: bool) -> Result<T, Interruption> {
        if let Some(answer) = self.cancel.run_until_cancelled(&mut step).await {
            return Ok(answer);
        }
        if is_write {
            let patience = if self.lost.is_cancelled() { LAST_WRITE_UNLEASED } else { LAST_WRITE };
            let _ = tokio::time::timeout(patience, step).await;
        }
        Err(Interruption::Cancelled)
    }

    /// Asks the index, through outages. The inner error is the index's refusal of this document.
    pub async fn on_index<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T, IndexError>>,
    ) -> Result<Result<T, String>, Interruption> {
        self.index_call(call, false).await
    }

    /// Changes the index, through outages. A job that has to end waits a moment for the answer to a change that is on
    /// its way: what the index does after the message was given back, nobody would look at.
    pub async fn write<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T, IndexError>>,
    ) -> Result<Result<T, String>, Interruption> {
        self.index_call(call, true).await
    }

    async fn index_call<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T, IndexError>>,
        is_write: bool,
    ) -> Result<Result<T, String>, Interruption> {
        let status = &self.context.status;
        for attempt in 0..MAX_CALL_ATTEMPTS {
            self.wait_up(Dependency::Index).await?;
            let began = Instant::now();
            let outage = match self.step_to_its_end(call(), is_write).await? {
                Ok(value) => {
                    status.dependency_answered(Dependency::Index);
                    return Ok(Ok(value));
                }
                Err(IndexError::Rejected(text)) => {
                    status.dependency_answered(Dependency::Index);
                    return Ok(Err(text));
                }
                Err(IndexError::Unavailable(outage)) => outage,
            };
            if !status.dependency_failed(Dependency::Index, began, &outage) {
                self.pause(attempt).await?;
            }
        }
        Err(Interruption::Retry(format!("the index failed {MAX_CALL_ATTEMPTS} times for {}", self.subject)))
    }

    /// Between two attempts: anything between nothing and a bound that grows with the attempts, so that the jobs that
    /// failed together do not come back together.
    pub async fn pause(&self, attempt: u32) -> Result<(), Interruption> {
        let bound = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
        self.step(tokio::time::sleep(bound.mul_f64(fastrand::f64()))).await
    }

    pub(super) async fn wait_up(&self, dependency: Dependency) -> Result<(), Interruption> {
        let held = tokio::time::timeout(OUTAGE_HOLD, self.context.status.wait_until_up(dependency));
        self.step(held).await?.map_err(|_elapsed| Interruption::Outage(format!("{} is still down", dependency.title())))
    }
}
