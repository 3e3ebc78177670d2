//! `extract FILE|DIR...`: the document that would be indexed, without any server.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::cli::ExtractArgs;
use crate::config::Settings;
use crate::document::build::{self, Content, DocumentInput, Engine};
use crate::document::{Document, Failure, Outcome, Reason};
use crate::health::error_chain;
use crate::health::logging;
use crate::job::PROCESSOR;
use crate::job::plan::{self, Plan};
use crate::job::spool::Spool;
use crate::pool::protocol::{Page, PageSource};
use crate::pool::{Pool, Source};
use crate::store::dir::DirStore;
use crate::store::{ObjectState, ObjectStore, StoreError, folder_key, walk};

use super::parts;

/// Files on their way at once beyond one per child, so that the next one is in the spool when a child is free.
const LOOK_AHEAD: usize = 2;
const REDRAW: Duration = Duration::from_millis(250);

/// One file of the answer.
struct Extracted {
    document: Document,
    pages: Vec<Page>,
    /// The path itself could not be read: exit 1.
    unreadable: bool,
}

/// Runs the command; exit 1 when a path could not be read.
pub async fn run(settings: &Settings, arguments: &ExtractArgs, stop: CancellationToken) -> Result<ExitCode> {
    let ocr = parts::find_ocr_parts(settings)?;
    let spool = Spool::create(&settings.temp_dir, settings.spool_bytes)?;
    let pool = parts::start_pool(settings, &ocr, &spool, settings.extraction.workers).await?;
    let files = list_files(&arguments.paths);
    let progress = progress_bar(files.len() as u64);
    let extractor = Extractor { settings, pool: &pool, spool: &spool, fingerprint: &ocr.fingerprint, stop: &stop };

    let mut all_readable = true;
    let at_once = settings.extraction.workers + LOOK_AHEAD;
    let mut results = futures_util::stream::iter(files).map(|file| extractor.extract(file)).buffered(at_once);
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        let result = tokio::select! {
            result = results.next() => result,
            _ = redraw.tick() => {
                progress.set_message(format!("{} pages", pool.snapshot().pages.total()));
                continue;
            }
        };
        let Some(Some(extracted)) = result.transpose()? else { break };
        all_readable &= !extracted.unreadable;
        let printed = progress.suspend(|| print(&extracted, arguments));
        progress.inc(1);
        if printed.is_err() {
            break; // the reader of stdout has gone
        }
    }
    drop(results);
    progress.finish_and_clear();
    pool.shutdown().await;
    let interrupted = stop.is_cancelled();
    Ok(if all_readable && !interrupted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A path as given (or found below one as given), or why it cannot be read.
type Listed = std::result::Result<PathBuf, (PathBuf, std::io::Error)>;

/// The files in the order given; folders walked in byte order.
fn list_files(paths: &[PathBuf]) -> Vec<Listed> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(walk::walk(path));
        } else {
            files.push(Ok(path.clone()));
        }
    }
    files
}

fn progress_bar(files: u64) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {msg}, {elapsed} (about {eta} left)");
    let bars = MultiProgress::with_draw_target(target);
    logging::keep_off_progress_bars(bars.clone());
    bars.add(ProgressBar::new(files).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
}

struct Extractor<'a> {
    settings: &'a Settings,
    pool: &'a Pool,
    spool: &'a Spool,
    fingerprint: &'a str,
    stop: &'a CancellationToken,
}

impl Extractor<'_> {
    /// `None` when the command was interrupted.
    async fn extract(&self, listed: Listed) -> Result<Option<Extracted>> {
        let started = Instant::now();
        let path = match listed {
            Ok(path) => path,
            Err((path, error)) => return Ok(Some(unreadable(&path, &error))),
        };
        let absolute = std::path::absolute(&path).context("the current folder")?;
        let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Ok(Some(unreadable(&path, &StoreError::NotFound)));
        };
        let store = match DirStore::open(folder, self.spool.folder()) {
            Ok(store) => store,
            Err(error) => return Ok(Some(unreadable(&path, &error))),
        };
        let name = folder_key::key_of(Path::new(name));
        let state = match store.head("", &name).await {
            Ok(state) => state,
            Err(error) => return Ok(Some(unreadable(&path, &error))),
        };
        let place =
            Place { key: &path.to_string_lossy(), object_url: &store.object_url("", &name), state: &state, started };
        match plan::plan(&name, &state, &self.settings.file_size_limits) {
            Plan::Skip(reason) => {
                let document = place.document(Content::NotRead(&Failure::new(reason, format!("{name} is {reason}"))));
                let document = Document { outcome: Some(Outcome::Skipped), ..document };
                return Ok(Some(Extracted::of(document, Vec::new())));
            }
            Plan::WithoutDownload(failure) => {
                return Ok(Some(Extracted::of(place.document(Content::NotRead(&failure)), Vec::new())));
            }
            Plan::Fetch => {}
        }
        let spool_file = self.spool.reserve(state.size_bytes).await;
        self.spool.room_for(&spool_file).await.map_err(|outage| anyhow!("{outage}"))?;
        let fetched = match store.fetch("", &name, &state, spool_file.path()).await {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Some(unreadable(&path, &error))),
        };
        let source = Source::new(spool_file.path().to_owned(), name.clone());
        let Ok(extraction) = self.pool.extract(source, self.stop).await else { return Ok(None) };
        let engine = Engine { fingerprint: self.fingerprint, ocr_language: &self.settings.extraction.ocr_language };
        let content = Content::Extracted { extraction: &extraction, content_sha256: &fetched.content_sha256, engine };
        let document = place.document(content);
        Ok(Some(Extracted::of(document, extraction.pages)))
    }
}

impl Extracted {
    fn of(document: Document, pages: Vec<Page>) -> Self {
        Self { document, pages, unreadable: false }
    }
}

/// A file and when its turn came.
struct Place<'a> {
    key: &'a str,
    object_url: &'a str,
    state: &'a ObjectState,
    started: Instant,
}

impl Place<'_> {
    fn document(&self, content: Content<'_>) -> Document {
        let now = Timestamp::now();
        build::build(DocumentInput {
            key: self.key,
            bucket: None,
            object_url: self.object_url,
            state: self.state,
            converted: None,
            event: None,
            indexed: None,
            content,
            thumbnail_url: None,
            processor: PROCESSOR,
            processing_time: self.started.elapsed(),
            processed_at: now,
            indexed_at: now,
        })
    }
}

/// A path that cannot be read: `skipped` with the reason, all other fields unknown.
fn unreadable(path: &Path, error: &(dyn std::error::Error + 'static)) -> Extracted {
    let denied = match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.kind() == ErrorKind::PermissionDenied,
        None => matches!(error.downcast_ref(), Some(StoreError::AccessDenied)),
    };
    let reason = if denied { Reason::AccessDenied } else { Reason::NotFound };
    let key = path.to_string_lossy();
    let object_url = std::path::absolute(path)
        .ok()
        .and_then(|absolute| Url::from_file_path(absolute).ok())
        .map_or_else(|| format!("file:{key}"), String::from);
    let failure = Failure::new(reason, format!("{key}: {}", error_chain(error)));
    Extracted { document: build::skipped(&key, &object_url, &failure), pages: Vec::new(), unreadable: true }
}

fn print(extracted: &Extracted, arguments: &ExtractArgs) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        let mut line = serde_json::to_value(&extracted.document)?;
        if arguments.pages {
            line["pages"] = extracted.pages.iter().map(page_json).collect();
        }
        writeln!(stdout, "{line}")?;
    } else {
        write!(stdout, "{}", for_people(extracted, arguments.pages))?;
    }
    Ok(stdout.flush()?)
}

fn page_json(page: &Page) -> Value {
    json!({
        "number": page.number,
        "source": page.source,
        "confidence": page.confidence,
        "reason": page.failure.as_ref().map(|failure| failure.reason),
        "text": page.text,
    })
}

/// A heading with what is known, then the text.
fn for_people(extracted: &Extracted, by_page: bool) -> String {
    let document = &extracted.document;
    let mut facts = vec![document.outcome.map_or_else(String::new, |outcome| outcome.to_string())];
    facts.extend(document.reason.map(|reason| reason.to_string()));
    facts.extend(document.mime_type.clone());
    facts.extend(document.page_count.map(|count| format!("{count} pages ({} OCR)", document.pages_ocr)));
    facts.extend(document.ocr_confidence.map(|confidence| format!("confidence {confidence:.0}")));
    facts.extend(document.char_count.map(|count| format!("{count} characters")));
    let mut text = format!("── {} ── {}\n", document.file_key, facts.join(" · "));
    if let Some(sentence) = &document.error_message {
        text.push_str(sentence);
        text.push('\n');
    }
    if by_page {
        for page in &extracted.pages {
            let confidence = page.confidence.map_or_else(String::new, |value| format!(", confidence {value:.0}"));
            let failure = page.failure.as_ref().map_or_else(String::new, |failure| format!(", {failure}"));
            let source = source_word(page.source);
            text.push_str(&format!("─ page {}: {source}{confidence}{failure}\n{}\n", page.number, page.text));
        }
    } else if let Some(body) = &document.extracted_text {
        text.push_str(body);
        text.push('\n');
    }
    text
}

fn source_word(source: PageSource) -> &'static str {
    match source {
        PageSource::Text => "text layer",
        PageSource::Ocr => "OCR",
        PageSource::Both => "text layer and OCR",
        PageSource::Blank => "blank",
        PageSource::Failed => "failed",
    }
}
