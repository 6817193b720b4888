"""Tokens from Inngest on one event loop: a fresh one for a connection, and one that many web clients share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from .._concurrency.tasks import create_shared_task, end_tasks, look_at_failure
from ..errors import UnreachableError
from ..settings import Settings
from .http_pool import HttpPool
from .tokens import Entry, IssuedToken, mint

_FRESH: Final = 2.0  # seconds that a token is given to everybody who asks for the same
_FAILED: Final = 0.5  # seconds that a failure to make it is


class TokenCache:
    """Asks Inngest for tokens on one event loop.

    Args:
        settings: Where Inngest is, unless a call says otherwise.
        pool: Lends the HTTP clients.
    """

    def __init__(self, settings: Settings, pool: HttpPool) -> None:
        self._settings = settings
        self._pool = pool
        self._tokens: dict[tuple[Entry, ...], tuple[float, asyncio.Task[str]]] = {}

    async def fresh(self, entries: Sequence[Entry], settings: Settings) -> IssuedToken:
        """Mint a token for a connection, which needs one of its own.

        Raises:
            InngestError: Inngest refused, did not respond, or responded with something else.
        """
        async with self._pool.client(settings) as http:
            return IssuedToken.of(await mint(http, settings, entries))

    async def shared(self, entries: Sequence[Entry]) -> str:
        """Mint a token for a web client. Equal requests at the same time, or within 2 s, share one.

        A thousand browsers that reconnect at once cost a handful of requests to Inngest. The caller has authorized
        each of them before.

        Raises:
            InngestError: Inngest refused, did not respond, or responded with something else.
        """
        wanted = tuple(sorted(entries))
        now = time.monotonic()
        # In the order in which they were asked for, so that no more is looked at than is dropped.
        while self._tokens:
            made, task = self._tokens[oldest := next(iter(self._tokens))]
            if now - made <= _FRESH or not task.done():
                break
            del self._tokens[oldest]
        known = self._tokens.get(wanted)
        if known is not None and known[1].done() and now - known[0] > _FRESH:
            known = None  # it is behind one that is still being asked for
        failure = known[1].exception() if known is not None and known[1].done() and not known[1].cancelled() else None
        if known is not None and failure is not None and now - known[0] <= _FAILED:
            # Browsers ask again at once: without this, an Inngest that fails fast would be asked by each of them.
            raise failure.with_traceback(None)
        if known is None or failure is not None or known[1].cancelled():
            task = create_shared_task(self._mint(entries), name="inngest-realtime token")
            task.add_done_callback(look_at_failure)
            self._tokens.pop(wanted, None)
            known = self._tokens[wanted] = (now, task)
        # Not awaited itself: one who leaves would take the token from the others.
        await asyncio.wait([known[1]])
        if known[1].cancelled():
            raise UnreachableError("The request to Inngest was ended by this process.", url=self._settings.url("token"))
        return known[1].result()

    async def _mint(self, entries: Sequence[Entry]) -> str:
        async with self._pool.client(self._settings) as http:
            return await mint(http, self._settings, entries)

    async def close(self) -> None:
        """Returns when no request is under way and no connection is left."""
        under_way = [task for _, task in self._tokens.values() if not task.done()]
        self._tokens.clear()
        await end_tasks(under_way)
