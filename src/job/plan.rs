//! What is done with an object, decided by its key and its state before a byte of it is fetched (contract §1, §2, §5).
//!
//! Only the extension is known here, so it decides only what must be decided without the content: what is never
//! downloaded, and how large a file may be. Everything else is fetched, and then the content decides.

use crate::config::{FileSizeLimits, MEGABYTE};
use crate::document::{Failure, Reason, keys};
use crate::store::ObjectState;

/// The next step for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// No document: `ignored_key` is a no-op; `empty` also removes the document that stands under the key.
    Skip(Reason),
    /// The document is written from what is known without the content.
    WithoutDownload(Failure),
    /// Fetch it and look.
    Fetch,
}

/// Decides by extension, size and storage class.
///
/// The order matters where two rules fit: what is never downloaded is so at any size and in any storage class, and
/// a file over the limit would not be read after a costly restore either.
pub fn plan(key: &str, state: &ObjectState, limits: &FileSizeLimits) -> Plan {
    if keys::ignored_key(key) {
        return Plan::Skip(Reason::IgnoredKey);
    }
    if state.size_bytes == 0 {
        return Plan::Skip(Reason::Empty);
    }
    let dotted_extension = keys::extension(keys::file_name(key)).unwrap_or_default();
    let extension = dotted_extension.trim_start_matches('.');
    if let Some(family) = metadata_only_family(extension) {
        let detail = format!("{family} ({dotted_extension}) are indexed by name and path only.");
        return Plan::WithoutDownload(Failure::new(Reason::MetadataOnly, detail));
    }
    let limit = size_limit(extension, limits);
    if state.size_bytes > limit.bytes {
        return Plan::WithoutDownload(Failure::new(Reason::TooLarge, limit.sentence(state.size_bytes)));
    }
    if state.archived {
        let detail = "The file is in an archive storage class and has to be restored before it can be read.";
        return Plan::WithoutDownload(Failure::new(Reason::ArchivedStorageClass, detail));
    }
    Plan::Fetch
}

/// Files up to this size are fetched with the first look at them, where [`is_mostly_small`] says that they may be so.
pub const SMALL_FILE_BYTES: u64 = 64 * 1024;
const MOSTLY_SMALL: [&str; 13] =
    [".txt", ".csv", ".tsv", ".log", ".md", ".rst", ".html", ".htm", ".xml", ".json", ".yaml", ".yml", ".eml"];

/// Whether files of this extension are small, as a rule: texts.
pub fn is_mostly_small(key: &str) -> bool {
    keys::extension(keys::file_name(key)).is_some_and(|extension| MOSTLY_SMALL.contains(&extension.as_str()))
}

/// Whether the extension promises pages that may have to be recognised.
pub fn may_need_ocr(key: &str) -> bool {
    let dotted_extension = keys::extension(keys::file_name(key)).unwrap_or_default();
    matches!(
        dotted_extension.as_str(),
        ".pdf" | ".jpg" | ".jpeg" | ".png" | ".bmp" | ".gif" | ".tif" | ".tiff" | ".webp"
    )
}

/// The family of formats that are never downloaded (contract §5), in words; `None` for every other extension.
fn metadata_only_family(extension: &str) -> Option<&'static str> {
    match extension {
        "sfc" | "bvf" | "dwg" | "dxf" | "jww" | "jwc" => Some("CAD drawings"),
        "xdw" | "xbd" => Some("DocuWorks files"),
        "rar" | "lzh" => Some("Archives"),
        "iso" => Some("Disk images"),
        "exe" | "dll" | "msi" => Some("Programs"),
        "mp4" | "m4v" | "mov" | "avi" | "wmv" | "mkv" | "mpg" | "mpeg" | "flv" | "webm" | "3gp" | "mts" | "m2ts"
        | "vob" => Some("Videos"),
        "mp3" | "wav" | "wma" | "m4a" | "aac" | "flac" | "ogg" | "aif" | "aiff" => Some("Audio files"),
        _ => None,
    }
}

/// A limit and the variable that sets it.
struct SizeLimit {
    variable: &'static str,
    bytes: u64,
}

impl SizeLimit {
    /// Why a file of this size is not read, and what an operator would have to change.
    fn sentence(&self, size_bytes: u64) -> String {
        let size_mb = size_bytes as f64 / MEGABYTE as f64;
        let limit_mb = self.bytes / MEGABYTE;
        format!("The file has {size_mb:.1} MB ({size_bytes} bytes), more than {}={limit_mb} allows.", self.variable)
    }
}

/// The limit for the kind of file that the extension promises (contract §2).
fn size_limit(extension: &str, limits: &FileSizeLimits) -> SizeLimit {
    match extension {
        "pdf" => SizeLimit { variable: "MAX_PDF_SIZE_MB", bytes: limits.pdf_bytes },
        "jpg" | "jpeg" | "png" | "bmp" | "gif" | "tif" | "tiff" | "webp" => {
            SizeLimit { variable: "MAX_IMAGE_SIZE_MB", bytes: limits.image_bytes }
        }
        "docx" | "xlsx" | "pptx" | "docm" | "xlsm" | "pptm" | "doc" | "xls" | "ppt" | "odt" | "ods" | "odp" | "rtf" => {
            SizeLimit { variable: "MAX_OFFICE_SIZE_MB", bytes: limits.office_bytes }
        }
        _ => SizeLimit { variable: "MAX_FILE_SIZE_MB", bytes: limits.file_bytes },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    const LIMITS: FileSizeLimits = FileSizeLimits {
        file_bytes: 4 * MEGABYTE,
        image_bytes: MEGABYTE,
        pdf_bytes: 2 * MEGABYTE,
        office_bytes: 3 * MEGABYTE,
    };

    fn state(size_bytes: u64) -> ObjectState {
        ObjectState {
            etag: "e".to_owned(),
            size_bytes,
            last_modified: Timestamp::UNIX_EPOCH,
            version_id: None,
            archived: false,
            user_metadata: BTreeMap::new(),
        }
    }

    fn reason_without_download(plan: &Plan) -> Option<Reason> {
        match plan {
            Plan::WithoutDownload(failure) => Some(failure.reason),
            _ => None,
        }
    }

    #[test]
    fn keys_that_are_not_ours_and_empty_files_are_skipped() {
        for key in ["thumbnails/a.jpg", "previews/a.png", "documents/thumbnails/a.jpg", "documents/folder/"] {
            assert_eq!(plan(key, &state(0), &LIMITS), Plan::Skip(Reason::IgnoredKey), "{key}");
        }
        for key in ["a.pdf", "a.iso", "README"] {
            assert_eq!(plan(key, &state(0), &LIMITS), Plan::Skip(Reason::Empty), "{key}");
        }
    }

    #[test]
    fn what_may_have_text_is_fetched() {
        for name in [
            "a.pdf",
            "a.PDF",
            "a.jpg",
            "a.tiff",
            "a.webp",
            "a.docx",
            "a.xls",
            "a.rtf",
            "a.txt",
            "a.csv",
            "a.html",
            "a.eml",
            "a.msg",
            "README",
            ".gitignore",
            "a.unknown",
            "a.zip.txt",
            "a.zip",
            "a.7z",
            "a.tar",
            "a.tar.gz",
            "a.tgz",
            "図面.dwg.pdf",
        ] {
            assert_eq!(plan(name, &state(1), &LIMITS), Plan::Fetch, "{name}");
        }
    }

    #[test]
    fn some_families_are_never_downloaded_whatever_their_size() {
        for name in [
            "a.sfc", "a.bvf", "a.dwg", "a.DXF", "a.jww", "a.jwc", "a.xdw", "a.xbd", "a.rar", "a.lzh", "a.iso", "a.exe",
            "a.dll", "a.msi", "a.mp4", "a.mov", "a.avi", "a.wmv", "a.mp3", "a.wav",
        ] {
            for size_bytes in [1, 4_000_000_000] {
                let archived = ObjectState { archived: true, ..state(size_bytes) };
                for object in [state(size_bytes), archived] {
                    let found = plan(name, &object, &LIMITS);
                    assert_eq!(reason_without_download(&found), Some(Reason::MetadataOnly), "{name}");
                }
            }
        }
    }

    #[test]
    fn each_kind_has_its_own_size_limit() {
        for (name, variable, limit) in [
            ("a.png", "MAX_IMAGE_SIZE_MB=1", LIMITS.image_bytes),
            ("a.Pdf", "MAX_PDF_SIZE_MB=2", LIMITS.pdf_bytes),
            ("a.xlsx", "MAX_OFFICE_SIZE_MB=3", LIMITS.office_bytes),
            ("a.txt", "MAX_FILE_SIZE_MB=4", LIMITS.file_bytes),
            ("README", "MAX_FILE_SIZE_MB=4", LIMITS.file_bytes),
        ] {
            assert_eq!(plan(name, &state(limit), &LIMITS), Plan::Fetch, "{name} of exactly the limit");
            match plan(name, &state(limit + 1), &LIMITS) {
                Plan::WithoutDownload(failure) => {
                    assert_eq!(failure.reason, Reason::TooLarge, "{name}");
                    assert!(failure.detail.contains(variable), "{}", failure.detail);
                }
                other => panic!("{name} became {other:?}"),
            }
        }
    }

    #[test]
    fn archived_objects_are_not_fetched_and_large_ones_not_worth_a_restore() {
        let archived = ObjectState { archived: true, ..state(1) };
        assert_eq!(reason_without_download(&plan("a.pdf", &archived, &LIMITS)), Some(Reason::ArchivedStorageClass));
        let archived_and_large = ObjectState { archived: true, ..state(500 * MEGABYTE) };
        assert_eq!(reason_without_download(&plan("a.pdf", &archived_and_large, &LIMITS)), Some(Reason::TooLarge));
    }
}
