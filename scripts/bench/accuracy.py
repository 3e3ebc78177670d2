"""How well the old way and ours read every file of the corpus that has a truth: read once each, whatever it takes."""
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
from unittest import mock

import contestants
from cer import errors_and_length
from world import REPOSITORY, markdown_table, publish

sys.path.insert(0, str(REPOSITORY / "scripts" / "quality"))
from material import CORPUS, Scan, corpus_scans  # noqa: E402
from measures import bigram_f1  # noqa: E402

MEAN_BAR = 0.8
# Nothing but jpn_vert reads it, and the old way does not have that: it would decide every mean.
VERTICAL = "ja/vertical.png"


def read(scans: list[Scan], reader) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="accuracy-", dir="/var/tmp") as work:
        folder = pathlib.Path(work)
        (folder / "scans").mkdir()
        for scan in scans:
            shutil.copy(scan.path, folder / "scans")
        return reader(folder)


def measured(scan: Scan, texts: dict[str, str]) -> tuple[float, float]:
    text = texts.get(scan.path.stem, "")
    errors, length = errors_and_length(scan.truth, text)
    return errors / max(1, length), bigram_f1(scan.truth, text)


def accuracy() -> None:
    scans = corpus_scans()
    if not scans:
        return
    print(f"bench: reading {len(scans)} files of the corpus that have a truth", file=sys.stderr)
    theirs = read(scans, contestants.python_worker)
    with mock.patch.dict(os.environ, RACE_REPEATS="1"):
        ours = read(scans, contestants.extract)
    lines, rates = [], {}
    for scan in scans:
        name = str(scan.path.relative_to(CORPUS))
        (their_rate, their_f1), (our_rate, our_f1) = measured(scan, theirs), measured(scan, ours)
        rates[name] = (our_rate, their_rate)
        met = "met" if our_rate <= their_rate else "MISSED"
        lines.append([name, f"{our_rate:.4f} / {our_f1:.3f}", f"{their_rate:.4f} / {their_f1:.3f}", "≤ (a)", met])
    for what, left_out in (("mean of the files", ""), (f"mean without {VERTICAL}", VERTICAL)):
        pairs = [pair for name, pair in rates.items() if name != left_out]
        our_mean, their_mean = (statistics.mean(side) for side in zip(*pairs))
        met = "met" if our_mean <= MEAN_BAR * their_mean else "MISSED"
        ratio = f"{our_mean / their_mean:.2f}" if their_mean else "–"
        lines.append([f"{what}: {ratio} × (a)", f"{our_mean:.4f}", f"{their_mean:.4f}", f"≤ {MEAN_BAR} × (a)", met])
    head = ["error rate / bigram F1", "ours (f)", "a process a page (a)", "bar", ""]
    publish(markdown_table(head, lines))
