//! The spool's disk as a dependency: jobs wait for it like for store and index, and work resumes by itself.
//!
//! A full disk is nobody's fault whose file came next (contract §4): its job keeps its lease and waits, receiving
//! pauses, and the status says how much is free. The watch looks every few seconds, so an idle daemon notices before
//! it takes a message.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::object::Interruption;
use super::spool::SpoolFile;
use super::{Context, dependencies};
use crate::health::events::SpoolFailed;
use crate::health::metrics::Gauge;
use crate::health::outage::{Outage, OutageCause};
use crate::health::status::Dependency;

/// How soon a disk that fills up is noticed by a daemon that writes nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks between two sweeps.
const LOOKS_PER_SWEEP: u32 = 12;

impl Calls<'_> {
    /// A file in the spool that the disk has room for; waits for both through outages.
    pub async fn spool_file(&self, size_bytes: u64) -> Result<SpoolFile, Interruption> {
        let file = self.step(self.context.spool.reserve(size_bytes)).await?;
        loop {
            self.wait_up(Dependency::Spool).await?;
            match self.step(self.context.spool.room_for(&file)).await? {
                Ok(()) => return Ok(file),
                Err(outage) => self.context.status.dependency_down(Dependency::Spool, &outage),
            }
        }
    }

    /// A write to the spool failed: returns when the next one may succeed.
    pub async fn wait_out_spool_failure(&self, error: &io::Error) -> Result<(), Interruption> {
        self.context.status.dependency_down(Dependency::Spool, &self.context.spool.outage(error));
        self.wait_up(Dependency::Spool).await
    }
}

/// Watches the spool's disk and probes it while it is down. Runs until `stop`.
pub async fn watch(context: &Arc<Context>, stop: &CancellationToken) {
    let is_told = AtomicBool::new(false);
    let probing = dependencies::keep_probing(&context.status, Dependency::Spool, stop, async || {
        let answer = probe(context).await;
        match &answer {
            Ok(()) => is_told.store(false, Ordering::Relaxed),
            Err(outage) if is_told.swap(true, Ordering::Relaxed) => log::debug!(outage:%; "spool still down"),
            Err(outage) => tell_a_person(context, outage),
        }
        answer
    });
    tokio::join!(probing, look_now_and_then(context, stop));
}

async fn look_now_and_then(context: &Context, stop: &CancellationToken) {
    let looking = async {
        for look in 1_u32.. {
            if !context.status.is_down(Dependency::Spool) {
                match context.spool.look() {
                    Ok(disk) => Gauge::SpoolFree.set(disk.free_bytes as f64, &[]),
                    Err(outage) => context.status.dependency_down(Dependency::Spool, &outage),
                }
            }
            if look.is_multiple_of(LOOKS_PER_SWEEP) {
                let files = context.spool.sweep();
                if files > 0 {
                    log::info!(files; "spool files removed that nobody held");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // `None` is the usual end.
    let _ = stop.run_until_cancelled(looking).await;
}

async fn probe(context: &Arc<Context>) -> Result<(), Outage> {
    let probed = Arc::clone(context);
    // A disk in trouble may let a write wait for long.
    let answer = tokio::task::spawn_blocking(move || probed.spool.probe()).await;
    let is_new_folder = answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    if is_new_folder {
        log::warn!(path:% = context.spool.folder().display(); "spool folder was deleted by somebody and is made anew");
        // Landlock knows folders, not names: what stands under the name now is closed to children that are up.
        context.pool.replace_children();
    }
    Ok(())
}

/// A disk that is full gets room again when something is cleaned up, which may happen by itself. One that is broken
/// or closed to us does not: that is an ERROR.
fn tell_a_person(context: &Context, outage: &Outage) {
    if outage.cause == OutageCause::Failing {
        let path = context.spool.folder().display().to_string();
        SpoolFailed { path: &path, error: &outage.detail }.emit();
    }
}
