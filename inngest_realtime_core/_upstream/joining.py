"""Adding channels to an open connection, and taking them off it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from .._api.tokens import Entry
from .._concurrency.tasks import create_task, end_tasks, look_at_failure, sleep
from ..errors import RealtimeError, UnreachableError
from .batching import frame_batches
from .connection import Connection
from .dialer import Dialer, TokenResult
from .registry import ChannelRegistry
from .wake import Wake

logger = logging.getLogger("inngest_realtime.upstream")

_LEAVE_PAUSE: Final = 0.01  # seconds between leaving a topic and being free to take it again


class Joiner:
    """Subscribes and unsubscribes the channels of one upstream.

    Args:
        dialer: Requests tokens and sends them.
        registry: The channels.
        wake: Set when a token has come.
    """

    def __init__(self, dialer: Dialer, registry: ChannelRegistry, wake: Wake) -> None:
        self._dialer = dialer
        self._registry = registry
        self._wake = wake
        self._request: asyncio.Task[TokenResult] | None = None
        self._batch: Sequence[Entry] = ()

    @property
    def ready(self) -> bool:
        """Whether a token has come, or can't be had."""
        return self._request is not None and self._request.done()

    def request(self) -> None:
        """Start requesting a token for the channels that join, unless one is under way. Nothing waits for it here."""
        if self._request is not None or not self._registry.joining:
            return
        batches = frame_batches(self._registry.wanted())
        if not batches:
            self._registry.resolve()
            return
        self._batch = batches[0]
        self._request = create_task(self._dialer.request(self._batch, partial=True), name="inngest-realtime token")
        self._request.add_done_callback(lambda _: self._wake.set())

    async def stop(self) -> None:
        """Cancel the request for a token. The next connection serves the channels that join."""
        request, self._request = self._request, None
        if request is not None:
            await end_tasks([request])
            look_at_failure(request)

    async def subscribe(self, connection: Connection, adopt: Callable[[Sequence[Entry]], None]) -> None:
        """Subscribe the topics of the token that has come.

        Args:
            adopt: Called with them before they are subscribed.
        """
        request, self._request = self._request, None
        batch = self._batch
        if request is None:
            return
        try:
            result = request.result()
            if set(self._registry.wanted()).isdisjoint(batch):
                # They have left, or a new connection has taken them along.
                self._registry.resolve()
                return
            adopt(result.entries)
            outcome = await self._dialer.add(connection, result, partial=True)
        except RealtimeError as error:
            if isinstance(error, UnreachableError) and (connection.lost or error.url == ""):
                # The connection itself broke: they are subscribed with all others on the next one.
                connection.abort(connection.lost_reason)
                await self._wake.until(lambda: connection.lost)
                return
            self._registry.fail(error, {channel for channel, _ in batch})
        else:
            self._registry.cover(entry for entry, error in outcome.items() if error is None)
            for entry, rejection in outcome.items():
                if rejection is not None:
                    self._registry.reject_topic(entry, rejection)
        self._registry.resolve()

    async def unsubscribe(self, connection: Connection) -> None:
        """Unsubscribe what has been left, and release those who wait for that."""
        registry = self._registry
        leavers = registry.take_leavers()
        try:
            gone = registry.take_leaving()
            if gone and not registry.empty:
                await self._dialer.remove(connection, gone)
                await sleep(_LEAVE_PAUSE)
        except UnreachableError:
            await self._wake.until(lambda: connection.lost)
        finally:
            if not registry.empty:
                registry.release(leavers)
            else:
                # The socket itself goes; who waits is released once it is closed.
                registry.keep_waiting(leavers)
