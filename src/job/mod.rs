//! One message's way, and one object's way inside it.
//!
//! * [`message`]: a leased message → its objects → settled
//! * [`object`]: look at the bucket → fetch → extract → write → look again
//! * [`calls`]: calls to store and index that outlast an outage
//! * [`history`]: what earlier attempts left behind: [`attempt`] (guilt) and [`checkpoint`] (pages)
//! * [`turns`]: one job at a time for one object
//! * [`plan`]: what a HeadObject alone decides
//! * [`same_content`]: text that the index holds already
//! * [`docuworks`]: which objects belong to one DocuWorks file
//! * [`dead_letter`]: a known-bad message on its way to the dead-letter queue
//! * [`dependencies`]: what is down is probed until it is back
//! * [`spool`]: the files on disk that children read; [`disk_room`]: whether the disk takes more; [`spool_watch`]: waiting
//!   until it does
//! * [`smoke`]: the smoke test's document (contract §1 kind 8)
//!
//! `object` owns the order of steps; nothing else knows it. A job never waits without a way out: its lease may be
//! lost, or the daemon may have to go, and either cancels it at the next step (children are killed at once).

pub mod attempt;
pub mod calls;
pub mod checkpoint;
pub mod dead_letter;
pub mod dependencies;
mod disk_room;
pub mod docuworks;
pub mod history;
pub mod message;
pub mod object;
pub mod plan;
pub mod same_content;
pub mod smoke;
pub mod spool;
pub mod spool_watch;
pub mod turns;

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Settings;
use crate::document::build::Processor;
use crate::document::{Failure, Outcome, Reason};
use crate::health::events::JobFinished;
use crate::health::status::Status;
use crate::index::Index;
use crate::pool::{Observer, Pool, Progress};
use crate::store::ObjectStore;

use spool::Spool;
use turns::Turns;

/// Who makes the documents (contract §3 `processor_name`, `processor_version`).
pub const PROCESSOR: Processor<'static> =
    Processor { name: env!("CARGO_PKG_NAME"), version: concat!(env!("CARGO_PKG_VERSION"), "+", env!("BUILD_COMMIT")) };

/// What every job needs; one per daemon.
pub struct Context {
    pub settings: Settings,
    pub store: Arc<dyn ObjectStore>,
    pub index: Arc<dyn Index>,
    pub pool: Pool,
    pub spool: Spool,
    pub status: Arc<Status>,
    pub turns: Turns,
    /// Names engine, models and settings (contract §3 `ocr_engine`).
    pub engine_fingerprint: String,
    /// The bucket of messages that name none (contract §1 kind 5).
    pub default_bucket: String,
    /// Index everything again, even what is unchanged.
    pub force: bool,
}

impl Context {
    /// Counts and logs an outcome that needed no document.
    pub fn finished(&self, key: &str, outcome: Outcome, reason: Option<Reason>) {
        let failure = reason.map(|reason| Failure::new(reason, ""));
        self.dropped(key, outcome, failure.as_ref());
    }

    /// Counts and logs what left no document behind: `key` is the object's, or the message's id.
    pub fn dropped(&self, key: &str, outcome: Outcome, failure: Option<&Failure>) {
        self.status.job_finished(JobFinished {
            key,
            outcome,
            failure,
            bytes: 0,
            pages: Default::default(),
            same_as: None,
            times: Default::default(),
        });
    }
}

/// How far a job is: written by the pool, read by the drain to decide whether it still fits.
#[derive(Debug, Default)]
pub struct JobProgress {
    pages: watch::Sender<Progress>,
}

impl JobProgress {
    /// Through which the pool writes.
    pub fn observer(&self) -> Observer {
        Observer { progress: self.pages.clone(), ..Observer::default() }
    }

    /// Pages still to do; `None` while nobody knows, because the document is not open yet.
    pub fn pages_left(&self) -> Option<u32> {
        let progress = *self.pages.borrow();
        (progress.pages_total > 0).then(|| progress.pages_total.saturating_sub(progress.pages_done))
    }
}
