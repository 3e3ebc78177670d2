//! The contract's three metrics for CloudWatch, as lines of `LOG_FILE` that the agent ships (contract §2).
//!
//! A line in AWS's embedded metric format (EMF) becomes metrics in namespace `FileProcessor/Worker` by `InstanceId`
//! without a call of ours. Outcomes are gathered, and written once a minute, or sooner when a line is full: CloudWatch
//! keeps minutes anyway, and five million documents would be five million lines.
//!
//! What counts, by contract §4:
//! * `ProcessingSuccess`: a document was indexed with `success: true` (`indexed`, `indexed_partial`, and
//!   `indexed_without_text` where there was nothing to read)
//! * `ProcessingFailure`: a document was indexed with `success: false`, or its message was dead-lettered
//! * `ProcessingTime`: seconds from message to durable outcome, of each of the above that was timed
//! * nothing: `deleted`, `skipped` and `retry`; success is documents indexed, never messages deleted
//!
//! Not to the journal, nor to a terminal: nobody reads it there.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::events::JobFinished;
use super::logging;
use crate::document::{Outcome, Reason};

const NAMESPACE: &str = "FileProcessor/Worker";
const DIMENSION: &str = "InstanceId";
/// The specification allows 100 values for a metric in one line.
const MAX_VALUES: usize = 100;
const WRITE_EVERY: Duration = Duration::from_secs(60);

static INSTANCE_ID: OnceLock<String> = OnceLock::new();
static GATHERED: Mutex<Gathered> = Mutex::new(Gathered::new());

/// The dimension of all metrics from now on; the host's name until this is called. Only the first call counts.
pub fn set_instance_id(id: &str) {
    // A machine has one id: a second call can only say the same.
    let _ = INSTANCE_ID.set(id.to_owned());
}

/// Takes an outcome into account.
pub fn count(event: &JobFinished<'_>) {
    let Some(result) = result_of(event.outcome, event.failure.map(|failure| failure.reason)) else { return };
    let mut gathered = gathered();
    gathered.add(result, event.times.total);
    if gathered.seconds.len() == MAX_VALUES {
        write(&mut gathered);
    }
}

/// Writes what was gathered; call it last, so that the last minute is not lost.
pub fn flush() {
    write(&mut gathered());
}

/// Writes once a minute until `stop`.
pub async fn write_regularly(stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_some() {
        flush();
    }
}

/// Without a log file there is nobody to tell.
fn write(gathered: &mut Gathered) {
    let taken = std::mem::replace(gathered, Gathered::new());
    if !taken.is_empty() && logging::has_file() {
        let line = taken.line(instance_id(), Timestamp::now());
        logging::write_to_file(&line);
    }
}

fn gathered() -> MutexGuard<'static, Gathered> {
    // Whoever panicked while counting left counts behind that are still counts.
    GATHERED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn instance_id() -> &'static str {
    INSTANCE_ID.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessingResult {
    Success,
    Failure,
}

fn result_of(outcome: Outcome, reason: Option<Reason>) -> Option<ProcessingResult> {
    match outcome {
        Outcome::Indexed | Outcome::IndexedPartial => Some(ProcessingResult::Success),
        Outcome::IndexedWithoutText if reason.is_some_and(Reason::is_success) => Some(ProcessingResult::Success),
        Outcome::IndexedWithoutText | Outcome::DeadLettered => Some(ProcessingResult::Failure),
        Outcome::Deleted | Outcome::Skipped | Outcome::Retry => None,
    }
}

/// Outcomes since the last line.
#[derive(Debug, Default)]
struct Gathered {
    successes: u64,
    failures: u64,
    /// Seconds, with milliseconds.
    seconds: Vec<f64>,
}

impl Gathered {
    const fn new() -> Self {
        Self { successes: 0, failures: 0, seconds: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.successes == 0 && self.failures == 0
    }

    fn add(&mut self, result: ProcessingResult, time: Duration) {
        match result {
            ProcessingResult::Success => self.successes += 1,
            ProcessingResult::Failure => self.failures += 1,
        }
        // What ended before it was timed (a message that nobody understands) would only pull the mean down.
        if !time.is_zero() {
            self.seconds.push((time.as_secs_f64() * 1000.0).round() / 1000.0);
        }
    }

    /// One line with its line end. The first four keys are those of every line of the file.
    fn line(&self, instance_id: &str, now: Timestamp) -> Vec<u8> {
        let mut metrics = vec![
            MetricDefinition { name: "ProcessingSuccess", unit: "Count" },
            MetricDefinition { name: "ProcessingFailure", unit: "Count" },
        ];
        if !self.seconds.is_empty() {
            metrics.push(MetricDefinition { name: "ProcessingTime", unit: "Seconds" });
        }
        let line = Line {
            timestamp: logging::timestamp(now),
            level: "INFO",
            message: "metrics",
            target: module_path!(),
            aws: Aws {
                timestamp: now.as_millisecond(),
                directives: [MetricDirective { namespace: NAMESPACE, dimensions: [[DIMENSION]], metrics }],
            },
            instance_id,
            successes: self.successes,
            failures: self.failures,
            seconds: &self.seconds,
        };
        let mut bytes = serde_json::to_vec(&line).expect("names, numbers and a string are JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// The names are the specification's ("Specification: Embedded metric format", Amazon CloudWatch User Guide).
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'static str,
    target: &'static str,
    #[serde(rename = "_aws")]
    aws: Aws,
    #[serde(rename = "InstanceId")]
    instance_id: &'a str,
    #[serde(rename = "ProcessingSuccess")]
    successes: u64,
    #[serde(rename = "ProcessingFailure")]
    failures: u64,
    #[serde(rename = "ProcessingTime", skip_serializing_if = "<[f64]>::is_empty")]
    seconds: &'a [f64],
}

#[derive(Serialize)]
struct Aws {
    /// Milliseconds since 1970.
    #[serde(rename = "Timestamp")]
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    directives: [MetricDirective; 1],
}

#[derive(Serialize)]
struct MetricDirective {
    #[serde(rename = "Namespace")]
    namespace: &'static str,
    #[serde(rename = "Dimensions")]
    dimensions: [[&'static str; 1]; 1],
    #[serde(rename = "Metrics")]
    metrics: Vec<MetricDefinition>,
}

#[derive(Serialize)]
struct MetricDefinition {
    #[serde(rename = "Name")]
    name: &'static str,
    #[serde(rename = "Unit")]
    unit: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(gathered: &Gathered) -> Value {
        let bytes = gathered.line("i-0abc", "2026-11-22T03:04:05.678Z".parse().unwrap());
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_line_is_what_the_specification_demands() {
        let mut gathered = Gathered::default();
        gathered.add(ProcessingResult::Success, Duration::from_millis(1500));
        gathered.add(ProcessingResult::Success, Duration::from_micros(250_400));
        gathered.add(ProcessingResult::Failure, Duration::ZERO);
        let expected = json!({
            "timestamp": "2026-11-22T03:04:05.678Z", "level": "INFO", "message": "metrics",
            "target": "file_processor_worker::health::emf",
            "_aws": {
                "Timestamp": 1_795_316_645_678_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "FileProcessor/Worker",
                    "Dimensions": [["InstanceId"]],
                    "Metrics": [
                        { "Name": "ProcessingSuccess", "Unit": "Count" },
                        { "Name": "ProcessingFailure", "Unit": "Count" },
                        { "Name": "ProcessingTime", "Unit": "Seconds" },
                    ],
                }],
            },
            "InstanceId": "i-0abc", "ProcessingSuccess": 2, "ProcessingFailure": 1, "ProcessingTime": [1.5, 0.25],
        });
        assert_eq!(parsed(&gathered), expected);
    }

    #[test]
    fn a_metric_without_values_is_neither_declared_nor_written() {
        let mut gathered = Gathered::default();
        gathered.add(ProcessingResult::Failure, Duration::ZERO);
        let line = parsed(&gathered);
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().map(Vec::len), Some(2));
        assert_eq!(line.get("ProcessingTime"), None);
    }

    #[test]
    fn success_is_what_the_document_says_of_itself() {
        use Outcome::{DeadLettered, Deleted, Indexed, IndexedPartial, IndexedWithoutText, Retry, Skipped};
        use ProcessingResult::{Failure, Success};
        for (outcome, reason, expected) in [
            (Indexed, None, Some(Success)),
            (IndexedPartial, Some(Reason::Timeout), Some(Success)),
            (IndexedWithoutText, Some(Reason::NoText), Some(Success)),
            (IndexedWithoutText, Some(Reason::MetadataOnly), Some(Success)),
            (IndexedWithoutText, Some(Reason::Encrypted), Some(Failure)),
            (DeadLettered, Some(Reason::MalformedMessage), Some(Failure)),
            (Deleted, None, None),
            (Skipped, Some(Reason::Unchanged), None),
            (Retry, None, None),
        ] {
            assert_eq!(result_of(outcome, reason), expected, "{outcome}");
        }
    }
}
