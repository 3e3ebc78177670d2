//! From what was extracted to the outcome: contract §4, in one place.
//!
//! The rule behind the rules: nothing that failed may look like an empty document.

use crate::pool::Extraction;
use crate::pool::protocol::{Page, PageSource};

use super::text::cut_at_utf16_units;
use super::{Failure, Outcome, Reason};

/// The longest `error_message`, in UTF-16 units. Details come from children, which may say anything.
const MAX_SENTENCE_UTF16_UNITS: usize = 1_000;

/// How a document ends, as the index says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentVerdict {
    /// `Indexed`, `IndexedPartial` or `IndexedWithoutText`.
    pub outcome: Outcome,
    /// `None` for `Indexed` only.
    pub reason: Option<Reason>,
    /// `error_message`: set unless everything worked.
    pub sentence: Option<String>,
}

impl DocumentVerdict {
    /// `success` (contract §4): false only for a document whose text could not be had.
    pub fn success(&self) -> bool {
        match self.outcome {
            Outcome::IndexedWithoutText => self.reason.is_some_and(Reason::is_success),
            _ => true,
        }
    }

    /// A document without text, for this reason.
    pub fn without_text(failure: &Failure) -> Self {
        Self {
            outcome: Outcome::IndexedWithoutText,
            reason: Some(failure.reason),
            sentence: (!failure.reason.is_success()).then(|| sentence(&failure.detail)),
        }
    }

    fn partial(failure: &Failure) -> Self {
        Self {
            outcome: Outcome::IndexedPartial,
            reason: Some(failure.reason),
            sentence: Some(sentence(&failure.detail)),
        }
    }
}

/// The outcome of an extraction (contract §4).
///
/// A document-level failure (`timeout`, `too_many_pages`) comes before the failures of single pages, because it stands
/// for more pages; the sentence names both. `too_many_pages` is a setting at work and not a failure: when the pages
/// within the limit were all read and blank, the document is partial, where any other failure with no text to show
/// for it is `indexed_without_text` and no success.
pub fn outcome_of(extraction: &Extraction) -> DocumentVerdict {
    let has_text = extraction.pages.iter().any(|page| !text_of(page).trim().is_empty());
    let Some(failure) = decisive_failure(extraction) else {
        if has_text {
            return DocumentVerdict { outcome: Outcome::Indexed, reason: None, sentence: None };
        }
        return DocumentVerdict::without_text(&Failure::new(Reason::NoText, "there is nothing to read"));
    };
    let only_the_limit_was_reached =
        failure.reason == Reason::TooManyPages && !extraction.pages.is_empty() && pages_failed(extraction) == 0;
    if has_text || only_the_limit_was_reached {
        DocumentVerdict::partial(&failure)
    } else {
        DocumentVerdict::without_text(&failure)
    }
}

/// The text that a page adds to the document. A failed page adds none, whatever a child sent with it.
pub fn text_of(page: &Page) -> &str {
    if page.source == PageSource::Failed { "" } else { &page.text }
}

/// Pages that were to be read and could not be: failed ones, and ones that an extraction without a failure of its own
/// does not account for.
pub fn pages_failed(extraction: &Extraction) -> u32 {
    let failed = extraction.pages.iter().filter(|page| page.source == PageSource::Failed).count();
    count(failed).saturating_add(pages_unaccounted(extraction))
}

/// Pages that are missing without a reason. The pool never leaves any; if it did, the document would look whole.
fn pages_unaccounted(extraction: &Extraction) -> u32 {
    match (extraction.page_count, &extraction.failure) {
        (Some(page_count), None) => page_count.saturating_sub(count(extraction.pages.len())),
        _ => 0,
    }
}

/// What kept the document from being whole, in words for the whole document.
fn decisive_failure(extraction: &Extraction) -> Option<Failure> {
    let of_pages = failure_of_pages(extraction);
    let Some(of_document) = &extraction.failure else {
        return of_pages;
    };
    let mut detail = of_document.detail.clone();
    if let Some(of_pages) = of_pages {
        detail = format!("{detail} {}", of_pages.detail);
    }
    Some(Failure::new(of_document.reason, detail))
}

/// The first failed page's reason, with how many share its fate.
fn failure_of_pages(extraction: &Extraction) -> Option<Failure> {
    let all = extraction.page_count.unwrap_or(0).max(count(extraction.pages.len()));
    if let Some(first) = extraction.pages.iter().find(|page| page.source == PageSource::Failed) {
        let unexplained = Failure::new(Reason::Crashed, "no reason was given.");
        let cause = first.failure.as_ref().unwrap_or(&unexplained);
        let failed = pages_failed(extraction);
        let detail = if all == 1 {
            cause.detail.clone()
        } else {
            format!("{failed} of {all} pages could not be read; the first is page {}: {}", first.number, cause.detail)
        };
        return Some(Failure::new(cause.reason, detail));
    }
    let unaccounted = pages_unaccounted(extraction);
    (unaccounted > 0).then(|| Failure::new(Reason::Crashed, format!("{unaccounted} of {all} pages were not read.")))
}

/// One line, bounded.
fn sentence(detail: &str) -> String {
    let one_line: String =
        detail.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let bounded = cut_at_utf16_units(one_line.trim(), MAX_SENTENCE_UTF16_UNITS);
    if bounded.is_empty() { "The document could not be read.".to_owned() } else { bounded.to_owned() }
}

/// How many, as the index counts pages.
pub fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(source: PageSource, text: &str) -> Page {
        Page { number: 0, source, confidence: None, failure: None, text: text.to_owned(), truncated: false, cost_ms: 0 }
    }

    fn text(text: &str) -> Page {
        page(PageSource::Text, text)
    }

    fn blank() -> Page {
        page(PageSource::Blank, "")
    }

    fn failed(reason: Reason, detail: &str) -> Page {
        Page { failure: Some(Failure::new(reason, detail)), ..page(PageSource::Failed, "") }
    }

    fn extraction(pages: Vec<Page>, failure: Option<Failure>) -> Extraction {
        let numbered = pages.into_iter().zip(1..).map(|(page, number)| Page { number, ..page });
        Extraction { pages: numbered.collect(), failure, ..Extraction::default() }
    }

    /// outcome, reason, success, error_message
    type Row = (Outcome, Option<Reason>, bool, Option<&'static str>);

    #[track_caller]
    fn assert_verdict(extraction: &Extraction, expected: Row) {
        let verdict = outcome_of(extraction);
        let found = (verdict.outcome, verdict.reason, verdict.success(), verdict.sentence.as_deref());
        assert_eq!(found, expected);
    }

    #[test]
    fn all_pages_good_and_some_text_is_indexed() {
        let whole: Row = (Outcome::Indexed, None, true, None);
        assert_verdict(&extraction(vec![text("a")], None), whole);
        assert_verdict(&extraction(vec![text("a"), blank(), page(PageSource::Ocr, "b")], None), whole);
    }

    #[test]
    fn nothing_to_read_is_a_success() {
        let no_text: Row = (Outcome::IndexedWithoutText, Some(Reason::NoText), true, None);
        assert_verdict(&extraction(vec![], None), no_text);
        assert_verdict(&extraction(vec![blank(), blank()], None), no_text);
        assert_verdict(&extraction(vec![text(" \n\u{3000}"), page(PageSource::Ocr, "")], None), no_text);
    }

    #[test]
    fn some_pages_failed_is_partial_with_the_first_ones_reason() {
        let pages = vec![text("a"), failed(Reason::Crashed, "The child crashed."), failed(Reason::Timeout, "x")];
        let sentence = "2 of 3 pages could not be read; the first is page 2: The child crashed.";
        let expected = (Outcome::IndexedPartial, Some(Reason::Crashed), true, Some(sentence));
        assert_verdict(&extraction(pages, None), expected);
    }

    #[test]
    fn failed_pages_and_no_text_is_no_success() {
        let only_page = extraction(vec![failed(Reason::OutOfMemory, "Page 1 needs too much memory.")], None);
        let sentence = "Page 1 needs too much memory.";
        assert_verdict(&only_page, (Outcome::IndexedWithoutText, Some(Reason::OutOfMemory), false, Some(sentence)));
        // A blank page does not make up for the failed one.
        let mixed = extraction(vec![blank(), failed(Reason::Timeout, "It hung.")], None);
        let sentence = "1 of 2 pages could not be read; the first is page 2: It hung.";
        assert_verdict(&mixed, (Outcome::IndexedWithoutText, Some(Reason::Timeout), false, Some(sentence)));
    }

    #[test]
    fn text_sent_with_a_failed_page_does_not_count() {
        let mut garbage = failed(Reason::LowConfidence, "Nothing is legible.");
        garbage.text = "#~|".to_owned();
        let expected = (Outcome::IndexedWithoutText, Some(Reason::LowConfidence), false, Some("Nothing is legible."));
        assert_verdict(&extraction(vec![garbage], None), expected);
    }

    #[test]
    fn a_document_that_cannot_be_read_says_why() {
        let encrypted = Failure::new(Reason::Encrypted, "The PDF needs a password.");
        let expected = (Outcome::IndexedWithoutText, Some(Reason::Encrypted), false, Some("The PDF needs a password."));
        assert_verdict(&extraction(vec![], Some(encrypted)), expected);
        let silent = Failure::new(Reason::Corrupt, "\n");
        let expected =
            (Outcome::IndexedWithoutText, Some(Reason::Corrupt), false, Some("The document could not be read."));
        assert_verdict(&extraction(vec![], Some(silent)), expected);
    }

    #[test]
    fn a_document_that_was_stopped_is_partial_if_it_has_text() {
        let stopped = || Some(Failure::new(Reason::Timeout, "Stopped after 7200 s."));
        let sentence = "Stopped after 7200 s.";
        let partial = (Outcome::IndexedPartial, Some(Reason::Timeout), true, Some(sentence));
        assert_verdict(&extraction(vec![text("a")], stopped()), partial);
        let nothing = (Outcome::IndexedWithoutText, Some(Reason::Timeout), false, Some(sentence));
        assert_verdict(&extraction(vec![blank()], stopped()), nothing);
        assert_verdict(&extraction(vec![], stopped()), nothing);

        let with_failed_page = extraction(vec![text("a"), failed(Reason::Crashed, "It crashed.")], stopped());
        let sentence = "Stopped after 7200 s. 1 of 2 pages could not be read; the first is page 2: It crashed.";
        assert_verdict(&with_failed_page, (Outcome::IndexedPartial, Some(Reason::Timeout), true, Some(sentence)));
    }

    #[test]
    fn blank_pages_up_to_the_page_limit_are_partial() {
        let limit = || Some(Failure::new(Reason::TooManyPages, "1000 of 100000 pages were read."));
        let sentence = Some("1000 of 100000 pages were read.");
        let partial = (Outcome::IndexedPartial, Some(Reason::TooManyPages), true, sentence);
        assert_verdict(&extraction(vec![blank(), blank()], limit()), partial);
        assert_verdict(&extraction(vec![text("a")], limit()), partial);
        let unread = (Outcome::IndexedWithoutText, Some(Reason::TooManyPages), false, sentence);
        assert_verdict(&extraction(vec![], limit()), unread);
        let crashed = extraction(vec![failed(Reason::Crashed, "It crashed.")], limit());
        assert_eq!(outcome_of(&crashed).outcome, Outcome::IndexedWithoutText);
    }

    #[test]
    fn pages_that_are_missing_without_a_reason_are_not_forgotten() {
        let short = |pages| Extraction { page_count: Some(3), ..extraction(pages, None) };
        let sentence = "2 of 3 pages were not read.";
        let partial = (Outcome::IndexedPartial, Some(Reason::Crashed), true, Some(sentence));
        assert_verdict(&short(vec![text("a")]), partial);
        assert_eq!(pages_failed(&short(vec![text("a")])), 2);
        let sentence = "3 of 3 pages were not read.";
        let nothing = (Outcome::IndexedWithoutText, Some(Reason::Crashed), false, Some(sentence));
        assert_verdict(&short(vec![]), nothing);
    }

    #[test]
    fn sentences_are_bounded() {
        let talkative = Failure::new(Reason::Crashed, "長".repeat(1_000_000));
        let sentence = outcome_of(&extraction(vec![], Some(talkative))).sentence.expect("a sentence");
        assert_eq!(sentence.chars().count(), MAX_SENTENCE_UTF16_UNITS);
    }
}
