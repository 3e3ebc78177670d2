use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::*;
use crate::queue::lease::{Adoption, LeaseKeeper};

const VISIBILITY: Duration = Duration::from_secs(30);

struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn with(files: &[&str]) -> Self {
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(bed.root()).unwrap();
        for file in files {
            bed.write(file, file);
        }
        bed
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn write(&self, key: &str, content: &str) {
        let path = self.root().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn settings(&self) -> FolderQueueSettings {
        FolderQueueSettings {
            root: self.root(),
            state_dir: self.root().join("state"),
            bucket: "folder".to_owned(),
            known_keys: Vec::new(),
            visibility_timeout: VISIBILITY,
            watch_interval: None,
        }
    }

    fn start(&self) -> FolderQueue {
        FolderQueue::start(self.settings()).unwrap()
    }

    fn start_knowing(&self, keys: &[&str]) -> FolderQueue {
        let known_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        FolderQueue::start(FolderQueueSettings { known_keys, ..self.settings() }).unwrap()
    }
}

fn body(message: &ReceivedMessage) -> Value {
    serde_json::from_str(&message.body).unwrap()
}

/// `+key` for a file, `-key` for one that is gone.
fn change(message: &ReceivedMessage) -> String {
    let fields = body(message);
    if fields["eventType"] == "FILE_DELETED" {
        assert_eq!(fields["s3Bucket"], "folder");
        return format!("-{}", fields["s3Key"].as_str().unwrap());
    }
    assert_eq!(fields["bucket"], "folder");
    format!("+{}", fields["key"].as_str().unwrap())
}

/// Receives and deletes until the queue is exhausted.
async fn drain(queue: &FolderQueue) -> Vec<String> {
    let mut changes = Vec::new();
    while !queue.is_exhausted() {
        for message in queue.receive(3).await.unwrap() {
            changes.push(change(&message));
            queue.delete(&message.handle()).await.unwrap();
        }
    }
    changes
}

/// A receive may end empty-handed: the walk is a real thread, and a paused clock does not wait for it.
async fn receive_one(queue: &FolderQueue) -> ReceivedMessage {
    loop {
        if let Some(message) = queue.receive(1).await.unwrap().pop() {
            return message;
        }
        assert!(!queue.is_exhausted(), "nothing will come");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_file_comes_once_in_byte_order_without_hidden_ones_and_our_own() {
    let bed = Bed::with(&["b", "a/資料 1+2%.pdf", "a.txt", ".hidden", ".file-processor/x", "state/index"]);
    let queue = bed.start();
    assert_eq!(drain(&queue).await, ["+a.txt", "+a/資料 1+2%.pdf", "+b"]);
    assert_eq!(queue.progress().done, 3);
}

#[tokio::test]
async fn keys_of_the_index_whose_file_is_gone_are_deletions() {
    let bed = Bed::with(&["here", "folder/file"]);
    let queue = bed.start_knowing(&["gone", "here", "folder", "folder/file/was-a-folder", "../outside"]);
    let changes = drain(&queue).await;
    assert_eq!(changes, ["+folder/file", "+here", "-gone", "-folder", "-folder/file/was-a-folder", "-../outside"]);
}

#[tokio::test]
async fn a_root_that_cannot_be_read_is_an_error_and_no_mass_deletion() {
    let bed = Bed::with(&[]);
    fs::remove_dir(bed.root()).unwrap();
    assert!(FolderQueue::start(bed.settings()).is_err());
    assert!(!scan::is_gone(&bed.root(), "document"));
}

#[tokio::test]
async fn an_empty_folder_is_exhausted_at_once() {
    let bed = Bed::with(&[]);
    let queue = bed.start();
    assert!(drain(&queue).await.is_empty());
}

#[tokio::test]
async fn many_files_do_not_wait_in_memory_and_all_come() {
    let names: Vec<String> = (0..2000).map(|number| format!("{:02}/{number:04}", number % 50)).collect();
    let bed = Bed::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let queue = bed.start();
    let first = receive_one(&queue).await;
    assert!(queue.probe().await.unwrap().visible <= 256);
    queue.delete(&first.handle()).await.unwrap();
    let mut changes: BTreeSet<String> = drain(&queue).await.into_iter().collect();
    changes.insert(change(&first));
    assert_eq!(changes.len(), 2000);
    assert_eq!(queue.progress(), Progress { done: 2000, total: Some(2000) });
}

#[tokio::test(start_paused = true)]
async fn a_released_message_comes_again_after_the_delay_with_a_higher_count() {
    let bed = Bed::with(&["file"]);
    let queue = bed.start();
    let first = receive_one(&queue).await;
    queue.change_visibility(&first.handle(), Duration::from_secs(10)).await.unwrap();
    assert!(!queue.is_exhausted());
    let released_at = Instant::now();
    let second = receive_one(&queue).await;
    assert!(Instant::now() - released_at >= Duration::from_secs(10));
    assert_eq!((second.receive_count, second.message_id.as_str()), (2, first.message_id.as_str()));
    assert!(matches!(queue.delete(&first.handle()).await, Err(QueueError::LeaseLost)));
    assert!(matches!(queue.change_visibility(&first.handle(), VISIBILITY).await, Err(QueueError::LeaseLost)));
    queue.delete(&second.handle()).await.unwrap();
    assert!(drain(&queue).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_neither_extended_nor_settled_comes_again() {
    let bed = Bed::with(&["file"]);
    let queue = bed.start();
    receive_one(&queue).await;
    assert_eq!(receive_one(&queue).await.receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn after_five_receives_a_message_is_a_dead_letter() {
    let bed = Bed::with(&["poison", "z"]);
    let queue = bed.start();
    for _ in 0..MAX_RECEIVES {
        let message = receive_one(&queue).await;
        assert_eq!(change(&message), "+poison");
        queue.change_visibility(&message.handle(), Duration::ZERO).await.unwrap();
    }
    assert_eq!(drain(&queue).await, ["+z"]);
    assert_eq!(queue.dead_letters(), 1);
    assert_eq!(queue.progress().done, 2);
    let line: Value = serde_json::from_str(&fs::read_to_string(queue.dead_letter_file()).unwrap()).unwrap();
    assert_eq!((line["attempts"].as_u64(), line["reason"].as_str()), (Some(5), Some("crashed")));
}

#[tokio::test]
async fn a_dead_letter_is_a_line_that_says_why() {
    let bed = Bed::with(&["a", "b"]);
    let queue = Arc::new(bed.start());
    let keeper = LeaseKeeper::start(queue.clone(), VISIBILITY);
    for _ in 0..2 {
        let Adoption::New(lease) = keeper.lease(receive_one(&queue).await) else { panic!("new") };
        let failure = Failure::new(Reason::AccessDenied, "改行\nin it");
        lease.copy_to_dead_letter_queue(&failure).await.unwrap();
        lease.complete().await.unwrap();
    }
    assert!(queue.receive(1).await.unwrap().is_empty());
    assert!(queue.is_exhausted());
    let text = fs::read_to_string(queue.dead_letter_file()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["reason"], "access_denied");
    assert_eq!(lines[0]["detail"], "改行\nin it");
    assert!(lines[0]["body"].as_str().unwrap().contains("\"key\":\"a\""));
}

#[tokio::test]
async fn a_watch_speaks_only_of_what_changed() {
    let bed = Bed::with(&["kept", "changed", "removed"]);
    let watching = FolderQueueSettings {
        watch_interval: Some(Duration::from_millis(50)),
        known_keys: vec!["before".to_owned()],
        ..bed.settings()
    };
    let queue = FolderQueue::start(watching).unwrap();
    let mut first = BTreeSet::new();
    while first.len() < 4 {
        let message = receive_one(&queue).await;
        first.insert(change(&message));
        queue.delete(&message.handle()).await.unwrap();
    }
    assert_eq!(first.into_iter().collect::<Vec<_>>(), ["+changed", "+kept", "+removed", "-before"]);
    assert!(!queue.is_exhausted());

    bed.write("changed", "longer than before");
    bed.write("new/file", "x");
    fs::remove_file(bed.root().join("removed")).unwrap();
    let mut then = BTreeSet::new();
    while then.len() < 3 {
        let message = receive_one(&queue).await;
        then.insert(change(&message));
        queue.delete(&message.handle()).await.unwrap();
    }
    assert_eq!(then.into_iter().collect::<Vec<_>>(), ["+changed", "+new/file", "-removed"]);
}

#[tokio::test]
async fn a_sent_message_is_received() {
    let bed = Bed::with(&[]);
    let queue = bed.start();
    queue.send("{\"test\":true}").await.unwrap();
    assert_eq!(receive_one(&queue).await.body, "{\"test\":true}");
}
