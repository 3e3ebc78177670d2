"""The part `search`: the daemon indexes every document with truth through real SQS, S3 and OpenSearch (kuromoji), and a
`match` asks for words of the truth. The truth itself, indexed as it is, says what the analyzer allows."""
import dataclasses
import json
import pathlib
import subprocess
import time
import urllib.parse
import urllib.request

from material import Material
from measures import query_words
from report import BETTER, Row, Table, note
from scans import name_of

TITLE = "Search: share of words of the truth that a match on extracted_text finds in the document"
WORDS = 50
TEXT_BAR, SCAN_BAR = 0.97, 0.90
INDEXING_TIMEOUT_SECONDS = 900
PREFIX = "documents/road/ts-server3/quality/"
TRUTH_PREFIX = "truth/"
MISSES_SHOWN = 6


class Index:
    """One index of OpenSearch."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint, self.name = endpoint, name

    def call(self, method: str, path: str, body: str | None = None) -> dict:
        request = urllib.request.Request(
            f"{self.endpoint}/{self.name}{path}", method=method, data=None if body is None else body.encode(),
            headers={"Content-Type": "application/x-ndjson" if path == "/_msearch" else "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def put_truth(self, key: str, text: str) -> None:
        path = "/_doc/" + urllib.parse.quote(TRUTH_PREFIX + key, safe="")
        self.call("PUT", path, json.dumps({"extracted_text": text}))

    def found(self, key: str, words: list[str]) -> list[bool]:
        """Of each word, whether a match finds the document."""
        lines = []
        for word in words:
            match = {"match": {"extracted_text": {"query": word, "operator": "and"}}}
            one_document = {"ids": {"values": [key]}}
            lines += ["{}", json.dumps({"size": 0, "query": {"bool": {"must": [match], "filter": [one_document]}}})]
        answers = self.call("POST", "/_msearch", "\n".join(lines) + "\n")["responses"]
        return [answer["hits"]["total"]["value"] == 1 for answer in answers]

    def documents(self) -> int:
        self.call("POST", "/_refresh")
        return self.call("GET", "/_count")["count"]


@dataclasses.dataclass
class Subject:
    """A document that is searched for, and the share of words that must find it."""
    key: str
    name: str
    path: pathlib.Path
    truth: str
    bar: float


def subjects_of(material: Material) -> list[Subject]:
    texts = material.texts.items()
    listed = [(path, str(path.relative_to(material.folder / "texts")), truth, TEXT_BAR) for path, truth in texts]
    listed += [(scan.path, name_of(scan.path), scan.truth, SCAN_BAR) for scan in material.scans]
    return [
        Subject(f"{PREFIX}{number}/{path.name}", name, path, truth, bar)
        for number, (path, name, truth, bar) in enumerate(listed)
    ]


def run(material: Material) -> list[Table]:
    # Here, since the module wants the servers' environment.
    from world import World, aws, stop

    subjects = subjects_of(material)
    world = World()
    index = Index(world.environment["OPENSEARCH_ENDPOINT"], world.environment["OPENSEARCH_INDEX"])
    table = Table(TITLE, ["the truth itself"])
    try:
        note(f"sending {len(subjects)} documents to the daemon")
        for subject in subjects:
            index.put_truth(subject.key, subject.truth)
            aws("put-object", world.name, subject.key, str(subject.path))
            aws("send-message", world.queue, json.dumps({"key": subject.key}))
        daemon, _ = world.start()
        try:
            wait_for(index, 2 * len(subjects), daemon)
        finally:
            stop(daemon)
        for subject in subjects:
            table.add(search_row(index, subject))
    finally:
        index.call("DELETE", "")
        world.close()
    return [table]


def wait_for(index: Index, count: int, daemon: subprocess.Popen) -> None:
    """Until so many documents are there, the daemon ends, or the time is over: what is missing is then not found."""
    deadline = time.monotonic() + INDEXING_TIMEOUT_SECONDS
    while (there := index.documents()) < count:
        if time.monotonic() > deadline or daemon.poll() is not None:
            note(f"only {there} of {count} documents, truths included, are in the index")
            return
        time.sleep(2)


def search_row(index: Index, subject: Subject) -> Row:
    words = query_words(subject.truth, WORDS, subject.name)
    ours, ideal = index.found(subject.key, words), index.found(TRUTH_PREFIX + subject.key, words)
    share, ideal_share = sum(ours) / max(1, len(words)), sum(ideal) / max(1, len(words))
    missed = [word for word, hit in zip(words, ours) if not hit]
    remark = f"{len(words)} words"
    if missed:
        remark += "; not found: " + " ".join(missed[:MISSES_SHOWN]) + (" …" if len(missed) > MISSES_SHOWN else "")
    peer = f"{ideal_share:.3f}" + (BETTER if ideal_share > share else "")
    return Row(subject.name, f"{share:.3f}", [peer], f"≥ {subject.bar:.2f}", share >= subject.bar, remark)
