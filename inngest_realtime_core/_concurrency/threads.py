"""Threads of the process, whether native ones or gevent's greenlets: how to start one and how to wait in one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, Protocol, TypeVar

from ..errors import ConfigurationError, RealtimeError
from .greenlets import GreenletWaiter, patched_gevent, start_native_thread

T = TypeVar("T")

_TURN_WAIT: Final = 10.0  # seconds that a thread waits for its turn on an event loop


class SyncWaiter(Protocol):
    """Resolved once by any thread, waited for by one."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until it is resolved. Returns False when `timeout` seconds have passed first."""
        ...


class _ThreadWaiter:
    __slots__ = ("_done", "_lock")

    def __init__(self) -> None:
        self._done = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None, /) -> None:
        self._done = True
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        return self._lock.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))


def new_waiter() -> SyncWaiter:
    """Returns a waiter for the calling thread or greenlet."""
    gevent = patched_gevent()
    return _ThreadWaiter() if gevent is None else GreenletWaiter(gevent)


def greenlets() -> bool:
    """Whether the threads of this process are greenlets."""
    return patched_gevent() is not None


def start_daemon_thread(target: Callable[[], None], name: str) -> None:
    """Runs `target` in a thread that does not keep the process alive; a native one, whatever was patched."""
    if patched_gevent() is None:
        threading.Thread(target=target, name=name, daemon=True).start()
    else:
        start_native_thread(target)


def loop_running_here() -> asyncio.AbstractEventLoop | None:
    """Returns the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def running_event_loop() -> asyncio.AbstractEventLoop:
    """Returns the running event loop.

    Raises:
        ConfigurationError: No event loop of asyncio is running.
    """
    loop = loop_running_here()
    if loop is None:
        raise ConfigurationError(
            "No event loop of asyncio is running here. Inngest Realtime works on asyncio, not on trio: run the server "
            "with its asyncio worker (hypercorn -k asyncio), or use the form ending in _sync in a thread."
        )
    return loop


def check_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises `RealtimeError` when the running event loop is another one than that of the subscription."""
    if loop_running_here() is not loop:
        raise RealtimeError(
            "The subscription is read on another event loop than the one on which it was opened. Subscribe anew on the "
            "loop that reads, or read with subscribe_sync() where no event loop is running."
        )


def call_on_event_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], T]) -> T:
    """Calls a function where it belongs: on the event loop of the subscription.

    Also from a thread without one: that of a view that is not async, and whose response is sent by the loop.

    Raises:
        RealtimeError: Another event loop is running here, or that of the subscription is not, or is held up.
    """
    if loop_running_here() is not None or not loop.is_running():
        check_event_loop(loop)
        return function()

    async def call() -> T:
        return function()

    future = asyncio.run_coroutine_threadsafe(call(), loop)
    try:
        return future.result(_TURN_WAIT)
    except FutureTimeoutError:
        future.cancel()
        raise RealtimeError(
            f"The event loop of the subscription did nothing for {_TURN_WAIT:g} s: does it wait for this thread?"
        ) from None
