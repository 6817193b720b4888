"""The hot path: one subscription, a server that sends as fast as it is read, beside a bare `websockets` loop.

Every figure is a median of several runs that alternate, so that what else the machine does hits all of them alike.
Ratios compare the processor's time: the clients are never idle, so that on a machine that does nothing else it is the
time on the wall, which the messages a second beside them are of.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from websockets.asyncio.client import connect

from inngest_realtime_core import Channel, Realtime, topic

from .firehose import CHANNEL, TOPIC, Firehose, frame_of
from .report import Figure, at_least, at_most, only, spread

__all__ = ["run"]

T = TypeVar("T")

MESSAGES: Final = 100_000
ROUNDS: Final = 7
_DEADLINE: Final = 60.0  # seconds; a run that loses messages waits for the rest in vain


class Status(BaseModel):
    message: str
    step: str | None = None
    percent: int
    done: bool
    tags: list[str]


class Typed(Channel, name=CHANNEL):
    status = topic(Status)


@dataclass(frozen=True)
class _Spent:
    """Seconds."""

    wall: float
    cpu: float


class _Clock:
    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> _Spent:
        return _Spent(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def run() -> list[Figure]:
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    dropped: dict[str, int] = {}

    def note(name: str, outcome: tuple[_Spent, int]) -> None:
        spent, lost = outcome
        rates.setdefault(name, []).append(MESSAGES / spent.wall)
        costs.setdefault(name, []).append(spent.cpu)
        dropped[name] = dropped.get(name, 0) + lost

    with Firehose(MESSAGES) as server:
        runs: dict[str, Callable[[], tuple[_Spent, int]]] = {
            "raw": lambda: (_raw(server), 0),
            "bare, frames only": lambda: (_run(_bare(server, parse=False)), 0),
            "bare": lambda: (_run(_bare(server, parse=True)), 0),
            "iterate": lambda: _run(_iterate(server, read=False)),
            "read data": lambda: _run(_iterate(server, read=True)),
            "encoded": lambda: _run(_encoded(server)),
            "schema": lambda: _run(_iterate(server, read=True, channel=Typed())),
            "sync": lambda: _sync(server, read=False),
            "sync, read data": lambda: _sync(server, read=True),
        }
        for round_ in range(ROUNDS + 1):
            for name, measure in runs.items():
                gc.collect()
                outcome = measure()
                if round_:  # the first round warms up
                    note(name, outcome)
    median = {name: statistics.median(values) for name, values in rates.items()}
    clients = [rate for name, rate in median.items() if name != "raw"]
    cost = {name: statistics.median(values) for name, values in costs.items()}

    def ratio(label: str, name: str, other: str, target: float) -> Figure:
        return at_least(label, cost[other] / cost[name], target, note=f"msg/s: {spread(rates[name])}")

    return [
        at_least(
            "server alone / fastest client", median["raw"] / max(clients), 2.0, note=f"msg/s: {spread(rates['raw'])}"
        ),
        only("bare websockets, frames only", median["bare, frames only"], "msg/s", spread(rates["bare, frames only"])),
        only("bare websockets + json.loads", median["bare"], "msg/s", spread(rates["bare"])),
        ratio("iterate / bare", "iterate", "bare", 1.2),
        ratio("iterate, read message.data / bare", "read data", "bare", 0.8),
        ratio("get_encoded_stream / bare", "encoded", "bare", 1.1),
        ratio("pydantic schema / bare", "schema", "bare", 0.4),
        ratio("subscribe_sync / async", "sync", "iterate", 0.6),
        ratio("subscribe_sync / async, both read data", "sync, read data", "read data", 0.6),
        at_most(
            "messages dropped in all runs", sum(dropped.values()), 0, "", note=f"{ROUNDS} rounds, buffer_size=1024"
        ),
    ]


def _run(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(work, _DEADLINE)

    return asyncio.run(bounded())


def _raw(server: Firehose) -> _Spent:
    """Read the bytes and do nothing else: shows what the server can send."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    with connection:
        connection.sendall(
            b"GET /v1/realtime/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        while b"\r\n\r\n" not in connection.recv(4096):
            pass
        # A pong proves that the server has taken note of the connection.
        connection.sendall(b"\x89\x80\0\0\0\0")
        connection.recv(2)
        clock = _Clock()
        server.fire(0, MESSAGES)
        left = _bytes_of(MESSAGES)
        buffer = bytearray(1 << 20)
        while left > 0:
            left -= connection.recv_into(buffer)
        return clock.stop()


def _bytes_of(count: int) -> int:
    # All of them have nearly the same length; the number of digits of `percent` differs.
    return sum(len(frame_of(number)) for number in range(100)) * (count // 100)


async def _bare(server: Firehose, *, parse: bool) -> _Spent:
    async with connect(server.websocket_url + "?token=x") as websocket:
        await (await websocket.ping())
        clock = _Clock()
        server.fire(0, MESSAGES)
        received = 0
        if parse:
            async for frame in websocket:
                json.loads(frame)
                received += 1
                if received == MESSAGES:
                    break
        else:
            async for _ in websocket:
                received += 1
                if received == MESSAGES:
                    break
        return clock.stop()


async def _iterate(server: Firehose, *, read: bool, channel: Channel | str = CHANNEL) -> tuple[_Spent, int]:
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        async with realtime.subscribe(channel=channel, topics=[TOPIC]) as stream:
            clock = _Clock()
            server.fire(0, MESSAGES)
            left = MESSAGES
            if read:
                async for message in stream:
                    message.data  # noqa: B018 - decoding it is what is measured
                    left -= 1
                    if not left:
                        break
            else:
                async for _ in stream:
                    left -= 1
                    if not left:
                        break
            spent = clock.stop()
        return spent, realtime.stats().dropped


async def _encoded(server: Firehose) -> tuple[_Spent, int]:
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        async with realtime.subscribe(channel=CHANNEL, topics=[TOPIC]) as stream:
            encoded = stream.get_encoded_stream()
            clock = _Clock()
            server.fire(0, MESSAGES)
            received = 0
            async for _ in encoded:
                received += 1
                if received == MESSAGES:
                    break
            spent = clock.stop()
            await encoded.aclose()
        return spent, realtime.stats().dropped


def _sync(server: Firehose, *, read: bool) -> tuple[_Spent, int]:
    realtime = Realtime(api_base_url=server.url, linger=0)
    try:
        with realtime.subscribe_sync(channel=CHANNEL, topics=[TOPIC]) as stream:
            clock = _Clock()
            server.fire(0, MESSAGES)
            left = MESSAGES
            for message in stream:
                if read:
                    message.data  # noqa: B018 - decoding it is what is measured
                left -= 1
                # Of a run that loses messages, the rest would be waited for in vain.
                if not left or message.kind == "gap":
                    break
            spent = clock.stop()
        return spent, realtime.stats().dropped
    finally:
        realtime.close_sync()
