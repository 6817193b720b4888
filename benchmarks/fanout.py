"""One channel to many SSE clients on one uvicorn worker, beside what one would write by hand, and sse-starlette.

Steady: each message is sent once everybody has the one before, so that nothing ever waits. Bursts: many at once.
The server is judged by the events that it delivers in a second of the processor's time: it shares the machine with its
clients. Events a second on the wall stand beside it. The three servers run at the same time and are measured in turn.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from .browsers import Browsers
from .firehose import Firehose
from .report import Figure, at_least, only
from .site import PATH, SITES

__all__ = ["run"]

ROUNDS: Final = 7
BURST: Final = 64  # messages
LOADS: Final = {"steady": (1, 20_000), "bursts": (BURST, 100_000)}  # messages at once, events in each measurement


class _Site:
    """A server, its clients, and what it was found to deliver in a second: of the processor, and on the wall."""

    def __init__(self, name: str, clients: int, inngest: Firehose) -> None:
        self._clients = clients
        self._inngest = inngest
        command = [sys.executable, "-m", "benchmarks.site", name, inngest.url]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        self._browsers = Browsers(int(self._server.stdout.readline()), PATH, clients)
        self.cpu: dict[str, list[float]] = {load: [] for load in LOADS}
        self.wall: dict[str, list[float]] = {load: [] for load in LOADS}

    def measure(self, load: str, *, count: bool) -> None:
        size, events = LOADS[load]
        times = max(events // self._clients // size, 2)
        used, started = _cpu(self._server.pid), time.perf_counter()
        for number in range(times):
            self._inngest.fire((number * size) % (self._inngest.count - size + 1), size)
            self._browsers.receive(size * self._clients)
        seconds, spent = time.perf_counter() - started, _cpu(self._server.pid) - used
        if count:
            self.cpu[load].append(times * size * self._clients / spent)
            self.wall[load].append(times * size * self._clients / seconds)

    def stop(self) -> None:
        self._browsers.close()
        self._server.terminate()
        self._server.wait()


def run() -> list[Figure]:
    return [figure for clients in (200, 1_000) for figure in _compare(clients)]


def _compare(clients: int) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        sites: dict[str, _Site] = {}
        for name in SITES:
            sites[name] = _Site(name, clients, stack.enter_context(Firehose(1_000)))
            stack.callback(sites[name].stop)
        for load in LOADS:
            for round_ in range(ROUNDS + 1):
                for site in sites.values():
                    site.measure(load, count=round_ > 0)
    for load in LOADS:
        cpu = {name: statistics.median(site.cpu[load]) for name, site in sites.items()}
        wall = {name: statistics.median(site.wall[load]) for name, site in sites.items()}
        label = f"{clients:,} clients, {load}"
        for name in SITES:
            yield only(f"{label}: {name}", cpu[name], "events/CPU s", f"{wall[name]:,.0f} events/s on the wall")
        for name, target in (("starlette", 1.0 if load == "steady" else 1.5), ("sse-starlette", 2.5)):
            note = f"{wall['ours'] / wall[name]:.2f}x on the wall"
            yield at_least(f"{label}: ours / {name}", cpu["ours"] / cpu[name], target, note=note)


def _cpu(pid: int) -> float:
    """Seconds of the processor's time that a process has used."""
    precise = Path(f"/proc/{pid}/schedstat")
    if precise.exists():
        # In nanoseconds, of the main thread, which is the only one that works here.
        return int(precise.read_text().split()[0]) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
