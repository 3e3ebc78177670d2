//! Every body of contract §1, and what hostile ones come to.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BUCKET: &str = "files";

fn parse_text(body: &str) -> Message {
    parse(body, &BTreeMap::new(), BUCKET, "message-1")
}

fn parse_json(body: &Value) -> Message {
    parse_text(&body.to_string())
}

/// The events of a message that must have nothing else.
fn events(body: &Value) -> Vec<ObjectEvent> {
    match parse_json(body) {
        Message::Objects { events, malformed, irrelevant: 0 } if malformed.is_empty() => events,
        other => panic!("{body} became {other:?}"),
    }
}

fn only_event(body: &Value) -> ObjectEvent {
    let mut all = events(body);
    assert_eq!(all.len(), 1, "{body}");
    all.remove(0)
}

/// The sentence of a message that must be malformed as a whole.
fn malformed_detail(body: &str) -> String {
    match parse_text(body) {
        Message::Malformed(failure) => {
            assert_eq!(failure.reason, Reason::MalformedMessage);
            failure.detail
        }
        other => panic!("{body} became {other:?}"),
    }
}

fn record(event_name: &str, encoded_key: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": event_name,
        "s3": { "bucket": { "name": "other-bucket" },
                "object": { "key": encoded_key, "size": 7, "eTag": "e", "versionId": "v", "sequencer": "0055aeD6" } }
    })
}

fn event_bridge(detail_type: &str, key: &str) -> Value {
    json!({
        "version": "0", "source": "aws.s3", "detail-type": detail_type,
        "detail": { "bucket": { "name": "other-bucket" },
                    "object": { "key": key, "size": 7, "etag": "e", "version-id": "v", "sequencer": "617f08299329d189" } }
    })
}

fn is_irrelevant(body: &Value) -> bool {
    parse_json(body) == Message::Objects { events: vec![], malformed: vec![], irrelevant: 1 }
}

#[test]
fn every_record_of_a_notification_counts() {
    let body = json!({ "Records": [
        record("ObjectCreated:Put", "a.pdf"),
        record("ObjectRemoved:Delete", "b.pdf"),
        record("ObjectCreated:CompleteMultipartUpload", "a.pdf"),
    ] });
    let found: Vec<_> = events(&body).into_iter().map(|event| (event.kind, event.key)).collect();
    let upsert_of_a = (EventKind::Upsert, "a.pdf".to_owned());
    assert_eq!(found, [upsert_of_a.clone(), (EventKind::Delete, "b.pdf".to_owned()), upsert_of_a]);
}

#[test]
fn event_names_ask_for_an_upsert_a_delete_or_nothing() {
    let upsert = Some(EventKind::Upsert);
    let delete = Some(EventKind::Delete);
    for (name, expected) in [
        ("ObjectCreated:Put", upsert),
        ("ObjectCreated:Copy", upsert),
        ("s3:ObjectCreated:Post", upsert),
        ("ObjectRestore:Completed", upsert),
        ("ObjectRemoved:Delete", delete),
        ("ObjectRemoved:DeleteMarkerCreated", delete),
        ("s3:LifecycleExpiration:Delete", delete),
        ("LifecycleExpiration:DeleteMarkerCreated", delete),
        ("ObjectRestore:Post", None),
        ("ObjectRestore:Delete", None),
        ("ObjectTagging:Put", None),
        ("ObjectAcl:Put", None),
        ("LifecycleTransition", None),
        ("Replication:OperationFailedReplication", None),
        ("", None),
    ] {
        let body = json!({ "Records": [record(name, "a.pdf")] });
        match expected {
            Some(kind) => assert_eq!(only_event(&body).kind, kind, "{name}"),
            None => assert!(is_irrelevant(&body), "{name}"),
        }
    }
}

#[test]
fn a_notification_without_records_is_irrelevant() {
    assert!(is_irrelevant(&json!({ "Records": [] })));
}

#[test]
fn notification_keys_are_form_decoded() {
    for (encoded, key) in [
        ("a+b.pdf", "a b.pdf"),
        ("a%2Bb.pdf", "a+b.pdf"),
        ("100%25.pdf", "100%.pdf"),
        ("100%.pdf", "100%.pdf"),
        ("%E9%81%93%E8%B7%AF/%E5%9B%B3%E9%9D%A2.pdf", "道路/図面.pdf"),
        ("a%2F..%2Fb.pdf", "a/../b.pdf"),
        // A file name from a Mac: the decomposed form is the key, composing it would name another object.
        ("%E3%81%8B%E3%82%99.pdf", "か\u{3099}.pdf"),
        ("%2525", "%25"),
    ] {
        let event = only_event(&json!({ "Records": [record("ObjectCreated:Put", encoded)] }));
        assert_eq!(event.key, key, "{encoded}");
        assert_eq!(event.decoded_key, None, "{encoded}: decoded once is enough");
        assert_eq!(event.bucket, "other-bucket");
    }
}

#[test]
fn sequencers_of_notifications_and_of_event_bridge_compare() {
    let notified = only_event(&json!({ "Records": [record("ObjectCreated:Put", "a")] }));
    assert_eq!(notified.sequencer.as_deref(), Some("0055AED6"));
    assert_eq!(only_event(&event_bridge("Object Created", "a")).sequencer.as_deref(), Some("617F08299329D189"));

    let mut nonsense = event_bridge("Object Created", "a");
    nonsense["detail"]["object"]["sequencer"] = json!("not hexadecimal");
    assert_eq!(only_event(&nonsense).sequencer, None);
}

#[test]
fn event_versions_2_are_understood_and_others_are_malformed() {
    for version in ["2", "2.0", "2.1", "2.9", "2.10"] {
        let mut good = record("ObjectCreated:Put", "a");
        good["eventVersion"] = json!(version);
        only_event(&json!({ "Records": [good] }));
    }
    for version in ["1.0", "3.0", "20.1", ""] {
        let mut bad = record("ObjectCreated:Put", "a");
        bad["eventVersion"] = json!(version);
        match parse_json(&json!({ "Records": [bad] })) {
            Message::Objects { events, malformed, irrelevant: 0 } => {
                assert!(events.is_empty());
                assert!(malformed[0].detail.contains("eventVersion"), "{}", malformed[0].detail);
            }
            other => panic!("{version} became {other:?}"),
        }
    }
}

#[test]
fn good_and_bad_records_are_kept_apart() {
    let body = json!({ "Records": [
        record("ObjectCreated:Put", "good.pdf"),
        record("ObjectCreated:Put", "%FF%FE.pdf"),
        record("ObjectTagging:Put", "whatever"),
        record("ObjectCreated:Put", ""),
        record("ObjectCreated:Put", "a%00b"),
        record("ObjectCreated:Put", &"x".repeat(1025)),
        { "eventName": "ObjectCreated:Put" },
        { "eventName": "ObjectCreated:Put", "s3": { "bucket": {}, "object": { "key": "a" } } },
        { "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": "b" }, "object": { "key": 7 } } },
        { "s3": {} },
        "text",
        record("ObjectCreated:Put", &"x".repeat(1024)),
    ] });
    let Message::Objects { events, malformed, irrelevant } = parse_json(&body) else { panic!("not objects") };
    assert_eq!(events.iter().map(|event| event.key.len()).collect::<Vec<_>>(), [8, 1024]);
    assert_eq!(irrelevant, 1);
    let sentences: Vec<_> = malformed.iter().map(|failure| failure.detail.as_str()).collect();
    assert_eq!(
        sentences,
        [
            "record 2 of 12: the key is not UTF-8 after decoding",
            "record 4 of 12: the key is empty",
            "record 5 of 12: the key contains a NUL character",
            "record 6 of 12: the key has 1025 bytes, S3 allows 1024",
            "record 7 of 12: `s3` is missing",
            "record 8 of 12: `name` is missing",
            "record 9 of 12: `key` is a number, not text",
            "record 10 of 12: `eventName` is missing",
            "record 11 of 12: it is text, not a JSON object",
        ]
    );
}

#[test]
fn a_message_full_of_malformed_records_describes_only_the_first() {
    let body = format!("{{\"Records\":[{}0]}}", "0,".repeat(500_000));
    let Message::Objects { events, malformed, irrelevant: 0 } = parse_text(&body) else { panic!("not objects") };
    assert!(events.is_empty());
    assert_eq!(malformed.len(), MAX_MALFORMED_KEPT);
}

#[test]
fn event_bridge_keys_are_literal_with_a_second_reading() {
    for (key, second) in [
        ("道路/図面.pdf", None),
        ("a+b.pdf", Some("a b.pdf")),
        ("a%20b.pdf", Some("a b.pdf")),
        ("100%.pdf", None),
        ("%FF.pdf", None),
        ("a/../b.pdf", None),
    ] {
        let event = only_event(&event_bridge("Object Created", key));
        assert_eq!(event.key, key);
        assert_eq!(event.decoded_key.as_deref(), second, "{key}");
        assert_eq!(event.bucket, "other-bucket");
    }
}

#[test]
fn event_bridge_detail_types() {
    assert_eq!(only_event(&event_bridge("Object Created", "a")).kind, EventKind::Upsert);
    assert_eq!(only_event(&event_bridge("Object Restore Completed", "a")).kind, EventKind::Upsert);
    let mut expired = event_bridge("Object Deleted", "a");
    expired["detail"]["reason"] = json!("Lifecycle Expiration");
    assert_eq!(only_event(&expired).kind, EventKind::Delete);
    assert!(is_irrelevant(&event_bridge("Object Tags Added", "a")));
    assert!(is_irrelevant(&json!({ "detail-type": "Scheduled Event", "detail": {} })));
    assert_eq!(malformed_detail(r#"{"detail-type":"Object Created"}"#), "`detail` is missing");
}

#[test]
fn the_transformed_event_of_the_production_path() {
    let event = only_event(&json!({
        "eventType": "S3_OBJECT_CREATED", "s3Bucket": "b", "s3Key": "documents/road/ts-server3/図面+1.pdf",
        "fileSize": 7, "etag": "e", "eventTime": "2024-01-01T00:00:00Z", "processingRequired": true
    }));
    assert_eq!(event.kind, EventKind::Upsert);
    assert_eq!((event.bucket.as_str(), event.key.as_str()), ("b", "documents/road/ts-server3/図面+1.pdf"));
    assert_eq!(event.decoded_key.as_deref(), Some("documents/road/ts-server3/図面 1.pdf"));
    // The event's time says when it was uploaded, not when the file was changed.
    assert_eq!(event.modified_at, None);
}

#[test]
fn the_docuworks_converter_knows_category_and_server() {
    let event = only_event(&json!({
        "eventType": "S3_OBJECT_CREATED", "s3Bucket": "b", "s3Key": "docuworks-converted/x/a.pdf",
        "fileName": "a.pdf", "fileExtension": ".pdf", "source": "docuworks-converter",
        "nasServer": "ts-server6", "category": "structure"
    }));
    assert_eq!(event.category.as_deref(), Some("structure"));
    assert_eq!(event.nas_server.as_deref(), Some("ts-server6"));
}

#[test]
fn the_nas_scanner_uploads_modifies_and_deletes() {
    for (event_type, kind) in [
        ("FILE_UPLOADED", EventKind::Upsert),
        ("FILE_MODIFIED", EventKind::Upsert),
        ("FILE_DELETED", EventKind::Delete),
        ("S3_OBJECT_DELETED", EventKind::Delete),
    ] {
        let event = only_event(&json!({
            "eventType": event_type, "s3Bucket": "b", "s3Key": "files/2024/01/02/a.pdf", "fileSize": 7,
            "mimeType": "application/pdf", "originalPath": r"\\ts-server3\share\a.pdf", "checksum": "c",
            "timestamp": "2024-05-05T00:00:00Z",
            "metadata": { "etag": "e", "versionId": "v", "modifiedAt": "2024-01-02T03:04:05+09:00" }
        }));
        assert_eq!(event.kind, kind, "{event_type}");
        assert_eq!(event.original_path.as_deref(), Some(r"\\ts-server3\share\a.pdf"));
        assert_eq!(event.modified_at.as_deref(), Some("2024-01-02T03:04:05+09:00"));
    }
    assert!(is_irrelevant(&json!({ "eventType": "FILE_SCANNED", "s3Key": "a" })));
    assert_eq!(malformed_detail(r#"{"eventType":"FILE_UPLOADED"}"#), "the FILE_UPLOADED event has no `s3Key`");
}

#[test]
fn hints_of_a_wrong_type_do_not_harm_the_event() {
    let event = only_event(&json!({
        "eventType": "FILE_UPLOADED", "s3Key": "a", "originalPath": 7, "metadata": "text", "category": ["road"]
    }));
    assert_eq!((event.original_path, event.modified_at, event.category), (None, None, None));
    let numeric = only_event(&json!({ "key": "a", "metadata": { "modifiedAt": 1704164645 } }));
    assert_eq!(numeric.modified_at.as_deref(), Some("1704164645"));
}

#[test]
fn direct_messages_name_a_key_and_perhaps_a_bucket() {
    for (body, bucket, key) in [
        (json!({ "key": "a b.pdf" }), BUCKET, "a b.pdf"),
        (json!({ "bucket": "b", "key": "a.pdf" }), "b", "a.pdf"),
        (json!({ "bucket": null, "key": "a.pdf" }), BUCKET, "a.pdf"),
        (json!({ "bucket": "", "key": "a.pdf" }), BUCKET, "a.pdf"),
        (json!({ "s3Bucket": "b", "s3Key": "a.pdf" }), "b", "a.pdf"),
        (json!({ "originalPath": "documents/a.pdf" }), BUCKET, "documents/a.pdf"),
        (json!({ "bucket": "b", "original_path": "documents/a.pdf" }), "b", "documents/a.pdf"),
        (json!({ "test": false, "key": "a.pdf" }), BUCKET, "a.pdf"),
    ] {
        let event = only_event(&body);
        assert_eq!((event.bucket.as_str(), event.key.as_str()), (bucket, key), "{body}");
        assert_eq!(event.original_path, None, "{body}: a path that is the key is no hint");
    }
}

#[test]
fn beside_a_key_the_original_path_is_a_hint() {
    for name in ["originalPath", "original_path"] {
        let event = only_event(&json!({ "key": "a.pdf", name: r"\\ts-server5\share\a.pdf" }));
        assert_eq!(event.key, "a.pdf");
        assert_eq!(event.original_path.as_deref(), Some(r"\\ts-server5\share\a.pdf"));
    }
}

#[test]
fn a_path_on_a_file_server_is_not_a_key() {
    for path in [r"\\ts-server5\share\a.pdf", "/mnt/nas/a.pdf"] {
        let detail = malformed_detail(&json!({ "originalPath": path }).to_string());
        assert_eq!(detail, "the message has an original path, but no key");
    }
}

#[test]
fn sns_envelopes_are_taken_off() {
    let sns = |message: &Value| json!({ "Type": "Notification", "TopicArn": "t", "Message": message.to_string() });
    let notification = json!({ "Records": [record("ObjectCreated:Put", "a+b.pdf")] });
    assert_eq!(only_event(&sns(&notification)).key, "a b.pdf");
    assert_eq!(only_event(&sns(&event_bridge("Object Created", "a+b.pdf"))).key, "a+b.pdf");
    assert_eq!(only_event(&sns(&sns(&event_bridge("Object Deleted", "a")))).kind, EventKind::Delete);
    assert_eq!(parse_json(&sns(&json!({ "Service": "Amazon S3", "Event": "s3:TestEvent" }))), Message::S3TestEvent);

    let text = json!({ "Type": "Notification", "Message": "hello" }).to_string();
    assert!(malformed_detail(&text).starts_with("the SNS notification's `Message` is not JSON"));
    assert!(malformed_detail(r#"{"Type":"Notification"}"#).contains("no text in `Message`"));
    assert!(malformed_detail(r#"{"Type":"SubscriptionConfirmation","Message":"m"}"#).contains("no known kind"));
}

#[test]
fn envelopes_are_bounded() {
    let mut body = json!({ "key": "a.pdf" });
    for depth in 1..=5 {
        body = json!({ "original_message": { "Body": body.to_string() }, "error": "e" });
        if depth <= 4 {
            assert_eq!(only_event(&body).key, "a.pdf", "depth {depth}");
        }
    }
    assert_eq!(malformed_detail(&body.to_string()), "the body is wrapped in more than 4 envelopes");
}

#[test]
fn a_copy_out_of_the_dead_letter_queue_is_unwrapped() {
    let inner = json!({ "Records": [record("ObjectCreated:Put", "a.pdf")] });
    let wrapped = json!({ "original_message": { "MessageId": "m", "Body": inner.to_string() }, "error": "e" });
    assert_eq!(events(&wrapped), events(&inner));
    assert_eq!(events(&json!({ "original_message": { "Body": inner } })), events(&inner));
    assert!(malformed_detail(r#"{"original_message":{}}"#).contains("no `Body`"));
    assert!(malformed_detail(r#"{"original_message":"text"}"#).contains("no `Body`"));
}

#[test]
fn the_s3_test_event_is_known() {
    let body = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "t", "Bucket": "b" });
    assert_eq!(parse_json(&body), Message::S3TestEvent);
}

#[test]
fn a_smoke_test_wins_over_every_other_kind() {
    for body in [
        json!({ "test": true, "bucket": "test-bucket", "key": "test.pdf", "id": "smoke-1" }),
        json!({ "test": true, "id": "smoke-1", "Records": [record("ObjectCreated:Put", "a")] }),
        json!({ "test": true, "id": "smoke-1", "eventType": "FILE_DELETED", "s3Key": "a" }),
        json!({ "test": true, "id": "smoke-1", "Event": "s3:TestEvent" }),
        json!({ "test": true, "id": "smoke-1", "Type": "Notification", "Message": "{}" }),
        json!({ "Type": "Notification", "Message": r#"{"test":true,"id":"smoke-1"}"# }),
    ] {
        assert_eq!(parse_json(&body), Message::SmokeTest { id: "smoke-1".to_owned() }, "{body}");
    }
}

#[test]
fn a_smoke_test_without_an_id_has_the_same_one_at_every_delivery() {
    let body = r#"{"test":true,"bucket":"test-bucket","key":"test.pdf"}"#;
    assert_eq!(parse_text(body), Message::SmokeTest { id: "message-1".to_owned() });
    let attributes = BTreeMap::from([("original_message_id".to_owned(), "first-message".to_owned())]);
    let after_dead_letter_queue = parse(body, &attributes, BUCKET, "message-2");
    assert_eq!(after_dead_letter_queue, Message::SmokeTest { id: "first-message".to_owned() });
}

#[test]
fn smoke_test_ids_fit_the_index_and_the_log() {
    assert_eq!(parse_json(&json!({ "test": true, "id": 7 })), Message::SmokeTest { id: "7".to_owned() });
    for id in [json!("two\nlines"), json!("x".repeat(513)), json!(["a"])] {
        assert!(malformed_detail(&json!({ "test": true, "id": id }).to_string()).contains("`id`"));
    }
}

#[test]
fn what_nobody_understands_says_why() {
    for (body, expected) in [
        ("", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
        ("hello", "the body is not JSON: expected value at line 1 column 1"),
        ("null", "the body is null, not a JSON object"),
        ("[]", "the body is a list, not a JSON object"),
        ("\"{}\"", "the body is text, not a JSON object"),
        ("{}", "the message has no key and is of no known kind"),
        (r#"{"bucket":"b"}"#, "the message has no key and is of no known kind"),
        (r#"{"key":""}"#, "the key is empty"),
        (r#"{"key":"a\u0000"}"#, "the key contains a NUL character"),
        (r#"{"key":7}"#, "`key` is a number, not text"),
        (r#"{"key":{"a":1}}"#, "`key` is an object, not text"),
        (r#"{"bucket":7,"key":"a"}"#, "`bucket` is a number, not text"),
        (r#"{"Records":{}}"#, "`Records` is an object, not a list"),
        (r#"{"eventType":7,"s3Key":"a"}"#, "`eventType` is a number, not text"),
    ] {
        assert_eq!(malformed_detail(body), expected, "{body}");
    }
}

#[test]
fn a_byte_order_mark_before_the_body_is_no_obstacle() {
    assert!(matches!(parse_text("\u{feff}{\"key\":\"a\"}"), Message::Objects { .. }));
}

#[test]
fn sentences_fit_a_message_attribute() {
    let mut bad = record("ObjectCreated:Put", "a");
    bad["eventVersion"] = json!(format!("\u{1}{}", "長".repeat(200)));
    let Message::Objects { malformed, .. } = parse_json(&json!({ "Records": [bad] })) else { panic!("not objects") };
    let detail = &malformed[0].detail;
    assert!((250..=MAX_DETAIL_BYTES).contains(&detail.len()), "{} bytes", detail.len());
    assert!(detail.ends_with('長'), "cut between characters");
    assert!(!detail.chars().any(char::is_control), "SQS refuses control characters");
}

#[test]
fn a_mebibyte_of_brackets_is_malformed_and_does_not_overflow_the_stack() {
    for deep in ["[".repeat(1 << 20), "{\"a\":".repeat(200_000), format!("{{\"key\":{}", "[".repeat(1 << 20))] {
        let small_stack = std::thread::Builder::new().stack_size(256 * 1024);
        let detail = small_stack.spawn(move || malformed_detail(&deep)).expect("a thread").join().expect("no overflow");
        assert!(detail.contains("recursion limit exceeded"), "{detail}");
    }
}

/// Any JSON, mostly with the names that the parser looks at.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("Records"),
        Just("eventName"),
        Just("eventVersion"),
        Just("s3"),
        Just("bucket"),
        Just("object"),
        Just("key"),
        Just("name"),
        Just("detail-type"),
        Just("detail"),
        Just("eventType"),
        Just("s3Key"),
        Just("Type"),
        Just("Message"),
        Just("original_message"),
        Just("Body"),
        Just("test"),
        Just("id"),
        Just("Event"),
        Just("metadata"),
        Just("originalPath"),
        Just("sequencer"),
    ];
    let text = prop_oneof![
        Just("ObjectCreated:Put".to_owned()),
        Just("Object Deleted".to_owned()),
        Just("FILE_UPLOADED".to_owned()),
        Just("Notification".to_owned()),
        Just("2.1".to_owned()),
        Just("{\"key\":\"a\"}".to_owned()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

/// What every result promises, whatever came in.
fn assert_sound(message: &Message) {
    match message {
        Message::Objects { events, malformed, irrelevant } => {
            assert!(!events.is_empty() || !malformed.is_empty() || *irrelevant > 0);
            for event in events {
                assert!((1..=1024).contains(&event.key.len()) && !event.bucket.is_empty());
                assert_ne!(event.decoded_key.as_ref(), Some(&event.key));
            }
            assert!(malformed.iter().all(|failure| failure.detail.len() <= MAX_DETAIL_BYTES));
        }
        Message::Malformed(failure) => assert!(!failure.detail.is_empty() && failure.detail.len() <= MAX_DETAIL_BYTES),
        Message::SmokeTest { id } => assert!(!id.is_empty()),
        Message::S3TestEvent => {}
    }
}

proptest! {
    #[test]
    fn any_text_gets_a_sound_answer(body in any::<String>()) {
        assert_sound(&parse_text(&body));
    }

    #[test]
    fn any_json_gets_a_sound_answer(body in any_json()) {
        assert_sound(&parse_json(&body));
    }

    #[test]
    fn any_key_survives_the_notification(key in "[^\u{0}]{1,200}") {
        // As S3 does it: everything but letters and digits as bytes, a space as `+`.
        let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string().replace("%20", "+");
        let event = only_event(&json!({ "Records": [record("ObjectCreated:Put", &encoded)] }));
        prop_assert_eq!(event.key, key);
    }

    #[test]
    fn any_literal_key_survives_and_its_second_reading_undoes_the_encoding(key in "[^\u{0}]{1,80}") {
        prop_assert_eq!(&only_event(&event_bridge("Object Created", &key)).key, &key);
        let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
        let event = only_event(&event_bridge("Object Created", &encoded));
        prop_assert_eq!(event.decoded_key, (encoded != key).then_some(key));
    }
}
