"""The highest steady rate of publishing that one uvicorn worker delivers to many SSE clients.

Messages come evenly for a second. A server keeps up if every client has every event within a tenth of a second after
the last; one that doesn't falls further behind with each message. The rate is raised until that happens, and narrowed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from .report import Figure, at_least, only
from .served import Served
from .site import APPLICATIONS

__all__ = ["run"]

SECONDS: Final = 1.0
LATE: Final = 0.1  # seconds
FIRST: Final = 20_000  # events a second
STEP: Final = 1.5
HALVINGS: Final = 3  # of the last step: the rate is known to 5 %
TARGETS: Final = {"starlette": 1.0, "sse-starlette": 2.5}


def run() -> list[Figure]:
    return [figure for clients in (200, 1_000) for figure in _compare(clients)]


def _compare(clients: int) -> Iterator[Figure]:
    rates: dict[str, float] = {}
    for name in APPLICATIONS:
        served = Served(name, clients)
        try:
            rates[name] = _highest(served)
        finally:
            served.stop()
    label = f"{clients:,} clients"
    for name, rate in rates.items():
        yield only(f"{label}: {name}", rate, "events/s", f"{rate / clients:,.0f} messages/s to each client")
    for name, target in TARGETS.items():
        yield at_least(f"{label}: ours / {name}", rates["ours"] / rates[name], target)


def _highest(served: Served) -> float:
    """Events a second, of all clients together."""
    rate, step = float(FIRST), STEP
    while _keeps_up(served, rate * step):
        rate *= step
    for _ in range(HALVINGS):
        step **= 0.5
        if _keeps_up(served, rate * step):
            rate *= step
    return rate


def _keeps_up(served: Served, rate: float) -> bool:
    # Twice, since anything else that runs on the machine makes a server late.
    return any(_delivers(served, rate / served.clients) for _ in range(2))


def _delivers(served: Served, rate: float) -> bool:
    count = int(rate * SECONDS)
    started = time.perf_counter()
    served.inngest.pace(count, rate)
    served.browsers.receive(count * served.clients)
    late = time.perf_counter() - started - SECONDS
    served.browsers.settle()
    return late <= LATE
