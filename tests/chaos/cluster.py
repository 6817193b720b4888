"""Several Inngest servers behind one stable address, as one is replaced by the next."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator

from inngest_realtime_devserver.server import DevServer

from .proxy import Proxy

__all__ = ["Cluster"]

_Item = tuple[float, str, str, str]  # when it was published, channel, topic, frame


class Cluster:
    """What is published reaches every server that runs, each in its own time, in order.

    Attributes:
        proxy: The stable address.
        published: How many numbered messages each topic of each channel got.
    """

    def __init__(self, *, jitter: float = 0.002) -> None:
        self.published: dict[str, dict[str, int]] = {}
        self.texts: dict[str, str] = {}
        self.proxy = Proxy(0)
        self._jitter = jitter
        self._servers: dict[DevServer, asyncio.Queue[_Item]] = {}
        self._pumps: dict[DevServer, asyncio.Task[None]] = {}
        self._clock = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        await self.start()
        async with self.proxy:
            try:
                yield self
            finally:
                for server in list(self._servers):
                    await self.stop(server)

    @property
    def servers(self) -> list[DevServer]:
        return list(self._servers)

    async def start(self, *, lag: float = 0.0) -> DevServer:
        """Start a server and let the address lead to it.

        Args:
            lag: Seconds that it gets everything later than the others.
        """
        server = DevServer()
        await server.__aenter__()
        queue = self._servers[server] = asyncio.Queue()
        self._pumps[server] = asyncio.ensure_future(self._pump(server, queue, lag))
        self.proxy.target = ("127.0.0.1", server.port)
        return server

    async def stop(self, server: DevServer) -> None:
        """Stop a server at once; what it has not sent is lost."""
        del self._servers[server]
        pump = self._pumps.pop(server)
        pump.cancel()
        await asyncio.wait([pump])
        await server.__aexit__(None, None, None)

    async def replace(self, *, grace: float) -> None:
        """Replace the server: start the next one, announce the end of this one, and stop it after the grace period."""
        (old,) = self._servers
        await self.start()
        await old.begin_closing(grace)
        await asyncio.sleep(grace + 0.2)
        await self.stop(old)

    async def _pump(self, server: DevServer, queue: asyncio.Queue[_Item], lag: float) -> None:
        while True:
            published, *item = await queue.get()
            late = published + lag - time.monotonic()
            if lag and late > 0:
                await asyncio.sleep(late)
            if self._jitter and random.random() < 0.05:
                await asyncio.sleep(random.uniform(0, self._jitter))
            await server.inject(*item)

    def _send(self, channel: str, topic: str, frame: dict[str, object]) -> None:
        text = json.dumps(frame, separators=(",", ":"))
        for queue in self._servers.values():
            queue.put_nowait((time.monotonic(), channel, topic, text))

    def _envelope(self, kind: str, channel: str, topic: str, data: object, created_at: str) -> dict[str, object]:
        return {
            "kind": kind,
            "data": data,
            "created_at": created_at,
            "channel": channel,
            "env_id": "00000000-0000-4000-b000-000000000000",
            "topic": topic,
        }

    def _now(self) -> str:
        self._clock = max(time.time_ns(), self._clock + 1)
        seconds, nanoseconds = divmod(self._clock, 1_000_000_000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}".rstrip("0") + "Z"

    def publish(self, channel: str, topic: str) -> None:
        """Publish the topic's next number."""
        counts = self.published.setdefault(channel, {})
        number = counts[topic] = counts.get(topic, 0) + 1
        self._send(channel, topic, self._envelope("data", channel, topic, {"n": number - 1}, self._now()))

    async def publish_stream(self, channel: str, topic: str, stream_id: str, *, chunks: int, seconds: float) -> None:
        """Publish a data stream that takes a while."""
        created_at = self._now()
        self.texts[stream_id] = ""
        self._send(channel, topic, self._envelope("datastream-start", channel, topic, stream_id, created_at))
        for number in range(chunks):
            text = f"{number} "
            self.texts[stream_id] += text
            self._send(channel, topic, {"kind": "chunk", "stream_id": stream_id, "data": text})
            await asyncio.sleep(seconds / chunks)
        self._send(channel, topic, self._envelope("datastream-end", channel, topic, stream_id, created_at))
