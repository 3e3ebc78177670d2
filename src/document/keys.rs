//! What a key says by itself: names, ids, and whether it is ours to process.

use md5::{Digest, Md5};
use sha2::Sha256;

/// OpenSearch refuses an `_id` of more bytes.
pub const MAX_DOCUMENT_ID_BYTES: usize = 512;

/// The longest key that S3 knows, in bytes of UTF-8 (S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_KEY_BYTES: usize = 1024;

/// Longer "extensions" are the rest of a sentence (`Ver.2 について`), not a file type.
const MAX_EXTENSION_CHARS: usize = 16;

/// Where thumbnails are in their bucket (contract §3).
const THUMBNAIL_PREFIX: &str = "thumbnails/";

/// Keys that are recognised no-ops (contract §1): thumbnails and previews, which other programs and we ourselves
/// write, and folder markers.
pub fn ignored_key(key: &str) -> bool {
    key.starts_with(THUMBNAIL_PREFIX)
        || key.starts_with("previews/")
        || key.contains("/thumbnails/")
        || key.ends_with('/')
}

/// The `_id` of a key's document (contract §3): the key itself, or its hash where OpenSearch has no room for it.
pub fn document_id(key: &str) -> String {
    if key.len() <= MAX_DOCUMENT_ID_BYTES {
        return key.to_owned();
    }
    format!("sha256:{}", hex::encode(Sha256::digest(key)))
}

/// The key of a document's thumbnail (contract §3): `thumbnails/{stem}_{first 8 of md5(key)}_thumb.jpg`. A stem that
/// would make it longer than S3 allows is cut; the hash keeps it apart from others.
pub fn thumbnail_key(key: &str) -> String {
    let ending = format!("_{}_thumb.jpg", &hex::encode(Md5::digest(key))[..8]);
    let stem = split_extension(file_name(key)).0;
    let room = MAX_KEY_BYTES - THUMBNAIL_PREFIX.len() - ending.len();
    format!("{THUMBNAIL_PREFIX}{}{ending}", &stem[..stem.floor_char_boundary(room)])
}

/// The last part of the key; of a folder marker, the folder's name.
pub fn file_name(key: &str) -> &str {
    let trimmed = key.trim_end_matches('/');
    trimmed.rsplit_once('/').map_or(trimmed, |(_, name)| name)
}

/// `.pdf`: lower case, with the dot (contract §3); `None` without one.
pub fn extension(file_name: &str) -> Option<String> {
    split_extension(file_name).1.map(|extension| format!(".{}", extension.to_ascii_lowercase()))
}

/// The stem and what follows the last dot, if that is an extension: a few ASCII letters and digits with a name
/// before them (`.gitignore` is a name, not an extension).
fn split_extension(file_name: &str) -> (&str, Option<&str>) {
    match file_name.rsplit_once('.') {
        Some((stem, extension))
            if !stem.is_empty()
                && (1..=MAX_EXTENSION_CHARS).contains(&extension.len())
                && extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            (stem, Some(extension))
        }
        _ => (file_name, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thumbnails_previews_and_folder_markers_are_ignored() {
        for key in [
            "thumbnails/a_thumb.jpg",
            "previews/a/1.png",
            "documents/road/thumbnails/a.jpg",
            "documents/",
            "documents/road/図面/",
        ] {
            assert!(ignored_key(key), "{key}");
        }
        for key in [
            "documents/road/a.pdf",
            "documents/previews.pdf",
            "documents/previews/a.pdf",
            "my-thumbnails/a.jpg",
            "documents/thumbnails.pdf",
            "Thumbnails/a.pdf",
            "a/../b",
            "checkpoints/a.pdf",
        ] {
            assert!(!ignored_key(key), "{key}");
        }
    }

    #[test]
    fn a_document_id_is_the_key_up_to_512_bytes() {
        assert_eq!(document_id("documents/図面+%20.pdf"), "documents/図面+%20.pdf");
        let fits = "あ".repeat(170) + "xx";
        assert_eq!(document_id(&fits), fits);
        let too_long = fits + "x";
        let id = document_id(&too_long);
        assert_eq!(id.len(), "sha256:".len() + 64);
        assert_eq!(id, document_id(&too_long));
        assert_ne!(id, document_id(&(too_long + "y")));
        assert_eq!(
            document_id(&"a".repeat(600)),
            "sha256:ba35c170729417f1499e0886e7e12fcdb4ab00ad411110ae1e888c766d4ed70d",
            "as sha256sum says"
        );
    }

    #[test]
    fn file_names_and_extensions() {
        for (key, name, expected) in [
            ("documents/road/報告書.PDF", "報告書.PDF", Some(".pdf")),
            ("a.tar.gz", "a.tar.gz", Some(".gz")),
            ("a/README", "README", None),
            ("a/.gitignore", ".gitignore", None),
            ("a/.hidden.txt", ".hidden.txt", Some(".txt")),
            ("a/name.", "name.", None),
            ("a/第1回.議事録", "第1回.議事録", None),
            ("a/Ver.2 について", "Ver.2 について", None),
            ("a/b..", "b..", None),
            ("a/ .xls", " .xls", Some(".xls")),
            ("a/folder/", "folder", None),
            ("", "", None),
        ] {
            assert_eq!(file_name(key), name, "{key}");
            assert_eq!(extension(file_name(key)).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn thumbnail_keys_hold_stem_and_hash_of_the_literal_key() {
        // The hashes are from md5sum.
        for (key, expected) in [
            ("a.pdf", "thumbnails/a_49b732e3_thumb.jpg"),
            ("documents/road/図面.pdf", "thumbnails/図面_eebc97f4_thumb.jpg"),
            ("x/a+b %.tar.gz", "thumbnails/a+b %.tar_35dc0990_thumb.jpg"),
        ] {
            assert_eq!(thumbnail_key(key), expected);
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let key = format!("{}.pdf", "図".repeat(339));
        let thumbnail = thumbnail_key(&key);
        assert!((1022..=1024).contains(&thumbnail.len()), "{} bytes", thumbnail.len());
        assert!(thumbnail.ends_with("_thumb.jpg"));
    }

    proptest! {
        #[test]
        fn any_key_has_names_within_the_limits(key in "\\PC{0,400}") {
            prop_assert!(thumbnail_key(&key).len() <= MAX_KEY_BYTES);
            prop_assert!(document_id(&key).len() <= MAX_DOCUMENT_ID_BYTES);
            prop_assert!(extension(file_name(&key)).is_none_or(|extension| extension.len() <= 17));
        }
    }
}
