//! Internet mail (RFC 5322, MIME). The `mail-parser` crate takes the message apart; what its parts say is decoded here,
//! from their bytes, because Japanese mail lies about its charset.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, Header, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::bounds::Budget;
use super::letter::{Attachment, Content, Letter, body_of};
use super::{Section, Source, StructuredFile, email_header, read_beginning};
use crate::document::{Failure, Reason};
use crate::extract::charset;

/// Mails in a mail: each is a level of the parser's tree, which is taken down by recursion.
const MAX_MESSAGES: usize = 1_000;

/// Places that may begin a part: the parser makes a record of a hundred bytes and more of each.
const MAX_PARTS: usize = 200_000;

/// Bytes read of a mail. Larger than any MAX_FILE_SIZE_MB of sense; offsets in the parser have 32 bits.
const MAX_MAIL_BYTES: u64 = 512 * 1024 * 1024;

/// Mails in mails that are read, whatever the budget: the depth of this code's own recursion.
const MAX_NESTED: u32 = 8;

/// Reads a mail.
///
/// # Errors
/// `corrupt`, `archive_bomb`; `not_found` when the spooled file is gone.
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let (bytes, _) = read_beginning(source, MAX_MAIL_BYTES)?;
    check_size(&bytes)?;
    let parser = MessageParser::new().with_mime_headers().with_date_headers().default_header_raw();
    let Some(message) = parser.parse(&bytes) else {
        return Err(Failure::new(Reason::Corrupt, "The mail has no header."));
    };
    letter(&message, 0).into_file(budget)
}

/// Counts what the parser would make records of, before it does.
fn check_size(bytes: &[u8]) -> Result<(), Failure> {
    let bomb = |what: String| Failure::new(Reason::ArchiveBomb, format!("The mail was not read: more than {what}."));
    let parts = bytes.windows(3).filter(|window| *window == b"\n--").count();
    if parts > MAX_PARTS {
        return Err(bomb(format!("{MAX_PARTS} parts")));
    }
    let messages = bytes.windows(8).filter(|window| window.eq_ignore_ascii_case(b"message/")).count();
    let digests = bytes.windows(16).filter(|window| window.eq_ignore_ascii_case(b"multipart/digest")).count();
    if messages > MAX_MESSAGES || digests > 0 && parts > MAX_MESSAGES {
        return Err(bomb(format!("{MAX_MESSAGES} mails in it")));
    }
    Ok(())
}

fn letter(message: &Message<'_>, depth: u32) -> Letter {
    let header = |name: &str| {
        let found = message.headers().iter().find(|header| header.name().eq_ignore_ascii_case(name));
        found.map(|header| email_header::decode(raw_value(message, header))).unwrap_or_default()
    };
    Letter {
        from: header("From"),
        to: header("To"),
        cc: header("Cc"),
        subject: header("Subject"),
        date: message.date().map_or_else(|| header("Date"), |date| date.to_rfc3339()),
        body: body(message),
        attachments: attachments(message, depth),
    }
}

fn raw_value<'m>(message: &'m Message<'_>, header: &Header<'_>) -> &'m [u8] {
    message.raw_message.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default()
}

/// The plain parts, else the first that is HTML.
fn body(message: &Message<'_>) -> Section {
    let part_of = |id: &u32| message.parts.get(*id as usize);
    let plain: Vec<String> = message
        .text_body
        .iter()
        .filter_map(part_of)
        .filter(|part| matches!(part.body, PartType::Text(_)))
        .map(|part| charset::decode_labelled(&raw_body(message, part), label(part)))
        .collect();
    let html = message.html_body.iter().filter_map(part_of).find(|part| matches!(part.body, PartType::Html(_)));
    let html_bytes = html.map(|part| (raw_body(message, part), label(part)));
    let plain = (!plain.is_empty()).then(|| plain.join("\n"));
    body_of(plain, html_bytes.as_ref().map(|(bytes, label)| (bytes.as_slice(), *label)))
}

fn label<'p>(part: &'p MessagePart<'_>) -> Option<&'p str> {
    part.content_type().and_then(|content_type| content_type.attribute("charset"))
}

/// The bytes of a part as they were before the mail was written.
fn raw_body(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<u8> {
    if let PartType::Binary(bytes) | PartType::InlineBinary(bytes) = &part.body {
        return bytes.to_vec();
    }
    let raw = message.raw_message.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default();
    let decoded = match part.encoding {
        Encoding::None => Some(raw.to_vec()),
        Encoding::Base64 => base64_decode(raw),
        Encoding::QuotedPrintable => quoted_printable_decode(raw),
    };
    // The parser's own reading is better than none.
    decoded.unwrap_or_else(|| part.contents().to_vec())
}

fn attachments(message: &Message<'_>, depth: u32) -> Vec<Attachment> {
    let parts = message.attachments.iter().filter_map(|id| message.parts.get(*id as usize));
    parts
        .filter(|part| !matches!(part.body, PartType::Multipart(_)))
        .filter(|part| !is_alternative_body(part))
        .map(|part| {
            let name = name(message, part);
            match &part.body {
                PartType::Message(nested) if depth < MAX_NESTED => {
                    let letter = letter(nested, depth + 1);
                    let name = if name.is_empty() { letter.subject.clone() } else { name };
                    Attachment { name, content: Content::Letter(Box::new(letter)) }
                }
                PartType::Message(_) => Attachment { name, content: Content::Unread },
                // What could not be decoded is no text, whatever it looks like.
                _ if part.is_encoding_problem => Attachment { name, content: Content::Unread },
                _ => Attachment { name, content: Content::Bytes(raw_body(message, part)) },
            }
        })
        .collect()
}

/// A form of the body that the parser put aside: calendar entries and AMP pages have no name and nothing new.
fn is_alternative_body(part: &MessagePart<'_>) -> bool {
    part.attachment_name().is_none() && matches!(part.body, PartType::Html(_))
}

/// An attachment's name: as the parser reads it, unless it is one of those that it has no right to read (RFC 2047 words
/// in a parameter, raw bytes).
fn name(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    let headers = [("Content-Disposition", "filename"), ("Content-Type", "name")];
    let raw_name = headers.into_iter().find_map(|(header_name, parameter)| {
        let header = part.headers.iter().find(|header| header.name().eq_ignore_ascii_case(header_name))?;
        email_header::raw_parameter(raw_value(message, header), parameter)
    });
    match raw_name {
        Some(raw) if !raw.is_ascii() || raw.windows(2).any(|pair| pair == b"=?") => email_header::decode(raw),
        _ => part.attachment_name().unwrap_or_default().to_owned(),
    }
}
