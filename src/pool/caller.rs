//! Who waits for a document, and what the dispatcher tells them while it is read.

use tokio::sync::oneshot;

use crate::document::Failure;
use crate::pool::extraction::{Extraction, Observer};
use crate::pool::protocol::{DocumentRef, Page};
use crate::pool::work::Progress;

/// Who waits for a document.
pub struct Caller {
    pub document: DocumentRef,
    pub observer: Observer,
    /// Told once that a page needs OCR, where somebody wants to decide that.
    pub needs_ocr: Option<oneshot::Sender<()>>,
    pub reply: oneshot::Sender<Extraction>,
}

impl Caller {
    /// Asks, once, whether a document's pages are to be recognised.
    pub fn ask(&mut self) {
        if let Some(needs_ocr) = self.needs_ocr.take() {
            // Whoever is gone cancels the document.
            let _ = needs_ocr.send(());
        }
    }

    pub fn tell_progress(&self, progress: Progress) {
        self.observer.progress.send_replace(progress);
    }

    pub fn tell_started(&self) {
        self.observer.standing.send_if_modified(|standing| !std::mem::replace(&mut standing.started, true));
    }

    pub fn tell_guilt(&self, failure: &Failure) {
        self.observer.standing.send_if_modified(|standing| {
            let is_first = standing.guilt.is_none();
            standing.guilt.get_or_insert_with(|| failure.clone());
            is_first
        });
    }

    pub fn tell_page(&self, page: &Page) {
        if let Some(pages) = &self.observer.pages {
            // Nobody waits for room here: a page that is not remembered is read again.
            let _ = pages.try_send(page.clone());
        }
    }
}
