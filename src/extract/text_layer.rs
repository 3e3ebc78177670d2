//! Whether a PDF page's own text can be taken, and that text cleaned.
//!
//! A text layer may be missing, may be garbage (fonts without a mapping to Unicode, wrong byte order, Japanese decoded as
//! Latin-1), or may be a stamp or a page number on a scan. Taking such a layer for the page's text would hide the page
//! from search for ever; reading a good page by OCR only costs time. So in doubt the page is read.

use super::layer_words;
use super::pdfium::{LayerCharacter, PageContent};
use crate::ocr::clean::clean_page_text;

/// More than this share of unusable characters makes a layer garbage.
const MAX_UNUSABLE_SHARE: f64 = 0.2;

/// More than this share of characters with a low byte of zero: UTF-16 in the wrong byte order (䴀甀氀 for "Mul").
const MAX_SWAPPED_SHARE: f64 = 0.5;

/// More than this share of accented letters and Latin-1 signs: Japanese bytes decoded as Latin-1 ("‚±‚ê").
/// Vietnamese, the language richest in accents, stays below.
const MAX_MOJIBAKE_SHARE: f64 = 0.5;

/// Fewer letters and digits than this share: codes of a font whose encoding nobody knows ("\"7+%-" for "Hello").
const MIN_LETTER_SHARE: f64 = 0.4;

/// A page is a scan when pictures cover at least this share of it.
const SCAN_COVERAGE: f64 = 0.5;

/// A page without pictures but with so many lines and curves may be a drawing with its lettering as strokes.
const DRAWING_PATHS: usize = 100;

/// On scans and drawings, a layer with fewer letters than this is a stamp, a page number or a title block …
const MIN_LETTERS_OF_A_PAGE: usize = 100;

/// … and so is one that stands in fewer of the page's [`BANDS`].
const MIN_BANDS_OF_A_PAGE: usize = 6;

/// Visible text above so much of a scan that is empty of text is a letterhead or a title over a scanned page: what is
/// in the picture is not in the layer.
const MAX_EMPTY_BANDS_OF_A_PAGE: usize = 16;

/// Horizontal bands that a page is divided into, to see how far its text spreads.
const BANDS: usize = 40;

/// Lines of the same content, one of them misread, have at least this share of pairs of letters in common …
const MIN_SIMILARITY: f64 = 0.85;

/// … and are looked for on pages of at most so many lines.
const MAX_COMPARED_LINES: usize = 500;

/// pdfium's mark for a hyphen at the end of a line: the word goes on in the next one.
const HYPHEN_MARK: char = '\u{2}';

/// Stands for a tab between cells while spaces are cleaned; unusable characters are gone by then, and it is one.
const CELL_MARK: char = '\u{E000}';

/// What to do with a page, going by its text layer.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerVerdict {
    /// The layer is the page's text.
    Take(String),
    /// The layer is good but cannot be all: read the page too and keep these lines.
    ReadAndKeep(String),
    /// No usable layer: read the page.
    Read,
    /// There is nothing on the page at all.
    Blank,
}

/// Decides for a page of `page_width` × `page_height` points.
pub fn judge(characters: &[LayerCharacter], content: &PageContent, page_width: f32, page_height: f32) -> LayerVerdict {
    if content.objects == 0 && characters.is_empty() {
        return LayerVerdict::Blank;
    }
    if is_garbage(characters) {
        return LayerVerdict::Read;
    }
    let text = layer_text(characters);
    let letters = text.chars().filter(|character| character.is_alphanumeric()).count();
    if letters == 0 {
        return LayerVerdict::Read;
    }
    let is_scan = image_coverage(content, page_width, page_height) >= SCAN_COVERAGE;
    let is_transcript = is_scan && is_mostly_invisible(characters);
    if is_transcript && layer_words::was_misread(&text) {
        return LayerVerdict::Read;
    }
    let may_hide_writing = is_scan || content.paths >= DRAWING_PATHS;
    if !may_hide_writing {
        return LayerVerdict::Take(text);
    }
    let bands = Bands::of(characters, page_height);
    let fills_the_page = letters >= MIN_LETTERS_OF_A_PAGE
        && bands.with_text() >= MIN_BANDS_OF_A_PAGE
        && (is_transcript || !is_scan || bands.longest_gap() <= MAX_EMPTY_BANDS_OF_A_PAGE);
    if fills_the_page { LayerVerdict::Take(text) } else { LayerVerdict::ReadAndKeep(text) }
}

/// Whether the layer lies unseen over the picture that it was read from.
fn is_mostly_invisible(characters: &[LayerCharacter]) -> bool {
    let letters = characters.iter().filter(|character| character.character.is_alphanumeric());
    let (mut invisible, mut all) = (0, 0);
    for letter in letters {
        all += 1;
        invisible += usize::from(letter.invisible);
    }
    2 * invisible > all
}

/// The share of the page that pictures cover, 0–1; pictures on top of each other count twice up to the whole.
pub fn image_coverage(content: &PageContent, page_width: f32, page_height: f32) -> f64 {
    let page_area = f64::from(page_width) * f64::from(page_height);
    if page_area <= 0.0 {
        return 0.0;
    }
    let covered: f64 = content.images.iter().map(|image| f64::from(image.width) * f64::from(image.height)).sum();
    (covered / page_area).min(1.0)
}

/// Whether too much of the layer says something else than the page shows.
fn is_garbage(characters: &[LayerCharacter]) -> bool {
    let visible: Vec<&LayerCharacter> =
        characters.iter().filter(|c| !c.character.is_whitespace() && c.character != HYPHEN_MARK).collect();
    if visible.is_empty() {
        return false;
    }
    let share = |is_bad: &dyn Fn(&LayerCharacter) -> bool| {
        visible.iter().filter(|character| is_bad(character)).count() as f64 / visible.len() as f64
    };
    share(&is_unusable) > MAX_UNUSABLE_SHARE
        || share(&|c| is_byte_swapped(c.character)) > MAX_SWAPPED_SHARE
        || share(&|c| is_mojibake(c.character)) > MAX_MOJIBAKE_SHARE
        || has_few_letters(&visible)
}

fn has_few_letters(visible: &[&LayerCharacter]) -> bool {
    let telling: Vec<char> = visible.iter().map(|c| c.character).filter(|character| !is_filler(*character)).collect();
    let letters = telling.iter().filter(|character| character.is_alphanumeric()).count();
    (letters as f64) < telling.len() as f64 * MIN_LETTER_SHARE
}

/// Leaders of tables of contents, lines to write on, bullets: not letters, yet no sign of a wrong encoding either.
pub(super) fn is_filler(character: char) -> bool {
    matches!(character, '.' | '_' | '-' | '…' | '‥' | '・' | '•' | '=' | '*' | '|' | '\u{2010}'..='\u{2015}' | '\u{2500}'..='\u{25FF}')
}

/// A code without meaning: unmapped, control, private use, replacement.
fn is_unusable(character: &LayerCharacter) -> bool {
    let value = u32::from(character.character);
    character.unmapped
        || character.character.is_control()
        || character.character == char::REPLACEMENT_CHARACTER
        || matches!(value, 0xE000..=0xF8FF | 0xF0000..=0x10FFFF)
        || value & 0xFFFE == 0xFFFE
}

fn is_byte_swapped(character: char) -> bool {
    let value = u32::from(character);
    value >= 0x2000 && value & 0xFF == 0 && character != '一'
}

fn is_mojibake(character: char) -> bool {
    matches!(u32::from(character), 0x80..=0x17F | 0x192 | 0x2C6 | 0x2DC | 0x2018..=0x203A | 0x20AC | 0x2122)
}

/// The usable characters as text: words cut at line ends joined, no spaces between CJK characters, no control characters
/// but tabs between cells.
fn layer_text(characters: &[LayerCharacter]) -> String {
    let mut text = String::with_capacity(characters.len() * 3);
    let mut after_hyphen = false;
    for character in characters {
        if character.character == HYPHEN_MARK {
            after_hyphen = true;
            continue;
        }
        if after_hyphen && matches!(character.character, '\r' | '\n') {
            continue;
        }
        after_hyphen = false;
        if character.character == '\r' {
            continue;
        }
        if character.character == '\t' {
            text.push(CELL_MARK);
        } else if character.character.is_whitespace() || !is_unusable(character) {
            text.push(character.character);
        }
    }
    let cells = |line: &str| line.split(CELL_MARK).map(str::trim).collect::<Vec<_>>().join("\t").trim().to_owned();
    let text = clean_page_text(&text);
    if text.contains(CELL_MARK) { text.lines().map(cells).collect::<Vec<_>>().join("\n") } else { text }
}

/// Which of the page's bands letters stand in.
struct Bands([bool; BANDS]);

impl Bands {
    fn of(characters: &[LayerCharacter], page_height: f32) -> Bands {
        let mut has_text = [false; BANDS];
        for character in characters.iter().filter(|character| character.character.is_alphanumeric()) {
            let band = (character.bottom / page_height.max(1.0) * BANDS as f32).floor();
            if band >= 0.0 && (band as usize) < BANDS {
                has_text[band as usize] = true;
            }
        }
        Bands(has_text)
    }

    fn with_text(&self) -> usize {
        self.0.iter().filter(|band| **band).count()
    }

    fn longest_gap(&self) -> usize {
        self.0.split(|band| *band).map(<[bool]>::len).max().unwrap_or(0)
    }
}

/// The text, followed by the lines of `more` that it lacks.
pub fn with_missing_lines(text: &str, more: &str) -> String {
    if more.is_empty() {
        return text.to_owned();
    }
    let seen = letters_of(text);
    let mut whole = text.to_owned();
    for line in more.lines().filter(|line| !line.is_empty()) {
        if !seen.contains(&letters_of(line)) {
            if !whole.is_empty() {
                whole.push('\n');
            }
            whole.push_str(line);
        }
    }
    whole
}

/// What was read on the page, and the layer's lines that the reading lacks. A line of the layer that was misread takes
/// the place of what was read: nothing stands twice, and the layer is exact.
pub fn merge(read: &str, layer: &str) -> String {
    let mut lines: Vec<&str> = read.lines().collect();
    if lines.len() > MAX_COMPARED_LINES || layer.lines().count() > MAX_COMPARED_LINES {
        return with_missing_lines(read, layer);
    }
    let seen = letters_of(read);
    let mut misread: Vec<Option<Letters>> = lines.iter().map(|line| Some(Letters::of(line))).collect();
    for exact in layer.lines().filter(|line| !line.is_empty() && !seen.contains(&letters_of(line))) {
        let letters = Letters::of(exact);
        let is_misreading = |line: &Option<Letters>| line.as_ref().is_some_and(|line| line.is_misreading_of(&letters));
        if let Some(position) = misread.iter().position(is_misreading) {
            lines[position] = exact;
            misread[position] = None;
        }
    }
    with_missing_lines(&lines.join("\n"), layer)
}

fn letters_of(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// A line as it is compared.
struct Letters {
    pairs: Vec<(char, char)>,
    digits: String,
}

impl Letters {
    fn of(line: &str) -> Letters {
        let letters: Vec<char> = letters_of(line).chars().collect();
        let mut pairs: Vec<(char, char)> = letters.windows(2).map(|pair| (pair[0], pair[1])).collect();
        pairs.sort_unstable();
        Letters { pairs, digits: letters.iter().filter(|letter| letter.is_numeric()).collect() }
    }

    /// Lines that differ in a number are two lines of a table.
    fn is_misreading_of(&self, exact: &Letters) -> bool {
        let all = self.pairs.len() + exact.pairs.len();
        if self.digits != exact.digits || all == 0 {
            return false;
        }
        let (mut ours, mut theirs, mut common) = (0, 0, 0);
        while let (Some(our), Some(their)) = (self.pairs.get(ours), exact.pairs.get(theirs)) {
            common += usize::from(our == their);
            ours += usize::from(our <= their);
            theirs += usize::from(their <= our);
        }
        2.0 * common as f64 / all as f64 >= MIN_SIMILARITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::pdfium::{Area, PlacedImage};

    const WIDTH: f32 = 612.0;
    const HEIGHT: f32 = 792.0;

    /// Lines from the top, 20 points apart.
    fn layer(text: &str) -> Vec<LayerCharacter> {
        let mut bottom = HEIGHT - 40.0;
        text.chars()
            .map(|character| {
                if character == '\n' {
                    bottom -= 20.0;
                }
                LayerCharacter { character, unmapped: false, invisible: false, bottom, area: Area::default() }
            })
            .collect()
    }

    fn text_page() -> PageContent {
        PageContent { objects: 50, paths: 3, images: Vec::new() }
    }

    fn scan() -> PageContent {
        let image =
            PlacedImage { pixel_width: 2550, pixel_height: 3300, width: WIDTH, height: HEIGHT, is_bilevel: false };
        PageContent { objects: 2, paths: 0, images: vec![image] }
    }

    #[test]
    fn a_page_of_text_is_taken() {
        let verdict = judge(&layer("道 路 台 帳\r\nRoad ledger"), &text_page(), WIDTH, HEIGHT);
        assert_eq!(verdict, LayerVerdict::Take("道路台帳\nRoad ledger".to_owned()));
    }

    #[test]
    fn an_empty_page_is_blank_and_a_scan_without_layer_is_read() {
        assert_eq!(judge(&[], &PageContent::default(), WIDTH, HEIGHT), LayerVerdict::Blank);
        assert_eq!(judge(&[], &scan(), WIDTH, HEIGHT), LayerVerdict::Read);
        assert_eq!(judge(&layer(" \r\n "), &scan(), WIDTH, HEIGHT), LayerVerdict::Read);
    }

    #[test]
    fn a_stamp_on_a_scan_does_not_hide_the_scan() {
        assert_eq!(
            judge(&layer("受領 2024-01-31"), &scan(), WIDTH, HEIGHT),
            LayerVerdict::ReadAndKeep("受領 2024-01-31".into())
        );
        let one_long_line = "approved ".repeat(30);
        assert!(matches!(judge(&layer(&one_long_line), &scan(), WIDTH, HEIGHT), LayerVerdict::ReadAndKeep(_)));
    }

    fn unseen(text: &str) -> Vec<LayerCharacter> {
        layer(text).into_iter().map(|character| LayerCharacter { invisible: true, ..character }).collect()
    }

    #[test]
    fn a_scan_with_a_layer_of_earlier_ocr_is_taken() {
        let whole_page = "the quick brown fox jumps over the lazy dog\n".repeat(20);
        assert!(matches!(judge(&unseen(&whole_page), &scan(), WIDTH, HEIGHT), LayerVerdict::Take(_)));
        let japanese = "点検の結果、支承の腐食が進んでいる。 ・伸縮装置： 漏水あり → 要補修\n".repeat(20);
        assert!(matches!(judge(&unseen(&japanese), &scan(), WIDTH, HEIGHT), LayerVerdict::Take(_)));
        let numbers = "No. 12 | 3,400 mm × 250 A-101 25°C (±0.5) ¥1,200 O'Brien e.g. B4\n".repeat(20);
        assert!(matches!(judge(&unseen(&numbers), &scan(), WIDTH, HEIGHT), LayerVerdict::Take(_)));
    }

    #[test]
    fn a_layer_that_was_badly_read_is_read_anew() {
        // What Tesseract makes of a page that lies on its side.
        let noise = "& Peeusgm gan > nee ~ | my | PREEE gg taegh eye cyIgss g1ig b ^ x| fiG hT { l n\n".repeat(20);
        assert_eq!(judge(&unseen(&noise), &scan(), WIDTH, HEIGHT), LayerVerdict::Read);
        // Print that is seen is print, whatever it says.
        assert!(!matches!(judge(&layer(&noise), &scan(), WIDTH, HEIGHT), LayerVerdict::Read));
    }

    #[test]
    fn a_letterhead_over_a_scan_does_not_hide_the_scan() {
        let ten_lines = "Bridge maintenance office, 1-2-3 Minato, Kobe\n".repeat(10);
        let verdict = judge(&layer(&ten_lines), &scan(), WIDTH, HEIGHT);
        assert!(matches!(verdict, LayerVerdict::ReadAndKeep(_)), "{verdict:?}");
        let whole_page = "Slides have pictures behind their text too\n".repeat(36);
        assert!(matches!(judge(&layer(&whole_page), &scan(), WIDTH, HEIGHT), LayerVerdict::Take(_)));
    }

    #[test]
    fn a_drawing_with_a_title_block_is_read_too() {
        let drawing = PageContent { objects: 5000, paths: 4990, images: Vec::new() };
        assert!(matches!(judge(&layer("A-101"), &drawing, WIDTH, HEIGHT), LayerVerdict::ReadAndKeep(_)));
    }

    #[test]
    fn garbage_is_read_instead() {
        let unmapped: Vec<LayerCharacter> =
            layer("\"7+%-").into_iter().map(|character| LayerCharacter { unmapped: true, ..character }).collect();
        assert_eq!(judge(&unmapped, &text_page(), WIDTH, HEIGHT), LayerVerdict::Read);
        for garbage in
            ["\"7+%-", "\u{e001}\u{e002}\u{e003}ab", "\u{fffd}\u{fffd}abc", "䴀甀氀琀椀挀漀氀漀爀", "‚±‚ê‚Í“ú–{Œê"]
        {
            assert_eq!(judge(&layer(garbage), &text_page(), WIDTH, HEIGHT), LayerVerdict::Read, "{garbage}");
        }
        assert!(matches!(
            judge(&layer("déjà vu, ça et là: élève"), &text_page(), WIDTH, HEIGHT),
            LayerVerdict::Take(_)
        ));
        assert!(matches!(
            judge(&layer("Contents ........................ 3"), &text_page(), WIDTH, HEIGHT),
            LayerVerdict::Take(_)
        ));
        assert!(matches!(judge(&layer("一、一般事項"), &text_page(), WIDTH, HEIGHT), LayerVerdict::Take(_)));
    }

    #[test]
    fn tabs_between_cells_stay() {
        let row = "橋 梁 番 号 \t 橋 名\t Ⅱ \t\n0012\tみどり 橋";
        assert_eq!(layer_text(&layer(row)), "橋梁番号\t橋名\tⅡ\n0012\tみどり橋");
        assert_eq!(with_missing_lines("橋梁番号 橋名", "橋梁番号\t橋名"), "橋梁番号 橋名");
    }

    #[test]
    fn words_cut_at_line_ends_are_joined() {
        assert_eq!(layer_text(&layer("infor\u{2}\r\nmation\r\nnext")), "information\nnext");
    }

    #[test]
    fn merging_adds_only_what_is_missing() {
        for merge in [merge, with_missing_lines] {
            assert_eq!(merge("道路台帳\nSheet A-101", "道路 台帳\nsheet A-101"), "道路台帳\nSheet A-101");
            assert_eq!(merge("道路台帳", "受領 2024-01-31"), "道路台帳\n受領 2024-01-31");
            assert_eq!(merge("", "受領"), "受領");
        }
    }

    #[test]
    fn a_misread_line_gives_way_to_the_layer_s_and_rows_of_a_table_stay() {
        let read = "Bridge maintenanoe office, Minato, Kobe\nmain girder 12 t\n橋脚";
        let layer = "Bridge maintenance office, Minato, Kobe\nmain girder 13 t\n橋台";
        let merged = "Bridge maintenance office, Minato, Kobe\nmain girder 12 t\n橋脚\nmain girder 13 t\n橋台";
        assert_eq!(merge(read, layer), merged);
        let endless = "line\n".repeat(100_000);
        assert_eq!(merge(&endless, "stamp").len(), endless.len() + "\nstamp".len());
    }
}
