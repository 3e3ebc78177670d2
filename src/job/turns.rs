//! Whose turn it is at an object: jobs of this daemon about the same object go one after the other.
//!
//! Duplicates are usual (at-least-once delivery, producers that tell twice) and come close together. Side by side each
//! would read the document; in turn the second finds the first one's work and is done. Other daemons know nothing of
//! it, and need not: doing a document twice is harmless, only dear.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Name = (String, String);

/// Everybody's turns.
#[derive(Debug, Default)]
pub struct Turns {
    objects: Arc<Mutex<HashMap<Name, Arc<AsyncMutex<()>>>>>,
}

/// It is this job's turn until it drops this.
#[derive(Debug)]
pub struct Turn {
    name: Name,
    objects: Arc<Mutex<HashMap<Name, Arc<AsyncMutex<()>>>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until no other job is at the object; in the order of asking.
    pub async fn take(&self, bucket: &str, key: &str) -> Turn {
        let name = (bucket.to_owned(), key.to_owned());
        // Made before waiting, so that a wait that is given up tidies up, too.
        let mut turn = Turn { name, objects: Arc::clone(&self.objects), held: None };
        let object = Arc::clone(locked(&self.objects).entry(turn.name.clone()).or_default());
        turn.held = Some(object.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut objects = locked(&self.objects);
        // Nobody else has it: the map's own is the only one left.
        if objects.get(&self.name).is_some_and(|object| Arc::strong_count(object) == 1) {
            objects.remove(&self.name);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_object_at_a_time_and_others_beside_it() {
        let turns = Turns::default();
        let first = turns.take("bucket", "a").await;
        let _other = turns.take("bucket", "b").await;
        let second = turns.take("bucket", "a");
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        assert_eq!(locked(&turns.objects).len(), 2);
        drop(second);
        assert_eq!(locked(&turns.objects).len(), 1, "what nobody is at is forgotten");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take("bucket", "a").await;
        {
            let waiting = turns.take("bucket", "a");
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
        }
        drop(first);
        assert!(locked(&turns.objects).is_empty());
    }
}
