//! What is done to one page: blank check, a first reading, and what else to try when that reading is poor.
//!
//! OCR is the cost of the whole program, so a page is read once; more is tried only when that reading was poor, and
//! the tries stop as soon as one of them is good. On the corpus, right readings have a mean confidence over 65 and
//! readings of upside-down or vertical writing one between 25 and 55.

use std::path::{Path, PathBuf};

use super::engine::{Engine, EngineError, Layout, Recognition};
use super::models::{languages_of, model_file};
use super::page_look::{LineDirection, is_blank, line_direction};
use super::raster::Raster;
use super::skew::straightened;

/// Part of the engine fingerprint: to be raised when the plan changes what text a page gets.
pub const PLAN_VERSION: u32 = 2;

/// The language that has a model for vertical writing, and that model.
pub const VERTICAL_OF: &str = "jpn";
pub const VERTICAL_LANGUAGE: &str = "jpn_vert";

/// A mean confidence (0–100) below this is worth another try.
const POOR_CONFIDENCE: f32 = 65.0;

/// Another try replaces the first reading only when its mean confidence is higher by this.
const BETTER_BY: f32 = 10.0;

/// … and when it found at least this share of the characters: two clear letters are no better page.
const MIN_SHARE_OF_CHARACTERS: f64 = 0.33;

/// Median brightness below which a page is light on dark.
const DARK_PAPER: u8 = 100;

/// Pages of so many pixels are tried on a part first: another look at all of it costs seconds.
const SAMPLED_PIXELS: u64 = 2_000_000;

/// Below the minimum confidence, so few characters are a photo's texture rather than writing that nobody can read.
const TEXTURE_CHARACTERS: usize = 100;

/// Fewer letters and digits than this on a page are specks taken for writing.
const MIN_LETTERS: usize = 2;

/// What a page gave.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Nothing is on it.
    Blank,
    /// Something is on it, but no writing: a photo, a stain.
    NoText,
    /// The writing was read.
    Text(Recognition),
    /// There is writing, and it was read too badly to be worth finding (`MIN_OCR_CONFIDENCE`).
    Illegible { confidence: f32 },
}

/// What the plan may do.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// `IMAGE_PREPROCESSING`: turn pages that lie askew, try light on dark, vertical writing and other orientations on poor pages.
    pub preprocessing: bool,
    /// `MIN_OCR_CONFIDENCE`, 0–100.
    pub min_confidence: f32,
}

/// Another way to look at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Inverted,
    Vertical,
    UpsideDown,
}

/// The engines of one child: the main one warm, the one for vertical Japanese started when a page asks for it.
pub struct Engines {
    main: Engine,
    vertical: Option<Engine>,
    vertical_possible: bool,
    tessdata_dir: PathBuf,
}

impl Engines {
    /// Starts the main engine and has it read something, so that no first page pays for loading.
    ///
    /// # Errors
    /// When a model is missing or unusable.
    pub fn start(tessdata_dir: &Path, ocr_language: &str) -> Result<Engines, EngineError> {
        let mut main = Engine::start(tessdata_dir, ocr_language)?;
        main.recognize(&Raster::warm_up_page(), Layout::Automatic)?;
        // An empty page makes the engine open the file for its chatter, which it could not any more in the sandbox.
        main.recognize(&Raster::empty_page(), Layout::Automatic)?;
        let vertical_possible =
            languages_of(ocr_language).contains(&VERTICAL_OF) && model_file(tessdata_dir, VERTICAL_LANGUAGE).is_file();
        Ok(Engines { main, vertical: None, vertical_possible, tessdata_dir: tessdata_dir.to_path_buf() })
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When the engine fails on it.
    pub fn read(&mut self, raster: &Raster, options: PlanOptions) -> Result<Reading, EngineError> {
        if is_blank(raster) {
            return Ok(Reading::Blank);
        }
        let straight = if options.preprocessing { straightened(raster) } else { None };
        let raster = straight.as_ref().unwrap_or(raster);
        let mut best = self.main.recognize(raster, Layout::Automatic)?;
        if options.preprocessing {
            for attempt in self.attempts(raster, &best) {
                if !is_poor(&best) {
                    break;
                }
                let another = self.attempt(raster, attempt, &best, options.min_confidence)?;
                best = another.filter(|another| is_better(another, &best)).unwrap_or(best);
            }
        }
        Ok(judge(best, options.min_confidence))
    }

    /// What may help this page, the likeliest first.
    fn attempts(&self, raster: &Raster, first: &Recognition) -> Vec<Attempt> {
        if !is_poor(first) {
            return Vec::new();
        }
        let mut attempts = Vec::new();
        if raster.median_brightness() < DARK_PAPER {
            attempts.push(Attempt::Inverted);
        }
        let direction = line_direction(raster);
        if self.vertical_possible && direction != LineDirection::Horizontal {
            attempts.push(Attempt::Vertical);
        }
        // The engine turns pages that lie on their side by itself, but never by 180 degrees: turning by that much
        // covers both. A page on which it saw no letter at all has none upside down either.
        if first.confidence.is_some() {
            attempts.push(Attempt::UpsideDown);
        }
        attempts
    }

    /// `None` when a look at a part of a large page shows that the whole is not worth reading again.
    fn attempt(
        &mut self,
        raster: &Raster,
        attempt: Attempt,
        best: &Recognition,
        min_confidence: f32,
    ) -> Result<Option<Recognition>, EngineError> {
        let prepared = match attempt {
            Attempt::Inverted => raster.inverted(),
            Attempt::UpsideDown => raster.upside_down(),
            Attempt::Vertical => raster.clone(),
        };
        if prepared.pixel_count() >= SAMPLED_PIXELS {
            let sample = self.recognize(&prepared.busiest_third(), attempt)?;
            if confidence_of(&sample) < min_confidence.max(confidence_of(best) + BETTER_BY) {
                return Ok(None);
            }
        }
        self.recognize(&prepared, attempt).map(Some)
    }

    fn recognize(&mut self, prepared: &Raster, attempt: Attempt) -> Result<Recognition, EngineError> {
        match attempt {
            Attempt::Vertical => self.vertical()?.recognize(prepared, Layout::VerticalBlock),
            Attempt::Inverted | Attempt::UpsideDown => self.main.recognize(prepared, Layout::Automatic),
        }
    }

    fn vertical(&mut self) -> Result<&mut Engine, EngineError> {
        let engine = match self.vertical.take() {
            Some(engine) => engine,
            None => Engine::start(&self.tessdata_dir, VERTICAL_LANGUAGE)?,
        };
        Ok(self.vertical.insert(engine))
    }
}

fn confidence_of(recognition: &Recognition) -> f32 {
    recognition.confidence.unwrap_or(0.0)
}

fn is_poor(recognition: &Recognition) -> bool {
    confidence_of(recognition) < POOR_CONFIDENCE
}

fn is_better(candidate: &Recognition, best: &Recognition) -> bool {
    let enough = visible_characters(candidate) as f64 >= visible_characters(best) as f64 * MIN_SHARE_OF_CHARACTERS;
    enough && confidence_of(candidate) >= confidence_of(best) + BETTER_BY
}

fn visible_characters(recognition: &Recognition) -> usize {
    recognition.text.chars().filter(|character| !character.is_whitespace()).count()
}

/// What a reading amounts to.
fn judge(recognition: Recognition, min_confidence: f32) -> Reading {
    let letters = recognition.text.chars().filter(|character| character.is_alphanumeric()).count();
    let Some(confidence) = recognition.confidence.filter(|_| letters >= MIN_LETTERS) else {
        return Reading::NoText;
    };
    if confidence >= min_confidence {
        return Reading::Text(recognition);
    }
    if visible_characters(&recognition) < TEXTURE_CHARACTERS {
        return Reading::NoText;
    }
    Reading::Illegible { confidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognition(text: &str, confidence: f32) -> Recognition {
        Recognition { text: text.to_owned(), confidence: Some(confidence) }
    }

    #[test]
    fn confident_text_is_text() {
        assert!(matches!(judge(recognition("道路台帳", 90.0), 50.0), Reading::Text(_)));
    }

    #[test]
    fn a_photos_texture_is_no_text() {
        assert!(matches!(judge(recognition("~ ; iL =", 28.0), 50.0), Reading::NoText));
        assert!(matches!(judge(recognition(". -", 90.0), 50.0), Reading::NoText));
        assert!(matches!(judge(Recognition::default(), 50.0), Reading::NoText));
    }

    #[test]
    fn a_page_of_guesses_is_illegible_and_says_how_bad_it_was() {
        let guesses = "ab cd ".repeat(60);
        let Reading::Illegible { confidence } = judge(recognition(&guesses, 31.0), 50.0) else {
            panic!("a page of guesses");
        };
        assert_eq!(confidence, 31.0);
        assert!(matches!(judge(recognition(&guesses, 31.0), 0.0), Reading::Text(_)), "a minimum of 0 keeps all");
    }

    #[test]
    fn another_reading_must_be_clearly_better_and_not_a_fragment() {
        let first = recognition("abcdefghijkl", 40.0);
        assert!(is_better(&recognition("一二三四五六", 80.0), &first));
        assert!(!is_better(&recognition("一二三四五六", 45.0), &first));
        assert!(!is_better(&recognition("一", 95.0), &first));
    }
}
