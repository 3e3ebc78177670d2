//! What the index remembers of each document, read from columns; a stored document is touched only for a single key.

use tantivy::columnar::{Column, StrColumn};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{DocAddress, DocId, DocSet, Searcher, SegmentReader, TERMINATED, TantivyDocument, Term};

use super::schema::{
    CONVERTED_ETAG, ETAG, Fields, Held, KEY, OCR_ENGINE, ORDER_MS, OUTCOME, S3_LAST_MODIFIED, SEQUENCER,
};
use crate::document::Document;
use crate::index::{IndexedState, ObjectOrder};

/// The columns of one segment.
struct Columns {
    key: Option<StrColumn>,
    etag: Option<StrColumn>,
    converted_etag: Option<StrColumn>,
    ocr_engine: Option<StrColumn>,
    outcome: Option<StrColumn>,
    s3_last_modified: Option<StrColumn>,
    sequencer: Option<StrColumn>,
    order_ms: Column<i64>,
}

impl Columns {
    fn open(segment: &SegmentReader) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        Ok(Self {
            key: columns.str(KEY)?,
            etag: columns.str(ETAG)?,
            converted_etag: columns.str(CONVERTED_ETAG)?,
            ocr_engine: columns.str(OCR_ENGINE)?,
            outcome: columns.str(OUTCOME)?,
            s3_last_modified: columns.str(S3_LAST_MODIFIED)?,
            sequencer: columns.str(SEQUENCER)?,
            order_ms: columns.i64(ORDER_MS)?,
        })
    }

    fn held(&self, document: DocId) -> tantivy::Result<Held> {
        Ok(Held {
            state: IndexedState {
                etag: text_at(self.etag.as_ref(), document)?,
                converted_etag: text_at(self.converted_etag.as_ref(), document)?,
                ocr_engine: text_at(self.ocr_engine.as_ref(), document)?,
                outcome: text_at(self.outcome.as_ref(), document)?,
                s3_last_modified: text_at(self.s3_last_modified.as_ref(), document)?,
                ..IndexedState::default()
            },
            order: ObjectOrder {
                sequencer: text_at(self.sequencer.as_ref(), document)?,
                last_modified_ms: self.order_ms.first(document).unwrap_or_default(),
            },
        })
    }
}

fn text_at(column: Option<&StrColumn>, document: DocId) -> tantivy::Result<Option<String>> {
    let Some(column) = column else { return Ok(None) };
    let Some(ordinal) = column.term_ords(document).next() else { return Ok(None) };
    let mut text = String::new();
    let found = column.ord_to_str(ordinal, &mut text)?;
    Ok(found.then_some(text))
}

/// The document as it was written, without its text.
fn stored_document(searcher: &Searcher, fields: &Fields, address: DocAddress) -> tantivy::Result<Option<Document>> {
    let entry: TantivyDocument = searcher.doc(address)?;
    let json = entry.get_first(fields.document).and_then(|value| value.as_str());
    Ok(json.and_then(|json| serde_json::from_str(json).ok()))
}

/// What is committed under the key.
pub fn held_under(searcher: &Searcher, fields: &Fields, key: &str) -> tantivy::Result<Option<Held>> {
    let term = Term::from_field_text(fields.key, key);
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let inverted = segment.inverted_index(fields.key)?;
        let Some(mut postings) = inverted.read_postings(&term, IndexRecordOption::Basic)? else { continue };
        let mut document = postings.doc();
        while document != TERMINATED {
            if !segment.is_deleted(document) {
                let mut held = Columns::open(segment)?.held(document)?;
                // In no column, because only this look at a single document needs them.
                if let Some(stored) = stored_document(searcher, fields, DocAddress::new(ordinal as u32, document))? {
                    held.state.nas_path = stored.nas_path;
                    held.state.modified_at = stored.modified_at;
                }
                return Ok(Some(held));
            }
            document = postings.advance();
        }
    }
    Ok(None)
}

/// Every committed key with what is remembered of it, segment by segment; nothing is collected.
pub struct Keys {
    searcher: Searcher,
    segment: usize,
    columns: Option<Columns>,
    document: DocId,
}

impl Keys {
    pub fn of(searcher: Searcher) -> Self {
        Self { searcher, segment: 0, columns: None, document: 0 }
    }

    fn advance(&mut self) -> tantivy::Result<Option<(String, IndexedState)>> {
        while let Some(segment) = self.searcher.segment_readers().get(self.segment) {
            if self.columns.is_none() {
                self.columns = Some(Columns::open(segment)?);
                self.document = 0;
            }
            let Some(columns) = &self.columns else { continue };
            while self.document < segment.max_doc() {
                let document = self.document;
                self.document += 1;
                if segment.is_deleted(document) {
                    continue;
                }
                if let Some(key) = text_at(columns.key.as_ref(), document)? {
                    return Ok(Some((key, columns.held(document)?.state)));
                }
            }
            self.columns = None;
            self.segment += 1;
        }
        Ok(None)
    }
}

impl Iterator for Keys {
    type Item = tantivy::Result<(String, IndexedState)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
