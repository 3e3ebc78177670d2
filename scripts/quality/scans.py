"""The part `scans`: how much of what is printed on scanned pages is read right."""
import concurrent.futures
import os
import pathlib
import shutil
import time

import peers
import reader
from cer import errors_and_length
from material import CORPUS, Material, Scan
from measures import bigram_f1
from report import BETTER, Row, Table, note

TITLE = (
    "Scans: character error rate (Levenshtein, NFKC, no white space) / F1 of character bigrams (blind to "
    "reading order); all readers have jpn+eng"
)
# A peer's figures are not rounded; one that is better by less than this is not called better.
EPSILON = 1e-9


def measured(scan: Scan, text: str) -> tuple[float, float]:
    errors, length = errors_and_length(scan.truth, text)
    return errors / max(1, length), bigram_f1(scan.truth, text)


def shown(figures: tuple[float, float] | None, ours: tuple[float, float]) -> str:
    if figures is None:
        return "–"
    better = figures[0] < ours[0] - EPSILON
    return f"{figures[0]:.4f} / {figures[1]:.3f}" + (BETTER if better else "")


def read_by_tika(scans: list[Scan], material: Material) -> dict[int, str]:
    """By the scan's number: copies under unique names in one folder, for one process."""
    folder = material.folder / "for-tika"
    folder.mkdir()
    copies = {folder / f"{number}{scan.path.suffix}": number for number, scan in enumerate(scans)}
    for copy, number in copies.items():
        shutil.copyfile(scans[number].path, copy)
    return {copies[path]: text for path, text in (peers.tika(folder) or {}).items() if path in copies}


def run(material: Material) -> list[Table]:
    table = Table(TITLE, ["Tesseract, 300 dpi", "OCRmyPDF", "Tika"])
    scans = material.scans
    note(f"reading {len(scans)} scans")
    reading = reader.extract([scan.path for scan in scans])
    note(f"ours took {reading.seconds:.0f} s; now the peers")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        started = time.monotonic()
        pictures = [scan.picture or scan.path for scan in scans]
        waiting = [(threads.submit(peers.tesseract, path), threads.submit(peers.ocrmypdf, path)) for path in pictures]
        for number, (scan, futures) in enumerate(zip(scans, waiting)):
            futures[0].result(), futures[1].result()
            note(f"{number + 1} of {len(scans)}: {name_of(scan.path)}")
        note(f"Tesseract and OCRmyPDF took {time.monotonic() - started:.0f} s; now Tika")
    by_tika = read_by_tika(scans, material) if peers.TIKA else None
    for number, (scan, futures) in enumerate(zip(scans, waiting)):
        texts = [future.result() for future in futures]
        texts.append(None if by_tika is None else by_tika.get(number, ""))
        table.add(scan_row(scan, reading, texts))
    return [table]


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(CORPUS)) if path.is_relative_to(CORPUS) else f"generated {path.name}"


def scan_row(scan: Scan, reading: reader.Reading, texts: list[str | None]) -> Row:
    """The bar is about Tesseract and OCRmyPDF; Tika's figures stand beside."""
    ours = measured(scan, reading.text(scan.path))
    theirs = [None if text is None else measured(scan, text) for text in texts]
    rivals = [figures[0] for figures in theirs[:2] if figures is not None]
    met = all(ours[0] <= scan.share * rate + EPSILON for rate in rivals) if rivals else None
    remark = "; ".join(filter(None, (reading.outcome(scan.path), scan.remark)))
    peers_shown = [shown(figures, ours) for figures in theirs]
    return Row(name_of(scan.path), shown(ours, ours), peers_shown, f"≤ {scan.share:.1f} × both", met, remark)
