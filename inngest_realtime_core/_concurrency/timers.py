"""Timers that keep nothing of whoever starts them, and that run also where a test has frozen the clock."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from contextvars import Context
from types import BuiltinFunctionType

import anyio

from .threads import start_daemon_thread


def call_after(loop: asyncio.AbstractEventLoop, delay: float, callback: Callable[[], object]) -> Callable[[], object]:
    """Calls `callback` on the running event loop after `delay` seconds. Returns what cancels that.

    It is called in an empty context: asyncio keeps a timer that was cancelled, and its context, until it would be due.
    """
    if isinstance(time.monotonic, BuiltinFunctionType):
        return loop.call_later(delay, callback, context=Context()).cancel
    # freezegun has replaced the clock, the event loop's as well, whose timers then never come.
    cancelled = threading.Event()

    def wait() -> None:
        if not cancelled.wait(max(delay, 0.0)):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: None if cancelled.is_set() else callback())

    start_daemon_thread(wait, "inngest-realtime timer")
    return cancelled.set


@contextlib.contextmanager
def deadline(seconds: float | None) -> Generator[anyio.CancelScope, None, None]:
    """`anyio.move_on_after`, with a timer that keeps nothing of the caller. None is no limit."""
    with anyio.CancelScope() as scope:
        cancel = None if seconds is None else call_after(asyncio.get_running_loop(), seconds, scope.cancel)
        try:
            yield scope
        finally:
            if cancel is not None:
                cancel()
