//! Office files that are ZIP archives of XML parts (OOXML, OpenDocument), read part by part within the budget.

use std::collections::HashMap;

use super::Source;
use super::bounds::Budget;
use super::office_xml::{Node, XmlReader, decoded};
use super::zip_directory::{self, Directory, ZipEntry};
use crate::document::{Failure, Reason};

/// An open package.
pub struct Package<'s> {
    source: &'s mut dyn Source,
    /// By lower-case name with slashes: writers disagree about case.
    entries: HashMap<String, ZipEntry>,
    /// The entries were found by their own headers, because the directory is damaged.
    is_recovered: bool,
}

/// A part that another part points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relationship {
    pub id: String,
    /// The last piece of its type: `header`, `image`, `notesSlide` …
    pub kind: String,
    /// The name of the part in the package.
    pub target: String,
}

impl<'s> Package<'s> {
    /// Opens a package and counts its entries. One whose directory is damaged is gone through for its parts.
    ///
    /// # Errors
    /// `corrupt`, or `archive_bomb` when there are too many entries.
    pub fn open(source: &'s mut dyn Source, budget: &mut Budget) -> Result<Package<'s>, Failure> {
        let mut package = Package { source, entries: HashMap::new(), is_recovered: false };
        if !package.read_directory(budget)? {
            package.recover(budget)?;
        }
        Ok(package)
    }

    /// Whether the directory could be read to its end.
    fn read_directory(&mut self, budget: &mut Budget) -> Result<bool, Failure> {
        let Ok(mut directory) = Directory::open(&mut *self.source) else {
            return Ok(false);
        };
        loop {
            match directory.next_entry() {
                Ok(Some(entry)) => {
                    budget.count_entry()?;
                    self.entries.entry(folded(&entry.name)).or_insert(entry);
                }
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Takes the parts as they stand in the file, once.
    fn recover(&mut self, budget: &mut Budget) -> Result<(), Failure> {
        let found = zip_directory::walk(&mut self.source, budget)?;
        self.entries = found.into_iter().map(|entry| (folded(&entry.name), entry)).collect();
        self.is_recovered = true;
        Ok(())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(&folded(name))
    }

    /// The names (lower case) that begin with `prefix`, in the order in which people count: image2 before image10.
    pub fn names_under(&self, prefix: &str) -> Vec<String> {
        let prefix = folded(prefix);
        let mut names: Vec<String> = self.entries.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        names.sort_by_key(|name| (name.trim_end_matches(|c: char| c != '.').len(), name.len(), name.clone()));
        names
    }

    /// The bytes of a part; `None` when there is none of that name.
    ///
    /// # Errors
    /// `archive_bomb`, `encrypted`, or `corrupt` with the name.
    pub fn bytes(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>, Failure> {
        let Some(entry) = self.entries.get(&folded(name)).cloned() else {
            return Ok(None);
        };
        match zip_directory::unpack(&mut self.source, &entry, budget) {
            // A directory that is wrong about one part is wrong about those after it.
            Err(failure) if is_local(&failure) && !self.is_recovered => {
                self.recover(budget)?;
                let Some(entry) = self.entries.get(&folded(name)).cloned() else {
                    return Err(failure);
                };
                zip_directory::unpack(&mut self.source, &entry, budget).map(Some)
            }
            outcome => outcome.map(Some),
        }
    }

    /// The bytes of a part; `None` also when it is damaged, for parts that a document can do without.
    ///
    /// # Errors
    /// `archive_bomb`, `encrypted`
    pub fn bytes_if_whole(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>, Failure> {
        match self.bytes(name, budget) {
            Err(failure) if is_local(&failure) => Ok(None),
            other => other,
        }
    }

    /// A part as text.
    ///
    /// # Errors
    /// Like [`Package::bytes`].
    pub fn text(&mut self, name: &str, budget: &mut Budget) -> Result<Option<String>, Failure> {
        Ok(self.bytes(name, budget)?.map(decoded))
    }

    /// What a part points to, in the file's order; the package itself is the part `""`. A damaged list is an empty one.
    ///
    /// # Errors
    /// `archive_bomb`
    pub fn relationships(&mut self, part: &str, budget: &mut Budget) -> Result<Vec<Relationship>, Failure> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let list = format!("{folder}/_rels/{file}.rels");
        let text = match self.text(list.trim_start_matches('/'), budget) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Vec::new()),
            Err(failure) if is_local(&failure) => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let mut found = Vec::new();
        let mut reader = XmlReader::new(&text, &list);
        while let Ok(Some(node)) = reader.next() {
            let Node::Start(element) = node else { continue };
            let value = |name| element.attribute(name).unwrap_or_default();
            if element.name() == "Relationship" && value("TargetMode") != "External" {
                let kind = value("Type").rsplit('/').next().unwrap_or_default().to_owned();
                found.push(Relationship { id: value("Id"), kind, target: resolved(folder, &value("Target")) });
            }
        }
        Ok(found)
    }
}

/// The failure of a document that asks for a password.
pub fn encrypted() -> Failure {
    Failure::new(Reason::Encrypted, "The document is protected by a password.")
}

/// Whether a failure is about one part, so that the others may still be read.
pub fn is_local(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::Corrupt | Reason::UnsupportedFormat)
}

fn folded(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_ascii_lowercase()
}

/// A target relative to its part's folder, or from the root.
fn resolved(folder: &str, target: &str) -> String {
    let mut pieces: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for piece in target.split(['/', '\\']) {
        match piece {
            "" | "." => {}
            ".." => {
                pieces.pop();
            }
            name => pieces.push(name),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    use crate::extract::structured::made::package_bytes;

    #[test]
    fn targets_are_resolved_from_the_folder_of_their_part() {
        assert_eq!(resolved("ppt/slides", "../notesSlides/n1.xml"), "ppt/notesSlides/n1.xml");
        assert_eq!(resolved("word", "/word/header1.xml"), "word/header1.xml");
        assert_eq!(resolved("", "../../../etc/passwd"), "etc/passwd");
    }

    #[test]
    fn parts_are_found_whatever_their_case() {
        let file =
            package_bytes(&[("Word\\Document.xml", b"<a/>".as_slice()), ("m/i10.png", b"b"), ("m/i2.png", b"a")]);
        let budget = &mut Budget::new(1_000);
        let mut source = Cursor::new(file);
        let mut package = Package::open(&mut source, budget).expect("open");
        assert_eq!(package.text("word/document.xml", budget).expect("text").as_deref(), Some("<a/>"));
        assert_eq!(package.bytes("missing", budget).expect("none"), None);
        assert_eq!(package.names_under("m/"), ["m/i2.png", "m/i10.png"]);
    }

    #[test]
    fn a_part_that_unpacks_to_too_much_is_a_bomb() {
        let file = package_bytes(&[("word/document.xml", vec![b' '; 20 * 1024 * 1024].as_slice())]);
        let budget = &mut Budget::new(file.len() as u64);
        let mut source = Cursor::new(file);
        let mut package = Package::open(&mut source, budget).expect("open");
        let failure = package.bytes("word/document.xml", budget).expect_err("bomb");
        assert_eq!(failure.reason, Reason::ArchiveBomb);
    }
}
