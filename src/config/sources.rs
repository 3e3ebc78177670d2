//! Where values come from: environment, env file, TOML file. Everything stays a string with its origin here;
//! [`super::resolve`] parses.
//!
//! The crate `config` would merge the layers, but it lower-cases keys, turns `"1"` into `true` where asked, and
//! forgets the line: strict errors that name file and line need the text as it was typed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::env_file;
use super::error::ConfigError;
use super::variables::{self, Kind, VARIABLES};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Found out at start; the text says how.
    Computed(&'static str),
    Toml {
        file: PathBuf,
        line: usize,
    },
    EnvFile {
        file: PathBuf,
        line: usize,
    },
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::Computed(how) => write!(formatter, "default: {how}"),
            Origin::Toml { file, line } | Origin::EnvFile { file, line } => {
                write!(formatter, "{}:{line}", file.display())
            }
            Origin::Environment => formatter.write_str("environment"),
        }
    }
}

/// What the configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// `--config`
    pub config_file: Option<PathBuf>,
    /// `--env-file`
    pub env_file: Option<PathBuf>,
    /// The process's environment, also for `CACHE_DIRECTORY`, `XDG_CACHE_HOME` and `HOME`.
    pub environment: BTreeMap<OsString, OsString>,
}

impl ConfigSources {
    /// The two files with this process's environment.
    pub fn from_process(config_file: Option<PathBuf>, env_file: Option<PathBuf>) -> Self {
        Self { config_file, env_file, environment: std::env::vars_os().collect() }
    }

    /// The places in which a variable is looked for, for "not set" errors.
    pub(super) fn places(&self) -> String {
        let mut places = vec!["the environment".to_owned()];
        places.extend(self.env_file.iter().chain(&self.config_file).map(|file| file.display().to_string()));
        places.join(", ")
    }

    /// A variable of the environment that is a folder; `None` when unset, empty or relative.
    pub(super) fn directory(&self, name: &str) -> Option<PathBuf> {
        let value = self.environment.get(std::ffi::OsStr::new(name))?;
        let path = PathBuf::from(value);
        path.is_absolute().then_some(path)
    }
}

/// A value as typed.
#[derive(Clone, Debug)]
pub(super) struct RawValue {
    pub text: String,
    pub origin: Origin,
}

type Layer = BTreeMap<&'static str, RawValue>;

/// All sources, read.
#[derive(Debug, Default)]
pub(super) struct Layers {
    environment: Layer,
    env_file: Layer,
    toml: Layer,
    /// Variables of the env file that are not ours, in its order, the last of a name only: systemd would hand them to
    /// the service (`AWS_ENDPOINT_URL_SQS`, `HTTPS_PROXY`, …). Those that the environment has as well are left out.
    pub foreign: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

impl Layers {
    /// Reads both files.
    ///
    /// # Errors
    /// Every file that cannot be read or understood, and every unknown key of the TOML file.
    pub fn read(sources: &ConfigSources) -> Result<Self, Vec<ConfigError>> {
        let mut layers = Self::default();
        let mut errors = Vec::new();
        layers.read_environment(sources, &mut errors);
        if let Some(file) = &sources.env_file {
            layers.read_env_file(file, sources, &mut errors);
        }
        if let Some(file) = &sources.config_file {
            layers.read_toml(file, &mut errors);
        }
        if errors.is_empty() { Ok(layers) } else { Err(errors) }
    }

    /// The value that holds: environment over env file over TOML. An empty value counts as unset (contract §2),
    /// except where empty means something.
    pub fn find(&self, name: &str) -> Option<&RawValue> {
        let empty_means_something = variables::find(name).is_some_and(|variable| variable.kind == Kind::Address);
        [&self.environment, &self.env_file, &self.toml]
            .into_iter()
            .filter_map(|layer| layer.get(name))
            .find(|value| empty_means_something || !value.text.trim().is_empty())
    }

    fn read_environment(&mut self, sources: &ConfigSources, errors: &mut Vec<ConfigError>) {
        for (name, value) in &sources.environment {
            let Some(name) = name.to_str() else { continue };
            let Some(variable) = variables::find(name) else {
                self.warn_of_near_miss(name, "the environment");
                continue;
            };
            match value.to_str() {
                Some(text) => {
                    let value = RawValue { text: text.to_owned(), origin: Origin::Environment };
                    self.environment.insert(variable.name, value);
                }
                None => errors.push(ConfigError::Wrong {
                    variable: variable.name,
                    shown: if variable.secret { "****".to_owned() } else { value.to_string_lossy().into_owned() },
                    origin: Origin::Environment,
                    accepted: variable.kind.to_string(),
                    because: Some("it is not UTF-8"),
                }),
            }
        }
    }

    fn read_env_file(&mut self, file: &Path, sources: &ConfigSources, errors: &mut Vec<ConfigError>) {
        let Some(text) = read_text(file, errors) else { return };
        let parsed = env_file::parse(&text);
        for ignored in parsed.ignored {
            self.warnings.push(format!("{}:{}: ignored: {}", file.display(), ignored.line, ignored.why));
        }
        for assignment in parsed.assignments {
            let origin = Origin::EnvFile { file: file.to_owned(), line: assignment.line };
            if let Some(variable) = variables::find(&assignment.name) {
                self.env_file.insert(variable.name, RawValue { text: assignment.value, origin });
                continue;
            }
            self.warn_of_near_miss(&assignment.name, &origin.to_string());
            // No process can have a NUL in its environment.
            let is_possible = !assignment.value.contains('\0');
            if is_possible && !sources.environment.contains_key(std::ffi::OsStr::new(&assignment.name)) {
                self.foreign.insert(assignment.name, assignment.value);
            }
        }
    }

    fn read_toml(&mut self, file: &Path, errors: &mut Vec<ConfigError>) {
        let Some(text) = read_text(file, errors) else { return };
        let table = match DeTable::parse(&text) {
            Ok(table) => table,
            Err(error) => {
                let line = line_at(&text, error.span().map_or(0, |span| span.start));
                let problem = format!("not valid TOML: {}", error.message().replace('\n', ", "));
                errors.push(ConfigError::File { path: file.to_owned(), line, problem });
                return;
            }
        };
        for (key, value) in table.get_ref() {
            let line = line_at(&text, key.span().start);
            match self.toml_entry(key.get_ref(), value.get_ref(), Origin::Toml { file: file.to_owned(), line }) {
                Ok(()) => {}
                Err(problem) => errors.push(ConfigError::File { path: file.to_owned(), line, problem }),
            }
        }
    }

    /// Keys are the variables' names in any case; values are strings, numbers or booleans.
    fn toml_entry(&mut self, key: &str, value: &DeValue<'_>, origin: Origin) -> Result<(), String> {
        let Some(variable) = variables::find(&key.to_ascii_uppercase()) else {
            let suggestion = near_miss(key).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            return Err(format!("unknown key {key:?}{suggestion}"));
        };
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(truth) => truth.to_string(),
            _ => return Err(format!("{} must be a string, a decimal number, true or false", variable.name)),
        };
        match self.toml.insert(variable.name, RawValue { text, origin }) {
            Some(earlier) => Err(format!("{} is set twice (also at {})", variable.name, earlier.origin)),
            None => Ok(()),
        }
    }

    fn warn_of_near_miss(&mut self, name: &str, place: &str) {
        if let Some(known) = near_miss(name) {
            self.warnings.push(format!("{name} ({place}) is not a variable of this program; did you mean {known}?"));
        }
    }
}

/// In names of at least these lengths one letter, and two letters, may differ from a variable's. Shorter names are
/// left alone (`PATH`, `HOME`, `TMPDIR`, …).
const MIN_LENGTH_FOR_ONE_EDIT: usize = 7;
const MIN_LENGTH_FOR_TWO_EDITS: usize = 12;

/// The variable that was probably meant by an unknown name: other case, or a letter or two wrong.
fn near_miss(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let allowed_edits = match upper.len() {
        length if length >= MIN_LENGTH_FOR_TWO_EDITS => 2,
        length if length >= MIN_LENGTH_FOR_ONE_EDIT => 1,
        _ => 0,
    };
    let candidates =
        VARIABLES.iter().map(|variable| (strsim::damerau_levenshtein(&upper, variable.name), variable.name));
    candidates.min().filter(|(edits, _)| *edits <= allowed_edits).map(|(_, known)| known)
}

/// The file's text; an error is recorded and `None` returned when it cannot be read or is not UTF-8.
fn read_text(file: &Path, errors: &mut Vec<ConfigError>) -> Option<String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) => {
            errors.push(ConfigError::Unreadable { path: file.to_owned(), cause: error.to_string() });
            None
        }
    }
}

/// The line, from 1, of a byte offset.
fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_common_names_are_not() {
        assert_eq!(near_miss("SQS_WAITTIME"), Some("SQS_WAIT_TIME"));
        assert_eq!(near_miss("sqs_queue_url"), Some("SQS_QUEUE_URL"));
        assert_eq!(near_miss("MAX_WORKER"), Some("MAX_WORKERS"));
        assert_eq!(near_miss("OPENSEARCH_ENDPIONT"), Some("OPENSEARCH_ENDPOINT"));
        for common in ["TMPDIR", "PATH", "HOME", "LOGNAME", "AWS_PROFILE", "AWS_DEFAULT_REGION", "LANGUAGE", "TEMP"] {
            assert_eq!(near_miss(common), None, "{common}");
        }
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!([0, 1, 2, 3].map(|offset| line_at("a\nb\n", offset)), [1, 1, 2, 2]);
    }
}
