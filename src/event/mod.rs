//! What a queue message asks for: every body of contract §1 becomes [`Message`].

use crate::document::Failure;

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
    /// S3's per-key order of events: hexadecimal, compared right-padded.
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
    /// understood (the good ones are finished first, then the message goes to the DLQ); `irrelevant` counts
    /// records whose event asks for nothing.
    Objects { events: Vec<ObjectEvent>, malformed: Vec<Failure>, irrelevant: usize },
    /// `{"test":true,…}` (contract §1 kind 8).
    SmokeTest { id: String },
    /// `s3:TestEvent` (kind 7).
    S3TestEvent,
    /// Nobody can make anything of it (kind 10).
    Malformed(Failure),
}
