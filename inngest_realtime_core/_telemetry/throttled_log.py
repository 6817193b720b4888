"""Log lines that a stranger, or an outage, could make any number of: one of each kind in a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable
from typing import Final

_LOG_INTERVAL: Final = 10.0  # seconds between two lines of one kind
_MAX_KINDS: Final = 100  # in that time; what else there is shares one more line
_OTHERS: Final = object()


class ThrottledLog:
    """Writes one line of each kind in a while, with the number of those left out."""

    __slots__ = ("_interval", "_logger", "_written")

    def __init__(self, logger: logging.Logger, interval: float = _LOG_INTERVAL) -> None:
        self._logger = logger
        self._interval = interval
        self._written: dict[Hashable, tuple[float, int]] = {}  # when, and how many were left out since

    def write(
        self,
        level: int,
        kind: Hashable,
        message: str,
        error: BaseException | None = None,
        *,
        event: str | None = None,
        traceback: bool = False,
    ) -> None:
        """Write a line, unless one of its kind was written a while ago.

        Args:
            level: As in `logging`.
            kind: What must be equal for two lines to count as one.
            message: The line. An error's own text belongs in it.
            error: Its traceback is written at DEBUG, however often.
            event: The stable name of what happened, the attribute `event` of the log record.
            traceback: Whether the line itself has the traceback, where it is the application's to mend.
        """
        if error is not None and not traceback:
            self._logger.debug("%s", message, exc_info=error)
        now = time.monotonic()
        if kind not in self._written and len(self._written) >= _MAX_KINDS:
            # Kinds may hold the names of channels, of which there are any number.
            recent = {each: entry for each, entry in self._written.items() if now - entry[0] < self._interval}
            self._written = recent
            kind = kind if len(recent) < _MAX_KINDS else _OTHERS
        written, left_out = self._written.get(kind, (-self._interval, 0))
        if now - written < self._interval:
            self._written[kind] = (written, left_out + 1)
            return
        self._written[kind] = (now, 0)
        more = f" ({left_out} times more since the last such line)" if left_out else ""
        self._logger.log(level, "%s%s", message, more, exc_info=error if traceback else None, extra={"event": event})
