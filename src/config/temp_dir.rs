//! Where the spool is when nobody says so, and whether that place is memory.

use std::path::{Path, PathBuf};

use super::sources::ConfigSources;

/// Under the user's cache folder.
const USER_CACHE_FOLDER: &str = "file-processor-worker/spool";
/// When there is no user either: on disk, other than /tmp on Amazon Linux 2023.
const LAST_RESORT: &str = "/var/tmp/file-processor-worker";

/// The service's cache folder (systemd's `CacheDirectory=`), else the user's, else one in /var/tmp; and how it was
/// found. Nothing is created here.
pub(super) fn default_folder(sources: &ConfigSources) -> (PathBuf, &'static str) {
    // systemd joins several folders with colons; the unit declares one.
    if let Some(folders) = sources.directory("CACHE_DIRECTORY") {
        let first = folders.to_string_lossy().split(':').next().map(PathBuf::from);
        return (first.unwrap_or(folders), "the service's cache folder");
    }
    if let Some(cache) = sources.directory("XDG_CACHE_HOME") {
        return (cache.join(USER_CACHE_FOLDER), "the user's cache folder");
    }
    if let Some(home) = sources.directory("HOME") {
        return (home.join(".cache").join(USER_CACHE_FOLDER), "the user's cache folder");
    }
    (PathBuf::from(LAST_RESORT), "no cache folder is known")
}

/// statfs(2) types of file systems that live in memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// Whether files under `folder` (which need not exist yet) take memory instead of disk.
pub(super) fn is_in_memory(folder: &Path) -> bool {
    let file_system = folder.ancestors().find_map(|ancestor| rustix::fs::statfs(ancestor).ok());
    // The type's width differs between platforms; sign extension must not hide RAMFS_MAGIC.
    file_system.is_some_and(|found| matches!(found.f_type as u64 & 0xffff_ffff, TMPFS_MAGIC | RAMFS_MAGIC))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn folder_with(environment: &[(&str, &str)]) -> PathBuf {
        let environment =
            environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        default_folder(&ConfigSources { environment, ..ConfigSources::default() }).0
    }

    #[test]
    fn the_service_folder_comes_before_the_users() {
        let all = [("CACHE_DIRECTORY", "/var/cache/fpw:/var/cache/b"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/home/u")];
        assert_eq!(folder_with(&all), Path::new("/var/cache/fpw"));
        assert_eq!(folder_with(&all[1..]), Path::new("/x/file-processor-worker/spool"));
        assert_eq!(folder_with(&all[2..]), Path::new("/home/u/.cache/file-processor-worker/spool"));
        assert_eq!(folder_with(&[("HOME", "")]), Path::new(LAST_RESORT));
    }

    #[test]
    fn memory_is_told_from_disk_for_folders_that_do_not_exist_yet() {
        if Path::new("/dev/shm").is_dir() {
            assert!(is_in_memory(Path::new("/dev/shm/not/there/yet")));
        }
        assert!(!is_in_memory(Path::new("/proc/self")));
    }
}
