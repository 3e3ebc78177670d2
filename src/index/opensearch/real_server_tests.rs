//! Against a real OpenSearch: the one that TESTBED_OPENSEARCH_ENDPOINT names (scripts/test.sh starts it). Each test
//! has an index of its own, removed at its end.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::config::BasicAuth;
use crate::document::{MetadataValue, Outcome};

/// An index of its own on the real server.
struct TestIndex {
    index: OpenSearchIndex,
}

/// `None`, said on stderr, when no server is there.
fn test_index() -> Option<TestIndex> {
    let Ok(endpoint) = std::env::var("TESTBED_OPENSEARCH_ENDPOINT") else {
        eprintln!("skipped: TESTBED_OPENSEARCH_ENDPOINT is not set");
        return None;
    };
    let name = format!("test-{}", uuid::Uuid::new_v4());
    let index =
        OpenSearchIndex::connect(&servers(&endpoint, None), "ap-northeast-1", &name, &signing_config()).unwrap();
    Some(TestIndex { index })
}

pub fn servers(endpoint: &str, basic_auth: Option<BasicAuth>) -> ServerSettings {
    ServerSettings {
        queue_url: Url::parse("http://127.0.0.1:9/queue").unwrap(),
        dead_letter_queue_url: None,
        bucket: "bucket".to_owned(),
        thumbnail_bucket: "thumbnails".to_owned(),
        opensearch_endpoint: Url::parse(endpoint).unwrap(),
        opensearch_basic_auth: basic_auth,
        opensearch_verify_certs: true,
    }
}

pub fn signing_config() -> SdkConfig {
    let credentials = Credentials::new("test", "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl TestIndex {
    async fn create(&self) {
        assert!(self.index.create().await.unwrap().created);
    }

    async fn create_with(&self, body: Value) {
        let answer = self.index.client.put(&self.index.index, &body).await.unwrap();
        assert!(answer.is_success(), "{}", answer.explain());
    }

    async fn setting(&self, name: &str, value: Value) {
        let path = format!("{}/_settings", self.index.index);
        let answer = self.index.client.put(&path, &json!({name: value})).await.unwrap();
        assert!(answer.is_success(), "{}", answer.explain());
    }

    async fn exists(&self) -> bool {
        create::existing_mapping(&self.index.client, &self.index.index).await.unwrap().is_some()
    }

    async fn source(&self, key: &str) -> Option<Value> {
        self.index.source(&document_id(key)).await.unwrap()
    }

    async fn search(&self, query: Value) -> Value {
        let refresh = format!("{}/_refresh", self.index.index);
        self.index.client.post(&refresh, &json!({})).await.unwrap();
        let path = format!("{}/_search", self.index.index);
        expect_json("search", self.index.client.post(&path, &query).await).unwrap()
    }

    async fn remove(self) {
        self.remove_on_server().await;
    }

    /// The worker has no way to delete an index, so the server is asked directly.
    async fn remove_on_server(&self) {
        let endpoint = std::env::var("TESTBED_OPENSEARCH_ENDPOINT").unwrap();
        let url = format!("{}/{}", endpoint.trim_end_matches('/'), self.index.index);
        reqwest::Client::new().delete(url).send().await.unwrap();
    }
}

fn document(key: &str, text: &str, second: i64) -> (Document, ObjectOrder) {
    let modified = Timestamp::from_second(1_714_521_600 + second).unwrap();
    let name = key.rsplit('/').next().unwrap().to_owned();
    let extension = name.rsplit_once('.').map(|(_, end)| format!(".{}", end.to_lowercase()));
    let document = Document {
        success: true,
        outcome: Some(Outcome::Indexed),
        file_key: key.to_owned(),
        bucket: Some("bucket".to_owned()),
        s3_url: Some(format!("s3://bucket/{key}")),
        file_path: Some(format!("s3://bucket/{key}")),
        file_name: name,
        file_type: extension.clone(),
        file_extension: extension,
        file_size: Some(1234),
        extracted_text: Some(text.to_owned()),
        page_count: Some(3),
        ocr_confidence: Some(91.5),
        metadata: BTreeMap::from([("title".to_owned(), MetadataValue::Text("設計".to_owned()))]),
        indexed_at: Some(modified.to_string()),
        created_at: Some(modified.to_string()),
        modified_at: Some(modified.to_string()),
        category: Some("road".to_owned()),
        root_folder: Some("設計部".to_owned()),
        s3_last_modified: Some(modified.to_string()),
        etag: Some(format!("etag-{second}")),
        ..Document::default()
    };
    (document, ObjectOrder { sequencer: None, last_modified_ms: modified.as_millisecond() })
}

fn with_sequencer(pair: (Document, ObjectOrder), sequencer: &str) -> (Document, ObjectOrder) {
    let (mut document, mut order) = pair;
    document.sequencer = Some(sequencer.to_owned());
    order.sequencer = Some(sequencer.to_owned());
    (document, order)
}

fn assert_unavailable<T: std::fmt::Debug>(result: Result<T, IndexError>, cause: OutageCause, words: &str) {
    match result {
        Err(IndexError::Unavailable(outage)) => {
            assert!(outage.cause == cause && outage.detail.contains(words), "{outage}");
        }
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

#[tokio::test]
async fn an_older_state_never_overwrites_a_newer_one_unless_forced() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let key = "documents/road/ts-server3/設計部/橋.pdf";
    let (newer, newer_order) = document(key, "新しい", 100);
    let (older, older_order) = document(key, "古い", 0);

    assert_eq!(test.index.put(&newer, &newer_order, false).await.unwrap(), Verdict::Written);
    assert_eq!(test.index.put(&newer, &newer_order, false).await.unwrap(), Verdict::Written, "again is harmless");
    assert_eq!(test.index.put(&older, &older_order, false).await.unwrap(), Verdict::Superseded);
    assert_eq!(test.source(key).await.unwrap()["extracted_text"], "新しい");
    assert_eq!(test.index.put(&older, &older_order, true).await.unwrap(), Verdict::Written);
    assert_eq!(test.source(key).await.unwrap()["extracted_text"], "古い");
    test.remove().await;
}

#[tokio::test]
async fn what_was_taken_for_new_is_created_and_what_stands_there_after_all_is_treated_like_any_other() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (newer, newer_order) = document("k", "newer", 100);
    let (older, older_order) = document("k", "older", 0);
    let (newest, newest_order) = document("k", "newest", 200);

    assert_eq!(test.index.put_new(&newer, &newer_order).await.unwrap(), Verdict::Written);
    let created = test.source("k").await.unwrap();
    assert_eq!(test.index.put(&newer, &newer_order, true).await.unwrap(), Verdict::Written);
    assert_eq!(test.source("k").await.unwrap(), created, "created or scripted, the document is the same");
    let foreign = json!({"doc": {"department": "橋梁部"}});
    let path = format!("{}/_update/k", test.index.index);
    assert!(test.index.client.post(&path, &foreign).await.unwrap().is_success());

    assert_eq!(test.index.put_new(&older, &older_order).await.unwrap(), Verdict::Superseded);
    assert_eq!(test.index.put_new(&newest, &newest_order).await.unwrap(), Verdict::Written);
    let source = test.source("k").await.unwrap();
    assert_eq!((&source["extracted_text"], &source["department"]), (&json!("newest"), &json!("橋梁部")));
    test.remove().await;
}

#[tokio::test]
async fn sequencers_decide_before_dates_right_padded_and_in_any_case() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let held = with_sequencer(document("k", "held", 0), "0055AED6DCD90281E5");
    let older = with_sequencer(document("k", "older", 100), "0055aed6dcd90281");
    let newer = with_sequencer(document("k", "newer", 0), "0055AED6DCD90281E51");

    assert_eq!(test.index.put(&held.0, &held.1, false).await.unwrap(), Verdict::Written);
    assert_eq!(test.index.put(&older.0, &older.1, false).await.unwrap(), Verdict::Superseded);
    assert_eq!(test.index.put(&newer.0, &newer.1, false).await.unwrap(), Verdict::Written);
    let undated = document("k", "by date", 50);
    assert_eq!(test.index.put(&undated.0, &undated.1, false).await.unwrap(), Verdict::Written);
    test.remove().await;
}

#[tokio::test]
async fn fields_of_other_programs_survive_and_ours_are_replaced() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (first, order) = document("k.pdf", "一", 0);
    test.index.put(&first, &order, false).await.unwrap();
    let foreign = json!({"doc": {"preview_images": [{"page": 1, "url": "s3://x"}], "department": "橋梁部",
        "tags": ["a", "b"], "total_pages": 3, "preview_generated_at": "2024-05-01T00:00:00Z", "invented": {"deep": 1}}});
    let path = format!("{}/_update/k.pdf", test.index.index);
    assert!(test.index.client.post(&path, &foreign).await.unwrap().is_success());

    let (mut second, order) = document("k.pdf", "二", 10);
    second.metadata = BTreeMap::from([("author".to_owned(), MetadataValue::Number(7.0))]);
    second.page_count = None;
    assert_eq!(test.index.put(&second, &order, false).await.unwrap(), Verdict::Written);
    let source = test.source("k.pdf").await.unwrap();
    assert_eq!(source["department"], "橋梁部");
    assert_eq!(source["preview_images"][0]["page"], 1);
    assert_eq!(source["invented"]["deep"], 1);
    assert_eq!(source["extracted_text"], "二");
    assert_eq!(source["metadata"], json!({"author": 7.0}), "old metadata keys are gone");
    assert_eq!(source["page_count"], Value::Null);
    test.remove().await;
}

#[tokio::test]
async fn deletes_respect_newer_states_and_absent_documents_are_deleted_already() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (held, order) = document("k", "held", 100);
    test.index.put(&held, &order, false).await.unwrap();

    let older = ObjectOrder { sequencer: None, last_modified_ms: order.last_modified_ms - 1 };
    assert_eq!(test.index.delete("k", Some(&older)).await.unwrap(), Verdict::Superseded);
    assert!(test.source("k").await.is_some());
    assert_eq!(test.index.delete("k", Some(&order)).await.unwrap(), Verdict::Written);
    assert!(test.source("k").await.is_none());
    assert_eq!(test.index.delete("k", Some(&order)).await.unwrap(), Verdict::Written);
    assert_eq!(test.index.delete("k", None).await.unwrap(), Verdict::Written);

    test.index.put(&held, &order, false).await.unwrap();
    assert_eq!(test.index.delete("k", None).await.unwrap(), Verdict::Written);
    assert!(test.source("k").await.is_none());
    test.remove().await;
}

#[tokio::test]
async fn every_key_is_its_own_document_whatever_characters_it_has() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let keys = [
        "documents/橋 梁/図面+改%20訂.pdf".to_owned(),
        "documents/橋 梁/図面+改 訂.pdf".to_owned(),
        "カ\u{3099}.pdf".to_owned(),
        "ガ.pdf".to_owned(),
        "..".to_owned(),
        "a/../b/./c//d".to_owned(),
        "quote\"back\\slash\tand#?&".to_owned(),
        "_underscore".to_owned(),
        "長".repeat(200),
        format!("{}{}", "長".repeat(200), "x"),
        "x".repeat(512),
    ];
    for (number, key) in (0..).zip(&keys) {
        let (document, order) = document(key, &format!("text {number}"), number);
        assert_eq!(test.index.put(&document, &order, false).await.unwrap(), Verdict::Written, "{key}");
    }
    for (number, key) in keys.iter().enumerate() {
        let state = test.index.state(key).await.unwrap().unwrap_or_else(|| panic!("{key}"));
        assert_eq!(state.etag.as_deref(), Some(format!("etag-{number}").as_str()), "{key}");
        assert_eq!(state.outcome.as_deref(), Some("indexed"));
    }
    assert!(document_id(&keys[8]).starts_with("sha256:"));
    assert_eq!(document_id(&keys[10]), keys[10]);
    assert_eq!(test.index.state("absent").await.unwrap(), None);
    for key in &keys {
        test.index.delete(key, None).await.unwrap();
        assert_eq!(test.index.state(key).await.unwrap(), None);
    }
    test.remove().await;
}

#[tokio::test]
async fn a_missing_index_is_unavailable_and_never_created() {
    let Some(test) = test_index() else { return };
    let (document, order) = document("k", "text", 0);
    assert_unavailable(test.index.put(&document, &order, false).await, OutageCause::Missing, "no such index");
    assert_unavailable(test.index.put(&document, &order, true).await, OutageCause::Missing, "no such index");
    assert_unavailable(test.index.put_new(&document, &order).await, OutageCause::Missing, "no such index");
    assert_unavailable(test.index.delete("k", Some(&order)).await, OutageCause::Missing, "no such index");
    assert_unavailable(test.index.delete("k", None).await, OutageCause::Missing, "no such index");
    assert_unavailable(test.index.state("k").await, OutageCause::Missing, "no such index");
    assert_unavailable(test.index.probe().await, OutageCause::Missing, "no such index");
    assert!(!test.index.validate().await.unwrap().problems.is_empty());
    assert!(!test.exists().await);
}

#[tokio::test]
async fn an_index_that_vanishes_while_we_write_is_not_created_anew() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (first, order) = document("k", "text", 0);
    test.index.put(&first, &order, false).await.unwrap();
    test.remove_on_server().await;
    let writes = (0..50).map(|number| {
        let (document, order) = document(&format!("k{number}"), "text", 0);
        let index = test.index.clone();
        async move { index.put(&document, &order, false).await }
    });
    for result in futures_util::future::join_all(writes).await {
        assert_unavailable(result, OutageCause::Missing, "no such index");
    }
    assert!(!test.exists().await);
}

#[tokio::test]
async fn an_alias_is_written_through() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let alias = format!("alias-of-{}", test.index.index);
    let actions = json!({"actions": [{"add": {"index": test.index.index, "alias": alias}}]});
    assert!(test.index.client.post("_aliases", &actions).await.unwrap().is_success());
    let through = test.index.with_index(&alias);
    let (document, order) = document("k", "text", 0);
    assert_eq!(through.put(&document, &order, false).await.unwrap(), Verdict::Written);
    through.probe().await.unwrap();
    assert_eq!(through.validate().await.unwrap(), Validation::default());
    assert!(test.source("k").await.is_some());
    test.remove().await;
}

#[tokio::test]
async fn a_blocked_or_closed_index_is_unavailable_until_it_is_open_again() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (document, order) = document("k", "text", 0);
    for (block, cause) in [
        ("index.blocks.read_only_allow_delete", OutageCause::FloodStage),
        ("index.blocks.write", OutageCause::ReadOnly),
        ("index.blocks.read_only", OutageCause::ReadOnly),
    ] {
        test.setting(block, json!(true)).await;
        assert_unavailable(test.index.put(&document, &order, false).await, cause, "cluster_block_exception");
        assert_unavailable(test.index.probe().await, cause, "cluster_block_exception");
        assert!(test.index.validate().await.unwrap().problems[0].starts_with("we may not write"), "{block}");
        test.setting(block, Value::Null).await;
        test.index.probe().await.unwrap();
    }
    let close = format!("{}/_close", test.index.index);
    test.index.client.post(&close, &json!({})).await.unwrap();
    assert_unavailable(test.index.put(&document, &order, false).await, OutageCause::ReadOnly, "closed");
    assert_unavailable(test.index.probe().await, OutageCause::ReadOnly, "closed");
    let open = format!("{}/_open", test.index.index);
    test.index.client.post(&open, &json!({})).await.unwrap();
    let yellow = format!("_cluster/health/{}?wait_for_status=yellow&timeout=20s", test.index.index);
    test.index.client.get(&yellow).await.unwrap();
    assert_eq!(test.index.put(&document, &order, false).await.unwrap(), Verdict::Written);
    test.remove().await;
}

#[tokio::test]
async fn a_probe_leaves_nothing_behind() {
    let Some(test) = test_index() else { return };
    test.create().await;
    test.index.probe().await.unwrap();
    assert_eq!(test.index.validate().await.unwrap(), Validation::default());
    let hits = test.search(json!({"query": {"match_all": {}}})).await;
    assert_eq!(hits["hits"]["total"]["value"], 0);
    let stats = test.index.client.get(&format!("{}/_stats/indexing", test.index.index)).await.unwrap().json().unwrap();
    assert_eq!(stats["_all"]["primaries"]["indexing"]["index_total"], 0);
    assert_eq!(stats["_all"]["primaries"]["indexing"]["delete_total"], 0);
    test.remove().await;
}

#[tokio::test]
async fn a_strict_index_gets_what_it_knows() {
    let Some(test) = test_index() else { return };
    let mut body = mapping::index_body(mapping::Analysis::Kuromoji, false);
    body["mappings"]["dynamic"] = json!("strict");
    let properties = body["mappings"]["properties"].as_object_mut().unwrap();
    properties.remove("ocr_engine");
    properties.remove("content_sha256");
    test.create_with(body).await;

    let (document, order) = document("k", "text", 0);
    assert_eq!(test.index.put(&document, &order, false).await.unwrap(), Verdict::Written);
    let source = test.source("k").await.unwrap();
    assert!(source.get("ocr_engine").is_none());
    assert_eq!(source["etag"], "etag-0");
    assert_eq!(source["metadata"]["title"], "設計", "metadata takes new keys whatever the rest does");

    let validation = test.index.validate().await.unwrap();
    assert!(validation.problems.is_empty(), "{validation:?}");
    assert!(validation.warnings[0].ends_with("content_sha256, ocr_engine"), "{validation:?}");
    assert_eq!(test.index.create().await.unwrap().added, ["content_sha256", "ocr_engine"]);
    assert_eq!(test.index.validate().await.unwrap(), Validation::default());
    test.remove().await;
}

#[tokio::test]
async fn a_field_that_a_strict_index_loses_is_noticed_at_the_next_write() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (document, order) = document("k", "text", 0);
    test.index.put(&document, &order, false).await.unwrap();
    test.remove_on_server().await;
    test.create_with(json!({"mappings": {"dynamic": "strict", "properties": {
        "file_name": {"type": "text"}, "file_key": {"type": "keyword"}, "etag": {"type": "keyword"}}}}))
        .await;
    assert_eq!(test.index.put(&document, &order, false).await.unwrap(), Verdict::Written);
    assert_eq!(test.source("k").await.unwrap(), json!({"file_name": "k", "file_key": "k", "etag": "etag-0"}));
    test.remove().await;
}

#[tokio::test]
async fn a_document_that_cannot_be_indexed_is_rejected_alone() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let (mut bad, order) = document("bad", "text", 0);
    bad.created_at = Some("yesterday".to_owned());
    let (good, good_order) = document("good", "text", 0);
    let (bad_result, good_result) =
        tokio::join!(test.index.put(&bad, &order, false), test.index.put(&good, &good_order, false));
    assert!(matches!(&bad_result, Err(IndexError::Rejected(text)) if text.contains("created_at")), "{bad_result:?}");
    assert_eq!(good_result.unwrap(), Verdict::Written);
    assert!(test.source("bad").await.is_none());
    test.remove().await;
}

#[tokio::test]
async fn metadata_that_the_index_refuses_costs_only_the_metadata() {
    let Some(test) = test_index() else { return };
    let mut body = mapping::index_body(mapping::Analysis::Kuromoji, false);
    body["mappings"]["properties"]["metadata"] = json!({"properties": {"title": {"type": "date"}}});
    test.create_with(body).await;
    let (document, order) = document("k", "text", 0);
    assert_eq!(test.index.put(&document, &order, false).await.unwrap(), Verdict::Written);
    let source = test.source("k").await.unwrap();
    assert_eq!(source["extracted_text"], "text");
    assert!(source.get("metadata").is_none());
    test.remove().await;
}

#[tokio::test]
async fn a_date_that_another_program_wrote_its_own_way_counts_as_older() {
    let Some(test) = test_index() else { return };
    let keyword = json!({"type": "keyword"});
    test.create_with(json!({"mappings": {"properties": {"s3_last_modified": keyword, "sequencer": keyword}}})).await;
    let path = format!("{}/_doc/k", test.index.index);
    for held in [json!("2999/01/01"), json!(99_999_999_999_999_i64), json!(["2999-01-01T00:00:00Z"]), json!(true)] {
        let body = json!({"s3_last_modified": held, "sequencer": 12});
        assert!(test.index.client.put(&path, &body).await.unwrap().is_success());
        let (document, order) = with_sequencer(document("k", "text", 0), "00AB");
        let verdict = test.index.put(&document, &order, false).await;
        assert!(matches!(verdict, Ok(Verdict::Written)), "{held}: {verdict:?}");
    }
    test.remove().await;
}

#[tokio::test]
async fn create_makes_extends_and_reports_conflicts() {
    let Some(test) = test_index() else { return };
    assert_eq!(test.index.create().await.unwrap(), CreateReport { created: true, ..CreateReport::default() });
    assert_eq!(test.index.create().await.unwrap(), CreateReport::default(), "nothing to do the second time");
    let settings = test.index.client.get(&format!("{}/_settings", test.index.index)).await.unwrap().json().unwrap();
    let index_settings = &settings[test.index.index.as_str()]["settings"]["index"];
    assert_eq!(index_settings["number_of_shards"], "2");
    assert_eq!(index_settings["number_of_replicas"], "1");
    assert_eq!(index_settings["refresh_interval"], "5s");
    test.remove().await;

    let Some(other) = test_index() else { return };
    other
        .create_with(json!({"mappings": {"properties": {
            "file_name": {"type": "text"}, "file_extension": {"type": "text"}, "foreign": {"type": "keyword"}}}}))
        .await;
    let report = other.index.create().await.unwrap();
    assert!(!report.created);
    assert_eq!(report.conflicts, ["file_extension is of type text, not keyword"]);
    assert!(report.added.contains(&"file_name".to_owned()) && report.added.contains(&"etag".to_owned()));
    let validation = other.index.validate().await.unwrap();
    assert_eq!(validation.problems, ["file_extension is of type text, not keyword"]);
    assert!(validation.warnings.is_empty());
    other.remove().await;
}

#[tokio::test]
async fn the_search_applications_query_finds_filters_sorts_and_highlights() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let beginning = "道路橋示方書の解説。".repeat(80_000);
    let huge: String = beginning.chars().chain("耐震補強工事の記録".chars()).take(999_990).collect();
    assert!(huge.encode_utf16().count() > 799_000);
    for (key, text, second) in [
        ("documents/road/ts-server3/設計部/道路台帳.pdf", "市道の台帳です。", 10),
        ("documents/road/ts-server3/設計部/大きい報告書.pdf", huge.as_str(), 20),
        ("documents/road/ts-server3/設計部/memo.txt", "Bridge inspection memo 道路", 30),
        ("documents/structure/ts-server6/別/無関係.xlsx", "予算", 40),
    ] {
        let (document, order) = document(key, text, second);
        test.index.put(&document, &order, false).await.unwrap();
    }
    for operator in ["and", "or"] {
        for sort in [
            json!("_score"),
            json!({"created_at": "desc"}),
            json!({"modified_at": "asc"}),
            json!({"file_name.keyword": "asc"}),
            json!({"file_size": "desc"}),
        ] {
            let found = test
                .search(json!({
                    "query": {"bool": {
                        "must": [{"multi_match": {"query": "道路", "operator": operator,
                            "fields": ["file_name^3", "file_path^2", "extracted_text"]}}],
                        "filter": [
                            {"terms": {"file_extension": [".pdf", "pdf", ".txt", "txt"]}},
                            {"terms": {"category": ["road"]}},
                            {"term": {"root_folder": "設計部"}},
                            {"range": {"created_at": {"gte": "2024-01-01", "lt": "2025-01-01"}}},
                        ],
                    }},
                    "sort": [sort],
                    "_source": ["file_name"],
                    "highlight": {"fields": {
                        "extracted_text": {"number_of_fragments": 3, "fragment_size": 150},
                        "file_name": {}, "file_path": {},
                    }},
                }))
                .await;
            assert_eq!(found["_shards"]["failed"], 0, "{found}");
            assert_eq!(found["hits"]["total"]["value"], 3, "{found}");
        }
    }
    let found = test
        .search(json!({
            "query": {"multi_match": {"query": "耐震補強", "operator": "and", "fields": ["extracted_text"]}},
            "_source": ["file_name"],
            "highlight": {"fields": {"extracted_text": {"number_of_fragments": 3, "fragment_size": 150}}},
        }))
        .await;
    assert_eq!(found["_shards"]["failed"], 0, "{found}");
    let fragment = found["hits"]["hits"][0]["highlight"]["extracted_text"][0].as_str().unwrap();
    assert!(fragment.contains("<em>"), "the very end of a huge text is highlighted: {fragment}");
    test.remove().await;
}

#[tokio::test]
async fn many_writers_at_once_each_get_their_own_verdict() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let text = "本文".repeat(50_000);
    let writes = (0..60).map(|number| {
        let (mut document, order) = document(&format!("k{number}"), &text, 0);
        if number % 7 == 3 {
            document.modified_at = Some("nonsense".to_owned());
        }
        let index = test.index.clone();
        async move { (number, index.put(&document, &order, false).await) }
    });
    for (number, result) in futures_util::future::join_all(writes).await {
        assert_eq!(result.is_ok(), number % 7 != 3, "{number}: {result:?}");
    }
    test.remove().await;
}

#[tokio::test]
async fn smoke_test_documents_are_read_back_and_swept_away() {
    let Some(test) = test_index() else { return };
    let smoke = test.index.with_index(&format!("{}-smoke-test", test.index.index));
    assert!(smoke.create().await.unwrap().created);
    let (old, old_order) = document("test.pdf", "smoke", 0);
    let (new, new_order) = document("test.pdf", "smoke", 1000);
    smoke.put_as("id-old", &old, &old_order, true).await.unwrap();
    smoke.put_as("id-new", &new, &new_order, true).await.unwrap();
    assert_eq!(smoke.source("id-new").await.unwrap().unwrap()["extracted_text"], "smoke");
    smoke.client.post(&format!("{}/_refresh", smoke.index), &json!({})).await.unwrap();
    let limit = Timestamp::from_second(1_714_521_600 + 500).unwrap();
    assert_eq!(smoke.delete_older_than(limit).await.unwrap(), 1);
    assert_eq!(smoke.source("id-old").await.unwrap(), None);
    smoke.delete_id("id-new").await.unwrap();
    assert_eq!(smoke.source("id-new").await.unwrap(), None);
    TestIndex { index: smoke }.remove().await;
}

#[tokio::test]
async fn basic_auth_works_in_place_of_signatures() {
    let Some(test) = test_index() else { return };
    test.create().await;
    let endpoint = std::env::var("TESTBED_OPENSEARCH_ENDPOINT").unwrap();
    let auth = BasicAuth { username: "u".to_owned(), password: "p".to_owned() };
    let index =
        OpenSearchIndex::connect(&servers(&endpoint, Some(auth)), "x", &test.index.index, &signing_config()).unwrap();
    index.probe().await.unwrap();
    test.remove().await;
}
