//! From strings with origins to [`Settings`]: every variable of the table is read once, in its type.
//!
//! Errors are collected, not returned at the first, so that one start shows everything that has to be mended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use super::error::ConfigError;
use super::parse::{self, Rejected};
use super::sources::{ConfigSources, Layers, Origin};
use super::variables::{self, DefaultValue, Kind, VARIABLES, Variable};
use super::{
    BasicAuth, EffectiveValue, ExtractionSettings, FileSizeLimits, LifecycleSettings, MEGABYTE, QueueSettings,
    ServerSettings, Settings, TelemetrySettings, checks, temp_dir,
};

/// What a secret looks like to a reader.
const MASK: &str = "****";

/// Everything that was resolved, right or wrong.
pub(super) struct Resolved {
    pub settings: Settings,
    pub errors: Vec<ConfigError>,
    pub values: Vec<EffectiveValue>,
    pub warnings: Vec<String>,
}

/// Resolves all variables. With errors among the result, `settings` holds defaults in place of what was wrong and
/// must not be used.
pub(super) fn resolve(sources: &ConfigSources, layers: &Layers, need_servers: bool) -> Resolved {
    let mut resolver = Resolver { layers, errors: Vec::new(), effective: BTreeMap::new() };
    let servers = resolver.servers();
    if need_servers {
        resolver.require_servers(sources);
    }
    let settings = Settings {
        region: resolver.value("AWS_REGION", parse::region),
        index_name: resolver.value("OPENSEARCH_INDEX", parse::index_name),
        temp_dir: resolver.temp_dir(sources),
        spool_bytes: resolver.megabytes("SPOOL_MB"),
        skip_unchanged: resolver.value("SKIP_UNCHANGED", parse::boolean),
        reuse_same_content: resolver.value("REUSE_SAME_CONTENT", parse::boolean),
        checkpoint_min_pages: resolver.whole_u32("CHECKPOINT_MIN_PAGES"),
        checkpoint_max_age: Duration::from_hours(24 * resolver.whole("CHECKPOINT_DAYS")),
        drain_timeout: resolver.seconds("DRAIN_TIMEOUT"),
        lifecycle: resolver.lifecycle(),
        queue: resolver.queue(),
        file_size_limits: resolver.file_size_limits(),
        extraction: resolver.extraction(),
        telemetry: resolver.telemetry(),
        servers: if need_servers { servers.clone() } else { None },
    };
    let mut warnings = Vec::new();
    if resolver.errors.is_empty() {
        checks::cross_check(&settings, servers.as_ref(), &mut resolver.errors, &mut warnings);
    }
    let values = resolver.effective_values();
    let mut errors = resolver.errors;
    errors.sort_by_key(place_in_table);
    Resolved { settings, errors, values, warnings }
}

/// Errors are listed in the table's order, those about several variables last.
fn place_in_table(error: &ConfigError) -> usize {
    let place = VARIABLES.iter().position(|variable| Some(variable.name) == error.variable());
    place.unwrap_or(VARIABLES.len())
}

struct Resolver<'a> {
    layers: &'a Layers,
    errors: Vec<ConfigError>,
    /// By name: what is shown, and where it is from.
    effective: BTreeMap<&'static str, (String, Origin)>,
}

impl Resolver<'_> {
    /// A variable that has a default in the table, parsed like what was typed.
    fn value<T>(&mut self, name: &'static str, parser: impl Fn(&str) -> Result<T, Rejected>) -> T {
        if let Some(value) = self.set_value(name, &parser) {
            return value;
        }
        let variable = listed(name);
        let DefaultValue::Value(text) = variable.default else { unreachable!("{name} has a default in the table") };
        self.effective.entry(name).or_insert_with(|| (text.to_owned(), Origin::Default));
        parser(text).expect("defaults in the table are acceptable values")
    }

    /// A variable that was set, or `None`: not set, or wrong, which is recorded.
    fn set_value<T>(&mut self, name: &'static str, parser: impl Fn(&str) -> Result<T, Rejected>) -> Option<T> {
        let raw = self.layers.find(name)?;
        let variable = listed(name);
        let text = if variable.secret { raw.text.as_str() } else { raw.text.trim() };
        let shown = shown(variable, text);
        self.effective.insert(name, (shown.clone(), raw.origin.clone()));
        let rejected = match parser(text) {
            Ok(value) => return Some(value),
            Err(rejected) => rejected,
        };
        let because = match rejected {
            Rejected::NotAccepted => None,
            Rejected::Because(why) => Some(why),
        };
        let accepted = variable.kind.to_string();
        self.errors.push(ConfigError::Wrong { variable: name, shown, origin: raw.origin.clone(), accepted, because });
        None
    }

    fn whole(&mut self, name: &'static str) -> u64 {
        let (minimum, maximum) = limits(name);
        self.value(name, |text| parse::whole(text, minimum, maximum))
    }

    /// A whole number whose upper limit in the table fits 32 bits.
    fn whole_u32(&mut self, name: &'static str) -> u32 {
        u32::try_from(self.whole(name)).expect("the table's limit fits 32 bits")
    }

    fn whole_usize(&mut self, name: &'static str) -> usize {
        usize::try_from(self.whole(name)).expect("the table's limit fits the address space")
    }

    fn seconds(&mut self, name: &'static str) -> Duration {
        Duration::from_secs(self.whole(name))
    }

    fn megabytes(&mut self, name: &'static str) -> u64 {
        self.whole(name).saturating_mul(MEGABYTE)
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        self.set_value(name, |text| Ok(text.to_owned()))
    }

    fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.set_value(name, |text| std::path::absolute(text).map_err(|_| Rejected::NotAccepted))
    }

    /// The servers when all three required ones are set and right. Their values are read, and errors recorded, also
    /// for commands that need none: a wrong value is wrong wherever it is found.
    fn servers(&mut self) -> Option<ServerSettings> {
        let queue_url = self.set_value("SQS_QUEUE_URL", parse::queue_url);
        let bucket = self.set_value("S3_BUCKET", parse::bucket);
        let opensearch_endpoint = self.set_value("OPENSEARCH_ENDPOINT", parse::endpoint);
        let dead_letter_queue_url = self.set_value("DLQ_QUEUE_URL", parse::queue_url);
        let thumbnail_bucket = self.value("S3_THUMBNAIL_BUCKET", parse::bucket);
        let opensearch_verify_certs = self.value("OPENSEARCH_VERIFY_CERTS", parse::boolean);
        let opensearch_basic_auth = self.basic_auth();
        Some(ServerSettings {
            queue_url: queue_url?,
            dead_letter_queue_url,
            bucket: bucket?,
            thumbnail_bucket,
            opensearch_endpoint: opensearch_endpoint?,
            opensearch_basic_auth,
            opensearch_verify_certs,
        })
    }

    fn basic_auth(&mut self) -> Option<BasicAuth> {
        let username = self.text("OPENSEARCH_USERNAME");
        let password = self.text("OPENSEARCH_PASSWORD");
        let (set, not_set) = match (username, password) {
            (Some(username), Some(password)) => return Some(BasicAuth { username, password }),
            (None, None) => return None,
            (Some(_), None) => ("OPENSEARCH_USERNAME", "OPENSEARCH_PASSWORD"),
            (None, Some(_)) => ("OPENSEARCH_PASSWORD", "OPENSEARCH_USERNAME"),
        };
        let (shown, origin) = &self.effective[set];
        let expected = "expected both for basic authentication, or none to sign requests";
        let text = format!("{set}={shown:?} ({origin}) without {not_set}: {expected}");
        self.errors.push(ConfigError::Conflict(text));
        None
    }

    fn require_servers(&mut self, sources: &ConfigSources) {
        for variable in VARIABLES.iter().filter(|variable| variable.default == DefaultValue::Required) {
            if self.layers.find(variable.name).is_none() {
                let (looked_in, accepted) = (sources.places(), variable.kind.to_string());
                self.errors.push(ConfigError::Missing { variable: variable.name, looked_in, accepted });
            }
        }
    }

    fn queue(&mut self) -> QueueSettings {
        QueueSettings {
            wait_time: self.seconds("SQS_WAIT_TIME"),
            visibility_timeout: self.seconds("SQS_VISIBILITY_TIMEOUT"),
            max_messages: self.whole_usize("SQS_MAX_MESSAGES"),
        }
    }

    fn lifecycle(&mut self) -> LifecycleSettings {
        LifecycleSettings {
            drain_timeout: self.seconds("LIFECYCLE_DRAIN_TIMEOUT"),
            group_name: self.text("AUTO_SCALING_GROUP_NAME"),
            hook_name: self.text("LIFECYCLE_HOOK_NAME"),
        }
    }

    fn file_size_limits(&mut self) -> FileSizeLimits {
        FileSizeLimits {
            file_bytes: self.megabytes("MAX_FILE_SIZE_MB"),
            image_bytes: self.megabytes("MAX_IMAGE_SIZE_MB"),
            pdf_bytes: self.megabytes("MAX_PDF_SIZE_MB"),
            office_bytes: self.megabytes("MAX_OFFICE_SIZE_MB"),
        }
    }

    fn extraction(&mut self) -> ExtractionSettings {
        ExtractionSettings {
            workers: self.workers(),
            max_pages: self.whole_u32("MAX_PDF_PAGES"),
            progress_timeout: self.seconds("PROCESSING_TIMEOUT"),
            total_timeout: self.seconds("PROCESSING_TIMEOUT_TOTAL"),
            page_timeout: self.seconds("OCR_TIMEOUT"),
            ocr_language: self.value("OCR_LANGUAGE", parse::languages),
            pdf_dpi: self.whole_u32("PDF_DPI"),
            image_preprocessing: self.value("IMAGE_PREPROCESSING", parse::boolean),
            min_ocr_confidence: self.value("MIN_OCR_CONFIDENCE", parse::percent),
            tessdata_prefix: self.path("TESSDATA_PREFIX"),
            pdfium_library_path: self.path("PDFIUM_LIBRARY_PATH"),
            max_image_pixels: self.whole("MAX_IMAGE_PIXELS"),
            archive_contents: self.value("ARCHIVE_CONTENTS", parse::boolean),
            child_memory_bytes: self.megabytes("CHILD_MEMORY_MB"),
            child_max_pages: self.whole_u32("CHILD_MAX_PAGES"),
            thumbnail_width: self.whole_u32("THUMBNAIL_WIDTH"),
            thumbnail_height: self.whole_u32("THUMBNAIL_HEIGHT"),
            thumbnail_quality: u8::try_from(self.whole("THUMBNAIL_QUALITY")).expect("the table's limit fits 8 bits"),
        }
    }

    fn workers(&mut self) -> usize {
        let (minimum, maximum) = limits("MAX_WORKERS");
        if let Some(typed) = self.set_value("MAX_WORKERS", |text| parse::whole(text, minimum, maximum)) {
            return usize::try_from(typed).expect("the table's limit fits the address space");
        }
        // Counts what the scheduler gives us: cgroup quota and affinity, not the machine's sockets.
        let cpus = available_parallelism().map_or(1, usize::from);
        self.computed("MAX_WORKERS", cpus.to_string(), "the CPU count");
        cpus
    }

    fn temp_dir(&mut self, sources: &ConfigSources) -> PathBuf {
        if let Some(typed) = self.path("TEMP_DIR") {
            return typed;
        }
        let (folder, how) = temp_dir::default_folder(sources);
        self.computed("TEMP_DIR", folder.display().to_string(), how);
        folder
    }

    fn telemetry(&mut self) -> TelemetrySettings {
        // Only shown: the CloudWatch agent's configuration decides.
        let _: String = self.value("CLOUDWATCH_LOG_GROUP", |text| Ok(text.to_owned()));
        TelemetrySettings {
            log_level: self.value("LOG_LEVEL", parse::log_level),
            log_file: self.path("LOG_FILE"),
            status_address: self.value("STATUS_ADDRESS", parse::address),
        }
    }

    /// Records a default that was found out; a wrong value that was typed keeps its place in the list.
    fn computed(&mut self, name: &'static str, shown: String, how: &'static str) {
        self.effective.entry(name).or_insert((shown, Origin::Computed(how)));
    }

    /// The whole table in its order, with what is not set among it.
    fn effective_values(&self) -> Vec<EffectiveValue> {
        let of_variable = |variable: &'static Variable| match self.effective.get(variable.name) {
            Some((shown, origin)) => {
                EffectiveValue { variable, shown: Some(shown.clone()), origin: Some(origin.clone()) }
            }
            None => EffectiveValue { variable, shown: None, origin: None },
        };
        VARIABLES.iter().map(of_variable).collect()
    }
}

fn listed(name: &str) -> &'static Variable {
    variables::find(name).expect("every variable that is read stands in the table")
}

/// The limits of a whole number, from the table.
fn limits(name: &str) -> (u64, u64) {
    match listed(name).kind {
        Kind::Whole { minimum, maximum, .. } => (minimum, maximum),
        _ => unreachable!("{name} is a whole number in the table"),
    }
}

/// The value as it may be shown: secrets masked, also a password that was put into a URL.
fn shown(variable: &Variable, text: &str) -> String {
    if variable.secret {
        return MASK.to_owned();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => text.to_owned(),
    }
}
