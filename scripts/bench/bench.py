"""The measurements of bench.sh. Each part prints rows: what, ours, theirs, ratio, the bar, whether it is met."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import faults
import growth
import race
from contestants import page_count
from processes import children_of, peak_megabytes
from world import BINARY, REPOSITORY, ROWS, World, aws, row, stop, table

CORPUS = pathlib.Path(os.environ.get("CORPUS_DIR", REPOSITORY.parent / "shared" / "corpus"))
HANDBOOKS = [CORPUS / "ja" / f"handbook-{name}.pdf" for name in "abc"]


def has_corpus() -> bool:
    if all(handbook.exists() for handbook in HANDBOOKS):
        return True
    print(f"bench: no corpus at {CORPUS}: left out", file=sys.stderr)
    return False


def memory() -> None:
    if not has_corpus():
        return
    world = World()
    pages = int(os.environ.get("BENCH_PAGES", "300"))
    per_round = sum(map(page_count, HANDBOOKS))
    scan = pathlib.Path(world.temp) / "scan.pdf"
    subprocess.run(["pdfunite", *map(str, HANDBOOKS * -(-pages // per_round)), str(scan)], check=True)
    pages = page_count(scan)
    daemon, _ = world.start()
    aws("put-object", world.name, "scan.pdf", str(scan))
    aws("send-message", world.queue, json.dumps({"key": "scan.pdf"}))
    parent = child = 0.0
    started = time.monotonic()
    while world.count() == 0:
        parent = max(parent, peak_megabytes(daemon.pid))
        child = max([child, *map(peak_megabytes, children_of(daemon.pid))])
        time.sleep(2)
    took = time.monotonic() - started
    parent = max(parent, peak_megabytes(daemon.pid))
    document = world.opensearch(f"{world.name}/_doc/scan.pdf")["_source"]
    stop(daemon)
    if document["pages_ocr"] < pages * 0.8:
        sys.exit(f"bench: only {document['pages_ocr']} of {pages} pages were read: {document['error_message']}")
    row(f"parent's peak resident memory, {pages}-page scan", f"{parent:.0f} MiB", "", "", "≤ 64 MiB", parent <= 64)
    row(f"a child's peak resident memory, {pages}-page scan", f"{child:.0f} MiB", "", "", "≤ 300 MiB", child <= 300)
    row(f"{pages}-page scan through the daemon", f"{pages / took:.2f} pages/s")
    world.close()


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
    text_pdf = CORPUS / "ja" / "handbook-text.pdf"
    if text_pdf.exists():
        growth.text_pdfs(text_pdf)


def long_scans() -> None:
    if has_corpus():
        growth.long_scans(HANDBOOKS)


def main() -> None:
    parts = sys.argv[1:]
    for name, part in (("memory", memory), ("start", start), ("texts", texts), ("growth", long_scans), ("faults", faults.all_parts)):
        if name in parts:
            part()
    if "race" in parts and has_corpus():
        race.race(HANDBOOKS, int(os.environ.get("BENCH_ROUNDS", "2")), os.environ.get("BENCH_SVG"))
    if ROWS:
        table()


if __name__ == "__main__":
    main()
