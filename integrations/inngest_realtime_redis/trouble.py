"""What keeps Redis from answering, said once for each cause, and that it is over."""

from __future__ import annotations

import logging
import time
from typing import Final

import redis

from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_core.errors import RealtimeError
from inngest_realtime_core.stats import ReplayHealth

__all__ = ["Trouble", "is_of_another_kind", "tell_unreadable"]

logger: logging.Logger = logging.getLogger("inngest_realtime.replay")
_log = ThrottledLog(logger)

_INTERVAL: Final = 30.0  # seconds between two lines about the same cause
_REST: Final = 2.0  # seconds after a failure until Redis is asked again
_FORGOTTEN: Final = 30.0  # seconds since the last failure after which no event loop is left that would ask
# What is wrong, and what to do.
_BY_NAME: Final = {
    "OutOfMemoryError": "its memory is full (maxmemory): give it more, or keep less with max_bytes= and max_age=",
    "AuthenticationError": "it rejects the password: look at the one in the URL of RedisReplay",
    "NoPermissionError": "the user may not run these commands: allow @read, @write, @scripting, @connection and TIME",
    "ReadOnlyError": "it is a replica, which takes no writes: name the primary in the URL of RedisReplay",
    "MovedError": "it is one node of a cluster, and others have the channel: name an address that serves all of them",
    "BusyLoadingError": "it is loading its data: wait",
    "ConnectionError": "it cannot be reached: look at the URL of RedisReplay, and whether Redis runs",
    "TimeoutError": "it does not answer in time: look at its load, and at the network",
}


class Trouble:
    """The troubles of one Redis, shared by the event loops of a process. Its methods are callable from any thread.

    Attributes:
        retry_at: When Redis is to be asked again, by `time.monotonic()`.
    """

    def __init__(self) -> None:
        self.retry_at: float = 0.0
        self._logged: dict[str, float] = {}
        self._current: str | None = None
        self._is_logged = False
        self._health: ReplayHealth | None = None

    @property
    def health(self) -> ReplayHealth | None:
        """How Redis is; None before it was asked anything."""
        return self._health

    def begins(self, error: Exception) -> None:
        """Called when Redis did not do what it was asked."""
        cause = _cause(error)
        now = time.monotonic()
        since = self._health.since if self._health is not None and not self._health.ok else now
        self._current = cause
        self.retry_at = now + _REST
        self._health = ReplayHealth(False, since, now, f"Redis does not keep what clients may catch up on: {cause}.")
        if now - self._logged.get(cause, float("-inf")) >= _INTERVAL:
            self._logged[cause] = now
            self._is_logged = True
            logger.warning(
                "Redis does not keep what clients may have to catch up on: %s. Until then streams go on, and clients "
                "that come back to another process get a gap.",
                cause,
                extra={"event": "replay.failed"},
            )

    @property
    def lasts(self) -> bool:
        """Whether Redis has not done yet what it is asked."""
        return self._current is not None

    @property
    def is_away(self) -> bool:
        """Whether nobody but who finds out about it is to ask Redis anything."""
        # Where each call has an event loop of its own, none of them lives to find out.
        return self._current is not None and time.monotonic() < self.retry_at - _REST + _FORGOTTEN

    def ends(self) -> None:
        """Called when Redis has done all that it was asked."""
        health, now = self._health, time.monotonic()
        if health is None:
            self._health = ReplayHealth(True, now)
        elif self._current is not None:
            self._current = None
            self._health = ReplayHealth(True, now, health.failed_at, health.last_error)
            if self._is_logged:
                self._is_logged = False
                logger.warning(
                    "Redis keeps again what clients may have to catch up on, after %.0f s.",
                    now - health.since,
                    extra={"event": "replay.restored"},
                )


def is_of_another_kind(error: Exception) -> bool:
    """Whether somebody else has a key with the name of one of a channel's."""
    return "WRONGTYPE" in str(error)


def tell_unreadable(channel: str, error: Exception) -> None:
    """Log what concerns one channel alone."""
    text = f"What Redis keeps of channel {channel[:200]!r} cannot be read: set namespace=. Clients get a gap."
    _log.write(logging.WARNING, type(error).__name__, text, error, event="redis.unreadable")


def _cause(error: BaseException) -> str:
    # A connection that is turned away while it is made is a ConnectionError, because of another error.
    while isinstance(reason := error.__cause__ or error.__context__, redis.RedisError):
        error = reason
    if isinstance(error, RealtimeError):
        return "Inngest has not said which account and environment this is: see connection.failed, or set namespace="
    text = str(error)
    if text.startswith("OOM ") or "maxmemory" in text:
        return _BY_NAME["OutOfMemoryError"]
    if text.startswith(("NOAUTH", "WRONGPASS")) or "invalid username-password" in text:
        return _BY_NAME["AuthenticationError"]
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_NAME:
            return _BY_NAME[kind.__name__]
    return f"{type(error).__name__}: look at Redis' own log"
