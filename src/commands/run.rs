//! The daemon: build the parts, prove them, say READY, work until SIGTERM, drain, exit 0.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::config::Settings;
use crate::health::{events, http, status::Status, systemd};
use crate::job::Context;
use crate::job::dependencies::Dependencies;
use crate::job::spool::Spool;
use crate::lifecycle::jobs::Jobs;
use crate::lifecycle::service::{Service, error_chain};
use crate::lifecycle::signals::Signals;

use super::parts::{self, Parts};

/// Pause between two looks at parts that do not answer yet.
const PROVE_AGAIN: Duration = Duration::from_secs(2);
/// Fewer receives than this dead-letter healthy messages on spot instances.
const MIN_RECEIVE_COUNT: u32 = 5;

/// Runs the daemon until it is asked to stop.
pub async fn run(settings: Settings, signals: Signals) -> Result<ExitCode> {
    let status = Arc::new(Status::new());
    let jobs = Arc::new(Jobs::default());
    let notifier = systemd::Notifier::start(Arc::clone(&status));
    http::start(settings.telemetry.status_address, Arc::clone(&status)).await;

    let ocr = parts::find_ocr_parts(&settings)?;
    let spool = Spool::create(&settings.temp_dir, settings.spool_bytes)?;
    let (pool, parts) = tokio::try_join!(
        parts::start_pool(&settings, &ocr, &spool, settings.extraction.workers),
        parts::connect(&settings)
    )?;
    let default_bucket = parts::servers(&settings)?.bucket.clone();
    let Parts { queue, store, index, folder: _ } = parts;
    let context = Arc::new(Context {
        settings,
        store,
        index,
        pool,
        spool,
        dependencies: Dependencies::new(),
        status: Arc::clone(&status),
        engine_fingerprint: ocr.fingerprint,
        default_bucket,
        force: false,
    });
    status.watch(Arc::clone(&context), Arc::clone(&jobs));

    if signals.stop.run_until_cancelled(prove(&context, queue.as_ref(), &notifier)).await.is_some() {
        status.ready();
        notifier.ready();
        events::Ready { workers: context.settings.extraction.workers, engine: &context.engine_fingerprint }.emit();
        let service = Service {
            context: Arc::clone(&context),
            queue,
            status: Arc::clone(&status),
            jobs,
            stop: signals.stop.clone(),
            abandon: signals.abandon.clone(),
        };
        service.run().await;
    }
    notifier.stopping();
    if let Err(error) = context.index.flush().await {
        log::warn!(error:%; "the index could not be flushed");
    }
    context.pool.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Returns when queue, bucket and index have answered; until then it says what it waits for.
async fn prove(context: &Context, queue: &dyn crate::queue::Queue, notifier: &systemd::Notifier) {
    let dependencies = &context.dependencies;
    loop {
        let (queue_answer, store_answer, index_answer) =
            tokio::join!(queue.probe(), context.store.probe(), context.index.probe());
        match &queue_answer {
            Ok(info) => {
                dependencies.queue.report_up();
                if info.dead_letter_target.is_none() {
                    context.status.no_dead_letter_queue();
                }
                if info.max_receive_count.is_some_and(|count| count < MIN_RECEIVE_COUNT) {
                    log::warn!(
                        max_receive_count = info.max_receive_count.unwrap_or_default();
                        "maxReceiveCount is below {MIN_RECEIVE_COUNT}: releases at a drain count as receives"
                    );
                }
            }
            Err(error) => dependencies.queue.report_down(&error_chain(error)),
        }
        match &store_answer {
            Ok(()) => dependencies.store.report_up(),
            Err(error) => dependencies.store.report_down(&error_chain(error)),
        }
        match &index_answer {
            Ok(()) => dependencies.index.report_up(),
            Err(error) => dependencies.index.report_down(&error.to_string()),
        }
        if queue_answer.is_ok() && store_answer.is_ok() && index_answer.is_ok() {
            return;
        }
        // systemd would otherwise take a slow cluster for a failed start.
        notifier.extend_timeout(PROVE_AGAIN * 10);
        tokio::time::sleep(PROVE_AGAIN).await;
    }
}
