//! DocuWorks files and their converted PDFs (contract §5): whatever comes first, is overwritten or goes away, the text
//! stands in the original's document, and in the PDF's own only where there is no original.

use serde_json::{Value, json};

use crate::bodies::{Change, Kind};
use crate::harness::{Daemon, World};
use crate::pdf;

const XDW: &str = "documents/road/ts-server3/橋梁/図面 1.xdw";
const XBD: &str = "documents/road/ts-server3/橋梁/図面 1.xbd";
const PDF: &str = "docuworks-converted/road/ts-server3/橋梁/図面 1.pdf";
/// Not a DocuWorks file, and nobody looks.
const ORIGINAL_BYTES: &str = "DocuWorks";

struct Family {
    world: World,
    daemon: Daemon,
}

impl Family {
    async fn new(name: &str) -> Self {
        let world = World::new(name).await;
        let daemon = world.daemon().await;
        Self { world, daemon }
    }

    /// An original, announced as S3 does.
    async fn put(&self, key: &str) {
        self.world.put(key, ORIGINAL_BYTES).await;
        self.tell(Change::Put, key).await;
    }

    /// A converted PDF with one line of text, announced as the converter does (contract §1 kind 3).
    async fn convert(&self, line: &str) {
        self.world.put(PDF, pdf::with_text(&[line])).await;
        let body = json!({
            "eventType": "S3_OBJECT_CREATED", "s3Bucket": self.world.bucket, "s3Key": PDF, "processingRequired": true,
            "fileName": "図面 1.pdf", "fileExtension": ".pdf", "source": "docuworks-converter",
            "nasServer": "ts-server3", "category": "road",
        });
        self.world.send(body).await;
        self.world.wait_until_settled().await;
    }

    async fn remove(&self, key: &str) {
        self.world.remove(key).await;
        self.tell(Change::Delete, key).await;
    }

    async fn tell(&self, change: Change, key: &str) {
        self.world.send(Kind::EventBridge.body(change, &self.world.bucket, key, Some("0055AE"))).await;
        self.world.wait_until_settled().await;
    }

    /// The only documents of the three keys are these, with a text that holds the words; `None`: metadata only.
    async fn assert_documents(&self, what: &str, expected: &[(&str, Option<&str>)]) {
        for key in [XDW, XBD, PDF] {
            let document = self.world.document(key).await;
            let Some((_, words)) = expected.iter().find(|(expected_key, _)| *expected_key == key) else {
                assert_eq!(document, None, "{what}: no document under {key}");
                continue;
            };
            let document = document.unwrap_or_else(|| panic!("{what}: no document {key}\n{}", self.daemon.log_text()));
            let text = document["extracted_text"].as_str();
            match words {
                Some(words) => {
                    assert!(text.is_some_and(|text| text.contains(words)), "{what}: {key} has the text {text:?}");
                    assert_eq!(document["outcome"], "indexed", "{what}: {key}");
                }
                None => {
                    assert_eq!((text, &document["reason"]), (None, &json!("metadata_only")), "{what}: {key}");
                    assert_eq!(document["thumbnail_url"], Value::Null, "{what}: {key}");
                }
            }
        }
        assert_eq!(self.world.dead_letter_count().await, 0, "{what}");
    }

    async fn thumbnails(&self) -> usize {
        let listing = self.world.s3.list_objects_v2().bucket(&self.world.thumbnail_bucket).send().await;
        listing.expect("list thumbnails").contents.unwrap_or_default().len()
    }
}

#[tokio::test]
async fn the_text_of_a_later_conversion_comes_into_the_original_s_document() {
    let family = Family::new("docuworks-later").await;
    family.put(XDW).await;
    family.assert_documents("before the conversion", &[(XDW, None)]).await;
    family.convert("girder drawing").await;
    family.assert_documents("after it", &[(XDW, Some("girder drawing"))]).await;
    assert_eq!(family.thumbnails().await, 1);

    let document = family.world.document(XDW).await.expect("a document");
    let head = family.world.s3.head_object().bucket(&family.world.bucket).key(XDW).send().await.expect("head");
    assert_eq!(document["etag"], head.e_tag().unwrap_or_default().trim_matches('"'));
    assert_eq!(document["file_size"], ORIGINAL_BYTES.len());
    assert_eq!(document["file_key"], XDW);
    assert_eq!(document["file_name"], "図面 1.xdw");
    assert_eq!((&document["file_type"], &document["file_extension"]), (&json!(".xdw"), &json!(".xdw")));
    assert_eq!(document["s3_url"], format!("s3://{}/{XDW}", family.world.bucket));
    assert_eq!(document["nas_path"], r"\\ts-server3\橋梁\図面 1.xdw");
    assert_eq!(document["category"], "road");
    assert_eq!((&document["page_count"], &document["pages_text"]), (&json!(1), &json!(1)));
    assert_eq!(document["mime_type"], Value::Null, "nobody has looked into the original");

    family.convert("corrected drawing").await;
    family.assert_documents("after a second conversion", &[(XDW, Some("corrected drawing"))]).await;

    family.remove(PDF).await;
    family.assert_documents("without the PDF", &[(XDW, None)]).await;
    assert_eq!(family.thumbnails().await, 0);
}

#[tokio::test]
async fn a_pdf_that_came_first_gives_its_document_up_to_the_original_and_gets_it_back() {
    let family = Family::new("docuworks-first").await;
    family.convert("bearing plan").await;
    family.assert_documents("alone", &[(PDF, Some("bearing plan"))]).await;
    family.put(XDW).await;
    family.assert_documents("with its original", &[(XDW, Some("bearing plan"))]).await;
    assert_eq!(family.thumbnails().await, 1, "the PDF's own is gone");
    family.remove(XDW).await;
    family.assert_documents("alone again", &[(PDF, Some("bearing plan"))]).await;
    family.remove(PDF).await;
    family.assert_documents("all gone", &[]).await;
    assert_eq!(family.thumbnails().await, 0);
}

#[tokio::test]
async fn of_two_originals_the_xdw_has_the_pdf() {
    let family = Family::new("docuworks-binder").await;
    family.put(XBD).await;
    family.convert("pier section").await;
    family.assert_documents("a binder", &[(XBD, Some("pier section"))]).await;
    family.put(XDW).await;
    family.assert_documents("both", &[(XDW, Some("pier section")), (XBD, None)]).await;
    family.remove(XDW).await;
    family.assert_documents("the binder again", &[(XBD, Some("pier section"))]).await;
}

#[tokio::test]
async fn both_at_once_and_in_whatever_order_their_messages_come() {
    let family = Family::new("docuworks-together").await;
    let world = &family.world;
    world.put(XDW, ORIGINAL_BYTES).await;
    world.put(PDF, pdf::with_text(&["abutment"])).await;
    for key in [PDF, XDW, PDF, XDW] {
        world.send(json!({ "key": key })).await;
    }
    world.wait_until_settled().await;
    family.assert_documents("both", &[(XDW, Some("abutment"))]).await;
    let first = world.document(XDW).await.expect("a document");
    family.tell(Change::Put, XDW).await;
    assert_eq!(world.document(XDW).await, Some(first), "what is unchanged is not read again");

    // The message of a deletion whose object is there again, and of a PDF without bytes.
    family.tell(Change::Delete, PDF).await;
    family.assert_documents("a stale deletion", &[(XDW, Some("abutment"))]).await;
    world.put(PDF, "").await;
    family.tell(Change::Put, PDF).await;
    family.assert_documents("an empty PDF is as good as none", &[(XDW, None)]).await;
}

#[tokio::test]
async fn a_pdf_that_cannot_be_read_leaves_the_original_findable_with_the_reason() {
    let family = Family::new("docuworks-broken").await;
    family.put(XDW).await;
    family.world.put(PDF, "%PDF-1.7 and nothing more").await;
    family.tell(Change::Put, PDF).await;
    let document = family.world.document(XDW).await.expect("a document");
    assert_eq!(document["outcome"], "indexed_without_text");
    assert_eq!((&document["reason"], &document["success"]), (&json!("corrupt"), &json!(false)));
    assert_eq!(family.world.document(PDF).await, None);
    family.convert("mended").await;
    family.assert_documents("after a conversion that worked", &[(XDW, Some("mended"))]).await;
}

#[tokio::test]
async fn what_only_the_scanner_s_message_told_outlives_the_conversion() {
    let family = Family::new("docuworks-told").await;
    family.world.put(XDW, ORIGINAL_BYTES).await;
    let body = json!({
        "eventType": "FILE_UPLOADED", "s3Bucket": family.world.bucket, "s3Key": XDW, "fileSize": ORIGINAL_BYTES.len(),
        "originalPath": r"\\ts-server5\share\橋梁\図面 1.xdw", "metadata": {"modifiedAt": "2019-05-01T12:00:00+09:00"},
    });
    family.world.send(body).await;
    family.world.wait_until_settled().await;
    for what in ["as the scanner told it", "after a conversion", "without the PDF"] {
        match what {
            "after a conversion" => family.convert("girder drawing").await,
            "without the PDF" => family.remove(PDF).await,
            _ => {}
        }
        let document = family.world.document(XDW).await.expect("a document");
        assert_eq!(document["nas_path"], r"\\ts-server5\share\橋梁\図面 1.xdw", "{what}");
        assert_eq!(
            (&document["nas_server"], &document["root_folder"]),
            (&json!("ts-server5"), &json!("share")),
            "{what}"
        );
        assert_eq!(document["modified_at"], "2019-05-01T03:00:00Z", "{what}");
        assert_eq!(document["created_at"], document["modified_at"], "{what}");
    }
}
