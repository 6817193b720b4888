"""Noticing that the process is asked to stop, so that open streams end instead of holding up the server.

uvicorn, for one, waits for open responses on SIGTERM, and runs the application's lifespan shutdown only after them: a
stream that ends there ends too late. So a signal handler is put before the server's own: it ends the streams and then
calls the one it found. It is put in place before the first stream is opened, by the main thread, as Python demands:
where streams are served by other threads, the main thread is asked to do it. Nothing of the server is changed.

A signal may come before that is done, and a server may exit without one. Python then waits for the threads of pools,
and those that serve streams would never end: so streams end at the exit of the interpreter, too.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol, TypeAlias

from .hypercorn import watch_hypercorn_shutdown
from .main_thread import ask_main_thread

# SIGQUIT is how gunicorn tells its workers of a SIGINT.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name))


class _Stoppable(Protocol):
    def begin_shutdown(self) -> None: ...


# Not a `WeakSet`: that cannot be gone through while it changes, and a signal may come at any moment.
_Stoppables: TypeAlias = "weakref.WeakKeyDictionary[_Stoppable, None]"


def _stop(stoppables: _Stoppables) -> None:
    for reference in stoppables.keyrefs():
        stoppable = reference()
        if stoppable is not None:
            stoppable.begin_shutdown()


class _Handler:
    """What stands before the handler that a signal had."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any] | int | None) -> None:
        self.previous = previous
        self.stoppables: _Stoppables = weakref.WeakKeyDictionary()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        try:
            _stop(self.stoppables)
        finally:
            # Whatever fails above: a signal that the server never hears of would leave it running.
            self._pass_on(signum, frame)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        previous = self.previous
        if callable(previous):
            previous(signum, frame)
        elif previous == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


def end_streams_on_signals(stoppable: _Stoppable) -> bool:
    """Call `stoppable.begin_shutdown()` on SIGTERM, SIGINT and SIGQUIT, and then what handled the signal before.

    Callable from any thread. It does nothing where that has been arranged already, and looks every time, because a
    server may have put its own handlers in place since (a gunicorn worker does so after the fork).

    Returns:
        Whether it is arranged, or will be as soon as the main thread runs. Otherwise (an interpreter other than
        CPython) the host calls `begin_shutdown()` itself.
    """
    _end_at_exit(stoppable)
    watch_hypercorn_shutdown(functools.partial(_stop, _at_exit))
    if all(_is_arranged(stoppable, signum) for signum in _SIGNALS):
        return True
    try:
        _arrange(stoppable)
    except ValueError:
        # Not the main thread. (Asking `threading` would not tell: under gevent greenlets claim to be threads.)
        return ask_main_thread(functools.partial(_arrange, stoppable))
    return True


_at_exit: _Stoppables = weakref.WeakKeyDictionary()


def _end_at_exit(stoppable: _Stoppable) -> None:
    if stoppable in _at_exit:
        return
    _at_exit[stoppable] = None
    # What `atexit` holds runs only after the threads. This runs before; it is where `concurrent.futures` hooks in, too.
    register: Callable[..., None] | None = getattr(threading, "_register_atexit", None)
    if register is not None:
        try:
            register(_stop, _at_exit)
        except RuntimeError:  # the exit has begun
            stoppable.begin_shutdown()


def _is_arranged(stoppable: _Stoppable, signum: signal.Signals) -> bool:
    current = signal.getsignal(signum)
    return stoppable in current.stoppables if isinstance(current, _Handler) else not _is_ours_to_chain(signum, current)


def _arrange(stoppable: _Stoppable) -> None:
    for signum in _SIGNALS:
        current = signal.getsignal(signum)
        if isinstance(current, _Handler):
            current.stoppables[stoppable] = None
        elif _is_ours_to_chain(signum, current):
            handler = _Handler(current)
            handler.stoppables[stoppable] = None
            signal.signal(signum, handler)


def _is_ours_to_chain(signum: signal.Signals, current: object) -> bool:
    # None: set by other than Python code. Ignored: on purpose. And a SIGQUIT that nobody handles dumps core at once.
    return callable(current) or (current == signal.SIG_DFL and signum != getattr(signal, "SIGQUIT", None))
