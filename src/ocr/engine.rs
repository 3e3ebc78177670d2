//! The narrow face of the OCR engine: a grey page in, text with word boxes and confidences out.
//!
//! Everything that knows Tesseract is here, so that another engine can take its place. One engine stays warm for the
//! life of the child; what it learnt from a page is cleared, so that a page's text never depends on the pages before.

use std::ops::RangeInclusive;
use std::path::Path;

use tesseract_rs::{ResultIterator, TessPageIteratorLevel, TessPageSegMode, TesseractAPI, TesseractError};

use super::fingerprint::ENGINE_BUILD;
use super::models::languages_of;
use super::page_lines::{PixelBox, PlacedLine, PlacedWord, text_of};
use super::raster::Raster;

/// Tesseract's `OEM_LSTM_ONLY`: the old engine reads Japanese far worse and its models are not shipped.
const ENGINE_MODE_LSTM: i32 = 1;

/// Variables that make the engine faster or quieter and leave its text as it is (measured: the same bytes on the corpus).
const VARIABLES: [(&str, &str); 3] = [
    // "Empty page!!", "Detected 20 diacritics": nothing that anybody could act on.
    ("debug_file", "/dev/null"),
    // Proportional text is taken for granted instead of tested for: 5–9 % of the time.
    ("textord_all_prop", "1"),
    // Nobody asks for paragraphs: 3–5 % of the time.
    ("paragraph_text_based", "0"),
];

/// Variables of our own build for Japanese with English: no English garbage in place of Japanese lines, and no English
/// reading of what has no Latin letter or digit (measured on the handbooks: error rates .0081 .0020 .0091 instead of
/// .0123 .0020 .0099). The distribution's library does not know them.
const JAPANESE_WITH_ENGLISH: [(&str, &str); 2] = [("multilang_keep_cjk", "1"), ("multilang_latin_only", "1")];

/// The resolution decides what the engine takes for a gap between columns. Files claim all sorts of things; pages come
/// here scaled so that their text is as on paper at about these.
const CREDIBLE_DPI: RangeInclusive<u32> = 150..=400;

/// What the engine is told about the arrangement of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Columns, tables and pictures are found by the engine.
    Automatic,
    /// One block of vertical lines, from right to left.
    VerticalBlock,
}

/// What the engine read on a page.
#[derive(Clone, Debug, Default)]
pub struct Recognition {
    /// In reading order, uncleaned; see [`text_of`].
    pub text: String,
    /// 0–100, mean over words weighted by their length; `None` without any word.
    pub confidence: Option<f32>,
}

/// The engine refused a page or could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("start Tesseract for {language} with the models in {tessdata_dir}")]
    Start { language: String, tessdata_dir: String, source: TesseractError },
    #[error("{operation} of a page of {width} × {height} pixels")]
    Page { operation: &'static str, width: u32, height: u32, source: TesseractError },
}

/// A warm engine for one set of languages.
pub struct Engine {
    api: TesseractAPI,
}

impl Engine {
    /// Loads the models of `language` (`jpn+eng`).
    ///
    /// # Errors
    /// When a model is missing or no model of this engine.
    pub fn start(tessdata_dir: &Path, language: &str) -> Result<Engine, EngineError> {
        let folder = tessdata_dir.to_string_lossy();
        let failed =
            |source| EngineError::Start { language: language.to_owned(), tessdata_dir: folder.to_string(), source };
        if folder.contains('\0') || language.contains('\0') {
            return Err(failed(TesseractError::InvalidParameterError));
        }
        let api = TesseractAPI::new();
        api.init_2(&folder, language, ENGINE_MODE_LSTM).map_err(failed)?;
        for (name, value) in VARIABLES {
            api.set_variable(name, value).map_err(failed)?;
        }
        if is_japanese_with_english(language) {
            for (name, value) in JAPANESE_WITH_ENGLISH {
                let set = api.set_variable(name, value);
                if ENGINE_BUILD != "distribution" {
                    set.map_err(failed)?;
                }
            }
        }
        // The engine opens the file for its chatter when it first has something to say, which it could not any more in the
        // sandbox; and without a page it has. It does not look whether the file is open.
        if api.recognize().is_ok() {
            return Err(failed(TesseractError::InvalidParameterError));
        }
        Ok(Engine { api })
    }

    /// The engine's version: `5.3.0`.
    pub fn version() -> String {
        TesseractAPI::version()
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When the engine refuses the page (its size) or fails on it.
    pub fn recognize(&mut self, raster: &Raster, layout: Layout) -> Result<Recognition, EngineError> {
        let result = self.recognize_uncleared(raster, layout);
        // The page's image and results go even when it failed; nothing learnt may reach the next page.
        let cleared = self.api.clear().and_then(|()| self.api.clear_adaptive_classifier());
        let recognition = result?;
        cleared.map_err(|source| page_error("clearing", raster, source))?;
        Ok(recognition)
    }

    fn recognize_uncleared(&mut self, raster: &Raster, layout: Layout) -> Result<Recognition, EngineError> {
        let mode = match layout {
            Layout::Automatic => TessPageSegMode::PSM_AUTO,
            Layout::VerticalBlock => TessPageSegMode::PSM_SINGLE_BLOCK_VERT_TEXT,
        };
        let (width, height) = (raster.width() as i32, raster.height() as i32);
        let hint = raster.dpi().clamp(*CREDIBLE_DPI.start(), *CREDIBLE_DPI.end());
        self.api
            .set_page_seg_mode(mode)
            .and_then(|()| self.api.set_image(raster.bytes(), width, height, 1, width))
            .and_then(|()| self.api.set_source_resolution(hint as i32))
            .map_err(|source| page_error("preparation", raster, source))?;
        self.api.recognize().map_err(|source| page_error("recognition", raster, source))?;
        let (lines, confidence) = self.lines();
        Ok(Recognition { text: text_of(&lines, raster), confidence })
    }

    /// The lines of the page that was just recognised, and the mean confidence of its words.
    fn lines(&self) -> (Vec<PlacedLine>, Option<f32>) {
        let mut lines: Vec<PlacedLine> = Vec::new();
        let mut confidence = MeanConfidence::default();
        // No iterator: nothing was found on the page.
        let Ok(iterator) = self.api.get_iterator() else {
            return (lines, None);
        };
        loop {
            // An error is an element without text, such as a picture.
            if let Ok((text, left, top, right, bottom, word_confidence)) = iterator.get_current_word() {
                confidence.add(&text, word_confidence);
                let word = PlacedWord { text, bounds: PixelBox { left, top, right, bottom } };
                let bounds = bounds_of(&iterator, TessPageIteratorLevel::RIL_TEXTLINE).unwrap_or(word.bounds);
                match lines.last_mut().filter(|line| line.bounds == bounds) {
                    Some(line) => line.words.push(word),
                    None => lines.push(line_from(&iterator, word, bounds)),
                }
            }
            if !iterator.next(TessPageIteratorLevel::RIL_WORD).unwrap_or(false) {
                return (lines, confidence.mean());
            }
        }
    }
}

/// `jpn+eng`: Japanese first, and nothing but English after it.
fn is_japanese_with_english(language: &str) -> bool {
    match languages_of(language).split_first() {
        Some((first, others)) => first.starts_with("jpn") && others.iter().all(|other| *other == "eng"),
        None => false,
    }
}

/// The line that the iterator has just reached, with its first word.
fn line_from(iterator: &ResultIterator, first_word: PlacedWord, bounds: PixelBox) -> PlacedLine {
    PlacedLine {
        text: iterator.get_utf8_text(TessPageIteratorLevel::RIL_TEXTLINE).unwrap_or_else(|_| first_word.text.clone()),
        words: vec![first_word],
        bounds,
        paragraph: bounds_of(iterator, TessPageIteratorLevel::RIL_PARA).unwrap_or(bounds),
        block: bounds_of(iterator, TessPageIteratorLevel::RIL_BLOCK).unwrap_or(bounds),
    }
}

fn bounds_of(iterator: &ResultIterator, level: TessPageIteratorLevel) -> Option<PixelBox> {
    let (left, top, right, bottom) = iterator.get_bounding_box(level).ok()?;
    Some(PixelBox { left, top, right, bottom })
}

fn page_error(operation: &'static str, raster: &Raster, source: TesseractError) -> EngineError {
    EngineError::Page { operation, width: raster.width(), height: raster.height(), source }
}

/// Mean word confidence weighted by length, so that a stray dot counts less than a sentence.
#[derive(Default)]
struct MeanConfidence {
    weighted_sum: f64,
    characters: usize,
}

impl MeanConfidence {
    fn add(&mut self, word: &str, confidence: f32) {
        let length = word.trim().chars().count();
        self.weighted_sum += f64::from(confidence) * length as f64;
        self.characters += length;
    }

    fn mean(&self) -> Option<f32> {
        (self.characters > 0).then(|| (self.weighted_sum / self.characters as f64) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_japanese_with_english_are_for_nothing_else() {
        for language in ["jpn+eng", "jpn", "jpn_vert+eng"] {
            assert!(is_japanese_with_english(language), "{language}");
        }
        for language in ["eng", "eng+jpn", "jpn+chi_sim", "jpn+eng+kor", ""] {
            assert!(!is_japanese_with_english(language), "{language}");
        }
    }
}
