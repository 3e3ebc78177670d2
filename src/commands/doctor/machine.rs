//! This machine: configuration, disk, memory, the engine with its models, and the fences around the children.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::commands::validate;
use crate::config::{MEGABYTE, Settings};
use crate::lifecycle::memory::MemorySource;

/// Starting a child loads pdfium and the models from a disk that may be cold.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(60);
/// The parent with its caches and connections.
const PARENT_BYTES: u64 = 300 * MEGABYTE;
/// Fewer inodes than this and the spool pauses soon.
const MIN_FREE_INODES: u64 = 10_000;

/// The configuration has been read without an error; what is doubtful in it is a line each.
pub fn configuration(warnings: &[String]) -> Vec<Finding> {
    if warnings.is_empty() {
        return vec![Finding::ok("configuration", "every variable is valid")];
    }
    let action = "decide whether this is meant; `file-processor-worker config` shows where each value comes from";
    warnings.iter().map(|text| Finding::warn("configuration", text, action)).collect()
}

/// The environment file holds the password of the cluster: root writes it, the service's group reads it, nobody else.
pub fn env_file(file: &Path) -> Finding {
    const NAME: &str = "environment file";
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Finding::warn(
                NAME,
                format!("{}: {error}", file.display()),
                "run this as root or as the service's user",
            );
        }
    };
    let found = format!("{} has mode {:04o}, owner {}", file.display(), metadata.mode() & 0o7777, metadata.uid());
    let is_guarded = metadata.mode() & 0o137 == 0 && metadata.uid() == 0;
    if is_guarded {
        return Finding::ok(NAME, found);
    }
    let action = format!("chown root:appuser {0}; chmod 0640 {0}", file.display());
    Finding::warn(NAME, found, action)
}

pub async fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![inodes(&settings.temp_dir), log_file(settings), memory(settings)];
    let checks = tokio::time::timeout(ENGINE_TIMEOUT, validate::local_checks(settings)).await;
    match checks {
        Ok(checks) => {
            findings.extend(
                checks
                    .into_iter()
                    .map(|check| (check.name, check))
                    .map(|(name, check)| Finding::of_check(check, engine_action(name))),
            );
        }
        Err(_) => findings.push(Finding::fail(
            "sandbox",
            format!("no child was ready within {} s", ENGINE_TIMEOUT.as_secs()),
            "look at the disk and at the load of this machine, then run this again",
        )),
    }
    findings
}

fn engine_action(name: &str) -> &'static str {
    match name {
        "disk" => "make room under TEMP_DIR or let it point to a larger disk; it must belong to the service's user",
        "models" => {
            "when the line tells of models: install the package again (dnf reinstall file-processor-worker), or let TESSDATA_PREFIX name the folder with jpn, jpn_vert, eng and osd"
        }
        "pdfium" => {
            "install the package again (dnf reinstall file-processor-worker), or let PDFIUM_LIBRARY_PATH name libpdfium.so"
        }
        _ => {
            "a child could not start: its reason is in the line; for a refused system call, compare SystemCallFilter of the unit with the package's"
        }
    }
}

fn inodes(folder: &Path) -> Finding {
    const NAME: &str = "inodes";
    // The folder itself is made by the disk check, side by side.
    let Some(figures) = folder.ancestors().find_map(|ancestor| rustix::fs::statvfs(ancestor).ok()) else {
        return Finding::skipped(NAME, format!("{} cannot be looked at", folder.display()));
    };
    // Some file systems count none.
    if figures.f_files == 0 {
        return Finding::ok(NAME, format!("not limited under {}", folder.display()));
    }
    let found = format!("{} free under {} (TEMP_DIR)", figures.f_favail, folder.display());
    if figures.f_favail >= MIN_FREE_INODES {
        return Finding::ok(NAME, found);
    }
    Finding::warn(
        NAME,
        found,
        "remove the many small files on that disk (df -i shows which); below 256 the worker pauses",
    )
}

/// Tried without leaving a trace: a file that is there is opened for appending; otherwise the folder's rights are asked.
fn log_file(settings: &Settings) -> Finding {
    const NAME: &str = "log file";
    let Some(file) = &settings.telemetry.log_file else {
        return Finding::skipped(NAME, "LOG_FILE is not set: logs go to the journal only");
    };
    let action = "give it to the service: the unit's LogsDirectory= makes /var/log/file-processor for appuser; LOG_FILE must lie in it";
    let writable = if file.exists() {
        fs::OpenOptions::new().append(true).open(file).map(drop)
    } else {
        let folder = file.parent().unwrap_or(Path::new("/"));
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(Into::into)
    };
    match writable {
        Ok(()) => Finding::ok(NAME, format!("{} can be written", file.display())),
        Err(error) => Finding::warn(NAME, format!("{}: {error}", file.display()), action),
    }
}

/// Whether all children at their largest fit, and how much is in use now.
fn memory(settings: &Settings) -> Finding {
    const NAME: &str = "memory";
    let Some(reading) = MemorySource::of_this_process().read() else {
        return Finding::skipped(NAME, "the kernel does not say");
    };
    let workers = settings.extraction.workers as u64;
    let largest = workers.saturating_mul(settings.extraction.child_memory_bytes).saturating_add(PARENT_BYTES);
    let found = format!(
        "{} of {} MB in use; {workers} children of at most {} MB each",
        reading.used_bytes / MEGABYTE,
        reading.limit_bytes / MEGABYTE,
        settings.extraction.child_memory_bytes / MEGABYTE,
    );
    if largest <= reading.limit_bytes {
        return Finding::ok(NAME, found);
    }
    Finding::warn(
        NAME,
        format!("{found}: more than there is, should all of them read large pages at once"),
        "lower MAX_WORKERS or take a larger instance; until then the worker gives fewer children work when memory is short",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn an_environment_file_that_others_may_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        fs::write(&file, "A=b\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let finding = env_file(&file);
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.found.contains("0644") && finding.action.is_some_and(|action| action.contains("chmod 0640")));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let is_owned_by_root = fs::metadata(&file).unwrap().uid() == 0;
        assert_eq!(env_file(&file).verdict, if is_owned_by_root { Verdict::Ok } else { Verdict::Warn });
        assert_eq!(env_file(&folder.path().join("none")).verdict, Verdict::Warn);
    }

    #[test]
    fn each_doubt_about_the_configuration_is_a_line() {
        let findings = configuration(&["TEMP_DIR is memory".to_owned(), "OCR_TIMOUT is not known".to_owned()]);
        assert_eq!(findings.iter().filter(|finding| finding.verdict == Verdict::Warn).count(), 2);
        assert_eq!(configuration(&[])[0].verdict, Verdict::Ok);
    }
}
