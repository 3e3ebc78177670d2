//! The corpus of real files: every file ends well, and what is read is at least as good as Tesseract's command line.
//!
//! Skipped with a message where there is no corpus (`CORPUS_DIR`, else `../shared/corpus`), pdfium or models. Run with
//! `OMP_THREAD_LIMIT=1` and `--nocapture` to see the tables.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use unicode_normalization::UnicodeNormalization;

use super::test_bench::{Bench, LANGUAGE};
use crate::pool::protocol::{Effort, PageSource};

/// The corpus; `None` with a printed message where there is none.
fn corpus_bench() -> Option<Bench> {
    let corpus = env::var_os("CORPUS_DIR").map_or_else(|| PathBuf::from("../shared/corpus"), PathBuf::from);
    if !corpus.is_dir() {
        println!("skipped: no corpus at {}", corpus.display());
        return None;
    }
    Bench::start(&corpus)
}

fn truth(bench: &Bench, path: &str) -> Vec<String> {
    let text = fs::read_to_string(bench.folder.join(path)).expect("truth");
    text.split('\u{c}').map(str::to_owned).collect()
}

fn files(bench: &Bench, folder: &str) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(bench.folder.join(folder))
        .expect("folder")
        .map(|entry| format!("{folder}/{}", entry.expect("entry").file_name().to_string_lossy()))
        .collect();
    files.sort();
    files
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
    let Some(mut bench) = corpus_bench() else { return };
    println!("{:<16} {:>8} {:>8} {:>8} {:>8}", "file", "ours", "s/page", "tesseract", "s/page");
    let (mut our_errors, mut their_errors) = (0, 0);
    for name in ["a", "b", "c"] {
        let truth = truth(&bench, &format!("ja/handbook-{name}.txt"));
        let started = Instant::now();
        let pages = bench.pages(&format!("ja/handbook-{name}.pdf")).expect("pages");
        let our_time = started.elapsed().as_secs_f64() / pages.len() as f64;
        for (page, truth) in pages.iter().zip(&truth) {
            let expected = if truth.trim().is_empty() { PageSource::Blank } else { PageSource::Ocr };
            assert_eq!(page.source, expected, "handbook-{name} page {}", page.number);
        }
        let started = Instant::now();
        let pdf = bench.folder.join(format!("ja/handbook-{name}.pdf"));
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
    let Some(mut bench) = corpus_bench() else { return };
    let pages = bench.pages("ja/hybrid.pdf").expect("pages");
    let sources: Vec<PageSource> = pages.iter().map(|page| page.source).collect();
    assert_eq!(sources, [PageSource::Text, PageSource::Ocr, PageSource::Text]);
    // The scan is a page of handbook-b.
    let truth = truth(&bench, "ja/handbook-b.txt");
    let best = truth.iter().map(|page| rate(&pages[1].text, page)).fold(1.0, f64::min);
    println!("hybrid page 2: {best:.4}");
    assert!(best < 0.02, "{best}");
    for page in &pages {
        assert!(page.text.chars().count() > 200, "page {}: {:?}", page.number, page.text);
    }
}

#[test]
fn a_good_text_layer_is_taken() {
    let Some(mut bench) = corpus_bench() else { return };
    let pages = bench.pages("ja/handbook-text.pdf").expect("pages");
    let truth = truth(&bench, "ja/handbook-text.txt");
    for page in &pages {
        let rate = rate(&page.text, &truth[page.number as usize - 1]);
        println!("handbook-text page {}: {rate:.4}", page.number);
        let is_empty = truth[page.number as usize - 1].trim().is_empty();
        let expected = if is_empty { PageSource::Blank } else { PageSource::Text };
        assert!(page.source == expected && rate < 0.01, "page {}: {:?} {rate}", page.number, page.source);
    }
}

#[test]
fn vertical_and_tabular_pages_are_read() {
    let Some(mut bench) = corpus_bench() else { return };
    for (name, limit) in [("vertical", 0.01), ("invoice", 0.04)] {
        let read = bench.text(&format!("ja/{name}.png"));
        let rate = rate(&read, &truth(&bench, &format!("ja/{name}.txt")).concat());
        println!("{name}: {rate:.4}");
        assert!(rate <= limit, "{name}: {rate}\n{read}");
    }
}

#[test]
fn pages_that_lie_on_a_side_or_upside_down_are_read_as_upright_ones() {
    let Some(mut bench) = corpus_bench() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, limit) in [("ja/invoice", 0.04), ("images/linn", 0.015)] {
        let upright = image::open(bench.folder.join(format!("{name}.png"))).expect("image");
        let truth = truth(&bench, &format!("{name}.txt")).concat();
        let turns = [(90, upright.rotate90()), (180, upright.rotate180()), (270, upright.rotate270())];
        for (degrees, turned) in turns {
            let path = folder.path().join(format!("{degrees}.png"));
            turned.save(&path).expect("save");
            let rate = rate(&bench.text(&path.to_string_lossy()), &truth);
            println!("{name} turned by {degrees}: {rate:.4}");
            assert!(rate <= limit, "{name} turned by {degrees}: {rate}");
        }
    }
}

#[test]
fn wrapped_words_are_whole_and_cells_are_apart() {
    let Some(mut bench) = corpus_bench() else { return };
    // A line of the scan ends within パッケージ, …
    let handbook = bench.text("ja/handbook-b.pdf");
    for word in ["何故パッケージが削除された", "バイナリパッケージが別のソースパッケージ"]
    {
        assert!(handbook.contains(word), "{word} in {handbook}");
    }
    let invoice = bench.text("ja/invoice.png");
    assert!(invoice.lines().any(|line| line == "品名\t数量\t単価\t金額"), "{invoice}");
}

/// The integration tests prove the outcomes through the whole path; this table adds time, memory and thumbnails.
#[test]
fn every_file_ends_in_pages_or_a_reason() {
    if env::var_os("CORPUS_TABLE").is_none() {
        println!("skipped: CORPUS_TABLE is not set");
        return;
    }
    let Some(mut bench) = corpus_bench() else { return };
    println!("{:<42} {:>5} {:<30} {:>5} {:>12}  text", "file", "pages", "sources or reason", "conf", "ms, peak MiB");
    for folder in ["pdf", "images", "office", "email"] {
        for file in files(&bench, folder) {
            // Forgets the peak so far (proc(5), clear_refs).
            fs::write("/proc/self/clear_refs", "5").expect("reset the peak");
            let started = Instant::now();
            let outcome = bench.pages(&file);
            let took = format!("{} {:>4}", started.elapsed().as_millis(), memory_mib("VmHWM"));
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
                    println!(
                        "{file:<42} {:>5} {:<30} {mean:>5.1} {took:>12}  {}: {head}",
                        pages.len(),
                        sources.join(" "),
                        text.chars().count()
                    );
                }
                Err(error) => println!(
                    "{file:<42}       {:<30} {took:>18}  {}",
                    error.failure.reason.as_str(),
                    error.failure.detail
                ),
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

/// Measures files of the caller's: `CER_OF=rotated.png:ja/invoice.png`, each with its truth beside it (`.txt`).
#[test]
fn error_rates_of_chosen_files() {
    let Ok(chosen) = env::var("CER_OF") else {
        println!("skipped: CER_OF is not set");
        return;
    };
    let Some(mut bench) = corpus_bench() else { return };
    for file in chosen.split(':') {
        let pages = bench.pages(file).expect("pages");
        let cost_ms: u32 = pages.iter().map(|page| page.cost_ms).sum();
        let read: String = pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n");
        let confidences: Vec<f32> = pages.iter().filter_map(|page| page.confidence).collect();
        let truth = fs::read_to_string(bench.folder.join(file).with_extension("txt"));
        let rate = truth.map_or_else(|_| "-".to_owned(), |truth| format!("{:.4}", rate(&read, &truth)));
        println!("{file:<42} {rate:>7} {cost_ms:>7} ms {:>6} characters {confidences:?}", read.chars().count());
    }
}

#[test]
fn memory_does_not_grow_with_pages() {
    let Some(mut bench) = corpus_bench() else { return };
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

#[test]
fn a_page_reads_the_same_whatever_came_before_and_nearly_so_with_less_effort() {
    let Some(mut bench) = corpus_bench() else { return };
    let truth = truth(&bench, "ja/handbook-b.txt");
    let document = bench.document("ja/handbook-b.pdf");
    let read = |bench: &mut Bench, effort| bench.worker.recognize(&document, 1, effort).expect("open").text;
    let first = read(&mut bench, Effort::Normal);
    bench.text("ja/vertical.png");
    bench.text("pdf/francais.pdf");
    assert_eq!(read(&mut bench, Effort::Normal), first);
    let reduced = rate(&read(&mut bench, Effort::Reduced), &truth[0]);
    println!("handbook-b page 1: {:.4}, with less effort {reduced:.4}", rate(&first, &truth[0]));
    assert!(reduced < 0.1, "{reduced}");
}
