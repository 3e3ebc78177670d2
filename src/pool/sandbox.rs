//! What a child gives up: first its limits, before a library is loaded; then, when models and libraries are in
//! memory, the file system, the network and every system call that reading a document does not need.
//!
//! Three fences, because each has a hole that another closes: Landlock keeps it to three folders, read-only
//! (seccomp cannot see a path); seccomp closes sockets, programs and signals (Landlock knows few of them);
//! resource limits bound memory and forbid writing even where the kernel has neither. What the kernel cannot
//! do is left out and reported in [`SandboxLevel`], never an error: a worker on an old kernel still works.

use std::fmt;
use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::pool::protocol::{ChildSettings, SandboxLevel};
use crate::pool::seccomp;

/// Where pdfium looks for fonts that a PDF names but does not carry; folders that are missing are left out.
const FONT_DIRS: [&str; 3] = ["/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/X11/fonts"];

/// A child holds its socket, its stderr, one document, a model and a font; the rest is slack.
const MAX_OPEN_FILES: u64 = 64;

/// The newest Landlock ABI whose rights were read and wanted; older kernels get what they know of it.
const LANDLOCK_ABI: ABI = ABI::V7;

/// A step that failed although the kernel has it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("set the limit on {what}")]
    ResourceLimit {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("restrict file access (Landlock)")]
    Landlock(#[source] RulesetError),
}

/// Bounds memory and forbids writing files, core dumps and many open files.
///
/// Processor time has no limit here: RLIMIT_CPU counts over the life of the process, so it would kill a child
/// for being long-lived, and it cannot be raised again page by page. A page that takes too long is the parent's
/// to end, by the clock on the wall.
pub fn limit_resources(memory_limit_bytes: u64) -> Result<(), SandboxError> {
    let limits = [
        ("address space", Resource::As, memory_limit_bytes),
        ("file size", Resource::Fsize, 0),
        ("core dumps", Resource::Core, 0),
        ("open files", Resource::Nofile, MAX_OPEN_FILES),
    ];
    for (what, resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
            .map_err(|errno| SandboxError::ResourceLimit { what, source: errno.into() })?;
    }
    Ok(())
}

/// Applies Landlock and seccomp for good, as far as this kernel goes, and says how far that was.
///
/// `resource_limits` is what [`limit_resources`] came to, for the report.
pub fn confine(settings: &ChildSettings, resource_limits: bool) -> SandboxLevel {
    let landlock_abi = match restrict_files(settings) {
        Ok(status) if is_single_threaded() => abi_in_force(&status),
        Ok(_) => {
            eprintln!("a library started threads, which Landlock does not reach");
            0
        }
        Err(error) => {
            complain(&error);
            0
        }
    };
    let seccomp = match seccomp::restrict_system_calls() {
        Ok(()) => true,
        Err(error) => {
            complain(&error);
            false
        }
    };
    SandboxLevel { landlock_abi, seccomp, resource_limits }
}

/// Says on stderr (the parent logs it) what could not be had, with its causes.
pub fn complain(error: &dyn std::error::Error) {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    eprintln!("{words}");
}

fn restrict_files(settings: &ChildSettings) -> Result<RestrictionStatus, SandboxError> {
    let mut readable: Vec<PathBuf> = FONT_DIRS.iter().map(PathBuf::from).collect();
    readable.push(settings.spool_dir.clone());
    readable.push(settings.tessdata_dir.clone());
    apply_ruleset(&readable).map_err(SandboxError::Landlock)
}

/// Every right of the ABI is handled and so denied; reading below `readable` is all that is given back.
fn apply_ruleset(readable: &[PathBuf]) -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::ReadFile | AccessFs::ReadDir))?
        .restrict_self()
}

/// Landlock binds the calling thread and the threads that it starts later, not those that run already. There are
/// none (`OMP_THREAD_LIMIT=1`); a library that changes its mind must show in the report.
///
/// Needs `nlink` of `/proc/self/task` only, which Landlock does not guard.
fn is_single_threaded() -> bool {
    use std::os::unix::fs::MetadataExt;
    const LINKS_OF_ONE_THREAD: u64 = 3;
    std::fs::metadata("/proc/self/task").is_ok_and(|metadata| metadata.nlink() == LINKS_OF_ONE_THREAD)
}

fn abi_in_force(status: &RestrictionStatus) -> u32 {
    if status.ruleset == RulesetStatus::NotEnforced {
        return 0;
    }
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => (effective_abi as i32).try_into().unwrap_or(0),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    }
}

impl SandboxLevel {
    /// Nothing is missing that this program knows how to give up. TCP is Landlock's from ABI 4, but seccomp
    /// denies every socket anyway, so ABI 1 with seccomp counts as full.
    pub fn is_full(&self) -> bool {
        self.landlock_abi > 0 && self.seccomp && self.resource_limits
    }
}

impl fmt::Display for SandboxLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_full() {
            return write!(formatter, "full (Landlock ABI {}, seccomp, resource limits)", self.landlock_abi);
        }
        let missing: Vec<&str> =
            [("Landlock", self.landlock_abi > 0), ("seccomp", self.seccomp), ("resource limits", self.resource_limits)]
                .into_iter()
                .filter_map(|(name, in_force)| (!in_force).then_some(name))
                .collect();
        write!(formatter, "without {}", missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_names_what_is_missing() {
        let full = SandboxLevel { landlock_abi: 7, seccomp: true, resource_limits: true };
        assert_eq!(full.to_string(), "full (Landlock ABI 7, seccomp, resource limits)");
        let old_kernel = SandboxLevel { landlock_abi: 0, seccomp: true, resource_limits: false };
        assert_eq!(old_kernel.to_string(), "without Landlock, resource limits");
        assert!(!old_kernel.is_full());
    }
}
