"""What one event costs, of one channel to many SSE clients on one uvicorn worker; beside what one would write by hand.

Lockstep: a message is sent once everybody has the one before, so that each event of each client is a write of its own,
whatever the application does. `server` (see `site.py`) shows how little that can cost. Bursts: many messages at once.
The server is judged by the events that it delivers in a second of the processor's time: it shares the machine with its
clients. Events a second on the wall stand beside it. The servers run at the same time and are measured in turn.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Final

from .report import Figure, at_least, only
from .served import Served
from .site import APPLICATIONS, SITES

__all__ = ["run"]

ROUNDS: Final = 7
BURST: Final = 64  # messages
LOADS: Final = {"lockstep": (1, 20_000), "bursts": (BURST, 100_000)}  # messages at once, events in each measurement


class _Rates:
    """What a server was found to deliver in a second: of the processor, and on the wall."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.cpu: dict[str, list[float]] = {load: [] for load in LOADS}
        self.wall: dict[str, list[float]] = {load: [] for load in LOADS}

    def measure(self, load: str, *, count: bool) -> None:
        served, (size, events) = self._served, LOADS[load]
        times = max(events // served.clients // size, 2)
        used, started = served.cpu(), time.perf_counter()
        for number in range(times):
            served.inngest.fire((number * size) % (served.inngest.count - size + 1), size)
            served.browsers.receive(size * served.clients)
        seconds, spent = time.perf_counter() - started, served.cpu() - used
        if count:
            self.cpu[load].append(times * size * served.clients / spent)
            self.wall[load].append(times * size * served.clients / seconds)


def run() -> list[Figure]:
    return [figure for clients in (200, 1_000) for figure in _compare(clients)]


def _compare(clients: int) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        sites: dict[str, _Rates] = {}
        for name in SITES:
            served = Served(name, clients)
            stack.callback(served.stop)
            sites[name] = _Rates(served)
        for load in LOADS:
            for round_ in range(ROUNDS + 1):
                for site in sites.values():
                    site.measure(load, count=round_ > 0)
    cpu = {load: {name: statistics.median(site.cpu[load]) for name, site in sites.items()} for load in LOADS}
    wall = {load: {name: statistics.median(site.wall[load]) for name, site in sites.items()} for load in LOADS}
    for load, names in (("lockstep", SITES), ("bursts", APPLICATIONS)):
        label = f"{clients:,} clients, {load}"
        for name in names:
            yield only(
                f"{label}: {name}", cpu[load][name], "events/CPU s", f"{wall[load][name]:,.0f} events/s on the wall"
            )
        for name, target in TARGETS[load].items():
            ratio = cpu[load]["ours"] / cpu[load][name]
            note = f"{wall[load]['ours'] / wall[load][name]:.2f}x on the wall"
            if target is None:
                most = cpu[load]["server"] / cpu[load][name]
                yield only(f"{label}: ours / {name}", ratio, "x", f"{note}; {most:.2f}x is what the server leaves")
            else:
                yield at_least(f"{label}: ours / {name}", ratio, target, note=note)


TARGETS: Final[dict[str, dict[str, float | None]]] = {
    "lockstep": {"starlette": 1.0, "sse-starlette": None},
    "bursts": {"starlette": 1.5, "sse-starlette": 2.5},
}
