"""Getting a connection, getting one again, and what a failed attempt means for those who wait."""

from __future__ import annotations

import logging
import time
from typing import Final

from .._telemetry.throttled_log import ThrottledLog
from ..errors import AuthenticationError, InngestError, RealtimeError, UnreachableError
from .backoff import Backoff, RetryGate
from .connection import Connection
from .dialer import Dialer
from .registry import ChannelRegistry, Join
from .wake import Wake

_log = ThrottledLog(logging.getLogger("inngest_realtime.upstream"))

_MAX_JOIN_WAIT: Final = 1.0  # seconds between two attempts at most while somebody waits to join
_FOREIGN_REJECTIONS: Final = 60.0  # seconds for which rejections that are not Inngest's own are not believed


class Connector:
    """Makes the connections of one upstream.

    Args:
        dialer: Makes one attempt.
        registry: The channels to connect for.
        retry_gate: Shared with the other upstreams of the process.
        wake: Set when a channel joins or leaves, and when a connection changes.
    """

    def __init__(self, dialer: Dialer, registry: ChannelRegistry, retry_gate: RetryGate, wake: Wake) -> None:
        self._dialer = dialer
        self._registry = registry
        self._retry_gate = retry_gate
        self._wake = wake
        self._backoff = Backoff()
        self._rejections = 0
        self._foreign_since: float | None = None

    async def connect(self, *, reconnecting: bool) -> Connection | None:
        """Make one attempt at the first connection, or at one in place of a lost one.

        Returns:
            A connection that holds what it brings; None when the attempt failed and another one is to be made.

        Raises:
            RealtimeError: No other attempt is to be made.
        """
        if reconnecting:
            await self._pause(self._backoff.next_delay())
        # A newcomer is told of the trouble rather than queued behind those who wait for their turn.
        crowded = not reconnecting and self._retry_gate.crowded
        if not crowded:
            await self.wait_for_turn()
        if self._registry.empty:
            # Everybody has left meanwhile.
            raise closed_here()
        joined = self._registry.joins()
        try:
            if crowded:
                raise _crowded()
            return await self.establish()
        except RealtimeError as error:
            self._handle_failure(error, joined, reconnecting)
            return None

    async def wait_for_turn(self) -> None:
        """Return when an attempt may be made: at once while Inngest is well."""
        await self._retry_gate.wait()

    async def establish(self) -> Connection:
        """Open a connection that is proved to be subscribed to all that was delivered before; it holds what comes.

        The first one is for all that is wanted, as far as it can be decided.

        Raises:
            RealtimeError: It can't be had.
        """
        # Who joins is added afterwards: a bad name of theirs costs those who were here nothing.
        proved = self._registry.proved_entries()
        try:
            connection, outcome = await self._dialer.dial(
                proved or self._registry.entries(),
                partial=not proved,
                on_change=self._wake.set,
                on_undelivered=self._registry.undelivered,
            )
        except RealtimeError as error:
            # A rejection says that Inngest is well.
            if not (isinstance(error, AuthenticationError) and error.by_inngest):
                self._retry_gate.failed(error)
            raise
        self._registry.renew(entry for entry, error in outcome.items() if error is None)
        for entry, rejection in outcome.items():
            if rejection is not None:
                self._registry.reject_topic(entry, rejection)
        self._rejections = 0
        self._foreign_since = None
        self._retry_gate.succeeded()
        self._backoff.opened()
        return connection

    def is_final(self, error: RealtimeError) -> bool:
        """Count a failed attempt to replace a connection; returns whether to make no other."""
        if not isinstance(error, AuthenticationError):
            return False
        if not error.by_inngest:
            # A web page from something in front of Inngest, perhaps for a moment only.
            now = time.monotonic()
            if self._foreign_since is None:
                self._foreign_since = now
            return now - self._foreign_since >= _FOREIGN_REJECTIONS
        # A token made just before a server was replaced is rejected once; the rejection of a second one is final.
        self._rejections += 1
        return error.url != self._dialer.websocket_url or self._rejections >= 2

    def _handle_failure(self, error: RealtimeError, joined: dict[str, list[Join]], reconnecting: bool) -> None:
        """Who joins is told at once; who was here already is kept if possible."""
        self._registry.reject_pending(joined, error, drop=not reconnecting)
        if isinstance(error, AuthenticationError) and (not reconnecting or self.is_final(error)):
            raise error
        if reconnecting:
            kind = (type(error), error.status if isinstance(error, InngestError) else None)
            _log.write(
                logging.WARNING,
                kind,
                f"Reconnecting to Inngest failed: {error} It is tried again; `inngest-realtime doctor` says more.",
                error,
                event="connection.failed",
            )
        elif self._registry.empty:
            raise error

    async def _pause(self, seconds: float) -> None:
        """Wait, but not on when nobody is left to wait for, and not long when somebody waits to join."""
        began = time.monotonic()
        while not self._registry.empty:
            longest = min(seconds, _MAX_JOIN_WAIT) if self._registry.joining else seconds
            remaining = began + longest - time.monotonic()
            if remaining <= 0:
                return
            self._wake.clear()
            await self._wake.wait_for(remaining)


def closed_here() -> UnreachableError:
    return UnreachableError("The connection to Inngest was closed by this process.", url="")


def _crowded() -> UnreachableError:
    return UnreachableError(
        "Inngest has failed several times in a row; until it responds again, this process tries about once a second. "
        "Try again later, and see the log for what failed.",
        url="",
    )
