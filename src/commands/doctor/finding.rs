//! One line of the report.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;

use crate::commands::validate::Check;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Ok,
    /// It works; a person should look all the same.
    Warn,
    /// The worker cannot do its work.
    Fail,
    /// Not tried; the text says why.
    Skipped,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
            Verdict::Skipped => "SKIPPED",
        }
    }
}

/// What one check found, and what to do about it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// Always there for WARN and FAIL.
    pub action: Option<String>,
}

impl Finding {
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), action: None }
    }

    pub fn warn(name: &'static str, found: impl Into<String>, action: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), action: Some(action.into()) }
    }

    pub fn fail(name: &'static str, found: impl Into<String>, action: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), action: Some(action.into()) }
    }

    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Skipped, found: why.into(), action: None }
    }

    /// A check of `--validate-only`; `action` is for a failure, its warnings say themselves what to do.
    pub fn of_check(check: Check, action: impl Into<String>) -> Self {
        match check.result {
            Err(found) => Self::fail(check.name, found, action),
            Ok(found) if check.warnings.is_empty() => Self::ok(check.name, found),
            Ok(found) => Self::warn(check.name, found, check.warnings.join("; ")),
        }
    }
}

/// The same reason for several checks.
pub fn all_skipped(names: &[&'static str], why: &str) -> Vec<Finding> {
    names.iter().map(|name| Finding::skipped(name, why)).collect()
}

/// The check's finding, or a failure when it takes longer than `limit`.
pub async fn within(
    limit: Duration,
    name: &'static str,
    action: &str,
    check: impl Future<Output = Finding>,
) -> Finding {
    match tokio::time::timeout(limit, check).await {
        Ok(finding) => finding,
        Err(_) => Finding::fail(name, format!("no answer within {} s", limit.as_secs()), action),
    }
}
