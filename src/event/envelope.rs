//! From the body's text to the kind of message: takes off what is wrapped around it and tells the kinds apart.
//!
//! Errors are sentences for the operator who opens the dead-letter queue, so they are plain text.

use serde_json::{Map, Value};

use super::Message;
use super::kinds;

/// A JSON object of a message.
pub type Fields = Map<String, Value>;

/// Envelopes that are taken off one message: SNS around EventBridge, copied out of a dead-letter queue, makes two;
/// the rest is room. Each inner body is shorter than the outer one, so this bounds the work, not the memory.
const MAX_ENVELOPES: usize = 4;

/// The longest id of a smoke test: it becomes an `_id` in the index (contract §1 kind 8, §3).
const MAX_SMOKE_TEST_ID_BYTES: usize = 512;

/// Understands a body, or says in a sentence why nobody can.
pub fn understand(body: &str, default_bucket: &str, stable_id: &str) -> Result<Message, String> {
    let fields = without_envelopes(body)?;
    if is_smoke_test(&fields) {
        return smoke_test(&fields, stable_id);
    }
    if fields.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Message::S3TestEvent);
    }
    if let Some(records) = fields.get("Records") {
        return kinds::s3_notification(records);
    }
    if let Some(detail_type) = kinds::optional_text(&fields, "detail-type")? {
        return kinds::event_bridge(detail_type, &fields);
    }
    if let Some(event_type) = kinds::optional_text(&fields, "eventType")? {
        return kinds::producer_event(event_type, &fields, default_bucket);
    }
    kinds::direct(&fields, default_bucket)
}

/// The innermost JSON object.
fn without_envelopes(body: &str) -> Result<Fields, String> {
    let mut fields = json_object(body, "the body")?;
    for _ in 0..MAX_ENVELOPES {
        match inside(&fields)? {
            Some(inner) => fields = inner,
            None => return Ok(fields),
        }
    }
    match inside(&fields)? {
        Some(_) => Err(format!("the body is wrapped in more than {MAX_ENVELOPES} envelopes")),
        None => Ok(fields),
    }
}

/// What an envelope holds; `None` when this is not an envelope.
fn inside(fields: &Fields) -> Result<Option<Fields>, String> {
    if is_smoke_test(fields) {
        return Ok(None);
    }
    if fields.get("Type").and_then(Value::as_str) == Some("Notification") {
        let Some(message) = fields.get("Message").and_then(Value::as_str) else {
            return Err("the SNS notification has no text in `Message`".to_owned());
        };
        return json_object(message, "the SNS notification's `Message`").map(Some);
    }
    match fields.get("original_message") {
        None | Some(Value::Null) => Ok(None),
        Some(original) => original_body(original).map(Some),
    }
}

/// The body inside `{"original_message":{"Body":…}}` (contract §1 kind 9): text as SQS hands it out, or an object
/// that somebody has parsed already.
fn original_body(original: &Value) -> Result<Fields, String> {
    match original.get("Body") {
        Some(Value::String(body)) => json_object(body, "`original_message.Body`"),
        Some(Value::Object(body)) => Ok(body.clone()),
        _ => Err("`original_message` has no `Body`".to_owned()),
    }
}

/// Parses JSON that must be an object. serde_json stops at 128 levels, so nesting cannot exhaust the stack.
fn json_object(text: &str, what: &str) -> Result<Fields, String> {
    let without_byte_order_mark = text.trim_start_matches('\u{feff}');
    match serde_json::from_str(without_byte_order_mark) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(format!("{what} is {}, not a JSON object", kinds::json_kind(&other))),
        Err(error) => Err(format!("{what} is not JSON: {error}")),
    }
}

/// `test:true` wins over every other kind (contract §1 kind 8).
fn is_smoke_test(fields: &Fields) -> bool {
    fields.get("test") == Some(&Value::Bool(true))
}

/// The smoke test under its own id, or under the message's when it brings none.
fn smoke_test(fields: &Fields, stable_id: &str) -> Result<Message, String> {
    let id = match fields.get("id") {
        None | Some(Value::Null) => stable_id.to_owned(),
        Some(Value::String(text)) if text.is_empty() => stable_id.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => return Err(format!("the smoke test's `id` is {}, not text", kinds::json_kind(other))),
    };
    // The id is an `_id` in the index and stands in a log line of its own.
    if id.len() > MAX_SMOKE_TEST_ID_BYTES || id.chars().any(char::is_control) {
        return Err(format!(
            "the smoke test's `id` is over {MAX_SMOKE_TEST_ID_BYTES} bytes or holds control characters"
        ));
    }
    Ok(Message::SmokeTest { id })
}
