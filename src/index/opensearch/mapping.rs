//! The fields of contract §3 and their types, and the body of an index that we create.

use serde_json::{Map, Value, json};

/// Longest value of a keyword that is indexed, in characters: 8,191 characters of four bytes stay below Lucene's
/// 32,766 bytes a term. Longer ones are stored and not searchable, instead of failing the document.
const KEYWORD_CHARACTERS: u32 = 8_191;
/// The same for values of `metadata`.
const METADATA_CHARACTERS: u32 = 1_024;
/// The analyzer of every text field (contract §3).
pub const ANALYZER: &str = "japanese_analyzer";

/// How a field is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    Boolean,
    Keyword,
    Text,
    /// Analysed, with a `.keyword` beside it for sorting and exact filters.
    TextAndKeyword,
    /// `extracted_text`: offsets in the index make highlighting of big documents 20–80 × faster, and free of the
    /// limit above which a highlighter fails the whole search.
    LongText,
    Date,
    Integer,
    Long,
    Float,
    /// Flat strings and numbers, all indexed as keywords.
    Metadata,
}

/// Our fields (contract §3), in its order.
pub const FIELDS: &[(&str, FieldType)] = &[
    ("success", FieldType::Boolean),
    ("error_message", FieldType::Text),
    ("outcome", FieldType::Keyword),
    ("reason", FieldType::Keyword),
    ("file_key", FieldType::Keyword),
    ("bucket", FieldType::Keyword),
    ("s3_url", FieldType::Keyword),
    ("file_path", FieldType::TextAndKeyword),
    ("file_name", FieldType::TextAndKeyword),
    ("file_type", FieldType::Keyword),
    ("file_extension", FieldType::Keyword),
    ("mime_type", FieldType::Keyword),
    ("file_size", FieldType::Long),
    ("extracted_text", FieldType::LongText),
    ("text_truncated", FieldType::Boolean),
    ("page_count", FieldType::Integer),
    ("word_count", FieldType::Integer),
    ("char_count", FieldType::Integer),
    ("ocr_confidence", FieldType::Float),
    ("ocr_language", FieldType::Keyword),
    ("ocr_engine", FieldType::Keyword),
    ("pages_ocr", FieldType::Integer),
    ("pages_text", FieldType::Integer),
    ("pages_failed", FieldType::Integer),
    ("metadata", FieldType::Metadata),
    ("processing_time_seconds", FieldType::Float),
    ("processor_name", FieldType::Keyword),
    ("processor_version", FieldType::Keyword),
    ("processed_at", FieldType::Date),
    ("indexed_at", FieldType::Date),
    ("created_at", FieldType::Date),
    ("modified_at", FieldType::Date),
    ("category", FieldType::Keyword),
    ("category_display", FieldType::Keyword),
    ("nas_server", FieldType::Keyword),
    ("root_folder", FieldType::Keyword),
    ("nas_path", FieldType::TextAndKeyword),
    ("thumbnail_url", FieldType::Keyword),
    ("s3_last_modified", FieldType::Date),
    ("sequencer", FieldType::Keyword),
    ("content_sha256", FieldType::Keyword),
    ("etag", FieldType::Keyword),
    ("version_id", FieldType::Keyword),
    ("converted_etag", FieldType::Keyword),
];

impl FieldType {
    /// The field's mapping, its text analysed by `analyzer`.
    pub fn definition(self, analyzer: &str) -> Value {
        let keyword = json!({"type": "keyword", "ignore_above": KEYWORD_CHARACTERS});
        match self {
            FieldType::Boolean => json!({"type": "boolean"}),
            FieldType::Keyword => keyword,
            FieldType::Text => json!({"type": "text", "analyzer": analyzer}),
            FieldType::TextAndKeyword => {
                json!({"type": "text", "analyzer": analyzer, "fields": {"keyword": keyword}})
            }
            FieldType::LongText => json!({"type": "text", "analyzer": analyzer, "index_options": "offsets"}),
            FieldType::Date => json!({"type": "date"}),
            FieldType::Integer => json!({"type": "integer"}),
            FieldType::Long => json!({"type": "long"}),
            FieldType::Float => json!({"type": "float"}),
            FieldType::Metadata => json!({"type": "object", "dynamic": true}),
        }
    }
}

/// Which analysis the cluster can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Analysis {
    /// Words from the kuromoji plugin's dictionary.
    Kuromoji,
    /// Pairs of characters, on a cluster without that plugin.
    Cjk,
}

impl Analysis {
    /// The analyzer goes by one name, so that mapping and searches are the same on every cluster.
    fn definition(self) -> Value {
        match self {
            Analysis::Kuromoji => json!({
                "type": "custom",
                "tokenizer": "kuromoji_tokenizer",
                "filter": ["kuromoji_baseform", "lowercase", "cjk_width"],
            }),
            Analysis::Cjk => json!({"type": "cjk"}),
        }
    }
}

/// The body that creates the index (contract §3). Serverless decides shards, replicas and refresh by itself and
/// refuses to be told.
pub fn index_body(analysis: Analysis, serverless: bool) -> Value {
    let mut settings = json!({"analysis": {"analyzer": {ANALYZER: analysis.definition()}}});
    if !serverless {
        settings["number_of_shards"] = json!(2);
        settings["number_of_replicas"] = json!(1);
        settings["refresh_interval"] = json!("5s");
    }

    let mut properties: Map<String, Value> =
        FIELDS.iter().map(|(name, kind)| ((*name).to_owned(), kind.definition(ANALYZER))).collect();
    properties.extend(foreign_properties());
    json!({
        "settings": settings,
        "mappings": {
            "dynamic_templates": [{
                // One type for whatever a file says about itself: "12" here and 12 there must not conflict.
                "metadata_values": {
                    "path_match": "metadata.*",
                    "mapping": {"type": "keyword", "ignore_above": METADATA_CHARACTERS},
                },
            }],
            "properties": properties,
        },
    })
}

/// Fields of other programs (contract §3). `image_embedding` is left to the program that writes it: its type needs
/// the k-NN plugin and that program's dimensions.
fn foreign_properties() -> Map<String, Value> {
    let keyword = FieldType::Keyword.definition(ANALYZER);
    Map::from_iter([
        ("preview_images".to_owned(), json!({"type": "object", "enabled": false})),
        ("total_pages".to_owned(), json!({"type": "integer"})),
        ("preview_generated_at".to_owned(), json!({"type": "date"})),
        ("department".to_owned(), keyword.clone()),
        ("tags".to_owned(), keyword),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::document::Document;
    use crate::index::opensearch::script::document_fields;

    #[test]
    fn every_field_of_the_document_is_mapped_and_no_other() {
        let mapped: BTreeSet<String> = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let written: BTreeSet<String> = document_fields(&Document::default()).keys().cloned().collect();
        assert_eq!(mapped, written);
    }

    #[test]
    fn serverless_is_not_told_about_shards() {
        assert_eq!(index_body(Analysis::Kuromoji, false)["settings"]["number_of_shards"], 2);
        assert!(index_body(Analysis::Kuromoji, true)["settings"].get("number_of_shards").is_none());
    }
}
