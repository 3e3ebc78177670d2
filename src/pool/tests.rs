//! The pool with real children that really crash, hang, eat memory and talk nonsense, and a sandbox that they
//! really run into.
//!
//! The children are the built binary, not the test harness: run `cargo build` first.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::document::{Failure, Reason};
use crate::pool::handle::{Cancelled, Pool, PoolError, PoolSettings};
use crate::pool::protocol::{ChildSettings, Misbehaviour};
use crate::pool::{Extraction, Progress, Source};

/// Time enough for whatever should happen, on a busy machine.
const LONG: Duration = Duration::from_secs(120);
/// The page limit where a child is meant to exceed it; no honest answer here takes a tenth of it.
const SHORT: Duration = Duration::from_secs(3);

const TESSDATA_DIRS: [&str; 3] =
    ["/usr/local/share/tessdata", "/usr/share/tesseract-ocr/5/tessdata", "/usr/share/tesseract/tessdata"];

fn built_binary() -> PathBuf {
    let test_executable = std::env::current_exe().unwrap();
    let binary = test_executable.parent().unwrap().parent().unwrap().join("file-processor-worker");
    assert!(binary.is_file(), "run cargo build first: {} is missing", binary.display());
    binary
}

fn tessdata_dir() -> PathBuf {
    let named = std::env::var_os("TESSDATA_PREFIX").map(PathBuf::from);
    let found = named.into_iter().chain(TESSDATA_DIRS.map(PathBuf::from)).find(|dir| dir.is_dir());
    found.unwrap_or_else(|| panic!("no models: set TESSDATA_PREFIX or install them in one of {TESSDATA_DIRS:?}"))
}

fn pdfium_library() -> PathBuf {
    let named = std::env::var_os("PDFIUM_LIBRARY_PATH").map(PathBuf::from);
    let cached = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/file-processor-worker/lib");
    let path = named.unwrap_or(cached);
    if path.is_dir() { path.join("libpdfium.so") } else { path }
}

fn settings(spool: &TempDir) -> PoolSettings {
    PoolSettings {
        program: built_binary(),
        workers: 1,
        child: ChildSettings {
            spool_dir: spool.path().to_path_buf(),
            tessdata_dir: tessdata_dir(),
            ocr_language: "eng".into(),
            pdfium_library: pdfium_library(),
            pdf_dpi: 300,
            image_preprocessing: true,
            min_ocr_confidence: 50.0,
            max_pixels: 100_000_000,
            memory_limit_bytes: 1024 * 1024 * 1024,
            thumbnail_width: 200,
            thumbnail_height: 200,
            thumbnail_quality: 85,
        },
        page_timeout: LONG,
        progress_timeout: LONG,
        total_timeout: LONG,
        max_pages: 1000,
        child_max_pages: 1000,
        child_resident_limit_bytes: 1024 * 1024 * 1024,
    }
}

/// A pool, its spool, and the text file that proves that it works.
struct Rig {
    pool: Pool,
    spool: TempDir,
}

impl Rig {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut PoolSettings)) -> Self {
        let spool = TempDir::new().unwrap();
        fs::write(spool.path().join("memo"), "a memo\n").unwrap();
        let mut settings = settings(&spool);
        change(&mut settings);
        Self { pool: Pool::start(settings).await.unwrap(), spool }
    }

    fn memo(&self) -> Source {
        Source { spool_file: self.spool.path().join("memo"), file_name: "memo.txt".into(), thumbnail: true }
    }

    async fn read_memo(&self) -> Extraction {
        self.pool.extract(self.memo(), &CancellationToken::new()).await.unwrap()
    }

    /// The child must die of it, and the next file must be read as if nothing had been.
    async fn verdict_on(&self, how: Misbehaviour) -> Failure {
        let verdict = self.pool.misbehave(how).await.unwrap();
        self.assert_works().await;
        verdict.expect_err("the child survived")
    }

    /// The child must survive it and say what came of it.
    async fn told_after(&self, how: Misbehaviour) -> String {
        let told = self.pool.misbehave(how).await.unwrap().unwrap();
        self.assert_works().await;
        told
    }

    async fn assert_works(&self) {
        let extraction = self.read_memo().await;
        assert_eq!(extraction.failure, None);
        assert_eq!(extraction.pages.len(), 1);
        assert_eq!(extraction.pages[0].text.trim(), "a memo");
    }
}

#[tokio::test]
async fn a_text_file_is_read() {
    let rig = Rig::start().await;
    rig.assert_works().await;
    let extraction = rig.read_memo().await;
    assert_eq!(extraction.mime_type.as_deref(), Some("text/plain"));
    assert_eq!(rig.pool.snapshot().pages.text, 2);
    rig.pool.shutdown().await;
}

#[tokio::test]
async fn many_documents_at_once_each_get_their_own_text() {
    let rig = Rig::start_with(|settings| settings.workers = 2).await;
    let sources = (0..40).map(|number| {
        let spool_file = rig.spool.path().join(format!("{number}"));
        fs::write(&spool_file, format!("text {number}\n")).unwrap();
        Source { spool_file, file_name: format!("{number}.txt"), thumbnail: true }
    });
    let cancel = CancellationToken::new();
    let extractions = futures_util::future::join_all(sources.map(|source| rig.pool.extract(source, &cancel))).await;
    for (number, extraction) in extractions.into_iter().enumerate() {
        assert_eq!(extraction.unwrap().pages[0].text.trim(), format!("text {number}"));
    }
}

#[tokio::test]
async fn progress_ends_with_every_page() {
    let rig = Rig::start().await;
    let (sender, receiver) = tokio::sync::watch::channel(Progress::default());
    rig.pool.extract_with_progress(rig.memo(), &CancellationToken::new(), sender).await.unwrap();
    assert_eq!(*receiver.borrow(), Progress { pages_done: 1, pages_total: 1 });
}

#[tokio::test]
async fn a_file_that_is_not_there_fails_and_the_pool_goes_on() {
    let rig = Rig::start().await;
    let gone = Source { spool_file: rig.spool.path().join("gone"), ..rig.memo() };
    let extraction = rig.pool.extract(gone, &CancellationToken::new()).await.unwrap();
    assert!(extraction.failure.is_some() || extraction.pages.iter().any(|page| page.failure.is_some()));
    rig.assert_works().await;
}

#[tokio::test]
async fn a_segfault_is_a_crash() {
    let rig = Rig::start().await;
    let failure = rig.verdict_on(Misbehaviour::Segfault).await;
    assert_eq!(failure.reason, Reason::Crashed);
    assert!(failure.detail.contains("SIGSEGV"), "{}", failure.detail);
    assert_eq!(rig.pool.snapshot().lost.crashed, 1);
}

#[tokio::test]
async fn an_abort_is_a_crash() {
    let failure = Rig::start().await.verdict_on(Misbehaviour::Abort).await;
    assert_eq!(failure.reason, Reason::Crashed);
    assert!(failure.detail.contains("SIGABRT"), "{}", failure.detail);
}

#[tokio::test]
async fn an_exit_is_a_crash() {
    let failure = Rig::start().await.verdict_on(Misbehaviour::Exit).await;
    assert_eq!(failure, Failure::new(Reason::Crashed, "the reading process exited with status 3"));
}

#[tokio::test]
async fn a_hang_is_a_timeout() {
    let rig = Rig::start_with(|settings| settings.page_timeout = SHORT).await;
    let failure = rig.verdict_on(Misbehaviour::Hang).await;
    assert_eq!(failure.reason, Reason::Timeout);
    assert_eq!(rig.pool.snapshot().lost.timeout, 1);
}

#[tokio::test]
async fn eating_memory_is_out_of_memory_even_when_it_ends_in_a_segfault() {
    let rig = Rig::start().await;
    let failure = rig.verdict_on(Misbehaviour::EatMemory).await;
    assert_eq!(failure.reason, Reason::OutOfMemory);
    assert!(failure.detail.contains("1024 MiB"), "{}", failure.detail);
    assert!(failure.detail.contains("SIGSEGV"), "{}", failure.detail);
    assert_eq!(rig.pool.snapshot().lost.out_of_memory, 1);
}

#[tokio::test]
async fn nonsense_is_a_crash_whatever_its_kind() {
    let rig = Rig::start().await;
    for how in [Misbehaviour::Garbage, Misbehaviour::OversizedFrame, Misbehaviour::WrongReply] {
        let failure = rig.verdict_on(how).await;
        assert_eq!(failure.reason, Reason::Crashed, "{how:?}");
        assert!(failure.detail.contains("nonsense"), "{how:?}: {}", failure.detail);
    }
    assert_eq!(rig.pool.snapshot().lost.crashed, 3);
}

#[tokio::test]
async fn the_sandbox_denies_sockets_programs_secrets_and_writing() {
    let rig = Rig::start().await;
    let sandbox = rig.pool.ready().sandbox;
    assert!(sandbox.seccomp && sandbox.resource_limits, "{sandbox}");
    for how in [Misbehaviour::OpenSocket, Misbehaviour::Execute, Misbehaviour::WriteFile] {
        let told = rig.told_after(how).await;
        assert!(told.starts_with("denied: "), "{how:?}: {told}");
    }
    assert!(!rig.spool.path().join("written-by-a-child").exists());
    if sandbox.landlock_abi == 0 {
        println!("skipped: this kernel has no Landlock, so reading outside the spool cannot be denied");
        return;
    }
    let told = rig.told_after(Misbehaviour::ReadSecret).await;
    assert!(told.starts_with("denied: "), "{told}");
}

#[tokio::test]
async fn the_environment_of_a_child_is_ours_alone() {
    let told = Rig::start().await.told_after(Misbehaviour::PrintEnvironment).await;
    assert_eq!(told, "LC_ALL=C.UTF-8\nOMP_THREAD_LIMIT=1");
}

#[tokio::test]
async fn an_idle_child_that_is_killed_is_replaced() {
    let rig = Rig::start().await;
    for child in children_of(&rig) {
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    }
    rig.assert_works().await;
}

#[tokio::test]
async fn a_stopped_child_that_is_told_to_terminate_goes_on() {
    let rig = Rig::start().await;
    for child in children_of(&rig) {
        rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    }
    rig.assert_works().await;
    let snapshot = rig.pool.snapshot();
    assert_eq!((snapshot.lost.crashed, snapshot.lost.out_of_memory), (0, 0));
}

#[tokio::test]
async fn a_child_is_replaced_after_its_number_of_pages() {
    let rig = Rig::start_with(|settings| settings.child_max_pages = 2).await;
    for _ in 0..5 {
        rig.assert_works().await;
    }
    assert_eq!(rig.pool.snapshot().recycled, 2);
}

#[tokio::test]
async fn a_child_that_has_grown_is_replaced() {
    let rig = Rig::start_with(|settings| settings.child_resident_limit_bytes = 1).await;
    rig.assert_works().await;
    rig.assert_works().await;
    assert!(rig.pool.snapshot().recycled > 0);
}

#[tokio::test]
async fn a_cancelled_extraction_ends_at_once_and_leaves_the_pool_working() {
    let rig = Rig::start_with(|settings| settings.page_timeout = SHORT).await;
    // The only child is busy, so the memo cannot have been read by the time it is cancelled.
    let cancel = CancellationToken::new();
    let (verdict, extraction) = tokio::join!(rig.pool.misbehave(Misbehaviour::Hang), async {
        let extraction = rig.pool.extract(rig.memo(), &cancel);
        tokio::pin!(extraction);
        assert!(futures_util::poll!(&mut extraction).is_pending());
        cancel.cancel();
        extraction.await
    });
    assert_eq!(extraction.unwrap_err(), Cancelled);
    assert_eq!(verdict.unwrap().unwrap_err().reason, Reason::Timeout);
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().documents, 0);
}

#[tokio::test]
async fn shutting_down_ends_the_children_and_answers_who_waits() {
    let rig = Rig::start().await;
    let children = children_of(&rig);
    assert_eq!(children.len(), 1);
    let (hanging, ()) = tokio::join!(rig.pool.misbehave(Misbehaviour::Hang), rig.pool.shutdown());
    assert_eq!(hanging.unwrap_err(), Cancelled);
    for child in children {
        assert!(rustix::process::test_kill_process(child).is_err(), "{child:?} is still there");
    }
    assert_eq!(rig.pool.extract(rig.memo(), &CancellationToken::new()).await.unwrap_err(), Cancelled);
}

#[tokio::test]
async fn a_pool_without_models_does_not_start_and_says_where_it_looked() {
    let spool = TempDir::new().unwrap();
    let mut settings = settings(&spool);
    settings.child.tessdata_dir = "/no/such/models".into();
    let Err(PoolError::Child(error)) = Pool::start(settings).await else { panic!("it started") };
    assert!(error.to_string().contains("/no/such/models"), "{error}");
}

#[tokio::test]
async fn a_pool_whose_children_die_at_start_does_not_start() {
    let spool = TempDir::new().unwrap();
    let mut settings = settings(&spool);
    settings.program = "/bin/false".into();
    let Err(error) = Pool::start(settings).await else { panic!("it started") };
    assert!(error.to_string().contains("exited with status 1"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_and_no_hang() {
    let spool = TempDir::new().unwrap();
    let mut settings = settings(&spool);
    settings.program = "/no/such/program".into();
    assert!(Pool::start(settings).await.is_err());
}

/// Children of this test process that serve this rig: other tests have theirs at the same time.
fn children_of(rig: &Rig) -> Vec<rustix::process::Pid> {
    rig.pool.child_pids().into_iter().filter_map(rustix::process::Pid::from_raw).collect()
}
