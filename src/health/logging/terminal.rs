//! Standard error for people: one line for each record, time in UTC, colour only on a terminal and not with `NO_COLOR`.

use std::io::Write;
use std::sync::OnceLock;

use env_logger::fmt::Formatter;
use indicatif::MultiProgress;
use jiff::Timestamp;
use log::kv::{Key, Value};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::OUR_TARGET;
use super::fields::ForEach;

static PROGRESS_BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Lines are written above these bars from now on, instead of through them. Only the first call counts.
pub fn keep_off_progress_bars(bars: MultiProgress) {
    // A second set of bars would be drawn over; no command has two.
    let _ = PROGRESS_BARS.set(bars);
}

/// The logger of standard error. What is let through is decided before it.
pub(super) fn standard_error() -> Box<dyn Log> {
    // `Builder::new` reads no environment: LOG_LEVEL is the only say.
    let logger = env_logger::Builder::new().filter_level(LevelFilter::Trace).format(format_line).build();
    Box::new(StandardError(logger))
}

struct StandardError(env_logger::Logger);

impl Log for StandardError {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match PROGRESS_BARS.get() {
            Some(bars) => bars.suspend(|| self.0.log(record)),
            None => self.0.log(record),
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// `2026-11-22T03:12:45Z INFO  document indexed  key="道路 1.pdf" seconds=1.2`
fn format_line(formatter: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let style = formatter.default_level_style(record.level());
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let level = record.level();
    writeln!(formatter, "{time} {style}{level:<5}{style:#} {}", text_of(record))
}

/// Message and fields. The target is named where it tells something: other libraries, and when looking for something.
fn text_of(record: &Record<'_>) -> String {
    let mut text = String::new();
    if !record.target().starts_with(OUR_TARGET) || record.level() >= Level::Debug {
        text.push_str(record.target());
        text.push_str(": ");
    }
    text.push_str(&on_one_line(&record.args().to_string()));
    let mut separator = "  ";
    let mut append = ForEach(|key: Key<'_>, value: Value<'_>| {
        text.push_str(separator);
        separator = " ";
        text.push_str(key.as_str());
        text.push('=');
        text.push_str(&quoted_where_needed(&value.to_string()));
        Ok(())
    });
    // The closure never fails; a field that cannot be shown must not cost the line.
    let _ = record.key_values().visit(&mut append);
    text
}

/// Control characters escaped: a file's name must not be able to write a line of its own.
fn on_one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(
            |character| {
                if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
            },
        )
        .collect()
}

fn quoted_where_needed(value: &str) -> String {
    let is_plain =
        |character: char| !character.is_whitespace() && !character.is_control() && !matches!(character, '"' | '=');
    if !value.is_empty() && value.chars().all(is_plain) { value.to_owned() } else { format!("{value:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(level: Level, target: &str, message: &str, fields: &[(&str, &str)]) -> String {
        let mut builder = Record::builder();
        builder.level(level).target(target).key_values(&fields);
        text_of(&builder.args(format_args!("{message}")).build())
    }

    #[test]
    fn message_then_fields() {
        let fields = [("key", "documents/道路/a.pdf"), ("name", "道路 1.pdf"), ("empty", ""), ("equation", "a=b")];
        assert_eq!(
            text(Level::Info, "file_processor_worker::job", "document indexed", &fields),
            "document indexed  key=documents/道路/a.pdf name=\"道路 1.pdf\" empty=\"\" equation=\"a=b\""
        );
    }

    #[test]
    fn the_target_is_named_for_libraries_and_at_debug() {
        assert_eq!(text(Level::Warn, "hyper::client", "slow", &[]), "hyper::client: slow");
        assert_eq!(text(Level::Debug, "file_processor_worker::job", "a", &[]), "file_processor_worker::job: a");
    }

    #[test]
    fn a_name_with_a_line_break_stays_on_its_line() {
        let forged = "a.pdf\n2026-11-22T00:00:00Z ERROR all is lost\u{1b}[31m";
        let line = text(Level::Info, "file_processor_worker", forged, &[("key", forged)]);
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
