//! Log line and metric of an event, seen from outside.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use log::kv::{self, Key, Value, VisitSource};

use super::*;
use crate::document::{Failure, Outcome, Reason};
use crate::health::metrics::rendered_after;

/// What was logged by this thread: level, message, fields as `name=value` where the value is not null.
struct Line {
    level: log::Level,
    message: String,
    fields: Vec<String>,
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

struct Recorder;

struct Fields(Vec<String>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push(format!("{key}={value}"));
        Ok(())
    }
}

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }
    fn log(&self, record: &log::Record) {
        let mut fields = Fields(Vec::new());
        record.key_values().visit(&mut fields).unwrap();
        let line = Line { level: record.level(), message: record.args().to_string(), fields: fields.0 };
        LINES.with_borrow_mut(|lines| lines.push(line));
    }
    fn flush(&self) {}
}

/// Runs `work`; returns the lines it logged and the metrics it moved.
fn observed(work: impl FnOnce()) -> (Vec<Line>, String) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        log::set_logger(&Recorder).expect("no other test installs a logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
    LINES.take();
    let metrics = rendered_after(work);
    (LINES.take(), metrics)
}

fn job(outcome: Outcome, failure: Option<&Failure>) -> JobFinished<'_> {
    let times = StageTimes {
        fetch: Duration::from_millis(20),
        extract: Duration::from_millis(2500),
        index: Duration::ZERO,
        total: Duration::from_secs(3),
    };
    let pages = PageCounts { text: 1, ocr: 2, failed: 1 };
    JobFinished { key: "documents/道路/a.pdf", outcome, failure, bytes: 1000, pages, same_as: None, times }
}

#[test]
fn a_finished_job_is_one_line_with_fields_and_moves_its_metrics() {
    let failure = Failure::new(Reason::Timeout, "page 3 took longer than 180 s");
    let (lines, metrics) = observed(|| job(Outcome::IndexedPartial, Some(&failure)).emit());
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].level, lines[0].message.as_str()),
        (log::Level::Info, "document indexed, some pages are missing")
    );
    for field in
        ["key=documents/道路/a.pdf", "outcome=indexed_partial", "reason=timeout", "pages_ocr=2", "extract_seconds=2.5"]
    {
        assert!(lines[0].fields.iter().any(|found| found == field), "{field} in {:?}", lines[0].fields);
    }
    for sample in [
        "file_processor_documents_total{outcome=\"indexed_partial\",reason=\"timeout\"} 1",
        "file_processor_pages_total{source=\"ocr\"} 2",
        "file_processor_pages_failed_total{reason=\"timeout\"} 1",
        "file_processor_source_bytes_total 1000",
        "file_processor_stage_seconds_count{stage=\"extract\"} 1",
        "file_processor_document_seconds_count{outcome=\"indexed_partial\"} 1",
    ] {
        assert!(metrics.contains(sample), "{sample} in\n{metrics}");
    }
    assert!(!metrics.contains("stage=\"index\""), "a stage that was not reached has no time");
}

#[test]
fn no_file_however_bad_is_an_error_line() {
    for outcome in Outcome::ALL {
        for reason in [Reason::Crashed, Reason::OutOfMemory, Reason::ArchiveBomb, Reason::MalformedMessage] {
            let failure = Failure::new(reason, "bad");
            let (lines, _) = observed(|| job(outcome, Some(&failure)).emit());
            assert!(lines[0].level > log::Level::Error, "{outcome} {reason}");
        }
    }
}

#[test]
fn the_smoke_test_line_is_what_the_deploy_pipeline_waits_for() {
    let second = Duration::from_secs(1);
    let event =
        SmokeTestPassed { id: "deploy-7", extract: second, index: second, read_back: second, total: 3 * second };
    let (lines, metrics) = observed(|| event.emit());
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].message, "smoke test passed id=deploy-7");
    assert_eq!(lines[0].level, log::Level::Info);
    assert_eq!(lines[0].fields, ["extract_seconds=1", "index_seconds=1", "read_back_seconds=1", "seconds=3"]);
    assert!(metrics.contains("file_processor_smoke_tests_total{result=\"passed\"} 1"));
}

#[test]
fn a_dead_letter_is_counted_by_its_reason() {
    let failure = Failure::new(Reason::MalformedMessage, "not JSON");
    let (lines, metrics) = observed(|| MessageDeadLettered { message_id: "m", failure: &failure, attempts: 2 }.emit());
    assert_eq!(lines[0].level, log::Level::Warn);
    assert!(metrics.contains("file_processor_messages_dead_lettered_total{reason=\"malformed_message\"} 1"));
}

#[test]
fn a_lost_child_tells_its_kind_and_leaves_unknown_fields_null() {
    let failure = Failure::new(Reason::OutOfMemory, "more than 1024 MB");
    let (lines, metrics) =
        observed(|| ChildDied { slot: 1, pid: 7, failure: &failure, document: None, page: Some(3) }.emit());
    assert!(lines[0].fields.contains(&"page=3".to_owned()), "{:?}", lines[0].fields);
    assert!(metrics.contains("file_processor_children_died_total{kind=\"out_of_memory\"} 1"));
}

#[test]
fn released_messages_are_counted_by_cause() {
    let release = MessageReleased { message_id: "m", cause: ReleaseCause::Drain, delay: Duration::ZERO };
    let (_, metrics) = observed(|| release.emit());
    assert!(metrics.contains("file_processor_messages_released_total{cause=\"drain\"} 1"));
}
