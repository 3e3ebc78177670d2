//! Every file of the corpus, through the real servers: exactly one outcome each, and the parent lives.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{World, binary, corpus};

const OUTCOMES: [&str; 3] = ["indexed", "indexed_partial", "indexed_without_text"];

#[tokio::test]
async fn every_file_of_the_corpus_gets_exactly_one_outcome_and_the_parent_lives() {
    let Some(folder) = corpus() else { return };
    let world = World::without_index("corpus", 600).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let daemon = world.daemon_with(&[("MAX_WORKERS", "2"), ("SQS_VISIBILITY_TIMEOUT", "600")]).await;
    let process_id = daemon.process.id();
    let mut keys = Vec::new();
    for entry in walkdir::WalkDir::new(&folder).sort_by_file_name() {
        let entry = entry.expect("read the corpus");
        if entry.file_type().is_file() {
            let key = entry.path().strip_prefix(&folder).expect("inside").to_string_lossy().into_owned();
            world.upload(&key, std::fs::read(entry.path()).expect("read")).await;
            keys.push(key);
        }
    }
    let mut summary: BTreeMap<String, usize> = BTreeMap::new();
    for key in &keys {
        let document = world.wait_for_document(key).await;
        let outcome = document["outcome"].as_str().unwrap_or_default();
        assert!(OUTCOMES.contains(&outcome), "{key}: {document}");
        assert_eq!(document["reason"].is_null(), outcome == "indexed", "{key}");
        let has_text = document["extracted_text"].as_str().is_some_and(|text| !text.trim().is_empty());
        assert_eq!(has_text, outcome != "indexed_without_text", "{key}: {outcome}");
        *summary.entry(format!("{outcome} {}", document["reason"].as_str().unwrap_or("-"))).or_default() += 1;
    }
    eprintln!("{} files: {summary:#?}", keys.len());
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(daemon.is_ready().await);
    assert_eq!(daemon.process.id(), process_id);
    let log = daemon.log_text();
    assert!(!log.contains("ERROR"), "a bad file is not an ERROR: {log}");
}

#[test]
fn one_text_page_does_not_hide_the_scan_between_two_others() {
    let Some(folder) = corpus() else { return };
    let output = std::process::Command::new(binary())
        .args(["extract", "--json", "--pages"])
        .arg(folder.join("ja/hybrid.pdf"))
        .output()
        .expect("run");
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    let sources: Vec<_> = document["pages"].as_array().unwrap().iter().map(|page| page["source"].clone()).collect();
    assert_eq!(sources, ["text", "ocr", "text"]);
    for page in document["pages"].as_array().unwrap() {
        assert!(page["text"].as_str().is_some_and(|text| text.chars().count() > 200), "{page}");
    }
}
