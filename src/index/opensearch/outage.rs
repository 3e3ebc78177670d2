//! Which kind of outage an answer of the cluster is. Shared by whole answers and by the items of bulk answers.

use serde_json::Value;

use super::client::Answer;
use crate::health::outage::{Outage, OutageCause};
use crate::index::IndexError;

/// Block ids of OpenSearch: `FORBIDDEN/8/index write (api)`. Those that the disk's flood-stage watermark sets, on an
/// index and on the whole cluster.
const FLOOD_STAGE_BLOCKS: [u32; 2] = [12, 13];
/// Read-only, cluster read-only, no writes: set by a person, or closed.
const WRITE_BLOCKS: [u32; 4] = [4, 5, 6, 8];
/// The cluster is there but not whole: no manager, shards not started. Answered 503, and not for lack of room.
const NOT_WHOLE: [&str; 5] = [
    "cluster_manager_not_discovered_exception",
    "master_not_discovered_exception",
    "no_shard_available_action_exception",
    "process_cluster_event_timeout_exception",
    "unavailable_shards_exception",
];

/// The outage that an answer tells of which is not a success.
pub fn of_answer(operation: &str, answer: &Answer) -> Outage {
    let body = answer.json().unwrap_or_default();
    let cause = cause_of(answer.status, body.get("error").unwrap_or(&Value::Null));
    Outage::new(cause, format!("{operation}: {}", answer.explain()))
}

/// An answer that came and is not understood.
pub fn not_understood(detail: String) -> IndexError {
    IndexError::Unavailable(Outage::new(OutageCause::Failing, detail))
}

/// The cause behind a status with this error object (`null`: none, or not JSON).
pub fn cause_of(status: u16, error: &Value) -> OutageCause {
    let levels = || causes(error);
    let has_type = |names: &[&str]| levels().filter_map(error_type).any(|name| names.contains(&name));
    if has_type(&["cluster_block_exception"]) {
        let ids: Vec<u32> = levels().filter_map(error_reason).flat_map(block_ids).collect();
        if ids.iter().any(|id| FLOOD_STAGE_BLOCKS.contains(id)) {
            return OutageCause::FloodStage;
        }
        return match ids.iter().any(|id| WRITE_BLOCKS.contains(id)) {
            true => OutageCause::ReadOnly,
            false => OutageCause::Failing,
        };
    }
    if has_type(&["index_closed_exception"]) {
        return OutageCause::ReadOnly;
    }
    if has_type(&["index_not_found_exception"]) {
        return OutageCause::Missing;
    }
    if has_type(&NOT_WHOLE) {
        return OutageCause::Failing;
    }
    match status {
        401 | 403 => OutageCause::Refused,
        429 | 503 => OutageCause::Throttled,
        _ => OutageCause::Failing,
    }
}

/// The error, what caused it, what caused that, and so on.
pub fn causes(error: &Value) -> impl Iterator<Item = &Value> {
    std::iter::successors(Some(error), |level| level.get("caused_by"))
}

pub fn error_type(level: &Value) -> Option<&str> {
    level.get("type")?.as_str()
}

pub fn error_reason(level: &Value) -> Option<&str> {
    level.get("reason")?.as_str()
}

/// The numbers in `[FORBIDDEN/8/index write (api)]`, also with the status `TOO_MANY_REQUESTS`.
fn block_ids(reason: &str) -> Vec<u32> {
    let blocks = reason.split(['[', ';']).filter_map(|part| {
        let (status, rest) = part.split_once('/')?;
        let is_status = status.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let (id, _) = rest.split_once('/')?;
        if is_status { id.parse().ok() } else { None }
    });
    blocks.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn block(reason: &str) -> Value {
        json!({"type": "cluster_block_exception", "reason": format!("index [x] blocked by: [{reason}];")})
    }

    #[test]
    fn blocks_are_told_apart_by_their_number() {
        for (reason, expected) in [
            (
                "TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block",
                OutageCause::FloodStage,
            ),
            ("FORBIDDEN/12/index read-only / allow delete (api)", OutageCause::FloodStage),
            ("FORBIDDEN/13/cluster read-only / allow delete (api)", OutageCause::FloodStage),
            ("FORBIDDEN/8/index write (api)", OutageCause::ReadOnly),
            ("FORBIDDEN/5/index read-only (api)", OutageCause::ReadOnly),
            ("FORBIDDEN/6/cluster read-only (api)", OutageCause::ReadOnly),
            ("SERVICE_UNAVAILABLE/1/state not recovered / initialized", OutageCause::Failing),
            ("SERVICE_UNAVAILABLE/2/no cluster-manager", OutageCause::Failing),
        ] {
            assert_eq!(cause_of(403, &block(reason)), expected, "{reason}");
        }
    }

    #[test]
    fn the_rest_is_told_by_type_and_then_by_status() {
        let typed = |name: &str| json!({"type": "exception", "caused_by": {"type": name, "reason": "x"}});
        assert_eq!(cause_of(404, &typed("index_not_found_exception")), OutageCause::Missing);
        assert_eq!(cause_of(400, &typed("index_closed_exception")), OutageCause::ReadOnly);
        assert_eq!(cause_of(503, &typed("unavailable_shards_exception")), OutageCause::Failing);
        let by_status = [
            (401, OutageCause::Refused),
            (403, OutageCause::Refused),
            (429, OutageCause::Throttled),
            (503, OutageCause::Throttled),
            (500, OutageCause::Failing),
            (502, OutageCause::Failing),
        ];
        for (status, expected) in by_status {
            assert_eq!(cause_of(status, &Value::Null), expected, "{status}");
        }
    }
}
