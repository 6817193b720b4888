"""HTTP clients of one event loop, one for each scheme, kept for a while after their last use."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from ..settings import Settings

__all__ = ["HttpPool"]

_IDLE: Final = 5.0  # seconds that an unused HTTP connection is kept


class _Client:
    """An HTTP client and how many use it at the moment."""

    __slots__ = ("http", "timer", "users")

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.users = 0
        self.timer: asyncio.TimerHandle | None = None


class HttpPool:
    """The HTTP clients of one event loop.

    Args:
        keep: Whether unused connections are kept for a while.
    """

    def __init__(self, *, keep: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle = _IDLE if keep else 0.0
        self._clients: dict[bool, _Client] = {}
        self._closing: dict[asyncio.Task[None], httpx.AsyncClient] = {}

    @asynccontextmanager
    async def client(self, settings: Settings) -> AsyncGenerator[httpx.AsyncClient, None]:
        """An HTTP client for the length of an `async with`."""
        encrypted = settings.api_base_url.startswith("https:")
        client = self._clients.get(encrypted)
        if client is None:
            # Without encryption there is nothing to verify, and reading the certificates takes its time.
            verify = _trust() if encrypted else False
            client = self._clients[encrypted] = _Client(httpx.AsyncClient(verify=verify))
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None
        client.users += 1
        try:
            yield client.http
        finally:
            client.users -= 1
            if client.users == 0 and self._clients.get(encrypted) is client:
                client.timer = self._loop.call_later(self._idle, self._drop, encrypted)

    def _drop(self, encrypted: bool) -> None:
        client = self._clients.pop(encrypted)
        closing = self._loop.create_task(client.http.aclose(), name="inngest-realtime http")
        self._closing[closing] = client.http
        closing.add_done_callback(self._dropped)

    def _dropped(self, closing: asyncio.Task[None]) -> None:
        # One that was cancelled, as all tasks are at a loop's end, is left to close().
        if not closing.cancelled():
            self._closing.pop(closing, None)

    async def close(self) -> None:
        """Close every client. Returns when no connection is left."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            if client.timer is not None:
                client.timer.cancel()
            await client.http.aclose()
        if self._closing:
            await asyncio.wait(self._closing)
        for http in self._closing.values():
            await http.aclose()
        self._closing.clear()


@functools.cache
def _trust() -> ssl.SSLContext:
    # Once for all clients: reading the certificates takes tens of milliseconds.
    return httpx.create_ssl_context()
