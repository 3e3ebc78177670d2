//! What each item of a bulk answer means. Read strictly: what is not understood counts as not written.

use serde_json::Value;

use super::client::{explain_error, shortened};
use super::outage::{self, causes};
use crate::health::outage::{Outage, OutageCause};

/// What the index said about one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemVerdict {
    /// Written, removed, or already absent.
    Done,
    /// The script left the document alone: it is newer.
    LeftAlone,
    /// Nothing was created: there is a document already.
    Exists,
    /// Throttled or in conflict: worth another try soon.
    TryAgain(Outage),
    /// This document's fault (status 400).
    Rejected(Rejection),
    /// The cluster's trouble: blocked, closed, missing, refusing us.
    Unavailable(Outage),
}

/// Why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The mapping is `dynamic: strict` and lacks a field of the document.
    pub unknown_field: bool,
    /// The index's own words.
    pub text: String,
}

/// Error types that pass by themselves, wherever in the chain of causes they stand.
const PASSING: [&str; 4] = [
    "circuit_breaking_exception",
    "es_rejected_execution_exception",
    "rejected_execution_exception",
    "opensearch_rejected_execution_exception",
];

/// The error type of a document that is not as the action needs it; for a create: it exists.
const VERSION_CONFLICT: &str = "version_conflict_engine_exception";

/// Status 400 or 429 that says nothing about the document.
const CLUSTER_TROUBLE: [&str; 6] = [
    "cluster_block_exception",
    "index_closed_exception",
    "index_not_found_exception",
    "script_exception",
    "unavailable_shards_exception",
    "no_shard_available_action_exception",
];

/// Beginnings of reasons with the same meaning that have only a general type: scripts switched off or failing,
/// and an alias without a write index. Beginnings, because reasons may quote the document further on.
const CLUSTER_TROUBLE_REASONS: [&str; 3] =
    ["cannot execute [", "failed to execute script", "no write index is defined"];

/// The verdicts of a bulk answer in the order of the request's ids.
///
/// An `Err` when the answer does not fit the request; then nothing can be said about any item.
pub fn read_verdicts(body: &[u8], ids: &[&str]) -> Result<Vec<ItemVerdict>, String> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|error| format!("the bulk answer is not JSON: {error}"))?;
    let items = answer.get("items").and_then(Value::as_array).ok_or("the bulk answer has no items")?;
    if items.len() != ids.len() {
        return Err(format!("the bulk answer has {} items for {} actions", items.len(), ids.len()));
    }
    items.iter().zip(ids).map(|(item, id)| read_item(item, id)).collect()
}

fn read_item(item: &Value, id: &str) -> Result<ItemVerdict, String> {
    let (action, result) = item
        .as_object()
        .and_then(|actions| actions.iter().next())
        .ok_or("an item of the bulk answer names no action")?;
    if result.get("_id").and_then(Value::as_str) != Some(id) {
        return Err(format!("the bulk answer speaks of another document than {id}"));
    }
    let status = result.get("status").and_then(Value::as_u64).ok_or("an item of the bulk answer has no status")?;
    if let Some(error) = result.get("error") {
        let exists = action == "create" && status == 409 && chain_has(error, &[VERSION_CONFLICT]);
        return Ok(if exists { ItemVerdict::Exists } else { read_error(status, error) });
    }
    let word = result.get("result").and_then(Value::as_str).unwrap_or_default();
    Ok(match (status, word) {
        (200 | 201, "created" | "updated" | "deleted") => ItemVerdict::Done,
        (200, "noop") => ItemVerdict::LeftAlone,
        (404, "not_found") => ItemVerdict::Done,
        _ => ItemVerdict::Unavailable(Outage::new(
            OutageCause::Failing,
            format!("unknown verdict: status {status}, result {word:?}"),
        )),
    })
}

fn read_error(status: u64, error: &Value) -> ItemVerdict {
    let text = shortened(&explain_error(error));
    if chain_has(error, &PASSING) {
        return ItemVerdict::TryAgain(Outage::new(OutageCause::Throttled, text));
    }
    let cause = outage::cause_of(u16::try_from(status).unwrap_or_default(), error);
    if chain_has(error, &CLUSTER_TROUBLE) || speaks_of_cluster_trouble(error) {
        return ItemVerdict::Unavailable(Outage::new(cause, text));
    }
    match status {
        404 if chain_has(error, &["document_missing_exception"]) => ItemVerdict::Done,
        409 | 429 | 503 => ItemVerdict::TryAgain(Outage::new(cause, text)),
        400 => ItemVerdict::Rejected(Rejection {
            unknown_field: chain_has(error, &["strict_dynamic_mapping_exception"]),
            text,
        }),
        _ => ItemVerdict::Unavailable(Outage::new(cause, format!("status {status}: {text}"))),
    }
}

fn chain_has(error: &Value, types: &[&str]) -> bool {
    causes(error).filter_map(outage::error_type).any(|name| types.contains(&name))
}

fn speaks_of_cluster_trouble(error: &Value) -> bool {
    causes(error)
        .filter_map(outage::error_reason)
        .any(|reason| CLUSTER_TROUBLE_REASONS.iter().any(|beginning| reason.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict_of(item: Value) -> ItemVerdict {
        let body = json!({"items": [item]}).to_string();
        read_verdicts(body.as_bytes(), &["a"]).unwrap().remove(0)
    }

    fn failed(status: u64, kind: &str, reason: &str) -> Value {
        json!({"update": {"_id": "a", "status": status, "error": {"type": kind, "reason": reason}}})
    }

    #[test]
    fn successes() {
        assert_eq!(verdict_of(json!({"update": {"_id": "a", "status": 201, "result": "created"}})), ItemVerdict::Done);
        assert_eq!(
            verdict_of(json!({"update": {"_id": "a", "status": 200, "result": "noop"}})),
            ItemVerdict::LeftAlone
        );
        assert_eq!(
            verdict_of(json!({"delete": {"_id": "a", "status": 404, "result": "not_found"}})),
            ItemVerdict::Done
        );
        assert_eq!(verdict_of(failed(404, "document_missing_exception", "[a]: document missing")), ItemVerdict::Done);
    }

    #[test]
    fn only_a_create_finds_that_the_document_exists() {
        let conflict = |action: &str| {
            let error = json!({"type": "version_conflict_engine_exception", "reason": "[a]: document already exists"});
            verdict_of(json!({action: {"_id": "a", "status": 409, "error": error}}))
        };
        assert_eq!(conflict("create"), ItemVerdict::Exists);
        assert!(matches!(conflict("update"), ItemVerdict::TryAgain(_)));
    }

    #[test]
    fn the_documents_fault() {
        let verdict = verdict_of(failed(400, "mapper_parsing_exception", "failed to parse field [created_at]"));
        assert!(matches!(verdict, ItemVerdict::Rejected(Rejection { unknown_field: false, .. })), "{verdict:?}");
        let verdict = verdict_of(failed(400, "strict_dynamic_mapping_exception", "introduction of [etag] not allowed"));
        assert!(matches!(verdict, ItemVerdict::Rejected(Rejection { unknown_field: true, .. })), "{verdict:?}");
    }

    #[test]
    fn never_the_documents_fault() {
        for (status, kind, reason) in [
            (403, "cluster_block_exception", "index [x] blocked by: [FORBIDDEN/8/index write (api)];"),
            (429, "cluster_block_exception", "disk usage exceeded flood-stage watermark"),
            (400, "index_closed_exception", "closed"),
            (404, "index_not_found_exception", "no such index [x]"),
            (400, "illegal_argument_exception", "cannot execute [inline] scripts"),
            (400, "illegal_argument_exception", "failed to execute script"),
            (400, "illegal_argument_exception", "no write index is defined for alias [x]"),
            (403, "security_exception", "no permissions for [indices:data/write/bulk]"),
            (500, "exception", "boom"),
        ] {
            let verdict = verdict_of(failed(status, kind, reason));
            assert!(matches!(verdict, ItemVerdict::Unavailable(_)), "{kind}: {verdict:?}");
        }
    }

    #[test]
    fn what_passes_is_tried_again_even_below_a_400() {
        assert!(matches!(
            verdict_of(failed(429, "rejected_execution_exception", "queue full")),
            ItemVerdict::TryAgain(_)
        ));
        assert!(matches!(verdict_of(failed(503, "exception", "busy")), ItemVerdict::TryAgain(_)));
        assert!(matches!(
            verdict_of(failed(409, "version_conflict_engine_exception", "changed")),
            ItemVerdict::TryAgain(_)
        ));
        let compilations = json!({"update": {"_id": "a", "status": 400, "error": {
            "type": "illegal_argument_exception", "reason": "failed to execute script",
            "caused_by": {"type": "circuit_breaking_exception", "reason": "Too many dynamic script compilations"}}}});
        assert!(matches!(verdict_of(compilations), ItemVerdict::TryAgain(_)));
    }

    #[test]
    fn what_is_not_understood_was_not_written() {
        assert!(read_verdicts(b"<html>", &["a"]).is_err());
        assert!(read_verdicts(b"{}", &["a"]).is_err());
        assert!(read_verdicts(br#"{"items":[]}"#, &["a"]).is_err());
        assert!(
            read_verdicts(br#"{"items":[{"update":{"_id":"b","status":200,"result":"updated"}}]}"#, &["a"]).is_err()
        );
        assert!(read_verdicts(br#"{"items":[{"update":{"_id":"a"}}]}"#, &["a"]).is_err());
        assert!(matches!(
            verdict_of(json!({"update": {"_id": "a", "status": 200, "result": "sideways"}})),
            ItemVerdict::Unavailable(_)
        ));
    }
}
