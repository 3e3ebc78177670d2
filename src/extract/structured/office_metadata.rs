//! What Office files say about themselves: title, author, dates.

use std::collections::BTreeMap;

use super::bounds::Budget;
use super::office_xml::{Node, XmlReader, decoded};
use super::package::Package;
use crate::document::{Failure, MetadataValue};
use crate::extract::metadata;

/// Local names of OOXML core and extended properties and of OpenDocument's `meta.xml`, and ours.
const NAMES: [(&str, &str); 16] = [
    ("title", "title"),
    ("creator", "author"),
    ("initial-creator", "author"),
    ("subject", "subject"),
    ("description", "description"),
    ("keywords", "keywords"),
    ("keyword", "keywords"),
    ("language", "language"),
    ("created", "creation_date"),
    ("creation-date", "creation_date"),
    ("modified", "modification_date"),
    ("date", "modification_date"),
    ("Application", "producer"),
    ("generator", "producer"),
    ("Company", "company"),
    ("lastModifiedBy", "last_modified_by"),
];

/// Metadata of an OOXML package.
///
/// # Errors
/// `archive_bomb`
pub fn ooxml(package: &mut Package<'_>, budget: &mut Budget) -> Result<BTreeMap<String, MetadataValue>, Failure> {
    let mut values = BTreeMap::new();
    for part in ["docProps/core.xml", "docProps/app.xml"] {
        add_part(package, part, budget, &mut values)?;
    }
    Ok(values)
}

/// Metadata of an OpenDocument package.
///
/// # Errors
/// `archive_bomb`
pub fn opendocument(
    package: &mut Package<'_>,
    budget: &mut Budget,
) -> Result<BTreeMap<String, MetadataValue>, Failure> {
    let mut values = BTreeMap::new();
    add_part(package, "meta.xml", budget, &mut values)?;
    Ok(values)
}

/// A damaged part only costs its metadata.
fn add_part(
    package: &mut Package<'_>,
    part: &str,
    budget: &mut Budget,
    values: &mut BTreeMap<String, MetadataValue>,
) -> Result<(), Failure> {
    let text = package.bytes_if_whole(part, budget)?.map(decoded).unwrap_or_default();
    let mut reader = XmlReader::new(&text, part);
    while let Ok(Some(node)) = reader.next() {
        let Node::Start(element) = node else { continue };
        let Some((_, name)) = NAMES.iter().find(|(theirs, _)| *theirs == element.name()) else { continue };
        let Ok(value) = reader.text_content() else { break };
        if !values.contains_key(*name) {
            metadata::insert_text(values, name, &value);
        }
    }
    Ok(())
}
