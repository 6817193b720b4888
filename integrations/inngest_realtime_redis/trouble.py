"""What keeps Redis from replying, said once for each cause, and that it is over."""

from __future__ import annotations

import logging
import re
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
_REST: Final = 0.5  # seconds after a failure until Redis is asked again: until then nobody is told what it lacks
_FORGOTTEN: Final = 30.0  # seconds since the last failure after which no event loop is left that would ask
# What is wrong, and what to do; by the code that Redis replies with, or the name of the exception that stands for it.
_CAUSES: Final = {
    "OOM OutOfMemoryError": "its memory is full (maxmemory): give it more, or keep less with max_bytes= and max_age=",
    "NOAUTH WRONGPASS AuthenticationError": "it rejects the password: look at the one in the URL of RedisReplay",
    "NOPERM NoPermissionError": (
        "the user may not run these commands: allow @read, @write, @scripting, @connection, TIME and INFO"
    ),
    "DENIED": "it is in protected mode, which takes connections of its own machine alone: set a password",
    "READONLY ReadOnlyError": "it is a replica, which takes no writes: name the primary in the URL of RedisReplay",
    "MASTERDOWN MasterDownError": "it is a replica that has lost its primary: name the primary in its URL",
    "NOREPLICAS": "too few of its replicas are there for it to take writes (min-replicas-to-write): look at them",
    "MISCONF": "it takes no writes because it cannot save its data (stop-writes-on-bgsave-error): look at its disk",
    "LOADING BusyLoadingError": "it is loading its data: wait",
    "BUSY": "a script keeps it busy: look for who runs one for so long; SCRIPT KILL ends it",
    "NOSCRIPT NoScriptError": "it forgets scripts at once: name one Redis in its URL, not several in turn",
    "CLUSTERDOWN ClusterDownError": "its cluster is down, or serves not all slots: look at the nodes",
    "MOVED MovedError ASK AskError TRYAGAIN TryAgainError CROSSSLOT ClusterCrossSlotError": (
        "it is one node of a cluster, and others have the channel: name an address that serves all of them"
    ),
    "MaxConnectionsError": "it has as many connections as it may (maxclients, or max_connections): allow more",
    "UnknownCommandError": "it does not know a command: look at its version, and whether commands were renamed",
    "ConnectionError": "it cannot be reached: look at the URL of RedisReplay, whether Redis runs, and its maxclients",
    "InvalidDatabase": "it has no database of that number: look at the one in the URL of RedisReplay",
    "TimeoutError": "it does not reply in time: look at its load, at the network, and whether it takes TLS (rediss://)",
}
_BY_NAME: Final = {name: cause for names, cause in _CAUSES.items() for name in names.split()}
# What Redis says without a code, or redis without an exception.
_BY_TEXT: Final = {
    "maxmemory": "OOM",
    "invalid username-password": "WRONGPASS",
    "executing the script can't run": "NOPERM",
    "max number of clients": "MaxConnectionsError",
    "DB index": "InvalidDatabase",
    "nknown command": "UnknownCommandError",
    "nknown Redis command": "UnknownCommandError",
}
_VAGUE: Final = ("ConnectionError", "TimeoutError")  # what only says that something else went wrong
_MAX_TEXT: Final = 200  # characters of what redis or Redis said


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
        text = cause
        if cause == _BY_NAME["ConnectionError"]:
            # The address and the number of the error; redis puts no password there.
            text = cause.replace(":", f" ({_said(error)}):", 1)
        now = time.monotonic()
        since = self._health.since if self._health is not None and not self._health.ok else now
        self._current = cause
        self.retry_at = now + _REST
        self._health = ReplayHealth(False, since, now, f"Redis does not keep what clients may catch up on: {text}.")
        if now - self._logged.get(cause, float("-inf")) >= _INTERVAL:
            self._logged[cause] = now
            self._is_logged = True
            logger.warning(
                "Redis does not keep what clients may have to catch up on: %s. Until then streams go on, and clients "
                "that come back to another process get a gap.",
                text,
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
    if isinstance(error, RealtimeError):
        return "Inngest has not said which account and environment this is: see connection.failed, or set namespace="
    chain = [error]
    # A connection that is turned away while it is made is a ConnectionError, because of another error.
    while isinstance(reason := chain[-1].__cause__ or chain[-1].__context__, redis.RedisError) and reason not in chain:
        chain.append(reason)
    names = [name for each in chain if (name := _name_of(each)) is not None]
    if (name := next((name for name in names if name not in _VAGUE), names[-1] if names else None)) is not None:
        return _BY_NAME[name]
    return f"{_said(error)}: look at Redis' own log"


def _name_of(error: BaseException) -> str | None:
    """Under which name the cause is known; None when it is not."""
    # Out of a script comes `... @user_script: 1: -READONLY You can't write ...` of Redis 6, which redis does not know.
    # What an unknown command was given may hold anything.
    text = str(error).partition("with args")[0]
    words: list[str] = re.findall(r"\b[A-Z]+\b", text)
    for word in words:
        if word in _BY_NAME:
            return word
    for phrase, name in _BY_TEXT.items():
        if phrase in text:
            return name
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _BY_NAME), None)


def _said(error: BaseException) -> str:
    """What an error says, without what Redis repeats of its command."""
    if not isinstance(error, redis.RedisError):
        return type(error).__name__
    text = str(error).partition("with args")[0].partition("\n")[0].strip()
    return text[:_MAX_TEXT] or type(error).__name__
