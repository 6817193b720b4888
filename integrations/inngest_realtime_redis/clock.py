"""What time it is in Redis, which is not the time of this machine, as exactly as its replies tell."""

from __future__ import annotations

import time
from typing import Final

from inngest_realtime_core._replay.numbers import Clock

__all__ = ["RedisClock"]

_UNKNOWN: Final = 5.0  # seconds by which the clocks of two machines may differ
_DRIFT: Final = 1e-3  # of the time that has passed, at most


class RedisClock:
    """How far the clock of a Redis is ahead of `time.monotonic()`. Its methods are callable from any thread.

    A reply that holds the time of Redis was made after its question was sent and before it was read: how long the
    exchange took is how wrong it may be. The best of all is kept.
    """

    def __init__(self) -> None:
        self._least = time.time() - time.monotonic() - _UNKNOWN
        self._most = self._least + 2 * _UNKNOWN
        self._read_at: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether Redis has told the time."""
        return self._read_at is not None

    @property
    def reading(self) -> Clock:
        return Clock(self._least, self._most - self._least)

    def read(self, seconds: float, sent_at: float) -> None:
        """Called with the time that Redis has told.

        Args:
            seconds: The time.
            sent_at: When it was asked for, by `time.monotonic()`.
        """
        now = time.monotonic()
        least, most = seconds - now, seconds - sent_at
        if self._read_at is not None:
            drift = (now - self._read_at) * _DRIFT
            both = max(least, self._least - drift), min(most, self._most + drift)
            # Otherwise one of the clocks has been set.
            least, most = both if both[0] <= both[1] else (least, most)
        self._least, self._most, self._read_at = least, most, now
