//! Settings that are right one by one and wrong together. What cannot work is an error; what works but probably was
//! not meant, a warning.

use std::net::IpAddr;
use std::time::Duration;

use url::Url;

use super::error::ConfigError;
use super::{MEGABYTE, ServerSettings, Settings, temp_dir};

/// Leases are extended at half-time. Shorter ones than this are lost whenever an answer takes a few seconds.
const SHORT_VISIBILITY: Duration = Duration::from_secs(30);

pub(super) fn cross_check(
    settings: &Settings,
    servers: Option<&ServerSettings>,
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<String>,
) {
    check_spool(settings, errors);
    warn_about_times(settings, warnings);
    warn_about_places(settings, warnings);
    if let Some(servers) = servers {
        check_queues(servers, errors);
        warn_about_servers(settings, servers, warnings);
    }
}

/// A file that the limits let pass must fit into the spool, or it would wait for ever.
fn check_spool(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let limits = &settings.file_size_limits;
    let named_limits = [
        ("MAX_FILE_SIZE_MB", limits.file_bytes),
        ("MAX_IMAGE_SIZE_MB", limits.image_bytes),
        ("MAX_PDF_SIZE_MB", limits.pdf_bytes),
        ("MAX_OFFICE_SIZE_MB", limits.office_bytes),
    ];
    for (name, bytes) in named_limits {
        if bytes > settings.spool_bytes {
            let (spool_mb, limit_mb) = (settings.spool_bytes / MEGABYTE, bytes / MEGABYTE);
            let text =
                format!("SPOOL_MB={spool_mb} is less than {name}={limit_mb}: expected room for the largest file");
            errors.push(ConfigError::Conflict(text));
        }
    }
}

fn check_queues(servers: &ServerSettings, errors: &mut Vec<ConfigError>) {
    if servers.dead_letter_queue_url.as_ref() == Some(&servers.queue_url) {
        let text = format!("DLQ_QUEUE_URL={:?} is SQS_QUEUE_URL: expected another queue", servers.queue_url.as_str());
        errors.push(ConfigError::Conflict(text));
    }
}

fn warn_about_times(settings: &Settings, warnings: &mut Vec<String>) {
    let extraction = &settings.extraction;
    if settings.queue.visibility_timeout < SHORT_VISIBILITY {
        let seconds = settings.queue.visibility_timeout.as_secs();
        warnings
            .push(format!("SQS_VISIBILITY_TIMEOUT={seconds} leaves little time to extend leases; 30 or more is safer"));
    }
    if extraction.page_timeout > extraction.progress_timeout {
        warnings.push("OCR_TIMEOUT is longer than PROCESSING_TIMEOUT, which ends the document first".to_owned());
    }
    if extraction.progress_timeout > extraction.total_timeout {
        warnings.push(
            "PROCESSING_TIMEOUT is longer than PROCESSING_TIMEOUT_TOTAL, which ends the document first".to_owned(),
        );
    }
}

fn warn_about_places(settings: &Settings, warnings: &mut Vec<String>) {
    if temp_dir::is_in_memory(&settings.temp_dir) {
        let folder = settings.temp_dir.display();
        warnings.push(format!("TEMP_DIR {folder} is memory, not disk: files being read take RAM from the children"));
    }
    if let Some(address) = settings.telemetry.status_address
        && !address.ip().is_loopback()
    {
        warnings.push(format!("STATUS_ADDRESS {address} is not loopback: whoever reaches it can read the status"));
    }
}

fn warn_about_servers(settings: &Settings, servers: &ServerSettings, warnings: &mut Vec<String>) {
    let endpoint = &servers.opensearch_endpoint;
    if endpoint.scheme() == "https" && !servers.opensearch_verify_certs {
        warnings.push("OPENSEARCH_VERIFY_CERTS is off: anybody in between can read and change documents".to_owned());
    }
    if endpoint.scheme() == "http" && servers.opensearch_basic_auth.is_some() && !is_loopback(endpoint) {
        warnings.push("OPENSEARCH_PASSWORD travels unencrypted: OPENSEARCH_ENDPOINT is http".to_owned());
    }
    let named_urls = [("SQS_QUEUE_URL", &servers.queue_url), ("OPENSEARCH_ENDPOINT", endpoint)];
    for (name, url) in named_urls {
        if let Some(region) = aws_region_of(url)
            && region != settings.region
        {
            warnings
                .push(format!("{name} is in {region}, but AWS_REGION is {}: requests may be refused", settings.region));
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The region in an AWS service's host name: `sqs.REGION.amazonaws.com`, `NAME.REGION.es.amazonaws.com`,
/// `NAME.REGION.aoss.amazonaws.com`, `REGION.queue.amazonaws.com`.
fn aws_region_of(url: &Url) -> Option<&str> {
    let host = url.host_str()?;
    let service_host = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    service_host.split('.').find(|label| super::parse::region(label).is_ok())
}
