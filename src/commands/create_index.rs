//! `--create-index`: the index of contract §3, made or brought up to date. Results on stdout, exit 0 or 1.

use std::process::ExitCode;

use anyhow::Result;

use super::parts;
use crate::aws;
use crate::config::Settings;
use crate::index::opensearch::{CreateReport, OpenSearchIndex};

/// Creates the index if it is missing (kuromoji, else cjk with a warning) or adds the fields that it lacks. Exit 1
/// when it could not, or when fields are there with a type that does not fit.
pub async fn run(settings: &Settings) -> Result<ExitCode> {
    let servers = parts::servers(settings)?;
    let sdk_config = aws::sdk_config(&settings.region).await;
    let index = OpenSearchIndex::connect(servers, &settings.region, &settings.index_name, &sdk_config)?;
    Ok(create(&index).await)
}

async fn create(index: &OpenSearchIndex) -> ExitCode {
    match index.create().await {
        Ok(report) => {
            for line in lines(index.index_name(), &report) {
                println!("{line}");
            }
            if report.conflicts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("create index {}: {error}", index.index_name());
            ExitCode::FAILURE
        }
    }
}

fn lines(index: &str, report: &CreateReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.created {
        lines.push(format!("created index {index}"));
    } else if !report.added.is_empty() {
        lines.push(format!("index {index} exists, fields added: {}", report.added.join(", ")));
    } else if report.conflicts.is_empty() {
        lines.push(format!("index {index} exists and has every field"));
    }
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(report.conflicts.iter().map(|conflict| format!("conflict: {conflict}")));
    if !report.conflicts.is_empty() {
        lines.push(
            "a type cannot be changed in place: make another index, reindex into it, and point an alias at it"
                .to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line() {
        let report = CreateReport {
            created: false,
            added: vec!["etag".to_owned(), "outcome".to_owned()],
            conflicts: vec!["file_type is of type text, not keyword".to_owned()],
            warnings: Vec::new(),
        };
        let lines = lines("files", &report);
        assert_eq!(lines[0], "index files exists, fields added: etag, outcome");
        assert_eq!(lines[1], "conflict: file_type is of type text, not keyword");
    }
}
