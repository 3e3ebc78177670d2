//! One open document's way through the children: what is left to do, what came back, and when it has taken too
//! long. Plain data; the clock is handed in.
//!
//! The way: open → survey the pages that may have text of their own → recognise those that need it → thumbnail.
//! Recognising starts while the survey still runs, or, where somebody wants to be asked first, with the answer. A running
//! text is opened, surveyed and shown in one task. A task that killed its child is tried once more in a fresh child with
//! less effort; the second time its page has failed, or, when it was the opening, the document. A document with guilty
//! attempts behind it (see `job::attempt`) begins with less.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::document::{Failure, Reason};
use crate::pool::assembly::Assembly;
use crate::pool::dialogue::Answer;
use crate::pool::extraction::{Care, Extraction};
use crate::pool::protocol::{DocumentRef, Effort, Opened, Page, Request};
use crate::pool::ranges::PageRanges;

/// Text layers are read in milliseconds: so many pages a frame keep the talking cheap, and few enough are lost
/// to one child that another could have had.
pub const SURVEY_PAGES: u32 = 16;

/// One thing that a child does for a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// `whole`: a running text is surveyed and shown in the same go.
    Open {
        effort: Effort,
        whole: bool,
    },
    Survey {
        first: u32,
        count: u32,
    },
    Recognize {
        page: u32,
        effort: Effort,
    },
    Thumbnail,
}

impl Task {
    pub fn request(&self, document: DocumentRef) -> Request {
        match *self {
            Task::Open { whole, .. } => Request::Open { document, whole },
            Task::Survey { first, count } => Request::Survey { document, first, count },
            Task::Recognize { page, effort } => Request::Recognize { document, page, effort },
            Task::Thumbnail => Request::Thumbnail { document },
        }
    }
}

/// A task that a child has, and how far it came.
#[derive(Debug)]
pub struct TaskInFlight {
    pub task: Task,
    answered_pages: u32,
    /// Known only when the child is done with opening, so that the child that has the document open is free
    /// when its pages are given out.
    opened: Option<Opened>,
    /// The only page of a running text, found by its opening to be a picture. Kept back for the same reason.
    needs_ocr: bool,
    is_shown: bool,
}

impl TaskInFlight {
    pub fn new(task: Task) -> Self {
        Self { task, answered_pages: 0, opened: None, needs_ocr: false, is_shown: false }
    }

    /// Nothing but the thumbnail is still to come; its failure never fails the document (contract §3).
    pub fn is_thumbnail(&self) -> bool {
        match self.task {
            Task::Thumbnail => true,
            Task::Open { .. } => self.answered_pages > 0,
            Task::Survey { .. } | Task::Recognize { .. } => false,
        }
    }

    /// The child has read all of the document in its opening, and forgotten it.
    pub fn has_read_whole(&self) -> bool {
        matches!(self.task, Task::Open { .. }) && self.is_shown
    }
}

/// How long a document may take and how much of it is read.
#[derive(Clone, Copy, Debug)]
pub struct DocumentLimits {
    /// `MAX_PDF_PAGES`
    pub max_pages: u32,
    /// `PROCESSING_TIMEOUT`: in the children's hands without a finished page
    pub progress_timeout: Duration,
    /// `PROCESSING_TIMEOUT_TOTAL`: since the first child had it
    pub total_timeout: Duration,
}

/// How far a document is, for a progress bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub pages_done: u32,
    /// Zero until the document is open.
    pub pages_total: u32,
}

/// A document on its way.
#[derive(Debug)]
pub struct DocumentWork {
    limits: DocumentLimits,
    to_open: bool,
    to_survey: PageRanges,
    to_recognize: PageRanges,
    thumbnail_wanted: bool,
    /// Tasks that killed a child; only a fresh one takes them.
    retries: VecDeque<Task>,
    in_flight: usize,
    is_open: bool,
    pages_total: u32,
    assembly: Assembly,
    clock: Clock,
    care: Care,
    known_pages: Vec<Page>,
    recognition: Recognition,
}

/// Whether pages are to be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recognition {
    Wanted,
    /// Nobody has said yet.
    Undecided,
    /// No, and nothing else is wanted either: what the children have is finished, and that is all.
    Unwanted,
}

impl DocumentWork {
    pub fn new(limits: DocumentLimits, thumbnail_wanted: bool) -> Self {
        Self {
            limits,
            to_open: true,
            to_survey: PageRanges::default(),
            to_recognize: PageRanges::default(),
            thumbnail_wanted,
            retries: VecDeque::new(),
            in_flight: 0,
            is_open: false,
            pages_total: 0,
            assembly: Assembly::default(),
            clock: Clock::default(),
            care: Care::Normal,
            known_pages: Vec::new(),
            recognition: Recognition::Wanted,
        }
    }

    /// Recognises nothing before [`DocumentWork::decide`], and makes no thumbnail if there is something to recognise.
    pub fn undecided(mut self) -> Self {
        self.recognition = Recognition::Undecided;
        self
    }

    /// Whether pages wait for nothing but [`DocumentWork::decide`].
    pub fn is_holding_pages(&self) -> bool {
        self.recognition == Recognition::Undecided && !self.to_recognize.is_empty()
    }

    /// Whether pages are to be recognised. If not, nothing more is done for the document.
    pub fn decide(&mut self, recognize: bool) {
        self.recognition = if recognize { Recognition::Wanted } else { Recognition::Unwanted };
    }

    fn is_left(&self) -> bool {
        self.recognition == Recognition::Unwanted
    }

    /// With pages that need not be read any more.
    pub fn with_history(mut self, care: Care, known_pages: Vec<Page>) -> Self {
        self.care = care;
        self.known_pages = known_pages;
        self
    }

    /// Whether no other document may be read meanwhile.
    pub fn is_exclusive(&self) -> bool {
        self.care.is_exclusive()
    }

    /// Whether a child has had some of it.
    pub fn has_begun(&self) -> bool {
        self.clock.first_start.is_some()
    }

    fn effort(&self) -> Effort {
        if self.is_exclusive() { Effort::Reduced } else { Effort::Normal }
    }

    /// Tasks that children have of this document.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn has_retry(&self) -> bool {
        !self.retries.is_empty() && !self.is_left()
    }

    /// Whether a child could do something now. The thumbnail waits for a child that has the document open,
    /// unless none has: otherwise it would be parsed once more for a picture.
    pub fn has_task(&self, may_make_thumbnail: bool) -> bool {
        let has_any = self.to_open || self.has_pages_waiting() || (self.is_thumbnail_due() && may_make_thumbnail);
        has_any && !self.is_left()
    }

    fn has_pages_waiting(&self) -> bool {
        !self.to_survey.is_empty() || self.pages_to_recognize() > 0
    }

    fn pages_to_recognize(&self) -> u32 {
        if self.recognition == Recognition::Wanted { self.to_recognize.len() } else { 0 }
    }

    fn is_thumbnail_due(&self) -> bool {
        self.is_open && self.thumbnail_wanted && !self.is_holding_pages()
    }

    /// Pages that no child has yet; a document that is not open counts as one.
    pub fn pages_waiting(&self) -> u32 {
        if self.is_left() {
            return 0;
        }
        let retries = u32::try_from(self.retries.len()).unwrap_or(u32::MAX);
        let known = self.to_survey.len().saturating_add(self.pages_to_recognize());
        known.saturating_add(retries).saturating_add(u32::from(self.to_open))
    }

    /// Takes the next task: the caller gives it to a child and reports what became of it.
    pub fn take(&mut self, now: Instant) -> Option<Task> {
        let task = if self.is_left() { None } else { self.next_task() }?;
        self.dispatched(now);
        Some(task)
    }

    fn next_task(&mut self) -> Option<Task> {
        if std::mem::take(&mut self.to_open) {
            let whole = self.thumbnail_wanted && self.known_pages.is_empty() && matches!(self.care, Care::Normal);
            return Some(Task::Open { effort: self.effort(), whole });
        }
        if let Some((first, count)) = self.to_survey.take(SURVEY_PAGES) {
            return Some(Task::Survey { first, count });
        }
        if self.recognition == Recognition::Wanted
            && let Some((page, _)) = self.to_recognize.take(1)
        {
            return Some(Task::Recognize { page, effort: self.effort() });
        }
        if self.is_thumbnail_due() {
            self.thumbnail_wanted = false;
            return Some(Task::Thumbnail);
        }
        None
    }

    /// Takes a task for a fresh child.
    pub fn take_retry(&mut self, now: Instant) -> Option<Task> {
        let task = self.retries.pop_front()?;
        self.dispatched(now);
        Some(task)
    }

    fn dispatched(&mut self, now: Instant) {
        self.in_flight += 1;
        self.clock.start(now);
    }

    fn returned(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.clock.pause(now);
        }
    }

    /// A child answered. Every answer is progress, also "this page cannot be read".
    pub fn answer(&mut self, in_flight: &mut TaskInFlight, answer: Answer, now: Instant) {
        self.clock.progress(now);
        match answer {
            Answer::Opened(opened) => in_flight.opened = Some(opened),
            Answer::Page(page) => {
                in_flight.answered_pages += 1;
                self.assembly.page(page);
            }
            Answer::NeedsOcr(_) if matches!(in_flight.task, Task::Open { .. }) => {
                in_flight.answered_pages += 1;
                in_flight.needs_ocr = true;
            }
            Answer::NeedsOcr(page) => {
                in_flight.answered_pages += 1;
                self.recognize_or_fail(page);
            }
            Answer::Thumbnail(jpeg) => {
                in_flight.is_shown = true;
                self.thumbnail_wanted = false;
                self.assembly.thumbnail(jpeg);
            }
            Answer::DocumentFailed { failure, mime_type } => {
                self.thumbnail_wanted = false;
                self.assembly.mime_type(mime_type);
                self.assembly.failed(failure);
            }
        }
    }

    /// The child is done with the task.
    pub fn finished(&mut self, in_flight: TaskInFlight, now: Instant) {
        self.returned(now);
        self.plan_after(in_flight);
    }

    fn plan_after(&mut self, in_flight: TaskInFlight) {
        if let Some(opened) = in_flight.opened {
            self.plan(opened, in_flight.answered_pages);
        }
        if in_flight.needs_ocr {
            self.recognize_or_fail(1);
        }
    }

    /// What is left to do after the opening, which may have answered for the first pages.
    fn plan(&mut self, opened: Opened, answered_pages: u32) {
        self.is_open = true;
        self.pages_total = opened.page_count.min(self.limits.max_pages);
        let mut unread = PageRanges::default();
        let known: BTreeSet<u32> = self.known_pages.iter().map(|page| page.number).collect();
        let unanswered = answered_pages.saturating_add(1)..=self.pages_total;
        unanswered.filter(|page| !known.contains(page)).for_each(|page| unread.push(page));
        for page in std::mem::take(&mut self.known_pages) {
            if (1..=self.pages_total).contains(&page.number) {
                self.assembly.page(page);
            }
        }
        if opened.has_text_layer {
            self.to_survey = unread;
        } else {
            while let Some((page, _)) = unread.take(1) {
                self.recognize_or_fail(page);
            }
        }
        let all_pages = opened.page_count;
        self.assembly.opened(opened);
        if all_pages > self.limits.max_pages {
            let detail = format!("only the first {} of {all_pages} pages were read", self.limits.max_pages);
            self.assembly.failed(Failure::new(Reason::TooManyPages, detail));
        }
    }

    fn recognize_or_fail(&mut self, page: u32) {
        match &self.care {
            Care::Normal | Care::Alone => self.to_recognize.push(page),
            Care::TextLayerOnly(failure) => {
                self.assembly.failed_page(page, explain(&format!("page {page}"), failure.clone()))
            }
        }
    }

    /// The child did not start with the task: it goes back to where it came from.
    pub fn not_started(&mut self, in_flight: TaskInFlight, now: Instant) {
        self.returned(now);
        match in_flight.task {
            Task::Open { effort: Effort::Normal, .. } => self.to_open = true,
            Task::Survey { first, count } => self.to_survey.put_back(first, count),
            Task::Recognize { page, effort: Effort::Normal } => self.to_recognize.put_back(page, 1),
            Task::Thumbnail => self.thumbnail_wanted = true,
            retry @ (Task::Open { effort: Effort::Reduced, .. } | Task::Recognize { effort: Effort::Reduced, .. }) => {
                self.retries.push_front(retry);
            }
        }
    }

    /// The task killed its child. The page that was next is guilty; those behind it in a run are not.
    pub fn died(&mut self, in_flight: TaskInFlight, failure: Failure, now: Instant) {
        self.returned(now);
        match in_flight.task {
            Task::Open { effort: Effort::Normal, .. } if in_flight.is_thumbnail() => {
                self.thumbnail_wanted = false;
                self.plan_after(in_flight);
            }
            Task::Open { effort: Effort::Normal, .. } => {
                self.retries.push_back(Task::Open { effort: Effort::Reduced, whole: false });
            }
            Task::Open { effort: Effort::Reduced, .. } => {
                self.thumbnail_wanted = false;
                self.assembly.failed(explain("opening the file", failure));
            }
            Task::Survey { first, count } => {
                let left = count.saturating_sub(in_flight.answered_pages);
                if left == 0 {
                    return;
                }
                let guilty = first + in_flight.answered_pages;
                match self.care {
                    Care::TextLayerOnly(_) => {
                        self.assembly.failed_page(guilty, explain(&format!("page {guilty}"), failure))
                    }
                    Care::Normal | Care::Alone => {
                        self.retries.push_back(Task::Recognize { page: guilty, effort: Effort::Reduced });
                    }
                }
                self.to_survey.put_back(guilty.saturating_add(1), left - 1);
            }
            Task::Recognize { .. } if in_flight.answered_pages > 0 => {}
            Task::Recognize { page, effort: Effort::Normal } => {
                self.retries.push_back(Task::Recognize { page, effort: Effort::Reduced });
            }
            Task::Recognize { page, effort: Effort::Reduced } => {
                self.assembly.failed_page(page, explain(&format!("page {page}"), failure));
            }
            Task::Thumbnail => {}
        }
    }

    /// Nothing is left to do and nothing is being done.
    pub fn is_complete(&self) -> bool {
        self.in_flight == 0 && !self.has_retry() && !self.has_task(true) && !self.is_holding_pages()
    }

    pub fn progress(&self) -> Progress {
        Progress { pages_done: self.assembly.pages_done(), pages_total: self.pages_total }
    }

    /// When this document will have taken too long, if nothing happens until then.
    pub fn deadline(&self) -> Option<Instant> {
        let stuck_at = self.clock.stuck_at(self.limits.progress_timeout);
        let over_at = self.clock.first_start.map(|start| start + self.limits.total_timeout);
        [stuck_at, over_at].into_iter().flatten().min()
    }

    /// Gives the document up if its time is over: what was read stays, the rest is not waited for.
    pub fn expire(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        let is_stuck = self.clock.stuck_at(self.limits.progress_timeout).is_some_and(|instant| instant <= now);
        let detail = if is_stuck {
            format!("no page was finished within {:?}", self.limits.progress_timeout)
        } else {
            format!("the document was not finished within {:?}", self.limits.total_timeout)
        };
        self.assembly.failed(Failure::new(Reason::Timeout, detail));
        true
    }

    pub fn into_extraction(self) -> Extraction {
        self.assembly.finish()
    }
}

fn explain(what: &str, failure: Failure) -> Failure {
    Failure::new(failure.reason, format!("{what}: {}", failure.detail))
}

/// Time without progress, counted only while a child has some of the document: waiting behind others is not its
/// fault.
#[derive(Debug, Default)]
struct Clock {
    first_start: Option<Instant>,
    /// Since when children have some of it; `None` while none has.
    running_since: Option<Instant>,
    /// Without progress before `running_since`.
    spent: Duration,
}

impl Clock {
    fn start(&mut self, now: Instant) {
        self.first_start.get_or_insert(now);
        self.running_since.get_or_insert(now);
    }

    fn pause(&mut self, now: Instant) {
        if let Some(since) = self.running_since.take() {
            self.spent += now.saturating_duration_since(since);
        }
    }

    fn progress(&mut self, now: Instant) {
        self.spent = Duration::ZERO;
        if let Some(since) = &mut self.running_since {
            *since = now;
        }
    }

    fn stuck_at(&self, timeout: Duration) -> Option<Instant> {
        self.running_since.map(|since| since + timeout.saturating_sub(self.spent))
    }
}

#[cfg(test)]
mod tests;
