"""A network between a client and a Redis that is slow, or breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress


class Link:
    """What is between a client and a Redis on a Unix socket.

    Attributes:
        url: Where the client connects to.
        delay: Seconds that each reply takes.
        breaks: What breaks off next, and the connection with it: a command before Redis has it, a reply as a whole, or
            in its middle; each time for one letter: `c`, `r`, `m`.
        open: What serves each connection.
    """

    def __init__(self, socket: str) -> None:
        self.url = ""
        self.delay = 0.0
        self.breaks = ""
        self._socket = socket
        self.open: set[asyncio.Task[None]] = set()

    def lead_to(self, socket: str) -> None:
        """Lead to another Redis, as what knows of a failover does."""
        self._socket = socket
        self.close()

    def close(self) -> None:
        """Break all connections off."""
        for each in self.open:
            each.cancel()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Called with a connection."""
        serving = asyncio.create_task(self._serve(reader, writer))
        self.open.add(serving)
        serving.add_done_callback(self.open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            from_redis, to_redis = await asyncio.open_unix_connection(self._socket.removeprefix("unix://"))
            with closing(to_redis):
                both = [
                    asyncio.create_task(each) for each in (self._ask(reader, to_redis), self._tell(from_redis, writer))
                ]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in both:
                        each.cancel()
                    await asyncio.gather(*both, return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (command := await reader.read(2**20)) and not self._breaks("c"):
            writer.write(command)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while reply := await reader.read(2**20):
            await asyncio.sleep(self.delay)
            if broken := self._breaks("rm"):
                writer.write(reply[: len(reply) // 2] if broken == "m" else b"")
                return
            writer.write(reply)

    def _breaks(self, kinds: str) -> str:
        broken = self.breaks[:1] if self.breaks[:1] in kinds else ""
        self.breaks = self.breaks[len(broken) :]
        return broken


@asynccontextmanager
async def linked(socket: str) -> AsyncGenerator[Link]:
    """A link to the Redis at `unix://...`."""
    link = Link(socket)
    async with await asyncio.start_server(link.accept, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        link.url = f"redis://{host}:{port}"
        yield link
        link.close()
        await asyncio.gather(*link.open, return_exceptions=True)
