//! The daemon's state in words that an operator can act on at three in the morning: what it does, what it waits for
//! and since when, whether that ends by itself. Shown by `systemctl status`, `/status` and `/readyz`.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::outage::advice;
use super::status::{DependencyState, Drain, Phase, Snapshot};
use crate::document::Outcome;

/// Older moments are shown with their date.
const ONE_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Reasons are cut here: systemd shows one line, and some servers answer with pages.
const MAX_REASON_CHARACTERS: usize = 160;

/// One line. Times of day are those of `zone`.
pub fn status_line(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let mut line = match (snapshot.phase(), &snapshot.drain) {
        (Phase::Draining, Some(drain)) => draining(snapshot, drain, zone),
        (Phase::Starting, _) => starting(snapshot, zone),
        (Phase::Paused, _) => paused(snapshot, zone),
        (Phase::Ready | Phase::Draining, _) => ready(snapshot, zone),
    };
    if snapshot.phase() == Phase::Ready && snapshot.outages().next().is_some() {
        line.push_str(&format!("; {}, known-bad messages wait for it", outages(snapshot, zone)));
    }
    for note in &snapshot.notes {
        line.push_str("; ");
        line.push_str(note);
    }
    line
}

fn starting(snapshot: &Snapshot, zone: &TimeZone) -> String {
    if snapshot.outages().next().is_some() {
        return format!("starting: {}; goes on by itself when that works", outages(snapshot, zone));
    }
    let unproven: Vec<&str> = snapshot
        .dependencies
        .iter()
        .filter(|(dependency, state)| dependency.is_proven_at_start() && *state == DependencyState::Unproven)
        .map(|(dependency, _)| dependency.title())
        .collect();
    match unproven.is_empty() {
        true => "starting".to_owned(),
        false => format!("starting: not yet proven: {}", unproven.join(", ")),
    }
}

fn ready(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let jobs = match snapshot.jobs_in_flight {
        0 => "idle".to_owned(),
        jobs => counted(jobs, "job"),
    };
    format!("ready; {jobs}, {}; {}", children(snapshot), finished(snapshot, zone))
}

fn paused(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let held = match snapshot.messages_held {
        0 => "no messages held".to_owned(),
        held => format!("{} held", counted(held, "message")),
    };
    format!(
        "paused: {}; {held}, the rest waits in the queue; goes on by itself when that works; {}",
        outages(snapshot, zone),
        finished(snapshot, zone)
    )
}

fn draining(snapshot: &Snapshot, drain: &Drain, zone: &TimeZone) -> String {
    let left = match elapsed(snapshot.now, drain.deadline) {
        Duration::ZERO => "no time left, the rest goes back to the queue".to_owned(),
        left => format!("up to {} more, then the rest goes back to the queue", length(left)),
    };
    let jobs = counted(snapshot.jobs_in_flight, "job");
    format!("stopping since {} ({}): {jobs} to finish, {left}", moment(drain.since, snapshot.now, zone), drain.cause)
}

/// `OpenSearch down since 03:12 (missing: no such index; check OPENSEARCH_INDEX, or run --create-index)`
fn outages(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let described = snapshot.outages().map(|(dependency, since, outage)| {
        let mut why = one_line(&outage.to_string());
        if let Some(advice) = advice(dependency, outage.cause) {
            why.push_str("; ");
            why.push_str(advice);
        }
        format!("{} down since {} ({why})", dependency.title(), moment(since, snapshot.now, zone))
    });
    described.collect::<Vec<_>>().join(", ")
}

fn children(snapshot: &Snapshot) -> String {
    let pool = &snapshot.pool;
    if pool.wanted < pool.max_workers {
        let (busy, wanted, most) = (pool.busy, pool.wanted, pool.max_workers);
        return format!("{wanted} of {most} children, memory is short, {busy} busy");
    }
    if pool.children < pool.wanted {
        return format!(
            "{} of {} children busy, {} being started",
            pool.busy,
            pool.wanted,
            pool.wanted - pool.children
        );
    }
    format!("{} of {} children busy", pool.busy, pool.wanted)
}

/// `1,203 indexed, 4 without text, 0 dead-lettered since 09:14; last 3 s ago`
fn finished(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let always_shown = [Outcome::Indexed, Outcome::IndexedWithoutText, Outcome::DeadLettered];
    let counts: Vec<String> = Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome, snapshot.count(outcome)))
        .filter(|(outcome, count)| *count > 0 || always_shown.contains(outcome))
        .map(|(outcome, count)| format!("{} {}", grouped(count), word_for(outcome)))
        .collect();
    let since = moment(snapshot.started_at, snapshot.now, zone);
    let last = match snapshot.last_document_at {
        Some(at) => format!("last {} ago", length(elapsed(at, snapshot.now))),
        None => "nothing finished yet".to_owned(),
    };
    format!("{} since {since}; {last}", counts.join(", "))
}

fn word_for(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Indexed => "indexed",
        Outcome::IndexedPartial => "in part",
        Outcome::IndexedWithoutText => "without text",
        Outcome::Deleted => "deleted",
        Outcome::Skipped => "skipped",
        Outcome::DeadLettered => "dead-lettered",
        Outcome::Retry => "to be tried again",
    }
}

/// `1 job`, `1,203 jobs`
fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(count))
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `09:14`, or `11-20 09:14` when that was more than a day ago.
fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let format = if elapsed(at, now) < ONE_DAY { "%H:%M" } else { "%m-%d %H:%M" };
    at.to_zoned(zone.clone()).strftime(format).to_string()
}

/// `3 s`, `12 min`, `5 h`, `3 d`: one unit is enough to know whether to worry.
fn length(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// From `earlier` to `later`, zero when the clock was set back between them.
fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

fn one_line(reason: &str) -> String {
    let words: Vec<&str> = reason.split_whitespace().collect();
    let joined = words.join(" ");
    match joined.char_indices().nth(MAX_REASON_CHARACTERS) {
        Some((end, _)) => format!("{}...", &joined[..end]),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::outage::{Outage, OutageCause};
    use crate::health::status::{Dependency, PoolState};

    const NOW: &str = "2026-11-22T03:30:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            now: at(NOW),
            started_at: at("2026-11-22T00:14:00Z"),
            ready: true,
            drain: None,
            dependencies: Dependency::ALL.map(|dependency| (dependency, DependencyState::Up)),
            notes: Vec::new(),
            jobs_in_flight: 0,
            messages_held: 0,
            outcomes: [0; Outcome::ALL.len()],
            last_document_at: None,
            pool: PoolState { children: 2, wanted: 2, ..PoolState::default() },
        }
    }

    fn down(mut snapshot: Snapshot, dependency: Dependency, since: &str, reason: &str) -> Snapshot {
        snapshot.dependencies[dependency as usize].1 =
            DependencyState::Down { since: at(since), outage: Outage::new(OutageCause::Unreachable, reason) };
        snapshot
    }

    fn line(snapshot: &Snapshot) -> String {
        status_line(snapshot, &TimeZone::fixed(jiff::tz::offset(9)))
    }

    #[test]
    fn busy() {
        let snapshot = Snapshot {
            jobs_in_flight: 4,
            outcomes: [1203, 0, 4, 0, 0, 0, 0],
            last_document_at: Some(at("2026-11-22T03:29:57Z")),
            pool: PoolState { children: 2, wanted: 2, busy: 2, ..PoolState::default() },
            ..snapshot()
        };
        assert_eq!(
            line(&snapshot),
            "ready; 4 jobs, 2 of 2 children busy; 1,203 indexed, 4 without text, 0 dead-lettered since 09:14; last 3 s ago"
        );
    }

    #[test]
    fn idle_after_a_start_days_ago() {
        let snapshot = Snapshot {
            started_at: at("2026-11-19T15:00:00Z"),
            outcomes: [1_234_567, 2, 0, 9, 30, 1, 0],
            last_document_at: Some(at("2026-11-22T01:00:00Z")),
            ..snapshot()
        };
        assert_eq!(
            line(&snapshot),
            "ready; idle, 0 of 2 children busy; 1,234,567 indexed, 2 in part, 0 without text, 9 deleted, 30 skipped, \
             1 dead-lettered since 11-20 00:00; last 2 h ago"
        );
    }

    #[test]
    fn a_child_is_missing_and_a_note_is_shown() {
        let mut snapshot = Snapshot {
            jobs_in_flight: 1,
            pool: PoolState { children: 1, wanted: 2, busy: 1, ..PoolState::default() },
            ..snapshot()
        };
        snapshot.notes.push("no dead-letter queue is known: bad messages stay in the queue".to_owned());
        assert_eq!(
            line(&snapshot),
            "ready; 1 job, 1 of 2 children busy, 1 being started; 0 indexed, 0 without text, 0 dead-lettered since \
             09:14; nothing finished yet; no dead-letter queue is known: bad messages stay in the queue"
        );
    }

    #[test]
    fn memory_is_short() {
        let pool = PoolState { children: 1, wanted: 1, max_workers: 2, busy: 1, ..PoolState::default() };
        let shown = line(&Snapshot { jobs_in_flight: 3, pool, ..snapshot() });
        assert!(shown.starts_with("ready; 3 jobs, 1 of 2 children, memory is short, 1 busy; "), "{shown}");
    }

    #[test]
    fn the_index_is_down() {
        let snapshot = Snapshot { messages_held: 12, ..snapshot() };
        let snapshot = down(snapshot, Dependency::Index, "2026-11-21T18:12:00Z", "connection\nrefused");
        assert_eq!(
            line(&snapshot),
            "paused: OpenSearch down since 03:12 (unreachable: connection refused); 12 messages held, the rest waits in the queue; \
             goes on by itself when that works; 0 indexed, 0 without text, 0 dead-lettered since 09:14; nothing finished yet"
        );
    }

    #[test]
    fn what_a_person_can_do_is_said_with_the_cause() {
        let mut snapshot = snapshot();
        let outage = Outage::new(OutageCause::FloodStage, "index [x] blocked by ...");
        snapshot.dependencies[Dependency::Index as usize].1 =
            DependencyState::Down { since: at("2026-11-21T18:12:00Z"), outage };
        let shown = line(&snapshot);
        let expected = "paused: OpenSearch down since 03:12 (flood stage: index [x] blocked by ...; free disk space on the cluster);";
        assert!(shown.starts_with(expected), "{shown}");
    }

    #[test]
    fn without_the_dead_letter_queue_work_goes_on_and_the_line_says_so() {
        let snapshot = down(snapshot(), Dependency::DeadLetterQueue, "2026-11-21T18:12:00Z", "refused");
        let shown = line(&snapshot);
        assert!(shown.starts_with("ready; idle, "), "{shown}");
        let expected = "; dead-letter queue down since 03:12 (unreachable: refused), known-bad messages wait for it";
        assert!(shown.ends_with(expected), "{shown}");
    }

    #[test]
    fn two_dependencies_are_down() {
        let snapshot = down(snapshot(), Dependency::Index, "2026-11-22T03:00:00Z", "503");
        let snapshot = down(snapshot, Dependency::Store, "2026-11-22T03:01:00Z", "no credentials");
        let shown = line(&snapshot);
        assert!(
            shown.starts_with("paused: S3 bucket down since 12:01 (unreachable: no credentials), OpenSearch down since 12:00 (unreachable: 503); no messages held"),
            "{shown}"
        );
    }

    #[test]
    fn starting_says_what_it_waits_for() {
        let mut snapshot = Snapshot { ready: false, ..snapshot() };
        snapshot.dependencies[Dependency::Queue as usize].1 = DependencyState::Unproven;
        snapshot.dependencies[Dependency::Index as usize].1 = DependencyState::Unproven;
        assert_eq!(line(&snapshot), "starting: not yet proven: SQS queue, OpenSearch");
        let snapshot = down(snapshot, Dependency::Index, "2026-11-22T03:29:00Z", "index cis-files-v2 does not exist");
        assert_eq!(
            line(&snapshot),
            "starting: OpenSearch down since 12:29 (unreachable: index cis-files-v2 does not exist); goes on by itself when that works"
        );
    }

    #[test]
    fn draining_says_what_is_left_and_for_how_long() {
        let drain = Drain {
            cause: "SIGTERM".to_owned(),
            since: at("2026-11-22T03:29:41Z"),
            deadline: at("2026-11-22T03:30:41Z"),
        };
        let mut snapshot = Snapshot { jobs_in_flight: 3, drain: Some(drain), ..snapshot() };
        assert_eq!(
            line(&snapshot),
            "stopping since 12:29 (SIGTERM): 3 jobs to finish, up to 41 s more, then the rest goes back to the queue"
        );
        snapshot.now = at("2026-11-22T03:31:00Z");
        assert!(line(&snapshot).ends_with("no time left, the rest goes back to the queue"));
    }

    #[test]
    fn numbers_are_grouped_and_lengths_have_one_unit() {
        assert_eq!([0, 999, 1000, 1_000_000].map(grouped), ["0", "999", "1,000", "1,000,000"]);
        let lengths = [3, 119, 120, 7199, 7200, 172_800].map(|seconds| length(Duration::from_secs(seconds)));
        assert_eq!(lengths, ["3 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
    }

    #[test]
    fn a_page_of_an_answer_becomes_one_short_line() {
        let shown = one_line(&"<html>\n\tgateway ".repeat(100));
        assert!(shown.chars().count() <= MAX_REASON_CHARACTERS + 3 && !shown.contains('\n'), "{shown}");
    }
}
