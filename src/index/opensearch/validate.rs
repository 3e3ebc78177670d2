//! `--validate-only` on the index: it exists, its mapping fits contract §3, and we may write to it.

use super::OpenSearchIndex;
use super::create::existing_mapping;
use crate::index::IndexError;

/// What the check found. The index is fit for use when `problems` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Sentences, each a reason not to start.
    pub problems: Vec<String>,
    /// Sentences that an operator should know; the daemon runs all the same.
    pub warnings: Vec<String>,
}

pub async fn validate(index: &OpenSearchIndex) -> Result<Validation, IndexError> {
    let mut validation = Validation::default();
    let Some(mapping) = existing_mapping(&index.client, &index.index).await? else {
        validation.problems.push(format!("index {} does not exist: --create-index makes it", index.index));
        return Ok(validation);
    };

    validation.problems.extend(mapping.conflicts());
    let blind = mapping.missing_for_search();
    if !blind.is_empty() {
        validation.problems.push(format!("fields that searches need are missing: {}", blind.join(", ")));
    }
    let missing = mapping.missing();
    if !missing.is_empty() {
        let names = missing.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        validation.warnings.push(format!("fields are missing, --create-index adds them: {names}"));
    }
    if let Err(error) = index.write_in_vain().await {
        validation.problems.push(format!("we may not write: {error}"));
    }
    Ok(validation)
}
