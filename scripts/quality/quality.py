"""The measurements of quality.sh. Rows: what, ours, the peer's, the bar, whether it is met."""
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "bench"))

import documents  # noqa: E402
from cer import errors_and_length  # noqa: E402

BINARY = os.environ["FILE_PROCESSOR_WORKER"]
TIKA = os.environ.get("TIKA_APP_JAR")
CORPUS = pathlib.Path(os.environ.get("CORPUS_DIR", REPOSITORY.parent / "shared" / "corpus"))
# Below corpus/: the file, its truth, and by how much of the peer's error rate ours may be.
SCANS = [
    ("ja/handbook-a.pdf", "ja/handbook-a.txt", 1.0),
    ("ja/handbook-b.pdf", "ja/handbook-b.txt", 1.0),
    ("ja/handbook-c.pdf", "ja/handbook-c.txt", 1.0),
    ("ja/handbook-text.pdf", "ja/handbook-text.txt", 1.0),
    ("ja/vertical.png", "ja/vertical.txt", 0.5),
    ("ja/invoice.png", "ja/invoice.txt", 1.0),
    ("images/linn.png", "images/linn.txt", 1.0),
]
RECALL_BAR = 0.99
PEER_TIMEOUT_SECONDS = 300
PEER_LANGUAGE = "jpn+eng"

ROWS: list[tuple[str, ...]] = []


def note(text: str) -> None:
    print(f"quality: {text}", file=sys.stderr)


def row(what: str, ours: str, theirs: str, bar: str, met: bool | None, remark: str = "") -> None:
    ROWS.append((what, ours, theirs, bar, "" if met is None else "met" if met else "MISSED", remark))
    note(" ".join(ROWS[-1]))


def width(text: str) -> int:
    """Columns on a terminal: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "FW" else 1 for character in text)


def table() -> None:
    lines = [("what", "ours", "peer", "bar", "", "remark"), *ROWS]
    widths = [max(width(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell + " " * (room - width(cell)) for cell, room in zip(line, widths)).rstrip())


def extract(paths: list[pathlib.Path]) -> dict[str, dict]:
    """Our document of each file by the file's name; a file without an answer has none."""
    answer = subprocess.run(
        [BINARY, "extract", "--json", *map(str, paths)], capture_output=True, env={**os.environ, "OMP_THREAD_LIMIT": "1"},
    )
    found = [json.loads(line) for line in answer.stdout.splitlines() if line.strip()]
    return {document["file_name"]: document for document in found}


def outcome(document: dict | None) -> str:
    if document is None:
        return "no answer"
    reason = document.get("reason")
    return "" if reason is None else reason


# --- scans --------------------------------------------------------------------------------------------------------


def tesseract_on(path: pathlib.Path) -> str:
    """The peer: every page at 300 dpi through a tesseract process."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = [path]
        if path.suffix == ".pdf":
            subprocess.run(["pdftoppm", "-r", "300", str(path), f"{folder}/page"], check=True)
            pictures = sorted(pathlib.Path(folder).iterdir())
        texts = []
        for picture in pictures:
            answer = subprocess.run(
                ["tesseract", str(picture), "-", "-l", PEER_LANGUAGE],
                capture_output=True, env={**os.environ, "OMP_THREAD_LIMIT": "1"}, timeout=PEER_TIMEOUT_SECONDS,
            )
            texts.append(answer.stdout.decode(errors="replace"))
        return "".join(texts)


def scans() -> None:
    present = [(CORPUS / name, CORPUS / truth, share) for name, truth, share in SCANS]
    present = [line for line in present if line[0].exists() and line[1].exists()]
    if not present:
        note(f"no corpus at {CORPUS}: scans are left out")
        return
    found = extract([path for path, _, _ in present])
    for path, truth_path, share in present:
        truth = truth_path.read_text()
        document = found.get(path.name)
        errors, length = errors_and_length(truth, (document or {}).get("extracted_text") or "")
        peer_errors, _ = errors_and_length(truth, tesseract_on(path))
        ours, theirs = errors / length, peer_errors / length
        row(
            f"error rate, {path.name}", f"{ours:.4f}", f"{theirs:.4f}", f"≤ {share:.1f} × peer", ours <= share * theirs,
            outcome(document),
        )


# --- text formats -------------------------------------------------------------------------------------------------


def bigrams(text: str) -> collections.Counter:
    """Pairs of neighbouring characters inside words: what lies between two cells or lines is nobody's text."""
    words = unicodedata.normalize("NFKC", text).split()
    return collections.Counter(word[index:index + 2] for word in words for index in range(len(word) - 1))


def recall_and_precision(truth: str, text: str) -> tuple[float, float]:
    wanted, found = bigrams(truth), bigrams(text)
    common = sum((wanted & found).values())
    return common / max(1, sum(wanted.values())), common / max(1, sum(found.values()))


def tika_on(path: pathlib.Path) -> str | None:
    if not TIKA:
        return None
    try:
        answer = subprocess.run(
            ["java", "-Dfile.encoding=UTF-8", "-jar", TIKA, "--text", "--encoding=UTF-8", str(path)],
            capture_output=True, timeout=PEER_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return ""
    return answer.stdout.decode(errors="replace")


def texts() -> None:
    with tempfile.TemporaryDirectory() as folder:
        truths = documents.write_all(pathlib.Path(folder))
        by_folder = collections.defaultdict(list)
        for path in truths:
            by_folder[path.parent].append(path)
        for parent, paths in by_folder.items():
            found = extract(paths)
            for path in paths:
                text_row(path, str(path.relative_to(folder)), truths[path], found.get(path.name))


def text_row(path: pathlib.Path, name: str, truth: str, document: dict | None) -> None:
    recall, precision = recall_and_precision(truth, (document or {}).get("extracted_text") or "")
    ours, theirs, bar, peer_recall = f"{recall:.3f} / {precision:.3f}", "", f"recall ≥ {RECALL_BAR}", 0.0
    peer_text = tika_on(path)
    if peer_text is not None:
        peer_recall, peer_precision = recall_and_precision(truth, peer_text)
        theirs, bar = f"{peer_recall:.3f} / {peer_precision:.3f}", f"{bar}, ≥ peer"
    met = recall >= RECALL_BAR and recall >= peer_recall
    row(f"recall / precision, {name}", ours, theirs, bar, met, outcome(document))


def main() -> None:
    parts = {"scans": scans, "texts": texts}
    for name in sys.argv[1:]:
        if name not in parts:
            sys.exit(f"quality: unknown part {name}; there are {', '.join(parts)}")
    for name in sys.argv[1:] or parts:
        parts[name]()
    table()
    missed = sum(line[4] == "MISSED" for line in ROWS)
    print(f"\n{len(ROWS) - missed} of {len(ROWS)} rows met" if ROWS else "\nnothing was measured")


if __name__ == "__main__":
    main()
