//! What systemd is told: READY=1 once everything is proven, STATUS= in words, WATCHDOG=1 only while the daemon really
//! works, STOPPING=1, and more time while a stop or a start makes sense (sd_notify(3), systemd.service(5)).
//!
//! Outside systemd (`NOTIFY_SOCKET` unset) every message goes nowhere. The variable stays in this process's
//! environment, since each message looks it up; children are started with an empty environment.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::events::WatchdogWithheld;
use super::status::{Phase, Snapshot, Status};

/// STATUS= is sent once in this time at most.
const TICK: Duration = Duration::from_secs(1);
/// systemd waits at least so long for the next message when it is asked for more time: several ticks, so that a
/// late one does not kill a daemon that is fine.
const EXTENSION: Duration = Duration::from_secs(15);
/// After the drain's deadline: for giving back what is left, for telling Auto Scaling, and for the last log lines.
const AFTER_DEADLINE: Duration = Duration::from_secs(20);

/// Tells systemd about the status until `stop`; `health` is asked before each WATCHDOG=1. A drain in which nothing was
/// finished for `longest_page` makes no progress.
pub async fn run(
    status: Arc<Status>,
    health: impl Fn() -> Result<(), String>,
    longest_page: Duration,
    stop: CancellationToken,
) {
    let mut notifier = Notifier::new(sd_notify::watchdog_enabled(), longest_page);
    let mut changes = status.changes();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // READY=1 and STOPPING=1 do not wait for the next tick, nor do the words that belong to them.
            () = changes.next() => {
                let mut messages = notifier.on_change(&status.snapshot());
                if !messages.is_empty() {
                    messages.extend(notifier.status(status.status_line()));
                }
                send(&messages);
            }
            _ = ticks.tick() => {
                let line = status.status_line();
                send(&notifier.on_tick(&status.snapshot(), line, &health, Instant::now()));
            }
        }
    }
}

/// What is sent to systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    Ready,
    Stopping,
    Status(String),
    Watchdog,
    ExtendTimeout(Duration),
}

/// What systemd knows already.
#[derive(Debug)]
struct Notifier {
    /// Half of what systemd allows; `None` without a watchdog.
    watchdog_interval: Option<Duration>,
    next_watchdog: Option<Instant>,
    told_ready: bool,
    told_stopping: bool,
    told_status: String,
    /// Why the watchdog is being withheld.
    withheld: Option<String>,
    /// A page may take so long.
    longest_page: Duration,
    draining: Option<DrainProgress>,
}

/// How far a drain is, by a clock that nobody can set.
#[derive(Debug)]
struct DrainProgress {
    began: Instant,
    finished: Finished,
    advanced: Instant,
}

/// Grows as long as a drain gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finished {
    pages: u64,
    outcomes: u64,
    jobs_in_flight: u64,
}

impl Finished {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            pages: snapshot.pool.pages_done,
            outcomes: snapshot.outcomes.iter().sum(),
            jobs_in_flight: snapshot.jobs_in_flight,
        }
    }
}

impl Notifier {
    fn new(watchdog_timeout: Option<Duration>, longest_page: Duration) -> Self {
        Self {
            watchdog_interval: watchdog_timeout.map(|timeout| timeout / 2),
            next_watchdog: None,
            told_ready: false,
            told_stopping: false,
            told_status: String::new(),
            withheld: None,
            longest_page,
            draining: None,
        }
    }

    /// The messages that cannot wait.
    fn on_change(&mut self, snapshot: &Snapshot) -> Vec<Message> {
        let mut messages = Vec::new();
        if snapshot.ready && !self.told_ready {
            self.told_ready = true;
            messages.push(Message::Ready);
        }
        if snapshot.drain.is_some() && !self.told_stopping {
            self.told_stopping = true;
            messages.push(Message::Stopping);
        }
        messages
    }

    fn on_tick(
        &mut self,
        snapshot: &Snapshot,
        status_line: String,
        health: &impl Fn() -> Result<(), String>,
        now: Instant,
    ) -> Vec<Message> {
        let mut messages = self.on_change(snapshot);
        if self.wants_more_time(snapshot, now) {
            messages.push(Message::ExtendTimeout(EXTENSION));
        }
        messages.extend(self.status(status_line));
        messages.extend(self.watchdog(health, now));
        messages
    }

    /// The words, unless systemd has them already.
    fn status(&mut self, status_line: String) -> Option<Message> {
        if self.told_status == status_line {
            return None;
        }
        self.told_status.clone_from(&status_line);
        Some(Message::Status(status_line))
    }

    /// WATCHDOG=1 when it is due and the daemon is well. While it is not, systemd's clock runs on.
    fn watchdog(&mut self, health: &impl Fn() -> Result<(), String>, now: Instant) -> Option<Message> {
        let interval = self.watchdog_interval?;
        if self.next_watchdog.is_some_and(|due| now < due) {
            return None;
        }
        match health() {
            Ok(()) => {
                self.withheld = None;
                self.next_watchdog = Some(now + interval);
                Some(Message::Watchdog)
            }
            Err(why) => {
                if self.withheld.is_none() {
                    WatchdogWithheld { why: &why }.emit();
                }
                self.withheld = Some(why);
                None
            }
        }
    }

    /// Whether systemd should go on waiting past its own time-outs: while a start waits for a known outage to end, and
    /// while a drain is within its budget and gets on. A start or a stop that hangs gets no such help.
    fn wants_more_time(&mut self, snapshot: &Snapshot, now: Instant) -> bool {
        match (snapshot.phase(), &snapshot.drain) {
            (Phase::Starting, _) => snapshot.outages().next().is_some(),
            (Phase::Draining, Some(drain)) => {
                let finished = Finished::of(snapshot);
                let progress = self.draining.get_or_insert(DrainProgress { began: now, finished, advanced: now });
                if progress.finished != finished {
                    (progress.finished, progress.advanced) = (finished, now);
                }
                let budget = Duration::try_from(drain.deadline.duration_since(drain.since)).unwrap_or_default();
                now < progress.began + budget + AFTER_DEADLINE && now < progress.advanced + self.longest_page
            }
            _ => false,
        }
    }
}

/// Sends messages in one datagram. A failure is nothing that the daemon could do better about.
fn send(messages: &[Message]) {
    if messages.is_empty() {
        return;
    }
    let states: Vec<NotifyState> = messages
        .iter()
        .map(|message| match message {
            Message::Ready => NotifyState::Ready,
            Message::Stopping => NotifyState::Stopping,
            Message::Status(line) => NotifyState::Status(line),
            Message::Watchdog => NotifyState::Watchdog,
            Message::ExtendTimeout(time) => {
                NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
            }
        })
        .collect();
    if let Err(error) = sd_notify::notify(&states) {
        log::debug!(error:%; "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::health::outage::{Outage, OutageCause};
    use crate::health::status::{Dependency, PoolState};

    const LONGEST_PAGE: Duration = Duration::from_secs(180);

    fn status() -> Status {
        Status::new(Duration::from_secs(20))
    }

    fn well() -> Result<(), String> {
        Ok(())
    }

    fn stuck() -> Result<(), String> {
        Err("the poll loop has not turned for 70 s".to_owned())
    }

    /// The messages of a tick that has nothing new to say in words.
    fn tick(notifier: &mut Notifier, status: &Status) -> Vec<Message> {
        notifier.on_tick(&status.snapshot(), String::new(), &well, Instant::now())
    }

    #[test]
    fn ready_is_said_once_and_only_when_everything_is_proven() {
        let (status, mut notifier) = (status(), Notifier::new(None, LONGEST_PAGE));
        assert_eq!(tick(&mut notifier, &status), []);
        status.set_ready();
        assert_eq!(notifier.on_change(&status.snapshot()), [Message::Ready]);
        status.dependency_down(Dependency::Index, &Outage::new(OutageCause::Unreachable, "down"));
        assert_eq!(tick(&mut notifier, &status), []);
    }

    #[test]
    fn status_is_said_when_it_changes() {
        let (status, mut notifier) = (status(), Notifier::new(None, LONGEST_PAGE));
        let mut say = |line: &str| notifier.on_tick(&status.snapshot(), line.to_owned(), &well, Instant::now());
        assert_eq!(say("starting"), [Message::Status("starting".to_owned())]);
        assert_eq!(say("starting"), []);
        assert_eq!(say("ready"), [Message::Status("ready".to_owned())]);
    }

    #[test]
    fn the_watchdog_is_fed_at_half_time_and_only_while_the_daemon_is_well() {
        let mut notifier = Notifier::new(Some(Duration::from_secs(30)), LONGEST_PAGE);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(notifier.watchdog(&well, start), Some(Message::Watchdog));
        assert_eq!(notifier.watchdog(&well, after(14)), None);
        assert_eq!(notifier.watchdog(&well, after(15)), Some(Message::Watchdog));
        assert_eq!(notifier.watchdog(&stuck, after(30)), None);
        assert_eq!(notifier.watchdog(&well, after(31)), Some(Message::Watchdog));
    }

    #[test]
    fn without_a_watchdog_nothing_is_fed() {
        assert_eq!(Notifier::new(None, LONGEST_PAGE).watchdog(&well, Instant::now()), None);
    }

    #[test]
    fn a_start_gets_more_time_only_while_it_waits_for_a_known_outage() {
        let (status, mut notifier) = (status(), Notifier::new(None, LONGEST_PAGE));
        assert_eq!(tick(&mut notifier, &status), []);
        status.dependency_down(Dependency::Index, &Outage::new(OutageCause::Unreachable, "connection refused"));
        assert_eq!(tick(&mut notifier, &status), [Message::ExtendTimeout(EXTENSION)]);
        status.set_ready();
        assert_eq!(tick(&mut notifier, &status), [Message::Ready]);
    }

    /// What a tick says so long after the drain's first.
    fn drain_tick(notifier: &mut Notifier, status: &Status, start: Instant, seconds: u64) -> Vec<Message> {
        notifier.on_tick(&status.snapshot(), String::new(), &well, start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_drain_gets_more_time_within_its_budget() {
        let (status, mut notifier, start) = (status(), Notifier::new(None, Duration::MAX / 4), Instant::now());
        status.drain_started("SIGTERM", Duration::from_secs(60));
        let mut tick = |seconds| drain_tick(&mut notifier, &status, start, seconds);
        assert_eq!(tick(0), [Message::Stopping, Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(tick(79), [Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(tick(81), []);
    }

    #[test]
    fn a_drain_that_is_shortened_gets_less_time() {
        let (status, mut notifier, start) = (status(), Notifier::new(None, LONGEST_PAGE), Instant::now());
        status.drain_started("termination by Auto Scaling", Duration::from_secs(300));
        drain_tick(&mut notifier, &status, start, 0);
        status.drain_shortened("SIGTERM", Duration::from_secs(60));
        assert_eq!(drain_tick(&mut notifier, &status, start, 79), [Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(drain_tick(&mut notifier, &status, start, 81), []);
    }

    #[test]
    fn a_drain_that_hangs_gets_no_more_time_until_it_gets_on() {
        let (status, mut notifier, start) = (status(), Notifier::new(None, LONGEST_PAGE), Instant::now());
        let pages_done = Arc::new(AtomicU64::new(0));
        let counted = pages_done.clone();
        status.watch_pool(move || PoolState { pages_done: counted.load(Ordering::SeqCst), ..PoolState::default() });
        status.drain_started("termination by Auto Scaling", Duration::from_secs(3600));
        let mut tick = |seconds| drain_tick(&mut notifier, &status, start, seconds);
        assert_eq!(tick(0), [Message::Stopping, Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(tick(179), [Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(tick(180), []);
        pages_done.store(1, Ordering::SeqCst);
        assert_eq!(tick(200), [Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(tick(379), [Message::ExtendTimeout(EXTENSION)]);
        assert_eq!(tick(380), []);
    }

    /// Runs in a process of its own (see below), because `NOTIFY_SOCKET` belongs to the whole process.
    #[tokio::test]
    #[ignore = "started by systemd_hears_ready_status_watchdog_and_stopping"]
    async fn notifying_process() {
        let status = Arc::new(status());
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(status.clone(), well, LONGEST_PAGE, stop.clone()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        status.set_ready();
        tokio::time::sleep(Duration::from_millis(100)).await;
        status.drain_started("SIGTERM", Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
        running.await.unwrap();
    }

    #[test]
    fn systemd_hears_ready_status_watchdog_and_stopping() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let finished = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "health::systemd::tests::notifying_process", "--ignored"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .output()
            .unwrap();
        assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stdout));
        socket.set_nonblocking(true).unwrap();
        let mut heard = String::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        let places = ["STATUS=starting", "WATCHDOG=1\n", "READY=1\n", "STOPPING=1\n"].map(|part| heard.find(part));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{heard}");
    }
}
