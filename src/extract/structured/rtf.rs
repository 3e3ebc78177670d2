//! Rich Text (.rtf): text with table cells, headers, notes, comments and text boxes in place; embedded PNG and JPEG.
//!
//! Bytes are in the code page of the font in use (`\fcharset128` is Japanese) or of the document (`\ansicpg932`); newer
//! writers add `\u` escapes, after which the bytes for old readers are passed over. Groups that start with `\*` and
//! are not known are passed over, as the format wants it (RTF 1.9.1).

use std::collections::HashMap;

use encoding_rs::Encoding;

use super::bounds::Budget;
use super::embedded::keep_if_page;
use super::rtf_tokens::{Token, Tokens};
use super::text_sink::TextSink;
use super::{Source, StructuredFile};
use crate::document::{Failure, Reason};
use crate::extract::metadata;

/// Groups in groups; deeper ones are read with the outer one's state.
const MAX_DEPTH: usize = 1_000;

/// Bytes of one embedded picture.
const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;

/// Destinations whose text is not shown, or is data.
const PASSED_OVER: [&str; 22] = [
    "colortbl",
    "stylesheet",
    "filetbl",
    "revtbl",
    "listtable",
    "listoverridetable",
    "listtext",
    "pntext",
    "fldinst",
    "object",
    "objdata",
    "sp",
    "shprslt",
    "nonesttables",
    "generator",
    "themedata",
    "datastore",
    "bkmkstart",
    "bkmkend",
    "xe",
    "tc",
    "nonshppict",
];

/// Destinations with `\*` that hold text or what leads to it.
const KNOWN_STARRED: [&str; 5] = ["shpinst", "annotation", "shppict", "footnote", "do"];

/// Reads a document.
///
/// # Errors
/// `corrupt` when nothing follows the header, `archive_bomb` when the file is larger than an entry may be.
pub fn read(source: &mut dyn Source, budget: &mut Budget) -> Result<StructuredFile, Failure> {
    let bytes = budget.read_entry(source, "The document")?;
    let mut rtf = RichText::new();
    let is_closed = rtf.read(&bytes);
    if !is_closed {
        if rtf.sink.is_empty() {
            return Err(Failure::new(Reason::Corrupt, "The Rich Text document is cut off before its text."));
        }
        rtf.sink.mark_truncated();
    }
    let mut result = rtf.sink.finish();
    for picture in rtf.pictures {
        if !keep_if_page(&mut result, picture) {
            break;
        }
    }
    for (name, value) in rtf.info {
        metadata::insert_text(&mut result.metadata, name, &value);
    }
    Ok(result)
}

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Destination {
    Body,
    Nowhere,
    Fonts,
    Info(&'static str),
    Date(&'static str),
    Picture,
}

/// What a group inherits and takes back at its end.
#[derive(Clone, Copy, Debug)]
struct State {
    destination: Destination,
    font: i32,
    /// The font of double-byte characters, where one was named.
    wide_font: Option<i32>,
    is_wide: bool,
    /// Bytes for old readers after a `\u`.
    fallback_bytes: usize,
    is_deleted: bool,
    in_table: bool,
    /// A header, note, comment or text box, which gets lines of its own.
    is_aside: bool,
}

struct RichText {
    sink: TextSink,
    state: State,
    outer: Vec<State>,
    /// Groups beyond [`MAX_DEPTH`].
    too_deep: usize,
    document_encoding: &'static Encoding,
    fonts: HashMap<i32, &'static Encoding>,
    /// Bytes that are not decoded yet, and whether the last one begins a character.
    bytes: Vec<u8>,
    is_in_character: bool,
    /// The first half of a character outside the basic plane.
    high_surrogate: Option<u16>,
    /// Fallback bytes still to be passed over.
    to_skip: usize,
    starred: bool,
    pictures: Vec<Vec<u8>>,
    hexadecimal: Vec<u8>,
    info: Vec<(&'static str, String)>,
    date: [i32; 5],
}

impl RichText {
    fn new() -> RichText {
        let state = State {
            destination: Destination::Body,
            font: -1,
            wide_font: None,
            is_wide: false,
            fallback_bytes: 1,
            is_deleted: false,
            in_table: false,
            is_aside: false,
        };
        RichText {
            sink: TextSink::new(),
            state,
            outer: Vec::new(),
            too_deep: 0,
            document_encoding: encoding_rs::WINDOWS_1252,
            fonts: HashMap::new(),
            bytes: Vec::new(),
            is_in_character: false,
            high_surrogate: None,
            to_skip: 0,
            starred: false,
            pictures: Vec::new(),
            hexadecimal: Vec::new(),
            info: Vec::new(),
            date: [0; 5],
        }
    }

    /// Whether the outermost group was closed, or the text was full before.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let mut tokens = Tokens::new(bytes);
        while let Some(token) = tokens.next() {
            match token {
                Token::Byte(byte) => self.byte(byte),
                Token::Escaped(byte) => self.byte(byte),
                Token::Open => self.open(),
                Token::Close => {
                    self.close();
                    if self.outer.is_empty() && self.too_deep == 0 {
                        return true;
                    }
                }
                Token::Star => self.starred = true,
                Token::Symbol(symbol) => self.symbol(symbol),
                Token::Word("bin", length) => tokens.skip_bytes(length.unwrap_or(0)),
                Token::Word(word, number) => self.word(word, number),
            }
            if self.sink.is_full() {
                self.sink.mark_truncated();
                return true;
            }
        }
        self.flush();
        false
    }

    fn open(&mut self) {
        self.flush();
        self.to_skip = 0;
        self.starred = false;
        if self.outer.len() < MAX_DEPTH {
            self.outer.push(self.state);
        } else {
            self.too_deep += 1;
        }
    }

    fn close(&mut self) {
        self.flush();
        self.to_skip = 0;
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        let Some(outer) = self.outer.pop() else { return };
        let ended = std::mem::replace(&mut self.state, outer);
        if ended.is_aside && !self.state.is_aside {
            self.sink.end_line();
        }
        if ended.destination != self.state.destination {
            self.end_destination(ended.destination);
        }
    }

    fn end_destination(&mut self, destination: Destination) {
        match destination {
            Destination::Picture => self.pictures.push(std::mem::take(&mut self.hexadecimal)),
            Destination::Date(name) => {
                let [year, month, day, hour, minute] = std::mem::take(&mut self.date);
                let date = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}00");
                self.info.extend(metadata::pdf_date(&date).map(|date| (name, date)));
            }
            _ => {}
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        self.starred = false;
        match self.state.destination {
            Destination::Nowhere | Destination::Fonts | Destination::Date(_) => {}
            Destination::Picture => self.picture_digit(byte),
            Destination::Body | Destination::Info(_) => {
                self.is_in_character = !self.is_in_character && is_lead_byte(self.encoding(), byte);
                self.bytes.push(byte);
            }
        }
    }

    /// Two digits make a byte; the first is kept in the upper half until the second comes.
    fn picture_digit(&mut self, digit: u8) {
        let Some(value) = char::from(digit).to_digit(16) else { return };
        if self.is_in_character {
            if let Some(last) = self.hexadecimal.last_mut() {
                *last |= value as u8;
            }
        } else if self.hexadecimal.len() < MAX_PICTURE_BYTES {
            self.hexadecimal.push((value as u8) << 4);
        }
        self.is_in_character = !self.is_in_character;
    }

    fn encoding(&self) -> &'static Encoding {
        let wide = self.state.wide_font.filter(|_| self.state.is_wide).and_then(|font| self.fonts.get(&font));
        wide.or_else(|| self.fonts.get(&self.state.font)).copied().unwrap_or(self.document_encoding)
    }

    /// Decodes the bytes so far.
    fn flush(&mut self) {
        self.is_in_character = false;
        if self.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let text = self.encoding().decode_without_bom_handling(&bytes).0;
        self.text(&text);
    }

    fn text(&mut self, text: &str) {
        if self.state.is_deleted {
            return;
        }
        match self.state.destination {
            Destination::Body => self.sink.push(text),
            Destination::Info(name) => match self.info.iter_mut().find(|(known, _)| *known == name) {
                Some((_, value)) => value.push_str(text),
                None => self.info.push((name, text.to_owned())),
            },
            _ => {}
        }
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'~' => self.text_after_bytes(" "),
            b'_' => self.text_after_bytes("-"),
            b'\n' | b'\r' => self.paragraph(),
            _ => {}
        }
    }

    fn text_after_bytes(&mut self, text: &str) {
        self.flush();
        self.text(text);
    }

    fn paragraph(&mut self) {
        self.text_after_bytes(if self.state.in_table { " " } else { "\n" });
    }

    fn word(&mut self, word: &str, number: Option<i32>) {
        // In the middle of a character of two bytes nothing else may stand; what does ends it.
        let is_starred = std::mem::take(&mut self.starred);
        if word != "u" {
            self.flush();
        }
        if self.state.destination == Destination::Nowhere {
            return;
        }
        if is_starred && !KNOWN_STARRED.contains(&word) || PASSED_OVER.contains(&word) {
            self.state.destination = Destination::Nowhere;
            return;
        }
        match word {
            "u" => self.unicode(number.unwrap_or(0)),
            "uc" => self.state.fallback_bytes = usize::try_from(number.unwrap_or(1)).unwrap_or(1).min(16),
            "par" | "line" | "sect" | "page" | "column" => self.paragraph(),
            "tab" => self.text("\t"),
            "cell" | "nestcell" => self.text("\t"),
            "row" | "nestrow" if self.state.destination == Destination::Body => self.sink.end_line(),
            "intbl" => self.state.in_table = true,
            "pard" => self.state.in_table = false,
            "deleted" => self.state.is_deleted = number != Some(0),
            "emdash" => self.text("—"),
            "endash" => self.text("–"),
            "bullet" => self.text("•"),
            "lquote" => self.text("‘"),
            "rquote" => self.text("’"),
            "ldblquote" => self.text("“"),
            "rdblquote" => self.text("”"),
            _ => self.setting(word, number.unwrap_or(0)),
        }
    }

    /// Fonts, code pages and destinations.
    fn setting(&mut self, word: &str, number: i32) {
        let is_title = |destination| matches!(destination, Destination::Info(_) | Destination::Date(_));
        match word {
            "ansicpg" => self.document_encoding = code_page(number).unwrap_or(self.document_encoding),
            "f" => self.state.font = number,
            "af" if self.state.is_wide => self.state.wide_font = Some(number),
            "dbch" => self.state.is_wide = true,
            "loch" | "hich" => self.state.is_wide = false,
            "plain" => (self.state.font, self.state.is_wide) = (-1, false),
            "fonttbl" => self.state.destination = Destination::Fonts,
            "fcharset" => {
                if let Some(encoding) = charset(number) {
                    self.fonts.insert(self.state.font, encoding);
                }
            }
            "pict" => {
                self.state.destination = Destination::Picture;
                self.hexadecimal.clear();
            }
            "header" | "headerl" | "headerr" | "headerf" | "footer" | "footerl" | "footerr" | "footerf"
            | "footnote" | "annotation" | "shptxt" => {
                self.state.in_table = false;
                self.state.is_aside = true;
                self.sink.end_line();
            }
            "info" => self.state.destination = Destination::Info("other_information"),
            "title" => self.begin_info("title"),
            "author" => self.begin_info("author"),
            "subject" => self.begin_info("subject"),
            "keywords" => self.begin_info("keywords"),
            "doccomm" => self.begin_info("comments"),
            "creatim" => self.state.destination = Destination::Date("creation_date"),
            "revtim" => self.state.destination = Destination::Date("modification_date"),
            "operator" | "company" | "printim" | "buptim" if is_title(self.state.destination) => {
                self.state.destination = Destination::Nowhere;
            }
            "yr" => self.date[0] = number,
            "mo" => self.date[1] = number,
            "dy" => self.date[2] = number,
            "hr" => self.date[3] = number,
            "min" => self.date[4] = number,
            _ => {}
        }
    }

    /// Only inside `\info`: elsewhere the word means something else, or nothing.
    fn begin_info(&mut self, name: &'static str) {
        if matches!(self.state.destination, Destination::Info(_)) {
            self.state.destination = Destination::Info(name);
        }
    }

    /// A UTF-16 unit, written as a signed number.
    fn unicode(&mut self, number: i32) {
        self.flush();
        self.to_skip = self.state.fallback_bytes;
        let unit = number as u16;
        let high = self.high_surrogate.take();
        if (0xD800..0xDC00).contains(&unit) {
            self.high_surrogate = Some(unit);
            return;
        }
        let units = high.into_iter().chain([unit]);
        let text: String = char::decode_utf16(units).filter_map(Result::ok).collect();
        self.text(&text);
    }
}

/// A Windows code page.
pub fn code_page(number: i32) -> Option<&'static Encoding> {
    Some(match number {
        932 => encoding_rs::SHIFT_JIS,
        936 => encoding_rs::GBK,
        949 => encoding_rs::EUC_KR,
        950 => encoding_rs::BIG5,
        874 => encoding_rs::WINDOWS_874,
        1250 => encoding_rs::WINDOWS_1250,
        1251 => encoding_rs::WINDOWS_1251,
        1252 => encoding_rs::WINDOWS_1252,
        1253 => encoding_rs::WINDOWS_1253,
        1254 => encoding_rs::WINDOWS_1254,
        1257 => encoding_rs::WINDOWS_1257,
        10001 => encoding_rs::SHIFT_JIS,
        65001 => encoding_rs::UTF_8,
        _ => return None,
    })
}

/// A font's character set; `None` where the document's code page counts (ANSI, default, symbol).
fn charset(number: i32) -> Option<&'static Encoding> {
    code_page(match number {
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    })
}

/// Whether a second byte follows, which may look like any letter.
fn is_lead_byte(encoding: &'static Encoding, byte: u8) -> bool {
    if encoding == encoding_rs::SHIFT_JIS {
        return matches!(byte, 0x81..=0x9F | 0xE0..=0xFC);
    }
    !encoding.is_single_byte() && encoding != encoding_rs::UTF_8 && byte >= 0x81
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::MetadataValue;
    use crate::extract::structured::made::{self, file_of};

    fn text_of(rtf: &[u8]) -> String {
        made::read_text(read, file_of(rtf).path())
    }

    #[test]
    fn japanese_bytes_are_decoded_by_code_page_and_by_font() {
        assert_eq!(text_of(b"{\\rtf1\\ansi\\ansicpg932 \\'8b\\'b4\\'97\\'c0\\par \\'83\\\\}"), "橋梁\nソ");
        // The second byte may be a plain letter.
        assert_eq!(text_of(b"{\\rtf1\\ansi\\ansicpg932 \\'83A\\'83\\'7bB}"), "アボB");
        let by_font = b"{\\rtf1\\ansi\\ansicpg1252{\\fonttbl{\\f0\\fcharset0 Arial;}{\\f1\\fcharset128 MS;}}\\f0 caf\\'e9 \\f1\\'8b\\'b4}";
        assert_eq!(text_of(by_font), "café 橋");
        let wide = b"{\\rtf1{\\fonttbl{\\f0\\fcharset0 A;}{\\f1\\fcharset128 M;}}\\loch\\f0\\dbch\\af1 \\'8b\\'b4}";
        assert_eq!(text_of(wide), "橋");
    }

    #[test]
    fn unicode_escapes_replace_the_bytes_for_old_readers() {
        assert_eq!(text_of(b"{\\rtf1\\ansi\\uc2 \\u27211\\'8b\\'b4\\u26753?? \\uc1\\u-10179?\\u-8704?x}"), "橋梁 😀x");
    }

    #[test]
    fn tables_keep_their_cells_and_hidden_destinations_stay_hidden() {
        let rtf = b"{\\rtf1{\\*\\unknown no}{\\stylesheet{\\s0 Normal;}}{\\header secret\\par}a\\par\\pard\\intbl b\\cell c\\par d\\cell\\row\
                    \\pard{\\field{\\*\\fldinst PAGE}{\\fldrslt 7}}{\\shp{\\*\\shpinst{\\sp{\\sn x}{\\sv y}}{\\shptxt box}}}{\\footnote note}}";
        assert_eq!(text_of(rtf), "secret\na\nb\tc d\n7\nbox\nnote");
    }

    #[test]
    fn information_becomes_metadata() {
        let rtf = b"{\\rtf1\\ansi\\ansicpg932{\\info{\\title \\'8b\\'b4}{\\author Yamada}{\\operator X}{\\creatim\\yr2024\\mo4\\dy1\\hr9\\min30}}x}";
        let read = made::read(read, file_of(rtf).path()).expect("read");
        let values: Vec<_> = read.metadata.into_iter().collect();
        let text = |value: &str| MetadataValue::Text(value.to_owned());
        assert_eq!(
            values,
            [
                ("author".to_owned(), text("Yamada")),
                ("creation_date".to_owned(), text("2024-04-01T09:30:00+09:00")),
                ("title".to_owned(), text("橋")),
            ]
        );
    }

    #[test]
    fn damaged_and_hostile_documents_end() {
        assert_eq!(
            made::read(read, file_of(b"{\\rtf1\\ansi{\\fonttbl").path()).expect_err("corrupt").reason,
            Reason::Corrupt
        );
        let cut = made::read(read, file_of(b"{\\rtf1 some text").path()).expect("read");
        assert!(cut.sections[0].truncated && cut.sections[0].text == "some text");
        let deep = [b"{\\rtf1 ".as_slice(), &b"{".repeat(100_000), b"x", &b"}".repeat(100_001)].concat();
        assert_eq!(text_of(&deep), "x");
        for odd in
            [b"{\\rtf1 x\\bin99999999 y}".as_slice(), b"{\\rtf1 x\\'", b"{\\rtf1 x\\u99999999999999 }", b"{\\rtf1 x\\"]
        {
            text_of(odd);
        }
    }
}
