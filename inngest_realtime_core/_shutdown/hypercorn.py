"""Noticing that hypercorn stops a worker: it sets an event in place of sending a signal."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from .._concurrency.threads import start_daemon_thread

_LOOK: Final = 0.05  # seconds; hypercorn's workers look every 0.1 s
_watching: set[int] = set()  # processes


def watch_hypercorn_shutdown(stop: Callable[[], None]) -> None:
    """Call `stop`, in a thread, when hypercorn tells this process to stop. Elsewhere it does nothing.

    Only the first call in a process counts.
    """
    if os.getpid() in _watching or "hypercorn" not in sys.modules:
        return
    import multiprocessing  # hypercorn has imported it; others need not wait for it

    # The arguments that hypercorn started this worker with: nothing else tells it to stop.
    arguments: dict[str, Any] = getattr(multiprocessing.current_process(), "_kwargs", {})
    event = arguments.get("shutdown_event")
    if event is not None:
        _watching.add(os.getpid())
        start_daemon_thread(functools.partial(_await_event, event, stop), "inngest-realtime shutdown")


def _await_event(event: Any, stop: Callable[[], None]) -> None:
    # Not `event.wait()`: who sets an event waits for those who wait for it, and this process may be killed meanwhile.
    while not event.is_set():
        time.sleep(_LOOK)
    stop()
