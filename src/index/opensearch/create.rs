//! `--create-index`: makes the index of contract §3, or adds the fields that an existing one lacks. The daemon
//! itself never changes mappings.

use serde_json::Value;

use super::client::{Answer, Client, expect_json, path_segment};
use super::compare::{ExistingMapping, additions_body};
use super::mapping::{Analysis, index_body};
use super::outage;
use crate::index::IndexError;

/// What `--create-index` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateReport {
    /// The index was not there before.
    pub created: bool,
    /// Fields that an existing index was given.
    pub added: Vec<String>,
    /// Fields that need another index: a type cannot be changed in place.
    pub conflicts: Vec<String>,
    /// What an operator should know although it worked.
    pub warnings: Vec<String>,
}

/// Creates the index, or brings an existing one up to date, additively.
pub async fn create(client: &Client, index: &str) -> Result<CreateReport, IndexError> {
    // At most one more look: the index may appear between the look and the creation.
    for _ in 0..2 {
        if let Some(existing) = existing_mapping(client, index).await? {
            return extend(client, index, &existing).await;
        }
        if let Some(report) = create_missing(client, index).await? {
            return Ok(report);
        }
    }
    Err(outage::not_understood(format!("create index {index}: it keeps appearing and vanishing")))
}

/// The index's mapping, or `None` when there is no such index.
pub async fn existing_mapping(client: &Client, index: &str) -> Result<Option<ExistingMapping>, IndexError> {
    let operation = format!("read the mapping of index {index}");
    let answer = client.get(&format!("{}/_mapping", path_segment(index))).await;
    if matches!(&answer, Ok(Answer { status: 404, .. })) {
        return Ok(None);
    }
    let body = expect_json(&operation, answer)?;
    let mapping = ExistingMapping::read(body)
        .ok_or_else(|| outage::not_understood(format!("{operation}: the answer holds no mapping")))?;
    Ok(Some(mapping))
}

/// `None` when somebody else created it in the meantime.
async fn create_missing(client: &Client, index: &str) -> Result<Option<CreateReport>, IndexError> {
    let operation = format!("create index {index}");
    let path = path_segment(index);
    let mut report = CreateReport { created: true, ..CreateReport::default() };
    let mut answer = client.put(&path, &index_body(Analysis::Kuromoji, client.is_serverless())).await;
    if answer.as_ref().is_ok_and(lacks_kuromoji) {
        report.warnings.push(
            "the cluster has no kuromoji plugin: Japanese text is indexed as pairs of characters (cjk analyzer)"
                .to_owned(),
        );
        answer = client.put(&path, &index_body(Analysis::Cjk, client.is_serverless())).await;
    }
    if answer.as_ref().is_ok_and(|answer| error_type(answer).as_deref() == Some("resource_already_exists_exception")) {
        return Ok(None);
    }
    expect_json(&operation, answer)?;
    Ok(Some(report))
}

async fn extend(client: &Client, index: &str, existing: &ExistingMapping) -> Result<CreateReport, IndexError> {
    let path = path_segment(index);
    let operation = format!("read the settings of index {index}");
    let settings = expect_json(&operation, client.get(&format!("{path}/_settings")).await)?;
    let additions = existing.additions(&existing.analyzer_for_additions(&settings));
    let mut report = CreateReport { conflicts: existing.conflicts(), ..CreateReport::default() };
    if additions.is_empty() {
        return Ok(report);
    }

    let operation = format!("add fields to index {index}");
    let answer = client.put(&format!("{path}/_mapping"), &additions_body(&additions)).await;
    if let Ok(refused) = &answer
        && refused.status == 400
    {
        report.conflicts.push(refused.explain());
        return Ok(report);
    }
    expect_json(&operation, answer)?;
    report.added = additions.keys().cloned().collect();
    Ok(report)
}

/// The answer of a cluster that does not know the analyzer's parts.
fn lacks_kuromoji(answer: &Answer) -> bool {
    answer.status == 400 && answer.explain().contains("under name [kuromoji_")
}

fn error_type(answer: &Answer) -> Option<String> {
    let body: Value = answer.json()?;
    Some(body.get("error")?.get("type")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio_util::bytes::Bytes;

    use super::*;

    #[test]
    fn a_cluster_without_kuromoji_is_recognised() {
        // OpenSearch 2.19.6 without the plugin.
        let body = br#"{"error":{"root_cause":[{"type":"illegal_argument_exception","reason":"Custom Analyzer [japanese_analyzer] failed to find tokenizer under name [kuromoji_tokenizer]"}],"type":"illegal_argument_exception","reason":"Custom Analyzer [japanese_analyzer] failed to find tokenizer under name [kuromoji_tokenizer]"},"status":400}"#;
        assert!(lacks_kuromoji(&Answer { status: 400, body: Bytes::from_static(body), date: None }));
        let other =
            br#"{"error":{"type":"illegal_argument_exception","reason":"unknown setting [index.x]"},"status":400}"#;
        assert!(!lacks_kuromoji(&Answer { status: 400, body: Bytes::from_static(other), date: None }));
    }
}
