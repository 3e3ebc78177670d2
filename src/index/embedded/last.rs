//! Which embedded index was written last on this account: what `search` takes when it is told no other.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Below the state directory.
const POINTER: &str = "file-processor-worker/last-index";

/// Remembers the index for [`last_index`]. Failing is worth a log line at most: only a convenience is lost.
pub fn remember_index(path: &Path) -> io::Result<()> {
    let Some(pointer) = pointer_file(&|name| std::env::var_os(name)) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME is set"));
    };
    remember_in(&pointer, path)
}

/// The index that was written last on this account, if it is still there.
pub fn last_index() -> Option<PathBuf> {
    recall_from(&pointer_file(&|name| std::env::var_os(name))?)
}

/// `${XDG_STATE_HOME:-~/.local/state}/file-processor-worker/last-index`. The base directory specification wants a
/// relative XDG_STATE_HOME ignored.
fn pointer_file(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))?;
    Some(state.join(POINTER))
}

/// Written beside and renamed, so that a reader never sees half of it.
fn remember_in(pointer: &Path, index: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;

    let absolute = fs::canonicalize(index)?;
    let folder = pointer.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(folder)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut beside, absolute.as_os_str().as_bytes())?;
    beside.persist(pointer)?;
    Ok(())
}

fn recall_from(pointer: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    let path = PathBuf::from(OsString::from_vec(fs::read(pointer).ok()?));
    path.is_dir().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_is_where_the_account_keeps_its_state() {
        let with = |pairs: &'static [(&str, &str)]| {
            pointer_file(&move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let below = |path: &str| Some(PathBuf::from(path));
        assert_eq!(with(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), below("/s/file-processor-worker/last-index"));
        assert_eq!(
            with(&[("XDG_STATE_HOME", ""), ("HOME", "/h")]),
            below("/h/.local/state/file-processor-worker/last-index")
        );
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn what_was_remembered_is_recalled_while_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let pointer = folder.path().join("state/file-processor-worker/last-index");
        let index = folder.path().join("設計 index");
        fs::create_dir(&index).unwrap();
        assert_eq!(recall_from(&pointer), None);
        remember_in(&pointer, &index).unwrap();
        assert_eq!(recall_from(&pointer), Some(fs::canonicalize(&index).unwrap()));
        fs::remove_dir(&index).unwrap();
        assert_eq!(recall_from(&pointer), None);
    }
}
