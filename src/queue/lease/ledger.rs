//! The keeper's books: which leases there are, when each is due, what its newest handle is.
//!
//! Pure: the time comes from outside, calls go out as [`Extension`]s and come back as verdicts.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::events::LeaseLost;
use crate::queue::{MessageHandle, QueueError, ReceivedMessage};

/// SQS lets nobody hold a message longer than 12 hours after it was received.
pub(super) const MAX_LEASE: Duration = Duration::from_secs(43_200);
/// An extension that failed is tried again after this part of the visibility timeout …
const RETRY_DIVISOR: u32 = 20;
/// … but not more often, and not less often, than this.
const MIN_RETRY_INTERVAL: Duration = Duration::from_millis(250);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Leases that are due within this part of the visibility timeout are extended in the same call.
const TOGETHER_DIVISOR: u32 = 20;

/// Names one lease; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LeaseId(u64);

/// One lease in the books.
#[derive(Debug)]
struct Entry {
    handle: MessageHandle,
    /// Before the receive call: where the 12 hours start.
    received_at: Instant,
    expires_at: Instant,
    /// The key in `Ledger::due`; `None` when nothing more is to be done for it.
    due_at: Option<Instant>,
    extensions_on_their_way: u32,
    /// Being deleted: the queue may say "no such handle" to an extension that comes after the delete.
    settling: bool,
    warned_of_expiry: bool,
    lost: CancellationToken,
}

/// "Extend this handle by so much"; goes out to the queue and comes back with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    pub lease: LeaseId,
    pub handle: MessageHandle,
    pub timeout: Duration,
    /// Before the call: the new time cannot have started earlier.
    pub started_at: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    visibility: Duration,
    leases: HashMap<LeaseId, Entry>,
    by_message: HashMap<String, LeaseId>,
    due: BTreeSet<(Instant, LeaseId)>,
    next_id: u64,
}

impl Ledger {
    pub(super) fn new(visibility: Duration) -> Self {
        Self { visibility, leases: HashMap::new(), by_message: HashMap::new(), due: BTreeSet::new(), next_id: 0 }
    }

    /// A new lease, or `None` when the message is in work already (its handle is then the new one).
    ///
    /// A message whose lease was lost is new: its former job has been told to stop.
    pub(super) fn adopt(&mut self, message: &ReceivedMessage) -> Option<(LeaseId, CancellationToken)> {
        let expires_at = later(message.leased_at, self.visibility);
        let due_at = later(message.leased_at, self.visibility / 2);
        if let Some(&known) = self.by_message.get(&message.message_id) {
            let entry = self.leases.get_mut(&known).expect("by_message names leases in the books");
            if message.leased_at >= entry.received_at {
                entry.handle = message.handle();
                entry.received_at = message.leased_at;
                entry.expires_at = expires_at;
                entry.warned_of_expiry = false;
                self.schedule(known, Some(due_at));
            }
            return None;
        }
        let id = LeaseId(self.next_id);
        self.next_id += 1;
        let lost = CancellationToken::new();
        let entry = Entry {
            handle: message.handle(),
            received_at: message.leased_at,
            expires_at,
            due_at: None,
            extensions_on_their_way: 0,
            settling: false,
            warned_of_expiry: false,
            lost: lost.clone(),
        };
        self.leases.insert(id, entry);
        self.by_message.insert(message.message_id.clone(), id);
        self.schedule(id, Some(due_at));
        Some((id, lost))
    }

    /// Leases that somebody holds.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// When [`Ledger::take_due`] has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due_at, _)| *due_at)
    }

    /// The extensions to send now. Leases at the end of their 12 hours are cancelled instead.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Extension> {
        if self.next_due().is_none_or(|due_at| due_at > now) {
            return Vec::new();
        }
        let horizon = later(now, self.visibility / TOGETHER_DIVISOR);
        let due_now: Vec<LeaseId> =
            self.due.iter().take_while(|(due_at, _)| *due_at <= horizon).map(|(_, id)| *id).collect();
        due_now.into_iter().filter_map(|id| self.begin_extension(id, now)).collect()
    }

    fn begin_extension(&mut self, id: LeaseId, now: Instant) -> Option<Extension> {
        let entry = self.leases.get_mut(&id)?;
        let last_moment = later(entry.received_at, MAX_LEASE);
        if now >= last_moment {
            log::warn!(
                message_id:% = entry.handle.message_id;
                "lease ends: the queue lets nobody hold a message for more than 12 hours"
            );
            self.lose(id);
            return None;
        }
        if now >= entry.expires_at && !entry.warned_of_expiry {
            entry.warned_of_expiry = true;
            log::warn!(
                message_id:% = entry.handle.message_id;
                "lease ran out before it could be extended; still trying"
            );
        }
        // Whole seconds, as the queue counts: rounding up would reach over the 12 hours.
        let left = Duration::from_secs(last_moment.saturating_duration_since(now).as_secs());
        let timeout = self.visibility.min(left);
        if timeout.is_zero() {
            self.schedule(id, Some(last_moment));
            return None;
        }
        entry.extensions_on_their_way += 1;
        let extension = Extension { lease: id, handle: entry.handle.clone(), timeout, started_at: now };
        self.schedule(id, None);
        Some(extension)
    }

    /// Enters what the queue said to an extension.
    pub(super) fn enter(&mut self, extension: &Extension, verdict: &Result<(), QueueError>, now: Instant) {
        let retry_interval = (self.visibility / RETRY_DIVISOR).clamp(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL);
        let Some(entry) = self.leases.get_mut(&extension.lease) else { return };
        entry.extensions_on_their_way -= 1;
        let is_on_the_books = self.by_message.get(&extension.handle.message_id) == Some(&extension.lease);
        if entry.handle != extension.handle || !is_on_the_books {
            // Swapped, released or lost meanwhile: the verdict is about something that no longer counts.
            return;
        }
        match verdict {
            Ok(()) => {
                entry.expires_at = later(extension.started_at, extension.timeout);
                entry.warned_of_expiry = false;
                let last_moment = later(entry.received_at, MAX_LEASE);
                let reaches_the_end = extension.timeout < self.visibility;
                let half_time = later(extension.started_at, extension.timeout / 2);
                self.schedule(extension.lease, Some(if reaches_the_end { last_moment } else { half_time }));
            }
            Err(QueueError::LeaseLost) if entry.settling => {}
            Err(QueueError::LeaseLost) => {
                LeaseLost { message_id: &extension.handle.message_id }.emit();
                self.lose(extension.lease);
            }
            Err(_) => self.schedule(extension.lease, Some(later(now, retry_interval))),
        }
    }

    /// The handle that is valid now.
    pub(super) fn handle(&self, id: LeaseId) -> Option<MessageHandle> {
        self.leases.get(&id).map(|entry| entry.handle.clone())
    }

    /// From now on a lost lease is no news: the message is being deleted.
    pub(super) fn begin_settling(&mut self, id: LeaseId) {
        if let Some(entry) = self.leases.get_mut(&id) {
            entry.settling = true;
        }
    }

    /// No further extension, and the same message received again is a new one. Says the handle to release with.
    pub(super) fn end_heartbeat(&mut self, id: LeaseId) -> Option<MessageHandle> {
        self.strike_out(id);
        self.handle(id)
    }

    /// Whether an extension of this lease has not been answered yet.
    pub(super) fn is_being_extended(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|entry| entry.extensions_on_their_way > 0)
    }

    /// The lease is gone: settled or dropped.
    pub(super) fn forget(&mut self, id: LeaseId) {
        self.strike_out(id);
        self.leases.remove(&id);
    }

    fn lose(&mut self, id: LeaseId) {
        self.strike_out(id);
        if let Some(entry) = self.leases.get(&id) {
            entry.lost.cancel();
        }
    }

    /// Takes the lease off the schedule and off its message.
    fn strike_out(&mut self, id: LeaseId) {
        self.schedule(id, None);
        let Some(entry) = self.leases.get(&id) else { return };
        if self.by_message.get(&entry.handle.message_id) == Some(&id) {
            self.by_message.remove(&entry.handle.message_id);
        }
    }

    fn schedule(&mut self, id: LeaseId, due_at: Option<Instant>) {
        let Some(entry) = self.leases.get_mut(&id) else { return };
        if let Some(former) = entry.due_at.take() {
            self.due.remove(&(former, id));
        }
        if let Some(moment) = due_at {
            entry.due_at = Some(moment);
            self.due.insert((moment, id));
        }
    }
}

/// `moment + duration`; a sum beyond what the clock can say is as good as a day from then.
fn later(moment: Instant, duration: Duration) -> Instant {
    const A_DAY: Duration = Duration::from_secs(86_400);
    moment.checked_add(duration).unwrap_or_else(|| moment + A_DAY)
}
