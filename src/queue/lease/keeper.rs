//! The one task that extends all leases, and what it shares with them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::ledger::{Extension, LeaseId, Ledger};
use super::{Adoption, Lease};
use crate::health::error_chain;
use crate::health::events::{LeaseExtended, LeaseExtensionFailed};
use crate::queue::{MessageHandle, Queue, ReceivedMessage};

/// The keeper of all leases. Stop it last: leases that are still held then run out by themselves.
pub struct LeaseKeeper {
    shared: SharedLedger,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Dropping the keeper stops its task, too.
    _stop_on_drop: DropGuard,
}

impl LeaseKeeper {
    /// Starts the task; needs a tokio runtime. `visibility` is what the queue grants on receive, and what each
    /// extension asks for.
    pub fn start(queue: Arc<dyn Queue>, visibility: Duration) -> Self {
        let shared = SharedLedger(Arc::new(Shared {
            queue,
            ledger: Mutex::new(Ledger::new(visibility)),
            schedule_changed: Notify::new(),
            extension_answered: Notify::new(),
        }));
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        tasks.spawn(keep(shared.clone(), tasks.clone(), stop.clone()));
        Self { shared, tasks, _stop_on_drop: stop.clone().drop_guard(), stop }
    }

    /// Takes a received message into keeping.
    pub fn lease(&self, message: ReceivedMessage) -> Adoption {
        let adopted = self.shared.ledger().adopt(&message);
        self.shared.0.schedule_changed.notify_one();
        match adopted {
            Some((id, lost)) => Adoption::New(Lease::new(message, lost, id, self.shared.clone())),
            None => {
                log::info!(
                    message_id:% = message.message_id, receive_count = message.receive_count;
                    "message received again while it is in work"
                );
                Adoption::AlreadyInFlight
            }
        }
    }

    /// Leases that are held now.
    pub fn in_flight(&self) -> usize {
        self.shared.ledger().len()
    }

    /// Ends the heartbeat and waits for the calls on their way.
    pub async fn stop(self) {
        let still_held = self.in_flight();
        if still_held > 0 {
            log::warn!(leases = still_held; "lease keeper stopped while leases are held; they run out by themselves");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn keep(shared: SharedLedger, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let next_due = shared.ledger().next_due();
        let due = async {
            match next_due {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.0.schedule_changed.notified() => continue,
            () = due => {}
        }
        let extensions = shared.ledger().take_due(Instant::now());
        if !extensions.is_empty() {
            // A slow call must not hold up leases that are due next.
            tasks.spawn(extend(shared.clone(), extensions));
        }
    }
}

async fn extend(shared: SharedLedger, extensions: Vec<Extension>) {
    let changes: Vec<(MessageHandle, Duration)> =
        extensions.iter().map(|extension| (extension.handle.clone(), extension.timeout)).collect();
    let verdicts = shared.queue().change_visibility_batch(&changes).await;
    for ((handle, until), verdict) in changes.iter().zip(&verdicts) {
        match verdict {
            Ok(()) => LeaseExtended { message_id: &handle.message_id, until: *until }.emit(),
            Err(error) if super::is_worth_another_try(error) => {
                LeaseExtensionFailed { message_id: &handle.message_id, error: &error_chain(error) }.emit();
            }
            // The ledger tells of leases that are lost.
            Err(_) => {}
        }
    }
    let now = Instant::now();
    {
        let mut ledger = shared.ledger();
        for (extension, verdict) in extensions.iter().zip(&verdicts) {
            ledger.enter(extension, verdict, now);
        }
    }
    shared.0.schedule_changed.notify_one();
    shared.0.extension_answered.notify_waiters();
}

/// What keeper and leases share.
#[derive(Clone)]
pub(super) struct SharedLedger(Arc<Shared>);

struct Shared {
    queue: Arc<dyn Queue>,
    /// Locked for moments only, never across an await.
    ledger: Mutex<Ledger>,
    schedule_changed: Notify,
    extension_answered: Notify,
}

impl SharedLedger {
    pub(super) fn queue(&self) -> &dyn Queue {
        self.0.queue.as_ref()
    }

    pub(super) fn handle(&self, id: LeaseId) -> Option<MessageHandle> {
        self.ledger().handle(id)
    }

    pub(super) fn begin_settling(&self, id: LeaseId) {
        self.ledger().begin_settling(id);
    }

    /// No further extension; returns when none is on its way any more.
    pub(super) async fn end_heartbeat(&self, id: LeaseId) -> Option<MessageHandle> {
        let handle = self.ledger().end_heartbeat(id);
        loop {
            // Registered before the look, so that an answer in between is not missed.
            let answered = self.0.extension_answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if !self.ledger().is_being_extended(id) {
                return handle;
            }
            answered.await;
        }
    }

    pub(super) fn forget(&self, id: LeaseId) {
        self.ledger().forget(id);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedLedger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("SharedLedger").field(&*self.ledger()).finish()
    }
}
