//! The document in the index: keys, fields, foreign fields, and what the search application asks for.

use serde_json::{Value, json};

use crate::harness::{World, read_fixture};

/// The search application's query (contract §3).
fn search(query: &str) -> Value {
    json!({
        "query": { "bool": {
            "must": [{ "multi_match": {
                "query": query, "fields": ["file_name^3", "file_path^2", "extracted_text"], "operator": "and" } }],
            "filter": [
                { "terms": { "file_extension": [".pdf", "pdf", ".txt", "txt", ".png", "png"] } },
                { "terms": { "file_type": [".pdf", "pdf", ".txt", "txt", ".png", "png"] } },
                { "range": { "modified_at": { "gte": "1980-01-01", "lt": "2100-01-01" } } },
                { "range": { "created_at": { "gte": "1980-01-01", "lt": "2100-01-01" } } }
            ]
        } },
        "sort": ["_score", { "modified_at": "desc" }, { "file_name.keyword": "asc" }, { "file_size": "asc" }],
        "highlight": { "fields": {
            "extracted_text": { "number_of_fragments": 3, "fragment_size": 150 },
            "file_name": {}, "file_path": {} } }
    })
}

#[tokio::test]
async fn the_clerk_finds_the_scan_by_words_that_stand_only_in_its_picture() {
    let world = World::new("search").await;
    let _daemon = world.daemon().await;
    let scan = "documents/road/ts-server3/橋梁点検/1987_報告書.pdf";
    world.upload(scan, std::fs::read(crate::harness::repository().join("src/job/smoke_test.pdf")).unwrap()).await;
    world.upload("documents/structure/ts-server6/設計/別の文書.txt", "トンネルの換気設備について").await;
    let document = world.wait_for_document(scan).await;
    world.wait_for_document("documents/structure/ts-server6/設計/別の文書.txt").await;
    world.refresh().await;

    let answer = world.opensearch_post(&format!("{}/_search", world.index), search("道路橋")).await;
    assert_eq!(answer["_shards"]["failed"], 0, "{answer}");
    assert_eq!(answer["hits"]["total"]["value"], 1, "{answer}");
    let hit = &answer["hits"]["hits"][0];
    assert_eq!(hit["_id"], scan);
    let fragment = hit["highlight"]["extracted_text"][0].as_str().expect("a highlighted fragment");
    assert!(fragment.contains("<em>"), "{fragment}");

    let mut filtered = search("道路橋");
    let filters = filtered["query"]["bool"]["filter"].as_array_mut().unwrap();
    filters.push(json!({ "term": { "category": "road" } }));
    filters.push(json!({ "term": { "root_folder": "橋梁点検" } }));
    let answer = world.opensearch_post(&format!("{}/_search", world.index), filtered).await;
    assert_eq!(answer["hits"]["total"]["value"], 1, "{answer}");

    assert_eq!(document["success"], true);
    assert_eq!(document["outcome"], "indexed");
    assert_eq!(document["reason"], Value::Null);
    assert_eq!(document["file_key"], scan);
    assert_eq!(document["bucket"], world.bucket.as_str());
    assert_eq!(document["s3_url"], format!("s3://{}/{scan}", world.bucket));
    assert_eq!(document["file_path"], document["s3_url"]);
    assert_eq!(document["file_name"], "1987_報告書.pdf");
    assert_eq!(document["file_type"], ".pdf");
    assert_eq!(document["file_extension"], ".pdf");
    assert_eq!(document["mime_type"], "application/pdf");
    assert_eq!(document["page_count"], 1);
    assert_eq!(document["pages_ocr"], 1);
    assert!(document["ocr_confidence"].as_f64().is_some_and(|value| (50.0..=100.0).contains(&value)));
    assert_eq!(document["ocr_language"], "jpn+eng");
    assert_eq!(document["category"], "road");
    assert_eq!(document["category_display"], "道路");
    assert_eq!(document["nas_server"], "ts-server3");
    assert_eq!(document["root_folder"], "橋梁点検");
    assert_eq!(document["content_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(document["processor_name"], "file-processor-worker");
    assert!(document["word_count"].as_u64() > Some(3));
}

#[tokio::test]
async fn a_text_of_over_a_million_characters_is_cut_and_its_search_still_works() {
    let world = World::new("long-text").await;
    let _daemon = world.daemon().await;
    let text = "道路橋の点検。".repeat(1_200_000 / 7 + 1);
    world.upload("長い.txt", text).await;
    let document = world.wait_for_document("長い.txt").await;
    assert_eq!(document["text_truncated"], true);
    let units = document["extracted_text"].as_str().unwrap().encode_utf16().count();
    assert!((900_000..1_000_000).contains(&units), "{units}");
    world.refresh().await;
    let answer = world.opensearch_post(&format!("{}/_search", world.index), search("道路橋")).await;
    assert_eq!(answer["_shards"]["failed"], 0, "{}", answer["_shards"]);
    assert_eq!(answer["hits"]["hits"][0]["_id"], "長い.txt");
}

#[tokio::test]
async fn fields_of_other_programs_survive_a_new_version_of_the_file() {
    let world = World::new("foreign-fields").await;
    let _daemon = world.daemon().await;
    world.upload("a.txt", "最初の版").await;
    world.wait_for_document("a.txt").await;
    let foreign = json!({ "doc": { "department": "橋梁部", "tags": ["点検"], "total_pages": 7 } });
    world.opensearch_post(&format!("{}/_update/a.txt", world.index), foreign).await;
    world.upload("a.txt", "次の版").await;
    let document = world
        .wait_for("the new text", async || {
            world.document("a.txt").await.filter(|document| document["extracted_text"] == "次の版")
        })
        .await;
    assert_eq!(document["department"], "橋梁部");
    assert_eq!(document["tags"], json!(["点検"]));
    assert_eq!(document["total_pages"], 7);
    world.wait_until_settled().await;
}

#[tokio::test]
async fn an_unchanged_object_is_not_read_again() {
    let world = World::new("unchanged").await;
    let _daemon = world.daemon().await;
    world.upload("a.txt", "一度だけ").await;
    let first = world.wait_for_document("a.txt").await;
    world.send(json!({ "key": "a.txt" })).await;
    world.wait_until_settled().await;
    assert_eq!(world.document("a.txt").await, Some(first));
}

#[tokio::test]
async fn keys_of_every_kind_come_through_as_they_are() {
    let world = World::new("keys").await;
    let _daemon = world.daemon().await;
    // The test's S3 server keeps keys as paths: no part of one may be longer than 255 bytes.
    let long_key = format!("長い/{0}/{0}/{0}.txt", "橋".repeat(70));
    assert!(long_key.len() > 512);
    let keys = [
        "資料/道路 橋(案)+改訂 100%.txt",
        "percent%20encoded.txt",
        "nfd/か\u{3099}く.txt",
        "dots/..name..txt",
        "quotes/\"引用\" & 'x'.txt",
        &long_key,
    ];
    for key in keys {
        world.upload(key, format!("本文 {}", key.len())).await;
    }
    for key in keys {
        let id = if key.len() > 512 {
            use sha2::Digest;
            format!("sha256:{}", hex::encode(sha2::Sha256::digest(key.as_bytes())))
        } else {
            key.to_owned()
        };
        let document = world.wait_for_document(&id).await;
        assert_eq!(document["file_key"], key);
        assert_eq!(document["extracted_text"], format!("本文 {}", key.len()));
    }
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn metadata_only_kinds_are_found_by_name_and_never_downloaded() {
    let world = World::new("metadata-only").await;
    let _daemon = world.daemon().await;
    world
        .put_with_metadata(
            "documents/structure/ts-server7/図面/橋脚.dwg",
            "AC1032 drawing",
            &[("modified-at", "1999-12-31T23:59:59+09:00"), ("original-path", "%E6%A9%8B%E8%84%9A.dwg")],
        )
        .await;
    world.send(json!({ "key": "documents/structure/ts-server7/図面/橋脚.dwg" })).await;
    let document = world.wait_for_document("documents/structure/ts-server7/図面/橋脚.dwg").await;
    assert_eq!(document["outcome"], "indexed_without_text");
    assert_eq!(document["reason"], "metadata_only");
    assert_eq!(document["success"], true);
    assert_eq!(document["content_sha256"], Value::Null);
    assert_eq!(document["modified_at"], "1999-12-31T14:59:59Z");
    assert_eq!(document["category"], "structure");
    world.wait_until_settled().await;
}

#[tokio::test]
async fn a_damaged_container_says_honestly_that_it_has_no_text() {
    let world = World::new("office").await;
    let _daemon = world.daemon().await;
    world.upload("a.docx", b"PK\x03\x04 not really".to_vec()).await;
    let document = world.wait_for_document("a.docx").await;
    assert_eq!(document["outcome"], "indexed_without_text");
    assert_eq!(document["reason"], "corrupt");
    assert_eq!(document["success"], false);
    assert!(document["error_message"].as_str().is_some_and(|sentence| !sentence.is_empty()));
}

#[tokio::test]
async fn an_index_with_a_strict_mapping_takes_what_it_has_fields_for() {
    let world = World::without_index("strict", 30).await;
    let mapping = json!({
        "settings": { "number_of_replicas": 0 },
        "mappings": { "dynamic": "strict", "properties": {
            "file_key": { "type": "keyword" }, "file_name": { "type": "text" },
            "extracted_text": { "type": "text" }, "s3_last_modified": { "type": "date" },
            "success": { "type": "boolean" } } }
    });
    world.opensearch_put(&world.index, mapping).await;
    let daemon = world.daemon().await;
    world.upload("a.txt", "本文").await;
    let document = world.wait_for_document("a.txt").await;
    assert_eq!(document["extracted_text"], "本文");
    assert_eq!(document.get("category"), None);
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(daemon.log_text().contains("WARN"), "the fields left out are named once");
}

#[tokio::test]
async fn an_older_state_of_an_object_never_replaces_a_newer_one() {
    let world = World::new("older").await;
    let _daemon = world.daemon().await;
    world.upload("a.txt", "新しい").await;
    world.wait_for_document("a.txt").await;
    // The message of an older state, delivered late: the bucket still holds the newer one.
    world
        .send(json!({ "Records": [{ "eventVersion": "2.1", "eventName": "ObjectRemoved:Delete", "s3": {
            "bucket": { "name": world.bucket }, "object": { "key": "a.txt", "sequencer": "00" } } }] }))
        .await;
    world.wait_until_settled().await;
    let document = world.document("a.txt").await.expect("still there");
    assert_eq!(document["extracted_text"], "新しい");
}

#[tokio::test]
async fn a_thumbnail_of_a_japanese_key_lies_where_the_document_says() {
    let world = World::new("thumbnail").await;
    let _daemon = world.daemon().await;
    let key = "landing/写真 その1.png";
    world.upload(key, read_fixture("images/alpha.png")).await;
    let document = world.wait_for_document(key).await;
    let url = document["thumbnail_url"].as_str().expect("a thumbnail");
    use md5::Digest;
    let digest = hex::encode(md5::Md5::digest(key.as_bytes()));
    let thumbnail_key = format!("thumbnails/写真 その1_{}_thumb.jpg", &digest[..8]);
    assert_eq!(url, format!("s3://{}/{thumbnail_key}", world.thumbnail_bucket));
    let object = world.s3.get_object().bucket(&world.thumbnail_bucket).key(&thumbnail_key).send().await.unwrap();
    assert_eq!(object.content_type(), Some("image/jpeg"));
    let jpeg = object.body.collect().await.unwrap().into_bytes();
    let picture = image::load_from_memory(&jpeg).expect("a JPEG");
    assert!(picture.width() <= 200 && picture.height() <= 200);
}
