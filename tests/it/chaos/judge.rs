//! What came of it: the table, and every reason why it is not good enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::arena::Arena;
use super::plan::Plan;
use super::torment::Torment;
use crate::agreement::{self, Agreement, ContentHash, Difference, Expected};

/// Pages read by OCR may be so many times those of the documents that stand in the index.
const MAX_PAGE_RATIO: f64 = 1.5;
/// Pages that may be read twice where there are few: each kill costs what was being read.
const PAGES_OF_GRACE: u64 = 8;
/// Faults that are explained in full; the others are counted.
const MAX_EXPLAINED: usize = 20;
const MAX_LOG_LINES: usize = 30;
/// Documents whose marker is also searched for.
const SEARCHED: usize = 100;

/// What was found when all was over.
pub struct Verdict {
    pub table: String,
    /// Why the bar is missed; empty when it is not.
    pub faults: Vec<String>,
}

/// The dead-letter queue against what must be in it.
#[derive(Default)]
struct DeadLetters {
    by_reason: BTreeMap<String, u64>,
    duplicates: u64,
    unexpected: Vec<String>,
    lacking: Vec<String>,
}

pub async fn judge(arena: &Arena, plan: &Plan, torment: &Torment, wall_seconds: f64) -> Verdict {
    let world = &arena.world;
    let mut agreement = agreement::compare(world, &plan.expected).await;
    let wrong_already: BTreeSet<String> = agreement.differences.iter().map(|it| it.key().to_owned()).collect();
    let searched = plan
        .expected
        .iter()
        .filter(|(key, _)| !wrong_already.contains(*key))
        .filter_map(|(key, expected)| Some((key, expected.marker.as_ref()?)))
        .take(SEARCHED);
    agreement.differences.extend(agreement::not_findable(world, searched).await);
    let (visible, in_flight) = world.queue_counts().await;
    let letters = dead_letters(world.dead_letters().await, &plan.dead_letters);
    let pages = arena.pages_ocr();

    let mut faults = Vec::new();
    for difference in agreement.differences.iter().take(MAX_EXPLAINED) {
        faults.push(explain(arena, difference, plan.expected.get(difference.key())));
    }
    if agreement.differences.len() > MAX_EXPLAINED {
        faults.push(format!("and {} more", agreement.differences.len() - MAX_EXPLAINED));
    }
    if visible + in_flight > 0 {
        faults.push(format!("stuck: {visible} messages in the queue, {in_flight} in flight"));
    }
    faults.extend(letters.unexpected.iter().map(|it| format!("unexpected in the dead-letter queue: {it}")));
    faults.extend(letters.lacking.iter().map(|it| format!("not in the dead-letter queue: {it}")));
    faults.extend(torment.unasked_ends.iter().cloned());
    let allowed = (agreement.pages_ocr as f64 * MAX_PAGE_RATIO).max((agreement.pages_ocr + PAGES_OF_GRACE) as f64);
    if pages as f64 > allowed {
        faults.push(format!("{pages} pages were read for {}", agreement.pages_ocr));
    }

    let table = Table::new()
        .objects(&agreement)
        .queue(plan, visible, in_flight, &letters)
        .pages(pages, pages_of_finished_documents(arena), agreement.pages_ocr)
        .injected(arena, torment)
        .row("wall time", format!("{wall_seconds:.0} s"))
        .finish();
    Verdict { table, faults }
}

fn dead_letters(
    found: Vec<(String, std::collections::HashMap<String, String>)>,
    expected: &BTreeMap<String, &'static str>,
) -> DeadLetters {
    let mut letters = DeadLetters::default();
    let mut seen = BTreeSet::new();
    for (body, attributes) in found {
        let reason = attributes.get("reason").map_or("none: the queue's own redrive", String::as_str);
        *letters.by_reason.entry(reason.to_owned()).or_default() += 1;
        if expected.get(&body).is_none_or(|known| *known != reason) {
            letters.unexpected.push(format!("{reason} {attributes:?}: {body}"));
        } else if !seen.insert(body) {
            // The copy was made and the daemon died, or the answer was lost, before the message was deleted.
            letters.duplicates += 1;
        }
    }
    letters.lacking = expected.keys().filter(|body| !seen.contains(*body)).cloned().collect();
    letters
}

/// A difference with what was expected and what the daemons said about the object.
fn explain(arena: &Arena, difference: &Difference, expected: Option<&Expected>) -> String {
    let mut text = difference.to_string();
    if let Some(Expected { content_sha256, marker, outcomes }) = expected {
        let hash = match content_sha256 {
            ContentHash::Of(hash) => &hash[..8],
            ContentHash::None => "none",
            ContentHash::Any => "any",
        };
        write!(text, "\n    expected: {outcomes:?}, marker {marker:?}, content {hash}").expect("a string takes it");
    }
    let mut lines = 0;
    for (number, slot) in arena.slots.iter().enumerate() {
        for (life, log) in slot.lives.iter().map(|life| &life.log).enumerate() {
            for line in lines_about(log, difference.key()) {
                lines += 1;
                if lines <= MAX_LOG_LINES {
                    write!(text, "\n    daemon {number} life {life}: {line}").expect("a string takes it");
                }
            }
        }
    }
    text
}

fn lines_about(log: &Path, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| line.contains(key)).map(str::to_owned).collect()
}

/// Pages read by OCR of all documents that were written, again and again included, as the daemons' logs say.
fn pages_of_finished_documents(arena: &Arena) -> u64 {
    let logs = arena.slots.iter().flat_map(|slot| &slot.lives).map(|life| &life.log);
    let text: String = logs.map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect();
    let counts =
        text.lines().filter_map(|line| line.split_once(" pages_ocr=")?.1.split(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// Two aligned columns.
struct Table {
    rows: Vec<(String, String)>,
}

impl Table {
    fn new() -> Self {
        Self { rows: Vec::new() }
    }

    fn row(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.rows.push((name.into(), value.to_string()));
        self
    }

    fn objects(self, agreement: &Agreement) -> Self {
        let count = |is_it: fn(&Difference) -> bool| agreement.differences.iter().filter(|it| is_it(it)).count();
        self.row("objects in the bucket", agreement.objects)
            .row("  documents right", agreement.right)
            .row("  wrong", count(|it| matches!(it, Difference::Wrong { .. })))
            .row("  missing", count(|it| matches!(it, Difference::Missing { .. })))
            .row("  extra", count(|it| matches!(it, Difference::Extra { .. })))
            .row("  thumbnails extra", count(|it| matches!(it, Difference::ExtraThumbnail { .. })))
            .row("  thumbnails missing", count(|it| matches!(it, Difference::LostThumbnail { .. })))
    }

    fn queue(self, plan: &Plan, visible: u64, in_flight: u64, letters: &DeadLetters) -> Self {
        let mut table = self
            .row("messages sent", plan.messages)
            .row("  left in the queue", visible)
            .row("  in flight", in_flight)
            .row("  must be dead-lettered", plan.dead_letters.len());
        for (reason, count) in &letters.by_reason {
            table = table.row(format!("  dead-lettered: {reason}"), count);
        }
        table.row("  of these second copies", letters.duplicates).row("  of these unexpected", letters.unexpected.len())
    }

    fn pages(self, read: u64, finished: u64, minimum: u64) -> Self {
        let ratio = read as f64 / minimum.max(1) as f64;
        self.row("pages read by OCR", read)
            .row("  minimum", minimum)
            .row("  ratio", format!("{ratio:.2}"))
            .row("  more for documents written twice", finished.saturating_sub(minimum))
            .row("  more that came to no document", read.saturating_sub(finished))
    }

    fn injected(self, arena: &Arena, torment: &Torment) -> Self {
        let mut table = self.row("faults", torment.injected.values().sum::<u64>());
        for (kind, count) in &torment.injected {
            table = table.row(format!("  {kind}"), count);
        }
        for (name, line) in [("SQS", &arena.sqs), ("S3", &arena.s3), ("OpenSearch", &arena.index)] {
            for (hit, count) in line.relay.hits() {
                table = table.row(format!("  {name} requests, {hit}"), count);
            }
        }
        table.row("daemons started", arena.slots.iter().map(|slot| slot.lives.len()).sum::<usize>())
    }

    fn finish(self) -> String {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.rows.iter().map(|(name, value)| format!("{name:width$}  {value:>8}\n")).collect()
    }
}
