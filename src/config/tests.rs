//! The configuration as an operator meets it: precedence, error lines, masking, warnings.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::variables::VARIABLES;
use super::*;

/// A folder with an env file and a TOML file, and an environment of its own.
struct Fixture {
    folder: tempfile::TempDir,
    sources: ConfigSources,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fixture = Self { folder, sources: ConfigSources::default() };
        // On disk wherever the tests run, so that no warning depends on the machine.
        fixture = fixture.set("TEMP_DIR", "/");
        fixture
    }

    fn with_servers() -> Self {
        Self::new()
            .set("SQS_QUEUE_URL", "https://sqs.ap-northeast-1.amazonaws.com/123456789012/files")
            .set("S3_BUCKET", "storage")
            .set("OPENSEARCH_ENDPOINT", "https://search-x.ap-northeast-1.es.amazonaws.com")
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.insert(OsString::from(name), OsString::from(value));
        self
    }

    fn env_file(mut self, text: &str) -> Self {
        self.sources.env_file = Some(self.write("env", text));
        self
    }

    fn toml(mut self, text: &str) -> Self {
        self.sources.config_file = Some(self.write("worker.toml", text));
        self
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    }

    fn load(&self) -> Loaded {
        Settings::load(&self.sources, false).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The error lines with the fixture's folder left out.
    fn error_lines(&self, need_servers: bool) -> Vec<String> {
        let errors = Settings::load(&self.sources, need_servers).expect_err("this configuration is wrong");
        let folder = format!("{}/", self.folder.path().display());
        errors.to_string().lines().map(|line| line.replace(&folder, "")).collect()
    }
}

fn value<'a>(loaded: &'a Loaded, name: &str) -> &'a EffectiveValue {
    loaded.values.iter().find(|value| value.variable.name == name).unwrap()
}

fn origin(loaded: &Loaded, name: &str) -> String {
    let origin = value(loaded, name).origin.as_ref().unwrap();
    match origin {
        Origin::EnvFile { file, line } | Origin::Toml { file, line } => {
            format!("{}:{line}", file.file_name().unwrap().to_string_lossy())
        }
        other => other.to_string(),
    }
}

#[test]
fn an_empty_environment_gives_the_defaults_of_the_contract() {
    let loaded = Settings::load(&ConfigSources::default(), false).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.region, "ap-northeast-1");
    assert_eq!(settings.index_name, "cis-files-v2");
    assert_eq!(settings.queue.wait_time, Duration::from_secs(20));
    assert_eq!(settings.queue.visibility_timeout, Duration::from_secs(600));
    assert_eq!(settings.queue.max_messages, 10);
    assert_eq!(settings.file_size_limits.file_bytes, 100 * 1_048_576);
    assert_eq!(settings.file_size_limits.image_bytes, 50 * 1_048_576);
    assert_eq!(settings.extraction.max_pages, 1000);
    assert_eq!(settings.extraction.progress_timeout, Duration::from_secs(300));
    assert_eq!(settings.extraction.total_timeout, Duration::from_secs(7200));
    assert_eq!(settings.extraction.page_timeout, Duration::from_secs(180));
    assert_eq!(settings.extraction.ocr_language, "jpn+eng");
    assert!((settings.extraction.min_ocr_confidence - 50.0).abs() < f32::EPSILON);
    assert!(settings.extraction.workers >= 1);
    assert_eq!(settings.telemetry.log_level, log::LevelFilter::Info);
    assert_eq!(settings.telemetry.status_address.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:9464"));
    assert!(settings.servers.is_none());
    assert_eq!(origin(&loaded, "SQS_WAIT_TIME"), "default");
    assert_eq!(origin(&loaded, "MAX_WORKERS"), "default: the CPU count");
    assert!(value(&loaded, "LOG_FILE").shown.is_none());
}

#[test]
fn environment_over_env_file_over_toml_over_defaults() {
    let fixture = Fixture::new()
        .toml("sqs_wait_time = 1\nPDF_DPI = 200\nMIN_OCR_CONFIDENCE = 62.5\nSKIP_UNCHANGED = false\n")
        .env_file("# from user data\nSQS_WAIT_TIME=\"2\"\nSQS_MAX_MESSAGES=4\n")
        .set("SQS_WAIT_TIME", "3");
    let loaded = fixture.load();
    assert_eq!(loaded.settings.queue.wait_time, Duration::from_secs(3));
    assert_eq!(loaded.settings.queue.max_messages, 4);
    assert_eq!(loaded.settings.extraction.pdf_dpi, 200);
    assert!((loaded.settings.extraction.min_ocr_confidence - 62.5).abs() < f32::EPSILON);
    assert!(!loaded.settings.skip_unchanged);
    let names = ["SQS_WAIT_TIME", "SQS_MAX_MESSAGES", "PDF_DPI", "MAX_PDF_PAGES"];
    assert_eq!(names.map(|name| origin(&loaded, name)), ["environment", "env:3", "worker.toml:2", "default"]);
}

#[test]
fn the_last_assignment_in_the_env_file_wins() {
    let fixture = Fixture::new().env_file("SQS_WAIT_TIME=2\nSQS_WAIT_TIME=3\n");
    assert_eq!(fixture.load().settings.queue.wait_time, Duration::from_secs(3));
}

#[test]
fn an_empty_value_is_unset_and_lets_the_layer_below_through() {
    let fixture =
        Fixture::new().toml("SQS_WAIT_TIME = 5\n").env_file("SQS_WAIT_TIME=\"\"\n").set("SQS_WAIT_TIME", "  ");
    let loaded = fixture.load();
    assert_eq!(loaded.settings.queue.wait_time, Duration::from_secs(5));
    assert_eq!(origin(&loaded, "SQS_WAIT_TIME"), "worker.toml:1");
}

#[test]
fn an_empty_status_address_is_off() {
    let loaded = Fixture::new().set("STATUS_ADDRESS", "").load();
    assert!(loaded.settings.telemetry.status_address.is_none());
    assert_eq!(origin(&loaded, "STATUS_ADDRESS"), "environment");
}

#[test]
fn a_wrong_value_is_one_line_with_variable_value_origin_and_what_is_accepted() {
    let fixture = Fixture::new()
        .env_file("\nSQS_WAIT_TIME=25\nIMAGE_PREPROCESSING=on\n")
        .toml("THUMBNAIL_QUALITY = 0")
        .set("LOG_LEVEL", "LOUD\nand more");
    let lines = fixture.error_lines(false);
    let expected = [
        "SQS_WAIT_TIME=\"25\" (env:2): expected a whole number of seconds from 0 to 20",
        "IMAGE_PREPROCESSING=\"on\" (env:3): expected true, false, 1, 0, yes or no",
        "THUMBNAIL_QUALITY=\"0\" (worker.toml:1): expected a whole number of JPEG quality points from 1 to 100",
        "LOG_LEVEL=\"LOUD\\nand more\" (environment): expected TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_very_long_value_is_cut_in_its_error() {
    let lines = Fixture::new().set("SQS_WAIT_TIME", &"9".repeat(10_000)).error_lines(false);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].len() < 250, "{}", lines[0].len());
}

#[test]
fn missing_servers_are_named_only_where_they_are_needed() {
    let fixture = Fixture::new().env_file("S3_BUCKET=storage\n");
    let lines = fixture.error_lines(true);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("SQS_QUEUE_URL is required and not set (looked in the environment, env)"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("OPENSEARCH_ENDPOINT is required"), "{}", lines[1]);
    assert!(fixture.load().settings.servers.is_none());
}

#[test]
fn servers_are_there_when_they_are_needed() {
    let fixture = Fixture::with_servers().set("OPENSEARCH_USERNAME", "admin").set("OPENSEARCH_PASSWORD", " p w ");
    let servers = Settings::load(&fixture.sources, true).unwrap().settings.servers.unwrap();
    assert_eq!(servers.bucket, "storage");
    assert_eq!(servers.thumbnail_bucket, "cis-filesearch-s3-thumbnail");
    assert_eq!(servers.opensearch_basic_auth.as_ref().map(|auth| auth.password.as_str()), Some(" p w "));
    assert!(!format!("{servers:?}").contains("p w"));
}

#[test]
fn a_wrong_server_is_an_error_also_for_commands_that_need_none() {
    let lines = Fixture::new().set("OPENSEARCH_ENDPOINT", "https://").error_lines(false);
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_user_without_password_is_an_error_and_so_is_the_reverse_without_showing_the_password() {
    let lines = Fixture::with_servers().set("OPENSEARCH_USERNAME", "admin").error_lines(true);
    assert!(
        lines[0].starts_with("OPENSEARCH_USERNAME=\"admin\" (environment) without OPENSEARCH_PASSWORD"),
        "{}",
        lines[0]
    );
    let lines = Fixture::with_servers().set("OPENSEARCH_PASSWORD", "geheim").error_lines(true);
    assert!(!lines[0].contains("geheim"), "{}", lines[0]);
}

#[test]
fn secrets_are_masked_also_inside_urls() {
    let fixture = Fixture::new().set("OPENSEARCH_USERNAME", "admin").set("OPENSEARCH_PASSWORD", "geheim");
    assert_eq!(value(&fixture.load(), "OPENSEARCH_PASSWORD").shown.as_deref(), Some("****"));
    let lines = Fixture::new().set("OPENSEARCH_ENDPOINT", "https://admin:ge@heim@host/x").error_lines(false);
    assert!(lines[0].starts_with("OPENSEARCH_ENDPOINT=\"https://****@host/x\""), "{}", lines[0]);
    assert!(!lines[0].contains("heim"), "{}", lines[0]);
}

#[test]
fn an_unknown_toml_key_is_an_error_with_a_suggestion() {
    let lines = Fixture::new().toml("PDF_DPI = 300\nSQS_WAITTIME = 20\n[table]\na = 1\n").error_lines(false);
    assert_eq!(lines[0], "worker.toml:2: unknown key \"SQS_WAITTIME\"; did you mean SQS_WAIT_TIME?");
    assert_eq!(lines[1], "worker.toml:3: unknown key \"table\"");
}

#[test]
fn toml_values_are_strings_numbers_or_booleans_and_set_once() {
    let lines = Fixture::new().toml("PDF_DPI = [300]\nSQS_WAIT_TIME = 0x10\n").error_lines(false);
    assert_eq!(lines[0], "worker.toml:1: PDF_DPI must be a string, a decimal number, true or false");
    assert!(lines[1].starts_with("worker.toml:2: SQS_WAIT_TIME must be"), "{}", lines[1]);
    let lines = Fixture::new().toml("PDF_DPI = 300\npdf_dpi = 200\n").error_lines(false);
    assert!(lines[0].contains("PDF_DPI is set twice"), "{}", lines[0]);
}

#[test]
fn broken_toml_is_one_line_with_its_place() {
    let lines = Fixture::new().toml("PDF_DPI = 300\nSQS_WAIT_TIME = \n").error_lines(false);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("worker.toml:2: not valid TOML: "), "{}", lines[0]);
}

#[test]
fn a_toml_integer_is_not_taken_for_a_boolean_that_it_is_not() {
    let lines = Fixture::new().toml("SKIP_UNCHANGED = 2\n").error_lines(false);
    assert!(lines[0].starts_with("SKIP_UNCHANGED=\"2\" (worker.toml:1)"), "{}", lines[0]);
}

#[test]
fn a_file_that_is_missing_is_one_line() {
    let mut fixture = Fixture::new();
    fixture.sources.env_file = Some(fixture.folder.path().join("env"));
    let lines = fixture.error_lines(false);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("read configuration file env: No such file"), "{}", lines[0]);
}

#[test]
fn misspelt_names_and_dropped_lines_are_warned_about_but_others_are_left_alone() {
    let fixture = Fixture::new()
        .env_file("export S3_BUCKET=storage\nMAX_WORKER=4\nHTTPS_PROXY=http://proxy\n")
        .set("SQS_WAITTIME", "20")
        .set("TERM", "xterm");
    let warnings = fixture.load().warnings.join("\n");
    assert!(warnings.contains("SQS_WAITTIME (the environment) is not a variable"), "{warnings}");
    assert!(warnings.contains("MAX_WORKER") && warnings.contains("did you mean MAX_WORKERS?"), "{warnings}");
    assert!(warnings.contains(":1: ignored: \"export S3_BUCKET\" is not a name"), "{warnings}");
    assert!(!warnings.contains("PROXY") && !warnings.contains("TERM"), "{warnings}");
}

#[test]
fn variables_of_others_in_the_env_file_are_handed_on_as_systemd_would() {
    let fixture = Fixture::new()
        .env_file("AWS_ENDPOINT_URL_SQS=http://127.0.0.1:9324\nAWS_PROFILE=a\nNOT_POSSIBLE=a\0b\nSQS_WAIT_TIME=1\n")
        .set("AWS_PROFILE", "from the environment");
    let expected = [("AWS_ENDPOINT_URL_SQS".to_owned(), "http://127.0.0.1:9324".to_owned())];
    assert_eq!(fixture.load().foreign_variables, expected);
}

#[test]
fn a_variable_that_does_nothing_is_named_when_it_was_set() {
    assert!(Fixture::new().load().ignored.is_empty());
    let loaded = Fixture::new().set("CLOUDWATCH_LOG_GROUP", "/aws/ec2/other").load();
    assert_eq!(loaded.ignored[0].variable, "CLOUDWATCH_LOG_GROUP");
}

#[test]
fn the_spool_must_hold_the_largest_file() {
    let lines = Fixture::new().set("SPOOL_MB", "99").error_lines(false);
    assert!(lines[0].starts_with("SPOOL_MB=99 is less than MAX_FILE_SIZE_MB=100"), "{}", lines[0]);
}

#[test]
fn the_dead_letter_queue_is_another_queue() {
    let queue = "https://sqs.ap-northeast-1.amazonaws.com/123456789012/files";
    let lines = Fixture::with_servers().set("DLQ_QUEUE_URL", queue).error_lines(true);
    assert!(lines[0].contains("is SQS_QUEUE_URL"), "{}", lines[0]);
}

#[test]
fn what_works_but_was_hardly_meant_is_a_warning() {
    let fixture = Fixture::with_servers()
        .set("AWS_REGION", "us-east-1")
        .set("OPENSEARCH_VERIFY_CERTS", "false")
        .set("SQS_VISIBILITY_TIMEOUT", "5")
        .set("OCR_TIMEOUT", "400")
        .set("STATUS_ADDRESS", "0.0.0.0:9464");
    let warnings = fixture.load().warnings;
    let starts = [
        "SQS_VISIBILITY_TIMEOUT",
        "OCR_TIMEOUT",
        "STATUS_ADDRESS",
        "OPENSEARCH_VERIFY_CERTS",
        "SQS_QUEUE_URL",
        "OPENSEARCH_ENDPOINT",
    ];
    let found: Vec<bool> =
        starts.iter().map(|start| warnings.iter().any(|warning| warning.starts_with(start))).collect();
    assert_eq!(found, [true; 6], "{warnings:#?}");
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
}

#[test]
fn a_complete_production_configuration_has_no_warning() {
    let fixture = Fixture::with_servers();
    assert_eq!(fixture.load().warnings, Vec::<String>::new());
}

#[test]
fn a_spool_in_memory_is_warned_about_and_still_wins() {
    if !Path::new("/dev/shm").is_dir() {
        eprintln!("skipped: there is no /dev/shm");
        return;
    }
    let loaded = Fixture::new().set("TEMP_DIR", "/dev/shm/spool").load();
    assert_eq!(loaded.settings.temp_dir, Path::new("/dev/shm/spool"));
    assert!(loaded.warnings.iter().any(|warning| warning.contains("is memory")), "{:?}", loaded.warnings);
}

#[test]
fn every_variable_of_the_table_is_read() {
    let mut fixture = Fixture::with_servers();
    // A value that only paths, texts and secrets take: whatever is not named in an error must take text.
    for variable in VARIABLES {
        fixture = fixture.set(variable.name, "\u{1}");
    }
    let errors = Settings::load(&fixture.sources, true).expect_err("nothing but text can be a control character");
    for variable in VARIABLES {
        let takes_text = matches!(variable.kind, variables::Kind::Text | variables::Kind::Path);
        let is_named = errors.errors.iter().any(|error| error.variable() == Some(variable.name));
        assert_ne!(takes_text, is_named, "{}", variable.name);
        let listed = errors.values.iter().find(|value| value.variable.name == variable.name).unwrap();
        assert!(listed.shown.is_some(), "{} is in the table but never read", variable.name);
    }
}
