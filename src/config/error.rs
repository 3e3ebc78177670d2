//! What can be wrong with the configuration: each one line that names the variable, its value, where it was set and
//! what is accepted (contract §2).

use std::fmt;
use std::path::PathBuf;

use super::EffectiveValue;
use super::sources::Origin;

/// Longer values are cut in error lines.
const MAX_SHOWN_CHARACTERS: usize = 120;

/// One thing that is wrong. `Display` is one line; there is no source behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{variable}={} ({origin}): expected {accepted}{}", quoted(shown), explained(*because))]
    Wrong {
        variable: &'static str,
        /// Masked already where it is a secret.
        shown: String,
        origin: Origin,
        accepted: String,
        because: Option<&'static str>,
    },
    #[error("{variable} is required and not set (looked in {looked_in}): expected {accepted}")]
    Missing { variable: &'static str, looked_in: String, accepted: String },
    /// Two settings that cannot hold together; the text names both with their values.
    #[error("{0}")]
    Conflict(String),
    #[error("read configuration file {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: String },
    #[error("{}:{line}: {problem}", path.display())]
    File { path: PathBuf, line: usize, problem: String },
}

impl ConfigError {
    /// The variable that the error is about; `None` for files and for conflicts.
    pub fn variable(&self) -> Option<&'static str> {
        match self {
            ConfigError::Wrong { variable, .. } | ConfigError::Missing { variable, .. } => Some(variable),
            ConfigError::Conflict(_) | ConfigError::Unreadable { .. } | ConfigError::File { .. } => None,
        }
    }
}

/// Everything that is wrong, so that one look mends it all. `Display` is one line for each error.
#[derive(Debug)]
pub struct ConfigErrors {
    /// Never empty.
    pub errors: Vec<ConfigError>,
    /// What could be read, for the `config` command. Empty when a file could not be read.
    pub values: Vec<EffectiveValue>,
    /// See [`super::Loaded::warnings`].
    pub warnings: Vec<String>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// In quotes, on one line whatever it holds, and not longer than a line is wide.
fn quoted(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN_CHARACTERS {
        return format!("{value:?}");
    }
    let beginning: String = value.chars().take(MAX_SHOWN_CHARACTERS).collect();
    format!("{beginning:?}...")
}

fn explained(because: Option<&'static str>) -> String {
    because.map(|why| format!(" ({why})")).unwrap_or_default()
}
