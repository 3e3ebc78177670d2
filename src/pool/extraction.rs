//! What the pool makes of one spooled file: the parent's side of a document.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::document::{Failure, MetadataValue};
use crate::pool::protocol::Page;

/// A file in the spool, ready to be read by a child.
#[derive(Clone, Debug)]
pub struct Source {
    pub spool_file: PathBuf,
    /// The name it had, for its extension only.
    pub file_name: String,
    /// Whether a thumbnail is wanted.
    pub thumbnail: bool,
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
