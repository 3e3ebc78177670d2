//! Searching the embedded index: every part of the query must be found, somewhere in name, path or text.

use std::path::{Path, PathBuf};

use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, PhraseQuery, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::{DocAddress, IndexReader, TantivyDocument, Term};

use super::atoms::{Atom, Content, atoms};
use super::schema::{Fields, display_path};
use super::snippet::{Phrase, Snippet, highlighted, snippet};
use super::{EmbeddedError, open_index, open_reader};
use crate::document::Document;

/// A match in the name counts so much more than one in the text, and one in the path so much (contract §3).
const NAME_BOOST: f32 = 3.0;
const PATH_BOOST: f32 = 2.0;

/// One document that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Comparable within one search only.
    pub score: f32,
    pub key: String,
    /// The path as people write it, with its matches.
    pub path: Snippet,
    pub page_count: Option<u32>,
    /// `indexed`, `indexed_partial` or `indexed_without_text`.
    pub outcome: Option<String>,
    /// The part of the text that shows the match; empty for a document without text.
    pub snippet: Snippet,
}

/// Why a search failed; what was asked is never the reason.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("search the index in {}", path.display())]
    Search { path: PathBuf, source: tantivy::TantivyError },
    #[error("the index in {} holds a document that cannot be read: delete that folder and index again", path.display())]
    Document { path: PathBuf, source: serde_json::Error },
}

/// An index open for searching, as it was committed last. Nothing is locked: `local` may be writing.
pub struct Searcher {
    path: PathBuf,
    reader: IndexReader,
    fields: Fields,
}

impl Searcher {
    pub fn open(path: &Path) -> Result<Self, EmbeddedError> {
        let (index, fields) = open_index(path, false)?;
        let reader = open_reader(path, &index)?;
        Ok(Self { path: path.to_owned(), reader, fields })
    }

    /// How many documents the index holds.
    pub fn document_count(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// The best `limit` documents that hold every part of the query, best first.
    ///
    /// Parts are separated by blanks; what stands between quotation marks is one part. Within a part, everything
    /// stands side by side: 「道路橋」 finds that string. A query without a letter or digit finds nothing.
    pub fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let phrases = phrases(query);
        if phrases.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let failed = |source| SearchError::Search { path: self.path.clone(), source };
        let searcher = self.reader.searcher();
        let parts = phrases.iter().map(|phrase| (Occur::Must, self.part(phrase))).collect();
        let collector = TopDocs::with_limit(limit).order_by_score();
        let found = searcher.search(&BooleanQuery::new(parts), &collector).map_err(failed)?;

        let mut hits = Vec::with_capacity(found.len());
        for (score, address) in found {
            hits.push(self.hit(&searcher, score, address, &phrases)?);
        }
        Ok(hits)
    }

    /// One part of the query, in whichever field.
    fn part(&self, phrase: &Phrase) -> Box<dyn Query> {
        let fields = [(self.fields.file_name, NAME_BOOST), (self.fields.path, PATH_BOOST), (self.fields.text, 1.0)];
        let anywhere = fields.map(|(field, boost)| {
            let query: Box<dyn Query> = Box::new(BoostQuery::new(phrase_query(field, phrase), boost));
            (Occur::Should, query)
        });
        Box::new(BooleanQuery::new(anywhere.into_iter().collect()))
    }

    fn hit(
        &self,
        searcher: &tantivy::Searcher,
        score: f32,
        address: DocAddress,
        phrases: &[Phrase],
    ) -> Result<Hit, SearchError> {
        let entry: TantivyDocument =
            searcher.doc(address).map_err(|source| SearchError::Search { path: self.path.clone(), source })?;
        let stored = |field: Field| entry.get_first(field).and_then(|value| value.as_str()).unwrap_or_default();
        let document: Document = serde_json::from_str(stored(self.fields.document))
            .map_err(|source| SearchError::Document { path: self.path.clone(), source })?;
        Ok(Hit {
            score,
            path: highlighted(&display_path(&document), phrases),
            page_count: document.page_count,
            outcome: document.outcome.map(|outcome| outcome.as_str().to_owned()),
            snippet: snippet(stored(self.fields.text), phrases),
            key: document.file_key,
        })
    }
}

/// The parts of a query. A quotation mark without its partner quotes the rest.
fn phrases(query: &str) -> Vec<Phrase> {
    let quote = |character: char| matches!(character, '"' | '“' | '”' | '＂');
    let mut parts: Vec<&str> = Vec::new();
    for (position, piece) in query.split(quote).enumerate() {
        let quoted = position % 2 == 1;
        if quoted {
            parts.push(piece);
        } else {
            parts.extend(piece.split_whitespace());
        }
    }
    parts.into_iter().map(|part| atoms(part).collect()).filter(|phrase: &Phrase| !phrase.is_empty()).collect()
}

/// The pieces side by side: pairs where characters are joined, which is exact and rarer than single characters.
fn phrase_query(field: Field, phrase: &[Atom]) -> Box<dyn Query> {
    let mut terms: Vec<(usize, Term)> = Vec::new();
    for (position, atom) in phrase.iter().enumerate() {
        let text = match &atom.content {
            Content::Word(word) => word.clone(),
            Content::Character(character) => {
                let joined_next = phrase.get(position + 1).filter(|next| next.joined);
                match joined_next.map(|next| &next.content) {
                    Some(Content::Character(next)) => String::from_iter([*character, *next]),
                    // The last character of a run stands in the pair before it already.
                    _ if atom.joined && position > 0 => continue,
                    _ => character.to_string(),
                }
            }
        };
        terms.push((position, Term::from_field_text(field, &text)));
    }
    match terms.as_slice() {
        [(_, only)] => Box::new(TermQuery::new(only.clone(), IndexRecordOption::WithFreqs)),
        _ => Box::new(PhraseQuery::new_with_offset(terms)),
    }
}
