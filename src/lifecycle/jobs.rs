//! The jobs in flight: who they are, how far they are, and the switch that ends each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::job::JobProgress;

/// One job in flight.
#[derive(Clone)]
pub struct Job {
    pub message_id: String,
    pub progress: Arc<JobProgress>,
    /// Cancelled when the job has to end now.
    pub cancel: CancellationToken,
}

/// All jobs in flight. The lock is held for a map operation only.
#[derive(Default)]
pub struct Jobs {
    next_number: AtomicU64,
    in_flight: Mutex<HashMap<u64, Job>>,
}

impl Jobs {
    /// Registers a job; it is in flight until the guard is dropped.
    pub fn enter(self: &Arc<Self>, job: Job) -> JobGuard {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, job);
        JobGuard { jobs: Arc::clone(self), number }
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn snapshot(&self) -> Vec<Job> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Job>> {
        // Nothing can panic while the lock is held, and a map of tokens has no invariant to break.
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the job off the list when dropped.
pub struct JobGuard {
    jobs: Arc<Jobs>,
    number: u64,
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.number);
    }
}
