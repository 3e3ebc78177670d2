"""The busy share: of the time between the first request given to a child and the last one answered, how much the children
had a request in hand. The daemon counts that exactly (file_processor_children_busy_seconds_total)."""
import time

from world import WORKERS, World

BUSY = "file_processor_children_busy_seconds_total"
POLL_SECONDS = 0.1
# While nothing was given out, and while no page waits: there the time has its ends, which are known as closely as is looked.
EDGE_POLL_SECONDS = 0.02


class BusyWatch:
    def __init__(self, world: World) -> None:
        self.world = world
        self.samples: list[tuple[float, float]] = []
        self.is_at_edge = True
        self.look()

    def look(self) -> float:
        """Takes a sample; the documents that are done since the daemon's start."""
        metrics = self.world.metrics()
        self.samples.append((time.monotonic(), metrics[BUSY]))
        self.is_at_edge = metrics[BUSY] == self.samples[0][1] or metrics["file_processor_pages_queued"] == 0
        return metrics.get("file_processor_documents_total", 0.0)

    def pause(self) -> None:
        time.sleep(EDGE_POLL_SECONDS if self.is_at_edge else POLL_SECONDS)

    def share(self) -> float:
        """No more than it was: where the ends are not known exactly, the time is taken as the longest that it can have been."""
        first, last = self.samples[0][1], self.samples[-1][1]
        begun = next(index for index, (_, busy) in enumerate(self.samples) if busy > first)
        moment, busy = self.samples[begun]
        start = max(self.samples[begun - 1][0], moment - (busy - first))
        ended = next(index for index, (_, busy) in enumerate(self.samples) if busy == last)
        moment, busy = self.samples[ended - 1]
        end = min(self.samples[ended][0], moment + (last - busy))
        return (last - first) / ((end - start) * WORKERS)
