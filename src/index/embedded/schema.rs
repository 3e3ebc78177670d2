//! The fields of the embedded index, and how a document becomes an entry.

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{Index, TantivyDocument};

use super::tokenizer::{GramTokenizer, TOKENIZER_NAME};
use crate::document::Document;
use crate::index::{IndexedState, ObjectOrder};

/// The fields by name.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    pub key: Field,
    /// The document as JSON, without its text.
    pub document: Field,
    pub text: Field,
    pub file_name: Field,
    pub path: Field,
    etag: Field,
    converted_etag: Field,
    ocr_engine: Field,
    outcome: Field,
    s3_last_modified: Field,
    sequencer: Field,
    order_ms: Field,
}

/// Names of the columns that [`super::columns`] reads.
pub const KEY: &str = "key";
pub const ETAG: &str = "etag";
pub const CONVERTED_ETAG: &str = "converted_etag";
pub const OCR_ENGINE: &str = "ocr_engine";
pub const OUTCOME: &str = "outcome";
pub const S3_LAST_MODIFIED: &str = "s3_last_modified";
pub const SEQUENCER: &str = "sequencer";
pub const ORDER_MS: &str = "order_ms";

/// The schema. Whatever changes here makes existing indexes incompatible, and they are recognised by it.
pub fn schema() -> (Schema, Fields) {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER_NAME)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let searched = TextOptions::default().set_indexing_options(indexing);
    let column = TextOptions::default().set_fast("raw");

    let mut builder = Schema::builder();
    let fields = Fields {
        key: builder.add_text_field(KEY, STRING | FAST),
        document: builder.add_text_field("document", STORED),
        text: builder.add_text_field("text", searched.clone() | STORED),
        file_name: builder.add_text_field("file_name", searched.clone()),
        path: builder.add_text_field("path", searched),
        etag: builder.add_text_field(ETAG, column.clone()),
        converted_etag: builder.add_text_field(CONVERTED_ETAG, column.clone()),
        ocr_engine: builder.add_text_field(OCR_ENGINE, column.clone()),
        outcome: builder.add_text_field(OUTCOME, column.clone()),
        s3_last_modified: builder.add_text_field(S3_LAST_MODIFIED, column.clone()),
        sequencer: builder.add_text_field(SEQUENCER, column),
        order_ms: builder.add_i64_field(ORDER_MS, FAST | INDEXED),
    };
    (builder.build(), fields)
}

/// Makes our tokenizer known to an index that was opened or created.
pub fn register_tokenizer(index: &Index) {
    index.tokenizers().register(TOKENIZER_NAME, GramTokenizer);
}

/// What is remembered of a document for deciding about later writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub state: IndexedState,
    pub order: ObjectOrder,
}

impl Held {
    pub fn of(document: &Document, order: &ObjectOrder) -> Self {
        let state = IndexedState {
            etag: document.etag.clone(),
            converted_etag: document.converted_etag.clone(),
            ocr_engine: document.ocr_engine.clone(),
            outcome: document.outcome.map(|outcome| outcome.as_str().to_owned()),
            s3_last_modified: document.s3_last_modified.clone(),
            nas_path: document.nas_path.clone(),
            modified_at: document.modified_at.clone(),
        };
        Self { state, order: order.clone() }
    }
}

/// The path that people see and search: `file_path` without its scheme where that is `file:`.
///
/// An address made by `Url::from_file_path` is percent-encoded; one with characters that such an address cannot
/// have was only put together and is taken as it is.
pub fn display_path(document: &Document) -> String {
    let address = document.file_path.as_deref().unwrap_or(&document.file_key);
    let Some(path) = address.strip_prefix("file://") else { return address.to_owned() };
    let encoded = path.bytes().all(|byte| byte.is_ascii_graphic());
    if encoded && let Ok(decoded) = percent_encoding::percent_decode_str(path).decode_utf8() {
        return decoded.into_owned();
    }
    path.to_owned()
}

/// The entry of a document; its text is stored once, beside the JSON of the rest.
pub fn entry(fields: &Fields, mut document: Document, held: &Held) -> Result<TantivyDocument, serde_json::Error> {
    let text = document.extracted_text.take().unwrap_or_default();
    let mut entry = TantivyDocument::default();
    entry.add_text(fields.key, &document.file_key);
    entry.add_text(fields.document, serde_json::to_string(&document)?);
    entry.add_text(fields.file_name, &document.file_name);
    entry.add_text(fields.path, display_path(&document));
    entry.add_text(fields.text, text);
    for (field, value) in [
        (fields.etag, &held.state.etag),
        (fields.converted_etag, &held.state.converted_etag),
        (fields.ocr_engine, &held.state.ocr_engine),
        (fields.outcome, &held.state.outcome),
        (fields.s3_last_modified, &held.state.s3_last_modified),
        (fields.sequencer, &held.order.sequencer),
    ] {
        if let Some(value) = value {
            entry.add_text(field, value);
        }
    }
    entry.add_i64(fields.order_ms, held.order.last_modified_ms);
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(file_path: &str) -> String {
        display_path(&Document { file_path: Some(file_path.to_owned()), ..Document::default() })
    }

    #[test]
    fn paths_are_shown_as_people_write_them() {
        assert_eq!(shown("file:///home/%E6%A9%8B%20a.pdf"), "/home/橋 a.pdf");
        assert_eq!(shown("file:///home/橋 100%25.pdf"), "/home/橋 100%25.pdf");
        assert_eq!(shown("s3://bucket/a%20b"), "s3://bucket/a%20b");
    }
}
