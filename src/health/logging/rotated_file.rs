//! A log file that is put aside when the day changes (UTC) or when it has grown too large; seven older ones are kept as
//! `.1` (the last) to `.7`.
//!
//! The crate file-rotate renames and prunes. It does not hold the file that is written to: it panics when a file it
//! knows of was removed by somebody, and drops lines in silence when it cannot reopen. So it is made anew for each
//! rotation, when it sees the folder as it is.
//!
//! A log that cannot be written must not stop the work, least of all on a full disk: lines are lost here (the journal
//! or standard error has them), standard error is told once, and told how many when it works again.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use jiff::Timestamp;
use jiff::civil::Date;

use super::json_lines::day_of;
use crate::config::MEGABYTE;

/// Older files than these are removed.
const KEPT_FILES: usize = 7;
/// A file is put aside before its day is over when it is larger: with the kept ones 800 MB in all. A line has about
/// 500 bytes, so that is room for 200,000 documents a file.
const MAX_FILE_BYTES: u64 = 100 * MEGABYTE;
/// A file that could not be put aside for its size may grow so much more before that is tried again.
const GROWTH_BETWEEN_ATTEMPTS: u64 = 10 * MEGABYTE;
/// The agent reads as a member of the file's group, whatever the service's umask.
const FILE_MODE: u32 = 0o640;
/// Only for a folder that nobody made before (systemd's `LogsDirectory=` does), and less what the umask takes.
const FOLDER_MODE: u32 = 0o750;

/// See the module.
pub(super) struct RotatedFile {
    path: PathBuf,
    /// `None`: it could not be opened for want of room; tried again with every line.
    file: Option<File>,
    /// In the file, as far as we know.
    bytes: u64,
    /// The file is put aside when it is larger.
    rotate_above_bytes: u64,
    /// The day (UTC) that the lines in the file are of.
    day: Date,
    /// The last line was written in part.
    is_torn: bool,
    lost_lines: u64,
    /// Standard error was told that the file cannot be put aside.
    has_complained_of_rotation: bool,
}

impl RotatedFile {
    /// Opens the file for appending; creates it and its folder where missing. A full disk is no error.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut rotated = Self {
            path: path.to_owned(),
            file: None,
            bytes: 0,
            rotate_above_bytes: MAX_FILE_BYTES,
            day: day_of(Timestamp::now()),
            is_torn: false,
            lost_lines: 0,
            has_complained_of_rotation: false,
        };
        match rotated.reopen() {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                rotated.complain(&format!("{error}; going on without until there is room"));
            }
            opened => opened?,
        }
        Ok(rotated)
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        let file = open_for_appending(&self.path)?;
        let metadata = file.metadata()?;
        let last_written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        self.day = day_of(last_written.filter(|_| metadata.len() > 0).unwrap_or_else(Timestamp::now));
        self.bytes = metadata.len();
        self.file = Some(file);
        Ok(())
    }

    /// Appends a line of `today`, in a new file when the last one was of an earlier day or is too large.
    pub(super) fn write_line(&mut self, line: &[u8], today: Date) {
        // The clock was set back: by the clock from now on, in the same file.
        self.day = self.day.min(today);
        if (today > self.day || self.bytes > self.rotate_above_bytes)
            && let Err(error) = self.rotate(today)
        {
            self.rotate_above_bytes = self.bytes.saturating_add(GROWTH_BETWEEN_ATTEMPTS);
            if !std::mem::replace(&mut self.has_complained_of_rotation, true) {
                self.complain(&format!("cannot be put aside: {error}"));
            }
        }
        match self.append(line) {
            Ok(()) if self.lost_lines == 0 => {}
            Ok(()) => {
                let lost_lines = std::mem::take(&mut self.lost_lines);
                self.complain(&format!("written again, {lost_lines} lines are not in it"));
            }
            Err(error) => {
                if self.lost_lines == 0 {
                    self.complain(&error.to_string());
                }
                self.lost_lines += 1;
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.is_torn {
            file.write_all(b"\n")?;
            self.is_torn = false;
            self.bytes += 1;
        }
        let written = file.write_all(line);
        match &written {
            Ok(()) => self.bytes += line.len() as u64,
            Err(_) => {
                let bytes = file.metadata().map_or(self.bytes, |metadata| metadata.len());
                self.is_torn = bytes > self.bytes;
                self.bytes = bytes;
            }
        }
        written
    }

    /// On failure the old file goes on being written to.
    fn rotate(&mut self, today: Date) -> io::Result<()> {
        self.day = today;
        // file-rotate panics when it cannot create the folder, and when it cannot rename what is not there.
        if self.path.exists() && self.bytes > 0 {
            let count = AppendCount::new(KEPT_FILES);
            FileRotate::new(&self.path, count, ContentLimit::None, Compression::None, Some(appending())).rotate()?;
        }
        self.reopen()?;
        self.day = today;
        self.is_torn = false;
        self.rotate_above_bytes = MAX_FILE_BYTES;
        self.has_complained_of_rotation = false;
        Ok(())
    }

    /// Not through `log`: this is the logger.
    fn complain(&self, what: &str) {
        let _ = writeln!(io::stderr(), "LOG_FILE {}: {what}", self.path.display());
    }
}

fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).create(true).append(true).mode(FILE_MODE);
    options
}

/// Opens or creates the file, and gives a file of ours its mode: a umask of 0077 would hide it from the agent.
fn open_for_appending(path: &Path) -> io::Result<File> {
    let file = appending().open(path)?;
    if file.metadata()?.is_file() {
        // Somebody else's file that we may only append to keeps its mode.
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::civil::date;

    use super::*;

    /// A log file in a folder that is not there yet, last written to on the day given.
    fn opened(folder: &Path, day: Date) -> RotatedFile {
        let mut file = RotatedFile::open(&folder.join("logs/worker.log")).unwrap();
        file.day = day;
        file
    }

    fn read(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join("logs").join(name)).ok()
    }

    #[test]
    fn each_day_has_its_file_and_seven_older_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        for day in 1..=10 {
            file.write_line(format!("{day}a\n").as_bytes(), date(2026, 11, day));
            file.write_line(format!("{day}b\n").as_bytes(), date(2026, 11, day));
        }
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("10a\n10b\n"));
        assert_eq!(read(folder.path(), "worker.log.1").as_deref(), Some("9a\n9b\n"));
        assert_eq!(read(folder.path(), "worker.log.7").as_deref(), Some("3a\n3b\n"));
        assert_eq!(read(folder.path(), "worker.log.8"), None);
    }

    #[test]
    fn the_group_may_read_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        file.write_line(b"a\n", date(2026, 11, 1));
        file.write_line(b"b\n", date(2026, 11, 2));
        for name in ["worker.log", "worker.log.1"] {
            let mode = fs::metadata(folder.path().join("logs").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640, "{name}");
        }
    }

    #[test]
    fn a_restart_goes_on_in_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let today = day_of(Timestamp::now());
        opened(folder.path(), today).write_line(b"before\n", today);
        let mut again = RotatedFile::open(&folder.path().join("logs/worker.log")).unwrap();
        again.write_line(b"after\n", again.day);
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("before\nafter\n"));
    }

    #[test]
    fn files_removed_by_somebody_do_not_stop_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        for day in 1..=4 {
            file.write_line(b"line\n", date(2026, 11, day));
        }
        fs::remove_file(folder.path().join("logs/worker.log.2")).unwrap();
        file.write_line(b"fifth\n", date(2026, 11, 5));
        fs::remove_dir_all(folder.path().join("logs")).unwrap();
        file.write_line(b"sixth\n", date(2026, 11, 6));
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("sixth\n"));
    }

    #[test]
    fn a_file_that_has_grown_too_large_is_put_aside_before_its_day_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        file.write_line(b"first\n", date(2026, 11, 1));
        file.bytes = MAX_FILE_BYTES + 1;
        file.write_line(b"second\n", date(2026, 11, 1));
        file.write_line(b"third\n", date(2026, 11, 1));
        assert_eq!(read(folder.path(), "worker.log.1").as_deref(), Some("first\n"));
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("second\nthird\n"));
    }

    #[test]
    fn a_clock_that_jumps_forth_and_back_costs_one_rotation_and_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        file.write_line(b"a\n", date(2026, 11, 1));
        file.write_line(b"b\n", date(2036, 1, 1));
        file.write_line(b"c\n", date(2026, 11, 1));
        file.write_line(b"d\n", date(2026, 11, 2));
        assert_eq!(read(folder.path(), "worker.log.2").as_deref(), Some("a\n"));
        assert_eq!(read(folder.path(), "worker.log.1").as_deref(), Some("b\nc\n"));
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("d\n"), "the next day is not missed");
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else_and_leaves_no_broken_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = opened(folder.path(), date(2026, 11, 1));
        file.write_line(b"{\"a\":1}\n", date(2026, 11, 1));
        let real = file.file.replace(OpenOptions::new().write(true).open("/dev/full").unwrap()).unwrap();
        for _ in 0..3 {
            file.write_line(b"{\"b\":2}\n", date(2026, 11, 1));
        }
        assert_eq!(file.lost_lines, 3);
        // What a disk that fills up in the middle of a line leaves.
        fs::OpenOptions::new().append(true).open(&file.path).unwrap().write_all(b"{\"to").unwrap();
        (file.file, file.is_torn) = (Some(real), true);
        file.write_line(b"{\"c\":3}\n", date(2026, 11, 1));
        assert_eq!(file.lost_lines, 0);
        assert_eq!(read(folder.path(), "worker.log").as_deref(), Some("{\"a\":1}\n{\"to\n{\"c\":3}\n"));
    }
}
