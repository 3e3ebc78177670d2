//! The kinds of message that name objects (contract §1 kinds 1–5 and 11).

use serde_json::Value;

use super::envelope::Fields;
use super::{EventKind, MAX_MALFORMED_KEPT, Message, ObjectEvent, key, malformed};

/// The longest sequencer that is kept. S3's have 16 to 18 digits; the documentation promises no length.
const MAX_SEQUENCER_DIGITS: usize = 128;

/// What an event's name asks for.
enum Wanted {
    Change(EventKind),
    Nothing,
}

/// Kind 1: every record counts, each for itself.
pub fn s3_notification(records: &Value) -> Result<Message, String> {
    let Value::Array(records) = records else {
        return Err(format!("`Records` is {}, not a list", json_kind(records)));
    };
    if records.is_empty() {
        return Ok(irrelevant());
    }
    let mut events = Vec::new();
    let mut malformed_records = Vec::new();
    let mut irrelevant_records = 0;
    for (index, record) in records.iter().enumerate() {
        match notification_record(record) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => irrelevant_records += 1,
            Err(_) if malformed_records.len() == MAX_MALFORMED_KEPT => {}
            Err(sentence) => {
                let place = format!("record {} of {}: {sentence}", index + 1, records.len());
                malformed_records.push(malformed(&place));
            }
        }
    }
    Ok(Message::Objects { events, malformed: malformed_records, irrelevant: irrelevant_records })
}

/// One record of kind 1; `None` when its event asks for nothing.
fn notification_record(record: &Value) -> Result<Option<ObjectEvent>, String> {
    let Value::Object(record) = record else {
        return Err(format!("it is {}, not a JSON object", json_kind(record)));
    };
    if let Some(version) = optional_text(record, "eventVersion")?
        && version != "2"
        && !version.starts_with("2.")
    {
        return Err(format!("its eventVersion is `{version}`, only 2.x is understood"));
    }
    let Wanted::Change(kind) = wanted_by_notification(required_text(record, "eventName")?) else {
        return Ok(None);
    };
    let s3 = required_object(record, "s3")?;
    let bucket = required_object(s3, "bucket")?;
    let object = required_object(s3, "object")?;
    let event = ObjectEvent {
        kind,
        bucket: bucket_name(bucket)?,
        key: key::form_decoded(required_text(object, "key")?).and_then(key::checked)?,
        decoded_key: None,
        sequencer: sequencer(object),
        original_path: None,
        modified_at: None,
        category: None,
        nas_server: None,
    };
    Ok(Some(event))
}

/// S3's names, with the `s3:` prefix that configurations and some compatible servers write, or without.
fn wanted_by_notification(event_name: &str) -> Wanted {
    let name = event_name.strip_prefix("s3:").unwrap_or(event_name);
    let (family, detail) = name.split_once(':').unwrap_or((name, ""));
    match (family, detail) {
        ("ObjectCreated", _) | ("ObjectRestore", "Completed") => Wanted::Change(EventKind::Upsert),
        ("ObjectRemoved" | "LifecycleExpiration", _) => Wanted::Change(EventKind::Delete),
        _ => Wanted::Nothing,
    }
}

/// Kind 2. A lifecycle expiration is an `Object Deleted` too; its `reason` is not needed.
pub fn event_bridge(detail_type: &str, fields: &Fields) -> Result<Message, String> {
    let kind = match detail_type {
        "Object Created" | "Object Restore Completed" => EventKind::Upsert,
        "Object Deleted" => EventKind::Delete,
        _ => return Ok(irrelevant()),
    };
    let detail = required_object(fields, "detail")?;
    let bucket = bucket_name(required_object(detail, "bucket")?)?;
    let object = required_object(detail, "object")?;
    let literal_key = required_text(object, "key")?.to_owned();
    let mut event = literal_event(kind, bucket, literal_key)?;
    event.sequencer = sequencer(object);
    Ok(one(event))
}

/// Kinds 3 and 4: EventBridge as transformed on the production path, the DocuWorks converter, the NAS scanner.
pub fn producer_event(event_type: &str, fields: &Fields, default_bucket: &str) -> Result<Message, String> {
    let kind = match event_type {
        "S3_OBJECT_CREATED" | "FILE_UPLOADED" | "FILE_MODIFIED" => EventKind::Upsert,
        // Nobody sends S3_OBJECT_DELETED today; it is what a transformed 'Object Deleted' would be called.
        "S3_OBJECT_DELETED" | "FILE_DELETED" => EventKind::Delete,
        _ => return Ok(irrelevant()),
    };
    let Some(literal_key) = named_key(fields)? else {
        return Err(format!("the {event_type} event has no `s3Key`"));
    };
    literal_event(kind, named_bucket(fields, default_bucket)?, literal_key).map(|event| one(with_hints(event, fields)))
}

/// Kind 5: just a key. `originalPath` is a hint beside a key; alone it is the key if it can be one: a path on a
/// file server (backslashes, or a leading slash) cannot.
pub fn direct(fields: &Fields, default_bucket: &str) -> Result<Message, String> {
    let bucket = named_bucket(fields, default_bucket)?;
    if let Some(literal_key) = named_key(fields)? {
        let event = literal_event(EventKind::Upsert, bucket, literal_key)?;
        return Ok(one(with_hints(event, fields)));
    }
    match original_path(fields) {
        Some(path) if !path.contains('\\') && !path.starts_with('/') => {
            literal_event(EventKind::Upsert, bucket, path).map(one)
        }
        Some(_) => Err("the message has an original path, but no key".to_owned()),
        None => Err("the message has no key and is of no known kind".to_owned()),
    }
}

/// An event for a key that is taken as it stands.
fn literal_event(kind: EventKind, bucket: String, literal_key: String) -> Result<ObjectEvent, String> {
    let key = key::checked(literal_key)?;
    Ok(ObjectEvent {
        kind,
        bucket,
        decoded_key: key::second_reading(&key),
        key,
        sequencer: None,
        original_path: None,
        modified_at: None,
        category: None,
        nas_server: None,
    })
}

/// Adds what the producer knows and the bucket does not. Hints of a wrong type are no hints.
fn with_hints(event: ObjectEvent, fields: &Fields) -> ObjectEvent {
    let nested = fields.get("metadata").and_then(Value::as_object);
    ObjectEvent {
        sequencer: sequencer(fields),
        original_path: original_path(fields),
        modified_at: nested.and_then(date_hint).or_else(|| date_hint(fields)),
        category: hint(fields, "category"),
        nas_server: hint(fields, "nasServer"),
        ..event
    }
}

fn named_key(fields: &Fields) -> Result<Option<String>, String> {
    let key = match optional_text(fields, "s3Key")? {
        Some(key) => Some(key),
        None => optional_text(fields, "key")?,
    };
    Ok(key.map(str::to_owned))
}

fn named_bucket(fields: &Fields, default_bucket: &str) -> Result<String, String> {
    let named = match optional_text(fields, "s3Bucket")? {
        Some(bucket) => Some(bucket),
        None => optional_text(fields, "bucket")?,
    };
    Ok(named.filter(|bucket| !bucket.is_empty()).unwrap_or(default_bucket).to_owned())
}

/// The name in a notification's `bucket` object; here a missing one cannot be guessed.
fn bucket_name(bucket: &Fields) -> Result<String, String> {
    match required_text(bucket, "name")? {
        "" => Err("the bucket's name is empty".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn original_path(fields: &Fields) -> Option<String> {
    hint(fields, "originalPath").or_else(|| hint(fields, "original_path"))
}

/// ISO 8601 text, or epoch seconds or milliseconds as a number.
fn date_hint(fields: &Fields) -> Option<String> {
    match fields.get("modifiedAt")? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hint(fields: &Fields, name: &str) -> Option<String> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The sequencer when it is one: a value that does not compare as hexadecimal would order states at random.
fn sequencer(object: &Fields) -> Option<String> {
    let text = object.get("sequencer").and_then(Value::as_str)?;
    let is_comparable =
        (1..=MAX_SEQUENCER_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_comparable.then(|| text.to_ascii_uppercase())
}

fn one(event: ObjectEvent) -> Message {
    Message::Objects { events: vec![event], malformed: Vec::new(), irrelevant: 0 }
}

fn irrelevant() -> Message {
    Message::Objects { events: Vec::new(), malformed: Vec::new(), irrelevant: 1 }
}

/// The text under a name; `None` when it is absent or null, an error when it is something else.
pub fn optional_text<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{name}` is {}, not text", json_kind(other))),
    }
}

fn required_text<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, String> {
    optional_text(fields, name)?.ok_or_else(|| format!("`{name}` is missing"))
}

fn required_object<'a>(fields: &'a Fields, name: &str) -> Result<&'a Fields, String> {
    match fields.get(name) {
        Some(Value::Object(object)) => Ok(object),
        None | Some(Value::Null) => Err(format!("`{name}` is missing")),
        Some(other) => Err(format!("`{name}` is {}, not a JSON object", json_kind(other))),
    }
}

/// What a JSON value is, for sentences.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
