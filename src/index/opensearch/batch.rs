//! The bulk batcher: writes of many jobs go out together, and each job gets the verdict on its own item.
//!
//! While the index works on earlier requests, items gather; then a batch takes all that is there, waits for more if that is
//! little, and is closed by size, by a short silence or by age, whichever comes first. So requests grow with the load, and
//! with little of it nobody waits long. Throttled items
//! are sent again with full jitter for a bounded time; what an answer does not settle ends as `Unavailable`, and the job
//! tries again later, which is harmless because writes are conditional. A request that gets no answer at all is sent
//! once more if that took no time (a connection that was closed while it lay idle); then it is for the breaker to decide.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::bytes::{Bytes, BytesMut};

use super::client::{Answer, Client, expect_json, path_segment};
use super::outage;
use super::script::{BulkLines, guard_lines};
use super::verdict::{ItemVerdict, Rejection, read_verdicts};
use crate::health::events::IndexItemsRetried;
use crate::health::outage::{Outage, OutageCause};
use crate::index::IndexError;

/// A request is closed at this size (blueprint, "The sink").
const BATCH_BYTES: usize = 5 * 1024 * 1024;
/// A request that could go waits for no more items than this: a request costs the index as much as a few small documents.
const ENOUGH_ITEMS: usize = 16;
/// A request that could go is closed when nothing came for this long.
const BATCH_SILENCE: Duration = Duration::from_millis(30);
/// A request that could go is closed at this age.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// Requests under way at once: one slow request must not hold up everybody.
const REQUESTS_IN_FLIGHT: usize = 2;
/// Items that wait for a request; above it, callers wait.
const QUEUED_ITEMS: usize = 256;
/// How long throttled items are sent again before they count as unavailable. Shorter than any lease.
const RETRY_BUDGET: Duration = Duration::from_secs(15);
/// Requests without any answer that are sent again, in a row, when they fail as fast as a closed connection does.
const MAX_UNANSWERED_RETRIES: usize = 1;
const FAST_FAILURE: Duration = Duration::from_secs(2);
/// The mean of the first pause is half of this; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Serverless only: an index that was seen is taken to exist for so long.
const EXISTENCE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The answer for one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Done,
    LeftAlone,
    /// Nothing was created: there is a document already.
    Exists,
    Rejected(Rejection),
}

struct Item {
    lines: BulkLines,
    reply: oneshot::Sender<Result<Settled, IndexError>>,
}

impl Item {
    /// A caller that is gone needs no answer.
    fn answer(self, result: Result<Settled, IndexError>) {
        let _ = self.reply.send(result);
    }
}

/// The way into the batcher of one index. The batcher ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Batcher {
    items: mpsc::Sender<Item>,
}

impl Batcher {
    /// Starts the batcher's task on the current Tokio runtime.
    pub fn start(client: Client, index: &str) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED_ITEMS);
        tokio::spawn(gather(receiver, Arc::new(Delivery::new(client, index))));
        Self { items: sender }
    }

    /// Sends one action with the next request and waits for its verdict.
    pub async fn submit(&self, lines: BulkLines) -> Result<Settled, IndexError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || outage::not_understood("the bulk batcher has stopped".to_owned());
        self.items.send(Item { lines, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Makes batches until every sender is gone.
async fn gather(mut items: mpsc::Receiver<Item>, delivery: Arc<Delivery>) {
    let requests = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT));
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            Some(item) => item,
            None => match items.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        let Ok(permit) = Arc::clone(&requests).acquire_owned().await else { return };
        let batch;
        (batch, left_over) = collect(&mut items, first).await;
        let delivery = Arc::clone(&delivery);
        tokio::spawn(async move {
            delivery.deliver(batch).await;
            drop(permit);
        });
    }
}

/// One batch, and the item that did not fit into it.
async fn collect(items: &mut mpsc::Receiver<Item>, first: Item) -> (Vec<Item>, Option<Item>) {
    let oldest = Instant::now() + BATCH_AGE;
    let mut bytes = first.lines.bytes.len();
    let mut batch = vec![first];
    loop {
        let closes_at = oldest.min(Instant::now() + BATCH_SILENCE);
        let next = if batch.len() < ENOUGH_ITEMS {
            timeout_at(closes_at, items.recv()).await.ok().flatten()
        } else {
            items.try_recv().ok()
        };
        let Some(item) = next else { return (batch, None) };
        bytes += item.lines.bytes.len();
        if bytes > BATCH_BYTES {
            return (batch, Some(item));
        }
        batch.push(item);
    }
}

/// What a whole request came to.
enum Sent {
    Answered(Vec<ItemVerdict>),
    /// 413, or a 400 for the request as a whole: smaller requests will tell more.
    Split {
        too_large: bool,
        text: String,
    },
    /// No answer, or a throttled one.
    TryAgain(Outage),
    Unavailable(Outage),
}

/// Sends one action in a request of its own, once, with little patience: for probes.
pub async fn deliver_alone(client: &Client, index: &str, lines: BulkLines) -> Result<Settled, IndexError> {
    let guard = (!client.is_serverless()).then(guard_lines);
    let (ids, body) = request(guard.iter().chain([&lines]));
    let sent = match client.short_bulk(index, body).await {
        Ok(answer) => understand(&answer, &ids, guard.is_some()),
        Err(seen) => Sent::Unavailable(seen),
    };
    match sent {
        Sent::Answered(verdicts) => match verdicts.into_iter().next() {
            Some(ItemVerdict::Done) => Ok(Settled::Done),
            Some(ItemVerdict::LeftAlone) => Ok(Settled::LeftAlone),
            Some(ItemVerdict::Exists) => Ok(Settled::Exists),
            Some(ItemVerdict::Rejected(rejection)) => Ok(Settled::Rejected(rejection)),
            Some(ItemVerdict::TryAgain(seen) | ItemVerdict::Unavailable(seen)) => Err(IndexError::Unavailable(seen)),
            None => Err(outage::not_understood("the bulk answer has no item".to_owned())),
        },
        Sent::Split { text, .. } => Err(outage::not_understood(format!("bulk request refused: {text}"))),
        Sent::TryAgain(seen) | Sent::Unavailable(seen) => Err(IndexError::Unavailable(seen)),
    }
}

/// Sends batches to one index until each item has its answer.
struct Delivery {
    client: Client,
    index: String,
    /// Serverless only: when the index was last seen.
    seen: Mutex<Option<Instant>>,
}

impl Delivery {
    fn new(client: Client, index: &str) -> Self {
        Self { client, index: index.to_owned(), seen: Mutex::new(None) }
    }

    async fn deliver(&self, batch: Vec<Item>) {
        let give_up_at = Instant::now() + RETRY_BUDGET;
        let mut waiting = batch;
        let mut attempt = 0;
        let mut unanswered = 0;
        loop {
            let began = Instant::now();
            let (again, seen) = self.deliver_once(waiting).await;
            let Some(seen) = seen.filter(|_| !again.is_empty()) else { return };
            let is_unanswered = seen.cause == OutageCause::Unreachable;
            unanswered = if is_unanswered { unanswered + 1 } else { 0 };
            let is_silence = is_unanswered && began.elapsed() > FAST_FAILURE;
            let pause = full_jitter(attempt);
            if is_silence || unanswered > MAX_UNANSWERED_RETRIES || Instant::now() + pause > give_up_at {
                for item in again {
                    item.answer(Err(IndexError::Unavailable(seen.clone())));
                }
                return;
            }
            IndexItemsRetried { items: again.len(), why: &seen.detail }.emit();
            sleep(pause).await;
            attempt += 1;
            waiting = again;
        }
    }

    /// Sends the items, in smaller requests where needed; returns those that are worth another try, and why.
    async fn deliver_once(&self, items: Vec<Item>) -> (Vec<Item>, Option<Outage>) {
        let mut requests = vec![items];
        let mut again = Vec::new();
        let mut reason = None;
        while let Some(mut request) = requests.pop() {
            match self.send(&request).await {
                Sent::Answered(verdicts) => {
                    for (item, verdict) in request.into_iter().zip(verdicts) {
                        match verdict {
                            ItemVerdict::Done => item.answer(Ok(Settled::Done)),
                            ItemVerdict::LeftAlone => item.answer(Ok(Settled::LeftAlone)),
                            ItemVerdict::Exists => item.answer(Ok(Settled::Exists)),
                            ItemVerdict::Rejected(rejection) => item.answer(Ok(Settled::Rejected(rejection))),
                            ItemVerdict::Unavailable(seen) => item.answer(Err(IndexError::Unavailable(seen))),
                            ItemVerdict::TryAgain(seen) => {
                                again.push(item);
                                reason = Some(seen);
                            }
                        }
                    }
                }
                Sent::Split { .. } if request.len() > 1 => {
                    let second_half = request.split_off(request.len() / 2);
                    requests.push(second_half);
                    requests.push(request);
                }
                Sent::Split { too_large, text } => {
                    for item in request {
                        let bytes = item_bytes(&item);
                        item.answer(alone(too_large, &text, bytes));
                    }
                }
                Sent::TryAgain(seen) => {
                    again.append(&mut request);
                    reason = Some(seen);
                }
                Sent::Unavailable(seen) => {
                    for item in request {
                        item.answer(Err(IndexError::Unavailable(seen.clone())));
                    }
                }
            }
        }
        (again, reason)
    }

    async fn send(&self, items: &[Item]) -> Sent {
        if self.client.is_serverless()
            && let Err(error) = self.check_existence().await
        {
            return Sent::Unavailable(error.outage());
        }

        let guard = (!self.client.is_serverless()).then(guard_lines);
        let (ids, body) = request(guard.iter().chain(items.iter().map(|item| &item.lines)));
        match self.client.bulk(&self.index, body).await {
            Ok(answer) => understand(&answer, &ids, guard.is_some()),
            Err(seen) => Sent::TryAgain(Outage::new(seen.cause, format!("bulk request: {}", seen.detail))),
        }
    }

    /// Serverless is not known to honour `require_alias`; there the index is looked at before writing, at most
    /// every few seconds. The gap that remains needs an index deleted in these seconds, and a data access policy
    /// that lets the worker create indexes.
    async fn check_existence(&self) -> Result<(), IndexError> {
        if self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|seen| seen.elapsed() < EXISTENCE_CHECK_INTERVAL)
        {
            return Ok(());
        }
        look_at_index(&self.client, &self.index).await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }
}

/// Fails when there is no such index. For Serverless, before something is written.
pub async fn look_at_index(client: &Client, index: &str) -> Result<(), IndexError> {
    let path = format!("{}/_mapping", path_segment(index));
    expect_json("look at the index", client.get(&path).await).map(|_mapping| ())
}

fn item_bytes(item: &Item) -> usize {
    item.lines.bytes.len()
}

/// The ids of a request in order, and its body.
fn request<'a>(actions: impl Iterator<Item = &'a BulkLines>) -> (Vec<&'a str>, Bytes) {
    let mut ids: Vec<&str> = Vec::new();
    let mut body = BytesMut::new();
    for lines in actions {
        ids.push(&lines.id);
        body.extend_from_slice(&lines.bytes);
    }
    (ids, body.freeze())
}

fn understand(answer: &Answer, ids: &[&str], guarded: bool) -> Sent {
    match answer.status {
        200 => read_answer(&answer.body, ids, guarded),
        413 => Sent::Split { too_large: true, text: answer.explain() },
        400 => Sent::Split { too_large: false, text: answer.explain() },
        429 | 502 | 503 | 504 => Sent::TryAgain(outage::of_answer("bulk request", answer)),
        _ => Sent::Unavailable(outage::of_answer("bulk request", answer)),
    }
}

fn read_answer(body: &Bytes, ids: &[&str], guarded: bool) -> Sent {
    match read_verdicts(body, ids) {
        Ok(mut verdicts) => {
            if guarded {
                verdicts.remove(0);
            }
            Sent::Answered(verdicts)
        }
        Err(text) => Sent::Unavailable(Outage::new(OutageCause::Failing, text)),
    }
}

/// The answer for an item whose request was refused as a whole although it held nothing else: too large is the
/// document's fault; a 400 is not, since ids and lines are well-formed.
fn alone(too_large: bool, text: &str, bytes: usize) -> Result<Settled, IndexError> {
    if too_large {
        let text = format!("the index refuses requests of {bytes} bytes: {text}");
        return Ok(Settled::Rejected(Rejection { unknown_field: false, text }));
    }
    Err(outage::not_understood(format!("bulk request refused: {text}")))
}

/// Anything between nothing and the exponentially growing bound, so that throttled workers spread out.
fn full_jitter(attempt: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
    bound.mul_f64(fastrand::f64())
}
