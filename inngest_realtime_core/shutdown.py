"""Noticing that the process is asked to stop, so that open streams end instead of holding up the server.

uvicorn, for one, waits for open responses on SIGTERM, and runs the application's lifespan shutdown only after them: a
stream that ends there ends too late. So a signal handler is put before the server's own: it ends the streams and then
calls the one it found. It is put in place when the first stream begins, and only on the main thread, where Python
allows it; nothing of the server is changed.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

__all__ = ["end_streams_on_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Stoppable(Protocol):
    def begin_shutdown(self) -> None: ...


class _Handler:
    """What stands before the handler that a signal had."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any] | int | None) -> None:
        self.previous = previous
        self.stoppables: weakref.WeakSet[_Stoppable] = weakref.WeakSet()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        for stoppable in list(self.stoppables):
            stoppable.begin_shutdown()
        previous = self.previous
        if callable(previous):
            previous(signum, frame)
        elif previous == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


def end_streams_on_signals(stoppable: _Stoppable) -> bool:
    """Call `stoppable.begin_shutdown()` on SIGTERM and SIGINT, and then what handled the signal before.

    Returns:
        Whether it could be arranged: only the main thread may. Otherwise the host calls `begin_shutdown()` itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    for signum in _SIGNALS:
        current = signal.getsignal(signum)
        if isinstance(current, _Handler):
            current.stoppables.add(stoppable)
            continue
        if current is None or current == signal.SIG_IGN:
            # Set by other than Python code, or ignored on purpose.
            continue
        handler = _Handler(current)
        handler.stoppables.add(stoppable)
        signal.signal(signum, handler)
    return True
