"""Looking again, while streams are open, whether signals still reach them: others may set handlers after us.

It also logs when a process begins to serve streams and when it stops: servers replace workers without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("inngest_realtime.sse")

_INTERVAL: Final = 1.0  # seconds between two looks


class StreamWatch:
    """Calls a function when a stream for a web client begins, and every second while one may be open.

    Args:
        loop: The event loop on which it is called again.
        look: The function; callable from any thread.
        active: Whether a stream may be open.
    """

    __slots__ = ("_active", "_began", "_look", "_loop", "_stopped", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None], active: Callable[[], bool]) -> None:
        self._loop = loop
        self._look = look
        self._active = active
        self._timer: asyncio.TimerHandle | None = None
        self._began = False
        self._stopped = False

    def begin(self) -> None:
        """Called when a stream begins, by the thread that reads it."""
        self._look()
        if not self._began:
            self._began = True
            logger.info("Process %d opens its first event stream.", os.getpid(), extra={"event": "streams.began"})
        if self._timer is None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._schedule, context=contextvars.Context())

    def stopped(self, streams: int) -> None:
        """Called when the process is asked to stop, with the number of streams that this ends."""
        if streams and not self._stopped:
            self._stopped = True
            logger.warning(
                "Process %d stops and ends its open event streams (%d); their clients are told to come back. "
                "Where this is neither a deployment nor a reload, look at the limits of the server's workers "
                "(gunicorn's --max-requests and --timeout).",
                os.getpid(),
                streams,
                extra={"event": "streams.ended"},
            )

    def stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _schedule(self) -> None:
        if self._timer is None and self._active():
            self._timer = self._loop.call_later(_INTERVAL, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        if self._active():
            self._look()
            self._schedule()
