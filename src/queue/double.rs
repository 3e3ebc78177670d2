//! A queue for tests that is as unkind as the real one: leases really expire, expired messages come back with a
//! higher receive count and a new handle, stale handles are rejected, and calls fail on order.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{MessageHandle, Queue, QueueError, QueueInfo, ReceivedMessage};
use crate::document::Failure;

/// How the double answers a kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The next so many calls fail; nothing happens to the message.
    FailNext(usize),
    /// The next so many calls work, but their answer is lost.
    LoseAnswer(usize),
}

#[derive(Debug)]
struct Stored {
    body: String,
    receive_count: u32,
    visible_at: Instant,
    valid_handle: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<String, Stored>,
    dead_letters: Vec<(ReceivedMessage, Failure)>,
    deleted: Vec<String>,
    /// Each accepted change of visibility, with its timeout.
    visibility_changes: Vec<Duration>,
    delete_trouble: Option<Trouble>,
    visibility_trouble: Option<Trouble>,
    dead_letter_trouble: Option<Trouble>,
    /// Each accepted release (a change of visibility to zero).
    releases: Vec<MessageHandle>,
    visibility_delay: Duration,
    receive_delay: Duration,
    sent: usize,
    handles: usize,
}

/// See the module.
#[derive(Debug)]
pub struct UnkindQueue {
    visibility: Duration,
    has_dead_letter_queue: bool,
    /// Only told; the double itself goes on delivering.
    max_receive_count: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug, thiserror::Error)]
#[error("trouble on order")]
struct OnOrder;

fn trouble() -> QueueError {
    QueueError::Unavailable(Box::new(OnOrder))
}

/// Consumes one piece of ordered trouble: whether the call takes effect, and whether it is answered.
fn use_up(ordered: &mut Option<Trouble>) -> (bool, bool) {
    match ordered {
        Some(Trouble::FailNext(left)) if *left > 0 => {
            *left -= 1;
            (false, false)
        }
        Some(Trouble::LoseAnswer(left)) if *left > 0 => {
            *left -= 1;
            (true, false)
        }
        _ => (true, true),
    }
}

impl UnkindQueue {
    pub fn new(visibility: Duration) -> Self {
        Self { visibility, has_dead_letter_queue: true, max_receive_count: None, state: Mutex::default() }
    }

    pub fn without_dead_letter_queue(visibility: Duration) -> Self {
        Self { has_dead_letter_queue: false, ..Self::new(visibility) }
    }

    pub fn with_max_receive_count(visibility: Duration, maximum: u32) -> Self {
        Self { max_receive_count: Some(maximum), ..Self::new(visibility) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn order_delete_trouble(&self, trouble: Trouble) {
        self.state().delete_trouble = Some(trouble);
    }

    pub fn order_visibility_trouble(&self, trouble: Trouble) {
        self.state().visibility_trouble = Some(trouble);
    }

    pub fn order_dead_letter_trouble(&self, trouble: Trouble) {
        self.state().dead_letter_trouble = Some(trouble);
    }

    /// Every change of visibility takes so long, and takes effect at the end.
    pub fn delay_visibility_changes(&self, delay: Duration) {
        self.state().visibility_delay = delay;
    }

    /// Every answer to a receive comes so late; the leases it brings began before.
    pub fn delay_receives(&self, delay: Duration) {
        self.state().receive_delay = delay;
    }

    /// The queue delivers a message once more although somebody holds it, as SQS may (at least once).
    pub fn redeliver(&self, message_id: &str) {
        if let Some(stored) = self.state().messages.get_mut(message_id) {
            stored.visible_at = Instant::now();
        }
    }

    /// The messages that were not deleted yet.
    pub fn left(&self) -> Vec<String> {
        self.state().messages.keys().cloned().collect()
    }

    pub fn releases(&self) -> Vec<MessageHandle> {
        self.state().releases.clone()
    }

    pub fn deleted(&self) -> Vec<String> {
        self.state().deleted.clone()
    }

    pub fn dead_letters(&self) -> Vec<(ReceivedMessage, Failure)> {
        self.state().dead_letters.clone()
    }

    pub fn visibility_changes(&self) -> Vec<Duration> {
        self.state().visibility_changes.clone()
    }

    /// Another worker takes the message away: our handle is stale from now on.
    pub fn steal(&self, message_id: &str) {
        let mut state = self.state();
        let stored = state.messages.get_mut(message_id).unwrap();
        stored.valid_handle = Some("stolen".to_owned());
        stored.visible_at = Instant::now() + self.visibility;
    }

    /// Whether a receive would bring something now.
    pub fn has_visible(&self) -> bool {
        let now = Instant::now();
        self.state().messages.values().any(|stored| stored.visible_at <= now)
    }

    fn take_visible(&self, max: usize) -> Vec<ReceivedMessage> {
        let now = Instant::now();
        let mut state = self.state();
        let visible: Vec<String> = state
            .messages
            .iter()
            .filter(|(_, stored)| stored.visible_at <= now)
            .map(|(id, _)| id.clone())
            .take(max)
            .collect();
        let mut received = Vec::new();
        for message_id in visible {
            state.handles += 1;
            let receipt_handle = format!("handle-{}", state.handles);
            let stored = state.messages.get_mut(&message_id).unwrap();
            stored.receive_count += 1;
            stored.visible_at = now + self.visibility;
            stored.valid_handle = Some(receipt_handle.clone());
            received.push(ReceivedMessage {
                message_id,
                receipt_handle,
                body: stored.body.clone(),
                attributes: BTreeMap::new(),
                receive_count: stored.receive_count,
                sent_at: None,
                leased_at: now,
            });
        }
        received
    }

    fn change(&self, message: &MessageHandle, timeout: Duration) -> Result<(), QueueError> {
        let mut state = self.state();
        let (takes_effect, answered) = use_up(&mut state.visibility_trouble);
        if takes_effect {
            let now = Instant::now();
            let stored = state.messages.get_mut(&message.message_id).ok_or(QueueError::LeaseLost)?;
            if stored.valid_handle.as_ref() != Some(&message.receipt_handle) || stored.visible_at <= now {
                return Err(QueueError::LeaseLost);
            }
            stored.visible_at = now + timeout;
            state.visibility_changes.push(timeout);
            if timeout.is_zero() {
                state.releases.push(message.clone());
            }
        }
        if answered { Ok(()) } else { Err(trouble()) }
    }
}

#[async_trait]
impl Queue for UnkindQueue {
    async fn receive(&self, max: usize) -> Result<Vec<ReceivedMessage>, QueueError> {
        let delay = self.state().receive_delay;
        let received = self.take_visible(max);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(received)
    }

    async fn change_visibility(&self, message: &MessageHandle, timeout: Duration) -> Result<(), QueueError> {
        let delay = self.state().visibility_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.change(message, timeout)
    }

    async fn delete(&self, message: &MessageHandle) -> Result<(), QueueError> {
        let mut state = self.state();
        let (takes_effect, answered) = use_up(&mut state.delete_trouble);
        if takes_effect {
            let Some(stored) = state.messages.get(&message.message_id) else { return Ok(()) };
            if stored.valid_handle.as_ref() != Some(&message.receipt_handle) {
                return Err(QueueError::LeaseLost);
            }
            state.messages.remove(&message.message_id);
            state.deleted.push(message.message_id.clone());
        }
        if answered { Ok(()) } else { Err(trouble()) }
    }

    async fn dead_letter(&self, message: &ReceivedMessage, failure: &Failure) -> Result<(), QueueError> {
        if !self.has_dead_letter_queue {
            return Err(QueueError::NoDeadLetterQueue);
        }
        let mut state = self.state();
        let (takes_effect, answered) = use_up(&mut state.dead_letter_trouble);
        if takes_effect {
            state.dead_letters.push((message.clone(), failure.clone()));
        }
        if answered { Ok(()) } else { Err(trouble()) }
    }

    async fn send(&self, body: &str) -> Result<(), QueueError> {
        let mut state = self.state();
        state.sent += 1;
        let message_id = format!("message-{:03}", state.sent);
        let stored = Stored { body: body.to_owned(), receive_count: 0, visible_at: Instant::now(), valid_handle: None };
        state.messages.insert(message_id, stored);
        Ok(())
    }

    fn max_receive_count(&self) -> Option<u32> {
        self.max_receive_count
    }

    async fn probe(&self) -> Result<QueueInfo, QueueError> {
        let now = Instant::now();
        let state = self.state();
        let visible = state.messages.values().filter(|stored| stored.visible_at <= now).count() as u64;
        Ok(QueueInfo { visible, in_flight: state.messages.len() as u64 - visible, ..QueueInfo::default() })
    }
}
