"""The part `texts`: how much of a document's own text is found, and how much of what is found is the document's."""
import os
import pathlib

import peers
import reader
from material import Material
from measures import recall_and_precision
from report import BETTER, Row, Table, note

TITLE = "Documents: recall / precision of character bigrams"
RECALL_BAR = 0.99
EPSILON = 1e-9
REMARKS = {
    "html": "LibreOffice writes neither comment nor text box into a web page",
    "eml": "headers count; those that Tika has as metadata are given to it",
    "pdf": "what is printed",
}


def run(material: Material) -> list[Table]:
    table = Table(TITLE, ["Tika"])
    truths = material.texts
    note(f"reading {len(truths)} documents")
    reading = reader.extract(list(truths))
    note(f"ours took {reading.seconds:.0f} s; now Tika")
    folder = pathlib.Path(os.path.commonpath(truths))
    by_tika = peers.tika(folder)
    for path, truth in truths.items():
        theirs = None if by_tika is None else by_tika.get(path, "")
        table.add(text_row(path, str(path.relative_to(folder)), truth, reading, theirs))
    return [table]


def text_row(path: pathlib.Path, name: str, truth: str, reading: reader.Reading, theirs: str | None) -> Row:
    recall, precision = recall_and_precision(truth, reading.text(path))
    bar, met, peer = f"recall ≥ {RECALL_BAR}", recall >= RECALL_BAR, "–"
    if theirs is not None:
        peer_recall, peer_precision = recall_and_precision(truth, theirs)
        better = peer_recall > recall + EPSILON
        peer = f"{peer_recall:.3f} / {peer_precision:.3f}" + (BETTER if better else "")
        bar, met = f"{bar}, ≥ Tika", met and not better
    kind = path.suffix.lstrip(".")
    remark = REMARKS.get(kind, "") if kind != "html" or path.parent.name == "libreoffice" else ""
    remark = "; ".join(filter(None, (reading.outcome(path), remark)))
    return Row(name, f"{recall:.3f} / {precision:.3f}", [peer], bar, met, remark)
