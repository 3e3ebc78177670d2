//! What a dead-letter copy carries (contract §1): the reason as message attributes beside the message's own.

use super::{QueueError, ReceivedMessage};
use crate::document::Failure;
use crate::queue::PREVIOUS_RECEIVES;

/// Body and attributes together (SQS quota, contract §1).
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_576;
/// Attributes of one message (SQS quota).
const MAX_ATTRIBUTES: usize = 10;
/// Longest `detail` (contract §1).
const MAX_DETAIL_BYTES: usize = 256;

/// One attribute of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopyAttribute {
    pub name: String,
    pub data_type: &'static str,
    pub value: String,
}

impl CopyAttribute {
    fn text(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), data_type: "String", value: allowed_characters(value) }
    }

    /// SQS counts name, type and value.
    fn size_bytes(&self) -> usize {
        self.name.len() + self.data_type.len() + self.value.len()
    }
}

/// The attributes of the copy: ours first, overwriting those of an earlier trip, then the message's own in the
/// order of their names as long as there is room. Over `max_message_bytes` with the body: `reason` only; still
/// over it: `TooLarge`.
pub(super) fn compose_attributes(
    message: &ReceivedMessage,
    failure: &Failure,
    max_message_bytes: usize,
) -> Result<Vec<CopyAttribute>, QueueError> {
    let reason = CopyAttribute::text("reason", failure.reason.as_str());
    let attempts =
        CopyAttribute { name: "attempts".to_owned(), data_type: "Number", value: message.attempts().to_string() };
    let ours = [
        reason.clone(),
        CopyAttribute::text("detail", cut_at_character(&allowed_characters(&failure.detail), MAX_DETAIL_BYTES)),
        attempts,
        CopyAttribute::text("worker_version", env!("CARGO_PKG_VERSION")),
        CopyAttribute::text("original_message_id", &message.message_id),
    ];
    let is_ours = |name: &str| ours.iter().any(|attribute| attribute.name == name);
    let originals = message
        .attributes
        .iter()
        .filter(|(name, _)| !is_ours(name) && name.as_str() != PREVIOUS_RECEIVES && !is_reserved(name))
        .map(|(name, value)| CopyAttribute::text(name, value));
    // SQS refuses an attribute with an empty value.
    let all: Vec<CopyAttribute> = ours
        .iter()
        .cloned()
        .chain(originals)
        .filter(|attribute| !attribute.value.is_empty())
        .take(MAX_ATTRIBUTES)
        .collect();
    let size_with = |attributes: &[CopyAttribute]| {
        message.body.len() + attributes.iter().map(CopyAttribute::size_bytes).sum::<usize>()
    };
    if size_with(&all) <= max_message_bytes {
        return Ok(all);
    }
    let reason_only = vec![reason];
    if size_with(&reason_only) <= max_message_bytes {
        return Ok(reason_only);
    }
    Err(QueueError::TooLarge)
}

/// The attributes of a message that is sent anew: its own, and how often it was received.
pub(super) fn attributes_anew(message: &ReceivedMessage) -> Vec<CopyAttribute> {
    let attempts = message.attempts().to_string();
    let previous = CopyAttribute { name: PREVIOUS_RECEIVES.to_owned(), data_type: "Number", value: attempts };
    let own = message
        .attributes
        .iter()
        .filter(|(name, value)| name.as_str() != PREVIOUS_RECEIVES && !is_reserved(name) && !value.is_empty())
        .map(|(name, value)| CopyAttribute::text(name, value));
    own.take(MAX_ATTRIBUTES - 1).chain([previous]).collect()
}

/// Names that SQS keeps for itself.
fn is_reserved(name: &str) -> bool {
    let lower_case = name.to_ascii_lowercase();
    lower_case.starts_with("aws.") || lower_case.starts_with("amazon.")
}

/// SQS accepts `#x9 | #xA | #xD | #x20–#xD7FF | #xE000–#xFFFD | #x10000–#x10FFFF` and refuses the whole message
/// for any other character; a space stands in for those.
fn allowed_characters(text: &str) -> String {
    let is_allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|character| if is_allowed(character) { character } else { ' ' }).collect()
}

/// The longest beginning of at most `max_bytes` that ends at a character.
fn cut_at_character(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::time::Instant;

    use super::*;
    use crate::document::Reason;

    fn message(body: String, attributes: &[(&str, &str)]) -> ReceivedMessage {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ReceivedMessage {
            message_id: "id-1".to_owned(),
            receipt_handle: "handle".to_owned(),
            body,
            attributes: attributes.iter().map(owned).collect::<BTreeMap<_, _>>(),
            receive_count: 3,
            sent_at: None,
            leased_at: Instant::now(),
        }
    }

    fn value<'a>(attributes: &'a [CopyAttribute], name: &str) -> Option<&'a str> {
        attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value.as_str())
    }

    #[test]
    fn a_copy_says_why_how_often_who_and_which() {
        let failure = Failure::new(Reason::MalformedMessage, "not JSON");
        let attributes = compose_attributes(&message("{".to_owned(), &[]), &failure, MAX_MESSAGE_BYTES).unwrap();
        assert_eq!(value(&attributes, "reason"), Some("malformed_message"));
        assert_eq!(value(&attributes, "detail"), Some("not JSON"));
        assert_eq!(value(&attributes, "attempts"), Some("3"));
        assert_eq!(value(&attributes, "worker_version"), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(value(&attributes, "original_message_id"), Some("id-1"));
    }

    #[test]
    fn a_second_trip_overwrites_the_first_and_keeps_the_producers_attributes() {
        let earlier = [("reason", "crashed"), ("attempts", "5"), ("original_message_id", "id-0"), ("producer", "nas")];
        let failure = Failure::new(Reason::AccessDenied, "no");
        let attributes = compose_attributes(&message("{}".to_owned(), &earlier), &failure, MAX_MESSAGE_BYTES).unwrap();
        assert_eq!(value(&attributes, "reason"), Some("access_denied"));
        assert_eq!(value(&attributes, "original_message_id"), Some("id-1"));
        assert_eq!(value(&attributes, "producer"), Some("nas"));
        assert_eq!(attributes.len(), 6);
    }

    #[test]
    fn there_are_never_more_than_ten_attributes_and_ours_are_among_them() {
        let many = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1"), ("f", "1"), ("g", "1"), ("AWS.x", "1")];
        let failure = Failure::new(Reason::AccessDenied, "no");
        let attributes = compose_attributes(&message("{}".to_owned(), &many), &failure, MAX_MESSAGE_BYTES).unwrap();
        let names: Vec<&str> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        let expected =
            ["reason", "detail", "attempts", "worker_version", "original_message_id", "a", "b", "c", "d", "e"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_long_japanese_detail_is_cut_at_a_character_and_control_characters_go() {
        let failure = Failure::new(Reason::Corrupt, format!("\u{0}\u{ffff}{}", "道路橋".repeat(60)));
        let attributes = compose_attributes(&message("{}".to_owned(), &[]), &failure, MAX_MESSAGE_BYTES).unwrap();
        let detail = value(&attributes, "detail").unwrap();
        assert!(detail.len() <= MAX_DETAIL_BYTES && detail.len() > MAX_DETAIL_BYTES - 3, "{}", detail.len());
        assert!(detail.starts_with("  道路橋"), "{detail}");
    }

    #[test]
    fn a_copy_over_the_limit_carries_the_reason_only_and_over_that_is_too_large() {
        let failure = Failure::new(Reason::MalformedMessage, "too much");
        let reason_bytes = "reason".len() + "String".len() + "malformed_message".len();
        let fits = message("[".repeat(MAX_MESSAGE_BYTES - reason_bytes), &[("producer", "nas")]);
        let attributes = compose_attributes(&fits, &failure, MAX_MESSAGE_BYTES).unwrap();
        assert_eq!(attributes.len(), 1);
        assert_eq!(value(&attributes, "reason"), Some("malformed_message"));

        let too_large = message("[".repeat(MAX_MESSAGE_BYTES - reason_bytes + 1), &[]);
        let refused = compose_attributes(&too_large, &failure, MAX_MESSAGE_BYTES);
        assert!(matches!(refused, Err(QueueError::TooLarge)));
    }

    #[test]
    fn a_message_that_is_sent_anew_keeps_its_attributes_and_adds_up_its_receives() {
        let mut received = message("{}".to_owned(), &[("tenant", "road"), (PREVIOUS_RECEIVES, "4"), ("AWS.x", "no")]);
        received.receive_count = 3;
        let named: Vec<(String, String)> =
            attributes_anew(&received).into_iter().map(|attribute| (attribute.name, attribute.value)).collect();
        assert_eq!(named, [("tenant".to_owned(), "road".to_owned()), (PREVIOUS_RECEIVES.to_owned(), "7".to_owned())]);
    }

    #[test]
    fn a_message_with_all_the_attributes_that_are_allowed_can_be_sent_anew() {
        let names: Vec<String> = (0..MAX_ATTRIBUTES).map(|number| format!("name-{number}")).collect();
        let own: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let attributes = attributes_anew(&message("{}".to_owned(), &own));
        assert_eq!(attributes.len(), MAX_ATTRIBUTES);
        assert!(attributes.iter().any(|attribute| attribute.name == PREVIOUS_RECEIVES));
    }
}
