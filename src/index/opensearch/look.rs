//! Requests that change nothing, one of each kind that the worker makes: what `doctor` learns permissions from.

use serde_json::json;

use super::OpenSearchIndex;
use super::client::{Answer, path_segment};
use super::outage;
use super::smoke::smoke_test_index;
use crate::health::outage::Outage;

/// How the cluster answered the first question.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its `Date` header.
    pub date: Option<String>,
    /// What keeps the mapping from being read.
    pub refusal: Option<Outage>,
}

impl OpenSearchIndex {
    /// Asks for the mapping. `Err`: no answer came.
    pub async fn look(&self) -> Result<Look, Outage> {
        let answer = self.client.get(&format!("{}/_mapping", path_segment(&self.index))).await?;
        let operation = format!("read the mapping of index {}", self.index);
        let refusal = (!answer.is_success()).then(|| outage::of_answer(&operation, &answer));
        Ok(Look { date: answer.date, refusal })
    }

    /// A search that brings no document.
    pub async fn try_search(&self) -> Result<(), Outage> {
        let path = format!("{}/_search", path_segment(&self.index));
        let answer = self.client.post(&path, &json!({ "size": 0, "track_total_hits": false })).await?;
        allowed(&format!("search index {}", self.index), &answer)
    }

    /// A change of the smoke-test index that changes nothing. That it is not there yet is no refusal: the first smoke
    /// test makes it.
    pub async fn try_change(&self) -> Result<(), Outage> {
        let smoke_index = smoke_test_index(self);
        let path = format!("{}/_mapping", path_segment(&smoke_index.index));
        let answer = self.client.put(&path, &json!({ "properties": {} })).await?;
        if answer.status == 404 {
            return Ok(());
        }
        allowed(&format!("change index {}", smoke_index.index), &answer)
    }
}

fn allowed(operation: &str, answer: &Answer) -> Result<(), Outage> {
    if answer.is_success() { Ok(()) } else { Err(outage::of_answer(operation, answer)) }
}
