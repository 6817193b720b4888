"""A limit for the logs of all channels together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from .channel_log import ChannelLog

_BYTES: Final = 64 * 2**20
_FULL: Final = 7 / 8  # of the limit: from here on something is evicted
_KEPT: Final = 3 / 4  # of the limit: what is kept then


class LogTotal:
    """The bytes of payload in the logs of one event loop; the channels that received least recently lose theirs.

    A log asks before it grows, and not at each message.

    Args:
        max_bytes: What one log may have.
        logs: All of them.
    """

    __slots__ = ("_limit", "_logs", "_room")

    def __init__(self, max_bytes: int, logs: Callable[[], Iterable[ChannelLog]]) -> None:
        self._limit = max(_BYTES, max_bytes)
        self._logs = logs
        self._room: float = self._limit

    def grant(self, size: int) -> None:
        """Called before a log has so many bytes more."""
        self._room -= size
        if self._room < 0:
            self._room = inf  # it is looked already
            self._room = self._limit - self._look()

    def _look(self) -> int:
        """Evicts where there is nearly too much. Returns the bytes that are left."""
        logs = [log for log in self._logs() if log.kept_bytes]
        for log in logs:
            log.prune()
        kept = sum(log.kept_bytes for log in logs)
        if kept > _FULL * self._limit:
            for log in sorted(logs, key=lambda each: each.last_at):
                if kept <= _KEPT * self._limit:
                    break
                kept -= log.kept_bytes
                log.evict()
        return sum(log.settle_grant() for log in logs)
