//! `--validate-only`: is everything in place? One line a check; user data and image builds rely on its exit code.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::{ConfigErrors, Settings};
use crate::health::error_chain;
use crate::index::opensearch::OpenSearchIndex;
use crate::job::spool::Spool;
use crate::queue::Queue;
use crate::queue::sqs::SqsQueue;
use crate::store::ObjectStore;
use crate::store::s3::S3Store;
use crate::{aws, ocr};

use super::parts;

/// Free space below which the spool cannot do its work.
const MIN_FREE_BYTES: u64 = 1024 * 1024 * 1024;
/// Fewer receives than this dead-letter healthy messages on spot instances (deployment facts: a release counts too).
const MIN_RECEIVE_COUNT: u32 = 5;

/// One line of the report. `doctor` shows the same checks with more beside them.
pub(super) struct Check {
    pub name: &'static str,
    pub result: std::result::Result<String, String>,
    /// What an operator should know although it works.
    pub warnings: Vec<String>,
}

impl Check {
    fn new(name: &'static str, result: std::result::Result<String, String>) -> Self {
        Self { name, result, warnings: Vec::new() }
    }

    fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }
}

/// Proves engine and disk, and unless `offline` queue, bucket and index; the configuration has been read without an
/// error. Exit 0, or 1 naming the failed checks.
pub async fn run(settings: &Settings, offline: bool) -> Result<ExitCode> {
    let mut checks = vec![Check::new("configuration", Ok("every variable is valid".to_owned()))];
    let (local, remote) = tokio::join!(local_checks(settings), async {
        if offline { Vec::new() } else { remote_checks(settings).await }
    });
    checks.extend(remote);
    checks.extend(local);
    Ok(report(checks))
}

/// A configuration that is wrong is the first failed check, and the only one: nothing else can be proven with it.
pub fn report_configuration(errors: &ConfigErrors) -> ExitCode {
    report(errors.errors.iter().map(|error| Check::new("configuration", Err(error.to_string()))).collect())
}

fn report(checks: Vec<Check>) -> ExitCode {
    let mut failed = Vec::new();
    for check in &checks {
        match &check.result {
            Ok(detail) => {
                let warnings: String = check.warnings.iter().map(|text| format!(" (WARNING: {text})")).collect();
                println!("ok      {:<18} {detail}{warnings}", check.name);
            }
            Err(detail) => {
                println!("FAILED  {:<18} {detail}", check.name);
                failed.push(check.name);
            }
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    failed.dedup();
    eprintln!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Models, pdfium, sandbox (in a child that really starts) and disk.
pub(super) async fn local_checks(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![disk_check(settings)];
    let language = &settings.extraction.ocr_language;
    let tessdata = ocr::models::find_tessdata(settings.extraction.tessdata_prefix.as_deref(), language);
    let pdfium = crate::extract::pdfium_library::find_pdfium(settings.extraction.pdfium_library_path.as_deref());
    let both_found = tessdata.is_ok() && pdfium.is_ok();
    let models = tessdata.map(|folder| format!("{language} in {}", folder.display()));
    let library = pdfium.map(|path| path.display().to_string());
    if !both_found {
        checks.push(Check::new("models", models));
        checks.push(Check::new("pdfium", library));
        checks.push(Check::new("sandbox", Err("not tried: a child cannot start without models and pdfium".to_owned())));
        return checks;
    }
    let started = async {
        let ocr_parts = parts::find_ocr_parts(settings)?;
        let spool = Spool::create(&settings.temp_dir, settings.spool_bytes)?;
        let pool = parts::start_pool(settings, &ocr_parts, &spool, 1).await?;
        let ready = pool.ready();
        pool.shutdown().await;
        anyhow::Ok((ocr_parts, ready))
    };
    match started.await {
        Ok((ocr_parts, ready)) => {
            checks.push(Check::new(
                "models",
                models.map(|text| format!("{text}; Tesseract {}; {}", ready.tesseract_version, ocr_parts.fingerprint)),
            ));
            checks.push(Check::new("pdfium", library.map(|path| format!("{path}; {}", ready.pdfium_version))));
            let weakness = (!ready.sandbox.is_full())
                .then(|| "this system does not fence the children in completely; a kernel of 5.13 or newer with Landlock does".to_owned());
            checks.push(
                Check::new("sandbox", Ok(ready.sandbox.to_string())).with_warnings(weakness.into_iter().collect()),
            );
        }
        Err(error) => {
            checks.push(Check::new("models", Err(format!("{error:#}"))));
            checks.push(Check::new("pdfium", library));
            checks.push(Check::new("sandbox", Err("no child could start".to_owned())));
        }
    }
    checks
}

fn disk_check(settings: &Settings) -> Check {
    let folder = &settings.temp_dir;
    let free = std::fs::create_dir_all(folder).and_then(|()| {
        let figures = rustix::fs::statvfs(folder)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    });
    let result = match free {
        Ok(bytes) if bytes >= MIN_FREE_BYTES => {
            Ok(format!("{} MB free in {} (TEMP_DIR)", bytes / crate::config::MEGABYTE, folder.display()))
        }
        Ok(bytes) => Err(format!(
            "{} MB free in {} (TEMP_DIR); at least {} MB are needed",
            bytes / crate::config::MEGABYTE,
            folder.display(),
            MIN_FREE_BYTES / crate::config::MEGABYTE
        )),
        Err(error) => Err(format!("{} (TEMP_DIR): {error}", folder.display())),
    };
    Check::new("disk", result)
}

/// Queue with its dead-letter queue, bucket and index, side by side.
async fn remote_checks(settings: &Settings) -> Vec<Check> {
    let Some(servers) = &settings.servers else {
        return vec![Check::new("queue", Err("no servers are configured".to_owned()))];
    };
    let sdk_config = aws::sdk_config(&settings.region).await;
    let queue = SqsQueue::new(&sdk_config, &servers.queue_url, servers.dead_letter_queue_url.as_ref(), &settings.queue);
    let store = S3Store::new(&sdk_config, &servers.bucket, &servers.thumbnail_bucket);
    let thumbnail_store = S3Store::new(&sdk_config, &servers.thumbnail_bucket, &servers.thumbnail_bucket);
    let (queue_checks, bucket, thumbnails, index) = tokio::join!(
        queue_checks(&queue, servers.queue_url.as_str()),
        store.probe(),
        thumbnail_store.probe(),
        index_check(settings, &sdk_config),
    );
    let mut checks = queue_checks;
    let bucket_result = |name: &str, answer: std::result::Result<(), crate::store::StoreError>| {
        answer.map(|()| name.to_owned()).map_err(|error| format!("{name}: {}", error_chain(&error)))
    };
    checks.push(Check::new("bucket", bucket_result(&servers.bucket, bucket)));
    checks.push(Check::new("thumbnail bucket", bucket_result(&servers.thumbnail_bucket, thumbnails)));
    checks.push(index);
    checks
}

pub(super) async fn queue_checks(queue: &SqsQueue, url: &str) -> Vec<Check> {
    let info = match queue.probe().await {
        Ok(info) => info,
        Err(error) => {
            let sentence = format!("{url}: {}", error_chain(&error));
            return vec![
                Check::new("queue", Err(sentence)),
                Check::new("dead-letter queue", Err("unknown while the queue does not answer".to_owned())),
            ];
        }
    };
    let mut facts = format!("{url}; {} visible, {} in flight", info.visible, info.in_flight);
    let mut warnings = Vec::new();
    if let Some(count) = info.max_receive_count {
        facts.push_str(&format!("; maxReceiveCount {count}"));
        if count < MIN_RECEIVE_COUNT {
            warnings.push(format!(
                "maxReceiveCount {count}: releases count as receives; set it to {MIN_RECEIVE_COUNT} or more"
            ));
        }
    }
    let dead_letters = match queue.probe_dead_letter().await {
        Ok(name) => Ok(name),
        Err(error) => Err(format!(
            "{}; give the queue a redrive policy or set DLQ_QUEUE_URL, or known-bad messages are never deleted",
            error_chain(&error)
        )),
    };
    vec![Check::new("queue", Ok(facts)).with_warnings(warnings), Check::new("dead-letter queue", dead_letters)]
}

/// The index exists, its mapping fits, and we may write.
pub(super) async fn index_check(settings: &Settings, sdk_config: &aws_config::SdkConfig) -> Check {
    let mut warnings = Vec::new();
    let result = validate_index(settings, sdk_config, &mut warnings).await;
    Check::new("index", result).with_warnings(warnings)
}

async fn validate_index(
    settings: &Settings,
    sdk_config: &aws_config::SdkConfig,
    warnings: &mut Vec<String>,
) -> std::result::Result<String, String> {
    let servers = settings.servers.as_ref().ok_or("no servers are configured")?;
    let name = format!("{} on {}", settings.index_name, servers.opensearch_endpoint);
    let index = OpenSearchIndex::connect(servers, &settings.region, &settings.index_name, sdk_config)
        .map_err(|error| format!("{name}: {}", error_chain(&error)))?;
    let findings = index.validate().await.map_err(|error| format!("{name}: {error}"))?;
    *warnings = findings.warnings;
    if !findings.problems.is_empty() {
        return Err(format!("{name}: {}", findings.problems.join("; ")));
    }
    Ok(format!("{name}; mapping fits, writable"))
}
