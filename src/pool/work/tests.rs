//! A document's way, its failures and its clock, without a process.

use std::collections::BTreeMap;

use super::*;
use crate::pool::child::failed_page;
use crate::pool::protocol::{Page, PageSource};

const LIMITS: DocumentLimits = DocumentLimits {
    max_pages: 100,
    progress_timeout: Duration::from_secs(300),
    total_timeout: Duration::from_secs(7200),
};

fn opened(page_count: u32, has_text_layer: bool) -> Opened {
    let mime_type = "application/pdf".to_string();
    Opened { mime_type, page_count, paginated: true, has_text_layer, metadata: BTreeMap::new() }
}

fn text_page(number: u32) -> Page {
    let source = PageSource::Text;
    Page { source, failure: None, text: "text".into(), ..failed_page(number, crash()) }
}

fn crash() -> Failure {
    Failure::new(Reason::Crashed, "it crashed")
}

fn take(work: &mut DocumentWork, now: Instant) -> TaskInFlight {
    TaskInFlight::new(work.take(now).expect("a task"))
}

fn take_retry(work: &mut DocumentWork, now: Instant) -> TaskInFlight {
    TaskInFlight::new(work.take_retry(now).expect("a retry"))
}

fn open_document(opened: Opened, now: Instant) -> DocumentWork {
    let mut work = DocumentWork::new(LIMITS, false);
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(opened), now);
    assert!(!work.has_task(true), "pages are given out only when the child is free");
    work.finished(opening, now);
    work
}

#[test]
fn a_text_layer_is_surveyed_in_runs_and_pages_without_text_are_recognised() {
    let now = Instant::now();
    let mut work = open_document(opened(18, true), now);
    let mut survey = take(&mut work, now);
    assert_eq!(survey.task, Task::Survey { first: 1, count: 16 });
    for page in 1..=15 {
        work.answer(&mut survey, Answer::Page(text_page(page)), now);
    }
    work.answer(&mut survey, Answer::NeedsOcr(16), now);
    assert_eq!(take(&mut work, now).task, Task::Survey { first: 17, count: 2 });
    assert_eq!(take(&mut work, now).task, Task::Recognize { page: 16, effort: Effort::Normal });
    assert_eq!(work.in_flight(), 3);
    assert_eq!(work.progress(), Progress { pages_done: 15, pages_total: 18 });
}

#[test]
fn a_scan_goes_straight_to_recognition() {
    let now = Instant::now();
    let mut work = open_document(opened(2, false), now);
    assert_eq!(take(&mut work, now).task, Task::Recognize { page: 1, effort: Effort::Normal });
}

#[test]
fn a_document_over_the_page_limit_is_read_up_to_it_and_says_so() {
    let now = Instant::now();
    let mut work = open_document(opened(100_000, false), now);
    assert_eq!(work.pages_waiting(), LIMITS.max_pages);
    for _ in 0..LIMITS.max_pages {
        let mut page = take(&mut work, now);
        let Task::Recognize { page: number, .. } = page.task else { panic!("{:?}", page.task) };
        work.answer(&mut page, Answer::Page(text_page(number)), now);
        work.finished(page, now);
    }
    assert!(work.is_complete());
    let extraction = work.into_extraction();
    assert_eq!((extraction.pages.len(), extraction.page_count), (100, Some(100_000)));
    assert_eq!(extraction.failure.unwrap().reason, Reason::TooManyPages);
}

#[test]
fn a_crash_in_a_run_costs_one_page_and_gives_back_those_behind_it() {
    let now = Instant::now();
    let mut work = open_document(opened(10, true), now);
    let mut survey = take(&mut work, now);
    for page in 1..=3 {
        work.answer(&mut survey, Answer::Page(text_page(page)), now);
    }
    work.died(survey, crash(), now);
    assert_eq!(take_retry(&mut work, now).task, Task::Recognize { page: 4, effort: Effort::Reduced });
    assert_eq!(take(&mut work, now).task, Task::Survey { first: 5, count: 6 });
}

#[test]
fn a_page_that_kills_twice_has_failed_and_the_rest_goes_on() {
    let now = Instant::now();
    let mut work = open_document(opened(2, false), now);
    let first_try = take(&mut work, now);
    work.died(first_try, crash(), now);
    assert!(!work.is_complete());
    let second_try = take_retry(&mut work, now);
    work.died(second_try, Failure::new(Reason::OutOfMemory, "it ate too much"), now);
    let mut other = take(&mut work, now);
    work.answer(&mut other, Answer::Page(text_page(2)), now);
    work.finished(other, now);
    assert!(work.is_complete());
    let extraction = work.into_extraction();
    assert_eq!(extraction.failure, None);
    let failure = extraction.pages[0].failure.clone().unwrap();
    assert_eq!(failure, Failure::new(Reason::OutOfMemory, "page 1: it ate too much"));
    assert_eq!(extraction.pages[1].source, PageSource::Text);
}

#[test]
fn a_crash_after_the_answer_costs_nothing() {
    let now = Instant::now();
    let mut work = open_document(opened(1, false), now);
    let mut page = take(&mut work, now);
    work.answer(&mut page, Answer::Page(text_page(1)), now);
    work.died(page, crash(), now);
    assert!(work.is_complete());
    assert_eq!(work.into_extraction().pages[0].source, PageSource::Text);
}

#[test]
fn an_opening_that_kills_twice_fails_the_document() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, true);
    let first_try = take(&mut work, now);
    work.died(first_try, crash(), now);
    assert!(!work.is_complete());
    let second_try = take_retry(&mut work, now);
    work.died(second_try, crash(), now);
    assert!(work.is_complete());
    assert_eq!(work.into_extraction().failure.unwrap().reason, Reason::Crashed);
}

#[test]
fn a_document_that_says_it_cannot_be_read_is_not_asked_again() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, true);
    let mut opening = take(&mut work, now);
    let encrypted = Failure::new(Reason::Encrypted, "it has a password");
    let mime_type = Some("application/pdf".to_string());
    let answer = Answer::DocumentFailed { failure: encrypted.clone(), mime_type: mime_type.clone() };
    work.answer(&mut opening, answer, now);
    work.finished(opening, now);
    assert!(work.is_complete());
    let extraction = work.into_extraction();
    assert_eq!((extraction.failure, extraction.mime_type), (Some(encrypted), mime_type));
}

#[test]
fn a_thumbnail_that_kills_its_child_costs_nothing_else() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, true);
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(opened(0, false)), now);
    work.finished(opening, now);
    let thumbnail = take(&mut work, now);
    assert_eq!(thumbnail.task, Task::Thumbnail);
    work.died(thumbnail, crash(), now);
    assert!(work.is_complete());
    assert_eq!(work.into_extraction().failure, None);
}

fn running_text() -> Opened {
    Opened { mime_type: "text/plain".to_string(), paginated: false, ..opened(1, true) }
}

#[test]
fn a_running_text_is_done_after_its_opening() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, true);
    let mut opening = take(&mut work, now);
    assert_eq!(opening.task, Task::Open { effort: Effort::Normal, whole: true });
    work.answer(&mut opening, Answer::Opened(running_text()), now);
    work.answer(&mut opening, Answer::Page(text_page(1)), now);
    assert!(!opening.has_read_whole());
    work.answer(&mut opening, Answer::Thumbnail(None), now);
    assert!(opening.has_read_whole());
    work.finished(opening, now);
    assert!(work.is_complete());
    assert_eq!(work.into_extraction().pages[0].text, "text");
}

#[test]
fn a_running_text_that_is_a_picture_is_recognised_after_its_opening() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, true);
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(running_text()), now);
    work.answer(&mut opening, Answer::NeedsOcr(1), now);
    assert!(!work.has_task(true), "the page is given out only when the child is free");
    work.answer(&mut opening, Answer::Thumbnail(None), now);
    work.finished(opening, now);
    assert_eq!(take(&mut work, now).task, Task::Recognize { page: 1, effort: Effort::Normal });
    assert!(!work.has_task(true));
}

#[test]
fn a_running_text_that_kills_its_child_is_opened_once_more_and_its_thumbnail_costs_nothing_else() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, true);
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(running_text()), now);
    assert!(!opening.is_thumbnail());
    work.died(opening, crash(), now);
    assert_eq!(take_retry(&mut work, now).task, Task::Open { effort: Effort::Reduced, whole: false });

    let mut work = DocumentWork::new(LIMITS, true);
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(running_text()), now);
    work.answer(&mut opening, Answer::Page(text_page(1)), now);
    assert!(opening.is_thumbnail());
    work.died(opening, crash(), now);
    assert!(work.is_complete());
    assert_eq!(work.into_extraction().failure, None);
}

#[test]
fn a_task_that_no_child_took_is_given_out_again() {
    let now = Instant::now();
    let mut work = open_document(opened(20, true), now);
    let survey = take(&mut work, now);
    work.not_started(survey, now);
    assert_eq!(take(&mut work, now).task, Task::Survey { first: 1, count: 16 });
}

#[test]
fn a_page_that_hangs_in_the_children_s_hands_ends_the_document() {
    let start = Instant::now();
    let mut work = open_document(opened(2, false), start);
    let mut page = take(&mut work, start);
    work.answer(&mut page, Answer::Page(text_page(1)), start + Duration::from_secs(100));
    work.finished(page, start + Duration::from_secs(100));
    let _hanging = take(&mut work, start + Duration::from_secs(100));
    assert!(!work.expire(start + Duration::from_secs(399)));
    assert!(work.expire(start + Duration::from_secs(400)));
    let extraction = work.into_extraction();
    assert_eq!(extraction.pages.len(), 1, "what was read stays");
    assert_eq!(extraction.failure.unwrap().reason, Reason::Timeout);
}

#[test]
fn killed_pages_are_no_progress() {
    let start = Instant::now();
    let mut work = open_document(opened(1, false), start);
    let first_try = take(&mut work, start);
    work.died(first_try, Failure::new(Reason::Timeout, ""), start + Duration::from_secs(180));
    let _second_try = take_retry(&mut work, start + Duration::from_secs(1000));
    assert_eq!(work.deadline(), Some(start + Duration::from_secs(1120)));
}

#[test]
fn waiting_behind_others_is_not_the_document_s_fault() {
    let start = Instant::now();
    let mut work = open_document(opened(2, false), start);
    assert!(!work.expire(start + Duration::from_secs(3600)));
    let never_served = DocumentWork::new(LIMITS, false);
    assert_eq!(never_served.deadline(), None);
}

#[test]
fn a_document_that_keeps_finishing_pages_still_has_an_end() {
    let start = Instant::now();
    let mut work = open_document(opened(100, false), start);
    let mut now = start;
    for number in 1..=100 {
        let mut page = take(&mut work, now);
        now += Duration::from_secs(100);
        if work.expire(now) {
            assert_eq!(now, start + LIMITS.total_timeout);
            return;
        }
        work.answer(&mut page, Answer::Page(text_page(number)), now);
        work.finished(page, now);
    }
    panic!("it never ended");
}

fn open_with_history(opened: Opened, care: Care, known_pages: Vec<Page>) -> DocumentWork {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, false).with_history(care, known_pages);
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(opened), now);
    work.finished(opening, now);
    work
}

#[test]
fn pages_of_an_earlier_attempt_are_taken_over_and_not_read_again() {
    let now = Instant::now();
    let known = vec![text_page(1), text_page(3), text_page(9)];
    let mut work = open_with_history(opened(3, false), Care::Normal, known);
    assert_eq!(work.progress(), Progress { pages_done: 2, pages_total: 3 });
    let mut page = take(&mut work, now);
    assert_eq!(page.task, Task::Recognize { page: 2, effort: Effort::Normal });
    work.answer(&mut page, Answer::Page(text_page(2)), now);
    work.finished(page, now);
    assert!(work.is_complete());
    let numbers: Vec<u32> = work.into_extraction().pages.iter().map(|page| page.number).collect();
    assert_eq!(numbers, [1, 2, 3], "a page that the document does not have is not invented");
}

#[test]
fn a_document_that_crashed_before_is_read_at_lower_resolution_from_the_start() {
    let mut work = open_with_history(opened(1, false), Care::Alone, Vec::new());
    assert_eq!(take(&mut work, Instant::now()).task, Task::Recognize { page: 1, effort: Effort::Reduced });
}

#[test]
fn with_the_text_layer_only_no_page_is_recognised_and_the_missing_ones_have_the_reason() {
    let now = Instant::now();
    let mut work = open_with_history(opened(3, true), Care::TextLayerOnly(crash()), Vec::new());
    let mut survey = take(&mut work, now);
    work.answer(&mut survey, Answer::Page(text_page(1)), now);
    work.answer(&mut survey, Answer::NeedsOcr(2), now);
    work.died(survey, crash(), now);
    assert!(work.is_complete(), "nothing is tried again");
    let pages = work.into_extraction().pages;
    assert_eq!(pages[0].text, "text");
    for page in &pages[1..] {
        assert_eq!(page.failure.as_ref().map(|failure| failure.reason), Some(Reason::Crashed));
    }

    let scan = open_with_history(opened(2, false), Care::TextLayerOnly(crash()), Vec::new());
    assert!(scan.is_complete());
    assert_eq!(scan.into_extraction().pages.len(), 2);
}

#[test]
fn an_undecided_document_is_surveyed_and_waits_with_the_pages_that_need_ocr() {
    let now = Instant::now();
    let undecided = || {
        let mut work = DocumentWork::new(LIMITS, true).undecided();
        let mut opening = take(&mut work, now);
        work.answer(&mut opening, Answer::Opened(opened(3, true)), now);
        work.finished(opening, now);
        let mut survey = take(&mut work, now);
        work.answer(&mut survey, Answer::Page(text_page(1)), now);
        assert!(!work.is_holding_pages(), "so far there is only text");
        work.answer(&mut survey, Answer::NeedsOcr(2), now);
        assert!(work.is_holding_pages());
        (work, survey)
    };
    let (mut work, mut survey) = undecided();
    work.answer(&mut survey, Answer::NeedsOcr(3), now);
    work.finished(survey, now);
    assert!(!work.has_task(true) && work.pages_waiting() == 0 && !work.is_complete(), "not even a thumbnail");
    work.decide(true);
    assert_eq!(take(&mut work, now).task, Task::Recognize { page: 2, effort: Effort::Normal });
    assert_eq!(take(&mut work, now).task, Task::Recognize { page: 3, effort: Effort::Normal });

    let (mut work, mut survey) = undecided();
    work.decide(false);
    assert!(!work.is_complete(), "a child is still at it");
    work.answer(&mut survey, Answer::NeedsOcr(3), now);
    work.finished(survey, now);
    assert!(work.is_complete() && work.take(now).is_none() && work.pages_waiting() == 0);

    let (mut work, survey) = undecided();
    work.decide(false);
    work.died(survey, crash(), now);
    assert!(work.is_complete() && !work.has_retry(), "nothing is tried again for a document that nobody wants read");
}

#[test]
fn an_undecided_document_of_text_is_never_asked_about() {
    let now = Instant::now();
    let mut work = DocumentWork::new(LIMITS, false).undecided();
    let mut opening = take(&mut work, now);
    work.answer(&mut opening, Answer::Opened(opened(1, true)), now);
    work.finished(opening, now);
    let mut survey = take(&mut work, now);
    work.answer(&mut survey, Answer::Page(text_page(1)), now);
    work.finished(survey, now);
    assert!(work.is_complete() && !work.is_holding_pages());
}
