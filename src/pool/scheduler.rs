//! Which task a free child gets: one fair queue over all open documents. A pure decision, so that it can be tested.
//!
//! The child goes to the document with the fewest tasks in flight, ties to the one served longest ago: so a single
//! page overtakes a thousand, and a thousand pages alone use every child. Against that stands the cost of parsing a
//! large PDF anew, so a child stays with the document it has open for a small quantum.
//!
//! A document that has to be read alone comes before all others: what is in flight is finished, then one fresh child
//! reads it while the others rest.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::pool::work::{DocumentWork, Task};

/// Unique within this process.
pub type DocumentId = u64;

/// Tasks a child may do for its open document while others wait. Somewhat arbitrary: at a second a page, it is
/// what a document that comes in waits longer than it must.
pub const QUANTUM_TASKS: u32 = 4;

/// What must be known of a free child.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreeChild {
    pub open_document: Option<DocumentId>,
    /// Tasks done for `open_document` since the child was last given out fairly.
    pub tasks_in_a_row: u32,
    /// Nothing was read by it yet.
    pub is_fresh: bool,
}

/// What must be known of the other children.
#[derive(Clone, Debug, Default)]
pub struct OtherChildren {
    /// Documents that any child has open.
    pub open_documents: Vec<DocumentId>,
    /// A fresh child is there or on its way: retries wait for it.
    pub is_fresh_expected: bool,
}

/// A task given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub document: DocumentId,
    pub task: Task,
}

#[derive(Debug)]
struct Entry {
    work: DocumentWork,
    /// The count of picks when it was last picked.
    last_served: u64,
}

/// All open documents.
#[derive(Debug, Default)]
pub struct FairQueue {
    documents: BTreeMap<DocumentId, Entry>,
    picks: u64,
}

impl FairQueue {
    pub fn add(&mut self, document: DocumentId, work: DocumentWork) {
        // Never served, so first among equals.
        self.documents.insert(document, Entry { work, last_served: 0 });
    }

    pub fn remove(&mut self, document: DocumentId) -> Option<DocumentWork> {
        self.documents.remove(&document).map(|entry| entry.work)
    }

    pub fn get_mut(&mut self, document: DocumentId) -> Option<&mut DocumentWork> {
        self.documents.get_mut(&document).map(|entry| &mut entry.work)
    }

    pub fn contains(&self, document: DocumentId) -> bool {
        self.documents.contains_key(&document)
    }

    pub fn ids(&self) -> Vec<DocumentId> {
        self.documents.keys().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.documents.len()
    }

    pub fn pages_waiting(&self) -> u64 {
        self.documents.values().map(|entry| u64::from(entry.work.pages_waiting())).sum()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.documents.values().filter_map(|entry| entry.work.deadline()).min()
    }

    /// The document that has to be alone, if there is one: the oldest, until it is done.
    fn exclusive(&self) -> Option<DocumentId> {
        self.documents.iter().find(|(_, entry)| entry.work.is_exclusive()).map(|(document, _)| *document)
    }

    fn is_anything_in_flight(&self) -> bool {
        self.documents.values().any(|entry| entry.work.in_flight() > 0)
    }

    /// Whether a document waits for nothing but a fresh child to be alone in.
    pub fn wants_fresh_child(&self) -> bool {
        let begins = |document| self.documents.get(&document).is_some_and(|entry| !entry.work.has_begun());
        self.exclusive().is_some_and(begins) && !self.is_anything_in_flight()
    }

    /// One task at a time, in one child, which is fresh at the beginning.
    fn alone(&mut self, document: DocumentId, child: &FreeChild, others: &OtherChildren, now: Instant) -> Option<Pick> {
        if self.is_anything_in_flight() {
            return None;
        }
        let work = &self.documents.get(&document)?.work;
        if work.has_retry() {
            let may_retry = child.is_fresh || !others.is_fresh_expected;
            return if may_retry { self.pick(document, now, DocumentWork::take_retry) } else { None };
        }
        let has_it_open = child.open_document == Some(document);
        let may_go_on =
            if work.has_begun() { has_it_open || !others.open_documents.contains(&document) } else { child.is_fresh };
        if may_go_on { self.pick(document, now, DocumentWork::take) } else { None }
    }

    /// What the child would do without opening another document: a retry when it is fresh, or more of the
    /// document it has open. Asked for every free child before anyone is given work by [`FairQueue::fair`].
    pub fn preferred(&mut self, child: &FreeChild, others: &OtherChildren, now: Instant) -> Option<Pick> {
        if let Some(document) = self.exclusive() {
            return self.alone(document, child, others, now);
        }
        if child.is_fresh || !others.is_fresh_expected {
            let oldest = self.documents.iter().find(|(_, entry)| entry.work.has_retry());
            if let Some(document) = oldest.map(|(document, _)| *document) {
                return self.pick(document, now, DocumentWork::take_retry);
            }
        }
        let document = child.open_document.filter(|_| child.tasks_in_a_row < QUANTUM_TASKS)?;
        if !self.documents.get(&document)?.work.has_task(true) {
            return None;
        }
        self.pick(document, now, DocumentWork::take)
    }

    /// What the child does by fairness alone.
    pub fn fair(&mut self, child: &FreeChild, others: &OtherChildren, now: Instant) -> Option<Pick> {
        if let Some(document) = self.exclusive() {
            return self.alone(document, child, others, now);
        }
        let document = self
            .documents
            .iter()
            .filter(|(document, entry)| {
                let has_it_open = child.open_document == Some(**document);
                entry.work.has_task(has_it_open || !others.open_documents.contains(document))
            })
            .min_by_key(|(_, entry)| (entry.work.in_flight(), entry.last_served))
            .map(|(document, _)| *document)?;
        self.pick(document, now, DocumentWork::take)
    }

    fn pick(
        &mut self,
        document: DocumentId,
        now: Instant,
        take: fn(&mut DocumentWork, Instant) -> Option<Task>,
    ) -> Option<Pick> {
        let entry = self.documents.get_mut(&document)?;
        let task = take(&mut entry.work, now)?;
        self.picks += 1;
        entry.last_served = self.picks;
        Some(Pick { document, task })
    }
}

#[cfg(test)]
mod tests;
