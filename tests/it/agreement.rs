//! Whether the index agrees with the bucket: the question behind every test of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::World;

/// Documents read by one search request.
const PAGE: usize = 1_000;

/// What must stand in `content_sha256`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentHash {
    /// Of the object's bytes.
    Of(String),
    /// The file is never fetched.
    None,
    /// It depends on how far its reading came.
    Any,
}

/// What must stand in the index about one object.
#[derive(Clone, Debug)]
pub struct Expected {
    pub content_sha256: ContentHash,
    /// Must stand in the text; `None` where no text is promised.
    pub marker: Option<String>,
    /// The outcomes that this object may have; none: it must not have a document.
    pub outcomes: &'static [&'static str],
}

impl Expected {
    /// A readable file whose text holds `marker`.
    pub fn text(bytes: &[u8], marker: &str) -> Self {
        Self { content_sha256: sha256(bytes), marker: Some(marker.to_owned()), outcomes: &["indexed"] }
    }

    /// A file whose bytes are read and which may end in one of `outcomes`.
    pub fn bytes(bytes: &[u8], outcomes: &'static [&'static str]) -> Self {
        Self { content_sha256: sha256(bytes), marker: None, outcomes }
    }

    /// An object that has no document: nothing in it, a folder marker, a thumbnail.
    pub fn nothing() -> Self {
        Self { content_sha256: ContentHash::None, marker: None, outcomes: &[] }
    }

    fn has_document(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// A file that may take its reader down: somehow it has a document.
    pub fn some_document() -> Self {
        let outcomes = &["indexed", "indexed_partial", "indexed_without_text"];
        Self { content_sha256: ContentHash::Any, marker: None, outcomes }
    }

    /// A file that is known by name only.
    pub fn metadata_only() -> Self {
        Self { content_sha256: ContentHash::None, marker: None, outcomes: &["indexed_without_text"] }
    }
}

fn sha256(bytes: &[u8]) -> ContentHash {
    ContentHash::Of(hex::encode(Sha256::digest(bytes)))
}

/// One way in which index and bucket differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    Missing { key: String },
    Extra { key: String },
    Wrong { key: String, why: String },
    ExtraThumbnail { key: String },
    LostThumbnail { key: String },
}

impl Difference {
    /// The object, for a look into the logs.
    pub fn key(&self) -> &str {
        match self {
            Difference::Missing { key }
            | Difference::Extra { key }
            | Difference::Wrong { key, .. }
            | Difference::ExtraThumbnail { key }
            | Difference::LostThumbnail { key } => key,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing { key } => write!(formatter, "missing: {key}"),
            Difference::Extra { key } => write!(formatter, "extra: {key}"),
            Difference::Wrong { key, why } => write!(formatter, "wrong: {key}: {why}"),
            Difference::ExtraThumbnail { key } => write!(formatter, "thumbnail of nothing: {key}"),
            Difference::LostThumbnail { key } => {
                write!(formatter, "the document names a thumbnail that is not there: {key}")
            }
        }
    }
}

/// What was found when index and bucket were compared.
#[derive(Debug, Default)]
pub struct Agreement {
    pub objects: usize,
    pub right: usize,
    /// Pages that the documents in the index say were read by OCR.
    pub pages_ocr: u64,
    pub differences: Vec<Difference>,
}

/// Compares the index with the bucket, and both with what the test knows about each object in it.
pub async fn compare(world: &World, expected: &BTreeMap<String, Expected>) -> Agreement {
    let etags = list(world, &world.bucket).await;
    let documents = documents(world).await;
    let thumbnails = list(world, &world.thumbnail_bucket).await;
    let known: BTreeSet<&String> = expected.keys().collect();
    let there: BTreeSet<&String> = etags.keys().collect();
    assert_eq!(known, there, "the test's own idea of the bucket");

    let mut agreement = Agreement { objects: etags.len(), ..Agreement::default() };
    for (key, etag) in &etags {
        if !expected[key].has_document() {
            agreement.right += usize::from(!documents.contains_key(key));
            continue;
        }
        let Some(document) = documents.get(key) else {
            agreement.differences.push(Difference::Missing { key: key.clone() });
            continue;
        };
        agreement.pages_ocr += document["pages_ocr"].as_u64().unwrap_or(0);
        if let Some(url) = document["thumbnail_url"].as_str() {
            let name = url.trim_start_matches("s3://").split_once('/').map_or("", |(_bucket, name)| name).to_owned();
            if !thumbnails.contains_key(&name) {
                agreement.differences.push(Difference::LostThumbnail { key: key.clone() });
            }
        }
        match fault_of(document, etag, &expected[key]) {
            None => agreement.right += 1,
            Some(why) => agreement.differences.push(Difference::Wrong { key: key.clone(), why }),
        }
    }
    let extra = documents.keys().filter(|key| !expected.get(*key).is_some_and(Expected::has_document));
    agreement.differences.extend(extra.map(|key| Difference::Extra { key: key.clone() }));
    let endings: BTreeSet<String> = etags.keys().map(|key| thumbnail_ending(key)).collect();
    // What is remembered about unfinished objects lies there, too, and is gone when they are finished.
    let orphans = thumbnails.keys().filter(|name| {
        name.starts_with("thumbnails/") && !endings.iter().any(|ending| name.ends_with(ending.as_str()))
    });
    agreement.differences.extend(orphans.map(|name| Difference::ExtraThumbnail { key: name.clone() }));
    agreement
}

/// How the name of a key's thumbnail ends (contract §3).
fn thumbnail_ending(key: &str) -> String {
    format!("_{}_thumb.jpg", &hex::encode(Md5::digest(key))[..8])
}

/// Why a document is not the one that must stand there.
fn fault_of(document: &Value, etag: &str, expected: &Expected) -> Option<String> {
    let said = |name: &str| document[name].as_str().unwrap_or("null").to_owned();
    if said("etag") != etag {
        return Some(format!("the bucket holds etag {etag}, the document is of {}", said("etag")));
    }
    if !expected.outcomes.contains(&said("outcome").as_str()) {
        let sentence = said("error_message");
        return Some(format!(
            "outcome {} ({}), not {:?}: {sentence}",
            said("outcome"),
            said("reason"),
            expected.outcomes
        ));
    }
    let hash_agrees = match &expected.content_sha256 {
        ContentHash::Of(hash) => document["content_sha256"] == **hash,
        ContentHash::None => document["content_sha256"].is_null(),
        ContentHash::Any => true,
    };
    if !hash_agrees {
        return Some(format!("content_sha256 {}, not {:?}", said("content_sha256"), expected.content_sha256));
    }
    let text = document["extracted_text"].as_str().unwrap_or_default();
    let marker = expected.marker.as_ref()?;
    (!text.contains(marker))
        .then(|| format!("`{marker}` is not in its text: {}", text.chars().take(200).collect::<String>()))
}

/// The keys of a bucket with their ETags, as the daemon writes them.
pub async fn list(world: &World, bucket: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pages = world.s3.list_objects_v2().bucket(bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        for object in page.expect("list the bucket").contents.unwrap_or_default() {
            let etag = object.e_tag.unwrap_or_default().trim_matches('"').to_owned();
            found.insert(object.key.unwrap_or_default(), etag);
        }
    }
    found
}

/// All documents of the index by key.
async fn documents(world: &World) -> BTreeMap<String, Value> {
    world.refresh().await;
    let mut found = BTreeMap::new();
    let mut after = Value::Null;
    loop {
        let mut body = json!({ "size": PAGE, "query": { "match_all": {} }, "sort": [{ "file_key": "asc" }] });
        if !after.is_null() {
            body["search_after"] = after;
        }
        let answer = world.opensearch_post(&format!("{}/_search", world.index), body).await;
        assert_eq!(answer["_shards"]["failed"], 0, "{answer}");
        let hits = answer["hits"]["hits"].as_array().cloned().unwrap_or_default();
        for hit in &hits {
            let key = hit["_source"]["file_key"].as_str().unwrap_or_default().to_owned();
            assert_eq!(hit["_id"].as_str(), Some(key.as_str()), "the id is the key");
            assert!(found.insert(key.clone(), hit["_source"].clone()).is_none(), "{key} twice");
        }
        match hits.last() {
            Some(last) if hits.len() == PAGE => after = last["sort"].clone(),
            _ => return found,
        }
    }
}

/// Of the markers, those that a search does not find in their own document.
pub async fn not_findable(world: &World, markers: impl Iterator<Item = (&String, &String)>) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (key, marker) in markers {
        let query = json!({ "_source": false, "size": 1, "query": { "bool": {
            "must": [{ "match_phrase": { "extracted_text": marker } }],
            "filter": [{ "term": { "file_key": key } }],
        } } });
        let answer = world.opensearch_post(&format!("{}/_search", world.index), query).await;
        if answer["hits"]["total"]["value"] != 1 {
            let why = format!("a search for `{marker}` does not find it: {answer}");
            differences.push(Difference::Wrong { key: key.clone(), why });
        }
    }
    differences
}
