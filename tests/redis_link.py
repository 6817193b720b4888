"""A network between a client and a Redis that is slow, or breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Literal


class Link:
    """What is between a client and a Redis on a Unix socket.

    Attributes:
        url: Where the client connects to.
        delay: Seconds that each reply takes.
        breaks: What breaks off next, and the connection with it: a command before Redis has it, a reply as a whole, or
            in its middle; each time for one letter: `c`, `r`, `m`.
    """

    def __init__(self, socket: str) -> None:
        self.url = ""
        self.delay = 0.0
        self.breaks = ""
        self._socket = socket.removeprefix("unix://")
        self._open: set[asyncio.StreamWriter] = set()

    def lead_to(self, socket: str) -> None:
        """Lead to another Redis, as what knows of a failover does."""
        self._socket = socket.removeprefix("unix://")
        for each in self._open:
            each.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_unix_connection(self._socket)
        sending = asyncio.create_task(self._send(reader, to_redis))
        self._open.add(writer)
        with suppress(ConnectionError):
            while reply := await from_redis.read(2**20):
                await asyncio.sleep(self.delay)
                if broken := self._breaks("rm"):
                    writer.write(reply[: len(reply) // 2] if broken == "m" else b"")
                    await writer.drain()
                    break
                writer.write(reply)
        sending.cancel()
        self._open.discard(writer)
        for each in (writer, to_redis):
            each.close()

    async def _send(self, reader: asyncio.StreamReader, to_redis: asyncio.StreamWriter) -> None:
        while (command := await reader.read(2**20)) and not self._breaks("c"):
            to_redis.write(command)
        to_redis.close()

    def _breaks(self, kinds: Literal["c", "rm"]) -> str:
        broken = self.breaks[:1] if self.breaks[:1] in kinds else ""
        self.breaks = self.breaks[len(broken) :]
        return broken


@asynccontextmanager
async def linked(socket: str) -> AsyncGenerator[Link]:
    """A link to the Redis at `unix://...`."""
    link = Link(socket)
    async with await asyncio.start_server(link.serve, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        link.url = f"redis://{host}:{port}"
        yield link
