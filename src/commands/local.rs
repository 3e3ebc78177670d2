//! `local DIR`: embedded mode. The same service as the daemon's, on `file:` URLs: the folder is queue and store,
//! tantivy is the index. Everything written lies beside the index.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use url::Url;

use crate::cli::LocalArgs;
use crate::config::{ServerSettings, Settings};
use crate::health::logging;
use crate::health::status::Status;
use crate::index::embedded::last;
use crate::job::Context;
use crate::lifecycle::interruption::Interruptions;
use crate::lifecycle::jobs::Jobs;
use crate::lifecycle::service::Service;
use crate::queue::folder::FolderQueue;

use super::parts::{self, Assembly};

/// Where everything lies below DIR unless `--index` says otherwise.
const STATE_FOLDER: &str = ".file-processor";
const INDEX_FOLDER: &str = "index";
/// How often `--watch` looks at the folder; network shares tell nobody of changes, so it has to be looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Makes the folder searchable; exit 1 when files had to be set aside (dead letters) or the run was interrupted.
pub async fn run(settings: Settings, arguments: &LocalArgs, interruptions: Interruptions) -> Result<ExitCode> {
    let folder = arguments
        .folder
        .canonicalize()
        .with_context(|| format!("{} is not a folder that can be read", arguments.folder.display()))?;
    let index_folder = index_folder(&folder, arguments.index.as_deref())?;
    let settings = embedded(settings, &folder, &index_folder, arguments.watch)?;
    let started = Instant::now();

    let status = Arc::new(Status::new(settings.queue.wait_time));
    let Assembly { context, queue, folder: folder_queue } = parts::assemble(settings, &status, arguments.force).await?;
    let folder_queue = folder_queue.context("the queue of `local` is a folder")?;
    if let Err(error) = last::remember_index(&index_folder) {
        log::warn!(error:% = error; "`search` without --index will not know this index");
    }
    status.set_ready();

    let progress = Progress::start(Arc::clone(&folder_queue), Arc::clone(&context));
    let service = Service {
        context: Arc::clone(&context),
        queue,
        status: Arc::clone(&status),
        jobs: Arc::new(Jobs::default()),
        interruptions: interruptions.clone(),
    };
    service.run().await;
    progress.finish();
    context.index.flush().await.context("make the index durable")?;
    context.pool.shutdown().await;

    print_summary(&status, &folder, &index_folder, started.elapsed());
    let interrupted = interruptions.stop().is_cancelled() && !arguments.watch;
    let set_aside = folder_queue.dead_letters() > 0;
    if set_aside {
        eprintln!("files set aside are listed in {}", folder_queue.dead_letter_file().display());
    }
    let unreadable = folder_queue.unreadable();
    if unreadable > 0 {
        eprintln!("{unreadable} files or folders below {} could not be read", folder.display());
    }
    Ok(if interrupted || set_aside || unreadable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The index's folder, made absolute; it may not exist yet.
fn index_folder(folder: &Path, given: Option<&Path>) -> Result<PathBuf> {
    let index_folder = match given {
        Some(path) => std::path::absolute(path)?,
        None => folder.join(STATE_FOLDER).join(INDEX_FOLDER),
    };
    std::fs::create_dir_all(&index_folder).with_context(|| {
        format!("{} cannot be written; name a place for the index with --index PATH", index_folder.display())
    })?;
    Ok(index_folder)
}

/// Spool, thumbnails and dead letters lie beside the index.
fn state_folder(index_folder: &Path) -> PathBuf {
    match (index_folder.parent(), index_folder.file_name()) {
        (Some(parent), Some(name)) if name == INDEX_FOLDER && parent.ends_with(STATE_FOLDER) => parent.to_owned(),
        (Some(parent), Some(name)) => parent.join(format!("{}.files", name.to_string_lossy())),
        _ => index_folder.to_owned(),
    }
}

/// The settings of the servers, all of them `file:` URLs.
fn embedded(settings: Settings, folder: &Path, index_folder: &Path, watch: bool) -> Result<Settings> {
    let url = |path: &Path| Url::from_directory_path(path).map_err(|()| anyhow!("{} is not absolute", path.display()));
    let state = state_folder(index_folder);
    let mut queue_url = url(folder)?;
    if watch {
        queue_url.query_pairs_mut().append_pair(parts::WATCH_PARAMETER, &WATCH_INTERVAL.as_secs().to_string());
    }
    Ok(Settings {
        temp_dir: state.join("spool"),
        servers: Some(ServerSettings {
            queue_url,
            dead_letter_queue_url: None,
            bucket: url(folder)?.to_string(),
            thumbnail_bucket: url(&state)?.to_string(),
            opensearch_endpoint: url(index_folder)?,
            opensearch_basic_auth: None,
            opensearch_verify_certs: true,
        }),
        ..settings
    })
}

/// The bar on a terminal; nothing elsewhere.
struct Progress {
    bar: ProgressBar,
    ticker: tokio::task::JoinHandle<()>,
}

impl Progress {
    fn start(queue: Arc<FolderQueue>, context: Arc<Context>) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let target = if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        logging::keep_off_progress_bars(bars.clone());
        let bar = bars.add(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {msg}, {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let drawn = bar.clone();
        let ticker = tokio::spawn(async move {
            while !drawn.is_finished() {
                let progress = queue.progress();
                drawn.set_position(progress.done);
                if let Some(total) = progress.total {
                    drawn.set_length(total);
                }
                drawn.set_message(format!("{} pages", context.pool.snapshot().pages.total()));
                tokio::time::sleep(PROGRESS_INTERVAL).await;
            }
        });
        Self { bar, ticker }
    }

    fn finish(self) {
        self.bar.finish_and_clear();
        drop(self.ticker);
    }
}

/// The summary by outcome, aligned.
fn print_summary(status: &Status, folder: &Path, index_folder: &Path, took: Duration) {
    for (outcome, reason, count) in status.outcomes_by_reason() {
        let reason = reason.map_or_else(String::new, |reason| reason.to_string());
        println!("{count:>8}  {outcome:<22} {reason}");
    }
    println!("{} is searchable ({:.1} s)", folder.display(), took.as_secs_f64());
    eprintln!("search it: file-processor-worker search WORDS --index {}", index_folder.display());
}
