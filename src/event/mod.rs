//! What a queue message asks for: every body of contract §1 becomes [`Message`].
//!
//! * `envelope`: what is wrapped around the message (SNS, a copy out of the dead-letter queue), and which kind it is
//! * `kinds`: the kinds that name objects: S3 notifications, EventBridge, NAS scanner, direct
//! * `key`: decoding and checking of S3 keys
//!
//! Nothing here asks the bucket or the index. A message is only a hint that a key changed (blueprint, "The bucket
//! is the truth"), so its size, ETag and version are not even read; only what the bucket cannot know is kept.

mod envelope;
mod key;
mod kinds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::document::{Failure, Reason};

/// The longest `detail` of a malformed message: it becomes a message attribute (contract §1).
pub const MAX_DETAIL_BYTES: usize = 256;

/// Malformed records of one message that are described; a message of 1 MiB has room for half a million of them, and
/// the dead-letter queue is told of one.
pub const MAX_MALFORMED_KEPT: usize = 16;

/// The attribute of a dead-letter copy that names the message it was made of (contract §1).
const ORIGINAL_MESSAGE_ID: &str = "original_message_id";

/// Whether the key was written or removed. Only a hint: the bucket is asked what is true now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Upsert,
    Delete,
}

/// "This key changed": one record of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    pub kind: EventKind,
    pub bucket: String,
    /// The literal S3 key (already decoded where the kind of message encodes it).
    pub key: String,
    /// The key to try when `key` is not found: literal kinds whose key holds `+` or `%` (contract §1).
    pub decoded_key: Option<String>,
    /// S3's per-key order of events: hexadecimal, compared right-padded. Upper case, because notifications write it
    /// so and EventBridge does not, and the two must compare.
    pub sequencer: Option<String>,
    /// Where the file came from on the NAS (`originalPath`), as sent.
    pub original_path: Option<String>,
    /// The producer's idea of the file's modification time, as sent.
    pub modified_at: Option<String>,
    /// From the DocuWorks converter and the like; otherwise the key's layout says it.
    pub category: Option<String>,
    pub nas_server: Option<String>,
}

/// A queue message, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Records that name objects; `malformed` holds those records of the same message that could not be
    /// understood, or the first [`MAX_MALFORMED_KEPT`] of them (the good ones are finished first, then the message
    /// goes to the DLQ); `irrelevant` counts records whose event asks for nothing (a message without any record
    /// counts as one). Never all empty.
    Objects { events: Vec<ObjectEvent>, malformed: Vec<Failure>, irrelevant: usize },
    /// `{"test":true,…}` (contract §1 kind 8).
    SmokeTest { id: String },
    /// `s3:TestEvent` (kind 7).
    S3TestEvent,
    /// Nobody can make anything of it (kind 10).
    Malformed(Failure),
}

/// Understands a message's body. Never fails: what cannot be understood is [`Message::Malformed`] and says why.
///
/// `attributes` are the message's own; of them only a dead-letter copy's `original_message_id` matters. It or
/// `message_id` becomes the id of a smoke test that has none, so that every delivery of one message has the same id.
/// `default_bucket` stands in where a producer's message names no bucket (contract §1 kind 5).
pub fn parse(body: &str, attributes: &BTreeMap<String, String>, default_bucket: &str, message_id: &str) -> Message {
    let stable_id = attributes.get(ORIGINAL_MESSAGE_ID).map_or(message_id, String::as_str);
    match envelope::understand(body, default_bucket, stable_id) {
        Ok(message) => message,
        Err(sentence) => Message::Malformed(malformed(&sentence)),
    }
}

/// The failure that sends a message to the dead-letter queue. The sentence may quote the message, so characters that
/// SQS refuses in an attribute are replaced, and it is cut to [`MAX_DETAIL_BYTES`].
fn malformed(sentence: &str) -> Failure {
    let printable: String = sentence
        .chars()
        .map(|character| match character {
            '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
            control if control.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect();
    let end = printable.floor_char_boundary(MAX_DETAIL_BYTES);
    Failure::new(Reason::MalformedMessage, &printable[..end])
}
