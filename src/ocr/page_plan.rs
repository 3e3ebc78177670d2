//! What is done to one page: blank check, a first reading, and what else to try when that reading is poor.
//!
//! OCR is the cost of the whole program, so a page is read once: pages that look turned are brought upright first, by
//! samples of a few lines. More is tried only when that reading was poor, and the tries stop as soon as one of them is
//! good. On the corpus, right readings have a mean confidence over 65 and readings of upside-down or vertical writing
//! one between 25 and 55.
//!
//! `MIN_OCR_CONFIDENCE` is about pages, not words: a page below it has no text and is a failed page (`low_confidence`);
//! of a page above it every word is kept. Leaving out words was measured on six pages with truth (two of the corpus, and
//! pages with noise, specks, three stamps and at 100 dpi in black and white), as the share of the truth's characters
//! that is kept and the share of right ones among what is kept:
//!
//! | words below | 0 | 10 | 20 | 30 | 50 | 70 | 90 |
//! |---|---|---|---|---|---|---|---|
//! | kept of the truth | .936 | .929 | .922 | .915 | .891 | .861 | .740 |
//! | right of the kept | .946 | .958 | .961 | .966 | .975 | .980 | .991 |
//!
//! A wrong word is hardly ever searched for; a lost right one is never found. A filter at 50 would lose 4.5 points of
//! the truth to be rid of 2.9 points of wrong characters.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::engine::{Engine, EngineError, Layout, Recognition};
use super::grain::without_grain;
use super::ink_cells::InkCells;
use super::models::{languages_of, model_file};
use super::orientation::{Turn, Way, Writing, likely_ways, sample, turned, unlikely_ways};
use super::page_look::is_blank;
use super::raster::Raster;
use super::skew::straightened;
use super::vertical::{is_single_block, with_readable_characters};

/// Part of the engine fingerprint: to be raised when the plan changes what text a page gets.
pub const PLAN_VERSION: u32 = 6;

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

/// A sample read with this confidence has the right side up: nothing else is tried.
const CONVINCING_CONFIDENCE: f32 = 78.0;

/// Fewer characters tell nothing about a sample.
const MIN_SAMPLE_CHARACTERS: usize = 8;

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
    /// `IMAGE_PREPROCESSING`: smooth the grain of scanned paper, turn pages that lie askew or on their side, read vertical writing, try light on dark on poor pages.
    pub preprocessing: bool,
    /// `MIN_OCR_CONFIDENCE`, 0–100.
    pub min_confidence: f32,
}

/// Another way to look at a page that was read poorly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Inverted,
    Way(Way),
}

/// The engines of one child: the main one warm, those for vertical Japanese started when a page asks for them.
pub struct Engines {
    main: Engine,
    vertical: Option<Engine>,
    vertical_block: Option<Engine>,
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
        let vertical_possible =
            languages_of(ocr_language).contains(&VERTICAL_OF) && model_file(tessdata_dir, VERTICAL_LANGUAGE).is_file();
        Ok(Engines {
            main,
            vertical: None,
            vertical_block: None,
            vertical_possible,
            tessdata_dir: tessdata_dir.to_path_buf(),
        })
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When the engine fails on it.
    pub fn read(&mut self, raster: &Raster, options: PlanOptions) -> Result<Reading, EngineError> {
        if is_blank(raster) {
            return Ok(Reading::Blank);
        }
        if !options.preprocessing {
            return Ok(judge(self.main.recognize(raster, Layout::Automatic)?, options.min_confidence));
        }
        let smooth = without_grain(raster);
        let raster = smooth.as_ref().unwrap_or(raster);
        let ink = InkCells::of(raster);
        let straight = straightened(raster, &ink);
        let ink = straight.as_ref().map_or(ink, InkCells::of);
        let raster = straight.as_ref().unwrap_or(raster);
        let (way, is_certain) = self.way_of(raster, &ink)?;
        let upright = turned(raster, way.turn);
        // Whether a page that lay on its side is askew shows only now.
        let straight = if way.turn == Turn::None { None } else { straightened(&upright, &InkCells::of(&upright)) };
        let page = straight.as_ref().unwrap_or(&upright);
        let mut best = self.recognize(page, way.writing)?;
        for attempt in self.attempts(page, &best, is_certain) {
            if !is_poor(&best) {
                break;
            }
            let another = self.attempt(page, attempt, &best, options.min_confidence)?;
            best = another.filter(|another| is_better(another, &best)).unwrap_or(best);
        }
        Ok(judge(best, options.min_confidence))
    }

    /// How the page, whose ink is given, is to be read, and whether samples have shown it.
    fn way_of(&mut self, raster: &Raster, ink: &InkCells) -> Result<(Way, bool), EngineError> {
        let ways: Vec<Way> = likely_ways(ink).into_iter().filter(|way| self.is_possible(*way)).collect();
        if ways == [Way::UPRIGHT] {
            return Ok((Way::UPRIGHT, false));
        }
        let mut best = (Way::UPRIGHT, POOR_CONFIDENCE);
        for way in ways {
            let reading = self.recognize(&sample(&turned(raster, way.turn), way.writing), way.writing)?;
            if visible_characters(&reading) < MIN_SAMPLE_CHARACTERS {
                continue;
            }
            let confidence = confidence_of(&reading);
            if confidence >= CONVINCING_CONFIDENCE {
                return Ok((way, true));
            }
            if confidence > best.1 {
                best = (way, confidence);
            }
        }
        Ok((best.0, best.1 > POOR_CONFIDENCE))
    }

    fn is_possible(&self, way: Way) -> bool {
        way.writing == Writing::Horizontal || self.vertical_possible
    }

    /// What may help this page, the likeliest first.
    fn attempts(&self, page: &Raster, first: &Recognition, way_is_certain: bool) -> Vec<Attempt> {
        if !is_poor(first) {
            return Vec::new();
        }
        let mut attempts = Vec::new();
        if page.median_brightness() < DARK_PAPER {
            attempts.push(Attempt::Inverted);
        }
        if !way_is_certain {
            // A page on which the engine saw no letter at all has none upside down either.
            let may_be_turned = |way: &Way| way.turn == Turn::None || first.confidence.is_some();
            let ways = unlikely_ways(page).into_iter().filter(|way| self.is_possible(*way)).filter(may_be_turned);
            attempts.extend(ways.map(Attempt::Way));
        }
        attempts
    }

    /// `None` when a look at a part of a large page shows that the whole is not worth reading again.
    fn attempt(
        &mut self,
        page: &Raster,
        attempt: Attempt,
        best: &Recognition,
        min_confidence: f32,
    ) -> Result<Option<Recognition>, EngineError> {
        let (prepared, writing) = match attempt {
            Attempt::Inverted => (Cow::Owned(page.inverted()), Writing::Horizontal),
            Attempt::Way(way) => (turned(page, way.turn), way.writing),
        };
        if prepared.pixel_count() >= SAMPLED_PIXELS {
            let reading = self.recognize(&sample(&prepared, writing), writing)?;
            if confidence_of(&reading) < min_confidence.max(confidence_of(best) + BETTER_BY) {
                return Ok(None);
            }
        }
        self.recognize(&prepared, writing).map(Some)
    }

    /// Reads a page that is the right way up.
    ///
    /// Neither layout is good at all vertical writing. Left to find the arrangement, the engine loses lines of widely
    /// spaced characters (CER .31 on a page of six lines, .0085 as a block); told that the page is a single block, it
    /// mixes up titles and blocks (CER .55 with a title, .86 with two blocks; .004 and .006 by their arrangement).
    fn recognize(&mut self, page: &Raster, writing: Writing) -> Result<Recognition, EngineError> {
        if writing == Writing::Horizontal {
            return self.main.recognize(page, Layout::Automatic);
        }
        let page = with_readable_characters(page);
        let block = if is_single_block(&page) {
            Some(self.vertical_block()?.recognize(&page, Layout::VerticalBlock)?)
        } else {
            None
        };
        if let Some(block) = block.as_ref().filter(|block| !is_poor(block)) {
            return Ok(block.clone());
        }
        let arranged = self.vertical()?.recognize(&page, Layout::Automatic)?;
        Ok(block.filter(|block| confidence_of(block) > confidence_of(&arranged)).unwrap_or(arranged))
    }

    /// For vertical lines with something horizontal among them: titles, page numbers.
    fn vertical(&mut self) -> Result<&mut Engine, EngineError> {
        warm(&mut self.vertical, &self.tessdata_dir, &format!("{VERTICAL_LANGUAGE}+{VERTICAL_OF}"))
    }

    /// For nothing but vertical lines: without the model for horizontal ones, which takes some characters for others.
    fn vertical_block(&mut self) -> Result<&mut Engine, EngineError> {
        warm(&mut self.vertical_block, &self.tessdata_dir, VERTICAL_LANGUAGE)
    }
}

/// The engine in `slot`, started when it is first asked for.
fn warm<'a>(slot: &'a mut Option<Engine>, tessdata_dir: &Path, languages: &str) -> Result<&'a mut Engine, EngineError> {
    let engine = match slot.take() {
        Some(engine) => engine,
        None => Engine::start(tessdata_dir, languages)?,
    };
    Ok(slot.insert(engine))
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
