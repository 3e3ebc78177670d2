//! Messages in memory with the semantics of the real queue: leases that expire, delays, receive counts, handles
//! that go stale.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::MAX_RECEIVES;
use crate::queue::{MessageHandle, QueueError, ReceivedMessage};

/// The walk pauses while so many messages wait: enough to keep everybody busy, little enough to hold in memory.
const MAX_WAITING: usize = 256;

/// A message that is not being worked on.
#[derive(Debug)]
struct Stored {
    message_id: String,
    body: String,
    sent_at: Timestamp,
    receive_count: u32,
}

#[derive(Debug)]
struct InFlight {
    stored: Stored,
    receipt_handle: String,
    visible_at: Instant,
}

/// A message that used up its receives; taken out of the inbox until its dead letter is written.
#[derive(Debug)]
pub(super) struct Expired {
    pub message: ReceivedMessage,
}

/// What one look into the inbox brought.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub messages: Vec<ReceivedMessage>,
    pub expired: Vec<Expired>,
    /// When something becomes visible again by itself.
    pub next_visible_at: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Stored>,
    in_flight: HashMap<String, InFlight>,
    /// Messages between [`Taken::expired`] and their dead letter.
    being_given_up: u64,
    next_number: u64,
    next_handle: u64,
    scan_finished: bool,
    closed: bool,
    done: u64,
    /// Counted files, and messages that are no files.
    counted: Option<u64>,
    uncounted: u64,
    pub(super) dead_letters: u64,
    pub(super) unreadable: u64,
}

impl Inbox {
    pub(super) fn progress(&self) -> super::Progress {
        // A file that came after the count was done is done, too.
        let total = self.counted.map(|files| (files + self.uncounted).max(self.done));
        super::Progress { done: self.done, total }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.scan_finished && self.waiting.is_empty() && self.in_flight.is_empty() && self.being_given_up == 0
    }

    pub(super) fn visible(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.len() as u64
    }

    fn store(&mut self, body: String) {
        self.next_number += 1;
        let message_id = format!("folder-{}", self.next_number);
        self.waiting.push_back(Stored { message_id, body, sent_at: Timestamp::now(), receive_count: 0 });
    }

    /// Messages whose time is up wait again, in front: they are older than what waits.
    fn return_visible(&mut self, now: Instant) {
        let returned: BTreeMap<Instant, Vec<String>> = self
            .in_flight
            .iter()
            .filter(|(_, in_flight)| in_flight.visible_at <= now)
            .fold(BTreeMap::new(), |mut by_time: BTreeMap<_, Vec<String>>, (id, in_flight)| {
                by_time.entry(in_flight.visible_at).or_default().push(id.clone());
                by_time
            });
        for message_id in returned.into_values().rev().flatten() {
            if let Some(in_flight) = self.in_flight.remove(&message_id) {
                self.waiting.push_front(in_flight.stored);
            }
        }
    }

    fn lease(&mut self, mut stored: Stored, visibility: Duration, now: Instant) -> ReceivedMessage {
        stored.receive_count += 1;
        self.next_handle += 1;
        let receipt_handle = format!("delivery-{}", self.next_handle);
        let message = received(&stored, receipt_handle.clone(), now);
        let visible_at = now.checked_add(visibility).unwrap_or(now);
        self.in_flight.insert(stored.message_id.clone(), InFlight { stored, receipt_handle, visible_at });
        message
    }

    fn valid(&mut self, handle: &MessageHandle) -> Result<&mut InFlight, QueueError> {
        self.in_flight
            .get_mut(&handle.message_id)
            .filter(|in_flight| in_flight.receipt_handle == handle.receipt_handle)
            .ok_or(QueueError::LeaseLost)
    }
}

fn received(stored: &Stored, receipt_handle: String, leased_at: Instant) -> ReceivedMessage {
    ReceivedMessage {
        message_id: stored.message_id.clone(),
        receipt_handle,
        body: stored.body.clone(),
        attributes: BTreeMap::new(),
        receive_count: stored.receive_count,
        sent_at: Some(stored.sent_at),
        leased_at,
    }
}

/// The inbox between the walking thread, which waits for room, and the receivers, which wait for messages.
#[derive(Debug)]
pub(super) struct SharedInbox {
    visibility: Duration,
    inbox: Mutex<Inbox>,
    room: Condvar,
    changed: Notify,
}

impl SharedInbox {
    pub(super) fn new(visibility: Duration) -> Self {
        Self { visibility, inbox: Mutex::default(), room: Condvar::new(), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves at the next change after it was enabled.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    // For the walking thread.

    /// Puts a scanned message in as soon as there is room; false when nobody receives any more.
    pub(super) fn put(&self, body: String, is_counted: bool) -> bool {
        let mut inbox = self.lock();
        while inbox.waiting.len() >= MAX_WAITING && !inbox.closed {
            inbox = self.room.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        if inbox.closed {
            return false;
        }
        inbox.uncounted += u64::from(!is_counted);
        inbox.store(body);
        drop(inbox);
        self.changed.notify_waiters();
        true
    }

    pub(super) fn set_count(&self, files: u64) {
        self.lock().counted = Some(files);
    }

    pub(super) fn count_unreadable(&self) {
        self.lock().unreadable += 1;
    }

    pub(super) fn finish_scan(&self) {
        self.lock().scan_finished = true;
        self.changed.notify_waiters();
    }

    /// Waits between two looks of a watch; false when nobody receives any more.
    pub(super) fn pause(&self, duration: Duration) -> bool {
        let inbox = self.lock();
        let waited = self.room.wait_timeout_while(inbox, duration, |inside| !inside.closed);
        let (inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !inbox.closed
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    // For the receivers.

    pub(super) fn take(&self, max: usize, now: Instant) -> Taken {
        let mut inbox = self.lock();
        inbox.return_visible(now);
        let mut taken = Taken::default();
        while taken.messages.len() < max {
            let Some(stored) = inbox.waiting.pop_front() else { break };
            if stored.receive_count >= MAX_RECEIVES {
                inbox.being_given_up += 1;
                taken.expired.push(Expired { message: received(&stored, String::new(), now) });
                continue;
            }
            let message = inbox.lease(stored, self.visibility, now);
            taken.messages.push(message);
        }
        taken.next_visible_at = inbox.in_flight.values().map(|in_flight| in_flight.visible_at).min();
        drop(inbox);
        self.room.notify_all();
        taken
    }

    pub(super) fn change_visibility(
        &self,
        message: &MessageHandle,
        timeout: Duration,
        now: Instant,
    ) -> Result<(), QueueError> {
        self.lock().valid(message)?.visible_at = now.checked_add(timeout).unwrap_or(now);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn delete(&self, message: &MessageHandle) -> Result<(), QueueError> {
        let mut inbox = self.lock();
        inbox.valid(message)?;
        inbox.in_flight.remove(&message.message_id);
        inbox.done += 1;
        drop(inbox);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn send(&self, body: String) {
        let mut inbox = self.lock();
        inbox.uncounted += 1;
        inbox.store(body);
        drop(inbox);
        self.changed.notify_waiters();
    }

    /// The dead letter is written: the message is done.
    pub(super) fn drop_expired(&self) {
        let mut inbox = self.lock();
        inbox.being_given_up -= 1;
        inbox.done += 1;
        drop(inbox);
        self.changed.notify_waiters();
    }

    /// The dead letter could not be written: the message waits again, to be given up later.
    pub(super) fn put_back(&self, expired: Expired) {
        let mut inbox = self.lock();
        inbox.being_given_up -= 1;
        let message = expired.message;
        inbox.waiting.push_back(Stored {
            message_id: message.message_id,
            body: message.body,
            sent_at: message.sent_at.unwrap_or_else(Timestamp::now),
            receive_count: message.receive_count,
        });
    }
}
