"""How speed and memory go with the number of messages: texts and text PDFs through the daemon."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from processes import children_of, peak_megabytes
from world import World, aws_calls, row, stop

TEXT_LINE = "道路橋の定期点検において、支承部の腐食と床版のひび割れを確認した。\n"
TEXT_BYTES = 5 * 1024
UPLOADS_AT_ONCE = 8
# Rendering the metrics costs the daemon a millisecond.
POLL_SECONDS = 0.25


def in_parallel(function, items) -> None:
    with concurrent.futures.ThreadPoolExecutor(UPLOADS_AT_ONCE) as threads:
        list(threads.map(function, items))


def put_all(world: World, bodies: dict[str, bytes]) -> None:
    in_parallel(lambda item: aws_calls.s3("PUT", world.name, item[0], body=item[1]), bodies.items())


def send_all(world: World, keys: list[str]) -> None:
    def send(first: int) -> None:
        entries = [
            {"Id": str(number), "MessageBody": json.dumps({"key": key})} for number, key in enumerate(keys[first:first + 10])
        ]
        aws_calls.sqs("SendMessageBatch", QueueUrl=world.queue, Entries=entries)

    in_parallel(send, range(0, len(keys), 10))


def drained(world: World, bodies: dict[str, bytes]) -> tuple[float, float, float, float]:
    """Documents a second, those of the second half, and the peaks of the daemon and of a child, when all messages lie in the
    queue at the start. In the first half the servers' JVMs may still be compiling."""
    put_all(world, bodies)
    send_all(world, list(bodies))
    daemon, _ = world.start()
    started = time.monotonic()
    done, halfway = 0.0, None
    while done < len(bodies):
        time.sleep(POLL_SECONDS)
        done = world.metric("file_processor_documents_total")
        if halfway is None and done >= len(bodies) / 2:
            halfway = time.monotonic(), done
    ended = time.monotonic()
    took, second_half = ended - started, (done - halfway[1]) / max(ended - halfway[0], POLL_SECONDS)
    parent = peak_megabytes(daemon.pid)
    child = max(map(peak_megabytes, children_of(daemon.pid)))
    stop(daemon)
    found = world.count()
    if found < len(bodies):
        sys.exit(f"bench: {found} of {len(bodies)} documents are in the index")
    return len(bodies) / took, second_half, parent, child


def text_bodies(count: int) -> dict[str, bytes]:
    filling = TEXT_LINE * (TEXT_BYTES // len(TEXT_LINE.encode()))
    return {f"texts/{number}.txt": f"{number}\n{filling}".encode() for number in range(count)}


def texts() -> None:
    """Rates of a run that is long enough; growth of memory over a hundredfold."""
    most = int(os.environ.get("BENCH_TEXTS", "10000"))
    for count in [count for count in (100, 1_000, 10_000, 100_000) if count <= most] or [most]:
        world = World()
        rate, second_half, parent, child = drained(world, text_bodies(count))
        is_last = count * 10 > most
        row(
            f"{count} texts of 5 KB, SQS → S3 → OpenSearch", f"{rate:.0f} documents/s",
            bar="≥ 300" if is_last else "", met=rate >= 300 if is_last else None,
        )
        if second_half:  # otherwise they were too few to see it
            row("  of these the second half", f"{second_half:.0f} documents/s")
        row("  parent's and a child's peak memory", f"{parent:.0f}, {child:.0f} MiB", bar="≤ 64, ≤ 300 MiB",
            met=parent <= 64 and child <= 300)
        world.close()


def twice(pdf: pathlib.Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        united = pathlib.Path(folder) / "united.pdf"
        # It complains of every object that it finds in both halves.
        subprocess.run(["pdfunite", str(pdf), str(pdf), str(united)], check=True, stderr=subprocess.DEVNULL)
        return united.read_bytes()


def text_pdfs(what: str, content: bytes) -> None:
    """One PDF with its own text, many times; every copy has bytes of its own."""
    count = int(os.environ.get("BENCH_PDFS", "2000"))
    world = World()
    bodies = {f"pdfs/{number}.pdf": content + f"\n%{number}\n".encode() for number in range(count)}
    rate, second_half, parent, child = drained(world, bodies)
    row(f"{count} text PDFs: {what}, {len(content) // 1000} KB", f"{rate:.0f} documents/s", bar="≥ 60", met=rate >= 60)
    row("  of these the second half", f"{second_half:.0f} documents/s")
    row("  parent's and a child's peak memory", f"{parent:.0f}, {child:.0f} MiB", bar="≤ 64, ≤ 300 MiB", met=parent <= 64 and child <= 300)
    world.close()
