"""A TCP proxy that misbehaves on command, with an address that stays while what is behind it changes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable
from types import TracebackType

__all__ = ["Link", "Proxy"]

_READ = 65_536  # bytes
_HEAD = 4 * 1024 * 1024  # bytes of a request's head that are waited for
_LINGER_RESET = struct.pack("ii", 1, 0)  # closing then sends RST instead of FIN


class Link:
    """One client's connection through the proxy.

    Attributes:
        kind: `connect`, `token`, or whatever else the last part of its first request's path is.
    """

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.kind = ""
        self.swallows_up = False
        self.swallows_down = False
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._backend: asyncio.StreamWriter | None = None
        self._ended = asyncio.Event()

    async def run(self) -> None:
        proxy = self._proxy
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _HEAD:
            part = await self._reader.read(_READ)
            if not part:
                return
            head += part
        target = head.split(b" ", 2)[1] if head.count(b" ") >= 2 else b"?"
        self.kind = target.partition(b"?")[0].rpartition(b"/")[2].decode("latin-1")
        proxy.seen[self.kind] = proxy.seen.get(self.kind, 0) + 1
        answer = proxy.answers.get(self.kind)
        if proxy.longest_target is not None and len(target) > proxy.longest_target:
            proxy.seen["too long"] = proxy.seen.get("too long", 0) + 1
            answer = proxy.too_long
        if answer is not None:
            if answer:
                self._writer.write(answer)
                await self._writer.drain()
                self._writer.write_eof()
            while await self._reader.read(_READ):
                pass
            return
        reader, backend = await asyncio.open_connection(*proxy.next_target())
        self._backend = backend
        up = asyncio.ensure_future(self._pump(self._reader, backend, up=True, first=head))
        down = asyncio.ensure_future(self._pump(reader, self._writer, up=False))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait([up, down, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down, ended):
                task.cancel()
            await asyncio.wait([up, down, ended])

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool, first: bytes = b""
    ) -> None:
        proxy = self._proxy
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)

        async def pass_on() -> None:
            while True:
                due, data = await arrived.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if not data:
                    return
                await self._write(writer, data)

        passing = asyncio.ensure_future(pass_on())
        try:
            data = first
            while True:
                swallowed = self.swallows_up if up else self.swallows_down
                if data and not swallowed:
                    await arrived.put((loop.time() + proxy.delay, data))
                data = await reader.read(_READ)
                if not data:
                    if self.swallows_up if up else self.swallows_down:
                        # A hole in the network swallows the end of the stream as well.
                        await asyncio.get_running_loop().create_future()
                    await arrived.put((loop.time() + proxy.delay, b""))
                    await passing
                    return
        except OSError:
            return
        finally:
            passing.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await passing

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        proxy = self._proxy
        if proxy.split:
            for position in range(len(data)):
                writer.write(data[position : position + 1])
                await asyncio.sleep(0)
            return
        if proxy.rate is None:
            writer.write(data)
            await writer.drain()
            return
        step = max(1, proxy.rate // 50)
        for position in range(0, len(data), step):
            piece = data[position : position + step]
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(len(piece) / proxy.rate)

    def inject(self, data: bytes) -> None:
        self._writer.write(data)

    def end(self, *, reset: bool) -> None:
        """End both sides, with FIN, or with RST."""
        self._ended.set()
        for writer in (self._writer, self._backend):
            if writer is None:
                continue
            if reset:
                held: socket.socket | None = writer.get_extra_info("socket")
                if held is not None:
                    with contextlib.suppress(OSError):
                        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Listens on a port of its own and passes everything on to `target`.

    Args:
        port: Where connections go; may be changed at any time for the connections to come.

    Attributes:
        answers: Raw answers by kind of request, given instead of passing it on; empty bytes answer nothing at all.
        delay: Seconds that every piece is late, in both directions.
        split: Whether each byte travels alone.
        rate: Bytes a second in each direction, or None.
        longest_target: Characters of a request's path and query that are let pass, or None; `too_long` answers others.
        seen: Connections by the kind of their first request.
    """

    def __init__(self, port: int) -> None:
        self.target: tuple[str, int] = ("127.0.0.1", port)
        self.answers: dict[str, bytes] = {}
        self.delay = 0.0
        self.split = False
        self.rate: int | None = None
        self.longest_target: int | None = None
        self.too_long = b"HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.seen: dict[str, int] = {}
        self.port = 0
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Proxy:
        await self.listen()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.refuse()
        running = list(self._links.values())
        for link, task in list(self._links.items()):
            link.end(reset=True)
            task.cancel()
        if running:
            await asyncio.wait(running)

    def next_target(self) -> tuple[str, int]:
        """Where the connection goes that has come now."""
        return self.target

    async def listen(self) -> None:
        """Accept connections, on the same port each time."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_READ, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections: the port is closed. Those that are open stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        task = asyncio.ensure_future(self._serve(link, writer))
        self._links[link] = task
        task.add_done_callback(lambda _: self._links.pop(link, None) and None)

    @staticmethod
    async def _serve(link: Link, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                await link.run()
            finally:
                link.end(reset=False)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    # -- the faults ------------------------------------------------------------------------------------------------

    def links(self, kind: str | None = "connect") -> list[Link]:
        """The connections of a kind that are open; None means all."""
        return [link for link in self._links if kind is None or link.kind == kind]

    def cut(self, kind: str | None = "connect") -> None:
        """End connections in the ordinary way (FIN)."""
        self._end(self.links(kind), reset=False)

    def reset(self, kind: str | None = "connect") -> None:
        """End connections with a reset (RST)."""
        self._end(self.links(kind), reset=True)

    def blackhole(self, kind: str | None = "connect", *, up: bool = True, down: bool = True) -> None:
        """Swallow all that comes on the connections of now; they stay open. `up` is towards the server."""
        for link in self.links(kind):
            link.swallows_up = up
            link.swallows_down = down

    def bury(self) -> None:
        """End the connections that swallow, as a network's own timeouts do after a long time."""
        self._end([link for link in self._links if link.swallows_up or link.swallows_down], reset=True)

    def inject(self, data: bytes, kind: str | None = "connect") -> None:
        """Send bytes to the clients that never came from the server."""
        for link in self.links(kind):
            link.inject(data)

    @staticmethod
    def _end(links: Iterable[Link], *, reset: bool) -> None:
        for link in list(links):
            link.end(reset=reset)
