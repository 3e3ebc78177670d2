//! Web pages: what a reader sees, with the title first.
//!
//! Only the tokenizer of html5ever is used, no tree: tags end lines or begin cells as they come, so that a page nested
//! ten thousand deep costs what a flat one costs, and there is no depth to cap. What a tree would add (repairing
//! misplaced tags) moves elements, not words.

use std::cell::RefCell;
use std::collections::BTreeMap;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::bounds::Budget;
use super::flow::Flow;
use super::{Section, Source, StructuredFile, read_beginning};
use crate::document::{Failure, MetadataValue};
use crate::extract::{charset, metadata};

/// Bytes read of a page; the text of a longer one is over the limit long before, unless it is all markup.
const MAX_HTML_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes given to the tokenizer at a time, after each of which a full text ends the reading.
const CHUNK_BYTES: usize = 64 * 1024;

/// The encoding is said within so many bytes (the HTML standard says 1024; pages with long comments exist).
const CHARSET_WITHIN_BYTES: usize = 4 * 1024;

/// UTF-16 units of the title line.
const MAX_TITLE_CHARACTERS: usize = 1_000;

/// Reads a page.
///
/// # Errors
/// `not_found` when the spooled file is gone.
pub fn read(source: &mut dyn Source, _budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let (bytes, complete) = read_beginning(source, MAX_HTML_BYTES)?;
    let mut page = read_bytes(&bytes);
    for section in &mut page.sections {
        section.truncated |= !complete;
    }
    Ok(page)
}

fn read_bytes(bytes: &[u8]) -> StructuredFile {
    let encoding = charset::encoding_of(bytes, declared_charset(bytes).as_deref());
    let mut page = read_text(&encoding.decode(bytes, true));
    metadata::insert_text(&mut page.metadata, "encoding", encoding.name());
    StructuredFile { sections: vec![page.section], metadata: page.metadata, ..StructuredFile::default() }
}

/// The text of a page that mail carries; `label` is the charset that the mail names.
pub fn section_of(bytes: &[u8], label: Option<&str>) -> Section {
    let declared = declared_charset(bytes);
    read_text(&charset::decode_labelled(bytes, label.or(declared.as_deref()))).section
}

struct ReadPage {
    section: Section,
    metadata: BTreeMap<String, MetadataValue>,
}

fn read_text(source: &str) -> ReadPage {
    let tokenizer = Tokenizer::new(PageSink::default(), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = source;
    while !rest.is_empty() && !tokenizer.sink.state.borrow().flow.is_full() {
        let (chunk, remaining) = rest.split_at(rest.floor_char_boundary(CHUNK_BYTES));
        queue.push_back(StrTendril::from_slice(chunk));
        // A script ends the feeding; nobody runs it here.
        while !queue.is_empty() {
            let _ = tokenizer.feed(&queue);
        }
        rest = remaining;
    }
    tokenizer.end();
    let state = tokenizer.sink.state.into_inner();
    let truncated = state.flow.is_full();
    let mut metadata = state.metadata;
    let title = one_line(&state.title);
    metadata::insert_text(&mut metadata, "title", &title);
    let text = match (title.as_str(), state.flow.into_text()) {
        ("", body) => body,
        // Many pages repeat their title as the first heading.
        (title, body) if body.lines().next() == Some(title) => body,
        (title, body) => format!("{title}\n{body}"),
    };
    ReadPage { section: Section { text: text.trim_end().to_owned(), truncated }, metadata }
}

fn one_line(text: &str) -> String {
    let mut flow = Flow::default();
    flow.push(text);
    flow.into_text().chars().take(MAX_TITLE_CHARACTERS).collect()
}

/// The `charset=` of a meta tag or of an XML declaration (`encoding=`).
fn declared_charset(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CHARSET_WITHIN_BYTES)]).to_ascii_lowercase();
    let declaration = head.trim_start().starts_with("<?xml").then(|| value_after(&head, "encoding")).flatten();
    declaration.or_else(|| value_after(&head, "charset"))
}

/// `name = "value"` or without quotes, anywhere.
pub fn value_after(head: &str, name: &str) -> Option<String> {
    let mut rest = head;
    while let Some((_, after)) = rest.split_once(name) {
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let value = value.trim_start().trim_start_matches(['"', '\'']);
            let end = value.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).unwrap_or(value.len());
            if end > 0 {
                return Some(value[..end].to_owned());
            }
        }
        rest = after;
    }
    None
}

#[derive(Default)]
struct PageSink {
    state: RefCell<PageState>,
}

#[derive(Default)]
struct PageState {
    flow: Flow,
    title: String,
    metadata: BTreeMap<String, MetadataValue>,
    /// Where text goes at the moment.
    place: Place,
    preformatted_depth: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Place {
    #[default]
    Body,
    Title,
    /// Inside a script, a style sheet or a frame.
    Nowhere,
}

impl TokenSink for PageSink {
    type Handle = ();

    fn process_token(&self, token: Token, _line_number: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return state.begin(&tag),
            Token::TagToken(tag) => state.end(&tag),
            Token::CharacterTokens(text) => state.text(&text),
            // Comments, document types and mistakes.
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl PageState {
    fn begin(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name = &*tag.name;
        // XHTML may close a script at once; HTML would take the rest of the page for it.
        if !tag.self_closing
            && let Some((place, kind)) = raw_content(name)
        {
            self.place = if name == "title" && !self.title.is_empty() { Place::Nowhere } else { place };
            return TokenSinkResult::RawData(kind);
        }
        match name {
            "br" => self.flow.line_break(),
            "tr" => self.flow.begin_row(),
            "td" | "th" => self.flow.begin_cell(),
            "pre" => {
                self.flow.end_block();
                self.preformatted_depth += 1;
            }
            "meta" => self.meta(tag),
            _ if is_block(name) => self.flow.end_block(),
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn end(&mut self, tag: &Tag) {
        self.place = Place::Body;
        match &*tag.name {
            "pre" => {
                self.flow.end_block();
                self.preformatted_depth = self.preformatted_depth.saturating_sub(1);
            }
            "tr" => self.flow.begin_row(),
            name if is_block(name) => self.flow.end_block(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        match self.place {
            Place::Body if self.preformatted_depth > 0 => self.flow.push_preformatted(text),
            Place::Body => self.flow.push(text),
            Place::Title => {
                if self.title.len() < MAX_TITLE_CHARACTERS {
                    self.title.push_str(text);
                }
            }
            Place::Nowhere => {}
        }
    }

    fn meta(&mut self, tag: &Tag) {
        let attribute = |name: &str| tag.attrs.iter().find(|found| &*found.name.local == name);
        let (Some(name), Some(content)) = (attribute("name"), attribute("content")) else {
            return;
        };
        let name = name.value.to_ascii_lowercase();
        if matches!(name.as_str(), "author" | "description" | "keywords") {
            metadata::insert_text(&mut self.metadata, &name, &content.value);
        }
    }
}

/// Elements whose content is not markup, where their text goes, and how the tokenizer reads it.
fn raw_content(name: &str) -> Option<(Place, RawKind)> {
    match name {
        "title" => Some((Place::Title, RawKind::Rcdata)),
        "textarea" => Some((Place::Body, RawKind::Rcdata)),
        "script" => Some((Place::Nowhere, RawKind::ScriptData)),
        "style" | "iframe" | "noembed" => Some((Place::Nowhere, RawKind::Rawtext)),
        "xmp" => Some((Place::Body, RawKind::Rawtext)),
        _ => None,
    }
}

/// Elements that begin and end lines.
fn is_block(name: &str) -> bool {
    const BLOCKS: [&str; 41] = [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "legend",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "section",
        "select",
        "summary",
        "table",
        "textarea",
        "ul",
        "xmp",
    ];
    BLOCKS.contains(&name)
}

#[cfg(test)]
mod tests {
    use encoding_rs::{EUC_JP, Encoding, ISO_2022_JP, SHIFT_JIS};

    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        read_bytes(bytes).sections.remove(0).text
    }

    #[test]
    fn a_reader_sees_words_and_no_markup() {
        let page = "<!DOCTYPE html><!-- hidden --><html><head><title>橋梁\n台帳</title><meta name=Author content='山田'>\
                    <style>p { color: red }</style><script>if (a < b) document.write('<p>no</p>')</script></head>\
                    <body onload='x()'><h1>国道246号</h1><p>道路の\n設計 &amp; CAD&nbsp;図&#x2460;</p>\
                    <ul><li>一<li>二</ul>A<b>B</b>C<br>D<pre>x\n  y</pre><script src=a.js></script>末尾</body></html>";
        assert_eq!(text_of(page.as_bytes()), "橋梁台帳\n国道246号\n道路の設計 & CAD 図①\n一\n二\nABC\nD\nx\n  y\n末尾");
        let read = read_bytes(page.as_bytes());
        assert_eq!(read.metadata.get("author"), Some(&MetadataValue::Text("山田".to_owned())));
        assert_eq!(read.metadata.get("title"), Some(&MetadataValue::Text("橋梁台帳".to_owned())));
    }

    #[test]
    fn tables_are_lines_of_cells() {
        let page =
            "<table><tr><th><p>品名</p></th><th>数量</th></tr> <tr> <td>橋</td> <td></td> <td>1</td></tr></table>後";
        assert_eq!(text_of(page.as_bytes()), "品名\t数量\n橋\t\t1\n後");
    }

    #[test]
    fn the_charset_is_what_the_bytes_say() {
        let body = "お世話になります、道路台帳の件です";
        let encodings: [&'static Encoding; 4] = [SHIFT_JIS, EUC_JP, ISO_2022_JP, encoding_rs::UTF_8];
        for encoding in encodings {
            for label in [encoding.name(), "shift_jis", "utf-8", "iso-8859-1"] {
                let page = format!("<html><head><meta charset=\"{label}\"></head><body>{body}</body></html>");
                assert_eq!(text_of(&encoding.encode(&page).0), body, "{} labelled {label}", encoding.name());
            }
        }
        let legacy = format!("<meta http-equiv=Content-Type content='text/html; charset=x-sjis'>{body}");
        assert_eq!(text_of(&SHIFT_JIS.encode(&legacy).0), body);
        let utf_16: Vec<u8> =
            format!("\u{feff}<meta charset=euc-jp>{body}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text_of(&utf_16), body);
    }

    #[test]
    fn depth_and_broken_markup_cost_nothing() {
        let deep = format!("{}底{}", "<div><table><tr><td>".repeat(10_000), "</div>".repeat(10_000));
        assert_eq!(text_of(deep.as_bytes()), "底");
        assert_eq!(text_of("<p>開いた<b>まま<table><tr><td>セル".as_bytes()), "開いたまま\nセル");
        assert_eq!(text_of("<html><script>never closed <p>text".as_bytes()), "");
        assert_eq!(text_of("<html><script src='a.js'/><title/>本文".as_bytes()), "本文");
    }

    #[test]
    fn a_huge_page_ends_at_the_limit_and_says_so() {
        let page = format!("<html><body>{}", "<p>道路".repeat(600_000));
        let read = read_bytes(page.as_bytes());
        assert!(read.sections[0].truncated && read.sections[0].text.encode_utf16().count() <= 1_000_001);
    }
}
