"""How much memory the daemon and its children have while work goes on: a long scan, many messages, many pages in one child."""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import growth
from contestants import PLAIN, page_count
from long_scan import unite
from picture import curves
from processes import children_of, peak_megabytes, resident_megabytes
from world import BINARY, World, aws_calls, publish_picture, row, stop

POLL_SECONDS = 0.25
PARENT_LIMIT, CHILD_LIMIT = 64, 300
LIMITS = {"parent's bar": PARENT_LIMIT, "a child's bar": CHILD_LIMIT}
# Of a curve before it is drawn: more are not seen.
POINTS_DRAWN = 400


@dataclasses.dataclass
class Sample:
    done: float
    parent: float
    # The largest of the children.
    child: float


class Record:
    """Resident memory, in MiB, over the work that is done."""

    def __init__(self, parent_pid: int) -> None:
        self.parent_pid = parent_pid
        self.samples: list[Sample] = []
        self.parent_peak = self.child_peak = 0.0
        self.children_seen: set[int] = set()

    def take(self, done: float) -> None:
        children = children_of(self.parent_pid)
        self.children_seen.update(children)
        sample = Sample(done, resident_megabytes(self.parent_pid), max([0.0, *map(resident_megabytes, children)]))
        if sample.parent == 0:  # it has just ended
            return
        self.samples.append(sample)
        self.parent_peak = max(self.parent_peak, peak_megabytes(self.parent_pid))
        self.child_peak = max([self.child_peak, *map(peak_megabytes, children)])

    def at(self, done: float) -> Sample:
        return next((sample for sample in self.samples if sample.done >= done), self.samples[-1])

    def peaks(self, during: str) -> None:
        """Rows with their bars."""
        parent, child = self.parent_peak, self.child_peak
        row(f"parent's peak resident memory, {during}", f"{parent:.0f} MiB", "", "", f"≤ {PARENT_LIMIT} MiB", parent <= PARENT_LIMIT)
        row(f"a child's peak resident memory, {during}", f"{child:.0f} MiB", "", "", f"≤ {CHILD_LIMIT} MiB", child <= CHILD_LIMIT)

    def draw(self, name: str, title: str, x_label: str) -> None:
        drawn = self.samples[::max(1, len(self.samples) // POINTS_DRAWN)]
        series = {
            "parent": [(sample.done, sample.parent) for sample in drawn],
            "largest child": [(sample.done, sample.child) for sample in drawn],
        }
        publish_picture(name, curves(title, x_label, series, LIMITS))

    def child_growth(self) -> float:
        """KiB a piece of work, by least squares over the second half: the first is warming up."""
        half = [sample for sample in self.samples if sample.done >= self.samples[-1].done / 2]
        mean_x = sum(sample.done for sample in half) / len(half)
        mean_y = sum(sample.child for sample in half) / len(half)
        spread = sum((sample.done - mean_x) ** 2 for sample in half)
        return 1024 * sum((sample.done - mean_x) * (sample.child - mean_y) for sample in half) / spread if spread else 0.0


def progress(what: str, done: float, of: int, started: float) -> None:
    print(f"bench: {what}: {done:.0f} of {of}, {time.monotonic() - started:.0f} s", file=sys.stderr)


def watch(world: World, record: Record, metric: str, documents: int, of: int) -> None:
    """Until so many documents are done; `metric` is what the memory is drawn over."""
    started = said = time.monotonic()
    while True:
        metrics = world.metrics()
        done = metrics.get(metric, 0.0)
        record.take(done)
        if metrics.get("file_processor_documents_total", 0.0) >= documents:
            return
        if time.monotonic() - said > 60:
            said = time.monotonic()
            progress(metric, done, of, started)
        time.sleep(POLL_SECONDS)


def long_scan(handbooks: list[pathlib.Path], pages: int) -> None:
    world = World()
    per_round = sum(map(page_count, handbooks))
    scan = unite(handbooks * -(-pages // per_round), pathlib.Path(world.temp) / "scan.pdf")
    # A document may have 1,000 pages; the blank ones are not read by OCR.
    pages = min(page_count(scan), 1_000)
    aws_calls.s3("PUT", world.name, "scan.pdf", body=scan.read_bytes())
    scan.unlink()
    daemon, _ = world.start()
    record = Record(daemon.pid)
    aws_calls.sqs("SendMessage", QueueUrl=world.queue, MessageBody=json.dumps({"key": "scan.pdf"}))
    started = time.monotonic()
    watch(world, record, "file_processor_pages_recognized_total", 1, pages)
    took = time.monotonic() - started
    replaced = world.metric("file_processor_children_replaced_total")
    stop(daemon)
    world.count()
    document = world.opensearch(f"{world.name}/_doc/scan.pdf")["_source"]
    if document["pages_ocr"] < pages * 0.8:
        sys.exit(f"bench: only {document['pages_ocr']} of {pages} pages were read: {document['error_message']}")
    record.peaks(f"{pages}-page scan")
    row("  children replaced meanwhile", f"{replaced:.0f}")
    row(f"{pages}-page scan through the daemon", f"{pages / took:.2f} pages/s")
    record.draw("memory-scan", f"Resident memory over a scan of {pages} pages, MiB", "pages read by OCR")
    world.close()


def messages(count: int) -> None:
    world = World()
    filling = growth.TEXT_LINE * (growth.TEXT_BYTES // len(growth.TEXT_LINE.encode()))
    print(f"bench: putting {count} texts into the store and their messages into the queue", file=sys.stderr)
    keys = [f"texts/{number}.txt" for number in range(count)]
    growth.in_parallel(lambda key: aws_calls.s3("PUT", world.name, key, body=f"{key}\n{filling}".encode()), keys)
    growth.send_all(world, keys)
    daemon, _ = world.start()
    record = Record(daemon.pid)
    watch(world, record, "file_processor_documents_total", count, count)
    stop(daemon)
    found = world.count()
    if found < count:
        sys.exit(f"bench: {found} of {count} documents are in the index")
    for done in [10**power for power in range(2, 7) if 10**power < count] + [count]:
        sample = record.at(done)
        row(f"parent's and a child's resident memory after {sample.done:.0f} messages", f"{sample.parent:.0f}, {sample.child:.0f} MiB")
    record.peaks(f"{count} messages")
    record.draw("memory-messages", f"Resident memory over {count:,} messages, MiB", "texts of 5 KB, documents done")
    world.close()


def repeated(files: list[pathlib.Path], pages: int, folder: pathlib.Path) -> str:
    """A folder in which all files are found again and again, often enough for so many pages."""
    copies = [pathlib.Path(shutil.copy(file, folder / f"{number}-{file.name}")) for number, file in enumerate(files)]
    rounds = folder / "rounds"
    for number in range(-(-pages // len(files))):
        (rounds / f"{number:06}").mkdir(parents=True)
        for copy in copies:
            os.link(copy, rounds / f"{number:06}" / copy.name)
    return str(rounds)


def soak(files: list[pathlib.Path], pages: int) -> None:
    """One child that is not replaced for the pages it has read. The mark of 300 MiB stays, and shows as a second child."""
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryDirectory(prefix="soak-", dir="/var/tmp") as folder:
        process = subprocess.Popen(
            [BINARY, "extract", "--json", repeated(files, pages, pathlib.Path(folder))], stdout=subprocess.PIPE, stderr=complaints,
            env={**PLAIN, "MAX_WORKERS": "1", "CHILD_MAX_PAGES": str(max(pages * 2, 1_000))},
        )
        record, read, started, said = Record(process.pid), 0, time.monotonic(), time.monotonic()
        for line in process.stdout:
            read += json.loads(line)["pages_ocr"] or 0
            record.take(read)
            if read >= pages:
                break
            if time.monotonic() - said > 60:
                said = time.monotonic()
                progress("pages in one child", read, pages, started)
        process.terminate()
        process.wait(timeout=60)
        if read < pages:
            complaints.seek(0)
            sys.exit(f"bench: only {read} of {pages} pages were read: {complaints.read().decode(errors='replace')[-2000:]}")
    for share in (0.01, 0.1, 0.25, 0.5, 1.0):
        sample = record.at(share * read)
        row(f"a child's resident memory after {sample.done:.0f} pages", f"{sample.child:.0f} MiB")
    at_replacement = record.at(500)
    if read > 500:
        row("  where CHILD_MAX_PAGES replaces it by default", f"{at_replacement.child:.0f} MiB", "", "", f"≤ {CHILD_LIMIT} MiB",
            at_replacement.child <= CHILD_LIMIT)
    row("  its growth over the second half", f"{record.child_growth():.2f} KiB/page")
    row("  children that it took (1: none had to be replaced at 300 MiB)", str(len(record.children_seen)))
    record.peaks(f"{read} pages in one child, {time.monotonic() - started:.0f} s")
    record.draw("memory-soak", f"Resident memory of one child over {read:,} pages, MiB", "pages read by OCR")
