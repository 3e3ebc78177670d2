//! A long document survives its instance: what was recognised is not recognised again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Daemon, PATIENCE, World, binary};
use crate::pdf;

const RECOGNIZED: &str = "file_processor_pages_recognized_total";

async fn wait_for_pages(daemon: &Daemon, pages: f64) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.metric(RECOGNIZED).await < pages {
        assert!(Instant::now() < deadline, "{}", daemon.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_long_scan_that_is_interrupted_three_times_is_not_read_much_more_than_once() {
    const PAGES: usize = 100;
    let world = World::without_index("checkpoints", 4).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let variables = [("SQS_VISIBILITY_TIMEOUT", "4"), ("DRAIN_TIMEOUT", "1")];
    world.upload("long.pdf", pdf::scan(PAGES)).await;

    let mut recognized = 0.0;
    for interruption in 0..3 {
        let mut daemon = world.daemon_with(&variables).await;
        wait_for_pages(&daemon, 17.0).await;
        let seen = daemon.metric(RECOGNIZED).await;
        // Twice an orderly stop, once an instance that vanishes.
        daemon.signal(if interruption == 1 { libc::SIGKILL } else { libc::SIGTERM });
        daemon.wait_for_exit().await;
        // One more may have been finished after the last look.
        recognized += seen + 1.0;
        assert!(world.document("long.pdf").await.is_none(), "nothing half-done is written");
        assert!(!world.state_objects().await.is_empty());
    }
    let last = world.daemon_with(&variables).await;
    let document = world.wait_for_document("long.pdf").await;
    recognized += last.metric(RECOGNIZED).await;
    assert_eq!(document["pages_ocr"], PAGES);
    assert_eq!(document["outcome"], "indexed");
    assert!(last.log_text().contains("pages of an earlier attempt taken over"), "{}", last.log_text());
    // A chunk of 8 at the most and a page under way for the daemon that was killed, a page each for the others.
    eprintln!("{recognized} pages recognised for a document of {PAGES}");
    assert!(recognized <= PAGES as f64 + 8.0 + 3.0 * 2.0, "{recognized} pages for {PAGES}");
    world.wait_until_settled().await;
    assert_eq!(world.state_objects().await, [] as [String; 0], "an indexed document needs no checkpoints");
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn checkpoints_of_another_content_are_not_taken_for_this_one_s() {
    let world = World::without_index("checkpoints-overwrite", 4).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let variables = [("SQS_VISIBILITY_TIMEOUT", "4"), ("DRAIN_TIMEOUT", "1")];
    world.upload("a.pdf", pdf::scan(60)).await;
    let mut first = world.daemon_with(&variables).await;
    wait_for_pages(&first, 9.0).await;
    first.signal(libc::SIGTERM);
    assert_eq!(first.wait_for_exit().await, Some(0));
    world.put("a.pdf", pdf::empty_pages(25)).await;
    let second = world.daemon_with(&variables).await;
    let document = world.wait_for_document("a.pdf").await;
    assert_eq!(document["page_count"], 25);
    assert_eq!((&document["outcome"], &document["reason"]), (&"indexed_without_text".into(), &"no_text".into()));
    assert!(!second.log_text().contains("taken over"));
    world.wait_until_settled().await;
    assert_eq!(world.state_objects().await, [] as [String; 0]);
}

/// Whether any file below a folder has a name that begins so.
fn has_file(folder: &Path, beginning: &str) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let is_it = entry.file_name().to_string_lossy().starts_with(beginning);
        is_it || (entry.path().is_dir() && has_file(&entry.path(), beginning))
    })
}

#[test]
fn a_folder_run_that_is_interrupted_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("long.pdf"), pdf::scan(60)).expect("write the scan");
    let checkpoints = folder.path().join(".file-processor/thumbnails/checkpoints");
    let local = || {
        let mut command = Command::new(binary());
        command.arg("local").arg(folder.path()).env("DRAIN_TIMEOUT", "1").env("MAX_WORKERS", "1");
        command.env("LOG_LEVEL", "INFO").env("XDG_STATE_HOME", folder.path().join("state"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut first = local().spawn().expect("start");
    let deadline = Instant::now() + PATIENCE;
    while !has_file(&checkpoints, "pages-") {
        assert!(Instant::now() < deadline && first.try_wait().expect("wait").is_none(), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(50));
    }
    // SAFETY: sends a signal to our own child process.
    unsafe { libc::kill(first.id() as i32, libc::SIGINT) };
    assert_eq!(first.wait_with_output().expect("wait").status.code(), Some(1), "interrupted");

    let second = local().output().expect("run");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success(), "{said}");
    assert!(said.contains("pages of an earlier attempt taken over"), "{said}");
    assert!(!has_file(&checkpoints, ""), "nothing is left behind");
}
