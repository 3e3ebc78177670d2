//! Many jobs' look-ups of single documents in one request: a request costs the cluster more than the document in it.
//!
//! Nobody waits for company: while a request is under way, those who come gather and go together in the next one.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::client::{self, Client, expect_json, path_segment};
use super::outage;
use crate::health::outage::Outage;
use crate::index::IndexError;

/// Requests under way at once: with few look-ups, each goes at once.
const REQUESTS_IN_FLIGHT: usize = 2;
/// Look-ups in one request at most.
const MOST_TOGETHER: usize = 100;
/// Look-ups that wait for a request; above it, callers wait.
const QUEUED: usize = 64;

/// What is read of a document, or why it could not be; `None` when there is none.
type Found = Result<Option<Value>, IndexError>;

struct Lookup {
    id: String,
    reply: oneshot::Sender<Found>,
}

/// The way into the task that looks up. It ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Lookups {
    lookups: mpsc::Sender<Lookup>,
}

impl Lookups {
    /// Starts the task on the current Tokio runtime. `fields`: what is read of each document, by commas.
    pub fn start(client: Client, index: &str, fields: &'static str) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED);
        tokio::spawn(gather(receiver, client, index.to_owned(), fields));
        Self { lookups: sender }
    }

    /// The fields of the document under the id as it is now, searchable or not.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn find(&self, id: &str) -> Found {
        let (reply, answer) = oneshot::channel();
        let stopped = || outage::not_understood("the look-up task has stopped".to_owned());
        self.lookups.send(Lookup { id: id.to_owned(), reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn gather(mut lookups: mpsc::Receiver<Lookup>, client: Client, index: String, fields: &'static str) {
    let requests = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT));
    while let Some(first) = lookups.recv().await {
        let Ok(permit) = Arc::clone(&requests).acquire_owned().await else { return };
        let mut together = vec![first];
        while together.len() < MOST_TOGETHER
            && let Ok(next) = lookups.try_recv()
        {
            together.push(next);
        }
        let (client, index) = (client.clone(), index.clone());
        tokio::spawn(async move {
            let ids: Vec<&str> = together.iter().map(|lookup| lookup.id.as_str()).collect();
            let found = read(&client, &index, &ids, Some(fields)).await;
            for (lookup, found) in together.into_iter().zip(found) {
                // A caller that is gone needs no answer.
                let _ = lookup.reply.send(found);
            }
            drop(permit);
        });
    }
}

/// The documents under the ids, in their order, with all fields or some. Ids travel in the body: in a path, `..` or an
/// encoded slash would not arrive everywhere as written.
pub async fn read(client: &Client, index: &str, ids: &[&str], fields: Option<&str>) -> Vec<Found> {
    let operation = format!("read from index {index}");
    let mut path = format!("{}/_mget", path_segment(index));
    if let Some(fields) = fields {
        path.push_str("?_source_includes=");
        path.push_str(fields);
    }
    let answer = match expect_json(&operation, client.post(&path, &json!({"ids": ids})).await) {
        Ok(answer) => answer,
        Err(error) => {
            let outage = error.outage();
            return ids.iter().map(|_| Err(IndexError::Unavailable(outage.clone()))).collect();
        }
    };
    let documents = answer.get("docs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    (0..ids.len()).map(|position| understand(&operation, documents.get(position))).collect()
}

fn understand(operation: &str, document: Option<&Value>) -> Found {
    let Some(document) = document else {
        return Err(outage::not_understood(format!("{operation}: the answer holds no document")));
    };
    if let Some(error) = document.get("error") {
        let detail = format!("{operation}: {}", client::explain_error(error));
        return Err(IndexError::Unavailable(Outage::new(outage::cause_of(200, error), detail)));
    }
    match document.get("found").and_then(Value::as_bool) {
        Some(true) => Ok(Some(document.get("_source").cloned().unwrap_or_default())),
        Some(false) => Ok(None),
        None => Err(outage::not_understood(format!("{operation}: the answer is not understood"))),
    }
}
