"""The HTTP side of one event loop: clients that are kept for a while, and tokens that many ask for at once."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import httpx
import msgspec

from .entries import Entry
from .errors import RealtimeError, UnreachableError
from .settings import Settings
from .tasks import end_tasks
from .tokens import mint, read_claims_unverified

__all__ = ["MintedToken", "Minting"]

_IDLE: Final = 5.0  # seconds that an unused HTTP connection is kept
_FRESH: Final = 2.0  # seconds that a token is given to everybody who asks for the same
_FAILED: Final = 0.5  # seconds that a failure to make it is


class MintedToken(msgspec.Struct, frozen=True):
    """A token and the environment it is for."""

    token: str
    env_id: str | None

    def __repr__(self) -> str:
        return f"MintedToken(env_id={self.env_id!r})"

    @classmethod
    def of(cls, token: str) -> MintedToken:
        """Read the environment from a token's claims."""
        try:
            return cls(token, read_claims_unverified(token).env_id)
        except RealtimeError:
            # Not a token that can be read here; Inngest says what it thinks of it.
            return cls(token, None)


class _Client:
    """An HTTP client and how many use it at the moment."""

    __slots__ = ("http", "timer", "users")

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.users = 0
        self.timer: asyncio.TimerHandle | None = None


class Minting:
    """Makes tokens, with a client for each scheme.

    Args:
        settings: Where Inngest is, unless a call says otherwise.
        keep: Whether unused connections are kept for a while.
    """

    def __init__(self, settings: Settings, *, keep: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._idle = _IDLE if keep else 0.0
        self._clients: dict[bool, _Client] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._tokens: dict[tuple[Entry, ...], tuple[float, asyncio.Task[str]]] = {}

    async def fresh(self, entries: Sequence[Entry], settings: Settings) -> MintedToken:
        """Mint a token for a connection, which needs one of its own.

        Raises:
            InngestError: Inngest refused, did not answer, or answered something else.
        """
        async with self.http(settings) as http:
            return MintedToken.of(await mint(http, settings, entries))

    async def shared(self, entries: Sequence[Entry]) -> str:
        """Mint a token for a web client. Equal requests at the same time, or within 2 s, share one.

        A thousand browsers that reconnect at once cost a handful of requests to Inngest. The caller has authorized
        each of them before.

        Raises:
            InngestError: Inngest refused, did not answer, or answered something else.
        """
        wanted = tuple(sorted(entries))
        now = time.monotonic()
        for old in [key for key, (made, task) in self._tokens.items() if task.done() and now - made > _FRESH]:
            del self._tokens[old]
        known = self._tokens.get(wanted)
        failure = known[1].exception() if known is not None and known[1].done() and not known[1].cancelled() else None
        if known is not None and failure is not None and now - known[0] <= _FAILED:
            # Browsers ask again at once: without this, an Inngest that fails fast would be asked by each of them.
            raise failure.with_traceback(None)
        if known is None or failure is not None or known[1].cancelled():
            task = self._loop.create_task(self._mint(entries), name="inngest-realtime token")
            task.add_done_callback(_look_at_failure)
            known = self._tokens[wanted] = (now, task)
        # Not awaited itself: one who leaves would take the token from the others.
        await asyncio.wait([known[1]])
        if known[1].cancelled():
            raise UnreachableError("The request to Inngest was ended by this process.", url=self._settings.url("token"))
        return known[1].result()

    async def _mint(self, entries: Sequence[Entry]) -> str:
        async with self.http(self._settings) as http:
            return await mint(http, self._settings, entries)

    @asynccontextmanager
    async def http(self, settings: Settings) -> AsyncGenerator[httpx.AsyncClient, None]:
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
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Returns when no request is under way and no connection is left."""
        minting = [task for _, task in self._tokens.values() if not task.done()]
        self._tokens.clear()
        await end_tasks(minting)
        clients, self._clients = self._clients, {}
        for client in clients.values():
            if client.timer is not None:
                client.timer.cancel()
            await client.http.aclose()
        if self._closing:
            await asyncio.wait(self._closing)


def _look_at_failure(task: asyncio.Task[str]) -> None:
    # Everybody who asked may have left; asyncio logs failures that nobody looks at.
    if not task.cancelled():
        task.exception()


@functools.cache
def _trust() -> ssl.SSLContext:
    # Once for all clients: reading the certificates takes tens of milliseconds.
    return httpx.create_ssl_context()
