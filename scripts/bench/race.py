"""The race: the same scanned pages through the old way, its repair, two peers, the bare engine and ours, in turn, several
rounds. For each: pages a second, processor seconds a page, memory, character error rate, F1 of character bigrams."""
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import growth
from busy import BusyWatch
from cer import errors_and_length
from contestants import WORKERS, page_count
from picture import bars
from processes import children_cpu_seconds, children_of, cpu_seconds, family_megabytes
from world import REPOSITORY, World, aws_calls, markdown_table, publish, publish_picture

sys.path.insert(0, str(REPOSITORY / "scripts" / "quality"))
from measures import bigram_f1  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Warm readers are given the pages several times, so that their start weighs as little as on a full queue.
REPEATS = 10
POLL_SECONDS = 0.1
BUSY_BAR = 0.97
# A page of which a smaller share is darker than grey is blank.
BLANK_SHARE = 0.0005
DARK = bytes(range(128))
END_TO_END_PATIENCE_SECONDS = 900
WARM_UP_TEXTS = 3_000


@dataclasses.dataclass
class Entry:
    name: str
    label: str
    contestant: str
    repeats: int = 1
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    needs: str = ""
    # Leaves out blank pages, which cost the bare engine much and ours next to nothing.
    without_blank: bool = False


@dataclasses.dataclass
class Run:
    pages_a_second: float
    cpu_seconds_a_page: float
    peak_megabytes: float
    error_rate: float | None = None
    f1: float | None = None
    # Of the time from the first request to the last answer: how much the children had a request in hand.
    busy_share: float | None = None
    # The children's processor time over that of all cores, from the first message to the last document.
    cpu_share: float | None = None


NO_VNNI = {"DOTPRODUCT": "avx2"}
ENTRIES = [
    Entry("a", "a process a page, default OpenMP, 4 at once", "python_worker"),
    Entry("b", "a process a page, one thread, one a core", "done_right"),
    Entry("c", "OCRmyPDF --jobs 2 --sidecar", "ocrmypdf", needs="PEERS_PYTHON"),
    Entry("d", "Apache Tika with Tesseract, one thread", "tika", needs="TIKA_APP_JAR"),
    Entry("e", "bare engine of ours, one warm a core", "raw_engine", REPEATS, needs="ENGINE_PAGES"),
    Entry("e*", "bare engine, without the blank pages", "raw_engine", REPEATS, needs="ENGINE_PAGES", without_blank=True),
    Entry("f", "ours, extract", "extract", REPEATS),
    Entry("e'", "bare engine, without AVX-512 VNNI", "raw_engine", REPEATS, NO_VNNI, "ENGINE_PAGES"),
    Entry("f'", "ours, extract, without AVX-512 VNNI", "extract", REPEATS, NO_VNNI),
]
END_TO_END = Entry("g", "ours, SQS → S3 → OpenSearch", "end_to_end", REPEATS)


def accuracy(texts: dict[str, str], truths: dict[str, str]) -> tuple[float, float]:
    counts = [errors_and_length(truth, texts.get(name, "")) for name, truth in truths.items()]
    scores = [bigram_f1(truth, texts.get(name, "")) for name, truth in truths.items()]
    return sum(errors for errors, _ in counts) / sum(length for _, length in counts), statistics.mean(scores)


def run(entry: Entry, material: pathlib.Path, pages: int, truths: dict[str, str]) -> Run:
    with tempfile.TemporaryDirectory(prefix="race-", dir="/var/tmp") as work:
        folder, answer = pathlib.Path(work) / "work", pathlib.Path(work) / "answer.json"
        shutil.copytree(material, folder)
        if entry.without_blank:
            blank = blank_pages(folder)
            for page in blank:
                page.unlink()
            pages -= len(blank)
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(HERE / "contestants.py"), entry.contestant, str(folder), str(answer)],
            env={**os.environ, "RACE_REPEATS": str(entry.repeats), **entry.environment},
        )
        peak, ended = 0.0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(POLL_SECONDS):
                peak = max(peak, sum(map(family_megabytes, children_of(process.pid))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
        if process.returncode:
            sys.exit(f"bench: {entry.label} failed")
        texts = json.loads(answer.read_text())
    read = pages * entry.repeats
    rate, f1 = accuracy(texts, truths) if texts else (None, None)
    return Run(read / took, (usage.ru_utime + usage.ru_stime) / read, peak, rate, f1)


def end_if_late(started: float) -> None:
    if time.monotonic() - started > END_TO_END_PATIENCE_SECONDS:
        sys.exit(f"bench: the daemon did not index everything within {END_TO_END_PATIENCE_SECONDS} s")


class EndToEnd:
    """A daemon that waits, and scans that come through the queue. Every one has bytes of its own."""

    def __init__(self, scans: list[pathlib.Path]) -> None:
        self.world = World(variables={"REUSE_SAME_CONTENT": "false"})
        self.scans = scans
        self.daemon, _ = self.world.start()
        self.done = 0
        self.warm_up()

    def warm_up(self) -> None:
        """The servers' JVMs compile what they run before anybody is timed: a queue of scans in production meets warm ones."""
        bodies = growth.text_bodies(WARM_UP_TEXTS)
        growth.put_all(self.world, bodies)
        growth.send_all(self.world, list(bodies))
        started = time.monotonic()
        while self.world.metric("file_processor_documents_total") < len(bodies):
            end_if_late(started)
            time.sleep(POLL_SECONDS)
        self.done = len(bodies)

    def run(self, pages: int, truths: dict[str, str], number: int) -> Run:
        keys = []
        for copy in range(REPEATS):
            for scan in self.scans:
                key = f"round-{number}/{copy}/{scan.name}"
                # After the end of a PDF anything may stand.
                aws_calls.s3("PUT", self.world.name, key, body=scan.read_bytes() + f"\n%{key}\n".encode())
                keys.append(key)
        watch = BusyWatch(self.world)
        cpu, children_cpu = cpu_seconds(self.daemon.pid)[0], children_cpu_seconds(self.daemon.pid)
        started = time.monotonic()
        for key in keys:
            aws_calls.sqs("SendMessage", QueueUrl=self.world.queue, MessageBody=json.dumps({"key": key}))
        self.done += len(keys)
        peak = 0.0
        while watch.look() < self.done:
            end_if_late(started)
            peak = max(peak, family_megabytes(self.daemon.pid))
            watch.pause()
        took = time.monotonic() - started
        cpu_after, children_cpu_after = cpu_seconds(self.daemon.pid)[0], children_cpu_seconds(self.daemon.pid)
        read = pages * REPEATS
        rate, f1 = accuracy(self.texts(number), truths)
        cpu, children_cpu = cpu_after - cpu, children_cpu_after - children_cpu
        return Run(read / took, (cpu + children_cpu) / read, peak, rate, f1, watch.share(), children_cpu / (took * WORKERS))

    def texts(self, number: int) -> dict[str, str]:
        self.world.count()
        texts = {}
        for scan in self.scans:
            query = f"{self.world.name}/_search?q=file_key:%22round-{number}/0/{scan.name}%22&_source=extracted_text"
            texts[scan.stem] = self.world.opensearch(query)["hits"]["hits"][0]["_source"]["extracted_text"]
        return texts

    def close(self) -> None:
        self.daemon.terminate()
        self.daemon.wait(timeout=120)
        self.world.close()


def prepare(material: pathlib.Path, handbooks: list[pathlib.Path]) -> None:
    (material / "scans").mkdir(parents=True)
    (material / "pages").mkdir()
    for handbook in handbooks:
        shutil.copy(handbook, material / "scans")
        subprocess.run(["pdftoppm", "-r", "300", "-gray", str(handbook), str(material / "pages" / handbook.stem)], check=True)


def blank_pages(material: pathlib.Path) -> list[pathlib.Path]:
    def is_blank(page: pathlib.Path) -> bool:
        pixels = page.read_bytes()
        return len(pixels) - len(pixels.translate(None, DARK)) < BLANK_SHARE * len(pixels)

    return list(filter(is_blank, (material / "pages").iterdir()))


def race(handbooks: list[pathlib.Path], rounds: int) -> None:
    truths = {handbook.stem: handbook.with_suffix(".txt").read_text() for handbook in handbooks}
    pages = sum(map(page_count, handbooks))
    entries = [entry for entry in ENTRIES if not entry.needs or os.environ.get(entry.needs)]
    for entry in ENTRIES:
        if entry not in entries:
            print(f"bench: {entry.label}: not to be had here, left out", file=sys.stderr)
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="race-", dir="/var/tmp") as folder:
        material = pathlib.Path(folder) / "material"
        prepare(material, handbooks)
        blank = len(blank_pages(material))
        end_to_end = EndToEnd(sorted((material / "scans").iterdir()))
        for number in range(rounds):
            for entry in entries:
                note(entry, runs, run(entry, material, pages, truths))
            note(END_TO_END, runs, end_to_end.run(pages, truths, number))
        end_to_end.close()
    report([*entries, END_TO_END], runs, (pages - blank) / pages)


def note(entry: Entry, runs: dict[str, list[Run]], result: Run) -> None:
    runs.setdefault(entry.name, []).append(result)
    print(f"bench: ({entry.name}) {entry.label}: {result.pages_a_second:.2f} pages/s", file=sys.stderr)


def median(runs: list[Run], field: str) -> float | None:
    values = [getattr(one, field) for one in runs if getattr(one, field) is not None]
    return statistics.median(values) if values else None


def ratio(runs: dict[str, list[Run]], one: str, other: str) -> float | None:
    """The median of the rounds' own ratios: the machine is the same for both sides of one round."""
    if one not in runs or other not in runs:
        return None
    return statistics.median(a.pages_a_second / b.pages_a_second for a, b in zip(runs[one], runs[other]))


def shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def readers_table(entries: list[Entry], runs: dict[str, list[Run]]) -> str:
    lines = []
    for entry in entries:
        own = runs[entry.name]
        lines.append([
            entry.name, entry.label, shown(median(own, "pages_a_second"), 2), shown(ratio(runs, entry.name, "a"), 1),
            shown(median(own, "cpu_seconds_a_page"), 2), shown(median(own, "peak_megabytes"), 0),
            shown(median(own, "error_rate"), 4), shown(median(own, "f1"), 4),
        ])
    return markdown_table(["", "reader", "pages/s", "× (a)", "CPU s/page", "peak MiB", "error rate", "bigram F1"], lines)


def ratios_table(runs: dict[str, list[Run]], printed: float) -> str:
    lines = []
    for one, other, bar in [("f", "a", 15), ("f", "b", 3.5), ("f", "c", 3.5), ("f", "d", 3.5), ("g", "e", 0.95)]:
        value = ratio(runs, one, other)
        if value is not None:
            lines.append([f"({one}) / ({other})", f"{value:.2f}", f"≥ {bar}", verdict(value >= bar)])
    if (value := ratio(runs, "g", "e*")) is not None:
        lines.append(["(g) / (e*), pages that are not blank", f"{value * printed:.2f}", "≥ 0.95", verdict(value * printed >= 0.95)])
    for name in ("f", "g"):
        value = median(runs[name], "error_rate") / median(runs["a"], "error_rate")
        lines.append([f"error rate ({name}) / (a)", f"{value:.2f}", "≤ 0.8", verdict(value <= 0.8)])
    busy = median(runs["g"], "busy_share")
    lines += [
        ["busy share of the children in (g)", f"{busy:.3f}", f"≥ {BUSY_BAR}", verdict(busy >= BUSY_BAR)],
        ["the children's processor time of both cores in (g)", shown(median(runs["g"], "cpu_share"), 3), "", ""],
    ]
    return markdown_table(["ratio", "measured", "bar", ""], lines)


def report(entries: list[Entry], runs: dict[str, list[Run]], printed: float) -> None:
    """`printed`: the share of the pages that are not blank."""
    publish(f"{readers_table(entries, runs)}\n\n{ratios_table(runs, printed)}")
    speeds = [(f"({entry.name}) {entry.label}", median(runs[entry.name], "pages_a_second")) for entry in entries]
    publish_picture("race", bars("Scanned pages a second, two cores", speeds))
