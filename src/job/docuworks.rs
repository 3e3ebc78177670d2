//! DocuWorks files and the PDFs that are made of them (contract §5).
//!
//! A DocuWorks file cannot be read here; a converter beside the NAS writes a PDF of it into a folder of its own, some
//! time later. The PDF's text belongs into the original's document. So what has to stand in the index under one key
//! depends on what the bucket holds under others, and a change of one of them may concern the documents of all. That
//! is why an event for one member of a family is followed by a look at the others, and why a look at the bucket is a
//! look at all that a document depends on.

use jiff::Timestamp;

use crate::event::{EventKind, ObjectEvent};
use crate::index::IndexedState;
use crate::store::{ObjectState, StoreError};

use super::Context;
use super::calls::Calls;
use super::object::Interruption;
use super::turns::Turn;

const ORIGINALS: &str = "documents/";
const CONVERTED: &str = "docuworks-converted/";
const CONVERTED_EXTENSION: &str = ".pdf";
/// In the order in which a converted PDF's original is looked for (contract §5); then as Windows likes to write them.
const ORIGINAL_EXTENSIONS: [&str; 4] = [".xdw", ".xbd", ".XDW", ".XBD"];

/// The keys that belong together because they differ only in folder and extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Of these the first that exists is the original of `converted`.
    pub originals: [String; ORIGINAL_EXTENSIONS.len()],
    pub converted: String,
}

impl Family {
    /// The family that the key is of; `None` for every key that has nothing to do with DocuWorks.
    pub fn of(key: &str) -> Option<Self> {
        let same = match key.strip_prefix(CONVERTED) {
            Some(name) => name.strip_suffix(CONVERTED_EXTENSION),
            None => {
                let name = key.strip_prefix(ORIGINALS)?;
                ORIGINAL_EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension))
            }
        };
        let same = same.filter(|same| !same.is_empty() && !same.ends_with('/'))?;
        Some(Self {
            originals: ORIGINAL_EXTENSIONS.map(|extension| format!("{ORIGINALS}{same}{extension}")),
            converted: format!("{CONVERTED}{same}{CONVERTED_EXTENSION}"),
        })
    }

    /// Those that may be the original of the converted PDF rather than `key`, the first choice first. Of the PDF's own
    /// key: all that may be its original.
    pub fn before(&self, key: &str) -> impl Iterator<Item = &str> {
        self.originals.iter().map(String::as_str).take_while(move |original| *original != key)
    }

    /// Every member but `key`.
    pub fn others(&self, key: &str) -> impl Iterator<Item = &str> {
        let members = self.originals.iter().chain([&self.converted]).map(String::as_str);
        members.filter(move |member| *member != key)
    }
}

/// What an object has to do with DocuWorks.
#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    /// Nothing that matters: its document is made of itself alone. Also an original that has no converted PDF, and a
    /// converted PDF that has no original.
    Alone,
    /// An original whose text is in this converted PDF.
    ReadFrom { converted_key: String, converted: ObjectState },
    /// A converted PDF whose text is in its original's document: it has none of its own.
    BelongsToOriginal,
}

/// What the bucket holds, as far as one key's document depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    pub state: ObjectState,
    pub relation: Relation,
}

impl Sight {
    /// The PDF that the text is taken from, if it is not the object itself.
    pub fn converted(&self) -> Option<(&str, &ObjectState)> {
        match &self.relation {
            Relation::ReadFrom { converted_key, converted } => Some((converted_key, converted)),
            Relation::Alone | Relation::BelongsToOriginal => None,
        }
    }

    /// The object whose bytes are read for the document under `key`.
    pub fn source<'a>(&'a self, key: &'a str) -> (&'a str, &'a ObjectState) {
        self.converted().unwrap_or((key, &self.state))
    }

    /// Whether a document made of this would be the same as one made of `other`.
    pub fn agrees_with(&self, other: &Sight) -> bool {
        let relations_agree = match (&self.relation, &other.relation) {
            (Relation::ReadFrom { converted: ours, .. }, Relation::ReadFrom { converted: theirs, .. }) => {
                ours.etag == theirs.etag
            }
            (ours, theirs) => ours == theirs,
        };
        relations_agree && self.state.etag == other.state.etag && self.state.last_modified == other.state.last_modified
    }

    /// Whether the index holds this very state already, read by this very engine (`None`: nothing was to be read).
    pub fn is_in(&self, indexed: &IndexedState, engine: Option<&str>) -> bool {
        let last_modified = indexed.s3_last_modified.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let converted_etag = self.converted().map(|(_key, converted)| converted.etag.as_str());
        indexed.etag.as_deref() == Some(&self.state.etag)
            && indexed.converted_etag.as_deref() == converted_etag
            && indexed.ocr_engine.as_deref() == engine
            && last_modified.is_some_and(|time| time.as_second() == self.state.last_modified.as_second())
    }
}

/// What the store said about the object under this key.
pub type ObjectFault = (String, StoreError);

/// Looks at what the document under `key` depends on beside the object itself. An object of no bytes is as good as
/// none, as everywhere.
pub async fn sight(
    calls: Calls<'_>,
    bucket: &str,
    key: &str,
    state: ObjectState,
) -> Result<Result<Sight, ObjectFault>, Interruption> {
    let alone = |state| Ok(Ok(Sight { state, relation: Relation::Alone }));
    let Some(family) = Family::of(key).filter(|_| state.size_bytes > 0) else { return alone(state) };
    let is_converted = key == family.converted;
    for original in family.before(key) {
        match readable(calls, bucket, original).await? {
            // The converted PDF is that one's.
            Ok(Some(_)) if is_converted => return Ok(Ok(Sight { state, relation: Relation::BelongsToOriginal })),
            Ok(Some(_)) => return alone(state),
            Ok(None) => {}
            Err(error) => return Ok(Err((original.to_owned(), error))),
        }
    }
    if is_converted {
        return alone(state);
    }
    match readable(calls, bucket, &family.converted).await? {
        Ok(Some(converted)) => {
            Ok(Ok(Sight { state, relation: Relation::ReadFrom { converted_key: family.converted, converted } }))
        }
        Ok(None) => alone(state),
        Err(error) => Ok(Err((family.converted, error))),
    }
}

/// The state of an object that has bytes.
async fn readable(
    calls: Calls<'_>,
    bucket: &str,
    key: &str,
) -> Result<Result<Option<ObjectState>, StoreError>, Interruption> {
    let store = &calls.context.store;
    Ok(match calls.on_store(|| store.head(bucket, key)).await? {
        Ok(state) => Ok((state.size_bytes > 0).then_some(state)),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    })
}

/// One job at a time for one family: side by side they would undo each other's work, and each look again and again.
pub async fn take_turn(context: &Context, bucket: &str, key: &str) -> Turn {
    let family = Family::of(key);
    let name = family.as_ref().map_or(key, |family| &family.converted);
    context.turns.take(bucket, name).await
}

/// What an event for one member says about another one. Both come from the same place on the NAS; order and dates
/// are each object's own.
pub fn event_for(sibling: &str, event: &ObjectEvent) -> ObjectEvent {
    ObjectEvent {
        kind: EventKind::Upsert,
        bucket: event.bucket.clone(),
        key: sibling.to_owned(),
        decoded_key: None,
        sequencer: None,
        original_path: None,
        modified_at: None,
        category: event.category.clone(),
        nas_server: event.nas_server.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(etag: &str, second: i64) -> ObjectState {
        ObjectState {
            etag: etag.to_owned(),
            size_bytes: 1,
            last_modified: Timestamp::from_second(second).unwrap(),
            version_id: None,
            archived: false,
            user_metadata: Default::default(),
        }
    }

    #[test]
    fn original_and_converted_pdf_find_each_other() {
        let pdf = Family::of("docuworks-converted/road/ts-server3/橋/図面.v2.pdf").unwrap();
        assert_eq!(pdf.originals[0], "documents/road/ts-server3/橋/図面.v2.xdw");
        assert_eq!(pdf.originals[1], "documents/road/ts-server3/橋/図面.v2.xbd");
        for original in &pdf.originals {
            assert_eq!(Family::of(original), Some(pdf.clone()), "{original}");
        }
    }

    #[test]
    fn other_keys_have_no_family() {
        for key in [
            "documents/a.pdf",
            "documents/a.xdw.pdf",
            "documents/.xdw",
            "documents/road/.xdw",
            "processed/a.xdw",
            "docuworks-converted/a.xdw",
            "docuworks-converted/.pdf",
            "archive/docuworks-converted/a.pdf",
            "a.xdw",
        ] {
            assert_eq!(Family::of(key), None, "{key}");
        }
    }

    #[test]
    fn an_xdw_comes_before_an_xbd_and_both_before_the_pdf() {
        let family = Family::of("documents/a.xbd").unwrap();
        let before = |key| family.before(key).collect::<Vec<_>>();
        assert_eq!(before("documents/a.xdw"), [""; 0]);
        assert_eq!(before("documents/a.xbd"), ["documents/a.xdw"]);
        assert_eq!(before(&family.converted).len(), ORIGINAL_EXTENSIONS.len());
        let others: Vec<_> = family.others("documents/a.xbd").collect();
        let expected = ["documents/a.xdw", "documents/a.XDW", "documents/a.XBD", "docuworks-converted/a.pdf"];
        assert_eq!(others, expected);
    }

    #[test]
    fn a_look_differs_when_either_object_or_their_relation_does() {
        let read_from = |etag: &str| Relation::ReadFrom { converted_key: "p".to_owned(), converted: state(etag, 0) };
        let sight = Sight { state: state("original", 0), relation: read_from("pdf") };
        assert!(sight.agrees_with(&sight.clone()));
        for other in [
            Sight { state: state("another", 0), ..sight.clone() },
            Sight { state: state("original", 1), ..sight.clone() },
            Sight { relation: read_from("another"), ..sight.clone() },
            Sight { relation: Relation::Alone, ..sight.clone() },
        ] {
            assert!(!sight.agrees_with(&other), "{other:?}");
        }
    }
}
