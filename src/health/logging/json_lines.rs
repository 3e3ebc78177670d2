//! `LOG_FILE`: one JSON object a line, for the CloudWatch agent. A new file each day (UTC), seven older ones are kept
//! as `.1` (yesterday) to `.7`.
//!
//! The crate file-rotate renames and prunes. It does not hold the file that is written to: it panics when a file it
//! knows of was removed by somebody, and drops lines in silence when it cannot reopen. So it is made anew for each
//! rotation, when it sees the folder as it is.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use log::kv::{Key, Value};
use log::{Log, Metadata, Record};
use serde::Serializer;
use serde::ser::SerializeMap;

use super::fields::ForEach;

/// Older files than these are removed.
const KEPT_FILES: usize = 7;
/// The agent reads as a member of the file's group, whatever the service's umask.
const FILE_MODE: u32 = 0o640;
/// Only for a folder that nobody made before (systemd's `LogsDirectory=` does), and less what the umask takes.
const FOLDER_MODE: u32 = 0o750;
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
}

impl Log for JsonLines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = Timestamp::now();
        let Ok(line) = json_line(record, now) else { return };
        // A panic while the lock was held leaves at worst half a line.
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_line(&line, day_of(now));
    }

    /// Every line is handed to the kernel at once; there is nothing to flush.
    fn flush(&self) {}
}

fn day_of(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// `{"timestamp":…,"level":…,"message":…,"target":…,fields…}` with its line end.
fn json_line(record: &Record<'_>, now: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("timestamp", &now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())?;
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

/// A file that is put aside when the day changes.
struct RotatedFile {
    path: PathBuf,
    file: File,
    /// The day (UTC) that the lines in the file are of.
    day: Date,
    /// Whether standard error was told that the file cannot be written or rotated.
    has_complained: bool,
}

impl RotatedFile {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        let file = open_for_appending(path)?;
        let metadata = file.metadata()?;
        let last_written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let day = day_of(last_written.unwrap_or_else(Timestamp::now));
        Ok(Self { path: path.to_owned(), file, day, has_complained: false })
    }

    /// Appends a line of `today`, in a new file when the last one was of an earlier day. A log that cannot be written
    /// must not stop the work; standard error is told once.
    fn write_line(&mut self, line: &[u8], today: Date) {
        let is_new_day = today > self.day;
        let rotated = if is_new_day { self.rotate(today) } else { Ok(()) };
        let written = self.file.write_all(line);
        if let Err(error) = rotated.and(written)
            && !self.has_complained
        {
            self.has_complained = true;
            // Not through `log`: this is the logger.
            let _ = writeln!(io::stderr(), "LOG_FILE {}: {error}", self.path.display());
        }
    }

    /// On failure the old file goes on being written to, until the next day.
    fn rotate(&mut self, today: Date) -> io::Result<()> {
        self.day = today;
        // file-rotate panics when it cannot create the folder, and when it cannot rename what is not there.
        if !self.path.exists() {
            self.file = Self::open(&self.path)?.file;
            return Ok(());
        }
        if self.file.metadata()?.len() > 0 {
            let options = appending();
            FileRotate::new(
                &self.path,
                AppendCount::new(KEPT_FILES),
                ContentLimit::None,
                Compression::None,
                Some(options),
            )
            .rotate()?;
        }
        self.file = open_for_appending(&self.path)?;
        Ok(())
    }
}

fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).create(true).append(true).mode(FILE_MODE);
    options
}

/// Opens or creates the file, and gives a file of ours its mode: a umask of 0077 would hide it from the agent.
fn open_for_appending(path: &Path) -> io::Result<File> {
    let file = appending().open(path)?;
    if file.metadata()?.is_file() {
        // Somebody else's file that we may only append to keeps its mode.
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::civil::date;
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

    /// A log file in a folder that is not there yet, last written to on the day given.
    fn opened(folder: &Path, day: Date) -> RotatedFile {
        let mut file = RotatedFile::open(&folder.join("logs/worker.log")).unwrap();
        file.day = day;
        file
    }

    fn read(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join("logs").join(name)).ok()
    }

    #[test]
    fn each_day_has_its_file_and_seven_older_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        for day in 1..=10 {
            file.write_line(format!("{day}a\n").as_bytes(), date(2026, 11, day));
            file.write_line(format!("{day}b\n").as_bytes(), date(2026, 11, day));
        }
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("10a\n10b\n"));
        assert_eq!(read(folder.path(), "worker.log.1").as_deref(), Some("9a\n9b\n"));
        assert_eq!(read(folder.path(), "worker.log.7").as_deref(), Some("3a\n3b\n"));
        assert_eq!(read(folder.path(), "worker.log.8"), None);
    }

    #[test]
    fn the_group_may_read_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        file.write_line(b"a\n", date(2026, 11, 1));
        file.write_line(b"b\n", date(2026, 11, 2));
        for name in ["worker.log", "worker.log.1"] {
            let mode = fs::metadata(folder.path().join("logs").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640, "{name}");
        }
    }

    #[test]
    fn a_restart_goes_on_in_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let today = day_of(Timestamp::now());
        opened(folder.path(), today).write_line(b"before\n", today);
        let mut again = RotatedFile::open(&folder.path().join("logs/worker.log")).unwrap();
        again.write_line(b"after\n", again.day);
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("before\nafter\n"));
    }

    #[test]
    fn files_removed_by_somebody_do_not_stop_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        for day in 1..=4 {
            file.write_line(b"line\n", date(2026, 11, day));
        }
        fs::remove_file(folder.path().join("logs/worker.log.2")).unwrap();
        file.write_line(b"fifth\n", date(2026, 11, 5));
        fs::remove_dir_all(folder.path().join("logs")).unwrap();
        file.write_line(b"sixth\n", date(2026, 11, 6));
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("sixth\n"));
    }
}
