"""What keeps Redis from answering, said once for each cause, and that it is over."""

from __future__ import annotations

import logging
import time
from typing import Final

from inngest_realtime_core.errors import RealtimeError

__all__ = ["Trouble"]

logger: logging.Logger = logging.getLogger("inngest_realtime.replay")

_INTERVAL: Final = 30.0  # seconds between two lines about the same cause
_BY_NAME: Final = {
    "OutOfMemoryError": "its memory is full (maxmemory)",
    "AuthenticationError": "it rejects the password",
    "NoPermissionError": "the user may not run these commands",
    "ReadOnlyError": "it is a replica, which takes no writes",
    "BusyLoadingError": "it is loading its data",
    "ConnectionError": "it cannot be reached",
    "TimeoutError": "it does not answer in time",
}


class Trouble:
    """The troubles of one connection to Redis."""

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}
        self._current: str | None = None

    def begins(self, error: Exception) -> None:
        """Called when Redis did not do what it was asked."""
        cause = _cause(error)
        self._current = cause
        now = time.monotonic()
        if now - self._logged.get(cause, float("-inf")) >= _INTERVAL:
            self._logged[cause] = now
            logger.warning("Redis does not keep what clients may have to catch up on: %s.", cause)

    @property
    def lasts(self) -> bool:
        """Whether Redis has not done yet what it is asked."""
        return self._current is not None

    def ends(self) -> None:
        """Called when Redis has done what it was asked."""
        if self._current is not None:
            self._current = None
            self._logged.clear()
            logger.warning("Redis keeps again what clients may have to catch up on.")


def _cause(error: Exception) -> str:
    if isinstance(error, RealtimeError):
        return "Inngest has not said which account and environment this is"
    text = str(error)
    if text.startswith("OOM ") or "maxmemory" in text:
        return _BY_NAME["OutOfMemoryError"]
    if text.startswith(("NOAUTH", "WRONGPASS")) or "invalid username-password" in text:
        return _BY_NAME["AuthenticationError"]
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_NAME:
            return _BY_NAME[kind.__name__]
    return type(error).__name__
