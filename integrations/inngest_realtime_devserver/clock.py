"""The server's clock: every reading is later than the one before."""

from __future__ import annotations

import time

__all__ = ["Clock"]

_SECOND = 1_000_000_000  # nanoseconds


class Clock:
    """Gives the `created_at` of frames.

    Two equal messages published within the resolution of the system's clock must still differ, else a client
    that drops what two connections delivered would drop a real message. So a reading is never repeated.
    """

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> str:
        """The time as RFC 3339 in UTC, nanoseconds with trailing zeros trimmed, strictly increasing."""
        self._last = max(time.time_ns(), self._last + 1)
        seconds, nanoseconds = divmod(self._last, _SECOND)
        fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
