//! `LOG_FILE`: one JSON object a line, for the CloudWatch agent.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use log::kv::{Key, Value};
use log::{Log, Metadata, Record};
use serde::Serializer;
use serde::ser::SerializeMap;

use super::fields::ForEach;
use super::rotated_file::RotatedFile;

/// Keys of ours in every line; a field of the same name gets the prefix.
const OWN_KEYS: [&str; 4] = ["timestamp", "level", "message", "target"];
const FIELD_PREFIX: &str = "field_";

/// The log file, as a logger.
pub(super) struct JsonLines(Mutex<RotatedFile>);

impl JsonLines {
    /// Opens the file for appending; creates it and its folder where missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(RotatedFile::open(path)?)))
    }

    /// Writes a line, with its line end, that is JSON already.
    pub fn write(&self, line: &[u8]) {
        self.file().write_line(line, day_of(Timestamp::now()));
    }

    fn file(&self) -> MutexGuard<'_, RotatedFile> {
        // A panic while the lock was held leaves at worst half a line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for JsonLines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = Timestamp::now();
        let Ok(line) = json_line(record, now) else { return };
        self.file().write_line(&line, day_of(now));
    }

    /// Every line is handed to the kernel at once; there is nothing to flush.
    fn flush(&self) {}
}

/// The day in UTC.
pub(super) fn day_of(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// `timestamp` of every line.
pub fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// `{"timestamp":…,"level":…,"message":…,"target":…,fields…}` with its line end.
fn json_line(record: &Record<'_>, now: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("timestamp", &timestamp(now))?;
    object.serialize_entry("level", record.level().as_str())?;
    object.serialize_entry("message", record.args())?;
    object.serialize_entry("target", record.target())?;
    let mut failure = Ok(());
    let mut append = ForEach(|key: Key<'_>, value: Value<'_>| {
        let name = key.as_str();
        let written = if OWN_KEYS.contains(&name) {
            object.serialize_entry(&format!("{FIELD_PREFIX}{name}"), &value)
        } else {
            object.serialize_entry(name, &value)
        };
        if failure.is_ok() {
            failure = written;
        }
        Ok(())
    });
    // The closure keeps its own failure: it is of another type.
    let _ = record.key_values().visit(&mut append);
    failure?;
    object.end()?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    const NOW: &str = "2026-11-22T03:04:05.678Z";

    fn line(message: &str, fields: &[(&str, Value<'_>)]) -> serde_json::Value {
        let mut builder = Record::builder();
        builder.level(Level::Warn).target("file_processor_worker::job").key_values(&fields);
        let bytes = json_line(&builder.args(format_args!("{message}")).build(), NOW.parse().unwrap()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with("{\"timestamp\":") && text.ends_with("}\n") && text.matches('\n').count() == 1,
            "{text}"
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_is_an_object_with_typed_fields() {
        let fields = [
            ("key", Value::from("道路\n1.pdf")),
            ("pages", Value::from(3)),
            ("seconds", Value::from(1.5)),
            ("ok", Value::from(true)),
        ];
        let expected = serde_json::json!({
            "timestamp": NOW, "level": "WARN", "message": "document indexed", "target": "file_processor_worker::job",
            "key": "道路\n1.pdf", "pages": 3, "seconds": 1.5, "ok": true,
        });
        assert_eq!(line("document indexed", &fields), expected);
    }

    #[test]
    fn a_field_cannot_stand_in_for_the_message_or_the_level() {
        let object = line("real", &[("message", Value::from("forged")), ("level", Value::from("ERROR"))]);
        assert_eq!((object["message"].as_str(), object["level"].as_str()), (Some("real"), Some("WARN")));
        assert_eq!(object["field_message"], "forged");
    }
}
