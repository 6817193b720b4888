"""Running something on the main thread from another one: Python lets only the main thread set a signal handler."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from .._concurrency.threads import greenlets

_asked: list[Callable[[], None]] = []


def _run_asked(_: object) -> int:
    while _asked:
        _asked.pop()()
    return 0


@functools.cache
def _pending_call() -> Callable[[], int]:
    import ctypes  # slow to import, and needed only where streams are served by other threads

    run_asked = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_run_asked)
    return lambda: ctypes.pythonapi.Py_AddPendingCall(run_asked, None)


def ask_main_thread(function: Callable[[], None]) -> bool:
    """Runs `function` on the main thread, between two of its instructions, as signal handlers run. Callable anywhere.

    Returns:
        Whether it will run: False on interpreters other than CPython, and while too many calls are pending.
    """
    if sys.implementation.name != "cpython":
        return False
    _asked.append(function)
    if len(_asked) > 1:
        return True
    status = _pending_call()()
    if status != 0:
        # Too many calls are pending; the next stream asks again.
        _asked.clear()
        return False
    _wake_main_thread()
    return True


def _wake_main_thread() -> None:
    """Interrupt a main thread that waits for events, so that what it is asked is not left until something happens.

    Pending calls alone don't wake it, a signal that has a handler in Python does. SIGWINCH asks for nothing but a look
    at the window's size; gunicorn's workers handle it and do nothing.
    """
    winch = getattr(signal, "SIGWINCH", None)
    if winch is None:
        return
    if callable(signal.getsignal(winch)):
        _send(winch)
    elif signal.getsignal(winch) == signal.SIG_DFL:
        _interrupt(winch)


def _send(signum: int) -> None:
    """Sends a signal to the main thread."""
    main = threading.main_thread().ident
    if greenlets() or main is None:
        # gevent gives the main thread the number of a greenlet. Systems prefer the main thread for a process's signals.
        os.kill(os.getpid(), signum)
    else:
        signal.pthread_kill(main, signum)


def _interrupt(signum: int) -> None:
    """Interrupt the main thread with a signal that nobody handles. Only that thread may set a handler in Python."""
    import faulthandler

    with open(os.devnull, "w") as nowhere:
        # This one may be set by any thread. Chained, or else the wait would be restarted rather than interrupted.
        faulthandler.register(signum, file=nowhere, all_threads=False, chain=True)
        try:
            _send(signum)
            for _ in range(100):
                if not _asked:
                    break
                time.sleep(0.001)
        finally:
            faulthandler.unregister(signum)
