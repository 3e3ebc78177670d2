//! The bodies that producers send (contract §1), as they send them.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Put,
    Delete,
}

/// Who tells about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Notification,
    NotificationInSns,
    EventBridge,
    Transformed,
    Scanner,
    Direct,
    OutOfDeadLetterQueue,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Notification,
        Kind::NotificationInSns,
        Kind::EventBridge,
        Kind::Transformed,
        Kind::Scanner,
        Kind::Direct,
        Kind::OutOfDeadLetterQueue,
    ];

    /// The body of this kind about a change of `key`. Kinds that cannot tell a deletion name the key all the same:
    /// the bucket is the truth. `sequencer` is left out by kinds that have none.
    pub fn body(self, change: Change, bucket: &str, key: &str, sequencer: Option<&str>) -> String {
        let body = match self {
            Kind::Notification => notification(change, bucket, key, sequencer),
            Kind::NotificationInSns => {
                json!({ "Type": "Notification", "Message": notification(change, bucket, key, sequencer).to_string() })
            }
            Kind::EventBridge => event_bridge(change, bucket, key, sequencer),
            Kind::Transformed => json!({
                "eventType": "S3_OBJECT_CREATED", "s3Bucket": bucket, "s3Key": key, "processingRequired": true,
            }),
            Kind::Scanner => json!({
                "eventType": match change { Change::Put => "FILE_MODIFIED", Change::Delete => "FILE_DELETED" },
                "s3Bucket": bucket, "s3Key": key, "mimeType": "application/octet-stream",
            }),
            Kind::Direct => json!({ "key": key }),
            Kind::OutOfDeadLetterQueue => {
                let original = event_bridge(change, bucket, key, sequencer).to_string();
                json!({ "original_message": { "Body": original }, "error": "timeout" })
            }
        };
        body.to_string()
    }
}

fn notification(change: Change, bucket: &str, key: &str, sequencer: Option<&str>) -> Value {
    let name = match change {
        Change::Put => "ObjectCreated:Put",
        Change::Delete => "ObjectRemoved:Delete",
    };
    let mut object = json!({ "key": form_encoded(key) });
    add_sequencer(&mut object, sequencer);
    json!({ "Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
        "s3": { "bucket": { "name": bucket }, "object": object },
    }] })
}

fn event_bridge(change: Change, bucket: &str, key: &str, sequencer: Option<&str>) -> Value {
    let detail_type = match change {
        Change::Put => "Object Created",
        Change::Delete => "Object Deleted",
    };
    let mut object = json!({ "key": key });
    add_sequencer(&mut object, sequencer);
    json!({
        "version": "0", "source": "aws.s3", "detail-type": detail_type,
        "detail": { "bucket": { "name": bucket }, "object": object },
    })
}

fn add_sequencer(object: &mut Value, sequencer: Option<&str>) {
    if let Some(sequencer) = sequencer {
        object["sequencer"] = json!(sequencer);
    }
}

/// As S3 writes keys into notifications: `+` for a space, `%XX` for all but letters, digits and `/-_.*`.
pub fn form_encoded(key: &str) -> String {
    let mut encoded = String::new();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'*' => encoded.push(byte as char),
            b' ' => encoded.push('+'),
            _ => write!(encoded, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    encoded
}
