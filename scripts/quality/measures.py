"""What is counted: character errors, character bigrams, words that somebody could search for."""
import collections
import random
import re
import unicodedata

# Runs of kanji and of katakana, and Latin words: what people type into a search box. No analyzer has a say in it. A run
# of kanji that goes on in hiragana which are neither a particle nor する is half a word (取替 of 取替え) and left out.
KANJI = "[一-鿿々]"
INFLECTED = r"[ぁ-ゖ](?<![はがをにのとでもやへしす])"
QUERY_WORD = re.compile(rf"{KANJI}{{2,}}(?!{KANJI}|{INFLECTED})|[ァ-ヺー]{{2,}}|[A-Za-z]{{3,}}")
JAPANESE = r"[ぁ-ヿ一-鿿々]"
GAP_IN_JAPANESE = re.compile(rf"(?<={JAPANESE})\s+(?={JAPANESE})")
FIRST_JAPANESE = "\u2e80"


def script(character: str) -> str:
    """Letters and digits of Latin, those of Japanese, and everything else, which separates words."""
    if not character.isalnum():
        return ""
    return "Japanese" if character >= FIRST_JAPANESE else "Latin"


def bigrams(text: str) -> collections.Counter[str]:
    """Pairs of neighbouring letters or digits of one script. What stands between two cells, lines or sentences is
    nobody's text, and a gap between Japanese and Latin is typography."""
    text = unicodedata.normalize("NFKC", text)
    pairs = (text[index:index + 2] for index in range(len(text) - 1))
    return collections.Counter(pair for pair in pairs if script(pair[0]) and script(pair[0]) == script(pair[1]))


def recall_and_precision(truth: str, text: str) -> tuple[float, float]:
    """Of the truth's bigrams, how many the text has; of the text's, how many the truth has. A word that is broken over
    two lines counts as found here: whether a search finds it is another measure."""
    wanted, found = bigrams(truth), bigrams(text)
    joined = bigrams(GAP_IN_JAPANESE.sub("", text))
    recall = sum((wanted & (found | joined)).values()) / max(1, sum(wanted.values()))
    precision = sum((wanted & found).values()) / max(1, sum(found.values()))
    return recall, precision


def bigram_f1(truth: str, text: str) -> float:
    """The harmonic mean of recall and precision without any white space: blind to the order of lines, unlike errors."""
    wanted, found = (bigrams(re.sub(r"\s+", "", part)) for part in (truth, text))
    common = sum((wanted & found).values())
    return 2 * common / max(1, sum(wanted.values()) + sum(found.values()))


def query_words(truth: str, count: int, seed: str) -> list[str]:
    """The same words of the truth in every run: all of them where there are fewer than wanted."""
    words = sorted(set(QUERY_WORD.findall(truth)))
    return words if len(words) <= count else sorted(random.Random(seed).sample(words, count))
