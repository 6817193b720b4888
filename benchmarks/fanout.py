"""One channel to many SSE clients on one uvicorn worker, beside what one would write by hand, and sse-starlette.

Steady: each message is sent once everybody has the one before, so that nothing ever waits. Bursts: many at once.
The server is judged by the events that it delivers in a second of the processor's time: it shares the machine with its
clients. Events a second on the wall stand beside it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Final

import psutil

from .browsers import Browsers
from .firehose import Firehose
from .report import Figure, at_least, only
from .site import PATH, SITES

__all__ = ["run"]

ROUNDS: Final = 3
BURST: Final = 64  # messages
EVENTS: Final = 150_000  # delivered in each measurement


@dataclass
class _Rates:
    """Events a second."""

    cpu: list[float] = field(default_factory=list[float])
    wall: list[float] = field(default_factory=list[float])


def run() -> list[Figure]:
    figures: list[Figure] = []
    for clients in (200, 1_000):
        rates: dict[tuple[str, str], _Rates] = {}
        for _ in range(ROUNDS):
            for site in SITES:
                _measure(site, clients, rates)
        for load in ("steady", "bursts"):
            figures.extend(_figures(clients, load, rates))
    return figures


def _figures(clients: int, load: str, rates: dict[tuple[str, str], _Rates]) -> list[Figure]:
    cpu = {site: statistics.median(rates[site, load].cpu) for site in SITES}
    wall = {site: statistics.median(rates[site, load].wall) for site in SITES}
    label = f"{clients:,} clients, {load}"
    note = f"on the wall {wall['ours'] / wall['starlette']:.2f}x and {wall['ours'] / wall['sse-starlette']:.2f}x"
    return [
        *(only(f"{label}: {site}", cpu[site], "events/CPU s", f"{wall[site]:,.0f} events/s") for site in SITES),
        at_least(f"{label}: ours / starlette", cpu["ours"] / cpu["starlette"], 1.0 if load == "steady" else 1.5),
        at_least(f"{label}: ours / sse-starlette", cpu["ours"] / cpu["sse-starlette"], 2.5, note=note),
    ]


def _measure(site: str, clients: int, rates: dict[tuple[str, str], _Rates]) -> None:
    with Firehose(EVENTS // clients + BURST) as inngest:
        command = [sys.executable, "-m", "benchmarks.site", site, inngest.url]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            browsers = Browsers(int(server.stdout.readline()), PATH, clients)
            for load, size in (("steady", 1), ("bursts", BURST)):
                _send(inngest, browsers, clients, size, 2)  # warms up
                messages = max(EVENTS // clients // size, 4)
                used, started = _cpu(server.pid), time.perf_counter()
                _send(inngest, browsers, clients, size, messages)
                seconds, spent = time.perf_counter() - started, _cpu(server.pid) - used
                entry = rates.setdefault((site, load), _Rates())
                entry.cpu.append(messages * size * clients / spent)
                entry.wall.append(messages * size * clients / seconds)
            browsers.close()
        finally:
            server.terminate()
            server.wait()


def _send(inngest: Firehose, browsers: Browsers, clients: int, size: int, times: int) -> None:
    for number in range(times):
        inngest.fire((number * size) % (inngest.count - size + 1), size)
        browsers.receive(size * clients)


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
