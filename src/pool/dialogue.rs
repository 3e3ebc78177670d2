//! Which replies belong to a request. The parent trusts nothing: a reply out of turn means that the child is no
//! longer ours, whatever made it so.

use crate::document::Failure;
use crate::pool::protocol::{Opened, Page, Reply, Request};

/// A reply that belongs to the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Opened(Opened),
    Page(Page),
    NeedsOcr(u32),
    Thumbnail(Option<Vec<u8>>),
    DocumentFailed { failure: Failure, mime_type: Option<String> },
}

/// What a reply came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    Answer(Answer),
    /// The request is done with.
    Done,
    /// The last answer, which ends the request as well.
    LastAnswer(Answer),
}

/// One request and how far it has been answered.
#[derive(Debug)]
pub struct Dialogue {
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Opened {
        whole: bool,
    },
    /// The page of a running text, then its thumbnail.
    OnlyPage,
    /// Pages from `next` to `last`, in order; when `next` passes `last`, the end.
    Pages {
        next: u32,
        last: u32,
        may_need_ocr: bool,
    },
    Thumbnail,
    #[cfg(debug_assertions)]
    AnyPage,
    Done,
}

impl Dialogue {
    pub fn new(request: &Request) -> Self {
        let expected = match request {
            Request::Open { whole, .. } => Expected::Opened { whole: *whole },
            Request::Survey { count: 0, .. } => Expected::Done,
            Request::Survey { first, count, .. } => {
                Expected::Pages { next: *first, last: first.saturating_add(count - 1), may_need_ocr: true }
            }
            Request::Recognize { page, .. } => Expected::Pages { next: *page, last: *page, may_need_ocr: false },
            Request::Thumbnail { .. } => Expected::Thumbnail,
            Request::Close => Expected::Done,
            #[cfg(debug_assertions)]
            Request::Misbehave { .. } => Expected::AnyPage,
        };
        Self { expected }
    }

    /// Takes the next reply; the error says in words what was wrong with it.
    pub fn accept(&mut self, reply: Reply) -> Result<Turn, String> {
        match (&mut self.expected, reply) {
            (Expected::Opened { whole: true }, Reply::Opened(opened)) if opened.is_running_text() => {
                self.next(Expected::OnlyPage, Answer::Opened(opened))
            }
            (Expected::Opened { .. }, Reply::Opened(opened)) => self.last(Answer::Opened(opened)),
            (Expected::Opened { .. }, Reply::DocumentFailed { failure, mime_type }) => {
                Ok(Turn::LastAnswer(Answer::DocumentFailed { failure, mime_type }))
            }
            (Expected::OnlyPage, Reply::Page(page)) if page.number == 1 => {
                self.next(Expected::Thumbnail, Answer::Page(page))
            }
            (Expected::OnlyPage, Reply::NeedsOcr { page: 1 }) => self.next(Expected::Thumbnail, Answer::NeedsOcr(1)),
            (Expected::Pages { next, .. }, Reply::Page(page)) if page.number == *next => self.page(Answer::Page(page)),
            (Expected::Pages { next, may_need_ocr: true, .. }, Reply::NeedsOcr { page }) if page == *next => {
                self.page(Answer::NeedsOcr(page))
            }
            (Expected::Thumbnail, Reply::Thumbnail(jpeg)) => self.last(Answer::Thumbnail(jpeg)),
            #[cfg(debug_assertions)]
            (Expected::AnyPage, Reply::Page(page)) => self.last(Answer::Page(page)),
            (Expected::Done, Reply::Done) => Ok(Turn::Done),
            (expected, reply) => Err(format!("{} where {} was due", name(&reply), due(expected))),
        }
    }

    fn last(&mut self, answer: Answer) -> Result<Turn, String> {
        self.next(Expected::Done, answer)
    }

    fn next(&mut self, expected: Expected, answer: Answer) -> Result<Turn, String> {
        self.expected = expected;
        Ok(Turn::Answer(answer))
    }

    fn page(&mut self, answer: Answer) -> Result<Turn, String> {
        if let Expected::Pages { next, last, .. } = &mut self.expected {
            if next == last {
                self.expected = Expected::Done;
            } else {
                *next += 1;
            }
        }
        Ok(Turn::Answer(answer))
    }
}

fn name(reply: &Reply) -> String {
    match reply {
        Reply::Ready(_) => "Ready".into(),
        Reply::NotReady(_) => "NotReady".into(),
        Reply::Opened(_) => "Opened".into(),
        Reply::Page(page) => format!("page {}", page.number),
        Reply::NeedsOcr { page } => format!("NeedsOcr for page {page}"),
        Reply::Thumbnail(_) => "a thumbnail".into(),
        Reply::DocumentFailed { .. } => "DocumentFailed".into(),
        Reply::Done => "Done".into(),
    }
}

fn due(expected: &Expected) -> String {
    match expected {
        Expected::Opened { .. } => "Opened".into(),
        Expected::OnlyPage => "page 1".into(),
        Expected::Pages { next, .. } => format!("page {next}"),
        Expected::Thumbnail => "a thumbnail".into(),
        #[cfg(debug_assertions)]
        Expected::AnyPage => "a page".into(),
        Expected::Done => "Done".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Reason;
    use crate::pool::child::failed_page;
    use crate::pool::protocol::{DocumentRef, Effort, Opened};

    fn document() -> DocumentRef {
        DocumentRef { id: 1, spool_file: "/spool/1".into(), file_name: "a.pdf".into() }
    }

    fn page(number: u32) -> Reply {
        Reply::Page(failed_page(number, Failure::new(Reason::Corrupt, "")))
    }

    #[test]
    fn a_survey_is_answered_page_by_page_in_order() {
        let mut dialogue = Dialogue::new(&Request::Survey { document: document(), first: 17, count: 2 });
        assert!(matches!(dialogue.accept(page(17)), Ok(Turn::Answer(Answer::Page(_)))));
        assert_eq!(dialogue.accept(Reply::NeedsOcr { page: 18 }), Ok(Turn::Answer(Answer::NeedsOcr(18))));
        assert_eq!(dialogue.accept(Reply::Done), Ok(Turn::Done));
    }

    #[test]
    fn a_page_that_was_not_asked_for_is_nonsense() {
        let mut dialogue = Dialogue::new(&Request::Survey { document: document(), first: 17, count: 2 });
        assert_eq!(dialogue.accept(page(18)), Err("page 18 where page 17 was due".to_string()));
        let mut past_the_end = Dialogue::new(&Request::Survey { document: document(), first: 1, count: 1 });
        past_the_end.accept(page(1)).unwrap();
        assert!(past_the_end.accept(page(2)).is_err());
    }

    #[test]
    fn recognising_cannot_ask_for_recognition() {
        let request = Request::Recognize { document: document(), page: 3, effort: Effort::Normal };
        assert!(Dialogue::new(&request).accept(Reply::NeedsOcr { page: 3 }).is_err());
    }

    #[test]
    fn done_before_the_last_page_is_nonsense() {
        let mut dialogue = Dialogue::new(&Request::Survey { document: document(), first: 1, count: 2 });
        dialogue.accept(page(1)).unwrap();
        assert!(dialogue.accept(Reply::Done).is_err());
    }

    #[test]
    fn a_document_that_fails_ends_its_opening() {
        let failure = Failure::new(Reason::Encrypted, "it has a password");
        let mut dialogue = Dialogue::new(&Request::Open { document: document(), whole: true });
        let mime_type = Some("application/pdf".to_string());
        let reply = Reply::DocumentFailed { failure: failure.clone(), mime_type: mime_type.clone() };
        let last = Answer::DocumentFailed { failure, mime_type };
        assert_eq!(dialogue.accept(reply), Ok(Turn::LastAnswer(last)));
    }

    #[test]
    fn a_running_text_is_answered_whole_where_that_was_asked_for_and_nothing_else_is() {
        let running_text = Opened {
            mime_type: "text/plain".into(),
            page_count: 1,
            paginated: false,
            has_text_layer: true,
            metadata: Default::default(),
        };
        let is_over_after_opening = |whole: bool, opened: &Opened| {
            let mut dialogue = Dialogue::new(&Request::Open { document: document(), whole });
            dialogue.accept(Reply::Opened(opened.clone())).unwrap();
            dialogue.accept(Reply::Done) == Ok(Turn::Done)
        };
        assert!(!is_over_after_opening(true, &running_text));
        assert!(is_over_after_opening(false, &running_text));
        let others = [
            Opened { page_count: 2, ..running_text.clone() },
            Opened { paginated: true, ..running_text.clone() },
            Opened { has_text_layer: false, ..running_text.clone() },
        ];
        assert!(others.iter().all(|other| is_over_after_opening(true, other)));

        let mut dialogue = Dialogue::new(&Request::Open { document: document(), whole: true });
        dialogue.accept(Reply::Opened(running_text)).unwrap();
        assert!(matches!(dialogue.accept(page(1)), Ok(Turn::Answer(Answer::Page(_)))));
        assert_eq!(dialogue.accept(Reply::Thumbnail(None)), Ok(Turn::Answer(Answer::Thumbnail(None))));
        assert_eq!(dialogue.accept(Reply::Done), Ok(Turn::Done));
    }

    #[test]
    fn the_last_page_number_does_not_overflow() {
        let request = Request::Survey { document: document(), first: u32::MAX, count: 16 };
        let mut dialogue = Dialogue::new(&request);
        dialogue.accept(page(u32::MAX)).unwrap();
        assert_eq!(dialogue.accept(Reply::Done), Ok(Turn::Done));
    }
}
