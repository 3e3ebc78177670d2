"""The measurements of bench.sh. Each part prints rows (what, ours, theirs, ratio, the bar, whether it is met) or tables of its own."""
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import accuracy
import faults
import growth
import long_scan
import memory
import page_profile
import race
from world import BINARY, REPOSITORY, ROWS, World, row, stop, table

CORPUS = pathlib.Path(os.environ.get("CORPUS_DIR", REPOSITORY.parent / "shared" / "corpus"))
HANDBOOKS = [CORPUS / "ja" / f"handbook-{name}.pdf" for name in "abc"]
# What the long-lived child of soak reads: scans and pictures as they come in. Posters and pages of metres, as they are in pdf/,
# need memory for themselves, which says nothing about its growth.
SOAK_FOLDERS = ["ja", "images"]
PICTURES_AND_PDFS = {".pdf", ".png", ".jpg", ".jpeg", ".bmp"}


def number(variable: str, default: int) -> int:
    return int(os.environ.get(variable, default))


def has_corpus() -> bool:
    if all(handbook.exists() for handbook in HANDBOOKS):
        return True
    print(f"bench: no corpus at {CORPUS}: left out", file=sys.stderr)
    return False


def memory_part() -> None:
    if has_corpus():
        memory.long_scan(HANDBOOKS, number("BENCH_PAGES", 300))
    memory.messages(number("BENCH_MESSAGES", 10_000))


def start() -> None:
    world = World()
    ready, validated = [], []
    for _ in range(5):
        daemon, seconds = world.start()
        stop(daemon)
        ready.append(seconds)
        started = time.monotonic()
        subprocess.run([BINARY, "--validate-only"], env=world.environment, check=True, capture_output=True)
        validated.append(time.monotonic() - started)
    row("start to READY, 2 children (median of 5)", f"{statistics.median(ready):.2f} s", "", "", "≤ 2 s", statistics.median(ready) <= 2)
    row("--validate-only (median of 5)", f"{statistics.median(validated):.2f} s", "", "", "≤ 2 s", statistics.median(validated) <= 2)
    world.close()


def texts() -> None:
    growth.texts()
    contract, handbook = CORPUS / "pdf" / "sample_contract.pdf", CORPUS / "ja" / "handbook-text.pdf"
    if contract.exists() and handbook.exists():
        growth.text_pdfs("a contract of ten pages", contract.read_bytes())
        growth.text_pdfs("a handbook of ten pages, 50 fonts", growth.twice(handbook))


def soak() -> None:
    if has_corpus():
        files = [path for folder in SOAK_FOLDERS for path in sorted((CORPUS / folder).iterdir()) if path.suffix in PICTURES_AND_PDFS]
        memory.soak(files, number("BENCH_SOAK_PAGES", 2_000))


# In the order in which they are done.
PARTS: dict[str, Callable[[], None]] = {
    "memory": memory_part,
    "start": start,
    "texts": texts,
    "growth": lambda: has_corpus() and long_scan.growth(HANDBOOKS, number("BENCH_PAGES", 300)),
    "soak": soak,
    "faults": faults.all_parts,
    "accuracy": accuracy.accuracy,
    "profile": lambda: has_corpus() and page_profile.profile(HANDBOOKS),
    "race": lambda: has_corpus() and race.race(HANDBOOKS, number("BENCH_ROUNDS", 2)),
}


def main() -> None:
    wanted = sys.argv[1:]
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        sys.exit(f"bench.sh: no part {unknown[0]}: there are {' '.join(PARTS)}")
    for name, part in PARTS.items():
        if name in wanted:
            part()
    if ROWS:
        table()


if __name__ == "__main__":
    main()
