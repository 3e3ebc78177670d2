"""The part `search`: the daemon indexes every document with truth through real SQS, S3 and OpenSearch (kuromoji), and a
`match` asks for words of the truth. The truth itself, indexed as it is, says what the analyzer allows."""
import json
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
            lines += ["{}", json.dumps({"size": 0, "query": {"bool": {"must": [match], "filter": [{"ids": {"values": [key]}}]}}})]
        answers = self.call("POST", "/_msearch", "\n".join(lines) + "\n")["responses"]
        return [answer["hits"]["total"]["value"] == 1 for answer in answers]

    def documents(self) -> int:
        self.call("POST", "/_refresh")
        return self.call("GET", "/_count")["count"]


def run(material: Material) -> list[Table]:
    # Here, since the module wants the servers' environment.
    from world import World, aws, stop

    subjects = []
    for number, (path, truth) in enumerate(material.texts.items()):
        subjects.append((f"{PREFIX}{number}/{path.name}", path, truth, TEXT_BAR))
    for number, scan in enumerate(material.scans, len(subjects)):
        subjects.append((f"{PREFIX}{number}/{scan.path.name}", scan.path, scan.truth, SCAN_BAR))
    world = World()
    index = Index(world.environment["OPENSEARCH_ENDPOINT"], world.environment["OPENSEARCH_INDEX"])
    note(f"sending {len(subjects)} documents to the daemon")
    for key, path, truth, _ in subjects:
        index.put_truth(key, truth)
        aws("put-object", world.name, key, str(path))
        aws("send-message", world.queue, json.dumps({"key": key}))
    daemon, _ = world.start()
    try:
        wait_for(index, 2 * len(subjects))
    finally:
        stop(daemon)
    table = Table(TITLE, ["the truth itself"])
    for key, path, truth, bar in subjects:
        name = str(path.relative_to(material.folder / "texts")) if bar == TEXT_BAR else name_of(path)
        table.add(search_row(index, key, name, query_words(truth, WORDS, path.name), bar))
    index.call("DELETE", "")
    world.close()
    return [table]


def wait_for(index: Index, count: int) -> None:
    deadline = time.monotonic() + INDEXING_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        there = index.documents()
        if there >= count:
            return
        time.sleep(2)
    note(f"only {there} of {count} documents (truths included) are in the index after {INDEXING_TIMEOUT_SECONDS} s")


def search_row(index: Index, key: str, name: str, words: list[str], bar: float) -> Row:
    ours, ideal = index.found(key, words), index.found(TRUTH_PREFIX + key, words)
    share, ideal_share = sum(ours) / max(1, len(words)), sum(ideal) / max(1, len(words))
    missed = [word for word, hit in zip(words, ours) if not hit]
    remark = f"{len(words)} words"
    if missed:
        remark += "; not found: " + " ".join(missed[:MISSES_SHOWN]) + (" …" if len(missed) > MISSES_SHOWN else "")
    peer = f"{ideal_share:.3f}" + (BETTER if ideal_share > share else "")
    return Row(name, f"{share:.3f}", [peer], f"≥ {bar:.2f}", share >= bar, remark)
