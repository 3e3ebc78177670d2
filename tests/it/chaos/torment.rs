//! Carries the script of faults out, watches the daemons, and keeps the history.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::json;

use super::arena::{Arena, Line, in_words, stamp};
use super::faults::Fault;
use super::relay::Disturbance;

const TICK: Duration = Duration::from_millis(200);
/// How often daemons are asked how many pages they have read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of a hundred requests, so many are hit. High enough to be met, low enough that some work gets done: a receive whose
/// answer is lost costs its messages a delivery.
const REFUSED_PERCENT: u8 = 80;
const LOST_PERCENT: u8 = 30;
const LOST_RECEIVES_PERCENT: u8 = 15;

const SLOW_DOWN: Disturbance = Disturbance::Refuse {
    status: 503,
    content_type: "application/xml",
    body: "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code><Message>Please reduce your request \
           rate.</Message><RequestId>relay</RequestId></Error>",
};
const TOO_MANY_REQUESTS: Disturbance = Disturbance::Refuse {
    status: 429,
    content_type: "application/json",
    body: "{\"error\":{\"type\":\"circuit_breaking_exception\",\"reason\":\"too many requests\"},\"status\":429}",
};
const THROTTLED: Disturbance = Disturbance::Refuse {
    status: 400,
    content_type: "application/x-amz-json-1.0",
    body: "{\"__type\":\"com.amazonaws.sqs#RequestThrottled\",\"message\":\"Rate exceeded\"}",
};

/// The script, what of it lasts at the moment, and what has happened.
pub struct Torment {
    started: Instant,
    script: VecDeque<(Duration, Fault)>,
    lasting: Vec<(Instant, Fault)>,
    last_look: Instant,
    /// Faults carried out, by kind.
    pub injected: BTreeMap<&'static str, u64>,
    /// Ends of daemons that nobody asked for.
    pub unasked_ends: Vec<String>,
}

impl Torment {
    pub fn new(started: Instant, script: Vec<(Duration, Fault)>) -> Self {
        Self {
            started,
            script: script.into(),
            lasting: Vec::new(),
            last_look: started,
            injected: BTreeMap::new(),
            unasked_ends: Vec::new(),
        }
    }

    /// Whether all faults are over.
    pub fn is_over(&self) -> bool {
        self.script.is_empty() && self.lasting.is_empty()
    }

    fn say(&self, text: &str) {
        eprintln!("{}  {text}", stamp(self.started));
    }

    /// One turn: ends what is over, begins what is due, starts daemons that ended.
    pub async fn tick(&mut self, arena: &mut Arena) {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        let (over, lasting) = std::mem::take(&mut self.lasting).into_iter().partition(|(until, _)| *until <= now);
        self.lasting = lasting;
        for (_, fault) in over {
            self.say(&format!("over: {fault}"));
            end(arena, fault).await;
        }
        while self.script.front().is_some_and(|(at, _)| *at <= self.started.elapsed())
            && let Some((_, fault)) = self.script.pop_front()
        {
            self.begin(arena, fault).await;
        }
        for number in 0..arena.slots.len() {
            self.replace_if_ended(arena, number).await;
        }
        if self.last_look.elapsed() >= LOOK_EVERY {
            self.last_look = Instant::now();
            arena.look_at_daemons().await;
        }
    }

    async fn begin(&mut self, arena: &mut Arena, fault: Fault) {
        if !begin(arena, fault).await {
            self.say(&format!("{fault}: left out, not possible here"));
            return;
        }
        self.say(&fault.to_string());
        *self.injected.entry(fault.kind()).or_default() += 1;
        if !fault.lasts().is_zero() {
            self.lasting.push((Instant::now() + fault.lasts(), fault));
        }
    }

    async fn replace_if_ended(&mut self, arena: &mut Arena, number: usize) {
        let Some(status) = arena.ended(number) else { return };
        let slot = &arena.slots[number];
        // A daemon that was asked to go says that it went well; one that was killed says nothing.
        let is_asked = slot.may_end && matches!(status.code(), Some(0) | None);
        let words = format!("daemon {number} ended ({})", in_words(status));
        if is_asked {
            self.say(&format!("{words}, a new one is started"));
        } else {
            self.say(&format!("{words} unasked, a new one is started"));
            self.unasked_ends.push(format!("{words}, see {}", slot.daemon.log.display()));
        }
        if let Some(metadata) = &slot.metadata {
            metadata.withdraw().await;
        }
        arena.restart(number);
    }

    /// Takes every fault away, whatever the script still had.
    pub async fn end_all(&mut self, arena: &mut Arena) {
        self.script.clear();
        for (_, fault) in std::mem::take(&mut self.lasting) {
            end(arena, fault).await;
        }
        for slot in &arena.slots {
            slot.signal_children(libc::SIGCONT);
            slot.daemon.signal(libc::SIGCONT);
        }
        self.say("all faults are over");
    }
}

/// False where it cannot be done.
async fn begin(arena: &mut Arena, fault: Fault) -> bool {
    match fault {
        Fault::KillDaemon(number) => ask_to_end(arena, number, libc::SIGKILL),
        Fault::TerminateDaemon(number) => ask_to_end(arena, number, libc::SIGTERM),
        Fault::FreezeDaemon(number) => arena.slots[number].daemon.signal(libc::SIGSTOP),
        Fault::KillChildren(number) => arena.slots[number].signal_children(libc::SIGKILL),
        Fault::FreezeChildren(number) => arena.slots[number].signal_children(libc::SIGSTOP),
        Fault::SpotNotice(number) => {
            let slot = &mut arena.slots[number];
            slot.may_end = true;
            let Some(metadata) = &slot.metadata else { return false };
            metadata.announce_interruption().await;
        }
        Fault::FullDisk => match &arena.small_disk {
            Some(disk) => disk.fill(),
            None => return false,
        },
        Fault::IndexReadOnly => set_read_only(arena, json!(true)).await,
        Fault::LeasesTaken => take_leases(arena).await,
        Fault::StoreRefuses => arena.s3.relay.disturb(SLOW_DOWN, REFUSED_PERCENT),
        Fault::StoreCutsBodies => arena.s3.relay.disturb(Disturbance::CutAnswer, LOST_PERCENT),
        Fault::IndexRefuses => arena.index.relay.disturb(TOO_MANY_REQUESTS, REFUSED_PERCENT),
        Fault::IndexLosesAnswers => arena.index.relay.disturb(Disturbance::LoseAnswer, LOST_PERCENT),
        Fault::QueueThrottles => arena.sqs.relay.disturb(THROTTLED, REFUSED_PERCENT),
        Fault::QueueLosesAnswers => arena.sqs.relay.disturb(Disturbance::LoseAnswer, LOST_RECEIVES_PERCENT),
        Fault::StoreDown => arena.s3.proxy.set_enabled(false).await,
        Fault::IndexDown => arena.index.proxy.set_enabled(false).await,
        Fault::StoreSlow => slow_down(&arena.s3).await,
        Fault::IndexSlow => slow_down(&arena.index).await,
        Fault::QueueSlow => slow_down(&arena.sqs).await,
        Fault::StoreResets => reset(&arena.s3).await,
        Fault::QueueResets => reset(&arena.sqs).await,
    }
    true
}

async fn end(arena: &Arena, fault: Fault) {
    match fault {
        Fault::FreezeDaemon(number) => arena.slots[number].daemon.signal(libc::SIGCONT),
        Fault::FreezeChildren(number) => arena.slots[number].signal_children(libc::SIGCONT),
        Fault::SpotNotice(number) => {
            if let Some(metadata) = &arena.slots[number].metadata {
                metadata.withdraw().await;
            }
        }
        Fault::FullDisk => {
            if let Some(disk) = &arena.small_disk {
                disk.empty();
            }
        }
        Fault::IndexReadOnly => set_read_only(arena, json!(null)).await,
        Fault::StoreRefuses | Fault::StoreSlow | Fault::StoreResets | Fault::StoreCutsBodies | Fault::StoreDown => {
            arena.s3.heal().await
        }
        Fault::IndexDown | Fault::IndexRefuses | Fault::IndexSlow | Fault::IndexLosesAnswers => {
            arena.index.heal().await;
        }
        Fault::QueueThrottles | Fault::QueueSlow | Fault::QueueResets | Fault::QueueLosesAnswers => {
            arena.sqs.heal().await;
        }
        Fault::KillDaemon(_) | Fault::TerminateDaemon(_) | Fault::KillChildren(_) | Fault::LeasesTaken => {}
    }
}

fn ask_to_end(arena: &mut Arena, number: usize, signal: i32) {
    let slot = &mut arena.slots[number];
    slot.may_end = true;
    slot.daemon.signal(signal);
}

async fn slow_down(line: &Line) {
    line.proxy.add("latency", "downstream", json!({ "latency": 1_200, "jitter": 600 })).await;
    line.proxy.add("bandwidth", "downstream", json!({ "rate": 50 })).await;
}

/// Connections are reset 50 ms after they were made, whatever is on its way.
async fn reset(line: &Line) {
    line.proxy.add("reset_peer", "downstream", json!({ "timeout": 50 })).await;
}

/// As a cluster does that runs out of disk (flood stage).
async fn set_read_only(arena: &Arena, value: serde_json::Value) {
    let path = format!("{}/_settings", arena.world.index);
    arena.world.opensearch_put(&path, json!({ "index.blocks.read_only_allow_delete": value })).await;
}

/// Makes the messages visible that were handed out last, under the hands of whoever has them.
async fn take_leases(arena: &Arena) {
    let world = &arena.world;
    for handle in arena.sqs.relay.take_receipt_handles() {
        let change = world.sqs.change_message_visibility().queue_url(&world.queue_url).receipt_handle(handle);
        // Most are settled already.
        let _ = change.visibility_timeout(0).send().await;
    }
}
