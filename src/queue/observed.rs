//! Any queue, with the failures of its calls told to the status: the queue and its dead-letter queue are dependencies
//! with a breaker like store and index.
//!
//! It stands around the queue because its callers are many (the receive loop, the lease keeper, every lease) and none
//! of them has anything else to do with breakers. It changes no answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{MessageHandle, Queue, QueueError, QueueInfo, ReceivedMessage};
use crate::document::Failure;
use crate::health::status::{Dependency, Status};

/// See the module.
pub struct ObservedQueue {
    queue: Arc<dyn Queue>,
    status: Arc<Status>,
}

impl ObservedQueue {
    pub fn new(queue: Arc<dyn Queue>, status: Arc<Status>) -> Self {
        Self { queue, status }
    }

    /// Anything but `Unavailable` is an answer.
    fn observe<T>(&self, dependency: Dependency, began: Instant, answer: &Result<T, QueueError>) {
        match answer {
            Err(error @ QueueError::Unavailable(_)) => {
                self.status.dependency_failed(dependency, began, &error.outage());
            }
            _ => self.status.dependency_answered(dependency),
        }
    }
}

#[async_trait]
impl Queue for ObservedQueue {
    /// The receive is the queue's own probe: it goes on being tried, and one that works ends an outage.
    async fn receive(&self, max: usize) -> Result<Vec<ReceivedMessage>, QueueError> {
        let began = Instant::now();
        let answer = self.queue.receive(max).await;
        match &answer {
            Ok(_) => self.status.dependency_up(Dependency::Queue),
            Err(_) => self.observe(Dependency::Queue, began, &answer),
        }
        answer
    }

    async fn change_visibility(&self, message: &MessageHandle, timeout: Duration) -> Result<(), QueueError> {
        let began = Instant::now();
        let answer = self.queue.change_visibility(message, timeout).await;
        self.observe(Dependency::Queue, began, &answer);
        answer
    }

    async fn change_visibility_batch(&self, changes: &[(MessageHandle, Duration)]) -> Vec<Result<(), QueueError>> {
        let began = Instant::now();
        let answers = self.queue.change_visibility_batch(changes).await;
        for answer in &answers {
            self.observe(Dependency::Queue, began, answer);
        }
        answers
    }

    async fn delete(&self, message: &MessageHandle) -> Result<(), QueueError> {
        let began = Instant::now();
        let answer = self.queue.delete(message).await;
        self.observe(Dependency::Queue, began, &answer);
        answer
    }

    async fn dead_letter(&self, message: &ReceivedMessage, failure: &Failure) -> Result<(), QueueError> {
        let began = Instant::now();
        let answer = self.queue.dead_letter(message, failure).await;
        match &answer {
            Ok(()) => self.status.dependency_up(Dependency::DeadLetterQueue),
            Err(_) => self.observe(Dependency::DeadLetterQueue, began, &answer),
        }
        answer
    }

    async fn send(&self, body: &str) -> Result<(), QueueError> {
        let began = Instant::now();
        let answer = self.queue.send(body).await;
        self.observe(Dependency::Queue, began, &answer);
        answer
    }

    async fn send_anew(&self, message: &ReceivedMessage, delay: Duration) -> Result<(), QueueError> {
        let began = Instant::now();
        let answer = self.queue.send_anew(message, delay).await;
        self.observe(Dependency::Queue, began, &answer);
        answer
    }

    fn max_receive_count(&self) -> Option<u32> {
        self.queue.max_receive_count()
    }

    async fn probe(&self) -> Result<QueueInfo, QueueError> {
        self.queue.probe().await
    }

    async fn probe_dead_letter(&self) -> Result<String, QueueError> {
        self.queue.probe_dead_letter().await
    }

    fn is_exhausted(&self) -> bool {
        self.queue.is_exhausted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Reason;
    use crate::queue::double::{Trouble, UnkindQueue};

    const VISIBILITY: Duration = Duration::from_secs(30);

    fn observed() -> (Arc<UnkindQueue>, Arc<Status>, ObservedQueue) {
        let queue = Arc::new(UnkindQueue::new(VISIBILITY));
        let status = Arc::new(Status::new(Duration::ZERO));
        let observed = ObservedQueue::new(Arc::clone(&queue) as Arc<dyn Queue>, Arc::clone(&status));
        (queue, status, observed)
    }

    #[tokio::test(start_paused = true)]
    async fn deletes_that_fail_in_a_row_are_an_outage_of_the_queue_and_a_receive_that_works_ends_it() {
        let (queue, status, observed) = observed();
        observed.send("{}").await.unwrap();
        let handle = observed.receive(1).await.unwrap()[0].handle();
        queue.order_delete_trouble(Trouble::FailNext(3));
        for expected_down in [false, false, true] {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(observed.delete(&handle).await.is_err());
            assert_eq!(status.is_down(Dependency::Queue), expected_down);
        }
        observed.receive(1).await.unwrap();
        assert!(!status.is_down(Dependency::Queue));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_of_extensions_that_gets_no_answer_is_one_failure() {
        let (queue, status, observed) = observed();
        queue.order_visibility_trouble(Trouble::FailNext(usize::MAX));
        let handle = MessageHandle { message_id: "a".to_owned(), receipt_handle: "b".to_owned() };
        let changes: Vec<_> = (0..10).map(|_| (handle.clone(), VISIBILITY)).collect();
        for expected_down in [false, false, true] {
            tokio::time::sleep(Duration::from_millis(1)).await;
            observed.change_visibility_batch(&changes).await;
            assert_eq!(status.is_down(Dependency::Queue), expected_down);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_letter_queue_is_a_dependency_of_its_own_and_a_copy_too_large_is_not_its_fault() {
        let (queue, status, observed) = observed();
        observed.send("{}").await.unwrap();
        let message = observed.receive(1).await.unwrap().remove(0);
        let failure = Failure::new(Reason::MalformedMessage, "x");
        queue.order_dead_letter_trouble(Trouble::FailNext(3));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            observed.dead_letter(&message, &failure).await.unwrap_err();
        }
        assert!(status.is_down(Dependency::DeadLetterQueue) && !status.is_down(Dependency::Queue));
        observed.dead_letter(&message, &failure).await.unwrap();
        assert!(!status.is_down(Dependency::DeadLetterQueue));
        let without = ObservedQueue::new(Arc::new(UnkindQueue::without_dead_letter_queue(VISIBILITY)), status.clone());
        without.dead_letter(&message, &failure).await.unwrap_err();
        assert!(!status.is_down(Dependency::DeadLetterQueue));
    }
}
