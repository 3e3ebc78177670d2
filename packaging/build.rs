//! Records what the binary was built from: the commit, for `--version` and the index document, and the build of the OCR
//! engine that is linked, for the engine's fingerprint.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let commit = std::env::var("BUILD_COMMIT").ok().or_else(git_commit);
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    // pdfium calls these of ours instead of its own: src/extract/pdfium/font_facts.rs.
    for function in ["FT_New_Memory_Face", "FT_Load_Glyph", "FT_Get_Name_Index"] {
        println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol={function}");
    }
    println!("cargo::rustc-env=ENGINE_BUILD={}", engine_build().as_deref().unwrap_or("distribution"));
}

/// What scripts/build-tesseract.sh wrote into the library's description, or `None` for a library of other origin. The
/// crate that links Tesseract finds it by the same question.
fn engine_build() -> Option<String> {
    let output = Command::new("pkg-config").args(["--variable=engine_build", "tesseract"]).output().ok()?;
    let build = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !build.is_empty()).then_some(build)
}

/// The short commit of the checkout, or `None` outside one (a source archive sets `BUILD_COMMIT`).
fn git_commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
