//! The command line: what was typed ([`Cli`]) and what it means ([`Action`]).

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::variables;

/// Exit codes of every command (contract §2). Usage errors exit with 2, by clap; a wrong configuration with
/// [`crate::config::EX_CONFIG`].
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// A check, a file or a wait failed.
    pub const FAILED: u8 = 1;
    /// Somebody else runs already (sysexits.h EX_TEMPFAIL).
    pub const BUSY: u8 = 75;
}

const ABOUT: &str = "Turns files in S3 into searchable documents in OpenSearch";

const LONG_ABOUT: &str = "\
Turns files in S3 into searchable documents in OpenSearch.

Without a command it is the daemon: it takes messages about changed files from an SQS queue, fetches the files from \
S3, reads them (PDF, images, Office, mail, web pages, text; OCR for scans) in sandboxed child processes, and writes one document for each file \
to OpenSearch. A message is deleted only when its document is safe.

Results go to standard output, logs and progress to standard error.";

const EXAMPLES: &str = "\
Examples:
  file-processor-worker --validate-only --env-file /etc/file-processor/env
                                    prove configuration, servers, models and sandbox; one line a check
  file-processor-worker extract scan.pdf
                                    the text of one file, without any server
  file-processor-worker local ~/documents
  file-processor-worker search 道路
                                    index a folder on this machine, then search it
  file-processor-worker config      the settings that hold, and where each is from
  file-processor-worker doctor      what is wrong, and what to do about it

Configuration:
  Variables of the environment, over --env-file, over --config, over defaults.
  `file-processor-worker config --help` lists every variable.

Exit codes:
  0   done
  1   a check, a file or a wait failed
  2   wrong usage
  75  somebody else runs already
  78  a required variable is missing or a value is wrong (--validate-only: 1)";

const EXTRACT_EXAMPLES: &str = "\
A folder is walked recursively; hidden files and .file-processor are left out, symbolic links are not followed.
Exit code 1 when a path could not be read; whatever a file's content is, the exit code is 0.

Examples:
  file-processor-worker extract scan.pdf
  file-processor-worker extract --json ~/documents > documents.jsonl
  file-processor-worker extract --pages --json scan.pdf | jq '.pages[] | {number, source, confidence}'";

const LOCAL_EXAMPLES: &str = "\
Run again, it reads only what changed; files that were deleted leave the index. Nothing is written outside the index
folder, its spool and its thumbnails.

Examples:
  file-processor-worker local ~/documents
  file-processor-worker local /mnt/nas --index ~/nas-index --watch";

const SEARCH_EXAMPLES: &str = "\
Without --index: ./.file-processor/index, else the index that `local` wrote last on this account.

Examples:
  file-processor-worker search 橋梁 点検
  file-processor-worker search --json --limit 100 'drainage plan' | jq .file_path";

const SMOKE_TEST_EXAMPLES: &str = "\
Sends a message with a new id and waits until its document, built into the program, went the whole way through queue,
daemon and index. A daemon must be running on the queue.

Example:
  file-processor-worker smoke-test --env-file /etc/file-processor/env --timeout 60";

const DOCTOR_EXAMPLES: &str = "\
Every permission is tried in a way that changes nothing: no message is received, sent or deleted, no document written.
One small object is written to the thumbnail bucket and removed again. What cannot be tried so is described.
OK: works. WARN: works, but a person should look. FAIL: the worker cannot do its work. SKIPPED: not tried, and why.
Secrets are masked. Exit code 1 when a check failed.

Run it as the service's user: /app/scripts/debug-worker.sh does that and shows logs and unit beside it.

Examples:
  file-processor-worker doctor --env-file /etc/file-processor/env
  file-processor-worker doctor --json | jq '.recommended_actions[]'";

/// What was typed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "file-processor-worker",
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    disable_version_flag = true,
    disable_help_subcommand = true,
    max_term_width = 120
)]
pub struct Cli {
    /// Prove everything the daemon needs, one line a check; exit 0, or 1 with the failed checks named
    #[arg(long, conflicts_with_all = ["create_index", "version"])]
    pub validate_only: bool,

    /// With --validate-only: leave the servers out (for building machine images)
    #[arg(long, requires = "validate_only")]
    pub offline: bool,

    /// Create the index if it is missing, add fields that it lacks
    #[arg(long, conflicts_with = "version")]
    pub create_index: bool,

    /// Show version, commit, engine fingerprint and pdfium
    #[arg(short = 'V', long)]
    pub version: bool,

    /// TOML file with settings, under the variables' names
    #[arg(long = "config", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,

    /// Environment file, read as systemd reads EnvironmentFile=
    #[arg(long, value_name = "FILE", global = true)]
    pub env_file: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read files without any server: the documents that would be indexed
    #[command(after_help = EXTRACT_EXAMPLES)]
    Extract(ExtractArgs),
    /// Index a folder on this machine, without any server
    #[command(after_help = LOCAL_EXAMPLES)]
    Local(LocalArgs),
    /// Search an index that `local` made
    #[command(after_help = SEARCH_EXAMPLES)]
    Search(SearchArgs),
    /// Send a smoke-test message and wait for its document
    #[command(after_help = SMOKE_TEST_EXAMPLES)]
    SmokeTest(SmokeTestArgs),
    /// Look for what keeps the worker from working, try each permission, say what to do
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Show the settings that hold and where each is from, secrets masked
    #[command(after_help = variables::help())]
    Config(ConfigArgs),
    /// A child process of the pool; started by the program itself
    #[command(hide = true)]
    Child,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ExtractArgs {
    /// Files, and folders with files
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,
    /// One JSON document a line for each file, in the order given, all fields of the index
    #[arg(long)]
    pub json: bool,
    /// Each page by itself: where its text is from, the confidence, the text
    #[arg(long)]
    pub pages: bool,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct LocalArgs {
    /// The folder to index
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Where index, spool and thumbnails are kept [default: DIR/.file-processor/index]
    #[arg(long, value_name = "PATH")]
    pub index: Option<PathBuf>,
    /// Keep running and follow changes
    #[arg(long)]
    pub watch: bool,
    /// Read every file again, also what has not changed
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SearchArgs {
    /// Words to find; Japanese needs no spaces
    #[arg(value_name = "QUERY", required = true)]
    words: Vec<String>,
    /// The index that `local` made
    #[arg(long, value_name = "PATH")]
    pub index: Option<PathBuf>,
    /// One JSON object a line for each hit
    #[arg(long)]
    pub json: bool,
    /// Hits shown at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
}

impl SearchArgs {
    /// The query: words that were typed without quotes belong together.
    pub fn query(&self) -> String {
        self.words.join(" ")
    }
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SmokeTestArgs {
    /// Seconds to wait for the document
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub timeout: u32,
    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DoctorArgs {
    /// One JSON object: ok, checks of {name, verdict, found, action}, recommended_actions of {checks, verdict, action}
    #[arg(long)]
    pub json: bool,
    /// Leave the servers out: this machine only
    #[arg(long)]
    pub offline: bool,
    /// Seconds that one check may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub timeout: u32,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ConfigArgs {
    /// One JSON array of {name, value, source}
    #[arg(long)]
    pub json: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Run,
    ValidateOnly { offline: bool },
    CreateIndex,
    Version,
    Extract(ExtractArgs),
    Local(LocalArgs),
    Search(SearchArgs),
    SmokeTest(SmokeTestArgs),
    Doctor(DoctorArgs),
    Config(ConfigArgs),
    Child,
}

impl Action {
    /// Whether `SQS_QUEUE_URL`, `S3_BUCKET` and `OPENSEARCH_ENDPOINT` must be set (contract §2).
    pub fn needs_servers(&self) -> bool {
        match self {
            Action::Run | Action::CreateIndex | Action::SmokeTest(_) => true,
            Action::ValidateOnly { offline } | Action::Doctor(DoctorArgs { offline, .. }) => !offline,
            Action::Version
            | Action::Extract(_)
            | Action::Local(_)
            | Action::Search(_)
            | Action::Config(_)
            | Action::Child => false,
        }
    }
}

/// Parses the command line. Shows help and ends the program where that was asked for (exit 0), or where the usage is
/// wrong (exit 2).
pub fn parse() -> Cli {
    let cli = Cli::parse();
    if let Err(error) = cli.check() {
        error.exit();
    }
    cli
}

impl Cli {
    /// Flags that are commands of their own cannot stand beside a command. clap's own
    /// `args_conflicts_with_subcommands` would forbid `--config` there as well.
    fn check(&self) -> Result<(), clap::Error> {
        let flag = match self {
            Cli { command: None, .. } => return Ok(()),
            Cli { validate_only: true, .. } => "--validate-only",
            Cli { create_index: true, .. } => "--create-index",
            Cli { version: true, .. } => "--version",
            _ => return Ok(()),
        };
        let message = format!("{flag} cannot be used together with a command");
        Err(Cli::command().error(ErrorKind::ArgumentConflict, message))
    }

    /// What is to be done.
    pub fn action(&self) -> Action {
        if self.version {
            return Action::Version;
        }
        if self.validate_only {
            return Action::ValidateOnly { offline: self.offline };
        }
        if self.create_index {
            return Action::CreateIndex;
        }
        match &self.command {
            None => Action::Run,
            Some(Command::Extract(arguments)) => Action::Extract(arguments.clone()),
            Some(Command::Local(arguments)) => Action::Local(arguments.clone()),
            Some(Command::Search(arguments)) => Action::Search(arguments.clone()),
            Some(Command::SmokeTest(arguments)) => Action::SmokeTest(arguments.clone()),
            Some(Command::Doctor(arguments)) => Action::Doctor(arguments.clone()),
            Some(Command::Config(arguments)) => Action::Config(arguments.clone()),
            Some(Command::Child) => Action::Child,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse_from(std::iter::once("file-processor-worker").chain(line.split_whitespace()))?;
        cli.check()?;
        Ok(cli)
    }

    fn action(line: &str) -> Action {
        typed(line).unwrap_or_else(|error| panic!("{line}: {error}")).action()
    }

    #[test]
    fn clap_finds_no_contradiction_in_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_the_daemon() {
        assert_eq!(action(""), Action::Run);
        assert_eq!(action("--config a.toml --env-file b"), Action::Run);
    }

    #[test]
    fn the_flags_of_the_contract_are_commands() {
        assert_eq!(action("--validate-only"), Action::ValidateOnly { offline: false });
        assert_eq!(action("--validate-only --offline"), Action::ValidateOnly { offline: true });
        assert_eq!(action("--create-index"), Action::CreateIndex);
        assert_eq!(action("--version"), Action::Version);
        assert_eq!(action("-V"), Action::Version);
    }

    #[test]
    fn files_of_settings_may_stand_before_and_after_the_command() {
        for line in ["--env-file x config", "config --env-file x"] {
            let cli = typed(line).unwrap();
            assert_eq!(cli.env_file.as_deref(), Some(std::path::Path::new("x")), "{line}");
        }
    }

    #[test]
    fn commands_take_their_defaults() {
        let Action::Search(search) = action("search 道路 設計 --json") else { panic!("search") };
        assert_eq!((search.query().as_str(), search.limit, search.json), ("道路 設計", 10, true));
        let Action::SmokeTest(smoke_test) = action("smoke-test") else { panic!("smoke-test") };
        assert_eq!(smoke_test.timeout, 120);
        assert_eq!(action("child"), Action::Child);
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        let wrong = [
            "extract",
            "search",
            "local",
            "nonsense",
            "--offline",
            "--validate-only --create-index",
            "--validate-only config",
            "--version config",
            "search a --limit 0",
            "smoke-test --timeout 0",
            "doctor --timeout 0",
            "local a b",
        ];
        for line in wrong {
            assert_eq!(typed(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_exits_with_0_and_tells_exit_codes_and_variables() {
        let help = typed("--help").expect_err("help ends the program");
        assert_eq!(help.exit_code(), 0);
        let text = help.to_string();
        for part in ["Exit codes:", "78", "config --help", "--validate-only", "smoke-test"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("child  "), "the hidden command is hidden");
        let variables = typed("config --help").expect_err("help ends the program").to_string();
        assert!(variables.contains("SQS_QUEUE_URL") && variables.contains("SPOOL_MB=2048"), "{variables}");
    }

    #[test]
    fn only_commands_that_talk_to_servers_need_them() {
        for line in ["", "--validate-only", "--create-index", "smoke-test", "doctor"] {
            assert!(action(line).needs_servers(), "{line}");
        }
        for line in [
            "--validate-only --offline",
            "doctor --offline",
            "extract a",
            "local a",
            "search a",
            "config",
            "--version",
            "child",
        ] {
            assert!(!action(line).needs_servers(), "{line}");
        }
    }
}
