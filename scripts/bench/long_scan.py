"""How speed goes with the length of a scan: one scan of many pages beside as many scans of one page, by `extract`."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from contestants import PLAIN, WORKERS
from world import BINARY, row

SIZES = [1, 10, 100, 1_000]
# Short ones are over in seconds, in which anything else that runs weighs much: measured several times, in turn.
ROUNDS = {1: 5, 10: 3}
BAR = 0.97


def read(files: list[pathlib.Path], pages: int) -> tuple[float, float]:
    """Seconds by the clock and of processor; every page has to be read."""
    started, read_pages = time.monotonic(), 0
    process = subprocess.Popen(
        [BINARY, "extract", "--json", *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**PLAIN, "MAX_WORKERS": str(WORKERS), "MAX_PDF_SIZE_MB": "1000"},
    )
    for number, line in enumerate(process.stdout, 1):
        document = json.loads(line)
        # One of the pages is blank.
        if document["outcome"] != "indexed" and document["reason"] != "no_text":
            sys.exit(f"bench: {document['file_key']} ended as {document['outcome']}: {document['error_message']}")
        read_pages += document["page_count"]
        if number % 100 == 0:
            print(f"bench: {read_pages} of {pages} pages, {time.monotonic() - started:.0f} s", file=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or read_pages != pages:
        sys.exit(f"bench: {read_pages} of {pages} pages were read, exit code {process.returncode}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime


def single_pages(handbooks: list[pathlib.Path], folder: pathlib.Path) -> list[pathlib.Path]:
    for handbook in handbooks:
        subprocess.run(["pdfseparate", str(handbook), str(folder / f"{handbook.stem}-%d.pdf")], check=True)
    return sorted(folder.glob("*.pdf"))


def unite(pdfs: list[pathlib.Path], whole: pathlib.Path) -> pathlib.Path:
    subprocess.run(["pdfunite", *map(str, pdfs), str(whole)], check=True)
    return whole


def compare(pages: list[pathlib.Path], count: int, folder: pathlib.Path, is_last: bool) -> None:
    singles = [folder / f"single-{number}.pdf" for number in range(count)]
    for number, single in enumerate(singles):
        if not single.exists():
            os.link(pages[number % len(pages)], single)
    print(f"bench: one scan of {count} pages, and {count} scans of one page", file=sys.stderr)
    whole = unite(singles, folder / "whole.pdf") if count > 1 else singles[0]
    rounds = [(read([whole], count), read(singles, count)) for _ in range(ROUNDS.get(count, 1))]
    ratio = statistics.median(together / alone for (alone, _), (together, _) in rounds)
    alone, together = (statistics.median(side[0] for side in sides) for sides in zip(*rounds))
    own_cpu, other_cpu = (statistics.median(side[1] for side in sides) / count for sides in zip(*rounds))
    row(
        f"one scan of {count} pages, beside {count} of one page", f"{count / alone:.2f} pages/s",
        f"{count / together:.2f} pages/s", f"{ratio:.2f}", f"≥ {BAR}" if is_last else "",
        ratio >= BAR if is_last else None,
    )
    row("  processor time", f"{own_cpu:.3f} s/page", f"{other_cpu:.3f} s/page", f"{other_cpu / own_cpu:.2f}")


def growth(handbooks: list[pathlib.Path], most: int) -> None:
    """The bar is for the longest. The start of the program weighs on the short ones."""
    sizes = [size for size in SIZES if size < most] + [most]
    with tempfile.TemporaryDirectory(prefix="growth-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        pages = single_pages(handbooks, folder)
        for size in sizes:
            compare(pages, size, folder, size == most)
