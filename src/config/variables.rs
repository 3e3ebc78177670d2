//! The one table of variables: name, kind, default and meaning.
//!
//! The parser's errors, the `config` command, `config --help` and the test of README's table all read it, so a
//! default or a limit is said in one place only.

use std::fmt;

/// One variable of contract §2, or one of ours.
#[derive(Debug)]
pub struct Variable {
    pub name: &'static str,
    pub kind: Kind,
    pub default: DefaultValue,
    /// One line, without final stop.
    pub description: &'static str,
    /// Its value is shown as `****`.
    pub secret: bool,
}

/// What a variable takes. [`fmt::Display`] says it in words, for errors and for help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Digits, counting `unit`.
    Whole {
        unit: &'static str,
        minimum: u64,
        maximum: u64,
    },
    /// 0–100, decimals allowed.
    Percent,
    Boolean,
    LogLevel,
    QueueUrl,
    /// A URL, or a host that is reached by `https`.
    Endpoint,
    Bucket,
    IndexName,
    Region,
    Languages,
    Path,
    /// An IP address with a port; empty is off (the one variable where empty does not mean unset).
    Address,
    Text,
}

/// What holds when a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Required by the daemon and by commands that talk to servers.
    Required,
    /// This text, parsed like one that was typed.
    Value(&'static str),
    /// Found out at start; the text says how.
    Computed(&'static str),
    /// Nothing; the text says what that means.
    Unset(&'static str),
}

/// SQS: a long poll waits 20 s at most, a batch holds 10 messages, a lease lasts 12 h at most
/// (Amazon SQS quotas).
const MAX_WAIT_TIME_SECONDS: u64 = 20;
const MAX_MESSAGES_PER_RECEIVE: u64 = 10;
const MAX_VISIBILITY_SECONDS: u64 = 43_200;
/// One day: nothing that the worker waits for takes longer.
const MAX_TIMEOUT_SECONDS: u64 = 86_400;
/// 1 TiB, somewhat arbitrary: a larger number was meant in bytes.
const MAX_MEGABYTES: u64 = 1_048_576;
/// More children than this on one machine is a typing error.
const MAX_CHILDREN: u64 = 1_024;

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Whole { unit, minimum, maximum } => {
                write!(formatter, "a whole number of {unit} from {minimum} to {maximum}")
            }
            Kind::Percent => formatter.write_str("a number from 0 to 100"),
            Kind::Boolean => formatter.write_str("true, false, 1, 0, yes or no"),
            Kind::LogLevel => formatter.write_str("TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL"),
            Kind::QueueUrl => {
                formatter.write_str("the queue's URL, as https://sqs.ap-northeast-1.amazonaws.com/123456789012/name")
            }
            Kind::Endpoint => {
                formatter.write_str("a URL that begins with http:// or https://, or a host name (https), port optional")
            }
            Kind::Bucket => formatter.write_str("the bucket's name, without s3://"),
            Kind::IndexName => formatter
                .write_str("an index name: lower case, at most 200 bytes, none of \\ / * ? \" < > | , # : or space"),
            Kind::Region => formatter.write_str("a region, such as ap-northeast-1"),
            Kind::Languages => formatter.write_str("Tesseract languages joined by +, such as jpn+eng"),
            Kind::Path => formatter.write_str("a path"),
            Kind::Address => formatter.write_str("an IP address and port, such as 127.0.0.1:9464, or empty for off"),
            Kind::Text => formatter.write_str("text"),
        }
    }
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultValue::Required => formatter.write_str("required"),
            DefaultValue::Value(text) | DefaultValue::Computed(text) | DefaultValue::Unset(text) => {
                formatter.write_str(text)
            }
        }
    }
}

/// The variable of that name. Names are compared exactly.
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

const fn variable(name: &'static str, kind: Kind, default: DefaultValue, description: &'static str) -> Variable {
    Variable { name, kind, default, description, secret: false }
}

const fn secret(name: &'static str, default: DefaultValue, description: &'static str) -> Variable {
    Variable { name, kind: Kind::Text, default, description, secret: true }
}

const fn whole(unit: &'static str, minimum: u64, maximum: u64) -> Kind {
    Kind::Whole { unit, minimum, maximum }
}

const fn seconds(minimum: u64, maximum: u64) -> Kind {
    whole("seconds", minimum, maximum)
}

const MEGABYTES: Kind = whole("MB (1,048,576 bytes)", 1, MAX_MEGABYTES);

use DefaultValue::{Computed, Required, Unset, Value};

/// Every variable, in the order in which they are listed to a reader.
#[rustfmt::skip] // one variable a line is what makes a table of it
pub const VARIABLES: &[Variable] = &[
    // Servers
    variable("SQS_QUEUE_URL", Kind::QueueUrl, Required, "The queue of messages about changed files"),
    variable("S3_BUCKET", Kind::Bucket, Required, "The bucket of source files; also that of messages which name none"),
    variable("OPENSEARCH_ENDPOINT", Kind::Endpoint, Required, "The search cluster; *.aoss.amazonaws.com is Serverless"),
    variable("AWS_REGION", Kind::Region, Value("ap-northeast-1"), "Region of queue, buckets and request signatures"),
    variable("OPENSEARCH_INDEX", Kind::IndexName, Value("cis-files-v2"), "The index that documents are written to"),
    variable("OPENSEARCH_USERNAME", Kind::Text, Unset("requests are signed by SigV4"), "User for basic authentication"),
    secret("OPENSEARCH_PASSWORD", Unset("requests are signed by SigV4"), "Password for basic authentication"),
    variable("OPENSEARCH_VERIFY_CERTS", Kind::Boolean, Value("true"), "Whether the cluster's certificate is checked"),
    variable("DLQ_QUEUE_URL", Kind::QueueUrl, Unset("from the queue's redrive policy"), "Where known-bad messages are copied to"),
    variable("S3_THUMBNAIL_BUCKET", Kind::Bucket, Value("cis-filesearch-s3-thumbnail"), "The bucket that thumbnails are written to"),
    // Queue
    variable("SQS_WAIT_TIME", seconds(0, MAX_WAIT_TIME_SECONDS), Value("20"), "Long poll: how long one receive call waits"),
    variable("SQS_VISIBILITY_TIMEOUT", seconds(1, MAX_VISIBILITY_SECONDS), Value("600"), "Lease on a message; extended at half-time while its job runs"),
    variable("SQS_MAX_MESSAGES", whole("messages", 1, MAX_MESSAGES_PER_RECEIVE), Value("10"), "Messages taken by one receive call at most"),
    // Limits on files
    variable("MAX_FILE_SIZE_MB", MEGABYTES, Value("100"), "Larger files of other kinds are not fetched (too_large)"),
    variable("MAX_IMAGE_SIZE_MB", MEGABYTES, Value("50"), "Larger images are not fetched (too_large)"),
    variable("MAX_PDF_SIZE_MB", MEGABYTES, Value("100"), "Larger PDFs are not fetched (too_large)"),
    variable("MAX_OFFICE_SIZE_MB", MEGABYTES, Value("100"), "Larger Office files are not fetched (too_large)"),
    variable("MAX_PDF_PAGES", whole("pages", 1, 100_000), Value("1000"), "Pages read of one document; the rest is left out (too_many_pages)"),
    variable("MAX_IMAGE_PIXELS", whole("pixels", 1, 1_000_000_000), Value("200000000"), "Width x height of one image or page at most (too_many_pixels)"),
    variable("ARCHIVE_CONTENTS", Kind::Boolean, Value("false"), "Read what is in archives (zip, tar, gz, 7z), not only the list of its names"),
    variable("SKIP_UNCHANGED", Kind::Boolean, Value("true"), "Leave alone what stands in the index with the same ETag and engine"),
    variable("REUSE_SAME_CONTENT", Kind::Boolean, Value("true"), "Take the text of a scan from the index where the same bytes were read before by the same engine"),
    // Children
    variable("MAX_WORKERS", whole("processes", 1, MAX_CHILDREN), Computed("the CPU count"), "Child processes that read files"),
    variable("PROCESSING_TIMEOUT", seconds(1, MAX_TIMEOUT_SECONDS), Value("300"), "Time a document may take without a finished page (timeout)"),
    variable("PROCESSING_TIMEOUT_TOTAL", seconds(1, MAX_TIMEOUT_SECONDS), Value("7200"), "Time a document may take in all; pages done so far are kept (timeout)"),
    variable("OCR_TIMEOUT", seconds(1, MAX_TIMEOUT_SECONDS), Value("180"), "Time one page may take; then its child is killed (timeout)"),
    variable("CHILD_MEMORY_MB", whole("MB (1,048,576 bytes)", 64, MAX_MEGABYTES), Value("1024"), "Address space of one child; more is out_of_memory for its page"),
    variable("CHILD_MAX_PAGES", whole("pages", 1, 1_000_000), Value("500"), "A child is replaced after so many recognised pages"),
    // OCR
    variable("OCR_LANGUAGE", Kind::Languages, Value("jpn+eng"), "Languages that may be recognised"),
    variable("PDF_DPI", whole("dots per inch", 72, 1_200), Value("300"), "Resolution at which PDF pages are rendered for OCR"),
    variable("IMAGE_PREPROCESSING", Kind::Boolean, Value("true"), "Whether images are cleaned before OCR"),
    variable("MIN_OCR_CONFIDENCE", Kind::Percent, Value("50"), "OCR below this confidence is tried another way, then left out (low_confidence)"),
    variable("TESSDATA_PREFIX", Kind::Path, Unset("/usr/local/share/tessdata, then the distribution's"), "Folder of Tesseract's models"),
    variable("PDFIUM_LIBRARY_PATH", Kind::Path, Unset("beside the program, then the usual places"), "libpdfium.so, or the folder it is in"),
    // Thumbnails
    variable("THUMBNAIL_WIDTH", whole("pixels", 16, 4_096), Value("200"), "Thumbnails fit into this width"),
    variable("THUMBNAIL_HEIGHT", whole("pixels", 16, 4_096), Value("200"), "Thumbnails fit into this height"),
    variable("THUMBNAIL_QUALITY", whole("JPEG quality points", 1, 100), Value("85"), "JPEG quality of thumbnails"),
    // Disk
    variable("TEMP_DIR", Kind::Path, Computed("the service's or the user's cache folder"), "Folder of files that are being read; /tmp may be RAM"),
    variable("SPOOL_MB", MEGABYTES, Value("2048"), "Bytes of files that are being read, on disk at once"),
    variable("CHECKPOINT_MIN_PAGES", whole("pages", 1, 1_000_000), Value("20"), "Recognised pages of documents with so many or more are kept when the worker has to stop"),
    variable("CHECKPOINT_DAYS", whole("days", 1, 365), Value("7"), "Kept pages of unfinished documents are forgotten after this time"),
    // Life
    variable("DRAIN_TIMEOUT", seconds(0, MAX_VISIBILITY_SECONDS), Value("60"), "After SIGTERM or a rebalance recommendation: time to finish; what does not fit goes back to the queue"),
    variable("LIFECYCLE_DRAIN_TIMEOUT", seconds(0, MAX_VISIBILITY_SECONDS), Value("300"), "The same when Auto Scaling terminates the instance; its lifecycle hook is prolonged meanwhile"),
    variable("AUTO_SCALING_GROUP_NAME", Kind::Text, Unset("from the instance's tags where its metadata show them"), "The group whose lifecycle action is completed after the drain"),
    variable("LIFECYCLE_HOOK_NAME", Kind::Text, Unset("lifecycle actions end by their own timeout"), "The termination hook whose action is completed after the drain"),
    // Logs and status
    variable("LOG_LEVEL", Kind::LogLevel, Value("INFO"), "Least severe level that is logged"),
    variable("LOG_FILE", Kind::Path, Unset("no log file"), "Log as JSON lines, with CloudWatch's metrics; a new file each day (UTC) or 100 MB, seven older ones are kept"),
    variable("CLOUDWATCH_LOG_GROUP", Kind::Text, Value("/aws/ec2/file-processor"), "Only reported: the CloudWatch agent's configuration decides"),
    variable("STATUS_ADDRESS", Kind::Address, Value("127.0.0.1:9464"), "Where /livez /readyz /metrics /status answer; empty is off"),
];

/// The list for `config --help`: name, default, meaning, and what is accepted.
pub fn help() -> String {
    let mut text = String::from("Variables (name = default):\n");
    for variable in VARIABLES {
        let default = match variable.default {
            Value(value) => format!("{}={value}", variable.name),
            other => format!("{}  ({other})", variable.name),
        };
        text.push_str(&format!("\n  {default}\n      {}. Takes {}.\n", variable.description, variable.kind));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_unique_and_upper_case() {
        let mut seen = HashSet::new();
        for variable in VARIABLES {
            assert!(seen.insert(variable.name), "{} is listed twice", variable.name);
            assert!(
                variable.name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
    }

    #[test]
    fn descriptions_are_one_line_without_final_stop() {
        for variable in VARIABLES {
            assert!(!variable.description.contains('\n'), "{}", variable.name);
            assert!(!variable.description.ends_with('.'), "{}", variable.name);
        }
    }

    #[test]
    fn help_names_every_variable_with_its_default() {
        let text = help();
        for variable in VARIABLES {
            assert!(text.contains(variable.name), "{}", variable.name);
        }
        assert!(text.contains("SQS_WAIT_TIME=20\n"), "{text}");
        assert!(text.contains("SQS_QUEUE_URL  (required)\n"), "{text}");
    }

    /// The row that README.md's table must hold for a variable; the failing test prints the whole table.
    fn readme_row(variable: &Variable) -> String {
        let default = match variable.default {
            Value(value) => format!("`{value}`"),
            other => other.to_string(),
        };
        format!("| `{}` | {default} | {} |", variable.name, variable.description)
    }

    #[test]
    fn readme_lists_each_variable_with_its_default() {
        let readme = Path::new("README.md");
        let Ok(text) = std::fs::read_to_string(readme) else {
            eprintln!("skipped: there is no {}", readme.display());
            return;
        };
        let table: Vec<String> = VARIABLES.iter().map(readme_row).collect();
        let missing: Vec<&String> = table.iter().filter(|row| !text.contains(row.as_str())).collect();
        assert!(
            missing.is_empty(),
            "README.md lacks {missing:#?}\nThe table is:\n| Variable | Default | Meaning |\n|---|---|---|\n{}",
            table.join("\n")
        );
    }
}
