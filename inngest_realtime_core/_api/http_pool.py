"""HTTP clients of one event loop, one for each scheme and proxy, kept for a while after their last use."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from .._concurrency.tasks import create_task
from ..errors import UnreachableError
from ..settings import Settings
from .proxies import named_in_errors, proxy_for, through_proxy

_IDLE: Final = 5.0  # seconds that an unused HTTP connection is kept


_Key = tuple[bool, "str | None"]  # whether the address is encrypted, and the proxy to it


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
        proxy: The proxy to Inngest; None follows the environment.
    """

    def __init__(self, *, keep: bool, proxy: str | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle = _IDLE if keep else 0.0
        self._proxy = proxy
        self._proxies: dict[str, str | None] = {}  # the decisions, by address: the environment is read once for each
        self._clients: dict[_Key, _Client] = {}
        self._retired: set[_Client] = set()  # not lent any more, and still in use
        self._closing: dict[asyncio.Task[None], httpx.AsyncClient] = {}

    @asynccontextmanager
    async def client(self, settings: Settings) -> AsyncGenerator[httpx.AsyncClient, None]:
        """An HTTP client for the length of an `async with`.

        Raises:
            ConfigurationError: The proxy is not supported.
        """
        url = settings.api_base_url
        if url not in self._proxies:
            self._proxies[url] = proxy_for(url, self._proxy)
        key = (url.startswith("https:"), self._proxies[url])
        client = self._clients.get(key)
        if client is None:
            http = httpx.AsyncClient(verify=_ssl_context(key[0]), proxy=key[1], trust_env=False)
            client = self._clients[key] = _Client(http)
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None
        client.users += 1
        try:
            with named_in_errors(through_proxy(key[1])):
                yield client.http
        except (asyncio.CancelledError, UnreachableError):
            # httpcore (1.0) may take the connection of a call that was cut short for one in use ever after, and has
            # 100 at most. Only closing the client ends it.
            if self._clients.get(key) is client:
                self._retired.add(self._clients.pop(key))
            raise
        finally:
            client.users -= 1
            if client.users == 0:
                if client in self._retired:
                    self._retired.remove(client)
                    self._drop(client)
                elif self._clients.get(key) is client:
                    # In an empty context, as all that outlives the call: the caller's would stay with the timer.
                    client.timer = self._loop.call_later(self._idle, self._expire, key, context=contextvars.Context())
            del key  # the proxy's address may hold a password, and error reports show local variables

    def _expire(self, key: _Key) -> None:
        self._drop(self._clients.pop(key))

    def _drop(self, client: _Client) -> None:
        closing = create_task(client.http.aclose(), name="inngest-realtime http")
        self._closing[closing] = client.http
        closing.add_done_callback(self._dropped)

    def _dropped(self, closing: asyncio.Task[None]) -> None:
        # One that was cancelled, as all tasks are at a loop's end, is left to close().
        if not closing.cancelled():
            self._closing.pop(closing, None)

    async def close(self) -> None:
        """Close every client. Returns when no connection is left."""
        clients = [*self._clients.values(), *self._retired]
        self._clients.clear()
        self._retired.clear()
        for client in clients:
            if client.timer is not None:
                client.timer.cancel()
            await client.http.aclose()
        if self._closing:
            await asyncio.wait(self._closing)
        for http in self._closing.values():
            await http.aclose()
        self._closing.clear()


@functools.cache
def _ssl_context(encrypted: bool) -> ssl.SSLContext:
    # Once for all clients: making one takes milliseconds, and reading the certificates, which only https needs, tens.
    return httpx.create_ssl_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
