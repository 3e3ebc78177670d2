//! Where `libpdfium.so` is. Pure file system look-ups, called by the parent before any child starts.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const LIBRARY_NAME: &str = "libpdfium.so";

/// Where our packages put private libraries.
const PACKAGE_FOLDER: &str = "/usr/lib64/file-processor-worker";

/// Hexadecimal digits of the library's digest that name it: pdfium has no function that tells its version.
const DIGEST_DIGITS: usize = 12;

/// The library's name for people and fingerprints: `sha256:1a2b3c4d5e6f`.
pub fn digest(library: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(library)?, &mut digest)?;
    Ok(format!("sha256:{}", &hex::encode(digest.finalize())[..DIGEST_DIGITS]))
}

/// The first of: `configured` (`PDFIUM_LIBRARY_PATH`, the library or its folder), beside the executable, `../lib` from
/// there, [`PACKAGE_FOLDER`], and the user's cache that the project's scripts fill.
///
/// # Errors
/// A sentence that names every place tried.
pub fn find_pdfium(configured: Option<&Path>) -> Result<PathBuf, String> {
    let executable = env::current_exe().ok();
    first_existing(&candidates(configured, executable.as_deref(), user_cache(|name| env::var_os(name))))
}

/// `${XDG_CACHE_HOME:-$HOME/.cache}`, as the XDG base directory specification has it: relative values are ignored.
fn user_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}

fn candidates(configured: Option<&Path>, executable: Option<&Path>, user_cache: Option<PathBuf>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(configured) = configured {
        let is_folder = configured.is_dir();
        places.push(if is_folder { configured.join(LIBRARY_NAME) } else { configured.to_path_buf() });
    }
    if let Some(folder) = executable.and_then(Path::parent) {
        places.push(folder.join(LIBRARY_NAME));
        places.push(folder.join("../lib").join(LIBRARY_NAME));
    }
    places.push(Path::new(PACKAGE_FOLDER).join(LIBRARY_NAME));
    if let Some(cache) = user_cache {
        places.push(cache.join("file-processor-worker/lib").join(LIBRARY_NAME));
    }
    places
}

fn first_existing(places: &[PathBuf]) -> Result<PathBuf, String> {
    for place in places {
        if place.is_file() {
            // Children run in another directory: the path must be absolute.
            return Ok(place.canonicalize().unwrap_or_else(|_| place.clone()));
        }
    }
    let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Err(format!("{LIBRARY_NAME} not found; tried {}", tried.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_configured_place_may_be_file_or_folder() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let library = folder.path().join(LIBRARY_NAME);
        fs::write(&library, b"library").expect("write");
        let expected = library.canonicalize().expect("canonical");
        for configured in [folder.path(), &library] {
            assert_eq!(first_existing(&candidates(Some(configured), None, None)), Ok(expected.clone()));
        }
    }

    #[test]
    fn places_come_in_the_documented_order() {
        let places = candidates(
            Some(Path::new("/opt/pdfium.so")),
            Some(Path::new("/app/bin/file-processor-worker")),
            Some(PathBuf::from("/home/u/.cache")),
        );
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        assert_eq!(
            places,
            [
                "/opt/pdfium.so",
                "/app/bin/libpdfium.so",
                "/app/bin/../lib/libpdfium.so",
                "/usr/lib64/file-processor-worker/libpdfium.so",
                "/home/u/.cache/file-processor-worker/lib/libpdfium.so",
            ]
        );
    }

    #[test]
    fn a_failure_names_every_place() {
        let places = candidates(Some(Path::new("/nowhere/x.so")), Some(Path::new("/nowhere/bin/w")), None);
        let message = first_existing(&places[..3]).expect_err("none exists");
        assert!(message.contains("/nowhere/x.so, /nowhere/bin/libpdfium.so, /nowhere/bin/../lib/libpdfium.so"));
    }

    #[test]
    fn the_cache_folder_follows_xdg() {
        let variables = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        assert_eq!(user_cache(variables(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")])), Some(PathBuf::from("/c")));
        assert_eq!(
            user_cache(variables(&[("XDG_CACHE_HOME", "rel"), ("HOME", "/h")])),
            Some(PathBuf::from("/h/.cache"))
        );
        assert_eq!(user_cache(variables(&[])), None);
    }
}
