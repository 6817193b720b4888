"""Web clients that vanish and come back with the id of the last event they had."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette

from conformance.serving import serving
from inngest_realtime_core.channels.channel import Channel, topic
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_starlette import realtime_lifespan, realtime_routes

from .proxy import Proxy


class Room(Channel, name="chaosroom:{id}"):
    id: str
    a = topic(dict[str, int])
    b = topic(dict[str, int])


class Browser:
    """An `EventSource` on a bare socket: it reads events, and remembers the last id.

    Attributes:
        events: The name and the data of each event, in order.
    """

    def __init__(self, url: str, path: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self.last_id = ""
        self.events: list[tuple[str, dict[str, Any]]] = []

    async def connect(self) -> asyncio.StreamReader:
        reader, self._writer = await asyncio.open_connection(*self._address)
        head = f"GET {self._path} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n"
        if self.last_id:
            head += f"Last-Event-ID: {self.last_id}\r\n"
        self._writer.write((head + "\r\n").encode())
        status = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in status.split(b"\r\n")[0], status
        return reader

    async def read(self, until: Callable[[], bool]) -> None:
        """Read until the condition holds, and then vanish with a reset."""
        reader = await self.connect()
        buffer = b""
        while not until():
            # Chunked transfer coding: its sizes stand on lines of their own, which no field of an event looks like.
            size = int(await reader.readline(), 16)
            if not size:
                break
            buffer += await reader.readexactly(size)
            await reader.readexactly(2)
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                self._event(block.decode())
        self.vanish()

    def _event(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "id" in fields:
            self.last_id = fields["id"]
        if "data" in fields and fields.get("event") not in ("ready", "closing"):
            self.events.append((fields.get("event", "message"), json.loads(fields["data"])))

    def vanish(self) -> None:
        if self._writer is not None:
            held: socket.socket = self._writer.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self._writer.transport.abort()
            self._writer = None

    def numbers(self, topic: str) -> list[Any]:
        return [event["data"]["n"] for name, event in self.events if name == "message" and event["topic"] == topic]


@pytest.fixture
async def site(proxy: Proxy) -> AsyncIterator[str]:
    realtime = Realtime(api_base_url=proxy.url, ping_interval=0.3, ping_timeout=0.3)
    routes = realtime_routes(realtime, [Grant(Room, topics=["a", "b"], authorize=allow_anyone)])
    with _serving(Starlette(routes=routes, lifespan=realtime_lifespan(realtime))) as url:
        yield url


@contextlib.contextmanager
def _serving(app: Starlette) -> Iterator[str]:
    with serving(app) as url:
        yield url


async def test_vanishing_browser(site: str, channel: str, server: DevServer, note: Callable[..., None]) -> None:
    """Cut off 20 times in the middle of 2,000 messages: each message once, in order, no gap."""
    room = Room(id=channel.replace(":", "-"))
    browser = Browser(site, f"/room/stream?id={room.id}&topics=a,b")
    counts = {"a": 0, "b": 0}

    async def publish() -> None:
        for number in range(2_000):
            name = random.choice("ab")
            await server.publish(room.name, name, {"n": counts[name]})
            counts[name] += 1
            if number % 5 == 0:
                await asyncio.sleep(0.005)

    began = len(browser.events)
    await browser.read(lambda: True)
    publishing: asyncio.Future[None] | None = None
    cuts = 0
    while publishing is None or not publishing.done() or _missing(browser, counts):
        target = len(browser.events) + random.randrange(50, 150)
        reading = asyncio.ensure_future(browser.read(_enough(browser, target, publishing, counts)))
        if publishing is None:
            # Nothing is replayed to a client's first connection: publish once it is there.
            await server.until(lambda stats: stats.subscriptions > 0)
            await asyncio.sleep(0.05)
            publishing = asyncio.ensure_future(publish())
        await reading
        cuts += 1
        await asyncio.sleep(random.uniform(0.0, 0.1))
    await publishing
    gaps = [event for name, event in browser.events if name == "gap"]
    numbers = {name: browser.numbers(name) for name in counts}
    lost = sum(counts[name] - len(set(numbers[name])) for name in counts)
    repeated = sum(len(numbers[name]) - len(set(numbers[name])) for name in counts)
    note("browser cut off under 2,000 messages", cuts=cuts, lost=lost, repeated=repeated, gaps=len(gaps))
    assert began == 0
    assert gaps == []
    assert numbers == {name: list(range(count)) for name, count in counts.items()}
    assert cuts >= 10


def _missing(browser: Browser, counts: dict[str, int]) -> bool:
    return len(browser.events) < sum(counts.values())


def _enough(
    browser: Browser, target: int, publishing: asyncio.Future[None] | None, counts: dict[str, int]
) -> Callable[[], bool]:
    return lambda: (
        len(browser.events) >= target
        or (publishing is not None and publishing.done() and not _missing(browser, counts))
    )


async def test_away_too_long(site: str, channel: str, server: DevServer, note: Callable[..., None]) -> None:
    """More missed than is kept: a gap, and then what comes from now on."""
    room = Room(id=channel.replace(":", "-"))
    browser = Browser(site, f"/room/stream?id={room.id}&topics=a")
    reading = asyncio.ensure_future(browser.read(lambda: len(browser.events) >= 1))
    await server.until(lambda stats: stats.subscriptions > 0)
    await asyncio.sleep(0.05)
    await server.publish(room.name, "a", {"n": 0})
    await reading
    for number in range(1, 600):
        await server.publish(room.name, "a", {"n": number})
    reading = asyncio.ensure_future(browser.read(lambda: len(browser.events) >= 3))
    await asyncio.sleep(0.1)
    await server.publish(room.name, "a", {"n": 600})
    await reading
    note("browser away for more than 256 messages", gaps=1)
    assert browser.numbers("a") == [0, 600]
    assert [name for name, _ in browser.events] == ["message", "gap", "message"]


async def test_gap_in_the_replay(
    site: str, channel: str, server: DevServer, proxy: Proxy, note: Callable[..., None]
) -> None:
    """The connection to Inngest is lost while the browser is away: the replay has the gap in its place."""
    room = Room(id=channel.replace(":", "-"))
    browser = Browser(site, f"/room/stream?id={room.id}&topics=a")
    reading = asyncio.ensure_future(browser.read(lambda: len(browser.events) >= 1))
    await server.until(lambda stats: stats.subscriptions > 0)
    await asyncio.sleep(0.05)
    await server.publish(room.name, "a", {"n": 0})
    await reading
    await server.publish(room.name, "a", {"n": 1})
    await asyncio.sleep(0.05)
    connects = server.stats().connects
    proxy.reset()
    await server.publish(room.name, "a", {"n": 2})
    pings = server.stats().pings
    await server.until(lambda stats: stats.connects > connects and stats.pings > pings)
    await asyncio.sleep(0.05)
    await server.publish(room.name, "a", {"n": 3})
    await asyncio.sleep(0.05)
    await browser.read(lambda: len(browser.events) >= 4)
    seen = [event["data"]["n"] if name == "message" else event["data"]["reason"] for name, event in browser.events]
    note("replay across a lost connection", seen=seen)
    assert seen == [0, 1, "reconnect", 3]
