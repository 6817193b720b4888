"""Timers that run also where a test has frozen the clock."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from types import BuiltinFunctionType

from .threads import start_daemon_thread

__all__ = ["call_after"]


def call_after(loop: asyncio.AbstractEventLoop, delay: float, callback: Callable[[], None]) -> Callable[[], object]:
    """Calls `callback` on the running event loop after `delay` seconds. Returns what cancels that."""
    if isinstance(time.monotonic, BuiltinFunctionType):
        return loop.call_later(delay, callback).cancel
    # freezegun has replaced the clock, the event loop's as well, whose timers then never come.
    cancelled = threading.Event()

    def wait() -> None:
        if not cancelled.wait(max(delay, 0.0)):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: None if cancelled.is_set() else callback())

    start_daemon_thread(wait, "inngest-realtime timer")
    return cancelled.set
