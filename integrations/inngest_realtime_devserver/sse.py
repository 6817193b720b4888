"""`GET sse`: a subscription as server-sent events (PROTOCOL.md section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from .frames import Frame
from .node import Node
from .tokens import Claims

__all__ = ["SseConnection"]

HIGH_WATER = 3 * 1024 * 1024  # bytes unsent, above which publishers wait

_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Content-Type"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"text/event-stream"),
]
_KEEPALIVE = b":\n\n"


class SseConnection:
    """One response to `GET sse`.

    Args:
        node: The server.
        claims: What the client's token says.
        abort: Cuts off the client's socket.
    """

    def __init__(self, node: Node, claims: Claims, abort: Callable[[], None]) -> None:
        self._node = node
        self._claims = claims
        self._abort = abort
        self.channels: set[str] = {channel for channel, _ in claims.keys}
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self.frozen: bool = False
        self._finished = False
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def deliver(self, frame: Frame) -> None:
        """Queue a frame."""
        self._write(frame.sse)

    async def drained(self) -> None:
        """Return when less than the high-water mark is unsent, or the client is gone."""
        await self._drained.wait()

    def drop(self) -> None:
        """Cut the client off, what is unsent included."""
        self.freeze()
        self._abort()

    def finish(self) -> None:
        """End the response after what is unsent."""
        self._finished = True
        self._wake.set()

    def freeze(self) -> None:
        """Send nothing any more."""
        self.frozen = True
        self._unsent.clear()
        self._drained.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until the client leaves, its time is over or the server ends it."""
        loop = asyncio.get_running_loop()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        # Started by hand: Starlette's responses would need a generator, a task group and a cancellation for this.
        leaving = loop.create_task(self._watch(receive))
        lifetime = loop.call_later(self._node.sse_lifetime, self.finish)
        self._node.join(self)
        self._node.broker.subscribe(self, self._claims.keys)
        try:
            await self._pump(send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            lifetime.cancel()
            leaving.cancel()
            self.freeze()
            self._node.leave(self)

    async def _pump(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        if self._claims.topics:
            self._write(_KEEPALIVE)
        due = loop.time() + self._node.keepalive
        while True:
            if self._unsent:
                body, self._unsent, self._unsent_size = b"".join(self._unsent), [], 0
                await send({"type": "http.response.body", "body": body, "more_body": True})
                self._drained.set()
                continue
            if self._finished:
                return
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), due - loop.time() if self._claims.topics else None)
            except asyncio.TimeoutError:
                due += self._node.keepalive
                self._write(_KEEPALIVE)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.freeze()
        self.finish()

    def _write(self, data: bytes) -> None:
        if self.frozen:
            return
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size >= HIGH_WATER:
            self._drained.clear()
        self._wake.set()
