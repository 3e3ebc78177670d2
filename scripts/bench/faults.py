"""What interruptions and outages cost: the parts of `bench.sh faults`."""
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import threading
import time
import urllib.request

from processes import children_of
from world import REPOSITORY, World, aws, row, stop

OUTAGE_SECONDS = 60
IDLE_SECONDS = 120
LONG_SCAN_PAGES = 300


def all_parts() -> None:
    idle()
    drains()
    outage()
    interrupted_scan()


class CountingRelay:
    """A TCP relay that counts the requests which pass it."""

    METHODS = (b"GET /", b"HEAD /", b"PUT /", b"POST /", b"DELETE /")

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.target)
            for source, sink, counts in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.copy, args=(source, sink, counts), daemon=True).start()

    def copy(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(65536):
                if counts and data.startswith(self.METHODS):
                    self.requests += 1
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def processor_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle() -> None:
    world = World()
    relays = {name: CountingRelay(world.environment[name]) for name in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_S3")}
    world.environment |= {name: relay.url for name, relay in relays.items()}
    daemon, _ = world.start()
    time.sleep(10)
    processes = [daemon.pid, *children_of(daemon.pid)]
    calls = sum(relay.requests for relay in relays.values())
    spent = sum(map(processor_seconds, processes))
    time.sleep(IDLE_SECONDS)
    share = (sum(map(processor_seconds, processes)) - spent) / IDLE_SECONDS
    a_minute = (sum(relay.requests for relay in relays.values()) - calls) * 60 / IDLE_SECONDS
    stop(daemon)
    row("idle: processor time, daemon and children", f"{share:.2%}", "", "", "≤ 1 %", share <= 0.01)
    row("idle: AWS calls a minute", f"{a_minute:.1f}", "", "", "≤ 4", a_minute <= 4)
    world.close()


def scan(world: World, pages: int) -> None:
    """Puts a scan of so many pages into the bucket and sends its message."""
    file = pathlib.Path(world.temp) / "scan.pdf"
    page = str(REPOSITORY / "src/job/smoke_test.pdf")
    subprocess.run(["pdfunite", *[page] * pages, str(file)], check=True)
    aws("put-object", world.name, "scan.pdf", str(file))
    aws("send-message", world.queue, json.dumps({"key": "scan.pdf"}))


def wait_for_pages(world: World, pages: int) -> float:
    while (done := world.metric("file_processor_pages_recognized_total")) < pages:
        time.sleep(0.05)
    return done


def drains() -> None:
    world = World()
    world.environment["LOG_LEVEL"] = "ERROR"
    times = []
    for _ in range(3):
        daemon, _ = world.start()
        time.sleep(3)
        started = time.monotonic()
        stop(daemon)
        times.append(time.monotonic() - started)
    drained = statistics.median(times)
    row("drain of an idle daemon (median of 3)", f"{drained:.2f} s", "", "", "≤ 1 s", drained <= 1)
    world.close()

    # Another queue: this SQS server goes on with the long poll of a client that has gone, and would hand it the message.
    world = World()
    world.environment |= {"LOG_LEVEL": "ERROR", "DRAIN_TIMEOUT": "10"}
    scan(world, LONG_SCAN_PAGES)
    daemon, _ = world.start()
    wait_for_pages(world, 20)
    started = time.monotonic()
    stop(daemon)
    ended = time.monotonic()
    while world.visible() < 1 and time.monotonic() - ended < 30:
        time.sleep(0.02)
    visible_after = time.monotonic() - ended
    row(f"drain in the middle of a {LONG_SCAN_PAGES}-page scan", f"{ended - started:.2f} s", "", "", "≤ 10 s", ended - started <= 10)
    row("its message is visible again after the exit", f"{visible_after:.2f} s", "", "", "≤ 2 s", visible_after <= 2)
    world.close()


def toxiproxy(method: str, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(
        f"{os.environ['TESTBED_TOXIPROXY_ENDPOINT']}/{path}", method=method, data=json.dumps(body or {}).encode()
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else {}


def outage() -> None:
    world = World()
    upstream = world.environment["OPENSEARCH_ENDPOINT"].removeprefix("http://")
    proxy = toxiproxy("POST", "proxies", {"name": world.name, "listen": "127.0.0.1:0", "upstream": upstream})
    direct = world.environment["OPENSEARCH_ENDPOINT"]
    world.environment |= {"OPENSEARCH_ENDPOINT": f"http://{proxy['listen']}", "LOG_LEVEL": "ERROR"}
    daemon, _ = world.start()
    toxiproxy("POST", f"proxies/{world.name}", {"enabled": False})
    for number in range(5):
        file = pathlib.Path(world.temp) / f"{number}.txt"
        file.write_text(f"text {number}")
        aws("put-object", world.name, file.name, str(file))
        aws("send-message", world.queue, json.dumps({"key": file.name}))
    time.sleep(OUTAGE_SECONDS)
    world.environment["OPENSEARCH_ENDPOINT"] = direct
    toxiproxy("POST", f"proxies/{world.name}", {"enabled": True})
    started = time.monotonic()
    while world.count() == 0:
        time.sleep(0.05)
    took = time.monotonic() - started
    stop(daemon)
    toxiproxy("DELETE", f"proxies/{world.name}")
    row(f"first document after {OUTAGE_SECONDS} s without OpenSearch", f"{took:.2f} s", "", "", "≤ 15 s", took <= 15)
    world.close()


def interrupted_scan() -> None:
    """Twice an orderly stop, once SIGKILL; then the document is read to its end."""
    world = World(visibility=5)
    world.environment |= {"SQS_VISIBILITY_TIMEOUT": "5", "DRAIN_TIMEOUT": "5", "LOG_LEVEL": "ERROR"}
    scan(world, LONG_SCAN_PAGES)
    recognized = 0.0
    for stops_by in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        daemon, _ = world.start()
        wait_for_pages(world, 60)
        recognized += world.metric("file_processor_pages_recognized_total")
        daemon.send_signal(stops_by)
        daemon.wait(timeout=60)
    daemon, _ = world.start()
    while world.count() == 0:
        time.sleep(0.5)
    recognized += world.metric("file_processor_pages_recognized_total")
    stop(daemon)
    document = world.opensearch(f"{world.name}/_doc/scan.pdf")["_source"]
    overhead = recognized / LONG_SCAN_PAGES - 1
    complete = document["pages_ocr"] == LONG_SCAN_PAGES
    row(
        f"{LONG_SCAN_PAGES}-page scan interrupted three times: pages read twice", f"{overhead:.1%}", "", "", "≤ 10 %",
        complete and overhead <= 0.1,
    )
    world.close()
