//! The systemd journal, with every field of a line as a field of the entry.

use log::kv::{Error, Key, Source, Value, VisitSource};
use log::{Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// What `journalctl -t` and the operators' guides select by.
const SYSLOG_IDENTIFIER: &str = "file-processor-worker";

/// Names that mean something to journald (systemd.journal-fields(7)), and what ours are called there instead. An SQS
/// message id under `MESSAGE_ID`, say, would be taken for the id of a catalogue entry.
const RENAMED: [(&str, &str); 12] = [
    ("message", "worker_message"),
    ("message_id", "worker_message_id"),
    ("priority", "worker_priority"),
    ("code_file", "worker_code_file"),
    ("code_line", "worker_code_line"),
    ("code_func", "worker_code_func"),
    ("errno", "worker_errno"),
    ("invocation_id", "worker_invocation_id"),
    ("documentation", "worker_documentation"),
    ("tid", "worker_tid"),
    ("unit", "worker_unit"),
    ("target", "worker_target"),
];

/// The journal, when standard error is connected to it (`JOURNAL_STREAM`, systemd.exec(5)) and it answers.
pub(super) fn connect() -> Option<Box<dyn Log>> {
    if !connected_to_journal() {
        return None;
    }
    let journal = JournalLog::empty().ok()?;
    Some(Box::new(Journal(journal.with_syslog_identifier(SYSLOG_IDENTIFIER.to_owned()))))
}

struct Journal(JournalLog);

impl Log for Journal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let renamed = Renamed(record.key_values());
        self.0.log(&record.to_builder().key_values(&renamed).build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The fields under names that mean nothing to journald.
struct Renamed<'a>(&'a dyn Source);

impl Source for Renamed<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        self.0.visit(&mut Rename(visitor))
    }
}

struct Rename<'v, 'kvs>(&'v mut dyn VisitSource<'kvs>);

impl<'kvs> VisitSource<'kvs> for Rename<'_, 'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let renamed = RENAMED.iter().find(|(reserved, _)| key.as_str().eq_ignore_ascii_case(reserved));
        let name = renamed.map_or(key, |(_, name)| Key::from(*name));
        self.0.visit_pair(name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::ForEach;
    use super::*;

    #[test]
    fn names_that_journald_knows_are_not_ours_to_use() {
        let fields = [("message_id", 1), ("key", 2), ("Priority", 3)];
        let mut seen = Vec::new();
        let mut collect = ForEach(|key: Key<'_>, value: Value<'_>| {
            seen.push(format!("{key}={value}"));
            Ok(())
        });
        Renamed(&fields.as_slice()).visit(&mut collect).unwrap();
        assert_eq!(seen, ["worker_message_id=1", "key=2", "worker_priority=3"]);
    }
}
