//! Pictures that the OCR engine could stumble over, read by sandboxed children: what the engine does for the first time
//! in the middle of a page (a message, a file, a system call) the sandbox forbids, and the child dies of it.
//!
//! `scripts/test.sh` runs these, and the tests of whole documents, a second time with the engine of release builds
//! (`WORKER_BINARY`); the other tests use the distribution's.

use std::process::Command;

use serde_json::Value;

use crate::harness::binary;
use crate::pdf;

/// Grey noise from a linear congruential generator: the same at every run.
fn noise(seed: u64, count: usize) -> impl Iterator<Item = u8> {
    let mut state = seed;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

/// Rows of blocks like words, with specks above and below, which the engine takes for diacritics and talks about.
fn blocks_with_specks(width: usize, height: usize) -> Vec<u8> {
    let mut samples: Vec<u8> = (0..width * height)
        .map(|at| {
            let (x, y) = (at % width, at / width);
            let in_line = (20..52).contains(&(y % 80));
            if in_line && (x / 12) % 2 == 0 && (x / 160) % 5 != 4 { 0 } else { 255 }
        })
        .collect();
    for (at, value) in noise(7, width * height).enumerate() {
        if value > 250 {
            samples[at] = 0;
        }
    }
    samples
}

fn extract(name: &str, file: &[u8]) -> (Value, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name).with_extension("pdf");
    std::fs::write(&path, file).expect("write");
    let output = Command::new(binary()).args(["extract", "--json", "--pages"]).arg(&path).output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}: {said}")), said)
}

#[test]
fn no_picture_costs_the_child_that_reads_it() {
    let noisy = |width: usize, height: usize| noise(width as u64, width * height).collect::<Vec<_>>();
    let pictures = [
        ("noise", 640, 480, noisy(640, 480)),
        ("a row", 3000, 3, noisy(3000, 3)),
        ("a column", 3, 3000, noisy(3, 3000)),
        ("wide", 8000, 40, noisy(8000, 40)),
        ("specks", 1600, 1200, blocks_with_specks(1600, 1200)),
        ("black", 800, 600, vec![0; 800 * 600]),
    ];
    for (name, width, height, samples) in pictures {
        let (document, said) = extract(name, &pdf::grey_picture(width, height, &samples));
        let reason = document["reason"].as_str().unwrap_or("none");
        assert!(["none", "no_text", "low_confidence"].contains(&reason), "{name}: {document}\n{said}");
        let page_reason = document["pages"][0]["reason"].as_str().unwrap_or("none");
        assert!(["none", "low_confidence"].contains(&page_reason), "{name}: {document}");
        assert!(!said.contains("child"), "{name}: {said}");
    }
}

#[test]
fn a_scan_is_read_after_the_engine_saw_noise() {
    let folder = tempfile::tempdir().expect("a folder");
    let specks = folder.path().join("1.pdf");
    let scan = folder.path().join("2.pdf");
    std::fs::write(&specks, pdf::grey_picture(1600, 1200, &blocks_with_specks(1600, 1200))).expect("write");
    std::fs::write(&scan, pdf::scan(1)).expect("write");
    let output = Command::new(binary())
        .env("MAX_WORKERS", "1")
        .args(["extract", "--json"])
        .args([&specks, &scan])
        .output()
        .expect("run");
    let last = String::from_utf8_lossy(&output.stdout).lines().last().map(str::to_owned).expect("two lines");
    let document: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(document["outcome"], "indexed", "{document}");
    assert!(document["extracted_text"].as_str().is_some_and(|text| text.contains("道路橋")), "{document}");
}
