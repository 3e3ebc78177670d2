//! A mail, whatever file it came in: the header lines, the body, then each attachment under its name.

use super::bounds::Budget;
use super::nested::read_nested;
use super::{Section, StructuredFile, html};
use crate::document::Failure;
use crate::extract::metadata;
use crate::extract::page_text::{MAX_PAGE_UTF16_UNITS, limit_text};
use crate::extract::text::without_controls;

/// Attachments that are opened; those beyond are found by name.
const MAX_ATTACHMENTS_READ: usize = 100;

/// What mail programs show of a mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Letter {
    /// `山田 <yamada@example.jp>`, as are the others.
    pub from: String,
    pub to: String,
    pub cc: String,
    pub subject: String,
    /// RFC 3339 where it could be understood.
    pub date: String,
    pub body: Section,
    pub attachments: Vec<Attachment>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    pub name: String,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A mail that was forwarded as a whole.
    Letter(Box<Letter>),
    /// Not to be read: too deep, or not there.
    Unread,
}

/// The body in its better form: the plain one, unless it is blank.
pub fn body_of(plain: Option<String>, html: Option<(&[u8], Option<&str>)>) -> Section {
    let plain = plain.filter(|text| !text.trim().is_empty());
    match (plain, html) {
        (Some(text), _) => {
            let (text, truncated) = limit_text(without_controls(&text), MAX_PAGE_UTF16_UNITS);
            Section { text, truncated }
        }
        (None, Some((bytes, label))) => html::section_of(bytes, label),
        (None, None) => Section::default(),
    }
}

impl Letter {
    /// The sections: the mail itself, then one for each attachment.
    ///
    /// # Errors
    /// None; what cannot be read of an attachment leaves its name.
    pub fn into_file(self, budget: &mut Budget) -> Result<StructuredFile, Failure> {
        let mut file = StructuredFile::default();
        metadata::insert_text(&mut file.metadata, "author", &self.from);
        metadata::insert_text(&mut file.metadata, "subject", &self.subject);
        metadata::insert_text(&mut file.metadata, "creation_date", &self.date);
        self.write_sections(&mut file.sections, budget);
        Ok(file)
    }

    fn write_sections(self, sections: &mut Vec<Section>, budget: &mut Budget) {
        let mut lines: Vec<String> = [
            ("From", &self.from),
            ("To", &self.to),
            ("Cc", &self.cc),
            ("Subject", &self.subject),
            ("Date", &self.date),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
        lines.push(String::new());
        lines.push(self.body.text.trim_end().to_owned());
        let text = lines.join("\n").trim().to_owned();
        sections.push(Section { text, truncated: self.body.truncated });
        for (number, attachment) in self.attachments.into_iter().enumerate() {
            if budget.count_entry().is_err() {
                if let Some(last) = sections.last_mut() {
                    last.truncated = true;
                }
                return;
            }
            attachment.write_sections(number < MAX_ATTACHMENTS_READ, sections, budget);
        }
    }
}

impl Attachment {
    fn write_sections(self, may_be_read: bool, sections: &mut Vec<Section>, budget: &mut Budget) {
        let position = sections.len();
        let mut truncated = false;
        match self.content {
            Content::Letter(letter) if budget.descend().is_ok() => {
                letter.write_sections(sections, budget);
                budget.ascend();
            }
            Content::Bytes(bytes) if may_be_read => match read_nested(&bytes, &self.name, budget) {
                Ok(Some(read)) => sections.extend(read.sections),
                Ok(None) => {}
                // Bomb, damage, encryption: the mail has text all the same, and says that some is missing.
                Err(_) => truncated = true,
            },
            Content::Unread => {}
            Content::Bytes(_) | Content::Letter(_) => truncated = true,
        }
        if sections.len() == position {
            sections.push(Section::default());
        }
        if let Some(first) = sections.get_mut(position) {
            first.text = format!("{}\n{}", self.name, first.text).trim().to_owned();
            first.truncated |= truncated;
        }
    }
}
