"""The character error rate: Levenshtein distance after NFKC and without white space, over the truth's length."""
import unicodedata


def normalised(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def distance(left: str, right: str) -> int:
    """Levenshtein distance by Myers' bit vectors: one big integer holds a whole column."""
    if not left:
        return len(right)
    positions: dict[str, int] = {}
    for index, character in enumerate(left):
        positions[character] = positions.get(character, 0) | 1 << index
    full = (1 << len(left)) - 1
    last = 1 << len(left) - 1
    plus, minus, score = full, 0, len(left)
    for character in right:
        equal = positions.get(character, 0)
        vertical = equal | minus
        horizontal = ((equal & plus) + plus ^ plus) | equal
        up = minus | ~(horizontal | plus) & full
        down = plus & horizontal
        if up & last:
            score += 1
        elif down & last:
            score -= 1
        up = (up << 1 | 1) & full
        plus = down << 1 & full | ~(vertical | up) & full
        minus = up & vertical
    return score


def errors_and_length(truth: str, text: str) -> tuple[int, int]:
    truth, text = normalised(truth), normalised(text)
    return distance(truth, text), len(truth)
