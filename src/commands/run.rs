//! The daemon: build the parts, prove them, say READY, work until something ends it, drain, exit 0.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Settings;
use crate::health::events::ConfigurationWarning;
use crate::health::outage::Outage;
use crate::health::status::{Dependency, PoolState, Status};
use crate::health::{emf, http, metrics, systemd};
use crate::job::{Context, history};
use crate::lifecycle::instance::InstanceWatch;
use crate::lifecycle::interruption::Interruptions;
use crate::lifecycle::jobs::Jobs;
use crate::lifecycle::open_files;
use crate::lifecycle::service::Service;
use crate::lifecycle::window;
use crate::queue::{Queue, QueueInfo};

use super::parts::{self, Assembly};

/// How long the last STATUS and the last status page may take at the end.
const HELPERS_STOP: Duration = Duration::from_millis(500);
/// Pause between two looks at parts that do not answer yet.
const PROVE_AGAIN: Duration = Duration::from_secs(2);
/// Fewer receives than this dead-letter healthy messages on spot instances.
const MIN_RECEIVE_COUNT: u32 = 5;

/// Runs the daemon until it is asked to stop.
pub async fn run(settings: Settings, interruptions: Interruptions) -> Result<ExitCode> {
    let status = Arc::new(Status::new(settings.queue.wait_time));
    note_open_files(&settings, &status);
    let helpers = Helpers::start(&settings, &status).await?;
    let instance = InstanceWatch::start(&settings, &interruptions);

    let Assembly { context, queue, folder: _ } = parts::assemble(settings, &status, false).await?;
    status.dependency_up(Dependency::Children);
    let watched = Arc::clone(&context);
    status.watch_pool(move || pool_state(&watched));

    if interruptions.stop().run_until_cancelled(prove(&context, queue.as_ref())).await.is_some() {
        status.set_ready();
        let tidying = Arc::clone(&context);
        helpers.tasks.spawn(async move { history::remove_expired(&tidying).await });
        let service = Service {
            context: Arc::clone(&context),
            queue,
            status: Arc::clone(&status),
            jobs: Arc::new(Jobs::default()),
            interruptions: interruptions.clone(),
        };
        service.run().await;
    } else {
        let cause = interruptions.current().map(|interruption| interruption.cause.to_string()).unwrap_or_default();
        status.drain_started(&format!("{cause} before it was ready"), Duration::ZERO);
    }
    if let Err(error) = context.index.flush().await {
        log::warn!(error:% = error; "the index could not be flushed");
    }
    context.pool.shutdown().await;
    instance.stop().await;
    helpers.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn note_open_files(settings: &Settings, status: &Status) {
    let workers = settings.extraction.workers;
    let needed = open_files::needed(workers, window::most_jobs(workers));
    let shortage = match open_files::raise() {
        Ok(limit) => open_files::shortage(limit, needed),
        Err(error) => Some(format!("the limit of open files cannot be raised: {error}")),
    };
    if let Some(text) = shortage {
        ConfigurationWarning { text: &text }.emit();
        status.note(&text);
    }
}

fn pool_state(context: &Context) -> PoolState {
    let pool = context.pool.snapshot();
    PoolState {
        children: pool.children,
        wanted: pool.wanted,
        max_workers: context.settings.extraction.workers as u64,
        busy: pool.busy,
        pages_queued: pool.pages_waiting,
        pages_ocr: pool.pages.ocr + pool.pages.both,
        pages_done: pool.pages.total(),
        busy_time: pool.busy_time,
        over_limit: pool.is_child_over_limit,
    }
}

/// What tells the world how the daemon is: systemd, the status pages, the metrics.
struct Helpers {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Helpers {
    async fn start(settings: &Settings, status: &Arc<Status>) -> Result<Self> {
        let metrics = metrics::install().context("start the metrics")?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let watched = Arc::clone(status);
        let longest_page = settings.extraction.page_timeout;
        tasks.spawn(systemd::run(Arc::clone(status), move || watched.health(), longest_page, stop.clone()));
        tasks.spawn(metrics::upkeep(metrics.clone(), stop.clone()));
        tasks.spawn(emf::write_regularly(stop.clone()));
        if let Some(address) = settings.telemetry.status_address
            && let Some(listener) = http::bind(address).await
        {
            tasks.spawn(http::serve(listener, Arc::clone(status), metrics, stop.clone()));
        }
        Ok(Self { stop, tasks })
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        // A client that holds a status page open must not hold up the exit.
        let _ = tokio::time::timeout(HELPERS_STOP, self.tasks.wait()).await;
    }
}

/// Returns when queue, bucket and index have answered; until then the status says what it waits for.
async fn prove(context: &Context, queue: &dyn Queue) {
    let status = &context.status;
    loop {
        let (queue_answer, store_answer, index_answer) =
            tokio::join!(queue.probe(), context.store.probe(), context.index.probe());
        if let Ok(info) = &queue_answer {
            note_queue(status, info);
        }
        tell(status, Dependency::Queue, queue_answer.err().map(|error| error.outage()));
        tell(status, Dependency::Store, store_answer.err().map(|error| error.outage()));
        tell(status, Dependency::Index, index_answer.err().map(|error| error.outage()));
        let waiting = [Dependency::Queue, Dependency::Store, Dependency::Index];
        if !waiting.into_iter().any(|dependency| status.is_down(dependency)) {
            return;
        }
        tokio::time::sleep(PROVE_AGAIN).await;
    }
}

fn tell(status: &Status, dependency: Dependency, trouble: Option<Outage>) {
    match trouble {
        None => status.dependency_up(dependency),
        Some(outage) => status.dependency_down(dependency, &outage),
    }
}

/// What an operator should know about the queue although work goes on.
fn note_queue(status: &Status, info: &QueueInfo) {
    if info.dead_letter_target.is_none() {
        status.note("no dead-letter queue is known: known-bad messages are not deleted (DLQ_QUEUE_URL)");
    }
    if let Some(count) = info.max_receive_count.filter(|count| *count < MIN_RECEIVE_COUNT) {
        status.note(&format!(
            "maxReceiveCount is {count}: releases count as receives, set it to {MIN_RECEIVE_COUNT} or more"
        ));
    }
}
