//! The pool with real children that really crash, hang, eat memory and talk nonsense, and a sandbox that they
//! really run into.
//!
//! The children are the built binary, not the test harness: run `cargo build` first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::document::{Failure, Reason};
use crate::pool::extraction::Standing;
use crate::pool::handle::{Cancelled, Pool, PoolError, PoolSettings};
use crate::pool::protocol::{ChildSettings, Misbehaviour};
use crate::pool::snapshot::ChildrenLost;
use crate::pool::{Extraction, Observer, Progress, Source};

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
            archive_contents: false,
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
        Source { thumbnail: true, ..Source::new(self.spool.path().join("memo"), "memo.txt") }
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

    fn signal_children(&self, signal: Signal) {
        for child in self.pool.child_pids() {
            rustix::process::kill_process(Pid::from_raw(child).unwrap(), signal).unwrap();
        }
    }

    async fn until_busy(&self) {
        self.until(|rig| rig.pool.snapshot().busy > 0).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.expect("it never came to that");
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
        fs::write(&spool_file, format!("memo {number} ends here\n")).unwrap();
        Source { thumbnail: true, ..Source::new(spool_file, format!("{number}.txt")) }
    });
    let cancel = CancellationToken::new();
    let extractions = futures_util::future::join_all(sources.map(|source| rig.pool.extract(source, &cancel))).await;
    for (number, extraction) in extractions.into_iter().enumerate() {
        assert_eq!(extraction.unwrap().pages[0].text.trim(), format!("memo {number} ends here"));
    }
}

#[tokio::test]
async fn progress_ends_with_every_page() {
    let rig = Rig::start().await;
    let observer = Observer::default();
    let source = Source { observer: observer.clone(), ..rig.memo() };
    rig.pool.extract(source, &CancellationToken::new()).await.unwrap();
    assert_eq!(*observer.progress.borrow(), Progress { pages_done: 1, pages_total: 1 });
    assert_eq!(*observer.standing.borrow(), Standing { started: true, guilt: None });
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
async fn a_library_that_finds_no_memory_does_not_go_on_without() {
    let rig = Rig::start().await;
    let failure = rig.verdict_on(Misbehaviour::EatMemory).await;
    assert_eq!(failure.reason, Reason::OutOfMemory);
    assert!(failure.detail.contains("1024 MiB"), "{}", failure.detail);
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
    assert_eq!(told, "LC_ALL=C.UTF-8\nMIMALLOC_ARENA_RESERVE=64MiB\nMIMALLOC_PURGE_DELAY=3000\nOMP_THREAD_LIMIT=1");
}

#[tokio::test]
async fn an_idle_child_that_is_killed_is_replaced() {
    let rig = Rig::start().await;
    rig.signal_children(Signal::KILL);
    rig.assert_works().await;
}

/// systemd sends it to every process of the service when the parent is to drain.
#[tokio::test]
async fn a_child_outlives_the_order_to_terminate() {
    let rig = Rig::start().await;
    rig.signal_children(Signal::TERM);
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().lost, ChildrenLost::default());
}

#[tokio::test]
async fn a_document_whose_child_stands_still_is_read_by_a_fresh_one() {
    let rig = Rig::start_with(|settings| settings.page_timeout = SHORT).await;
    rig.signal_children(Signal::STOP);
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().lost.timeout, 1);
}

#[tokio::test]
async fn a_document_whose_child_is_killed_from_outside_is_read_by_a_fresh_one() {
    let rig = Rig::start().await;
    rig.signal_children(Signal::STOP);
    let ((), ()) = tokio::join!(rig.assert_works(), async {
        rig.until_busy().await;
        rig.signal_children(Signal::KILL);
    });
    // Nobody but the kernel kills that way, and it does so for want of memory.
    assert_eq!(rig.pool.snapshot().lost.out_of_memory, 1);
}

#[tokio::test]
async fn a_document_without_progress_is_given_up() {
    let rig = Rig::start_with(|settings| settings.progress_timeout = SHORT).await;
    rig.signal_children(Signal::STOP);
    let failure = rig.read_memo().await.failure.unwrap();
    assert_eq!(failure, Failure::new(Reason::Timeout, "no page was finished within 3s"));
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().lost.cancelled, 1);
}

#[tokio::test]
async fn a_document_over_its_time_in_all_is_given_up() {
    let rig = Rig::start_with(|settings| settings.total_timeout = SHORT).await;
    rig.signal_children(Signal::STOP);
    let failure = rig.read_memo().await.failure.unwrap();
    assert_eq!(failure, Failure::new(Reason::Timeout, "the document was not finished within 3s"));
    rig.assert_works().await;
}

#[tokio::test]
async fn cancelling_kills_the_page_that_a_child_has() {
    let rig = Rig::start().await;
    let stopped = rig.pool.child_pids();
    rig.signal_children(Signal::STOP);
    let cancel = CancellationToken::new();
    let (extraction, ()) = tokio::join!(rig.pool.extract(rig.memo(), &cancel), async {
        rig.until_busy().await;
        cancel.cancel();
    });
    assert_eq!(extraction.unwrap_err(), Cancelled);
    rig.assert_works().await;
    assert_ne!(rig.pool.child_pids(), stopped);
    assert_eq!(rig.pool.snapshot().lost.cancelled, 1);
}

#[tokio::test]
async fn dropping_an_extraction_cancels_it() {
    let rig = Rig::start().await;
    rig.signal_children(Signal::STOP);
    let cancel = CancellationToken::new();
    tokio::select! {
        _ = rig.pool.extract(rig.memo(), &cancel) => panic!("a stopped child answered"),
        () = rig.until_busy() => {}
    }
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().lost.cancelled, 1);
}

#[tokio::test]
async fn a_child_is_replaced_after_its_number_of_recognised_pages_and_not_for_reading_texts() {
    let rig = Rig::start_with(|settings| settings.child_max_pages = 2).await;
    let picture = Path::new("tests/fixtures/images/sign.bmp");
    fs::copy(picture, rig.spool.path().join("sign")).unwrap();
    for _ in 0..5 {
        rig.assert_works().await;
        let sign = Source::new(rig.spool.path().join("sign"), "sign.bmp");
        let extraction = rig.pool.extract(sign, &CancellationToken::new()).await.unwrap();
        assert_eq!(extraction.failure, None);
    }
    assert_eq!(rig.pool.snapshot().recycled, 2);
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
async fn a_document_cancelled_in_the_queue_is_never_read() {
    let rig = Rig::start().await;
    rig.signal_children(Signal::STOP);
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (first_result, second_result, ()) =
        tokio::join!(rig.pool.extract(rig.memo(), &first), rig.pool.extract(rig.memo(), &second), async {
            rig.until_busy().await;
            second.cancel();
            first.cancel();
        });
    assert_eq!((first_result.unwrap_err(), second_result.unwrap_err()), (Cancelled, Cancelled));
    rig.assert_works().await;
    let snapshot = rig.pool.snapshot();
    assert_eq!((snapshot.pages.text, snapshot.documents, snapshot.lost.cancelled), (1, 0, 1));
}

#[tokio::test]
async fn shutting_down_ends_the_children_and_answers_who_waits() {
    let rig = Rig::start().await;
    let children = rig.pool.child_pids();
    assert_eq!(children.len(), 1);
    let (hanging, ()) = tokio::join!(rig.pool.misbehave(Misbehaviour::Hang), async {
        rig.until_busy().await;
        rig.pool.shutdown().await;
    });
    assert_eq!(hanging.unwrap_err(), Cancelled);
    for child in children {
        assert!(!PathBuf::from(format!("/proc/{child}")).exists(), "process {child} is still there");
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

#[tokio::test]
async fn a_smaller_pool_ends_its_surplus_child_and_a_larger_one_starts_it_again() {
    let rig = Rig::start_with(|settings| settings.workers = 2).await;
    let both = rig.pool.child_pids();
    rig.pool.set_wanted(1);
    rig.until(|rig| rig.pool.child_pids().len() == 1).await;
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().wanted, 1);
    assert!(both.contains(&rig.pool.child_pids()[0]), "the other one stays");

    rig.pool.set_wanted(0);
    rig.assert_works().await;
    assert_eq!(rig.pool.snapshot().wanted, 1, "one child always works");

    rig.pool.set_wanted(7);
    rig.until(|rig| rig.pool.snapshot().children == 2).await;
    rig.assert_works().await;
    assert_eq!((rig.pool.snapshot().wanted, rig.pool.snapshot().lost), (2, ChildrenLost::default()));
    rig.pool.shutdown().await;
}

#[tokio::test]
async fn a_busy_child_finishes_its_page_before_the_pool_gets_smaller() {
    let rig = Rig::start_with(|settings| settings.workers = 2).await;
    let children = rig.pool.child_pids();
    rig.signal_children(Signal::STOP);
    let (extraction, second, ()) = tokio::join!(rig.read_memo(), rig.read_memo(), async {
        rig.until(|rig| rig.pool.snapshot().busy == 2).await;
        rig.pool.set_wanted(1);
        rig.until(|rig| rig.pool.snapshot().wanted == 1).await;
        assert_eq!(rig.pool.child_pids(), children, "nobody is killed for it");
        rig.signal_children(Signal::CONT);
    });
    assert_eq!((extraction.failure, second.failure), (None, None));
    rig.until(|rig| rig.pool.child_pids().len() == 1).await;
    assert_eq!(rig.pool.snapshot().lost, ChildrenLost::default());
}

#[tokio::test]
async fn replaced_children_are_all_fresh_and_the_page_of_a_busy_one_is_read_again() {
    let rig = Rig::start_with(|settings| settings.workers = 2).await;
    let before = rig.pool.child_pids();
    rig.signal_children(Signal::STOP);
    let (extraction, ()) = tokio::join!(rig.read_memo(), async {
        rig.until_busy().await;
        rig.signal_children(Signal::CONT);
        rig.pool.replace_children();
    });
    assert_eq!(extraction.failure, None);
    rig.until(|rig| rig.pool.snapshot().children == 2).await;
    assert!(rig.pool.child_pids().iter().all(|pid| !before.contains(pid)));
    rig.assert_works().await;
}
