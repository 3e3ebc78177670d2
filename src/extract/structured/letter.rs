//! A mail, whatever file it came in: the header lines, the body, then each attachment under its name.

use super::bounds::Budget;
use super::nested::add_nested;
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
        self.write_to(&mut file, budget);
        Ok(file)
    }

    fn write_to(self, file: &mut StructuredFile, budget: &mut Budget) {
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
        file.push_section(Section { text, truncated: self.body.truncated });
        for (number, attachment) in self.attachments.into_iter().enumerate() {
            if let Err(failure) = budget.count_entry() {
                return file.fail("", failure);
            }
            attachment.write_to(number < MAX_ATTACHMENTS_READ, file, budget);
        }
    }
}

impl Attachment {
    fn write_to(self, may_be_read: bool, file: &mut StructuredFile, budget: &mut Budget) {
        match self.content {
            Content::Letter(letter) => match budget.descend() {
                Ok(()) => {
                    let mut inner = StructuredFile::default();
                    letter.write_to(&mut inner, budget);
                    budget.ascend();
                    if let Some(first) = inner.sections.first_mut() {
                        first.text = format!("{}\n{}", self.name, first.text).trim().to_owned();
                    }
                    file.add(inner);
                }
                Err(failure) => {
                    file.push_section(Section { text: self.name.clone(), truncated: true });
                    file.fail(&self.name, failure);
                }
            },
            Content::Bytes(bytes) if may_be_read => match budget.count_bytes(bytes.len() as u64) {
                Ok(()) => add_nested(file, &self.name, bytes, budget),
                Err(failure) => {
                    file.push_section(Section { text: self.name.clone(), truncated: true });
                    file.fail(&self.name, failure);
                }
            },
            Content::Bytes(_) => file.push_section(Section { text: self.name, truncated: true }),
            Content::Unread => file.push_section(Section { text: self.name, truncated: false }),
        }
    }
}
