//! Where Tesseract's models are. Pure file system look-ups, called by the parent before any child starts.

use std::env;
use std::path::{Path, PathBuf};

/// Folders that distributions and our own packages use, after `TESSDATA_PREFIX`.
const KNOWN_FOLDERS: [&str; 6] = [
    "/usr/local/share/tessdata",
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/tessdata",
    "/usr/share/tesseract/tessdata",
    "/usr/share/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
];

/// The languages of a Tesseract language string: `jpn+eng` → `jpn`, `eng`. A leading `~` (not to be loaded) is left out.
pub fn languages_of(ocr_language: &str) -> Vec<&str> {
    ocr_language.split('+').map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('~')).collect()
}

/// The model file of one language.
pub fn model_file(tessdata_dir: &Path, language: &str) -> PathBuf {
    tessdata_dir.join(format!("{language}.traineddata"))
}

/// The first folder that holds the models of all `languages`.
///
/// `prefix` is `TESSDATA_PREFIX`: the folder of the models, or the one above it as Tesseract 3 wanted it. A prefix
/// without the models is not the end: environments of older installations name folders that no longer exist.
///
/// # Errors
/// A sentence that names every place tried and what was missing there.
pub fn find_tessdata(prefix: Option<&Path>, ocr_language: &str) -> Result<PathBuf, String> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(prefix) = prefix {
        folders.push(prefix.to_path_buf());
        folders.push(prefix.join("tessdata"));
    }
    folders.extend(KNOWN_FOLDERS.iter().map(PathBuf::from));
    find_in(&folders, ocr_language)
}

fn find_in(folders: &[PathBuf], ocr_language: &str) -> Result<PathBuf, String> {
    let languages = languages_of(ocr_language);
    if languages.is_empty() {
        return Err(format!("OCR_LANGUAGE {ocr_language:?} names no language"));
    }
    let mut tried = Vec::new();
    for folder in folders {
        if !folder.is_dir() {
            tried.push(format!("{} (no such folder)", folder.display()));
            continue;
        }
        let missing: Vec<String> = languages
            .iter()
            .filter(|language| !model_file(folder, language).is_file())
            .map(|language| format!("{language}.traineddata"))
            .collect();
        if missing.is_empty() {
            return Ok(absolute(folder));
        }
        tried.push(format!("{} (lacks {})", folder.display(), missing.join(", ")));
    }
    Err(format!("no Tesseract models for {ocr_language}; tried {}", tried.join(", ")))
}

/// Children run in another directory, so a relative prefix must not reach them.
fn absolute(folder: &Path) -> PathBuf {
    folder
        .canonicalize()
        .or_else(|_| env::current_dir().map(|current| current.join(folder)))
        .unwrap_or_else(|_| folder.to_path_buf())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder_with(models: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        for language in models {
            fs::write(model_file(folder.path(), language), b"model").expect("write model");
        }
        folder
    }

    #[test]
    fn the_first_folder_with_all_languages_wins() {
        let (half, whole) = (folder_with(&["jpn"]), folder_with(&["jpn", "eng"]));
        let folders = [half.path().to_path_buf(), whole.path().to_path_buf()];
        let found = find_in(&folders, "jpn+eng").expect("found");
        assert_eq!(found, whole.path().canonicalize().expect("canonical"));
    }

    #[test]
    fn a_failure_names_every_place_and_what_it_lacks() {
        let half = folder_with(&["jpn"]);
        let folders = [PathBuf::from("/nowhere/tessdata"), half.path().to_path_buf()];
        let message = find_in(&folders, "jpn+eng").expect_err("nothing complete");
        assert!(message.contains("/nowhere/tessdata (no such folder)"), "{message}");
        assert!(message.contains(&format!("{} (lacks eng.traineddata)", half.path().display())), "{message}");
    }

    #[test]
    fn the_prefix_may_be_the_folder_above() {
        let above = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(above.path().join("tessdata")).expect("create");
        fs::write(above.path().join("tessdata/xyz.traineddata"), b"model").expect("write");
        let found = find_tessdata(Some(above.path()), "xyz").expect("found");
        assert_eq!(found, above.path().join("tessdata").canonicalize().expect("canonical"));
    }

    #[test]
    fn language_strings_are_split_at_plus() {
        assert_eq!(languages_of("jpn+eng+~deu"), ["jpn", "eng"]);
        assert!(find_tessdata(None, " + ").expect_err("no language").contains("names no language"));
    }
}
