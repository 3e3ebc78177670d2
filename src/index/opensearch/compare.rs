//! How the mapping of an index that is there compares with the fields that we write.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::mapping::{ANALYZER, FIELDS, FieldType};

/// Without these the search application finds nothing (contract §3, its query): an index that neither has them
/// nor adds them is not fit for use.
const NEEDED_FOR_SEARCH: [&str; 7] =
    ["file_name", "file_path", "extracted_text", "file_extension", "file_size", "created_at", "modified_at"];

/// What the index does with fields that its mapping does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Adds them with a guessed type.
    Adds,
    /// Stores and ignores them.
    Ignores,
    /// Rejects the document.
    Rejects,
}

/// The mapping of one index, or of every index behind an alias.
#[derive(Clone, Debug, PartialEq)]
pub struct ExistingMapping {
    /// As `GET /{index}/_mapping` answers: index name → `{"mappings": {…}}`.
    indexes: Map<String, Value>,
}

impl ExistingMapping {
    /// `None` when the answer holds no mapping.
    pub fn read(answer: Value) -> Option<Self> {
        let Value::Object(indexes) = answer else { return None };
        (!indexes.is_empty()).then_some(Self { indexes })
    }

    fn mappings(&self) -> impl Iterator<Item = &Value> {
        self.indexes.values().filter_map(|index| index.get("mappings"))
    }

    /// The strictest of the indexes decides.
    pub fn dynamic(&self) -> Dynamic {
        let words: Vec<String> = self.mappings().filter_map(|mapping| mapping.get("dynamic")).map(word).collect();
        if words.iter().any(|word| word.starts_with("strict")) {
            return Dynamic::Rejects;
        }
        if words.iter().any(|word| word == "false") { Dynamic::Ignores } else { Dynamic::Adds }
    }

    /// The field's definition in each index that has it.
    fn definitions(&self, field: &str) -> impl Iterator<Item = &Value> {
        self.mappings().filter_map(move |mapping| mapping.get("properties")?.get(field))
    }

    fn lacks(&self, field: &str) -> bool {
        self.definitions(field).count() < self.indexes.len()
    }

    /// Our fields that at least one of the indexes lacks.
    pub fn missing(&self) -> BTreeSet<String> {
        FIELDS.iter().map(|(name, _)| (*name).to_owned()).filter(|name| self.lacks(name)).collect()
    }

    /// The fields that a document must not carry here.
    pub fn rejected_fields(&self) -> BTreeSet<String> {
        if self.dynamic() == Dynamic::Rejects { self.missing() } else { BTreeSet::new() }
    }

    /// Missing fields without which the search application is blind; empty when the index adds fields itself.
    pub fn missing_for_search(&self) -> Vec<&'static str> {
        if self.dynamic() == Dynamic::Adds {
            return Vec::new();
        }
        NEEDED_FOR_SEARCH.into_iter().filter(|name| self.lacks(name)).collect()
    }

    /// Fields whose type is not one that contract §3 can live with, each a sentence.
    pub fn conflicts(&self) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (name, kind) in FIELDS {
            for definition in self.definitions(name) {
                conflicts.extend(conflict(name, *kind, definition));
            }
        }
        conflicts.sort();
        conflicts.dedup();
        conflicts
    }

    /// The properties to add so that every field is there: whole fields, and `.keyword` below text fields that
    /// lack it. Fields in conflict are left as they are.
    pub fn additions(&self, analyzer: &str) -> Map<String, Value> {
        let mut additions = Map::new();
        for (name, kind) in FIELDS {
            let Some(definition) = self.definitions(name).next() else {
                let addition = match kind {
                    // Our template for its keys cannot be assumed here, and guessed types would conflict.
                    FieldType::Metadata => json!({"type": "object", "dynamic": false}),
                    _ => kind.definition(analyzer),
                };
                additions.insert((*name).to_owned(), addition);
                continue;
            };
            let lacks_keyword = *kind == FieldType::TextAndKeyword && definition.pointer("/fields/keyword").is_none();
            if lacks_keyword && conflict(name, *kind, definition).is_none() {
                let mut extended = definition.clone();
                extended["fields"]["keyword"] = FieldType::Keyword.definition(analyzer);
                additions.insert((*name).to_owned(), extended);
            }
        }
        additions
    }

    /// The analyzer for text fields that are added: the contract's if the index has it, else the one that the
    /// index uses for the text, else the one that every cluster has.
    pub fn analyzer_for_additions(&self, index_settings: &Value) -> String {
        let defined = index_settings.as_object().is_some_and(|indexes| {
            indexes
                .values()
                .any(|index| index.pointer(&format!("/settings/index/analysis/analyzer/{ANALYZER}")).is_some())
        });
        if defined {
            return ANALYZER.to_owned();
        }
        let in_use = self.definitions("extracted_text").find_map(|definition| definition.get("analyzer")?.as_str());
        in_use.unwrap_or("cjk").to_owned()
    }
}

/// `dynamic` comes as a word or as a boolean.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An existing field that we cannot write to, or that the search cannot use, in a sentence.
fn conflict(name: &str, wanted: FieldType, definition: &Value) -> Option<String> {
    // An object has no type of its own.
    let actual = definition.get("type").and_then(Value::as_str).unwrap_or("object");
    let accepted: &[&str] = match wanted {
        FieldType::Boolean => &["boolean"],
        FieldType::Keyword => &["keyword", "wildcard"],
        FieldType::Text => &["text", "match_only_text", "keyword", "wildcard"],
        FieldType::TextAndKeyword | FieldType::LongText => &["text", "match_only_text"],
        FieldType::Date => &["date", "date_nanos"],
        FieldType::Integer => &["integer", "long"],
        FieldType::Long => &["long", "unsigned_long"],
        FieldType::Float => &["float", "double", "half_float", "scaled_float"],
        FieldType::Metadata => &["object", "flat_object", "flattened"],
    };
    if !accepted.contains(&actual) {
        let wanted = word(&wanted.definition(ANALYZER)["type"]);
        return Some(format!("{name} is of type {actual}, not {wanted}"));
    }
    let format = definition.get("format").and_then(Value::as_str).unwrap_or("strict_date_optional_time");
    if wanted == FieldType::Date && !accepts_utc_dates(format) {
        return Some(format!("{name} takes dates as {format} only, not as 2024-05-01T00:00:00Z"));
    }
    None
}

fn accepts_utc_dates(format: &str) -> bool {
    format.split("||").any(|one| {
        let name = one.trim().trim_start_matches("strict_");
        ["date_optional_time", "date_optional_time_nanos", "date_time", "date_time_no_millis", "iso8601"]
            .contains(&name)
    })
}

/// What [`super::OpenSearchIndex::create`] sends to an index that lacks fields.
pub fn additions_body(additions: &Map<String, Value>) -> Value {
    json!({"properties": additions})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::opensearch::mapping::{Analysis, index_body};

    fn mapping(body: Value) -> ExistingMapping {
        ExistingMapping::read(json!({"files": {"mappings": body}})).unwrap()
    }

    #[test]
    fn our_own_body_fits() {
        let ours = mapping(index_body(Analysis::Kuromoji, false)["mappings"].clone());
        assert_eq!(ours.conflicts(), Vec::<String>::new());
        assert!(ours.missing().is_empty());
        assert!(ours.additions(ANALYZER).is_empty());
        assert_eq!(ours.dynamic(), Dynamic::Adds);
    }

    #[test]
    fn a_strict_index_names_what_it_would_reject() {
        let strict = mapping(json!({"dynamic": "strict", "properties": {"file_name": {"type": "text"}}}));
        assert!(strict.rejected_fields().contains("etag"));
        assert!(!strict.rejected_fields().contains("file_name"));
        assert!(strict.missing_for_search().contains(&"extracted_text"));
        assert!(mapping(json!({"properties": {}})).rejected_fields().is_empty());
        assert_eq!(mapping(json!({"dynamic": false})).dynamic(), Dynamic::Ignores);
    }

    #[test]
    fn wrong_types_and_narrow_date_formats_are_conflicts() {
        let wrong = mapping(json!({"properties": {
            "created_at": {"type": "date", "format": "yyyy-MM-dd"},
            "modified_at": {"type": "date", "format": "yyyy-MM-dd||strict_date_optional_time"},
            "file_extension": {"type": "text"},
            "page_count": {"type": "long"},
        }}));
        let conflicts = wrong.conflicts();
        assert_eq!(conflicts.len(), 2, "{conflicts:?}");
        assert!(conflicts[0].starts_with("created_at takes dates as yyyy-MM-dd only"), "{conflicts:?}");
        assert_eq!(conflicts[1], "file_extension is of type text, not keyword");
    }

    #[test]
    fn a_missing_keyword_below_a_text_field_is_added_with_the_fields_own_analyzer() {
        let existing = mapping(json!({"properties": {"file_name": {"type": "text", "analyzer": "kuromoji"}}}));
        let additions = existing.additions(ANALYZER);
        assert_eq!(additions["file_name"]["analyzer"], "kuromoji");
        assert_eq!(additions["file_name"]["fields"]["keyword"]["type"], "keyword");
        assert_eq!(additions["etag"]["type"], "keyword");
    }

    #[test]
    fn an_alias_of_two_indexes_lacks_what_one_of_them_lacks() {
        let both = ExistingMapping::read(json!({
            "old": {"mappings": {"dynamic": "strict", "properties": {"etag": {"type": "keyword"}}}},
            "new": {"mappings": {"properties": {}}},
        }))
        .unwrap();
        assert!(both.rejected_fields().contains("etag"));
    }
}
