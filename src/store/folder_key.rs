//! Keys of files in a folder (embedded mode): the path below the folder, with slashes, literally.
//!
//! A name that is not UTF-8 has no literal form: its key is the whole path in percent form, where every byte that
//! is not part of valid UTF-8, and `%` itself, is written `%xx`. Decoded it is never valid UTF-8, which is how it
//! is recognised. A file whose literal name happens to be another's percent form wins over that one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

/// The key of a file below the folder.
pub fn key_of(relative: &Path) -> String {
    let bytes = relative.as_os_str().as_bytes();
    if let Ok(literal) = std::str::from_utf8(bytes) {
        return literal.to_owned();
    }
    let mut key = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        key.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            key.push_str(&format!("%{byte:02X}"));
        }
    }
    key
}

/// The file that a key names: a path below `root` whose folders are real ones (no symlink is followed), and what
/// the file system says about its last part. `NotFound` for keys that no walk makes (`..`, absolute, empty).
pub fn find(root: &Path, key: &str) -> io::Result<(PathBuf, fs::Metadata)> {
    let literal = find_path(root, Path::new(key));
    let is_missing = literal.as_ref().is_err_and(|error| is_absence(error.kind()));
    let decoded = percent_decode_str(key).collect::<Vec<u8>>();
    if !is_missing || std::str::from_utf8(&decoded).is_ok() {
        return literal;
    }
    find_path(root, Path::new(OsStr::from_bytes(&decoded)))
}

/// Where the key's file would be, whether or not it is there.
pub fn path_of(root: &Path, key: &str) -> PathBuf {
    find(root, key).map_or_else(|_| root.join(key.trim_start_matches('/')), |(path, _)| path)
}

/// Errors that say "there is no such file" about a path.
pub fn is_absence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(kind, NotFound | NotADirectory | InvalidFilename | InvalidInput)
}

fn find_path(root: &Path, relative: &Path) -> io::Result<(PathBuf, fs::Metadata)> {
    let absent = || io::Error::from(io::ErrorKind::NotFound);
    let mut path = root.to_path_buf();
    let mut metadata = None;
    for component in relative.components() {
        let Component::Normal(name) = component else { return Err(absent()) };
        // What was looked at before must be a folder for the path to go on.
        if metadata.as_ref().is_some_and(|folder: &fs::Metadata| !folder.is_dir()) {
            return Err(absent());
        }
        path.push(name);
        metadata = Some(fs::symlink_metadata(&path)?);
    }
    metadata.map(|found| (path, found)).ok_or_else(absent)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder_with(names: &[&[u8]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    #[test]
    fn every_name_has_a_key_that_finds_it() {
        let names: [&[u8]; 6] = [
            "資料/道路 橋.pdf".as_bytes(),
            b"a+b%20c.txt",
            b"..draft..txt",
            // CP932 as an old Samba server leaves it.
            b"\x93\xb9\x98\x48/100%.txt",
            "が.txt".as_bytes(),
            b"line\nbreak",
        ];
        let folder = folder_with(&names);
        for name in names {
            let key = key_of(Path::new(OsStr::from_bytes(name)));
            let (path, _) = find(folder.path(), &key).unwrap();
            assert_eq!(fs::read(path).unwrap(), name, "{key}");
        }
    }

    #[test]
    fn valid_names_are_literal_and_others_in_percent_form() {
        assert_eq!(key_of(Path::new("100%/道路.txt")), "100%/道路.txt");
        assert_eq!(key_of(Path::new(OsStr::from_bytes(b"100%/\xff.txt"))), "100%25/%FF.txt");
    }

    #[test]
    fn no_key_leads_out_of_the_folder() {
        let folder = folder_with(&[b"in/file"]);
        let outside = folder_with(&[b"secret"]);
        symlink(outside.path(), folder.path().join("in/link")).unwrap();
        let escapes =
            ["", "/", "/etc/hostname", "../x", "in/../../x", "in/link/secret", "in/file/x", "%FF/../../x", "a\0b"];
        for key in escapes {
            let error = find(folder.path(), key).unwrap_err();
            assert!(is_absence(error.kind()), "{key:?}: {error}");
        }
    }
}
