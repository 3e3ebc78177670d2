//! The document of contract §3, field by field.

use std::collections::BTreeMap;

use super::*;
use crate::document::{MetadataValue, Reason};
use crate::event::EventKind;

const KEY: &str = "documents/road/ts-server3/橋梁/報告書 2024.PDF";

fn timestamp(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn state() -> ObjectState {
    ObjectState {
        etag: "etag-1".to_owned(),
        size_bytes: 1234,
        last_modified: timestamp("2024-06-01T00:00:00Z"),
        version_id: Some("version-1".to_owned()),
        archived: false,
        user_metadata: BTreeMap::new(),
    }
}

fn event() -> ObjectEvent {
    ObjectEvent {
        kind: EventKind::Upsert,
        bucket: "b".to_owned(),
        key: KEY.to_owned(),
        decoded_key: None,
        sequencer: Some("0055AE".to_owned()),
        original_path: None,
        modified_at: None,
        category: None,
        nas_server: None,
    }
}

fn page(number: u32, source: PageSource, confidence: Option<f32>, text: &str) -> Page {
    Page { number, source, confidence, failure: None, text: text.to_owned(), truncated: false, cost_ms: 5 }
}

fn extraction() -> Extraction {
    Extraction {
        mime_type: Some("application/pdf".to_owned()),
        page_count: Some(4),
        metadata: BTreeMap::from([("title".to_owned(), MetadataValue::Text("橋梁".to_owned()))]),
        pages: vec![
            page(1, PageSource::Text, None, "道路の設計"),
            page(2, PageSource::Ocr, Some(90.0), "CAD 図面"),
            page(3, PageSource::Blank, None, ""),
            page(4, PageSource::Both, Some(75.555), "橋梁"),
        ],
        thumbnail: None,
        failure: None,
    }
}

const ENGINE: Engine<'static> = Engine { fingerprint: "tesseract 5.3.0 …", ocr_language: "jpn+eng" };

/// Builds with the given state, event and content, everything else fixed.
fn build_with(state: &ObjectState, event: Option<&ObjectEvent>, content: Content<'_>) -> Document {
    build(DocumentInput {
        key: KEY,
        bucket: Some("b"),
        object_url: "s3://b/documents/road/ts-server3/橋梁/報告書 2024.PDF",
        state,
        converted: None,
        event,
        indexed: None,
        content,
        thumbnail_url: Some("s3://t/thumbnails/x.jpg"),
        processor: Processor { name: "file-processor-worker", version: "0.1.0" },
        processing_time: Duration::from_micros(1_234_567),
        processed_at: timestamp("2024-06-02T01:02:03.456789Z"),
        indexed_at: timestamp("2024-06-02T01:02:04Z"),
    })
}

fn build_extracted(extraction: &Extraction) -> Document {
    build_with(&state(), Some(&event()), Content::Extracted { extraction, content_sha256: "abc", engine: ENGINE })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn every_field_of_a_document_with_text() {
    let url = some("s3://b/documents/road/ts-server3/橋梁/報告書 2024.PDF");
    let expected = Document {
        success: true,
        error_message: None,
        outcome: Some(Outcome::Indexed),
        reason: None,
        file_key: KEY.to_owned(),
        bucket: some("b"),
        s3_url: url.clone(),
        file_path: url,
        file_name: "報告書 2024.PDF".to_owned(),
        file_type: some(".pdf"),
        file_extension: some(".pdf"),
        mime_type: some("application/pdf"),
        file_size: Some(1234),
        extracted_text: some("道路の設計\n\nCAD 図面\n\n橋梁"),
        text_truncated: false,
        page_count: Some(4),
        word_count: Some(6),
        char_count: Some(12),
        ocr_confidence: Some(82.78),
        ocr_language: some("jpn+eng"),
        ocr_engine: some("tesseract 5.3.0 …"),
        pages_ocr: 2,
        pages_text: 2,
        pages_failed: 0,
        metadata: BTreeMap::from([("title".to_owned(), MetadataValue::Text("橋梁".to_owned()))]),
        processing_time_seconds: 1.234,
        processor_name: "file-processor-worker".to_owned(),
        processor_version: "0.1.0".to_owned(),
        processed_at: some("2024-06-02T01:02:03.457Z"),
        indexed_at: some("2024-06-02T01:02:04Z"),
        created_at: some("2024-06-01T00:00:00Z"),
        modified_at: some("2024-06-01T00:00:00Z"),
        category: some("road"),
        category_display: some("道路"),
        nas_server: some("ts-server3"),
        root_folder: some("橋梁"),
        nas_path: some(r"\\ts-server3\橋梁\報告書 2024.PDF"),
        thumbnail_url: some("s3://t/thumbnails/x.jpg"),
        s3_last_modified: some("2024-06-01T00:00:00Z"),
        sequencer: some("0055AE"),
        content_sha256: some("abc"),
        etag: some("etag-1"),
        version_id: some("version-1"),
        converted_etag: None,
    };
    assert_eq!(build_extracted(&extraction()), expected);
}

#[test]
fn a_document_that_was_not_read_is_found_by_name_and_path() {
    let failure = Failure::new(Reason::TooLarge, "The file has 500 MB.");
    let document = build_with(&state(), None, Content::NotRead(&failure));
    assert!(!document.success);
    assert_eq!(document.outcome, Some(Outcome::IndexedWithoutText));
    assert_eq!(document.reason, Some(Reason::TooLarge));
    assert_eq!(document.error_message.as_deref(), Some("The file has 500 MB."));
    assert_eq!((document.extracted_text, document.ocr_engine, document.content_sha256), (None, None, None));
    assert_eq!((document.page_count, document.char_count, document.mime_type), (None, None, None));
    assert_eq!(document.file_name, "報告書 2024.PDF");
    assert_eq!(document.nas_server.as_deref(), Some("ts-server3"));
    assert_eq!(document.sequencer, None);
}

#[test]
fn metadata_only_is_a_success_without_a_sentence() {
    let failure = Failure::new(Reason::MetadataOnly, "CAD drawings are indexed by name and path.");
    let document = build_with(&state(), None, Content::NotRead(&failure));
    assert!(document.success);
    assert_eq!((document.reason, document.error_message), (Some(Reason::MetadataOnly), None));
}

#[test]
fn a_docuworks_file_has_its_own_name_and_state_and_the_text_of_its_converted_pdf() {
    let (state, extraction) = (state(), extraction());
    let converted = ObjectState { etag: "pdf-etag".to_owned(), size_bytes: 99, ..state.clone() };
    let document = build(DocumentInput {
        key: "documents/road/ts-server3/橋梁/図面.XDW",
        bucket: Some("b"),
        object_url: "s3://b/documents/road/ts-server3/橋梁/図面.XDW",
        state: &state,
        converted: Some(&converted),
        event: None,
        indexed: None,
        content: Content::Extracted { extraction: &extraction, content_sha256: "abc", engine: ENGINE },
        thumbnail_url: None,
        processor: Processor { name: "file-processor-worker", version: "0.1.0" },
        processing_time: Duration::ZERO,
        processed_at: timestamp("2024-06-02T01:02:03Z"),
        indexed_at: timestamp("2024-06-02T01:02:04Z"),
    });
    assert_eq!((document.etag, document.converted_etag), (some("etag-1"), some("pdf-etag")));
    assert_eq!((document.file_size, document.file_extension), (Some(1234), some(".xdw")));
    assert_eq!(document.extracted_text, some("道路の設計\n\nCAD 図面\n\n橋梁"));
    assert_eq!(document.mime_type, None, "nobody has looked into the original");
}

#[test]
fn a_text_file_has_no_pages_and_no_ocr() {
    let extraction = Extraction {
        mime_type: Some("text/plain".to_owned()),
        pages: vec![page(1, PageSource::Text, None, "道路")],
        ..Extraction::default()
    };
    let document = build_extracted(&extraction);
    assert_eq!(document.page_count, None);
    assert_eq!((document.pages_text, document.pages_ocr), (1, 0));
    assert_eq!((document.ocr_confidence, document.ocr_language), (None, None));
    assert!(document.ocr_engine.is_some(), "tells which engine would have read it");
}

#[test]
fn failed_pages_are_counted_and_add_no_text() {
    let mut partly = extraction();
    partly.pages[1] = Page {
        failure: Some(Failure::new(Reason::Crashed, "The child crashed.")),
        ..page(2, PageSource::Failed, Some(99.0), "garbage")
    };
    let document = build_extracted(&partly);
    assert!(document.success);
    assert_eq!((document.outcome, document.reason), (Some(Outcome::IndexedPartial), Some(Reason::Crashed)));
    assert_eq!((document.pages_text, document.pages_ocr, document.pages_failed), (2, 1, 1));
    assert_eq!(document.extracted_text.as_deref(), Some("道路の設計\n\n橋梁"));
    assert_eq!(document.ocr_confidence, Some(75.56), "failed pages have no part in the mean");
}

#[test]
fn confidences_that_cannot_be_are_left_out_of_the_mean() {
    let mut lying = extraction();
    lying.pages[1].confidence = Some(f32::NAN);
    assert_eq!(build_extracted(&lying).ocr_confidence, Some(75.56));
    lying.pages[3].confidence = Some(1e30);
    let document = build_extracted(&lying);
    assert_eq!(document.ocr_confidence, None);
    assert!(document.ocr_language.is_some(), "pages were OCRed all the same");
}

#[test]
fn a_page_cut_by_the_child_truncates_the_document() {
    let mut cut = extraction();
    cut.pages[0].truncated = true;
    assert!(build_extracted(&cut).text_truncated);
}

#[test]
fn a_text_over_the_limit_is_cut_and_counted_whole() {
    let mut long = extraction();
    long.pages[0].text = "長".repeat(1_200_000);
    let document = build_extracted(&long);
    assert!(document.text_truncated);
    assert_eq!(document.extracted_text.expect("text").chars().count(), 999_999);
    assert_eq!(document.char_count, Some(1_200_007));
}

#[test]
fn the_modification_date_comes_from_the_nas_then_the_message_then_s3() {
    let content = extraction();
    let content = Content::Extracted { extraction: &content, content_sha256: "abc", engine: ENGINE };
    let mut state = state();
    let mut event = event();
    let dates = |state: &ObjectState, event: &ObjectEvent| {
        let document = build_with(state, Some(event), content);
        assert_eq!(document.created_at, document.modified_at);
        assert_eq!(document.s3_last_modified.as_deref(), Some("2024-06-01T00:00:00Z"));
        document.modified_at.expect("a date")
    };
    assert_eq!(dates(&state, &event), "2024-06-01T00:00:00Z");
    event.modified_at = some("2020-01-02T12:00:00");
    assert_eq!(dates(&state, &event), "2020-01-02T03:00:00Z");
    state.user_metadata.insert("modified-at".to_owned(), "2019-01-02T12:00:00+00:00".to_owned());
    assert_eq!(dates(&state, &event), "2019-01-02T12:00:00Z");
    state.user_metadata.insert("modified-at".to_owned(), "unknown".to_owned());
    assert_eq!(dates(&state, &event), "2020-01-02T03:00:00Z");
}

#[test]
fn the_original_path_comes_from_the_bucket_before_the_message() {
    let failure = Failure::new(Reason::MetadataOnly, "");
    let mut state = state();
    let mut event = event();
    event.original_path = some(r"\\ts-server6\share\a.pdf");
    let document = build_with(&state, Some(&event), Content::NotRead(&failure));
    assert_eq!(document.nas_path.as_deref(), Some(r"\\ts-server6\share\a.pdf"));
    assert_eq!(document.category.as_deref(), Some("structure"));

    let encoded = "=?UTF-8?B?XFx0cy1zZXJ2ZXIzXOWbs+mdoi5wZGY=?=";
    state.user_metadata.insert("original-path".to_owned(), encoded.to_owned());
    let document = build_with(&state, Some(&event), Content::NotRead(&failure));
    assert_eq!(document.nas_path.as_deref(), Some(r"\\ts-server3\図面.pdf"));
    assert_eq!((document.category.as_deref(), document.category_display.as_deref()), (Some("road"), Some("道路")));
}

#[test]
fn what_only_an_earlier_message_told_stays() {
    let failure = Failure::new(Reason::MetadataOnly, "");
    let state = state();
    let told = IndexedState {
        etag: some("etag-1"),
        s3_last_modified: some("2024-06-01T00:00:00Z"),
        nas_path: some(r"\\ts-server6\share\図面.xdw"),
        modified_at: some("2020-01-02T03:00:00Z"),
        ..IndexedState::default()
    };
    let rewritten = |key: &str, event: Option<&ObjectEvent>, indexed: &IndexedState| {
        build(DocumentInput {
            key,
            bucket: Some("b"),
            object_url: "s3://b/x",
            state: &state,
            converted: None,
            event,
            indexed: Some(indexed),
            content: Content::NotRead(&failure),
            thumbnail_url: None,
            processor: Processor { name: "file-processor-worker", version: "0.1.0" },
            processing_time: Duration::ZERO,
            processed_at: timestamp("2024-06-02T01:02:03Z"),
            indexed_at: timestamp("2024-06-02T01:02:04Z"),
        })
    };
    let document = rewritten(KEY, Some(&event()), &told);
    assert_eq!((document.nas_path, document.modified_at), (told.nas_path.clone(), told.modified_at.clone()));
    assert_eq!(document.created_at, told.modified_at);
    assert_eq!((document.category.as_deref(), document.root_folder.as_deref()), (Some("structure"), Some("share")));

    // The date was of other content, and a message says something else about the place.
    let told = IndexedState { etag: some("etag-0"), ..told };
    let moved = ObjectEvent { original_path: some(r"\\ts-server3\share\図面.xdw"), ..event() };
    let document = rewritten(KEY, Some(&moved), &told);
    assert_eq!(document.modified_at, some("2024-06-01T00:00:00Z"));
    assert_eq!(document.nas_path, some(r"\\ts-server3\share\図面.xdw"));

    // A path that the key's layout gave says no more than the layout: its folder, not its server, tells the category.
    let key = "documents/structure/ts-server3/share/a.xdw";
    let by_layout = IndexedState { nas_path: some(r"\\ts-server3\share\a.xdw"), ..IndexedState::default() };
    assert_eq!(rewritten(key, None, &by_layout).category.as_deref(), Some("structure"));
}

#[test]
fn an_unreadable_file_on_the_command_line_is_skipped() {
    let failure = Failure::new(Reason::NotFound, "No such file.");
    let document = skipped("dir/a.txt", "file:///dir/a.txt", &failure);
    assert_eq!((document.outcome, document.reason), (Some(Outcome::Skipped), Some(Reason::NotFound)));
    assert_eq!(document.file_extension.as_deref(), Some(".txt"));
    assert_eq!(document.bucket, None);
    assert!(!document.success);
}

#[test]
fn numbers_and_nulls_stand_in_json_as_the_index_wants_them() {
    let json = serde_json::to_value(build_extracted(&extraction())).expect("JSON");
    assert_eq!(json["outcome"], "indexed");
    assert!(json["reason"].is_null() && json["error_message"].is_null());
    assert!(json["file_size"].is_u64() && json["page_count"].is_u64());
    assert_eq!(json["metadata"]["title"], "橋梁");
}
