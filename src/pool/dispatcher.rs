//! The task that owns the fair queue: takes documents in, gives tasks to free children, collects their answers,
//! watches the documents' clocks, and hands each document back when nothing is left to do for it.
//!
//! One task with plain data, so there is no lock and no order of events to wonder about. It never waits for a
//! child: an assignment goes only to a slot that is free, and a slot always answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::health::metrics::Counter;
use crate::pool::caller::Caller;
use crate::pool::dialogue::Answer;
use crate::pool::extraction::{Extraction, Source};
use crate::pool::protocol::{ChildReady, DocumentRef, PageSource, Request};
use crate::pool::scheduler::{DocumentId, FairQueue, FreeChild, OtherChildren, Pick};
use crate::pool::slot::{Assignment, End, Event, EventKind, SlotControls, StartError};
use crate::pool::snapshot::Counters;
use crate::pool::work::{DocumentLimits, DocumentWork, Task, TaskInFlight};

/// What the pool's users ask of the dispatcher.
pub enum Order {
    Extract {
        document: DocumentId,
        source: Source,
        /// Told when a page needs OCR; then the document waits for [`Order::Decide`].
        needs_ocr: Option<oneshot::Sender<()>>,
        reply: oneshot::Sender<Extraction>,
    },
    /// Whether the pages of a document are to be recognised; if not, it is handed back as it is.
    Decide { document: DocumentId, recognize: bool },
    /// Nobody waits for it any more: its pages are killed and dropped.
    Cancel { document: DocumentId },
    /// So many children get work from now on.
    SetWanted(usize),
    /// Every child is to be a fresh one.
    ReplaceChildren,
    #[cfg(test)]
    Misbehave(Misdeed),
}

/// A test's order to a child.
#[cfg(test)]
pub struct Misdeed {
    pub how: crate::pool::protocol::Misbehaviour,
    /// What the child said, or the verdict on it.
    pub reply: oneshot::Sender<Result<String, crate::document::Failure>>,
}

/// The generation that the pool starts with; it grows whenever all children have to be fresh ones.
pub const FIRST_GENERATION: u64 = 1;

/// What the dispatcher knows of a slot.
struct SlotView {
    controls: SlotControls,
    state: SlotState,
    child: FreeChild,
}

enum SlotState {
    /// A child is on its way.
    Starting,
    /// The last attempt to start a child failed.
    Broken,
    Idle,
    Busy(Job),
    /// No child is wanted here: the pool is smaller than it could be.
    Parked,
}

struct Job {
    kill: CancellationToken,
    kind: JobKind,
}

enum JobKind {
    Page {
        document: DocumentId,
        in_flight: TaskInFlight,
    },
    Close,
    #[cfg(test)]
    Misdeed {
        misdeed: Misdeed,
        said: String,
    },
}

pub struct Dispatcher {
    limits: DocumentLimits,
    queue: FairQueue,
    callers: BTreeMap<DocumentId, Caller>,
    slots: Vec<SlotView>,
    /// Slots that are not parked, once the busy ones have come to their end.
    wanted: usize,
    generation: u64,
    orders: mpsc::UnboundedReceiver<Order>,
    events: mpsc::Receiver<Event>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    #[cfg(test)]
    misdeeds: std::collections::VecDeque<Misdeed>,
}

/// The ends of the channels that the dispatcher holds.
pub struct DispatcherChannels {
    pub orders: mpsc::UnboundedReceiver<Order>,
    pub events: mpsc::Receiver<Event>,
    /// One per slot.
    pub slots: Vec<SlotControls>,
}

impl Dispatcher {
    pub fn new(
        limits: DocumentLimits,
        channels: DispatcherChannels,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Self {
        let DispatcherChannels { orders, events, slots } = channels;
        let starting = |controls| SlotView { controls, state: SlotState::Starting, child: FreeChild::default() };
        Self {
            limits,
            queue: FairQueue::default(),
            callers: BTreeMap::new(),
            wanted: slots.len(),
            generation: FIRST_GENERATION,
            slots: slots.into_iter().map(starting).collect(),
            orders,
            events,
            counters,
            stop,
            #[cfg(test)]
            misdeeds: std::collections::VecDeque::new(),
        }
    }

    /// Waits until every slot has a child; the first one that could not be started is the answer instead.
    pub async fn wait_until_ready(&mut self) -> Result<ChildReady, StartError> {
        let mut last_ready = None;
        loop {
            let is_starting = self.slots.iter().any(|slot| matches!(slot.state, SlotState::Starting));
            if let (false, Some(ready)) = (is_starting, last_ready.take()) {
                self.report_load();
                return Ok(ready);
            }
            let Some(event) = self.events.recv().await else { return Err(StartError::NotReady(NO_SLOTS.into())) };
            match event.kind {
                EventKind::StartFailed(error) => return Err(error),
                EventKind::Ready(ready) => {
                    self.child_ready(event.slot);
                    last_ready = Some(ready);
                }
                other => self.on_event(Event { slot: event.slot, kind: other }),
            }
        }
    }

    /// Works until the pool stops. Documents that are not done by then are dropped, and so answered `Cancelled`.
    pub async fn run(mut self) {
        loop {
            let next_deadline = self.queue.next_deadline();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(event) = self.events.recv() => self.on_event(event),
                order = self.orders.recv() => match order {
                    Some(order) => self.on_order(order),
                    None => return,
                },
                () = sleep_until(next_deadline) => self.expire(),
            }
            self.park_surplus();
            self.dispatch();
            self.report_load();
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Extract { document, source, needs_ocr, reply } => {
                let Source { spool_file, file_name, thumbnail, care, known_pages, observer } = source;
                let work = DocumentWork::new(self.limits, thumbnail).with_history(care, known_pages);
                let work = if needs_ocr.is_some() { work.undecided() } else { work };
                self.queue.add(document, work);
                let document_ref = DocumentRef { id: document, spool_file, file_name };
                self.callers.insert(document, Caller { document: document_ref, observer, needs_ocr, reply });
            }
            Order::Decide { document, recognize } => self.decide(document, recognize),
            Order::Cancel { document } => {
                self.callers.remove(&document);
                self.queue.remove(document);
                self.kill_jobs_of(document);
            }
            Order::SetWanted(children) => self.set_wanted(children),
            Order::ReplaceChildren => self.replace_children(),
            #[cfg(test)]
            Order::Misbehave(misdeed) => self.misdeeds.push_back(misdeed),
        }
    }

    fn decide(&mut self, document: DocumentId, recognize: bool) {
        let Some(work) = self.queue.get_mut(document) else { return };
        work.decide(recognize);
        if work.is_complete() {
            self.hand_back(document);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event.kind {
            EventKind::Ready(_) => self.child_ready(event.slot),
            EventKind::StartFailed(_) => self.child_changed(event.slot, SlotState::Broken, FreeChild::default()),
            EventKind::Lost => self.child_changed(event.slot, SlotState::Starting, FreeChild::default()),
            EventKind::Answer(answer) => self.on_answer(event.slot, answer),
            EventKind::Ended(end) => self.on_end(event.slot, end),
        }
    }

    fn child_ready(&mut self, slot: usize) {
        self.child_changed(slot, SlotState::Idle, FreeChild { is_fresh: true, ..FreeChild::default() });
    }

    /// The slot has another child, or none. If an assignment crossed this news on its way to the slot, the job
    /// stands: the slot will answer it, with a new child or by giving it back. News of the last child of a parked
    /// slot is old news.
    fn child_changed(&mut self, slot: usize, state: SlotState, child: FreeChild) {
        if let Some(view) = self.slots.get_mut(slot)
            && !matches!(view.state, SlotState::Busy(_) | SlotState::Parked)
        {
            view.state = state;
            view.child = child;
        }
    }

    fn on_answer(&mut self, slot: usize, answer: Answer) {
        let Some(SlotState::Busy(job)) = self.slots.get_mut(slot).map(|view| &mut view.state) else { return };
        match &mut job.kind {
            JobKind::Page { document, in_flight } => {
                if let Answer::Page(page) = &answer {
                    self.counters.page_done(page.source);
                    if matches!(page.source, PageSource::Ocr | PageSource::Both) {
                        self.counters.ocr_cost(page.cost_ms);
                        Counter::PagesRecognized.add(1, &[]);
                    }
                }
                let (Some(work), Some(caller)) = (self.queue.get_mut(*document), self.callers.get_mut(document)) else {
                    return;
                };
                if let (Task::Recognize { .. }, Answer::Page(page)) = (in_flight.task, &answer) {
                    caller.tell_page(page);
                }
                work.answer(in_flight, answer, Instant::now());
                caller.tell_progress(work.progress());
                if work.is_holding_pages() {
                    caller.ask();
                }
            }
            JobKind::Close => {}
            #[cfg(test)]
            JobKind::Misdeed { said, .. } => {
                if let Answer::Page(page) = answer {
                    *said = page.text;
                }
            }
        }
    }

    fn on_end(&mut self, slot: usize, end: End) {
        let Some(view) = self.slots.get_mut(slot) else { return };
        let next_state = match end {
            End::Finished { child_leaves: false } => SlotState::Idle,
            End::Finished { child_leaves: true } | End::Died(_) | End::Killed | End::NotStarted => {
                view.child = FreeChild::default();
                SlotState::Starting
            }
        };
        let SlotState::Busy(job) = std::mem::replace(&mut view.state, next_state) else { return };
        match job.kind {
            JobKind::Page { document, in_flight } => {
                if in_flight.has_read_whole() {
                    view.child.open_document = None;
                }
                self.page_ended(document, in_flight, end);
            }
            JobKind::Close => {}
            #[cfg(test)]
            JobKind::Misdeed { misdeed, said } => match end {
                End::Died(failure) => drop(misdeed.reply.send(Err(failure))),
                End::NotStarted => self.misdeeds.push_front(misdeed),
                End::Finished { .. } | End::Killed => drop(misdeed.reply.send(Ok(said))),
            },
        }
    }

    fn page_ended(&mut self, document: DocumentId, in_flight: TaskInFlight, end: End) {
        let now = Instant::now();
        // Cancelled or out of time: what its children still say is of no interest.
        let (Some(work), Some(caller)) = (self.queue.get_mut(document), self.callers.get_mut(&document)) else {
            return;
        };
        let pages_done_before = work.progress().pages_done;
        match end {
            End::Finished { .. } => work.finished(in_flight, now),
            End::Died(failure) => {
                if !in_flight.is_thumbnail() {
                    caller.tell_guilt(&failure);
                }
                work.died(in_flight, failure, now);
            }
            End::Killed | End::NotStarted => work.not_started(in_flight, now),
        }
        let progress = work.progress();
        if progress.pages_done > pages_done_before {
            self.counters.page_done(PageSource::Failed);
        }
        caller.tell_progress(progress);
        if work.is_holding_pages() {
            caller.ask();
        }
        if work.is_complete() {
            self.hand_back(document);
        }
    }

    fn hand_back(&mut self, document: DocumentId) {
        let (Some(work), Some(caller)) = (self.queue.remove(document), self.callers.remove(&document)) else { return };
        // Whoever waited may have gone in this moment; then nobody wants it.
        let _ = caller.reply.send(work.into_extraction());
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for document in self.queue.ids() {
            if self.queue.get_mut(document).is_some_and(|work| work.expire(now)) {
                self.hand_back(document);
                self.kill_jobs_of(document);
            }
        }
    }

    fn kill_jobs_of(&self, of_document: DocumentId) {
        for slot in &self.slots {
            if let SlotState::Busy(Job { kill, kind: JobKind::Page { document, .. } }) = &slot.state
                && *document == of_document
            {
                kill.cancel();
            }
        }
    }

    /// Gives work to every free child: first what each would rather do, then what is fair; who is still free
    /// forgets a document that is done.
    fn dispatch(&mut self) {
        let now = Instant::now();
        #[cfg(test)]
        self.dispatch_misdeeds();
        for number in self.free_slots() {
            let others = self.other_children();
            let child = self.slots[number].child;
            if let Some(pick) = self.queue.preferred(&child, &others, now) {
                self.give(number, pick);
            }
        }
        for number in self.free_slots() {
            let others = self.other_children();
            let child = self.slots[number].child;
            if let Some(pick) = self.queue.fair(&child, &others, now) {
                self.slots[number].child.tasks_in_a_row = 0;
                self.give(number, pick);
            }
        }
        if self.queue.wants_fresh_child() && !self.other_children().is_fresh_expected {
            self.refresh_one();
        }
        for number in self.free_slots() {
            let open_document = self.slots[number].child.open_document;
            if open_document.is_some_and(|document| !self.queue.contains(document)) {
                self.slots[number].child.open_document = None;
                self.assign(number, Request::Close, JobKind::Close);
            }
        }
    }

    #[cfg(test)]
    fn dispatch_misdeeds(&mut self) {
        for number in self.free_slots() {
            let Some(misdeed) = self.misdeeds.pop_front() else { return };
            let request = Request::Misbehave { how: misdeed.how };
            self.slots[number].child.is_fresh = false;
            self.assign(number, request, JobKind::Misdeed { misdeed, said: String::new() });
        }
    }

    /// Has one idle child replaced, so that a document that must not meet others' remains has a fresh one.
    fn refresh_one(&mut self) {
        let Some(number) = self.free_slots().first().copied() else { return };
        self.slots[number].child.open_document = None;
        self.assign(number, Request::Close, JobKind::Close);
        if let SlotState::Busy(job) = &self.slots[number].state {
            job.kill.cancel();
        }
    }

    fn set_wanted(&mut self, children: usize) {
        self.wanted = children.clamp(1, self.slots.len());
        let missing = self.wanted.saturating_sub(self.slots_in_use());
        let parked = self.slots.iter_mut().filter(|slot| matches!(slot.state, SlotState::Parked));
        for slot in parked.take(missing) {
            slot.state = SlotState::Starting;
            slot.controls.wanted.send_replace(Some(self.generation));
        }
    }

    /// Ends surplus children that have nothing to do; the busy ones are looked at again when they are done.
    fn park_surplus(&mut self) {
        let surplus = self.slots_in_use().saturating_sub(self.wanted);
        let free = |slot: &&mut SlotView| !matches!(slot.state, SlotState::Busy(_) | SlotState::Parked);
        for slot in self.slots.iter_mut().rev().filter(free).take(surplus) {
            slot.state = SlotState::Parked;
            slot.child = FreeChild::default();
            slot.controls.wanted.send_replace(None);
        }
    }

    fn replace_children(&mut self) {
        self.generation += 1;
        for slot in self.slots.iter_mut().filter(|slot| !matches!(slot.state, SlotState::Parked)) {
            slot.controls.wanted.send_replace(Some(self.generation));
            match &slot.state {
                SlotState::Busy(job) => job.kill.cancel(),
                _ => {
                    slot.state = SlotState::Starting;
                    slot.child = FreeChild::default();
                }
            }
        }
    }

    fn slots_in_use(&self) -> usize {
        self.slots.iter().filter(|slot| !matches!(slot.state, SlotState::Parked)).count()
    }

    fn free_slots(&self) -> Vec<usize> {
        let is_free = |number: &usize| matches!(self.slots[*number].state, SlotState::Idle);
        (0..self.slots.len()).filter(is_free).collect()
    }

    fn other_children(&self) -> OtherChildren {
        OtherChildren {
            open_documents: self.slots.iter().filter_map(|slot| slot.child.open_document).collect(),
            is_fresh_expected: self.slots.iter().any(|slot| match slot.state {
                SlotState::Starting => true,
                SlotState::Idle => slot.child.is_fresh,
                SlotState::Broken | SlotState::Busy(_) | SlotState::Parked => false,
            }),
        }
    }

    fn give(&mut self, number: usize, pick: Pick) {
        let Some(caller) = self.callers.get(&pick.document) else { return };
        caller.tell_started();
        let request = pick.task.request(caller.document.clone());
        let child = &mut self.slots[number].child;
        if child.open_document != Some(pick.document) {
            child.tasks_in_a_row = 0;
        }
        child.open_document = Some(pick.document);
        child.tasks_in_a_row += 1;
        child.is_fresh = false;
        let in_flight = TaskInFlight::new(pick.task);
        self.assign(number, request, JobKind::Page { document: pick.document, in_flight });
    }

    fn assign(&mut self, number: usize, request: Request, kind: JobKind) {
        let slot = &mut self.slots[number];
        let kill = CancellationToken::new();
        let assignment = Assignment { request, kill: kill.clone() };
        slot.state = SlotState::Busy(Job { kill, kind });
        // The slot is free, so its channel of one is empty; it is closed only when the pool stops.
        let _ = slot.controls.assignments.try_send(assignment);
    }

    fn report_load(&self) {
        let children = self.slots.iter().filter(|slot| matches!(slot.state, SlotState::Idle | SlotState::Busy(_)));
        let busy = self.slots.iter().filter(|slot| matches!(slot.state, SlotState::Busy(_)));
        self.counters.set_load(children.count(), busy.count(), self.queue.len(), self.queue.pages_waiting());
        self.counters.set_wanted(self.wanted);
    }
}

/// Said when the pool is told to stop while it starts.
const NO_SLOTS: &str = "the pool stopped before its child processes were ready";

async fn sleep_until(deadline: Option<Instant>) {
    /// Documents set the deadlines; without one there is nothing to wake up for.
    const NO_DEADLINE: Duration = Duration::from_secs(3600);
    let deadline = deadline.unwrap_or_else(|| Instant::now() + NO_DEADLINE);
    tokio::time::sleep_until(deadline.into()).await;
}
