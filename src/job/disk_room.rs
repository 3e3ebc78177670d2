//! How much room the spool's disk has, in bytes and in inodes, and how much of it is not ours to fill.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::config::MEGABYTE;

/// Kept free for what else lives on the disk: the journal, the log file, the system. Trouble is noticed before a
/// write fails, and before it is everybody's.
const RESERVE_BYTES: u64 = 256 * MEGABYTE;
const RESERVE_INODES: u64 = 256;
/// On a small disk the reserve is this part of it at most.
const RESERVE_DIVISOR: u64 = 20;

/// A disk at one moment (statvfs(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRoom {
    pub total_bytes: u64,
    /// For us: without the blocks that are root's alone.
    pub free_bytes: u64,
    /// Both 0 where the file system has no fixed number of inodes.
    pub total_inodes: u64,
    pub free_inodes: u64,
}

impl DiskRoom {
    /// Of the disk that the folder is on.
    ///
    /// # Errors
    /// When the folder is not there, or the disk does not answer.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let figures = rustix::fs::statvfs(folder)?;
        Ok(Self {
            total_bytes: figures.f_blocks.saturating_mul(figures.f_frsize),
            free_bytes: figures.f_bavail.saturating_mul(figures.f_frsize),
            total_inodes: figures.f_files,
            free_inodes: figures.f_favail,
        })
    }

    /// Whether so many bytes can be written without touching the reserve.
    pub fn takes(&self, bytes: u64) -> bool {
        self.has_inodes() && (self.total_bytes == 0 || self.free_bytes >= bytes.saturating_add(self.reserve_bytes()))
    }

    fn reserve_bytes(&self) -> u64 {
        RESERVE_BYTES.min(self.total_bytes / RESERVE_DIVISOR)
    }

    fn has_inodes(&self) -> bool {
        self.free_inodes >= RESERVE_INODES.min(self.total_inodes / RESERVE_DIVISOR)
    }
}

/// `has 12 MB free, of which 256 MB are kept for others`, `has 3 inodes free`
impl fmt::Display for DiskRoom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_inodes() {
            return write!(formatter, "has {} inodes free", self.free_inodes);
        }
        let (free, kept) = (self.free_bytes / MEGABYTE, self.reserve_bytes() / MEGABYTE);
        write!(formatter, "has {free} MB free, {kept} MB are kept for others")
    }
}

/// Whether a write failed because there is no room for it: blocks, inodes, or the quota.
pub fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    const LARGE_DISK: DiskRoom = DiskRoom {
        total_bytes: 30_000 * MEGABYTE,
        free_bytes: 1_000 * MEGABYTE,
        total_inodes: 1_000_000,
        free_inodes: 1_000,
    };

    #[test]
    fn what_is_kept_for_others_is_never_filled() {
        assert!(LARGE_DISK.takes(1_000 * MEGABYTE - RESERVE_BYTES));
        assert!(!LARGE_DISK.takes(1_000 * MEGABYTE - RESERVE_BYTES + 1));
        let small = DiskRoom { total_bytes: 20 * MEGABYTE, free_bytes: 20 * MEGABYTE, ..LARGE_DISK };
        assert!(small.takes(19 * MEGABYTE) && !small.takes(19 * MEGABYTE + 1));
    }

    #[test]
    fn a_disk_without_inodes_takes_nothing_and_says_so() {
        let full = DiskRoom { free_inodes: 255, ..LARGE_DISK };
        assert!(!full.takes(0));
        assert_eq!(full.to_string(), "has 255 inodes free");
        assert_eq!(LARGE_DISK.to_string(), "has 1000 MB free, 256 MB are kept for others");
    }

    #[test]
    fn a_file_system_that_counts_no_inodes_has_enough_of_them() {
        assert!(DiskRoom { total_inodes: 0, free_inodes: 0, ..LARGE_DISK }.takes(MEGABYTE));
    }

    #[test]
    fn a_full_disk_and_a_used_up_quota_are_want_of_room_and_a_broken_disk_is_not() {
        for (errno, expected) in [(Errno::NOSPC, true), (Errno::DQUOT, true), (Errno::IO, false), (Errno::ROFS, false)]
        {
            assert_eq!(is_for_want_of_room(&errno.into()), expected, "{errno}");
        }
    }
}
