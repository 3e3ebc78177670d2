//! Every file below a folder, in one order: shared by the embedded queue and the `extract` command.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Regular files below `root` in the byte order of their paths (as `LC_ALL=C sort` would put them, and as S3
/// lists keys). Hidden files and folders, `.file-processor` among them, are left out; symlinks are not followed
/// (`root` itself may be one). A folder or file that cannot be read is an item with its path, and the walk goes
/// on. Memory: the names of one folder per level.
pub fn walk(root: &Path) -> impl Iterator<Item = Result<PathBuf, (PathBuf, io::Error)>> {
    walk_without(root, None)
}

/// [`walk`] that also leaves out one folder (the embedded index, when it is below `root` under a visible name).
pub fn walk_without(
    root: &Path,
    left_out: Option<PathBuf>,
) -> impl Iterator<Item = Result<PathBuf, (PathBuf, io::Error)>> + use<> {
    let start = root.to_path_buf();
    WalkDir::new(root)
        .follow_links(false)
        .sort_by(|left, right| sort_key(left).cmp(sort_key(right)))
        .into_iter()
        .filter_entry(move |entry| {
            let is_root = entry.depth() == 0;
            (is_root || !is_hidden(entry.file_name())) && left_out.as_deref() != Some(entry.path())
        })
        .filter_map(move |item| match item {
            Ok(entry) if entry.file_type().is_file() => Some(Ok(entry.into_path())),
            Ok(_) => None,
            Err(error) => {
                let path = error.path().unwrap_or(&start).to_path_buf();
                let cause = error.into_io_error().unwrap_or_else(|| io::Error::other("symlinks form a loop"));
                Some(Err((path, cause)))
            }
        })
}

/// Whether the walk leaves a file or folder of this name out.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// A folder sorts as its files' paths do: with a slash behind its name (`a-b` < `a.txt` < `a/b`).
fn sort_key(entry: &DirEntry) -> impl Iterator<Item = &u8> {
    let separator: &[u8] = if entry.file_type().is_dir() { b"/" } else { b"" };
    entry.file_name().as_bytes().iter().chain(separator)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        walk(root).map(|item| item.unwrap().strip_prefix(root).unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_come_in_the_byte_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = vec!["a-b", "a.txt", "a/b", "a/z/c", "a0", "B", "資料/道路.pdf", "資料/橋.pdf"];
        for name in &expected {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn hidden_things_and_symlinks_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        for name in [".hidden", ".file-processor/index/seg", "sub/.git/config", "sub/kept"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        symlink(outside.path(), folder.path().join("link-to-folder")).unwrap();
        symlink(outside.path().join("secret"), folder.path().join("link-to-file")).unwrap();
        symlink(folder.path(), folder.path().join("loop")).unwrap();
        assert_eq!(names(folder.path()), ["sub/kept"]);
    }

    #[test]
    fn a_hidden_root_and_a_root_behind_a_symlink_are_walked() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().join(".data");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("file"), "x").unwrap();
        let link = folder.path().join("link");
        symlink(&hidden, &link).unwrap();
        assert_eq!(names(&hidden), ["file"]);
        assert_eq!(names(&link), ["file"]);
    }

    #[test]
    fn one_visible_folder_can_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("index")).unwrap();
        fs::write(folder.path().join("index/segment"), "x").unwrap();
        fs::write(folder.path().join("kept"), "x").unwrap();
        let left_out = Some(folder.path().join("index"));
        assert_eq!(walk_without(folder.path(), left_out).count(), 1);
    }

    #[test]
    fn a_missing_root_is_one_error_that_names_it() {
        let missing = Path::new("/no/such/folder");
        let items: Vec<_> = walk(missing).collect();
        assert_eq!(items.len(), 1);
        let (path, error) = items[0].as_ref().unwrap_err();
        assert_eq!((path.as_path(), error.kind()), (missing, io::ErrorKind::NotFound));
    }
}
