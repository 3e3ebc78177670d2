//! The name of everything that decides what text OCR gives, so that one can find what to read again after a change.
//!
//! Pure: the parent calls it with the engine's version that its children reported. `tesseract-5.3.0/jpn+eng/1a2b3c4d5e6f`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::models::{languages_of, model_file};
use super::page_plan::{PLAN_VERSION, VERTICAL_LANGUAGE, VERTICAL_OF};

/// Hexadecimal digits of the digest: 48 bits are plenty to tell a few dozen settings apart.
const DIGEST_DIGITS: usize = 12;

/// The build of the engine that is linked: `product-…` with a digest of sources, patches and compiler flags, as
/// scripts/build-tesseract.sh says it, or `distribution`.
pub const ENGINE_BUILD: &str = env!("ENGINE_BUILD");

/// Settings that change the text of a page.
#[derive(Clone, Debug)]
pub struct OcrSettings<'a> {
    pub tessdata_dir: &'a Path,
    pub ocr_language: &'a str,
    pub pdf_dpi: u32,
    pub image_preprocessing: bool,
    pub min_ocr_confidence: f32,
    /// As the child reported it: rendering decides what the engine sees.
    pub pdfium_version: &'a str,
}

/// A model file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read model {}", path.display())]
pub struct FingerprintError {
    path: PathBuf,
    source: io::Error,
}

/// Engine version, languages and a digest over the engine's build, models and settings.
///
/// # Errors
/// When a model file cannot be read.
pub fn fingerprint(tesseract_version: &str, settings: &OcrSettings<'_>) -> Result<String, FingerprintError> {
    fingerprint_of(tesseract_version, ENGINE_BUILD, settings)
}

fn fingerprint_of(
    tesseract_version: &str,
    engine_build: &str,
    settings: &OcrSettings<'_>,
) -> Result<String, FingerprintError> {
    let mut digest = Sha256::new();
    for language in languages_of(settings.ocr_language) {
        add_model(&mut digest, settings.tessdata_dir, language)?;
        if language == VERTICAL_OF && model_file(settings.tessdata_dir, VERTICAL_LANGUAGE).is_file() {
            add_model(&mut digest, settings.tessdata_dir, VERTICAL_LANGUAGE)?;
        }
    }
    digest.update(format!(
        "engine={engine_build} dpi={} preprocessing={} min_confidence={} pdfium={} plan={PLAN_VERSION}",
        settings.pdf_dpi, settings.image_preprocessing, settings.min_ocr_confidence, settings.pdfium_version
    ));
    let digits = &hex::encode(digest.finalize())[..DIGEST_DIGITS];
    Ok(format!("tesseract-{tesseract_version}/{}/{digits}", settings.ocr_language))
}

/// Adds a model's name and content.
fn add_model(digest: &mut Sha256, tessdata_dir: &Path, language: &str) -> Result<(), FingerprintError> {
    let path = model_file(tessdata_dir, language);
    digest.update(language);
    File::open(&path)
        .and_then(|mut file| io::copy(&mut file, digest))
        .map(drop)
        .map_err(|source| FingerprintError { path, source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn settings(tessdata_dir: &Path) -> OcrSettings<'_> {
        OcrSettings {
            tessdata_dir,
            ocr_language: "jpn+eng",
            pdf_dpi: 300,
            image_preprocessing: true,
            min_ocr_confidence: 50.0,
            pdfium_version: "1",
        }
    }

    fn models() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        for language in ["jpn", "eng"] {
            fs::write(model_file(folder.path(), language), language).expect("write model");
        }
        folder
    }

    #[test]
    fn it_names_engine_languages_and_a_digest() {
        let folder = models();
        let name = fingerprint("5.3.0", &settings(folder.path())).expect("fingerprint");
        let parts: Vec<&str> = name.split('/').collect();
        assert_eq!(parts[..2], ["tesseract-5.3.0", "jpn+eng"]);
        assert!(parts[2].len() == 12 && parts[2].chars().all(|digit| digit.is_ascii_hexdigit()), "{name}");
    }

    #[test]
    fn another_model_or_setting_gives_another_name() {
        let folder = models();
        let before = fingerprint("5.3.0", &settings(folder.path())).expect("fingerprint");
        assert_eq!(fingerprint("5.3.0", &settings(folder.path())).expect("fingerprint"), before);

        let other_dpi = OcrSettings { pdf_dpi: 200, ..settings(folder.path()) };
        assert_ne!(fingerprint("5.3.0", &other_dpi).expect("fingerprint"), before);

        fs::write(model_file(folder.path(), "jpn_vert"), "vertical").expect("write model");
        let with_vertical = fingerprint("5.3.0", &settings(folder.path())).expect("fingerprint");
        assert_ne!(with_vertical, before);

        fs::write(model_file(folder.path(), "eng"), "retrained").expect("write model");
        assert_ne!(fingerprint("5.3.0", &settings(folder.path())).expect("fingerprint"), with_vertical);
    }

    #[test]
    fn another_build_of_the_same_version_gives_another_name() {
        let folder = models();
        let before = fingerprint_of("5.5.0", "product-1a2b3c4d5e6f", &settings(folder.path())).expect("fingerprint");
        let after = fingerprint_of("5.5.0", "product-6f5e4d3c2b1a", &settings(folder.path())).expect("fingerprint");
        assert_ne!(before, after);
    }

    #[test]
    fn a_missing_model_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = fingerprint("5.3.0", &settings(folder.path())).expect_err("no models");
        assert!(error.to_string().contains("jpn.traineddata"), "{error}");
    }
}
