use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;

struct Bed {
    folder: tempfile::TempDir,
    store: DirStore,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let store = DirStore::open(&folder.path().join("root"), &folder.path().join("state")).unwrap();
        Self { folder, store }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("root").join(key)
    }

    fn write(&self, key: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(key).parent().unwrap()).unwrap();
        fs::write(self.path(key), bytes).unwrap();
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spooled")
    }
}

#[tokio::test]
async fn a_file_is_found_and_fetched_under_every_kind_of_name() {
    let bed = Bed::new();
    for key in ["資料/道路 橋.pdf", "a+b%20c#?.txt", "が.txt", "deep/er/still", "..draft"] {
        bed.write(key, key.as_bytes());
        let state = bed.store.head("ignored", key).await.unwrap();
        assert_eq!(state.size_bytes, key.len() as u64);
        let fetched = bed.store.fetch("ignored", key, &state, &bed.spool()).await.unwrap();
        assert_eq!(fetched.content_sha256, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(key)));
        assert_eq!(fs::read(bed.spool()).unwrap(), key.as_bytes());
        fs::remove_file(bed.spool()).unwrap();
        let url: Url = bed.store.object_url("ignored", key).parse().unwrap();
        assert_eq!(fs::read(url.to_file_path().unwrap()).unwrap(), key.as_bytes(), "{url}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_found_by_its_percent_form() {
    let bed = Bed::new();
    let name = OsStr::from_bytes(b"\x93\xb9\x98\x48.txt");
    fs::write(bed.folder.path().join("root").join(name), "x").unwrap();
    let key = folder_key::key_of(Path::new(name));
    assert_eq!(bed.store.head("", &key).await.unwrap().size_bytes, 1);
    let url: Url = bed.store.object_url("", &key).parse().unwrap();
    assert_eq!(url.to_file_path().unwrap().file_name(), Some(name));
}

#[tokio::test]
async fn what_is_no_regular_file_below_the_folder_is_not_found() {
    let bed = Bed::new();
    bed.write("folder/file", b"x");
    fs::write(bed.folder.path().join("secret"), "x").unwrap();
    symlink(bed.folder.path(), bed.path("link")).unwrap();
    symlink(bed.path("folder/file"), bed.path("file-link")).unwrap();
    for key in ["missing", "folder", "folder/file/deeper", "link/secret", "file-link", "../secret", "/etc/hostname", ""]
    {
        assert!(matches!(bed.store.head("", key).await, Err(StoreError::NotFound)), "{key:?}");
    }
    let long_key = "x".repeat(5000);
    assert!(matches!(bed.store.head("", &long_key).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_pipe_does_not_hang_the_store() {
    let bed = Bed::new();
    let made = std::process::Command::new("mkfifo").arg(bed.path("pipe")).status().unwrap();
    assert!(made.success());
    assert!(matches!(bed.store.head("", "pipe").await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_file_that_differs_from_what_head_said_has_changed() {
    let bed = Bed::new();
    bed.write("file", b"first");
    let state = bed.store.head("", "file").await.unwrap();
    bed.write("file", b"second, longer");
    let fetched = bed.store.fetch("", "file", &state, &bed.spool()).await;
    assert!(matches!(fetched, Err(StoreError::Changed)), "{fetched:?}");
    assert!(!bed.spool().exists());

    let same_size_state = bed.store.head("", "file").await.unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    fs::File::options().write(true).open(bed.path("file")).unwrap().set_modified(later).unwrap();
    let refetched = bed.store.fetch("", "file", &same_size_state, &bed.spool()).await;
    assert!(matches!(refetched, Err(StoreError::Changed)));
    fs::remove_file(bed.path("file")).unwrap();
    let gone = bed.store.fetch("", "file", &same_size_state, &bed.spool()).await;
    assert!(matches!(gone, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn what_may_not_be_read_is_access_denied() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may read everything");
        return;
    }
    let bed = Bed::new();
    bed.write("locked/file", b"x");
    let state = bed.store.head("", "locked/file").await.unwrap();
    fs::set_permissions(bed.path("locked/file"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(bed.store.fetch("", "locked/file", &state, &bed.spool()).await, Err(StoreError::AccessDenied)));
    fs::set_permissions(bed.path("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(bed.store.head("", "locked/file").await, Err(StoreError::AccessDenied)));
    fs::set_permissions(bed.path("locked"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn permission_trouble_is_the_files_and_other_trouble_the_stores() {
    let path = Path::new("x");
    let denied = store_error("open file", path, io::Error::from_raw_os_error(libc::EACCES));
    assert!(matches!(denied, StoreError::AccessDenied));
    let broken = store_error("read file", path, io::Error::from_raw_os_error(libc::EIO));
    assert!(matches!(broken, StoreError::Unavailable(_)));
}

#[tokio::test]
async fn thumbnails_live_in_the_state_folder_whatever_the_key_looks_like() {
    let bed = Bed::new();
    let long_key = format!("thumbnails/{}_0123abcd_thumb.jpg", "橋".repeat(80));
    for key in ["thumbnails/図面 1_0123abcd_thumb.jpg", long_key.as_str()] {
        bed.store.put_thumbnail(key, b"first".to_vec()).await.unwrap();
        bed.store.put_thumbnail(key, b"jpeg".to_vec()).await.unwrap();
        let url: Url = bed.store.thumbnail_url(key).parse().unwrap();
        let path = url.to_file_path().unwrap();
        assert!(path.starts_with(bed.folder.path().join("state/thumbnails")), "{}", path.display());
        assert!(path.to_str().unwrap().ends_with("_0123abcd_thumb.jpg"));
        assert_eq!(fs::read(&path).unwrap(), b"jpeg");
        bed.store.delete_thumbnail(key).await.unwrap();
        assert!(!path.exists());
        bed.store.delete_thumbnail(key).await.unwrap();
    }
    assert!(bed.store.put_thumbnail("thumbnails/../../x", Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_folder_that_went_away_is_the_stores_trouble() {
    let bed = Bed::new();
    bed.store.probe().await.unwrap();
    fs::remove_dir(bed.folder.path().join("root")).unwrap();
    assert!(matches!(bed.store.probe().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn state_objects_are_listed_read_and_removed() {
    crate::store::state_tests::state_is_listed_in_order_read_and_removed(&Bed::new().store).await;
}
