//! The chaos suite: thousands of messages, two daemons, and everything going wrong on the way. In the end the index
//! must agree with the bucket, the queue be empty, and the dead-letter queue hold what it must and nothing else.
//!
//! `scripts/chaos.sh` runs the long version; a short one runs with the other tests. The seed decides what is done and
//! when (`CHAOS_SEED`), not what servers and processes do at the same time.
//!
//! * [`plan`], [`content`]: what is done to the bucket and said in the queue
//! * [`faults`], [`torment`]: what goes wrong
//! * [`arena`], [`relay`], [`toxiproxy`]: daemons, servers and what stands between them
//! * [`judge`]: the table and the bar

mod arena;
mod content;
mod faults;
mod judge;
mod plan;
pub mod relay;
mod torment;
pub mod toxiproxy;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arena::{Arena, stamp};
use plan::{Plan, Size};
use torment::Torment;

use crate::histories::{number, seed};

/// How often a run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// One run.
struct Run {
    name: &'static str,
    seed: u64,
    size: Size,
    daemons: usize,
    /// How often each fault comes.
    rounds: usize,
    /// How long the daemons have to finish once all faults are over.
    patience: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_stuck_or_wrong_after_every_fault_once() {
    let size = Size { messages: 400, objects: 100, spread: Duration::from_secs(45) };
    let seed = seed("CHAOS_SEED");
    run(Run { name: "chaos-short", seed, size, daemons: 2, rounds: 1, patience: Duration::from_secs(120) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes many minutes: scripts/chaos.sh runs it"]
async fn long() {
    let size = Size {
        messages: number("CHAOS_MESSAGES", 10_000) as usize,
        objects: number("CHAOS_OBJECTS", 2_000) as usize,
        spread: Duration::from_secs(number("CHAOS_SECONDS", 480)),
    };
    run(Run {
        name: "chaos-long",
        seed: seed("CHAOS_SEED"),
        size,
        daemons: number("CHAOS_DAEMONS", 2) as usize,
        rounds: number("CHAOS_ROUNDS", 3) as usize,
        patience: Duration::from_secs(number("CHAOS_PATIENCE", 300)),
    })
    .await;
}

async fn run(run: Run) {
    let Size { messages, objects, spread } = run.size;
    eprintln!(
        "CHAOS_SEED={} messages={messages} objects={objects} daemons={} seconds={} rounds={}",
        run.seed,
        run.daemons,
        spread.as_secs(),
        run.rounds
    );
    let mut arena = Arena::new(run.name, run.daemons, run.seed).await;
    let mut plan = Plan::new(run.seed, run.size, &arena.world.bucket);
    let started = Instant::now();
    let mut torment = Torment::new(started, faults::script(run.seed, run.daemons, run.rounds, spread));

    let sent = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(Plan::perform(plan.take_steps(), Arc::clone(&arena.world), Arc::clone(&sent)));
    let mut last_progress = Instant::now();
    while !(torment.is_over() && sending.is_finished()) {
        torment.tick(&mut arena).await;
        if last_progress.elapsed() >= PROGRESS_EVERY {
            last_progress = Instant::now();
            tell_progress(&arena, started, sent.load(Ordering::Relaxed), plan.messages).await;
        }
    }
    sending.await.expect("the plan was carried out");
    torment.end_all(&mut arena).await;
    wait_until_drained(&mut arena, &mut torment, run.patience).await;

    let verdict = judge::judge(&arena, &plan, &torment, started.elapsed().as_secs_f64()).await;
    let logs = if verdict.faults.is_empty() { None } else { Some(keep_logs(&arena, run.seed)) };
    arena.tear_down();
    eprintln!("\nCHAOS_SEED={}\n{}", run.seed, verdict.table);
    if let Some(logs) = logs {
        let faults = verdict.faults.join("\n");
        panic!("CHAOS_SEED={}: the bar is missed\n{faults}\nthe daemons' logs: {}", run.seed, logs.display());
    }
}

async fn tell_progress(arena: &Arena, started: Instant, sent: usize, messages: usize) {
    let (visible, in_flight) = arena.world.queue_counts().await;
    eprintln!("{}  {sent} of {messages} messages sent, {visible} wait, {in_flight} in flight", stamp(started));
}

/// Until the queue holds nothing and nobody is at work, or patience is at an end; the judge counts what is left.
async fn wait_until_drained(arena: &mut Arena, torment: &mut Torment, patience: Duration) {
    let started = Instant::now();
    let mut last_progress = started;
    while started.elapsed() < patience {
        torment.tick(arena).await;
        let (visible, in_flight) = arena.world.queue_counts().await;
        if (visible, in_flight) == (0, 0) && arena.is_idle().await {
            eprintln!("drained in {:.1} s", started.elapsed().as_secs_f64());
            return;
        }
        if last_progress.elapsed() >= PROGRESS_EVERY {
            last_progress = Instant::now();
            eprintln!("{}  draining: {visible} wait, {in_flight} in flight", stamp(started));
        }
    }
}

/// Copies the logs to where they outlive the test.
fn keep_logs(arena: &Arena, seed: u64) -> PathBuf {
    let parent = std::env::var_os("CHAOS_LOGS").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("{}-seed-{seed}", arena.world.name));
    std::fs::create_dir_all(&folder).expect("create the folder of logs");
    for (number, slot) in arena.slots.iter().enumerate() {
        for (life, log) in slot.lives.iter().map(|life| &life.log).enumerate() {
            std::fs::copy(log, folder.join(format!("daemon-{number}-life-{life}.log"))).expect("copy a log");
        }
    }
    folder
}
