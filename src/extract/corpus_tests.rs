//! The corpus of real files: every file ends well, and what is read is at least as good as Tesseract's command line.
//!
//! Skipped with a message where there is no corpus (`CORPUS_DIR`, else `../shared/corpus`), pdfium or models. Run with
//! `OMP_THREAD_LIMIT=1` and `--nocapture` to see the tables.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use unicode_normalization::UnicodeNormalization;

use super::*;
use crate::ocr::models::find_tessdata;
use crate::pool::protocol::{ChildSettings, DocumentRef, Effort, Page, PageSource};

/// pdfium must not be entered by two threads, and tests run in threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LANGUAGE: &str = "jpn+eng";
const MAX_PIXELS: u64 = 400_000_000;

struct Bench {
    _only_one: MutexGuard<'static, ()>,
    corpus: PathBuf,
    worker: Worker,
    next_id: u64,
}

impl Bench {
    /// `None` with a printed message where something is missing.
    fn start() -> Option<Bench> {
        let only_one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let corpus = env::var_os("CORPUS_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
        if !corpus.is_dir() {
            println!("skipped: no corpus at {}", corpus.display());
            return None;
        }
        let (pdfium_library, tessdata_dir) = match (find_pdfium(None), find_tessdata(None, LANGUAGE)) {
            (Ok(library), Ok(folder)) => (library, folder),
            (library, folder) => {
                println!("skipped: {:?} {:?}", library.err(), folder.err());
                return None;
            }
        };
        let settings = ChildSettings {
            spool_dir: corpus.clone(),
            tessdata_dir,
            ocr_language: LANGUAGE.to_owned(),
            pdfium_library,
            pdf_dpi: 300,
            image_preprocessing: true,
            min_ocr_confidence: 50.0,
            max_pixels: MAX_PIXELS,
            memory_limit_bytes: 1 << 30,
            thumbnail_width: 200,
            thumbnail_height: 200,
            thumbnail_quality: 85,
        };
        let worker = Worker::start(&settings).expect("worker");
        Some(Bench { _only_one: only_one, corpus, worker, next_id: 1 })
    }

    fn document(&mut self, path: &str) -> DocumentRef {
        self.next_id += 1;
        let spool_file = self.corpus.join(path);
        DocumentRef { id: self.next_id, spool_file, file_name: path.rsplit('/').next().unwrap_or(path).to_owned() }
    }

    /// All pages, as the parent would ask for them.
    fn pages(&mut self, path: &str) -> Result<Vec<Page>, OpenError> {
        let document = self.document(path);
        let opened = self.worker.open(&document)?;
        let mut pages = Vec::new();
        for number in 1..=opened.page_count {
            let surveyed = if opened.has_text_layer { self.worker.survey(&document, number) } else { Ok(None) };
            pages.push(match surveyed.expect("open") {
                Some(page) => page,
                None => self.worker.recognize(&document, number, Effort::Normal).expect("open"),
            });
        }
        Ok(pages)
    }

    fn text(&mut self, path: &str) -> String {
        let pages = self.pages(path).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    fn truth(&self, path: &str) -> Vec<String> {
        let text = fs::read_to_string(self.corpus.join(path)).expect("truth");
        text.split('\u{c}').map(str::to_owned).collect()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let mut files: Vec<String> = fs::read_dir(self.corpus.join(folder))
            .expect("folder")
            .map(|entry| format!("{folder}/{}", entry.expect("entry").file_name().to_string_lossy()))
            .collect();
        files.sort();
        files
    }
}

/// As the corpus defines it: after NFKC and without white space, Levenshtein distance and length of the truth.
fn errors(read: &str, truth: &str) -> (usize, usize) {
    let plain = |text: &str| text.nfkc().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
    let (read, truth) = (plain(read), plain(truth));
    let mut row: Vec<usize> = (0..=truth.len()).collect();
    for (line, character) in read.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, expected) in truth.iter().enumerate() {
            let substituted = diagonal + usize::from(character != expected);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    (row[truth.len()], truth.len())
}

fn rate(read: &str, truth: &str) -> f64 {
    let (wrong, all) = errors(read, truth);
    wrong as f64 / all.max(1) as f64
}

/// `VmRSS` or `VmHWM` of this process, MiB.
fn memory_mib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("number") / 1024
}

/// Pages of a PDF as the Python worker read them: rendered by pdftoppm, read by a process each.
fn command_line_pages(pdf: &Path, pages: usize) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let stem = folder.path().join("page");
    Command::new("pdftoppm").args(["-r", "300", "-gray"]).arg(pdf).arg(&stem).status().ok()?;
    (1..=pages)
        .map(|number| {
            let image = folder.path().join(format!("page-{number}.pgm"));
            let output = Command::new("tesseract").arg(image).args(["-", "-l", LANGUAGE]).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .collect()
}

#[test]
fn scanned_handbooks_are_read_at_least_as_well_as_by_the_command_line() {
    let Some(mut bench) = Bench::start() else { return };
    println!("{:<16} {:>8} {:>8} {:>8} {:>8}", "file", "ours", "s/page", "tesseract", "s/page");
    let (mut our_errors, mut their_errors) = (0, 0);
    for name in ["a", "b", "c"] {
        let truth = bench.truth(&format!("ja/handbook-{name}.txt"));
        let started = Instant::now();
        let pages = bench.pages(&format!("ja/handbook-{name}.pdf")).expect("pages");
        let our_time = started.elapsed().as_secs_f64() / pages.len() as f64;
        assert!(pages.iter().all(|page| matches!(page.source, PageSource::Ocr | PageSource::Blank)));
        let started = Instant::now();
        let pdf = bench.corpus.join(format!("ja/handbook-{name}.pdf"));
        let Some(theirs) = command_line_pages(&pdf, pages.len()) else {
            println!("skipped: no pdftoppm or tesseract");
            return;
        };
        let their_time = started.elapsed().as_secs_f64() / pages.len() as f64;
        let count = |text_of: &dyn Fn(usize) -> String| {
            (0..pages.len()).fold((0, 0), |(wrong, all), page| {
                let (more_wrong, more) = errors(&text_of(page), truth.get(page).map_or("", String::as_str));
                (wrong + more_wrong, all + more)
            })
        };
        let (ours, all) = count(&|page| pages[page].text.clone());
        let (their, _) = count(&|page| theirs[page].clone());
        let rate = |wrong: usize| wrong as f64 / all as f64;
        println!("handbook-{name:<7} {:>8.4} {our_time:>8.2} {:>8.4} {their_time:>8.2}", rate(ours), rate(their));
        our_errors += ours;
        their_errors += their;
    }
    assert!(our_errors <= their_errors, "{our_errors} errors, the command line {their_errors}");
}

#[test]
fn a_text_page_does_not_hide_a_scan() {
    let Some(mut bench) = Bench::start() else { return };
    let pages = bench.pages("ja/hybrid.pdf").expect("pages");
    let sources: Vec<PageSource> = pages.iter().map(|page| page.source).collect();
    assert_eq!(sources, [PageSource::Text, PageSource::Ocr, PageSource::Text]);
    for (page, beginning) in pages.iter().zip(["", "", ""]) {
        println!("hybrid page {}: {:?}", page.number, page.text.chars().take(60).collect::<String>());
        assert!(page.text.chars().count() > 200 && page.text.starts_with(beginning));
    }
}

#[test]
fn a_good_text_layer_is_taken() {
    let Some(mut bench) = Bench::start() else { return };
    let pages = bench.pages("ja/handbook-text.pdf").expect("pages");
    let truth = bench.truth("ja/handbook-text.txt");
    for page in &pages {
        let rate = rate(&page.text, &truth[page.number as usize - 1]);
        println!("handbook-text page {}: {rate:.4}", page.number);
        assert!(page.source == PageSource::Text && rate < 0.01, "page {}: {rate}", page.number);
    }
}

#[test]
fn vertical_and_tabular_pages_are_read() {
    let Some(mut bench) = Bench::start() else { return };
    for (name, limit) in [("vertical", 0.02), ("invoice", 0.25)] {
        let read = bench.text(&format!("ja/{name}.png"));
        let rate = rate(&read, &bench.truth(&format!("ja/{name}.txt")).concat());
        println!("{name}: {rate:.4}");
        assert!(rate <= limit, "{name}: {rate}\n{read}");
    }
}

#[test]
fn every_file_ends_in_pages_or_a_reason() {
    let Some(mut bench) = Bench::start() else { return };
    println!("{:<42} {:>5} {:<30} {:>5} {:>7}  text", "file", "pages", "sources or reason", "conf", "ms");
    for folder in ["pdf", "images", "office", "email"] {
        for file in bench.files(folder) {
            let started = Instant::now();
            let outcome = bench.pages(&file);
            let took = started.elapsed().as_millis();
            match outcome {
                Ok(pages) => {
                    let sources: Vec<String> = pages
                        .iter()
                        .map(|page| match &page.failure {
                            Some(failure) => failure.reason.to_string(),
                            None => format!("{:?}", page.source),
                        })
                        .collect();
                    let confidences: Vec<f32> = pages.iter().filter_map(|page| page.confidence).collect();
                    let mean = confidences.iter().sum::<f32>() / confidences.len().max(1) as f32;
                    let text: String = pages.iter().map(|page| page.text.replace('\n', " ")).collect();
                    let head: String = text.chars().take(70).collect();
                    println!("{file:<42} {:>5} {:<30} {mean:>5.1} {took:>7}  {}: {head}", pages.len(), sources.join(" "), text.chars().count());
                }
                Err(error) => println!("{file:<42}       {:<30} {took:>13}  {}", error.failure.reason.as_str(), error.failure.detail),
            }
            let document = bench.document(&file);
            let thumbnail = bench.worker.thumbnail(&document);
            if let (Ok(Some(jpeg)), Some(folder)) = (&thumbnail, env::var_os("THUMBNAILS_TO")) {
                fs::write(Path::new(&folder).join(format!("{}.jpg", document.file_name)), jpeg).expect("write");
            }
        }
    }
    println!("peak memory {} MiB", memory_mib("VmHWM"));
}

#[test]
fn memory_does_not_grow_with_pages() {
    let Some(mut bench) = Bench::start() else { return };
    let Some(rounds) = env::var("SOAK_PAGES").ok().and_then(|pages| pages.parse::<usize>().ok()) else {
        println!("skipped: SOAK_PAGES is not set");
        return;
    };
    let mut read = 0;
    while read < rounds {
        for name in ["a", "b", "c"] {
            read += bench.pages(&format!("ja/handbook-{name}.pdf")).expect("pages").len();
        }
        println!("{read} pages: {} MiB, peak {} MiB", memory_mib("VmRSS"), memory_mib("VmHWM"));
    }
    assert!(memory_mib("VmHWM") <= 300);
}
