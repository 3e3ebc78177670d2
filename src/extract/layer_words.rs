//! Whether the words of a text layer show that the OCR which it is from misread the page.

use super::text_layer::is_filler;
use crate::ocr::clean::is_cjk;

/// A layer of earlier OCR with more than this share of words that cannot be is read anew. Of good layers and of the
/// truths of the corpus the worst has .06, a page that was read lying on its side has .23.
const MAX_BROKEN_WORDS: f64 = 0.15;

/// A layer of earlier OCR was read in a language that the page is not in ("ERBLISHSMSRMERHT" is what an English model makes
/// of Japanese) when it has no Japanese, fewer of its Latin words than this are in small letters (of Japanese pages read as
/// English .04 to .40, of good layers and truths of the corpus .66 at least) …
const MIN_SMALL_WORDS: f64 = 0.45;

/// … and more than this share are capitals that nobody can say: .03 to .16 and .02 at most.
const MAX_UNSPEAKABLE_WORDS: f64 = 0.03;

/// A layer has Japanese when this share of its letters is.
const MIN_JAPANESE: f64 = 0.05;

/// So many consonants in a row are no word of capitals, unless it is as short as an abbreviation.
const UNSPEAKABLE_CONSONANTS: usize = 4;
const MAX_ABBREVIATION: usize = 4;

/// Fewer words say nothing about how well a page was read.
const MIN_WORDS_TO_JUDGE: usize = 30;

/// Words of a single letter in the languages of Europe, and what stands between letters of one word.
const LETTERS_THAT_ARE_WORDS: &str = "aAàÀeEéiIoOóuUyYwWzZkKsSvVxX";
const SIGNS_INSIDE_WORDS: &str = ".-'’/@_:&+,()–—·\u{ad}";

/// Marks of misread rules and stains.
const NEVER_IN_WORDS: &str = "^|¦¬";

/// Signs that stand by themselves on forms and in formulas.
const SIGNS_ALONE: &str = ":;/&+=%()<>[]#~、。，．：／（）「」→←×÷±";

/// Whether a layer is not worth keeping: too many words that cannot be, or Japanese that was read as a Latin language.
pub fn was_misread(text: &str) -> bool {
    is_badly_read(text) || is_in_wrong_language(text)
}

/// Whether too many words are none in any language: signs alone, single letters, capitals, digits and signs inside.
fn is_badly_read(text: &str) -> bool {
    let is_telling = |word: &&str| !word.chars().all(|sign| is_filler(sign) || SIGNS_ALONE.contains(sign));
    let words: Vec<&str> = text.split_whitespace().filter(is_telling).collect();
    let broken = words.iter().filter(|word| is_broken(word)).count();
    words.len() >= MIN_WORDS_TO_JUDGE && broken as f64 > words.len() as f64 * MAX_BROKEN_WORDS
}

/// Whether the layer is what a model of a Latin language made of Japanese.
fn is_in_wrong_language(text: &str) -> bool {
    let letters = text.chars().filter(|character| character.is_alphabetic()).count();
    let japanese = text.chars().filter(|character| is_cjk(*character) && character.is_alphabetic()).count();
    let words: Vec<&str> = text.split_whitespace().filter_map(latin_word).collect();
    let share = |is_counted: &dyn Fn(&str) -> bool| {
        words.iter().filter(|word| is_counted(word)).count() as f64 / words.len() as f64
    };
    words.len() >= MIN_WORDS_TO_JUDGE
        && (japanese as f64) < letters as f64 * MIN_JAPANESE
        && share(&|word| word.bytes().all(|letter| letter.is_ascii_lowercase())) < MIN_SMALL_WORDS
        && share(&is_unspeakable) > MAX_UNSPEAKABLE_WORDS
}

/// A word of two or more plain Latin letters, without the punctuation around it.
fn latin_word(word: &str) -> Option<&str> {
    let core = word.trim_matches(|character: char| !character.is_alphanumeric());
    (core.len() > 1 && core.bytes().all(|byte| byte.is_ascii_alphabetic())).then_some(core)
}

/// Capitals with too many consonants in a row, or with small letters after or before several of them.
fn is_unspeakable(word: &str) -> bool {
    let letters = word.as_bytes();
    if letters.iter().filter(|letter| letter.is_ascii_uppercase()).count() < 2 {
        return false;
    }
    let is_consonant = |letter: &u8| !b"AEIOUYaeiouy".contains(letter);
    let becomes_small = letters
        .windows(3)
        .any(|three| three[0].is_ascii_uppercase() && three[1].is_ascii_uppercase() && three[2].is_ascii_lowercase());
    let becomes_large = letters.windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    let has_run = letters.windows(UNSPEAKABLE_CONSONANTS).any(|run| run.iter().all(is_consonant));
    becomes_small || becomes_large || (letters.len() > MAX_ABBREVIATION && has_run)
}

fn is_broken(word: &str) -> bool {
    if !word.chars().any(char::is_alphanumeric) {
        return true;
    }
    // Japanese has no words to look at, and its signs stand anywhere.
    if word.chars().any(is_cjk) {
        return false;
    }
    let core: Vec<char> = word.trim_matches(|character: char| !character.is_alphanumeric()).chars().collect();
    if let [letter] = core[..] {
        return letter.is_alphabetic() && !LETTERS_THAT_ARE_WORDS.contains(letter);
    }
    let has_capital_inside = core.windows(2).any(|pair| pair[0].is_lowercase() && pair[1].is_uppercase());
    let has_stranger_inside = core.windows(3).any(|three| {
        let is_between_letters = three[0].is_alphabetic() && three[2].is_alphabetic();
        is_between_letters && !three[1].is_alphabetic() && !SIGNS_INSIDE_WORDS.contains(three[1])
    });
    has_capital_inside || has_stranger_inside || word.contains(|character| NEVER_IN_WORDS.contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_japanese_page_that_was_read_as_english_is_read_anew() {
        // What Tesseract makes of a page of Japanese with the English model.
        let noise =
            "PRA EBA Rac ERAT MRAMISRA SAR. PEAR HT BA, SHAItcLABE PrCHS. ERBLISHSMSRMERHT. FAB BRBSEGPAFT SIC\n";
        assert!(was_misread(&noise.repeat(10)));
        for good in [
            "ELEVATION OF ABUTMENT A-1, SCALE 1:50, SEE SHEET LOADS OF CONCRETE AND STEEL BRIDGES\n",
            "The HTML and PDF files of NTT were checked with great care by the chief engineer of McKinsey\n",
            "Die Schlussprüfung der Brücke entsprach den Vorschriften des Straßenbauamtes in Nürnberg\n",
            "橋梁 RC 床版 PC 桁 の点検、SUS304 FEM 解析結果 と RC 橋脚 の DWG 図面を確認\n",
        ] {
            assert!(!was_misread(&good.repeat(20)), "{good}");
        }
    }
}
