"""What the parts of bench.sh share: the table of rows, and the daemon with a queue, buckets and an index of its own."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Sequence

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts" / "testbed"))
import aws as aws_calls  # noqa: E402

BINARY = os.environ["FILE_PROCESSOR_WORKER"]
WORKERS = 2
ROWS: list[tuple[str, str, str, str, str, str]] = []


def row(what: str, ours: str, theirs: str = "", ratio: str = "", bar: str = "", met: bool | None = None) -> None:
    ROWS.append((what, ours, theirs, ratio, bar, "" if met is None else "met" if met else "MISSED"))
    print(f"bench: {what}: {ours} {theirs} {ratio}", file=sys.stderr)


def publish(markdown: str) -> None:
    """Prints it, and adds it to the file BENCH_MARKDOWN."""
    print(markdown, flush=True)
    if file := os.environ.get("BENCH_MARKDOWN"):
        with open(file, "a") as out:
            print(markdown + "\n", file=out)


def publish_picture(name: str, svg: str) -> None:
    """Into the folder BENCH_PICTURES, if one is named."""
    if folder := os.environ.get("BENCH_PICTURES"):
        (pathlib.Path(folder) / f"{name}.svg").write_text(svg)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns are as wide as their widest cell, so that it is read as well as it is pasted."""
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]

    def shown(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return "\n".join([shown(head), "|" + "---|" * len(head), *map(shown, lines)])


def table() -> None:
    publish(markdown_table(("what", "ours", "other", "ratio", "bar", ""), ROWS))


def aws(*arguments: str, stdin: bytes | None = None) -> str:
    answer = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts/testbed/aws.py"), *arguments], input=stdin, check=True, capture_output=True
    )
    return answer.stdout.decode().strip()


def free_port() -> int:
    """Nobody listens on it now: a second run must not read the figures of the first."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class World:
    """A queue, buckets and an index of one's own, and the daemon's environment."""

    def __init__(self, visibility: int = 600, variables: dict[str, str] | None = None) -> None:
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        for bucket in (self.name, f"{self.name}-thumbnails"):
            aws("create-bucket", bucket)
        self.queue = aws("create-queue", self.name, "--dlq", f"{self.name}-dlq", "--visibility", str(visibility))
        self.temp = tempfile.mkdtemp(prefix="bench-", dir="/var/tmp")
        self.status_port = free_port()
        self.environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_SQS": os.environ["TESTBED_SQS_ENDPOINT"],
            "AWS_ENDPOINT_URL_S3": os.environ["TESTBED_S3_ENDPOINT"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "SQS_QUEUE_URL": self.queue, "S3_BUCKET": self.name, "S3_THUMBNAIL_BUCKET": f"{self.name}-thumbnails",
            "OPENSEARCH_ENDPOINT": os.environ["TESTBED_OPENSEARCH_ENDPOINT"], "OPENSEARCH_INDEX": self.name,
            "OPENSEARCH_USERNAME": "bench", "OPENSEARCH_PASSWORD": "bench",
            "MAX_WORKERS": str(WORKERS), "TEMP_DIR": self.temp, "STATUS_ADDRESS": f"127.0.0.1:{self.status_port}",
            # Scans of a thousand pages are larger than a PDF may usually be.
            "MAX_PDF_SIZE_MB": "1000", "LOG_LEVEL": "WARN",
            **(variables or {}),
        }
        subprocess.run([BINARY, "--create-index"], env=self.environment, check=True, capture_output=True)

    def start(self) -> tuple[subprocess.Popen, float]:
        """The daemon and the seconds until it was ready."""
        started = time.monotonic()
        daemon = subprocess.Popen([BINARY], env=self.environment)
        while not self.is_ready():
            if daemon.poll() is not None:
                sys.exit("bench: the daemon ended before it was ready")
            time.sleep(0.01)
        return daemon, time.monotonic() - started

    def metrics(self) -> dict[str, float]:
        """The sums over all labels, by name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        sums: dict[str, float] = {}
        for line in lines:
            if line and not line.startswith("#"):
                name = line.split(" ", 1)[0].split("{", 1)[0]
                sums[name] = sums.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
        return sums

    def metric(self, name: str) -> float:
        """The sum over all labels."""
        return self.metrics().get(name, 0.0)

    def visible(self) -> int:
        attributes = dict(line.split("=", 1) for line in aws("queue-attributes", self.queue).splitlines())
        return int(attributes["ApproximateNumberOfMessages"])

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def opensearch(self, path: str) -> dict:
        with urllib.request.urlopen(f"{self.environment['OPENSEARCH_ENDPOINT']}/{path}", timeout=30) as answer:
            return json.load(answer)

    def count(self) -> int:
        self.opensearch(f"{self.name}/_refresh")
        return self.opensearch(f"{self.name}/_count")["count"]

    def close(self) -> None:
        shutil.rmtree(self.temp, ignore_errors=True)


def stop(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    daemon.wait(timeout=120)
