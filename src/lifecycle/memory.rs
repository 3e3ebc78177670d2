//! Memory pressure makes the pool smaller before the kernel kills.
//!
//! The unit gives the service a limit (MemoryHigh, MemoryMax). Above the first the kernel slows every process of the
//! service down, at the second it kills one; and a service that is slowed down long enough misses its watchdog. So
//! the memory of our own cgroup is looked at every few seconds: when it is nearly used up, or when the processes
//! stand still for want of it, one child fewer gets work, down to one; after a calm time one more again.
//!
//! Cache counts as free: the kernel takes it back before it slows anybody down. Where there is no cgroup with a limit
//! (a laptop), the machine's memory is looked at instead; in production /proc/meminfo is hidden (`ProcSubset=pid`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::events::{PoolResized, ResizeDirection};

/// How often memory is looked at: a few small files in /sys.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Memory is short above this share of the limit …
const SHORT_SHARE: f64 = 0.90;
/// … or when all processes together stood still for memory for more than this part of the last ten seconds, per cent.
const SHORT_STALL_PERCENT: f64 = 10.0;
/// Memory is plenty below this share; between the two nothing changes, or the pool would swing.
const PLENTY_SHARE: f64 = 0.75;
const PLENTY_STALL_PERCENT: f64 = 1.0;
/// After a change: time for it to show before the next one.
const SETTLE_TIME: Duration = Duration::from_secs(10);
/// Memory has to be plenty for so long before a child comes back.
const CALM_TIME: Duration = Duration::from_secs(60);

/// Where the kernel tells of memory; in tests a made folder.
const SYSTEM_ROOT: &str = "/";

/// Memory at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryReading {
    /// Without what the kernel can take back at once.
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// Part of the last ten seconds in which nobody could go on for want of memory, per cent; `None` where the kernel
    /// does not say (no PSI).
    pub stall_percent: Option<f64>,
}

impl MemoryReading {
    fn share(&self) -> f64 {
        self.used_bytes as f64 / self.limit_bytes.max(1) as f64
    }

    fn stall(&self) -> f64 {
        self.stall_percent.unwrap_or(0.0)
    }

    fn is_short(&self) -> bool {
        self.share() > SHORT_SHARE || self.stall() > SHORT_STALL_PERCENT
    }

    fn is_plenty(&self) -> bool {
        self.share() < PLENTY_SHARE && self.stall() < PLENTY_STALL_PERCENT
    }
}

/// Decides how many children get work; plain data, the time comes from outside.
#[derive(Debug)]
pub struct PoolSize {
    most: usize,
    wanted: usize,
    changed_at: Option<Instant>,
    plenty_since: Option<Instant>,
}

impl PoolSize {
    /// Starts with all children.
    pub fn new(most: usize) -> Self {
        Self { most, wanted: most, changed_at: None, plenty_since: None }
    }

    /// How many children get work.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes a reading into account; tells the direction when the number changes.
    pub fn judge(&mut self, reading: &MemoryReading, now: Instant) -> Option<ResizeDirection> {
        self.plenty_since = reading.is_plenty().then(|| self.plenty_since.unwrap_or(now));
        let is_settled = self.changed_at.is_none_or(|changed| now.duration_since(changed) >= SETTLE_TIME);
        let is_calm = self.plenty_since.is_some_and(|since| now.duration_since(since) >= CALM_TIME);
        let direction = if reading.is_short() && is_settled && self.wanted > 1 {
            self.wanted -= 1;
            ResizeDirection::Smaller
        } else if is_calm && self.wanted < self.most {
            self.wanted += 1;
            ResizeDirection::Larger
        } else {
            return None;
        };
        self.changed_at = Some(now);
        // The next child comes back after a calm time of its own.
        self.plenty_since = None;
        Some(direction)
    }
}

/// Where memory is read.
#[derive(Clone, Debug)]
pub struct MemorySource {
    root: PathBuf,
    /// Our cgroup and those above it that the kernel shows us, innermost first.
    groups: Vec<PathBuf>,
}

impl MemorySource {
    /// Finds the cgroup of this process.
    pub fn of_this_process() -> Self {
        Self::below(Path::new(SYSTEM_ROOT))
    }

    /// The same with another root than `/`.
    pub fn below(root: &Path) -> Self {
        let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mount = root.join("sys/fs/cgroup");
        // Cgroup v2 is the line without controllers (cgroups(7)).
        let path = membership.lines().find_map(|line| line.strip_prefix("0::/"));
        let groups = path.map_or_else(Vec::new, |path| {
            let own = mount.join(path);
            own.ancestors().take_while(|group| group.starts_with(&mount)).map(Path::to_owned).collect()
        });
        Self { root: root.to_owned(), groups }
    }

    /// The tightest of the limits that we are under; `None` where the kernel tells nothing.
    pub fn read(&self) -> Option<MemoryReading> {
        let readings = self.groups.iter().filter_map(|group| read_group(group));
        readings.max_by(|one, other| one.share().total_cmp(&other.share())).or_else(|| read_machine(&self.root))
    }
}

/// `None` for a group without a limit.
fn read_group(group: &Path) -> Option<MemoryReading> {
    // The word `max` is no number: no limit.
    let limits = ["memory.high", "memory.max"].into_iter().filter_map(|file| number_in(&group.join(file)));
    let limit_bytes = limits.min()?;
    let current = number_in(&group.join("memory.current"))?;
    let statistics = fs::read_to_string(group.join("memory.stat")).ok()?;
    let reclaimable = ["inactive_file", "active_file", "slab_reclaimable"];
    let cache: u64 = reclaimable.into_iter().filter_map(|name| field(&statistics, name)).sum();
    let stall_percent = full_stall(&group.join("memory.pressure"));
    Some(MemoryReading { used_bytes: current.saturating_sub(cache), limit_bytes, stall_percent })
}

fn read_machine(root: &Path) -> Option<MemoryReading> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kibibytes = |name| field(&meminfo, name).map(|number| number.saturating_mul(1024));
    let (total, available) = (kibibytes("MemTotal:")?, kibibytes("MemAvailable:")?);
    let stall_percent = full_stall(&root.join("proc/pressure/memory"));
    Some(MemoryReading { used_bytes: total.saturating_sub(available), limit_bytes: total, stall_percent })
}

fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// `full avg10=…` of a pressure file (Documentation/accounting/psi.rst).
fn full_stall(file: &Path) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let full = text.lines().find_map(|line| line.strip_prefix("full "))?;
    full.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// Keeps the pool as large as memory allows: `resize` is told how many of `most` children get work. Runs until `stop`.
pub async fn watch(most: usize, source: MemorySource, resize: impl Fn(usize), stop: CancellationToken) {
    let mut size = PoolSize::new(most);
    let watching = async {
        loop {
            if let Some(reading) = source.read()
                && let Some(direction) = size.judge(&reading, Instant::now())
            {
                resize(size.wanted());
                PoolResized { direction, wanted: size.wanted(), most, reading }.emit();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // `None` is the usual end.
    let _ = stop.run_until_cancelled(watching).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABYTE: u64 = 1 << 30;

    fn reading(share_percent: u64, stall_percent: f64) -> MemoryReading {
        MemoryReading {
            used_bytes: share_percent * GIGABYTE / 100,
            limit_bytes: GIGABYTE,
            stall_percent: Some(stall_percent),
        }
    }

    /// What the size becomes when a reading holds for so many seconds.
    fn hold(size: &mut PoolSize, clock: &mut Instant, seconds: u64, reading: &MemoryReading) -> usize {
        for _ in 0..seconds {
            *clock += Duration::from_secs(1);
            size.judge(reading, *clock);
        }
        size.wanted()
    }

    #[test]
    fn short_memory_takes_one_child_after_the_other_and_leaves_one() {
        for short in [reading(91, 0.0), reading(10, 11.0)] {
            let (mut size, mut clock) = (PoolSize::new(3), Instant::now());
            assert_eq!(size.judge(&short, clock), Some(ResizeDirection::Smaller));
            assert_eq!(hold(&mut size, &mut clock, 9, &short), 2, "the first step has to show first");
            assert_eq!(hold(&mut size, &mut clock, 1, &short), 1);
            assert_eq!(hold(&mut size, &mut clock, 100, &short), 1);
        }
    }

    #[test]
    fn each_child_comes_back_after_a_calm_time_of_its_own() {
        let (mut size, mut clock) = (PoolSize::new(3), Instant::now());
        hold(&mut size, &mut clock, 30, &reading(95, 0.0));
        assert_eq!(size.wanted(), 1);
        assert_eq!(hold(&mut size, &mut clock, 60, &reading(50, 0.0)), 1);
        assert_eq!(hold(&mut size, &mut clock, 1, &reading(50, 0.0)), 2);
        assert_eq!(hold(&mut size, &mut clock, 61, &reading(50, 0.0)), 3);
        assert_eq!(hold(&mut size, &mut clock, 200, &reading(50, 0.0)), 3, "never more than there were");
    }

    #[test]
    fn between_short_and_plenty_nothing_changes() {
        let (mut size, mut clock) = (PoolSize::new(2), Instant::now());
        assert_eq!(hold(&mut size, &mut clock, 300, &reading(85, 5.0)), 2);
        hold(&mut size, &mut clock, 1, &reading(95, 0.0));
        assert_eq!(hold(&mut size, &mut clock, 300, &reading(85, 0.0)), 1);
        hold(&mut size, &mut clock, 59, &reading(50, 0.0));
        assert_eq!(hold(&mut size, &mut clock, 1, &reading(80, 0.0)), 1, "the calm was broken");
        assert_eq!(hold(&mut size, &mut clock, 59, &reading(50, 0.0)), 1);
    }

    /// A made kernel: a service with a limit inside a slice without one.
    fn made_kernel(current: u64, cache: u64, high: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: String| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let group = "sys/fs/cgroup/system.slice/worker.service";
        write("proc/self/cgroup", "9:name=systemd:/x\n0::/system.slice/worker.service\n".to_owned());
        write("sys/fs/cgroup/system.slice/memory.max", "max\n".to_owned());
        write(&format!("{group}/memory.current"), format!("{current}\n"));
        write(&format!("{group}/memory.high"), format!("{high}\n"));
        write(&format!("{group}/memory.max"), format!("{}\n", 2 * GIGABYTE));
        let statistics =
            format!("anon 1\nfile {cache}\ninactive_file {cache}\nactive_file 1000\nslab_reclaimable 24\n");
        write(&format!("{group}/memory.stat"), statistics);
        let pressure =
            "some avg10=9.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=3.50 avg60=0.00 avg300=0.00 total=1\n";
        write(&format!("{group}/memory.pressure"), pressure.to_owned());
        write("proc/meminfo", "MemTotal:        4000 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\n".to_owned());
        root
    }

    #[test]
    fn the_memory_of_our_cgroup_is_read_without_what_can_be_taken_back() {
        let root = made_kernel(GIGABYTE, 500_000_000, &GIGABYTE.to_string());
        let reading = MemorySource::below(root.path()).read().unwrap();
        let used_bytes = GIGABYTE - 500_000_000 - 1024;
        assert_eq!(reading, MemoryReading { used_bytes, limit_bytes: GIGABYTE, stall_percent: Some(3.5) });
    }

    #[tokio::test(start_paused = true)]
    async fn the_pool_is_told_of_each_change_in_the_memory_of_our_cgroup() {
        let root = made_kernel(95 * GIGABYTE / 100, 0, &GIGABYTE.to_string());
        let current = root.path().join("sys/fs/cgroup/system.slice/worker.service/memory.current");
        let told = std::sync::Mutex::new(Vec::new());
        let stop = CancellationToken::new();
        let watching =
            watch(3, MemorySource::below(root.path()), |wanted| told.lock().unwrap().push(wanted), stop.clone());
        tokio::join!(watching, async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(*told.lock().unwrap(), [2, 1]);
            // What stood still for memory counts like memory itself; the made kernel stands still for 3.5 %.
            fs::write(&current, "1000000").unwrap();
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert_eq!(*told.lock().unwrap(), [2, 1]);
            fs::remove_file(current.with_file_name("memory.pressure")).unwrap();
            tokio::time::sleep(Duration::from_secs(200)).await;
            stop.cancel();
        });
        assert_eq!(*told.lock().unwrap(), [2, 1, 2, 3]);
    }

    #[test]
    fn the_tightest_limit_counts_wherever_it_is_set() {
        let root = made_kernel(GIGABYTE, 0, "max");
        assert_eq!(MemorySource::below(root.path()).read().unwrap().limit_bytes, 2 * GIGABYTE, "memory.max");
        let slice = root.path().join("sys/fs/cgroup/system.slice");
        fs::write(slice.join("memory.max"), GIGABYTE.to_string()).unwrap();
        fs::write(slice.join("memory.current"), GIGABYTE.to_string()).unwrap();
        fs::write(slice.join("memory.stat"), "").unwrap();
        let reading = MemorySource::below(root.path()).read().unwrap();
        assert_eq!((reading.limit_bytes, reading.stall_percent), (GIGABYTE, None));
    }

    #[test]
    fn without_a_limit_the_machine_is_looked_at_and_without_that_nothing() {
        let root = made_kernel(GIGABYTE, 0, "max");
        fs::remove_dir_all(root.path().join("sys")).unwrap();
        let reading = MemorySource::below(root.path()).read().unwrap();
        assert_eq!((reading.used_bytes, reading.limit_bytes), (3000 * 1024, 4000 * 1024));
        fs::remove_dir_all(root.path().join("proc")).unwrap();
        assert_eq!(MemorySource::below(root.path()).read(), None);
    }
}
