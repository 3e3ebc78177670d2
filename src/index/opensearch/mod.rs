//! The index in OpenSearch: bulk writes that never lose other programs' fields or a newer state, item by item.
//!
//! * `client`: one HTTP call, signed or with basic auth; `outage`: which kind of trouble its answer tells of
//! * `script`: the lines of a bulk request; `verdict`: what each item's answer means
//! * `batch`: writes of many jobs go out together; `lookup`: so do their questions
//! * `mapping`, `compare`, `create`: the fields, an existing index's fitness, `--create-index`
//! * `validate`: what `--validate-only` asks; `look`: what `doctor` tries

mod batch;
mod client;
mod compare;
mod create;
mod look;
mod lookup;
mod mapping;
mod outage;
mod script;
mod smoke;
mod validate;
mod verdict;

#[cfg(test)]
mod real_server_tests;
#[cfg(test)]
mod scripted_server_tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::batch::{Batcher, Settled};
pub use self::client::ConnectError;
use self::client::{Client, expect_json, path_segment};
pub use self::create::CreateReport;
use self::lookup::Lookups;
use self::script::{create_lines, delete_lines, document_fields, probe_lines, put_lines};
pub use self::validate::Validation;
use crate::config::ServerSettings;
use crate::document::keys::document_id;
use crate::document::{Document, Outcome};
use crate::health::events::IndexFieldsLeftOut;
use crate::health::outage::{Outage, OutageCause};
use crate::index::{Index, IndexError, IndexedState, ObjectOrder, SmokeTestTimes, Verdict};

/// A document that no object has: [`Index::probe`] updates it in vain.
const PROBE_ID: &str = "__file-processor-worker-probe__";
/// The fields that [`Index::state`] reads.
const STATE_FIELDS: &str = "etag,converted_etag,ocr_engine,outcome,s3_last_modified,nas_path,modified_at";
/// A mapping that lacks fields is looked at again after this time: an operator may have added them.
const MAPPING_REFRESH: Duration = Duration::from_secs(60);
/// Documents removed in one request by [`OpenSearchIndex::delete_older_than`].
const EXPIRED_PAGE: usize = 500;

/// One index of an OpenSearch cluster.
#[derive(Clone, Debug)]
pub struct OpenSearchIndex {
    client: Client,
    index: String,
    batcher: Batcher,
    lookups: Lookups,
    left_out: Arc<Mutex<LeftOut>>,
}

/// What a write takes for granted.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// There is no document yet. If there is one after all, it is as if it had been `UnlessNewer`.
    New,
    UnlessNewer,
    Forced,
}

/// The fields that this index would reject (`dynamic: strict`), as of the last look at its mapping.
#[derive(Debug, Default)]
struct LeftOut {
    fields: Arc<BTreeSet<String>>,
    looked_at: Option<Instant>,
}

impl OpenSearchIndex {
    /// An index by its name (or alias) on the cluster that the settings name. Touches no network; starts the
    /// batcher's task, so it must be called on a Tokio runtime.
    pub fn connect(
        servers: &ServerSettings,
        region: &str,
        index: &str,
        sdk_config: &SdkConfig,
    ) -> Result<Self, ConnectError> {
        let client = Client::new(servers, region, sdk_config)?;
        Ok(Self::on(client, index))
    }

    /// Another index of the same cluster, with a batcher of its own (smoke tests).
    pub fn with_index(&self, index: &str) -> Self {
        Self::on(self.client.clone(), index)
    }

    fn on(client: Client, index: &str) -> Self {
        let batcher = Batcher::start(client.clone(), index);
        let lookups = Lookups::start(client.clone(), index, STATE_FIELDS);
        Self { client, index: index.to_owned(), batcher, lookups, left_out: Arc::default() }
    }

    /// The name as configured.
    pub fn index_name(&self) -> &str {
        &self.index
    }

    /// `--create-index`: creates the index, or adds missing fields to it. The daemon calls it for the smoke-test
    /// index only.
    pub async fn create(&self) -> Result<CreateReport, IndexError> {
        create::create(&self.client, &self.index).await
    }

    /// `--validate-only`: the index exists, its mapping fits, and we may write.
    pub async fn validate(&self) -> Result<Validation, IndexError> {
        validate::validate(self).await
    }

    /// Writes the document under an id of the caller's choice (smoke tests; [`Index::put`] derives it from the key).
    ///
    /// A document that the index refuses is tried again without the fields that a strict mapping lacks, then
    /// without `metadata` (contract §4), then it is `Rejected`.
    pub async fn put_as(
        &self,
        id: &str,
        document: &Document,
        order: &ObjectOrder,
        force: bool,
    ) -> Result<Verdict, IndexError> {
        self.write(id, document, order, if force { Manner::Forced } else { Manner::UnlessNewer }).await
    }

    async fn write(
        &self,
        id: &str,
        document: &Document,
        order: &ObjectOrder,
        manner: Manner,
    ) -> Result<Verdict, IndexError> {
        let mut left_out = self.left_out().await;
        let mut settled = self.submit_without(id, document, order, manner, &left_out).await?;

        if let Settled::Rejected(rejection) = &settled
            && rejection.unknown_field
        {
            let known_now = self.look_at_mapping().await?;
            if known_now != left_out {
                left_out = known_now;
                settled = self.submit_without(id, document, order, manner, &left_out).await?;
            }
        }
        if let Settled::Rejected(rejection) = &settled
            && !document.metadata.is_empty()
        {
            log::info!(key:% = document.file_key, reason:% = rejection.text;
                "index refused the document, trying without its metadata");
            let mut fewer = (*left_out).clone();
            fewer.insert("metadata".to_owned());
            settled = self.submit_without(id, document, order, manner, &fewer).await?;
        }
        verdict_of(settled)
    }

    async fn submit_without(
        &self,
        id: &str,
        document: &Document,
        order: &ObjectOrder,
        manner: Manner,
        left_out: &BTreeSet<String>,
    ) -> Result<Settled, IndexError> {
        if left_out.is_empty() {
            return self.submit(id, document, order, manner).await;
        }
        let mut fields = document_fields(document);
        fields.retain(|name, _| !left_out.contains(name));
        self.submit(id, &fields, order, manner).await
    }

    async fn submit(
        &self,
        id: &str,
        fields: &impl Serialize,
        order: &ObjectOrder,
        manner: Manner,
    ) -> Result<Settled, IndexError> {
        if let Manner::New = manner {
            let settled = self.batcher.submit(create_lines(id, fields)).await?;
            if settled != Settled::Exists {
                return Ok(settled);
            }
        }
        self.batcher.submit(put_lines(id, fields, order, matches!(manner, Manner::Forced))).await
    }

    /// The fields to leave out, from memory where it is fresh enough. An index whose mapping cannot be read is
    /// written to all the same: the write itself tells what is wrong.
    async fn left_out(&self) -> Arc<BTreeSet<String>> {
        let (fields, looked_at) = {
            let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&left_out.fields), left_out.looked_at)
        };
        let fresh = looked_at.is_some_and(|time| fields.is_empty() || time.elapsed() < MAPPING_REFRESH);
        if fresh {
            return fields;
        }
        match self.look_at_mapping().await {
            Ok(known_now) => known_now,
            Err(error) => {
                log::debug!(index:% = self.index, error:%; "mapping could not be read");
                fields
            }
        }
    }

    /// Reads the mapping and remembers which fields it would reject; one WARN when that changed.
    async fn look_at_mapping(&self) -> Result<Arc<BTreeSet<String>>, IndexError> {
        let rejected = match create::existing_mapping(&self.client, &self.index).await? {
            Some(mapping) => mapping.rejected_fields(),
            None => {
                let missing = format!("index {} does not exist", self.index);
                return Err(IndexError::Unavailable(Outage::new(OutageCause::Missing, missing)));
            }
        };
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.looked_at = Some(Instant::now());
        if *left_out.fields != rejected {
            if !rejected.is_empty() {
                let names = rejected.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                IndexFieldsLeftOut { index: &self.index, fields: &names }.emit();
            }
            left_out.fields = Arc::new(rejected);
        }
        Ok(Arc::clone(&left_out.fields))
    }

    /// The stored document under the id as it is now, searchable or not; `None` when there is none.
    pub async fn source(&self, id: &str) -> Result<Option<Value>, IndexError> {
        let found = lookup::read(&self.client, &self.index, &[id], None).await.pop();
        found.unwrap_or_else(|| Err(outage::not_understood("no answer for the document".to_owned())))
    }

    /// Removes the document under the id whatever its state; absent is no error.
    pub async fn delete_id(&self, id: &str) -> Result<(), IndexError> {
        verdict_of(self.batcher.submit(delete_lines(id, None)).await?).map(|_| ())
    }

    /// Removes every document whose `indexed_at` is before `limit` (the smoke-test index keeps a day); returns how
    /// many. By search and bulk, since Serverless has no delete-by-query.
    pub async fn delete_older_than(&self, limit: Timestamp) -> Result<usize, IndexError> {
        let operation = format!("search index {} for old documents", self.index);
        let query = json!({
            "size": EXPIRED_PAGE,
            "_source": false,
            "query": {"range": {"indexed_at": {"lt": limit.to_string()}}},
        });
        let path = format!("{}/_search", path_segment(&self.index));
        let answer = expect_json(&operation, self.client.post(&path, &query).await)?;
        let hits = answer
            .pointer("/hits/hits")
            .and_then(Value::as_array)
            .ok_or_else(|| outage::not_understood(format!("{operation}: the answer holds no hits")))?;
        let ids: Vec<&str> = hits.iter().filter_map(|hit| hit.get("_id")?.as_str()).collect();
        let deletions = ids.iter().map(|id| self.delete_id(id));
        for deletion in futures_util::future::join_all(deletions).await {
            deletion?;
        }
        Ok(ids.len())
    }

    /// An action of which nothing remains; its verdict tells whether the index takes writes. Past the batcher, whose
    /// patience with a cluster in trouble would keep the answer back.
    async fn write_in_vain(&self) -> Result<(), IndexError> {
        if self.client.is_serverless() {
            batch::look_at_index(&self.client, &self.index).await?;
        }
        verdict_of(batch::deliver_alone(&self.client, &self.index, probe_lines(PROBE_ID)).await?).map(|_| ())
    }
}

#[async_trait]
impl Index for OpenSearchIndex {
    async fn put(&self, document: &Document, order: &ObjectOrder, force: bool) -> Result<Verdict, IndexError> {
        self.put_as(&document_id(&document.file_key), document, order, force).await
    }

    async fn put_new(&self, document: &Document, order: &ObjectOrder) -> Result<Verdict, IndexError> {
        self.write(&document_id(&document.file_key), document, order, Manner::New).await
    }

    async fn delete(&self, key: &str, order: Option<&ObjectOrder>) -> Result<Verdict, IndexError> {
        verdict_of(self.batcher.submit(delete_lines(&document_id(key), order)).await?)
    }

    async fn state(&self, key: &str) -> Result<Option<IndexedState>, IndexError> {
        let Some(source) = self.lookups.find(&document_id(key)).await? else { return Ok(None) };
        let text = |field: &str| source.get(field).and_then(Value::as_str).map(str::to_owned);
        Ok(Some(IndexedState {
            etag: text("etag"),
            converted_etag: text("converted_etag"),
            ocr_engine: text("ocr_engine"),
            outcome: text("outcome"),
            s3_last_modified: text("s3_last_modified"),
            nas_path: text("nas_path"),
            modified_at: text("modified_at"),
        }))
    }

    async fn with_content(&self, content_sha256: &str, engine: &str) -> Result<Option<Document>, IndexError> {
        let operation = format!("search index {} for the same content", self.index);
        let query = json!({
            "size": 1,
            "query": {"bool": {
                "filter": [
                    {"term": {"content_sha256": content_sha256}},
                    {"term": {"ocr_engine": engine}},
                    {"term": {"outcome": Outcome::Indexed.as_str()}},
                    {"range": {"pages_ocr": {"gt": 0}}},
                ],
                "must_not": [{"exists": {"field": "converted_etag"}}],
            }},
        });
        let path = format!("{}/_search", path_segment(&self.index));
        let mut answer = expect_json(&operation, self.client.post(&path, &query).await)?;
        let source = answer.pointer_mut("/hits/hits/0/_source").map(Value::take);
        // One that is not as this version writes it is no help.
        Ok(source.and_then(|source| serde_json::from_value(source).ok()))
    }

    /// One bulk request that does what writes do and leaves nothing: it fails exactly when they would (no such
    /// index, no permission, read-only, closed, down). Nothing is asked that Serverless does not have.
    async fn probe(&self) -> Result<(), IndexError> {
        self.write_in_vain().await
    }

    async fn write_smoke_test(&self, id: &str, document: &Document) -> Result<SmokeTestTimes, IndexError> {
        smoke::write(self, id, document).await
    }

    async fn has_smoke_test(&self, id: &str) -> Result<bool, IndexError> {
        smoke::exists(self, id).await
    }

    /// Every write is acknowledged before `put` returns; there is nothing to wait for.
    async fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

fn verdict_of(settled: Settled) -> Result<Verdict, IndexError> {
    match settled {
        Settled::Done => Ok(Verdict::Written),
        Settled::LeftAlone => Ok(Verdict::Superseded),
        // Said to creates only, which are followed by a write that is not one.
        Settled::Exists => Err(outage::not_understood("the index refused to create what was to be changed".to_owned())),
        Settled::Rejected(rejection) => Err(IndexError::Rejected(rejection.text)),
    }
}
