//! The report: a table for people, one JSON object for programs, no secret in either.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::finding::{Finding, Verdict};
use crate::config::Settings;

const MASK: &str = "****";
/// Shorter values are ordinary words; masking those would make the report unreadable. They are never put into a finding
/// in the first place: this is the second fence.
const SHORTEST_SECRET: usize = 8;
/// The SDK's own variables that are secrets.
const SECRET_VARIABLES: [&str; 3] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OPENSEARCH_PASSWORD"];

/// What must not show.
pub struct Secrets(Vec<String>);

impl Secrets {
    pub fn of(settings: &Settings) -> Self {
        let mut secrets = Self::of_environment();
        let basic_auth = settings.servers.as_ref().and_then(|servers| servers.opensearch_basic_auth.as_ref());
        secrets.add(basic_auth.map(|auth| auth.password.clone()));
        secrets
    }

    pub fn of_environment() -> Self {
        let mut secrets = Self(Vec::new());
        for name in SECRET_VARIABLES {
            secrets.add(std::env::var(name).ok());
        }
        secrets
    }

    fn add(&mut self, secret: Option<String>) {
        self.0.extend(secret.filter(|text| text.len() >= SHORTEST_SECRET));
    }

    fn mask(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |masked, secret| masked.replace(secret.as_str(), MASK))
    }
}

/// One thing to do.
#[derive(Debug, Serialize)]
struct Action<'a> {
    /// Which checks ask for it.
    checks: Vec<&'static str>,
    verdict: Verdict,
    action: &'a str,
}

/// All findings, in the order in which they are shown.
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(mut findings: Vec<Finding>, secrets: Secrets) -> Self {
        let one_line = |text: &str| secrets.mask(text).split_whitespace().collect::<Vec<_>>().join(" ");
        for finding in &mut findings {
            finding.found = one_line(&finding.found);
            finding.action = finding.action.as_deref().map(one_line);
        }
        Self { findings }
    }

    /// Prints it to stdout. Exit 0, or 1 when a check failed.
    pub fn print(&self, as_json: bool) -> Result<ExitCode> {
        let text = if as_json { self.json() } else { self.table() };
        match io::stdout().lock().write_all(text.as_bytes()) {
            // A reader that went away (`doctor | head`) is no failure worth a message.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error).context("write the report"),
            _ => {}
        }
        Ok(if self.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn has_failed(&self) -> bool {
        self.count(Verdict::Fail) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// What to do, failures first, each thing once with all the checks that ask for it.
    fn actions(&self) -> Vec<Action<'_>> {
        let mut actions: Vec<Action<'_>> = Vec::new();
        for verdict in [Verdict::Fail, Verdict::Warn] {
            for finding in self.findings.iter().filter(|finding| finding.verdict == verdict) {
                let Some(text) = finding.action.as_deref() else { continue };
                match actions.iter_mut().find(|listed| listed.action == text) {
                    Some(listed) if !listed.checks.contains(&finding.name) => listed.checks.push(finding.name),
                    Some(_) => {}
                    None => actions.push(Action { checks: vec![finding.name], verdict, action: text }),
                }
            }
        }
        actions
    }

    fn table(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for finding in &self.findings {
            text.push_str(&format!("{:<7}  {:<width$}  {}\n", finding.verdict.as_str(), finding.name, finding.found));
        }
        let counts = [Verdict::Ok, Verdict::Warn, Verdict::Fail, Verdict::Skipped]
            .map(|verdict| format!("{} {}", self.count(verdict), verdict.as_str()));
        text.push_str(&format!("\n{}\n\nRecommended actions:\n", counts.join(", ")));
        let actions = self.actions();
        if actions.is_empty() {
            text.push_str("  none\n");
        }
        for (number, Action { checks, verdict, action }) in actions.iter().enumerate() {
            text.push_str(&format!("  {}. {} {}: {action}\n", number + 1, verdict.as_str(), checks.join(", ")));
        }
        text
    }

    fn json(&self) -> String {
        let report = json!({
            "ok": !self.has_failed(),
            "at": Timestamp::now().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "commit": env!("BUILD_COMMIT"),
            "checks": self.findings,
            "recommended_actions": self.actions(),
        });
        format!("{report:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let findings = vec![
            Finding::ok("queue", "https://sqs/queue"),
            Finding::warn("disk", "300 MB free\n with the password hunter2hunter2", "make room"),
            Finding::fail("bucket", "no such bucket", "check S3_BUCKET"),
            Finding::fail("s3:GetObject", "no such bucket", "check S3_BUCKET"),
            Finding::skipped("service", "no systemd"),
        ];
        Report::new(findings, Secrets(vec!["hunter2hunter2".to_owned()]))
    }

    #[test]
    fn the_table_is_aligned_masked_and_ends_with_what_to_do_failures_first() {
        let expected = "\
OK       queue         https://sqs/queue
WARN     disk          300 MB free with the password ****
FAIL     bucket        no such bucket
FAIL     s3:GetObject  no such bucket
SKIPPED  service       no systemd

1 OK, 1 WARN, 2 FAIL, 1 SKIPPED

Recommended actions:
  1. FAIL bucket, s3:GetObject: check S3_BUCKET
  2. WARN disk: make room
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn the_json_says_the_same() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][1]["verdict"], "WARN");
        assert_eq!(json["checks"][4]["action"], serde_json::Value::Null);
        assert_eq!(json["recommended_actions"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["recommended_actions"][0]["checks"], json!(["bucket", "s3:GetObject"]));
        assert!(!json.to_string().contains("hunter2"));
    }
}
