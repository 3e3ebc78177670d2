//! What the pool makes of one spooled file: the parent's side of a document.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};

use crate::document::{Failure, MetadataValue};
use crate::pool::protocol::Page;
use crate::pool::work::Progress;

/// A file in the spool, ready to be read by a child.
#[derive(Clone, Debug)]
pub struct Source {
    pub spool_file: PathBuf,
    /// The name it had, for its extension only.
    pub file_name: String,
    /// Whether a thumbnail is wanted.
    pub thumbnail: bool,
    pub care: Care,
    /// Pages that an earlier attempt has read already; they are not read again.
    pub known_pages: Vec<Page>,
    pub observer: Observer,
}

impl Source {
    /// A file about which nothing is known yet, and nobody wants to be told anything.
    pub fn new(spool_file: PathBuf, file_name: impl Into<String>) -> Self {
        Self {
            spool_file,
            file_name: file_name.into(),
            thumbnail: false,
            care: Care::Normal,
            known_pages: Vec::new(),
            observer: Observer::default(),
        }
    }
}

/// How carefully a document is read: earlier attempts at it may have cost children, or the whole daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Care {
    Normal,
    /// While no other document is being read, in a fresh child, at lower resolution.
    Alone,
    /// The same, and only the text that the file itself holds; pages without any have failed for this reason.
    TextLayerOnly(Failure),
}

impl Care {
    /// Whether no other document may be read meanwhile: if this one takes the daemon with it, no other is blamed.
    pub fn is_exclusive(&self) -> bool {
        *self != Care::Normal
    }
}

/// What has happened to a document so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// A child has had some of it.
    pub started: bool,
    /// The first loss of a child while it opened this document or read a page of it.
    pub guilt: Option<Failure>,
}

/// Where the pool tells about a document while it is read.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    pub progress: watch::Sender<Progress>,
    pub standing: watch::Sender<Standing>,
    /// Recognised pages, as long as there is room in the channel: what does not fit is read again some day.
    pub pages: Option<mpsc::Sender<Page>>,
}

/// All that could be had of one file. Never an error: a file that cannot be read is a `failure` with a reason.
#[derive(Clone, Debug, Default)]
pub struct Extraction {
    /// From the content; `None` when the first look failed to tell.
    pub mime_type: Option<String>,
    /// Pages in the document before any limit; `None` when unknown or when the format has no pages.
    pub page_count: Option<u32>,
    pub metadata: BTreeMap<String, MetadataValue>,
    /// In order, one per page that was tried; failed pages are among them.
    pub pages: Vec<Page>,
    /// JPEG, or `None`: not wanted, the format has none, or it failed.
    pub thumbnail: Option<Vec<u8>>,
    /// The document as a whole could not be read, or was stopped (`timeout`, `too_many_pages`): with pages
    /// present the document is partial, without any it has no text.
    pub failure: Option<Failure>,
}
