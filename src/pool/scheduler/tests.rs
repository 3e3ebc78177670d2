//! Fairness, played through with children that take no time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::pool::child::failed_page;
use crate::pool::dialogue::Answer;
use crate::pool::extraction::Care;
use crate::pool::protocol::{Effort, Opened};
use crate::pool::work::{DocumentLimits, TaskInFlight};

const LIMITS: DocumentLimits = DocumentLimits {
    max_pages: 1000,
    progress_timeout: Duration::from_secs(300),
    total_timeout: Duration::from_secs(7200),
};

/// Some children and the queue in front of them.
struct Game {
    queue: FairQueue,
    children: Vec<FreeChild>,
    busy: BTreeMap<usize, (DocumentId, TaskInFlight)>,
    now: Instant,
}

impl Game {
    fn new(children: usize) -> Self {
        let children = vec![FreeChild::default(); children];
        Self { queue: FairQueue::default(), children, busy: BTreeMap::new(), now: Instant::now() }
    }

    /// A scan of so many pages that is open already.
    fn add_open(&mut self, document: DocumentId, pages: u32) {
        self.add(document, pages, false);
    }

    fn add(&mut self, document: DocumentId, pages: u32, thumbnail: bool) {
        let mut work = DocumentWork::new(LIMITS, thumbnail);
        let mut opening = TaskInFlight::new(work.take(self.now).unwrap());
        work.answer(&mut opening, Answer::Opened(scan(pages)), self.now);
        work.finished(opening, self.now);
        self.queue.add(document, work);
    }

    fn others(&self) -> OtherChildren {
        let open_documents = self.children.iter().filter_map(|child| child.open_document).collect();
        OtherChildren { open_documents, is_fresh_expected: false }
    }

    /// As the dispatcher does: preferences first, then fairness.
    fn dispatch(&mut self) {
        for is_fair in [false, true] {
            for number in 0..self.children.len() {
                if self.busy.contains_key(&number) {
                    continue;
                }
                let (others, child) = (self.others(), self.children[number]);
                let pick = match is_fair {
                    false => self.queue.preferred(&child, &others, self.now),
                    true => self.queue.fair(&child, &others, self.now),
                };
                let Some(Pick { document, task }) = pick else { continue };
                let tasks_in_a_row = if is_fair { 1 } else { child.tasks_in_a_row + 1 };
                self.children[number] = FreeChild { open_document: Some(document), tasks_in_a_row, is_fresh: false };
                self.busy.insert(number, (document, TaskInFlight::new(task)));
            }
        }
    }

    fn finish(&mut self, number: usize) {
        let (document, mut in_flight) = self.busy.remove(&number).unwrap();
        let Some(work) = self.queue.get_mut(document) else { return };
        if let Task::Recognize { page, .. } = in_flight.task {
            let failure = crate::document::Failure::new(crate::document::Reason::Corrupt, "");
            work.answer(&mut in_flight, Answer::Page(failed_page(page, failure)), self.now);
        }
        work.finished(in_flight, self.now);
    }

    /// Documents that the children have, in order of the children.
    fn served(&self) -> Vec<DocumentId> {
        self.busy.values().map(|(document, _)| *document).collect()
    }
}

fn scan(page_count: u32) -> Opened {
    Opened {
        mime_type: "application/pdf".into(),
        page_count,
        paginated: true,
        has_text_layer: false,
        metadata: BTreeMap::new(),
    }
}

#[test]
fn a_thousand_pages_alone_use_every_child() {
    let mut game = Game::new(4);
    game.add_open(1, 1000);
    game.dispatch();
    assert_eq!(game.served(), [1, 1, 1, 1]);
}

#[test]
fn a_single_page_overtakes_a_thousand_within_a_quantum() {
    let mut game = Game::new(1);
    game.add_open(1, 1000);
    game.dispatch();
    game.add_open(2, 1);
    let mut tasks_before = 0;
    while game.served() == [1] {
        tasks_before += 1;
        game.finish(0);
        game.dispatch();
    }
    assert_eq!(game.served(), [2]);
    assert_eq!(tasks_before, QUANTUM_TASKS);
}

#[test]
fn two_long_documents_share_the_children() {
    let mut game = Game::new(2);
    game.add_open(1, 1000);
    game.add_open(2, 1000);
    game.dispatch();
    assert_eq!(game.served(), [1, 2]);
}

#[test]
fn many_documents_take_turns_on_one_child() {
    let mut game = Game::new(1);
    for document in 1..=3 {
        game.add_open(document, 1000);
    }
    let mut turns: BTreeMap<DocumentId, u32> = BTreeMap::new();
    game.dispatch();
    for _ in 0..3 * QUANTUM_TASKS * 5 {
        *turns.entry(game.served()[0]).or_default() += 1;
        game.finish(0);
        game.dispatch();
    }
    assert_eq!(turns.into_values().collect::<Vec<_>>(), [QUANTUM_TASKS * 5; 3]);
}

#[test]
fn a_cancelled_document_gets_no_more_children() {
    let mut game = Game::new(2);
    game.add_open(1, 1000);
    game.dispatch();
    game.queue.remove(1);
    game.add_open(2, 3);
    game.finish(0);
    game.finish(1);
    game.dispatch();
    assert_eq!(game.served(), [2, 2]);
    assert_eq!(game.queue.pages_waiting(), 1);
}

#[test]
fn a_retry_waits_for_a_fresh_child_and_comes_first_there() {
    let mut game = Game::new(1);
    game.add_open(1, 1);
    game.dispatch();
    let (document, in_flight) = game.busy.remove(&0).unwrap();
    let crash = crate::document::Failure::new(crate::document::Reason::Crashed, "");
    game.queue.get_mut(document).unwrap().died(in_flight, crash, game.now);
    game.add_open(2, 1000);
    let expecting_fresh = OtherChildren { open_documents: vec![], is_fresh_expected: true };
    let used = FreeChild::default();
    assert_eq!(game.queue.preferred(&used, &expecting_fresh, game.now), None);
    assert_eq!(game.queue.fair(&used, &expecting_fresh, game.now).unwrap().document, 2);
    let fresh = FreeChild { is_fresh: true, ..FreeChild::default() };
    let task = Task::Recognize { page: 1, effort: Effort::Reduced };
    assert_eq!(game.queue.preferred(&fresh, &expecting_fresh, game.now), Some(Pick { document: 1, task }));
}

#[test]
fn without_any_fresh_child_in_sight_a_used_one_takes_the_retry() {
    let mut game = Game::new(1);
    game.add_open(1, 1);
    game.dispatch();
    let (document, in_flight) = game.busy.remove(&0).unwrap();
    let crash = crate::document::Failure::new(crate::document::Reason::Crashed, "");
    game.queue.get_mut(document).unwrap().died(in_flight, crash, game.now);
    game.dispatch();
    assert_eq!(game.served(), [1]);
}

#[test]
fn the_thumbnail_is_left_to_a_child_that_has_the_document_open() {
    let mut game = Game::new(2);
    game.add(1, 1, true);
    game.dispatch();
    // The second child has nothing to do: the picture waits for the first, which has parsed the file.
    assert_eq!(game.busy.keys().collect::<Vec<_>>(), [&0]);
    game.finish(0);
    game.dispatch();
    assert_eq!(game.busy[&0].1.task, Task::Thumbnail);
}

#[test]
fn the_thumbnail_is_anyone_s_when_no_child_has_the_document_open() {
    let mut game = Game::new(2);
    game.add(1, 1, true);
    game.dispatch();
    game.finish(0);
    game.children[0] = FreeChild::default();
    game.dispatch();
    assert_eq!(game.busy[&0].1.task, Task::Thumbnail);
}

fn careful(document: DocumentId, game: &mut Game) {
    let work = DocumentWork::new(LIMITS, false).with_history(Care::Alone, Vec::new());
    game.queue.add(document, work);
}

#[test]
fn a_document_that_must_be_alone_waits_for_the_others_pages_and_for_a_fresh_child_and_then_the_others_wait() {
    let mut game = Game::new(2);
    game.add_open(1, 1000);
    game.dispatch();
    careful(2, &mut game);
    game.finish(0);
    game.dispatch();
    assert_eq!(game.served(), [1], "the other child still has a page of another document");
    assert!(!game.queue.wants_fresh_child());
    game.finish(1);
    game.dispatch();
    assert_eq!(game.served(), [] as [DocumentId; 0], "both children have seen another document");
    assert!(game.queue.wants_fresh_child());

    game.children[1] = FreeChild { is_fresh: true, ..FreeChild::default() };
    game.dispatch();
    assert_eq!(game.served(), [2], "nobody else gets anything meanwhile");
    assert_eq!(game.busy[&1].1.task, Task::Open { effort: Effort::Reduced, whole: false });
}

#[test]
fn when_the_document_that_must_be_alone_is_done_the_others_go_on() {
    let mut game = Game::new(2);
    careful(1, &mut game);
    game.add_open(2, 10);
    game.children[0] = FreeChild { is_fresh: true, ..FreeChild::default() };
    game.dispatch();
    assert_eq!(game.served(), [1]);
    game.queue.remove(1);
    game.finish(0);
    game.dispatch();
    assert_eq!(game.served(), [2, 2]);
}
