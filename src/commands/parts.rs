//! From settings to parts: children with their engine, and the three adapters to the world.
//!
//! The adapter is picked by the URL's scheme: `file:` is embedded, every other URL is the server. That is all the
//! difference between the daemon and `local`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use url::Url;

use crate::aws;
use crate::config::{MEGABYTE, ServerSettings, Settings};
use crate::extract::pdfium_library;
use crate::health::status::Status;
use crate::index::Index;
use crate::index::embedded::EmbeddedIndex;
use crate::index::opensearch::OpenSearchIndex;
use crate::job::Context;
use crate::job::spool::Spool;
use crate::job::turns::Turns;
use crate::ocr::engine::Engine;
use crate::ocr::fingerprint::{self, OcrSettings};
use crate::ocr::models;
use crate::pool::protocol::ChildSettings;
use crate::pool::{self, Pool, PoolSettings};
use crate::queue::Queue;
use crate::queue::folder::{FolderQueue, FolderQueueSettings};
use crate::queue::observed::ObservedQueue;
use crate::queue::sqs::SqsQueue;
use crate::store::ObjectStore;
use crate::store::dir::DirStore;
use crate::store::s3::S3Store;

/// A child that is larger than this after a request is replaced: a page of ordinary size needs less than half.
const CHILD_RESIDENT_LIMIT_BYTES: u64 = 300 * MEGABYTE;

/// What the children read with, found and named.
#[derive(Clone, Debug)]
pub struct OcrParts {
    pub tessdata_dir: PathBuf,
    pub pdfium_library: PathBuf,
    /// pdfium tells no version: a digest of the library.
    pub pdfium_version: String,
    /// `ocr_engine` of the documents (contract §3).
    pub fingerprint: String,
}

/// Finds models and pdfium. The error names every place tried.
pub fn find_ocr_parts(settings: &Settings) -> Result<OcrParts> {
    let extraction = &settings.extraction;
    let tessdata_dir = models::find_tessdata(extraction.tessdata_prefix.as_deref(), &extraction.ocr_language)
        .map_err(|sentence| anyhow!(sentence))?;
    let pdfium_library =
        pdfium_library::find_pdfium(extraction.pdfium_library_path.as_deref()).map_err(|sentence| anyhow!(sentence))?;
    let pdfium_version = pdfium_library::digest(&pdfium_library).context("read libpdfium.so")?;
    let ocr_settings = OcrSettings {
        tessdata_dir: &tessdata_dir,
        ocr_language: &extraction.ocr_language,
        pdf_dpi: extraction.pdf_dpi,
        image_preprocessing: extraction.image_preprocessing,
        min_ocr_confidence: extraction.min_ocr_confidence,
        pdfium_version: &pdfium_version,
    };
    let fingerprint = fingerprint::fingerprint(&Engine::version(), &ocr_settings)?;
    Ok(OcrParts { tessdata_dir, pdfium_library, pdfium_version, fingerprint })
}

/// What the pool is told: the settings, with the places resolved.
pub fn pool_settings(settings: &Settings, ocr: &OcrParts, spool: &Spool, workers: usize) -> PoolSettings {
    let extraction = &settings.extraction;
    PoolSettings {
        program: pool::OWN_PROGRAM.into(),
        workers,
        child: ChildSettings {
            spool_dir: spool.folder().to_owned(),
            tessdata_dir: ocr.tessdata_dir.clone(),
            ocr_language: extraction.ocr_language.clone(),
            pdfium_library: ocr.pdfium_library.clone(),
            pdf_dpi: extraction.pdf_dpi,
            image_preprocessing: extraction.image_preprocessing,
            min_ocr_confidence: extraction.min_ocr_confidence,
            max_pixels: extraction.max_image_pixels,
            archive_contents: extraction.archive_contents,
            memory_limit_bytes: extraction.child_memory_bytes,
            thumbnail_width: extraction.thumbnail_width,
            thumbnail_height: extraction.thumbnail_height,
            thumbnail_quality: extraction.thumbnail_quality,
        },
        page_timeout: extraction.page_timeout,
        progress_timeout: extraction.progress_timeout,
        total_timeout: extraction.total_timeout,
        max_pages: extraction.max_pages,
        child_max_pages: extraction.child_max_pages,
        child_resident_limit_bytes: CHILD_RESIDENT_LIMIT_BYTES,
    }
}

/// The three adapters.
pub struct Parts {
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn ObjectStore>,
    pub index: Arc<dyn Index>,
    /// The same queue, where it is a folder: it can tell how far it is.
    pub folder: Option<Arc<FolderQueue>>,
}

/// Builds the adapters; nothing is proven to answer yet.
pub async fn connect(settings: &Settings) -> Result<Parts> {
    let servers = servers(settings)?;
    let needs_sdk = [servers.queue_url.scheme(), servers.opensearch_endpoint.scheme()].iter().any(|it| *it != "file")
        || !servers.bucket.starts_with("file:");
    let sdk_config = if needs_sdk { Some(aws::sdk_config(&settings.region).await) } else { None };
    let sdk = || sdk_config.as_ref().expect("loaded, because one of the parts is a server");

    let mut known_keys = Vec::new();
    let index: Arc<dyn Index> = if servers.opensearch_endpoint.scheme() == "file" {
        let embedded = EmbeddedIndex::open(&file_path(&servers.opensearch_endpoint)?)?;
        for entry in embedded.keys().await? {
            known_keys.push(entry?.0);
        }
        Arc::new(embedded)
    } else {
        Arc::new(OpenSearchIndex::connect(servers, &settings.region, &settings.index_name, sdk())?)
    };
    let state_dir = if servers.thumbnail_bucket.starts_with("file:") {
        file_path(&Url::parse(&servers.thumbnail_bucket).context("S3_THUMBNAIL_BUCKET")?)?
    } else {
        settings.temp_dir.clone()
    };
    let store: Arc<dyn ObjectStore> = if servers.bucket.starts_with("file:") {
        let root = file_path(&Url::parse(&servers.bucket).context("S3_BUCKET")?)?;
        Arc::new(DirStore::open(&root, &state_dir).with_context(|| format!("open {}", root.display()))?)
    } else {
        Arc::new(S3Store::new(sdk(), &servers.bucket, &servers.thumbnail_bucket))
    };
    let mut folder = None;
    let queue: Arc<dyn Queue> = if servers.queue_url.scheme() == "file" {
        let root = file_path(&servers.queue_url)?;
        let folder_settings = FolderQueueSettings {
            state_dir,
            bucket: servers.bucket.clone(),
            known_keys,
            visibility_timeout: settings.queue.visibility_timeout,
            watch_interval: watch_interval(&servers.queue_url),
            root,
        };
        let opened = FolderQueue::start(folder_settings).with_context(|| format!("walk {}", servers.queue_url))?;
        let queue = Arc::new(opened);
        folder = Some(Arc::clone(&queue));
        queue
    } else {
        let dead_letters = servers.dead_letter_queue_url.as_ref();
        Arc::new(SqsQueue::new(sdk(), &servers.queue_url, dead_letters, &settings.queue))
    };
    Ok(Parts { queue, store, index, folder })
}

/// The context of all jobs, with the queue that brings them.
pub struct Assembly {
    pub context: Arc<Context>,
    pub queue: Arc<dyn Queue>,
    /// See [`Parts::folder`].
    pub folder: Option<Arc<FolderQueue>>,
}

/// Finds the engine, starts the children and connects the adapters, side by side.
pub async fn assemble(settings: Settings, status: &Arc<Status>, force: bool) -> Result<Assembly> {
    let ocr = find_ocr_parts(&settings)?;
    let spool = Spool::create(&settings.temp_dir, settings.spool_bytes)?;
    let (pool, parts) =
        tokio::try_join!(start_pool(&settings, &ocr, &spool, settings.extraction.workers), connect(&settings))?;
    let default_bucket = servers(&settings)?.bucket.clone();
    let context = Arc::new(Context {
        settings,
        store: parts.store,
        index: parts.index,
        pool,
        spool,
        status: Arc::clone(status),
        turns: Turns::default(),
        engine_fingerprint: ocr.fingerprint,
        default_bucket,
        force,
    });
    let queue = Arc::new(ObservedQueue::new(parts.queue, Arc::clone(status)));
    Ok(Assembly { context, queue, folder: parts.folder })
}

/// The query parameter of a folder's URL that says how often to look again: `file:///scans?watch=5`, seconds.
pub const WATCH_PARAMETER: &str = "watch";

fn watch_interval(queue_url: &Url) -> Option<Duration> {
    let (_, seconds) = queue_url.query_pairs().find(|(name, _)| name == WATCH_PARAMETER)?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// The servers' settings; the configuration has proven that they are there for commands that need them.
pub fn servers(settings: &Settings) -> Result<&ServerSettings> {
    settings.servers.as_ref().context("this command needs SQS_QUEUE_URL, S3_BUCKET and OPENSEARCH_ENDPOINT")
}

fn file_path(url: &Url) -> Result<PathBuf> {
    match url.to_file_path() {
        Ok(path) => Ok(path),
        Err(()) => bail!("{url} is not a file URL with an absolute path"),
    }
}

/// Starts the children; all of them are ready when this returns.
pub async fn start_pool(settings: &Settings, ocr: &OcrParts, spool: &Spool, workers: usize) -> Result<Pool> {
    Pool::start(pool_settings(settings, ocr, spool, workers)).await.context("start the children")
}
