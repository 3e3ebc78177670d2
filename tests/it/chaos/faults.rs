//! What goes wrong, and when: a script from the seed. [`super::torment`] carries it out.

use std::fmt;
use std::time::Duration;

use super::arena::VISIBILITY;

/// What goes wrong. Numbers are daemons'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillDaemon(usize),
    /// SIGSTOP for longer than its leases last, then SIGCONT.
    FreezeDaemon(usize),
    /// SIGTERM, and a new one after its end.
    TerminateDaemon(usize),
    KillChildren(usize),
    FreezeChildren(usize),
    SpotNotice(usize),
    FullDisk,
    StoreRefuses,
    StoreSlow,
    StoreResets,
    StoreCutsBodies,
    StoreDown,
    IndexDown,
    IndexRefuses,
    IndexReadOnly,
    IndexSlow,
    IndexLosesAnswers,
    QueueThrottles,
    QueueSlow,
    QueueResets,
    QueueLosesAnswers,
    /// Messages that a daemon works on become visible to others.
    LeasesTaken,
}

impl Fault {
    /// Its kind, for the table.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::KillDaemon(_) => "kill -9 of a daemon",
            Fault::FreezeDaemon(_) => "SIGSTOP of a daemon past its leases",
            Fault::TerminateDaemon(_) => "SIGTERM with restart",
            Fault::KillChildren(_) => "kill -9 of children",
            Fault::FreezeChildren(_) => "SIGSTOP of children",
            Fault::SpotNotice(_) => "spot notice",
            Fault::FullDisk => "full disk",
            Fault::StoreRefuses => "S3 503 SlowDown",
            Fault::StoreSlow => "S3 slow",
            Fault::StoreResets => "S3 resets connections",
            Fault::StoreCutsBodies => "S3 truncates answers",
            Fault::StoreDown => "S3 down",
            Fault::IndexDown => "OpenSearch down",
            Fault::IndexRefuses => "OpenSearch 429",
            Fault::IndexReadOnly => "OpenSearch index read-only",
            Fault::IndexSlow => "OpenSearch slow",
            Fault::IndexLosesAnswers => "OpenSearch resets after applying",
            Fault::QueueThrottles => "SQS throttled",
            Fault::QueueSlow => "SQS slow",
            Fault::QueueResets => "SQS resets connections",
            Fault::QueueLosesAnswers => "SQS resets after applying",
            Fault::LeasesTaken => "leases lost (visibility forced)",
        }
    }

    /// How long it lasts before it is undone. Ends of processes are undone by the restart.
    pub fn lasts(self) -> Duration {
        match self {
            Fault::KillDaemon(_) | Fault::TerminateDaemon(_) | Fault::KillChildren(_) | Fault::LeasesTaken => {
                Duration::ZERO
            }
            Fault::FreezeDaemon(_) => VISIBILITY + Duration::from_secs(3),
            Fault::SpotNotice(_) => Duration::from_secs(12),
            Fault::FreezeChildren(_) => Duration::from_secs(3),
            Fault::FullDisk | Fault::IndexDown | Fault::IndexReadOnly => Duration::from_secs(6),
            _ => Duration::from_secs(4),
        }
    }

    fn daemon(self) -> Option<usize> {
        match self {
            Fault::KillDaemon(number)
            | Fault::FreezeDaemon(number)
            | Fault::TerminateDaemon(number)
            | Fault::KillChildren(number)
            | Fault::FreezeChildren(number)
            | Fault::SpotNotice(number) => Some(number),
            _ => None,
        }
    }

    /// Every fault once, daemons chosen at random.
    fn deck(random: &mut fastrand::Rng, daemons: usize) -> Vec<Fault> {
        let mut one = || random.usize(..daemons);
        let mut deck = vec![
            Fault::KillDaemon(one()),
            Fault::FreezeDaemon(one()),
            Fault::TerminateDaemon(one()),
            Fault::KillChildren(one()),
            Fault::FreezeChildren(one()),
            Fault::SpotNotice(one()),
            Fault::FullDisk,
            Fault::StoreRefuses,
            Fault::StoreSlow,
            Fault::StoreResets,
            Fault::StoreCutsBodies,
            Fault::StoreDown,
            Fault::IndexDown,
            Fault::IndexRefuses,
            Fault::IndexReadOnly,
            Fault::IndexSlow,
            Fault::IndexLosesAnswers,
            Fault::QueueThrottles,
            Fault::QueueSlow,
            Fault::QueueResets,
            Fault::QueueLosesAnswers,
            Fault::LeasesTaken,
        ];
        random.shuffle(&mut deck);
        deck
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())?;
        self.daemon().map_or(Ok(()), |number| write!(formatter, " (daemon {number})"))
    }
}

/// `rounds` times every fault, spread evenly over `time`, in an order of the seed's. Each kind comes as often as any
/// other: a daemon's death costs what it holds a delivery, and the queue allows only so many of them.
pub fn script(seed: u64, daemons: usize, rounds: usize, time: Duration) -> Vec<(Duration, Fault)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let faults: Vec<Fault> = (0..rounds).flat_map(|_| Fault::deck(&mut random, daemons)).collect();
    let step = time / (faults.len() as u32 + 1);
    faults.into_iter().enumerate().map(|(number, fault)| (step * (number as u32 + 1), fault)).collect()
}
