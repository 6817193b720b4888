"""Many SSE clients in one thread that do nothing but count events, so that they are not what is measured."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Browsers"]

_DEADLINE: Final = 20.0  # seconds
_QUIET: Final = 0.5  # seconds
_READ: Final = 256 * 1024  # bytes


class Browsers:
    """Connections that have asked for an event stream.

    Args:
        count: How many.

    Attributes:
        events: Events received by all of them together.
    """

    def __init__(self, port: int, path: str, count: int) -> None:
        self.events = 0
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(_READ)
        self._view = memoryview(self._buffer)
        greeted: set[int] = set()
        request = b"GET %b HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n" % path.encode()
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(request)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection.fileno(), select.EPOLLIN)

        def greet(number: int, chunk: bytes) -> None:
            # What a stream begins with, a comment or the event `ready`: the client is registered from here on.
            if b"open" in chunk or b"ready" in chunk:
                greeted.add(number)

        self._read_until(lambda: len(greeted) == count, greet)
        self.events = 0

    def receive(self, events: int) -> None:
        """Read until all clients together have received so many events more."""
        wanted = self.events + events
        self._read_until(lambda: self.events >= wanted, None)

    def settle(self) -> None:
        """Read until nothing comes any more."""
        while ready := self._poll.poll(_QUIET):
            for number, _ in ready:
                self._sockets[number].recv_into(self._buffer)

    def _read_until(self, done: Callable[[], bool], each: Callable[[int, bytes], None] | None) -> None:
        deadline = time.monotonic() + _DEADLINE
        while not done():
            for number, _ in self._poll.poll(1.0):
                size = self._sockets[number].recv_into(self._buffer)
                if size == 0:
                    raise ConnectionError("The server closed an event stream.")
                chunk = self._buffer[:size]
                self.events += chunk.count(b"data: ")
                if each is not None:
                    each(number, bytes(chunk))
            if time.monotonic() > deadline:
                raise TimeoutError(f"Only {self.events} events came within {_DEADLINE} s.")

    def close(self) -> None:
        self._poll.close()
        for connection in self._sockets.values():
            connection.close()
