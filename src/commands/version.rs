//! `--version`: version, commit, engine fingerprint, pdfium.

use crate::config::Settings;

use super::parts;

/// The text of `--version`. What is missing on this machine is said instead of failing.
pub fn text(settings: Option<&Settings>) -> String {
    let mut text = format!("file-processor-worker {}\ncommit  {}\n", env!("CARGO_PKG_VERSION"), env!("BUILD_COMMIT"));
    match settings.map(parts::find_ocr_parts) {
        Some(Ok(ocr)) => {
            let library = ocr.pdfium_library.display();
            text.push_str(&format!("engine  {}\npdfium  {} {library}\n", ocr.fingerprint, ocr.pdfium_version));
        }
        Some(Err(error)) => text.push_str(&format!("engine  not usable here: {error:#}\npdfium  not usable here\n")),
        None => text.push_str(
            "engine  unknown: the configuration is not valid, see `file-processor-worker config`\npdfium  unknown\n",
        ),
    }
    text
}
