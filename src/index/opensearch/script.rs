//! The lines of a bulk request: conditional writes and deletes as inline painless scripts, and plain creates.
//!
//! The texts of the scripts are constants and everything that varies is a parameter, because OpenSearch compiles
//! each distinct text once and refuses more than a few compilations a minute. They travel inline, never stored:
//! stored scripts are cluster state, and the IAM policy allows requests below the index only.

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_util::bytes::Bytes;

use crate::document::Document;
use crate::index::ObjectOrder;

/// The shard tries again so often by itself when somebody else wrote the document in between.
const RETRIES_ON_CONFLICT: u32 = 3;

/// The id of [`guard_line`]; never written.
const GUARD_ID: &str = "__file-processor-worker-guard__";

/// Whether the document that the index holds is of a newer state than the one in `params`: by the sequencer
/// (hexadecimal, right-padded) where both have one, else by `s3_last_modified`. What cannot be understood, such
/// as a date that another program wrote in its own way, counts as older.
const NEWER_FUNCTION: &str = "boolean newer(def held, def params) { \
    if (held.sequencer instanceof String && params.sequencer != null) { \
      String a = held.sequencer.toLowerCase(); String b = params.sequencer; \
      while (a.length() < b.length()) { a += '0' } \
      while (b.length() < a.length()) { b += '0' } \
      return a.compareTo(b) > 0 \
    } \
    if (held.s3_last_modified == null) { return false } \
    try { \
      return ZonedDateTime.parse(held.s3_last_modified.toString()).toInstant().toEpochMilli() \
        > params.last_modified_ms \
    } catch (Exception unreadable) { return false } \
  } ";

/// Replaces our fields and leaves those of other programs.
static PUT_SCRIPT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NEWER_FUNCTION} if (!params.force && newer(ctx._source, params)) {{ ctx.op = 'none' }} \
         else {{ for (name in params.owned) {{ ctx._source.remove(name) }} ctx._source.putAll(params.document) }}"
    )
});

/// Removes the document unless it is newer.
static DELETE_SCRIPT: LazyLock<String> =
    LazyLock::new(|| format!("{NEWER_FUNCTION} ctx.op = newer(ctx._source, params) ? 'none' : 'delete'"));

/// The document as the JSON object that is stored.
pub fn document_fields(document: &Document) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(fields)) => fields,
        // A struct with named fields and string keys always serialises to an object.
        _ => Map::new(),
    }
}

/// One action of a bulk request with its source lines.
#[derive(Clone, Debug)]
pub struct BulkLines {
    pub id: String,
    /// Newline-terminated JSON lines.
    pub bytes: Bytes,
}

/// The second line of a scripted write.
#[derive(Serialize)]
struct ScriptedUpsert<'a, Fields> {
    scripted_upsert: bool,
    upsert: Map<String, Value>,
    script: Script<'a, Fields>,
}

#[derive(Serialize)]
struct Script<'a, Fields> {
    lang: &'static str,
    source: &'static str,
    params: PutParams<'a, Fields>,
}

#[derive(Serialize)]
struct PutParams<'a, Fields> {
    owned: &'static [&'static str],
    document: &'a Fields,
    sequencer: Option<String>,
    last_modified_ms: i64,
    force: bool,
}

/// Writes `fields`, a [`Document`] or part of one, under `id` unless the index holds something newer than `order`.
pub fn put_lines<Fields: Serialize>(id: &str, fields: &Fields, order: &ObjectOrder, force: bool) -> BulkLines {
    let params = PutParams {
        owned: Document::field_names(),
        document: fields,
        sequencer: order.sequencer.as_deref().map(str::to_lowercase),
        last_modified_ms: order.last_modified_ms,
        force,
    };
    let script = Script { lang: "painless", source: &PUT_SCRIPT, params };
    let action = json!({"update": {"_id": id, "retry_on_conflict": RETRIES_ON_CONFLICT}});
    lines(id, &action, Some(&ScriptedUpsert { scripted_upsert: true, upsert: Map::new(), script }))
}

/// Writes `fields` under `id` if there is no document yet, at four fifths of what [`put_lines`] costs the cluster:
/// no script runs, and the document is not taken apart and put together again. What it leaves is the same.
pub fn create_lines<Fields: Serialize>(id: &str, fields: &Fields) -> BulkLines {
    lines(id, &json!({"create": {"_id": id}}), Some(fields))
}

/// Removes the document under `id`; with an order, only when it is not newer than that.
pub fn delete_lines(id: &str, order: Option<&ObjectOrder>) -> BulkLines {
    let Some(order) = order else {
        return lines(id, &json!({"delete": {"_id": id}}), None::<&Value>);
    };
    let action = json!({"update": {"_id": id, "retry_on_conflict": RETRIES_ON_CONFLICT}});
    let source = json!({
        "script": {
            "lang": "painless",
            "source": DELETE_SCRIPT.as_str(),
            "params": {
                "sequencer": order.sequencer.as_deref().map(str::to_lowercase),
                "last_modified_ms": order.last_modified_ms,
            },
        },
    });
    lines(id, &action, Some(&source))
}

/// A write that changes nothing and leaves nothing, not even a deletion mark: an update of a document that does
/// not exist, answered `document_missing_exception` by an index that takes writes, and by its block or closing
/// otherwise.
pub fn probe_lines(id: &str) -> BulkLines {
    lines(id, &json!({"update": {"_id": id}}), Some(&json!({"doc": {}})))
}

/// The first line of every bulk request: it keeps the request from creating a missing index.
///
/// OpenSearch creates the indexes that a bulk request names and that do not exist before it looks at the items,
/// unless one of the items requires the name to be an alias (`TransportBulkAction` joins that flag over all items
/// of an index). So one item that requires it is enough; the item itself always fails, harmlessly: on an index
/// because it is no alias, on an alias because its document does not exist. Existence checks before the request
/// would leave a gap in which a deleted index comes back with guessed mappings.
pub fn guard_lines() -> BulkLines {
    lines(GUARD_ID, &json!({"update": {"_id": GUARD_ID, "require_alias": true}}), Some(&json!({"doc": {}})))
}

fn lines(id: &str, action: &Value, source: Option<&impl Serialize>) -> BulkLines {
    let mut text = action.to_string().into_bytes();
    text.push(b'\n');
    if let Some(source) = source {
        serde_json::to_writer(&mut text, source).expect("documents are strings, numbers and maps with string keys");
        text.push(b'\n');
    }
    BulkLines { id: id.to_owned(), bytes: Bytes::from(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_has_the_same_script_text() {
        let order = ObjectOrder { sequencer: Some("0055AED6DCD90281E5".to_owned()), last_modified_ms: 1 };
        let one = put_lines("a", &document_fields(&Document::default()), &order, false);
        let two = put_lines("b", &Map::new(), &ObjectOrder::default(), true);
        let script_of = |lines: &BulkLines| {
            let text = String::from_utf8(lines.bytes.to_vec()).unwrap();
            let source: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
            source["script"]["source"].clone()
        };
        assert_eq!(script_of(&one), script_of(&two));
    }

    #[test]
    fn lines_stay_lines_whatever_the_text_holds() {
        let fields = document_fields(&Document {
            file_key: "a\nb".to_owned(),
            extracted_text: Some("一行\n二行\u{2028}\r\n".to_owned()),
            ..Document::default()
        });
        for put in [put_lines("a\nb", &fields, &ObjectOrder::default(), false), create_lines("a\nb", &fields)] {
            assert_eq!(put.bytes.iter().filter(|byte| **byte == b'\n').count(), 2);
        }
    }
}
