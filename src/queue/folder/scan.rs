//! The thread that walks the folder: files become messages in the order of the walk, then keys of the index
//! whose file is gone. A watch looks again and again, and speaks only of what changed.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::inbox::SharedInbox;
use crate::store::folder_key;
use crate::store::walk::{is_hidden, walk_without};

/// What to walk, and what is known already.
pub(super) struct ScanPlan {
    pub root: PathBuf,
    /// The folder of index and dead letters.
    pub left_out: PathBuf,
    pub bucket: String,
    pub known_keys: Vec<String>,
    pub watch_interval: Option<Duration>,
}

/// The inbox was closed: the scan ends.
struct Closed;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    size_bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// A file that a watch remembers.
struct Remembered {
    /// `None` for keys of the index that the watch has not seen itself.
    fingerprint: Option<Fingerprint>,
    /// The number of the look that saw it last.
    seen_in: u64,
}

/// Starts the walk, and a faster one beside it that only counts (for progress bars).
pub(super) fn start(plan: ScanPlan, inbox: Arc<SharedInbox>) -> io::Result<()> {
    let (count_root, count_left_out, count_inbox) = (plan.root.clone(), plan.left_out.clone(), inbox.clone());
    thread::Builder::new().name("folder-count".to_owned()).spawn(move || {
        let files = walk_without(&count_root, Some(count_left_out))
            .take_while(|_| !count_inbox.is_closed())
            .filter(Result::is_ok)
            .count();
        count_inbox.set_count(files as u64);
    })?;
    thread::Builder::new().name("folder-scan".to_owned()).spawn(move || {
        let ended = match plan.watch_interval {
            Some(interval) => watch(plan, interval, &inbox),
            None => scan_once(plan, &inbox),
        };
        if ended.is_err() {
            log::debug!("folder scan ended early: nobody receives any more");
        }
        inbox.finish_scan();
    })?;
    Ok(())
}

fn scan_once(plan: ScanPlan, inbox: &SharedInbox) -> Result<(), Closed> {
    for item in walk_without(&plan.root, Some(plan.left_out.clone())) {
        match item {
            Ok(path) => put(inbox, written_body(&plan, &path), true)?,
            Err((path, error)) => report_unreadable(inbox, &path, &error),
        }
    }
    for key in &plan.known_keys {
        if is_gone(&plan.root, key) {
            put(inbox, gone_body(&plan.bucket, key), false)?;
        }
    }
    Ok(())
}

fn watch(mut plan: ScanPlan, interval: Duration, inbox: &SharedInbox) -> Result<(), Closed> {
    let known_keys = std::mem::take(&mut plan.known_keys);
    let unseen = |key| (key, Remembered { fingerprint: None, seen_in: 0 });
    let mut files: HashMap<String, Remembered> = known_keys.into_iter().map(unseen).collect();
    for look in 1_u64.. {
        look_for_changes(&plan, inbox, &mut files, look)?;
        if !inbox.pause(interval) {
            return Err(Closed);
        }
    }
    Ok(())
}

fn look_for_changes(
    plan: &ScanPlan,
    inbox: &SharedInbox,
    files: &mut HashMap<String, Remembered>,
    look: u64,
) -> Result<(), Closed> {
    let is_counted = look == 1;
    for item in walk_without(&plan.root, Some(plan.left_out.clone())) {
        let path = match item {
            Ok(path) => path,
            Err((path, error)) => {
                // Said once; the next looks will meet it again.
                if is_counted {
                    report_unreadable(inbox, &path, &error);
                }
                continue;
            }
        };
        // Gone between the walk and this look: the next one will say so.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let fingerprint = Fingerprint::of(&metadata);
        let key = key_below(&plan.root, &path);
        let remembered = files.get(&key).and_then(|file| file.fingerprint);
        files.insert(key, Remembered { fingerprint: Some(fingerprint), seen_in: look });
        if remembered != Some(fingerprint) {
            put(inbox, written_body(plan, &path), is_counted)?;
        }
    }
    let gone: Vec<String> = files
        .iter()
        .filter(|(key, file)| file.seen_in < look && is_gone(&plan.root, key))
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        files.remove(&key);
        put(inbox, gone_body(&plan.bucket, &key), false)?;
    }
    Ok(())
}

/// Whether the key's file is really not there. A folder that cannot be read, or a network drive with trouble, is
/// no reason to delete documents.
pub(super) fn is_gone(root: &Path, key: &str) -> bool {
    let below_hidden = Path::new(key).iter().any(is_hidden);
    match folder_key::find(root, key) {
        Ok((_, metadata)) => below_hidden || !metadata.is_file(),
        Err(error) => folder_key::is_absence(error.kind()) && root.is_dir(),
    }
}

fn report_unreadable(inbox: &SharedInbox, path: &Path, error: &io::Error) {
    inbox.count_unreadable();
    log::warn!(path:% = path.display(), error:% = error; "folder or file left out: cannot be read");
}

fn put(inbox: &SharedInbox, body: String, is_counted: bool) -> Result<(), Closed> {
    if inbox.put(body, is_counted) { Ok(()) } else { Err(Closed) }
}

fn key_below(root: &Path, path: &Path) -> String {
    folder_key::key_of(path.strip_prefix(root).unwrap_or(path))
}

/// Contract §1 kind 5.
fn written_body(plan: &ScanPlan, path: &Path) -> String {
    json!({"bucket": plan.bucket, "key": key_below(&plan.root, path)}).to_string()
}

/// Contract §1 kind 4.
fn gone_body(bucket: &str, key: &str) -> String {
    json!({"eventType": "FILE_DELETED", "s3Bucket": bucket, "s3Key": key}).to_string()
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self { size_bytes: metadata.len(), modified_s: metadata.mtime(), modified_ns: metadata.mtime_nsec() }
    }
}
