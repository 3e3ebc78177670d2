"""The measurements of bench.sh. Each part prints rows: what, ours, theirs, ratio, the bar, whether it is met."""
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import faults
from cer import errors_and_length
from world import BINARY, REPOSITORY, WORKERS, World, aws, children_of, peak_megabytes, row, stop, table

CORPUS = pathlib.Path(os.environ.get("CORPUS_DIR", REPOSITORY.parent / "shared" / "corpus"))
HANDBOOKS = [CORPUS / "ja" / f"handbook-{name}.pdf" for name in "abc"]


def has_corpus() -> bool:
    if all(handbook.exists() for handbook in HANDBOOKS):
        return True
    print(f"bench: no corpus at {CORPUS}: left out", file=sys.stderr)
    return False


# --- accuracy and speed -------------------------------------------------------------------------------------------


def ours(handbooks: list[pathlib.Path]) -> tuple[dict[str, list[str]], float]:
    """The pages' texts by file, and the wall time of the whole command, start of the children included."""
    started = time.monotonic()
    answer = subprocess.run(
        [BINARY, "extract", "--json", "--pages", *map(str, handbooks)],
        env={**os.environ, "MAX_WORKERS": str(WORKERS)}, check=True, capture_output=True,
    )
    took = time.monotonic() - started
    documents = [json.loads(line) for line in answer.stdout.splitlines()]
    return {document["file_name"]: [page["text"] for page in document["pages"]] for document in documents}, took


def page_count(pdf: pathlib.Path) -> int:
    information = subprocess.run(["pdfinfo", str(pdf)], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[1]) for line in information.splitlines() if line.startswith("Pages:"))


def process_per_page(pdf: pathlib.Path, number: int, folder: str) -> str:
    """The Python worker's way: render with pdftoppm, read with a tesseract process, OpenMP as it comes."""
    prefix = pathlib.Path(folder) / f"{pdf.stem}-{number}"
    subprocess.run(
        ["pdftoppm", "-r", "300", "-f", str(number), "-l", str(number), "-singlefile", str(pdf), str(prefix)], check=True
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    answer = subprocess.run(
        ["tesseract", f"{prefix}.ppm", "-", "-l", "jpn+eng"],
        check=True, capture_output=True, text=True, env=environment,
    )
    return answer.stdout


def theirs(handbooks: list[pathlib.Path]) -> tuple[dict[str, list[str]], float]:
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(4) as threads:
        started = time.monotonic()
        waiting = {
            pdf.name: [threads.submit(process_per_page, pdf, number, folder) for number in range(1, page_count(pdf) + 1)]
            for pdf in handbooks
        }
        texts = {name: [page.result() for page in pages] for name, pages in waiting.items()}
        return texts, time.monotonic() - started


def error_rates(texts: dict[str, list[str]]) -> dict[str, float]:
    rates, all_errors, all_length = {}, 0, 0
    for handbook in HANDBOOKS:
        truth = handbook.with_suffix(".txt").read_text()
        errors, length = errors_and_length(truth, "".join(texts[handbook.name]))
        rates[handbook.stem] = errors / length
        all_errors, all_length = all_errors + errors, all_length + length
    rates["all three"] = all_errors / all_length
    return rates


def accuracy_and_speed(accuracy: bool, speed: bool) -> None:
    if not has_corpus():
        return
    rounds = int(os.environ.get("BENCH_ROUNDS", "2")) if speed else 1
    our_times, their_times = [], []
    for _ in range(rounds):
        our_texts, our_time = ours(HANDBOOKS)
        their_texts, their_time = theirs(HANDBOOKS)
        our_times.append(our_time)
        their_times.append(their_time)
    if accuracy:
        our_rates, their_rates = error_rates(our_texts), error_rates(their_texts)
        for name, rate in our_rates.items():
            other = their_rates[name]
            row(f"character error rate, {name}", f"{rate:.4f}", f"{other:.4f}", f"{rate / other:.2f}", "≤ 1.00", rate <= other)
    if speed:
        pages = sum(map(page_count, HANDBOOKS))
        ratio = statistics.median(b / a for a, b in zip(our_times, their_times))
        row(
            f"pages/s, {pages} pages, {WORKERS} children", f"{pages / statistics.median(our_times):.2f}",
            f"{pages / statistics.median(their_times):.2f}", f"{ratio:.1f}", "≥ 3.0", ratio >= 3,
        )


# --- the daemon on real servers -----------------------------------------------------------------------------------


def memory() -> None:
    if not has_corpus():
        return
    world = World()
    pages = int(os.environ.get("BENCH_PAGES", "300"))
    per_round = sum(map(page_count, HANDBOOKS))
    scan = pathlib.Path(world.temp) / "scan.pdf"
    subprocess.run(["pdfunite", *map(str, HANDBOOKS * -(-pages // per_round)), str(scan)], check=True)
    pages = page_count(scan)
    daemon, _ = world.start()
    aws("put-object", world.name, "scan.pdf", str(scan))
    aws("send-message", world.queue, json.dumps({"key": "scan.pdf"}))
    parent = child = 0.0
    started = time.monotonic()
    while world.count() == 0:
        parent = max(parent, peak_megabytes(daemon.pid))
        child = max([child, *map(peak_megabytes, children_of(daemon.pid))])
        time.sleep(2)
    took = time.monotonic() - started
    parent = max(parent, peak_megabytes(daemon.pid))
    document = world.opensearch(f"{world.name}/_doc/scan.pdf")["_source"]
    stop(daemon)
    if document["pages_ocr"] < pages * 0.8:
        sys.exit(f"bench: only {document['pages_ocr']} of {pages} pages were read: {document['error_message']}")
    row(f"parent's peak resident memory, {pages}-page scan", f"{parent:.0f} MiB", "", "", "≤ 64 MiB", parent <= 64)
    row(f"a child's peak resident memory, {pages}-page scan", f"{child:.0f} MiB", "", "", "≤ 300 MiB", child <= 300)
    row(f"{pages}-page scan through the daemon", f"{pages / took:.2f} pages/s")
    world.close()


def start() -> None:
    world = World()
    ready, validated = [], []
    for _ in range(5):
        daemon, seconds = world.start()
        stop(daemon)
        ready.append(seconds)
        started = time.monotonic()
        subprocess.run([BINARY, "--validate-only"], env=world.environment, check=True, capture_output=True)
        validated.append(time.monotonic() - started)
    row("start to READY, 2 children (median of 5)", f"{statistics.median(ready):.2f} s", "", "", "≤ 2 s", statistics.median(ready) <= 2)
    row("--validate-only (median of 5)", f"{statistics.median(validated):.2f} s", "", "", "≤ 2 s", statistics.median(validated) <= 2)
    world.close()


def texts() -> None:
    world = World()
    count = int(os.environ.get("BENCH_TEXTS", "2000"))
    line = "道路橋の定期点検において、支承部の腐食と床版のひび割れを確認した。\n"
    body = (line * (5 * 1024 // len(line.encode()) + 1)).encode()[: 5 * 1024]
    file = pathlib.Path(world.temp) / "text.txt"

    def upload(number: int) -> None:
        # Every file is another one, as content that repeats could be recognised.
        each = file.with_name(f"{number}.txt")
        each.write_bytes(f"{number}\n".encode() + body.decode(errors="ignore").encode())
        aws("put-object", world.name, f"texts/{number}.txt", str(each))
        aws("send-message", world.queue, json.dumps({"key": f"texts/{number}.txt"}))

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(upload, range(count)))
    daemon, _ = world.start()
    started = time.monotonic()
    while world.count() < count:
        time.sleep(0.2)
    took = time.monotonic() - started
    stop(daemon)
    row(f"{count} texts of 5 KB, SQS → S3 → OpenSearch", f"{count / took:.0f} documents/s", "", "", "≥ 50", count / took >= 50)
    world.close()


def main() -> None:
    parts = sys.argv[1:]
    if {"accuracy", "speed"} & set(parts):
        accuracy_and_speed("accuracy" in parts, "speed" in parts)
    for name, part in (("memory", memory), ("start", start), ("texts", texts), ("faults", faults.all_parts)):
        if name in parts:
            part()
    table()


if __name__ == "__main__":
    main()
