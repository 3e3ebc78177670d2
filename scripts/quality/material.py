"""What is measured: the corpus' files with truth, and what is generated, made once in a run and shared by its parts."""
import dataclasses
import functools
import os
import pathlib
import tempfile

import documents
import office
from report import note

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
CORPUS = pathlib.Path(os.environ.get("CORPUS_DIR", REPOSITORY.parent / "shared" / "corpus"))
PEER_SHARE = 1.0
# Of a peer's error rate, on what peers are known to be bad at.
HALF = 0.5


@dataclasses.dataclass
class Scan:
    """A file with its truth; ours may have this share of each peer's error rate."""
    path: pathlib.Path
    truth: str
    share: float = PEER_SHARE
    remark: str = ""
    # What the peers that read no documents get instead of a document with a picture.
    picture: pathlib.Path | None = None


# Below corpus/: the file, its truth, and by how much of a peer's error rate ours may be.
CORPUS_SCANS = [
    ("ja/handbook-a.pdf", "ja/handbook-a.txt", PEER_SHARE),
    ("ja/handbook-b.pdf", "ja/handbook-b.txt", PEER_SHARE),
    ("ja/handbook-c.pdf", "ja/handbook-c.txt", PEER_SHARE),
    ("ja/handbook-text.pdf", "ja/handbook-text.txt", PEER_SHARE),
    ("ja/vertical.png", "ja/vertical.txt", HALF),
    ("ja/invoice.png", "ja/invoice.txt", PEER_SHARE),
    ("images/linn.png", "images/linn.txt", PEER_SHARE),
]
# The pages of hybrid.pdf are these, counted from 0: text, a scan, text.
HYBRID = ("ja/hybrid.pdf", [("ja/handbook-text.txt", 0), ("ja/handbook-b.txt", 0), ("ja/handbook-text.txt", 1)])


class Material:
    """Everything below one folder, which close() removes."""

    def __init__(self) -> None:
        # Not /tmp, which may be RAM.
        self.folder_handle = tempfile.TemporaryDirectory(prefix="quality-", dir="/var/tmp")
        self.folder = pathlib.Path(self.folder_handle.name)

    def close(self) -> None:
        self.folder_handle.cleanup()

    @functools.cached_property
    def texts(self) -> dict[pathlib.Path, str]:
        """Generated documents that hold their text; the truth by path."""
        note("writing documents")
        folder = self.folder / "texts"
        (folder / "libreoffice").mkdir(parents=True)
        truths = documents.write_all(folder)
        if office.is_available():
            truths.update(office.write_all(folder / "libreoffice"))
        else:
            note("no LibreOffice here: its formats are left out")
        return truths

    @functools.cached_property
    def scans(self) -> list[Scan]:
        """The corpus' files with truth, then the generated scans."""
        return corpus_scans() + self.made_scans

    @functools.cached_property
    def made_scans(self) -> list[Scan]:
        if not office.is_available():
            note("no LibreOffice here: generated scans are left out")
            return []
        try:
            import pages
        except ImportError as error:
            note(f"generated scans are left out: {error}")
            return []
        note("rendering scans")
        return pages.write_all(self.folder / "scans")


def corpus_scans() -> list[Scan]:
    scans = [
        Scan(CORPUS / name, (CORPUS / truth).read_text(), share)
        for name, truth, share in CORPUS_SCANS if (CORPUS / name).exists() and (CORPUS / truth).exists()
    ]
    hybrid, parts = HYBRID
    if (CORPUS / hybrid).exists():
        truth = "\n".join((CORPUS / name).read_text().split("\f")[page] for name, page in parts)
        scans.append(Scan(CORPUS / hybrid, truth, HALF))
    if not scans:
        note(f"no corpus at {CORPUS}: its scans are left out")
    return scans
