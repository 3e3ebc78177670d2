//! A worker for tests that need pdfium and models; they are skipped with a message where those are missing.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pdfium_library::find_pdfium;
use super::{OpenError, Worker};
use crate::ocr::models::find_tessdata;
use crate::pool::protocol::{ChildSettings, DocumentRef, Effort, Page};

/// pdfium must not be entered by two threads, and tests run in threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub const LANGUAGE: &str = "jpn+eng";
pub const MAX_PIXELS: u64 = 400_000_000;

/// A worker and the folder that it reads from.
pub struct Bench {
    _only_one: MutexGuard<'static, ()>,
    pub folder: PathBuf,
    pub worker: Worker,
    next_id: u64,
}

impl Bench {
    /// `None` with a printed message where something is missing.
    pub fn start(folder: &Path) -> Option<Bench> {
        Self::with_archive_contents(folder, false)
    }

    /// The same with `ARCHIVE_CONTENTS` as said.
    pub fn with_archive_contents(folder: &Path, archive_contents: bool) -> Option<Bench> {
        let only_one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (pdfium_library, tessdata_dir) = match (find_pdfium(None), find_tessdata(None, LANGUAGE)) {
            (Ok(library), Ok(folder)) => (library, folder),
            (library, folder) => {
                println!("skipped: {:?} {:?}", library.err(), folder.err());
                return None;
            }
        };
        let settings = ChildSettings {
            spool_dir: folder.to_path_buf(),
            tessdata_dir,
            ocr_language: LANGUAGE.to_owned(),
            pdfium_library,
            pdf_dpi: 300,
            image_preprocessing: true,
            min_ocr_confidence: 50.0,
            max_pixels: MAX_PIXELS,
            archive_contents,
            memory_limit_bytes: 1 << 30,
            thumbnail_width: 200,
            thumbnail_height: 200,
            thumbnail_quality: 85,
        };
        let worker = Worker::start(&settings).expect("worker");
        Some(Bench { _only_one: only_one, folder: folder.to_path_buf(), worker, next_id: 1 })
    }

    pub fn document(&mut self, path: &str) -> DocumentRef {
        self.next_id += 1;
        let spool_file = self.folder.join(path);
        DocumentRef { id: self.next_id, spool_file, file_name: path.rsplit('/').next().unwrap_or(path).to_owned() }
    }

    /// All pages, as the parent would ask for them.
    pub fn pages(&mut self, path: &str) -> Result<Vec<Page>, OpenError> {
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

    pub fn text(&mut self, path: &str) -> String {
        let pages = self.pages(path).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}
