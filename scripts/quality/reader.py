"""Our reader: `file-processor-worker extract --json` on files, watched from outside."""
import collections
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
import time

from processes import children_of, peak_megabytes

BINARY = os.environ["FILE_PROCESSOR_WORKER"]
POLL_SECONDS = 0.2
DEFAULT_TIMEOUT_SECONDS = 900


@dataclasses.dataclass
class Reading:
    """The documents by path as given, and how the process fared."""
    documents: dict[str, dict]
    exit_code: int | None  # None: it did not end in time and was killed
    child_peak_megabytes: float
    seconds: float

    def text(self, path: pathlib.Path) -> str:
        return self.documents.get(str(path), {}).get("extracted_text") or ""

    def outcome(self, path: pathlib.Path) -> str:
        """What is to be said about a file: nothing when all went well."""
        document = self.documents.get(str(path))
        if document is None:
            return "no answer"
        return document.get("reason") or ""


def extract(paths: list[pathlib.Path], timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Reading:
    """Reads files, and folders with all that is below them."""
    started = time.monotonic()
    peak, exit_code = 0.0, None
    with tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(
            [BINARY, "extract", "--json", *map(str, paths)], stdout=answer, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
        try:
            while exit_code is None and time.monotonic() - started < timeout_seconds:
                peak = max([peak, *map(peak_megabytes, children_of(process.pid))])
                time.sleep(POLL_SECONDS)
                exit_code = process.poll()
        finally:
            if exit_code is None:
                process.kill()
                process.wait()
        answer.seek(0)
        documents = parsed(answer.read().decode(errors="replace"))
    return Reading(documents, exit_code, peak, time.monotonic() - started)


def parsed(lines: str) -> dict[str, dict]:
    """The documents by key; a last line that was cut off is none."""
    documents = {}
    for line in lines.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        documents[document["file_key"]] = document
    return documents


def outcome_of(document: dict) -> str:
    """The outcome with its reason; "" where there is none."""
    return "/".join(filter(None, (document.get("outcome"), document.get("reason"))))


def outcomes(documents: dict[str, dict]) -> collections.Counter[str]:
    return collections.Counter(outcome_of(document) for document in documents.values())
