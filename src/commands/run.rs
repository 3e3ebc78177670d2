//! The daemon: build the parts, prove them, say READY, work until something ends it, drain, exit 0.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Settings;
use crate::health::error_chain;
use crate::health::outage::{Outage, OutageCause};
use crate::health::status::{Dependency, PoolState, Status};
use crate::health::{http, metrics, systemd};
use crate::job::Context;
use crate::lifecycle::instance::InstanceWatch;
use crate::lifecycle::interruption::Interruptions;
use crate::lifecycle::jobs::Jobs;
use crate::lifecycle::service::Service;
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
    let helpers = Helpers::start(&settings, &status).await?;
    let instance = InstanceWatch::start(&settings, &interruptions);

    let Assembly { context, queue, folder: _ } = parts::assemble(settings, &status, false).await?;
    status.dependency_up(Dependency::Children);
    let watched = Arc::clone(&context);
    status.watch_pool(move || pool_state(&watched));

    if interruptions.stop().run_until_cancelled(prove(&context, queue.as_ref())).await.is_some() {
        status.set_ready();
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

fn pool_state(context: &Context) -> PoolState {
    let pool = context.pool.snapshot();
    PoolState {
        children: pool.children,
        wanted: context.settings.extraction.workers as u64,
        busy: pool.busy,
        pages_queued: pool.pages_waiting,
        pages_done: pool.pages.total(),
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
        let queue_answer = queue_answer.map_err(|error| error_chain(&error));
        if let Ok(info) = &queue_answer {
            note_queue(status, info);
        }
        tell(status, Dependency::Queue, &queue_answer);
        tell(status, Dependency::Store, &store_answer.map_err(|error| error_chain(&error)));
        tell(status, Dependency::Index, &index_answer.map_err(|error| error.to_string()));
        let waiting = [Dependency::Queue, Dependency::Store, Dependency::Index];
        if !waiting.into_iter().any(|dependency| status.is_down(dependency)) {
            return;
        }
        tokio::time::sleep(PROVE_AGAIN).await;
    }
}

fn tell<T>(status: &Status, dependency: Dependency, answer: &std::result::Result<T, String>) {
    match answer {
        Ok(_) => status.dependency_up(dependency),
        Err(reason) => status.dependency_down(dependency, &Outage::new(OutageCause::Failing, reason)),
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
