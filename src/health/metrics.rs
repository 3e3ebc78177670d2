//! The names of all metrics. The raw macros of the crate `metrics` are banned elsewhere (`.clippy.toml`), so that this
//! list is complete and a name cannot be misspelt at a second place.
//!
//! Names follow Prometheus: a prefix, the unit at the end (`_seconds`, `_bytes`), `_total` for counters. Labels come
//! from small closed sets only, never from keys or messages.

#![expect(clippy::disallowed_macros, reason = "this is the one place where the macros belong")]

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// One label: name and value, both from closed sets.
pub type Label = (&'static str, &'static str);

/// What only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    Documents,
    Pages,
    PagesFailed,
    SourceBytes,
    ThumbnailsFailed,
    DocumentsReused,
    MessagesReceived,
    MessagesDeleted,
    MessagesDeadLettered,
    MessagesReleased,
    MessagesSentAnew,
    ReceiveFailures,
    DeleteFailures,
    DeadLetterFailures,
    LeasesExtended,
    LeasesLost,
    LeaseExtensionFailures,
    ChildrenStarted,
    ChildrenDied,
    ChildrenReplaced,
    DependencyOutages,
    IndexRetries,
    SmokeTests,
    PagesRecognized,
    PagesRestored,
    CheckpointFailures,
    GuiltyAttempts,
    PoolResizes,
    JobsPanicked,
}

/// Time that only ever grows. The exporter's counters hold whole numbers, too coarse for seconds, so these are rendered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeCounter {
    ChildrenBusy,
}

/// What goes up and down; written from the status just before it is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    Ready,
    JobsInFlight,
    MessagesHeld,
    Children,
    ChildrenBusy,
    PagesQueued,
    DependencyUp,
    SpoolFree,
    ChildrenWanted,
    StartTime,
    LastDocumentTime,
}

/// Distributions, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Histogram {
    Document,
    Stage,
    DependencyOutage,
}

impl Counter {
    pub const ALL: [Counter; 29] = [
        Counter::Documents,
        Counter::Pages,
        Counter::PagesFailed,
        Counter::SourceBytes,
        Counter::ThumbnailsFailed,
        Counter::DocumentsReused,
        Counter::MessagesReceived,
        Counter::MessagesDeleted,
        Counter::MessagesDeadLettered,
        Counter::MessagesReleased,
        Counter::MessagesSentAnew,
        Counter::ReceiveFailures,
        Counter::DeleteFailures,
        Counter::DeadLetterFailures,
        Counter::LeasesExtended,
        Counter::LeasesLost,
        Counter::LeaseExtensionFailures,
        Counter::ChildrenStarted,
        Counter::ChildrenDied,
        Counter::ChildrenReplaced,
        Counter::DependencyOutages,
        Counter::IndexRetries,
        Counter::SmokeTests,
        Counter::PagesRecognized,
        Counter::PagesRestored,
        Counter::CheckpointFailures,
        Counter::GuiltyAttempts,
        Counter::PoolResizes,
        Counter::JobsPanicked,
    ];

    /// The name in Prometheus, and what it counts (with its labels).
    fn described(self) -> (&'static str, &'static str) {
        match self {
            Counter::Documents => ("file_processor_documents_total", "Objects finished, by outcome and reason"),
            Counter::Pages => ("file_processor_pages_total", "Pages finished, by source: text or ocr"),
            Counter::PagesFailed => (
                "file_processor_pages_failed_total",
                "Pages without text because something failed, by the reason of their document",
            ),
            Counter::SourceBytes => ("file_processor_source_bytes_total", "Bytes of the files that were read"),
            Counter::ThumbnailsFailed => ("file_processor_thumbnails_failed_total", "Documents whose thumbnail failed"),
            Counter::DocumentsReused => (
                "file_processor_documents_reused_total",
                "Documents whose text was taken from another one of the same bytes",
            ),
            Counter::MessagesReceived => ("file_processor_messages_received_total", "Messages received"),
            Counter::MessagesDeleted => {
                ("file_processor_messages_deleted_total", "Messages deleted after their outcome was durable")
            }
            Counter::MessagesDeadLettered => {
                ("file_processor_messages_dead_lettered_total", "Messages copied to the dead-letter queue, by reason")
            }
            Counter::MessagesReleased => {
                ("file_processor_messages_released_total", "Messages given back to the queue, by cause")
            }
            Counter::ReceiveFailures => ("file_processor_receive_failures_total", "Receive calls that failed"),
            Counter::DeleteFailures => {
                ("file_processor_delete_failures_total", "Delete calls that failed; the message comes again")
            }
            Counter::DeadLetterFailures => {
                ("file_processor_dead_letter_failures_total", "Copies that the dead-letter queue did not take")
            }
            Counter::LeasesExtended => ("file_processor_leases_extended_total", "Leases extended at half-time"),
            Counter::LeasesLost => ("file_processor_leases_lost_total", "Leases lost; their jobs were cancelled"),
            Counter::LeaseExtensionFailures => {
                ("file_processor_lease_extension_failures_total", "Attempts to extend a lease that failed")
            }
            Counter::ChildrenStarted => ("file_processor_children_started_total", "Child processes started"),
            Counter::ChildrenDied => ("file_processor_children_died_total", "Child processes lost, by kind"),
            Counter::ChildrenReplaced => {
                ("file_processor_children_replaced_total", "Child processes replaced in good order, by cause")
            }
            Counter::DependencyOutages => ("file_processor_dependency_outages_total", "Times a dependency went down"),
            Counter::IndexRetries => ("file_processor_index_retries_total", "Bulk items sent again"),
            Counter::SmokeTests => ("file_processor_smoke_tests_total", "Smoke tests, by result"),
            Counter::MessagesSentAnew => (
                "file_processor_messages_sent_anew_total",
                "Messages sent anew, by cause: close to their maxReceiveCount, or a write in doubt",
            ),
            Counter::PagesRecognized => (
                "file_processor_pages_recognized_total",
                "Pages read by OCR, also those of attempts that were interrupted",
            ),
            Counter::PagesRestored => {
                ("file_processor_pages_restored_total", "Pages taken over from an earlier attempt's checkpoints")
            }
            Counter::CheckpointFailures => {
                ("file_processor_checkpoint_failures_total", "Checkpoint calls that failed; work went on without")
            }
            Counter::GuiltyAttempts => (
                "file_processor_guilty_attempts_total",
                "Documents read with less because earlier attempts at them failed, by measure",
            ),
            Counter::JobsPanicked => ("file_processor_jobs_panicked_total", "Jobs ended by a defect of the program"),
            Counter::PoolResizes => (
                "file_processor_pool_resizes_total",
                "Changes of the number of children for memory's sake, by direction",
            ),
        }
    }

    /// Adds to the counter. Without an installed recorder it does nothing (commands other than the daemon).
    pub fn add(self, amount: u64, labels: &[Label]) {
        metrics::counter!(self.described().0, labels).increment(amount);
    }
}

impl TimeCounter {
    #[cfg(test)]
    pub const ALL: [TimeCounter; 1] = [TimeCounter::ChildrenBusy];

    fn described(self) -> (&'static str, &'static str) {
        match self {
            TimeCounter::ChildrenBusy => (
                "file_processor_children_busy_seconds_total",
                "Time during which child processes had a request in hand, summed over them, requests under way included",
            ),
        }
    }

    /// The lines of `/metrics` for a total.
    pub fn rendered(self, total: Duration) -> String {
        let (name, help) = self.described();
        format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {:.6}\n", total.as_secs_f64())
    }
}

impl Gauge {
    pub const ALL: [Gauge; 11] = [
        Gauge::Ready,
        Gauge::JobsInFlight,
        Gauge::MessagesHeld,
        Gauge::Children,
        Gauge::ChildrenBusy,
        Gauge::PagesQueued,
        Gauge::DependencyUp,
        Gauge::SpoolFree,
        Gauge::ChildrenWanted,
        Gauge::StartTime,
        Gauge::LastDocumentTime,
    ];

    fn described(self) -> (&'static str, &'static str) {
        match self {
            Gauge::Ready => ("file_processor_ready", "1 when messages are being taken, else 0"),
            Gauge::JobsInFlight => ("file_processor_jobs_in_flight", "Objects being worked on"),
            Gauge::MessagesHeld => ("file_processor_messages_held", "Messages whose leases are being kept"),
            Gauge::Children => ("file_processor_children", "Child processes alive"),
            Gauge::ChildrenBusy => ("file_processor_children_busy", "Child processes at work"),
            Gauge::PagesQueued => ("file_processor_pages_queued", "Pages waiting for a child"),
            Gauge::DependencyUp => ("file_processor_dependency_up", "1 when the dependency works, else 0"),
            Gauge::SpoolFree => ("file_processor_spool_free_bytes", "Bytes free on the disk of TEMP_DIR"),
            Gauge::ChildrenWanted => {
                ("file_processor_children_wanted", "Child processes that get work; fewer while memory is short")
            }
            Gauge::StartTime => ("file_processor_start_time_seconds", "When the daemon started, Unix time"),
            Gauge::LastDocumentTime => (
                "file_processor_last_document_time_seconds",
                "When the last object was finished, Unix time; 0 before the first",
            ),
        }
    }

    pub fn set(self, value: f64, labels: &[Label]) {
        metrics::gauge!(self.described().0, labels).set(value);
    }
}

/// Upper bounds of the buckets, seconds: from a text file to a day's outage.
const DOCUMENT_BUCKETS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
const STAGE_BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0];
const OUTAGE_BUCKETS: [f64; 8] = [1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];

impl Histogram {
    pub const ALL: [Histogram; 3] = [Histogram::Document, Histogram::Stage, Histogram::DependencyOutage];

    fn described(self) -> (&'static str, &'static str) {
        match self {
            Histogram::Document => {
                ("file_processor_document_seconds", "Time from message to durable outcome, by outcome")
            }
            Histogram::Stage => {
                ("file_processor_stage_seconds", "Time of one stage of a document: fetch, extract, index")
            }
            Histogram::DependencyOutage => {
                ("file_processor_dependency_outage_seconds", "How long a dependency was down")
            }
        }
    }

    fn buckets(self) -> &'static [f64] {
        match self {
            Histogram::Document => &DOCUMENT_BUCKETS,
            Histogram::Stage => &STAGE_BUCKETS,
            Histogram::DependencyOutage => &OUTAGE_BUCKETS,
        }
    }

    pub fn record(self, duration: Duration, labels: &[Label]) {
        metrics::histogram!(self.described().0, labels).record(duration.as_secs_f64());
    }
}

/// The builder with the buckets of every histogram.
///
/// # Errors
/// Never for the buckets above: they are not empty.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for histogram in Histogram::ALL {
        let matcher = Matcher::Full(histogram.described().0.to_owned());
        builder = builder.set_buckets_for_metric(matcher, histogram.buckets())?;
    }
    Ok(builder)
}

/// Gives every metric its help text; and counters without labels a zero, so that a rate has something to start from.
fn describe() {
    for counter in Counter::ALL {
        let (name, help) = counter.described();
        metrics::describe_counter!(name, help);
    }
    for gauge in Gauge::ALL {
        let (name, help) = gauge.described();
        metrics::describe_gauge!(name, help);
    }
    for histogram in Histogram::ALL {
        let (name, help) = histogram.described();
        metrics::describe_histogram!(name, help);
    }
    for unlabelled in [
        Counter::SourceBytes,
        Counter::ThumbnailsFailed,
        Counter::DocumentsReused,
        Counter::MessagesReceived,
        Counter::MessagesDeleted,
        Counter::ReceiveFailures,
        Counter::DeleteFailures,
        Counter::DeadLetterFailures,
        Counter::LeasesExtended,
        Counter::LeasesLost,
        Counter::LeaseExtensionFailures,
        Counter::ChildrenStarted,
        Counter::IndexRetries,
    ] {
        unlabelled.add(0, &[]);
    }
}

/// Installs the recorder of this process. Render with the handle, and spawn [`upkeep`] for it.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// How often samples of histograms are folded into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Folds samples into buckets until `stop`: without it they would pile up while nobody asks for `/metrics`.
pub async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

/// Runs `work` with a recorder of its own and returns what `/metrics` would show. For tests of events.
#[cfg(test)]
pub fn rendered_after(work: impl FnOnce()) -> String {
    let recorder = builder().unwrap().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        describe();
        work();
    });
    handle.render()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_carry_their_unit() {
        let mut seen = HashSet::new();
        let counters = Counter::ALL.map(|counter| counter.described().0);
        let gauges = Gauge::ALL.map(|gauge| gauge.described().0);
        let histograms = Histogram::ALL.map(|histogram| histogram.described().0);
        let times = TimeCounter::ALL.map(|counter| counter.described().0);
        for name in counters.iter().chain(&gauges).chain(&histograms).chain(&times) {
            assert!(seen.insert(*name), "{name} twice");
            assert!(name.starts_with("file_processor_"), "{name}");
        }
        assert!(counters.iter().all(|name| name.ends_with("_total")));
        assert!(times.iter().all(|name| name.ends_with("_seconds_total")));
        assert!(histograms.iter().all(|name| name.ends_with("_seconds")));
    }

    #[test]
    fn what_was_counted_is_rendered_with_labels_and_help() {
        let text = rendered_after(|| {
            Counter::Documents.add(2, &[("outcome", "indexed"), ("reason", "none")]);
            Gauge::JobsInFlight.set(3.0, &[]);
            Histogram::Document.record(Duration::from_millis(300), &[("outcome", "indexed")]);
        });
        for line in [
            "# HELP file_processor_documents_total Objects finished, by outcome and reason",
            "file_processor_documents_total{outcome=\"indexed\",reason=\"none\"} 2",
            "file_processor_jobs_in_flight 3",
            "file_processor_document_seconds_bucket{outcome=\"indexed\",le=\"0.5\"} 1",
            "file_processor_messages_deleted_total 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
