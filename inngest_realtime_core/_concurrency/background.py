"""The sync face: one event loop on one daemon thread per process, on which threads run what is asynchronous.

It starts at the first call, and anew in a forked child (prefork servers import the application before they fork).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Generic, TypeVar, cast

from ..errors import ConfigurationError, RealtimeError
from .greenlets import NativeLoop, settle
from .threads import SyncWaiter, greenlets, loop_running_here, new_waiter, start_daemon_thread

logger = logging.getLogger("inngest_realtime.subscription")

T = TypeVar("T")
P = TypeVar("P")

# Seconds after which a call gives up to which the loop does not respond: what blocks it may be waiting for the call.
_PATIENCE: Final = 10.0
_PATIENCE_AT_THE_END: Final = 3.0
_HELD_UP: Final = (
    "A callback blocks the background event loop of sync subscriptions, and may be waiting for this call. Let "
    "on_message, on_error and on_state hand long work to a thread or a queue, and not wait for it."
)
_END: Final = object()


class _Background:
    """The loop of this process.

    Attributes:
        running: That loop, if it has been started.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running: asyncio.AbstractEventLoop | None = None
        self._inherited: list[asyncio.AbstractEventLoop] = []

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self.running is None:
                loop = self.running = NativeLoop() if greenlets() else asyncio.new_event_loop()

                def main() -> None:
                    asyncio.set_event_loop(loop)
                    loop.run_forever()

                start_daemon_thread(main, "inngest-realtime")
            return self.running

    def forget(self) -> None:
        """Begin anew in the child of a fork, where the parent's thread does not run and its lock may be held."""
        self._lock = threading.Lock()
        if self.running is not None:
            # Kept, and never touched: closing it would take the parent's sockets out of the selector they share.
            self._inherited.append(self.running)
            self.running = None


_background = _Background()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_background.forget)


class _Call(Generic[T]):
    """One call from a thread onto the loop."""

    def __init__(self, make: Callable[[], Awaitable[T]], *, is_end: bool = False) -> None:
        self._make = make
        self._is_end = is_end
        self._responds = False
        self.held_up = False
        self._waiter = new_waiter()
        self._task: asyncio.Task[None] | None = None
        self._job: Callable[[], None] | None = None  # what the calling thread is to do before it waits on
        self._error: BaseException | None = None
        self._result: list[T] = []

    def run_on(self, loop: asyncio.AbstractEventLoop) -> T:
        """Make the call on a loop and wait for its result. An interruption of the wait cancels it.

        Raises:
            RealtimeError: The loop did not respond in time.
        """
        waiter = self._waiter
        try:
            loop.call_soon_threadsafe(self._start)
            self._wait(loop, waiter)
            while self._job is not None:
                job, self._job = self._job, None
                waiter = self._waiter  # the next one: once the job is done, the loop may replace it
                job()
                self._wait(loop, waiter)
        except BaseException:
            if not (self._is_end and self.held_up):
                loop.call_soon_threadsafe(self._cancel)
            raise
        if self._error is not None:
            raise self._error
        return self._result[0]

    async def in_thread(self, function: Callable[[], P]) -> P:
        """Calls a function in the thread that waits for the call, and returns its result."""
        future: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        self._job = lambda: settle(future, function)
        waiter, self._waiter = self._waiter, new_waiter()
        waiter.set_result(None)
        return await future

    def _wait(self, loop: asyncio.AbstractEventLoop, waiter: SyncWaiter) -> None:
        while not waiter.wait(_PATIENCE_AT_THE_END if self._is_end else _PATIENCE):
            if not self._responds:
                self.held_up = True
                raise RealtimeError(_HELD_UP)
            self._responds = False
            loop.call_soon_threadsafe(self._respond)

    def _respond(self) -> None:
        self._responds = True

    def _start(self) -> None:
        self._respond()
        self._task = asyncio.get_running_loop().create_task(self._work(), name="inngest-realtime sync call")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            self._result.append(await self._make())
        except BaseException as error:
            self._error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._waiter.set_result(None)


def is_background() -> bool:
    """Whether the running event loop is the background loop."""
    loop = loop_running_here()
    return loop is not None and loop is _background.running


def check_may_block() -> None:
    """Called before a call blocks the running thread.

    Raises:
        RealtimeError: An event loop is running in this thread: the call would hold it up, and may wait for it. Or the
            interpreter is ending, and the background loop with it.
        ConfigurationError: eventlet has replaced the threads.
    """
    if sys.is_finalizing():
        raise RealtimeError("The interpreter is ending, too late for a sync call. Close with `with`, or by atexit.")
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise ConfigurationError(
            "eventlet has replaced the threads of this process, and calls ending in _sync do not work there. Run the "
            "server with threads or with gevent (gunicorn -k gthread, or -k gevent)."
        )
    if getattr(sys.modules.get("trio.lowlevel"), "in_trio_run", bool)():
        raise RealtimeError(
            "A sync call was made where trio runs: it would hold up all of its tasks. Make the call in a thread: await "
            "trio.to_thread.run_sync(...)."
        )
    # The event loop of one greenlet is seen by all of its thread.
    if is_background() or (loop_running_here() is not None and not greenlets()):
        raise RealtimeError(
            "A sync call was made where an event loop is running: it would hold up the loop, and could wait for ever. "
            "Use the form without _sync and await it, or make the call in a thread: await asyncio.to_thread(...)."
        )


def run_sync(make: Callable[[], Awaitable[T]]) -> T:
    """Runs what `make` returns on the background loop, in a copy of the caller's context, and waits for it.

    An interruption of the wait (Ctrl-C, a timeout of the host) cancels the call.

    Raises:
        RealtimeError: An event loop is running in this thread, or a callback blocks the background loop.
        ConfigurationError: eventlet has replaced the threads.
    """
    check_may_block()
    return _Call(make).run_on(_background.loop())


def run_sync_end(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """`run_sync` for what ends something: where a callback blocks the background loop, it ends after that."""
    check_may_block()
    call = _Call(make, is_end=True)
    try:
        call.run_on(_background.loop())
    except RealtimeError:
        if not call.held_up:
            raise
        logger.warning("Closing goes on when a callback has returned. %s", _HELD_UP, extra={"event": "callback.slow"})


def run_sync_with(make: Callable[[AsyncGenerator[P, None]], Awaitable[T]], parts: Iterable[P]) -> T:
    """`run_sync` for what `make` returns for some parts, each of which the calling thread takes when it is asked for.

    What taking them raises is raised where they are asked for. Errors as for `run_sync`.
    """
    check_may_block()
    iterator = iter(parts)

    async def taken() -> AsyncGenerator[P, None]:
        while (part := await call.in_thread(lambda: next(iterator, _END))) is not _END:
            yield cast("P", part)

    call = _Call(lambda: make(taken()))
    return call.run_on(_background.loop())


def call_on_loop(function: Callable[[], T]) -> T:
    """Calls a function on the background loop and returns its result.

    Also where an event loop runs, as in an async view under WSGI: it waits for nothing but its turn.
    """
    if is_background():
        return function()

    async def call() -> T:
        return function()

    return _Call(call).run_on(_background.loop())


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run an application's coroutine from a thread, on an event loop of its own, and wait for it.

    Under gevent the greenlets of a thread cannot have event loops of their own, and one that has an event loop running
    takes `asyncio.run()` from all others. There it runs on the background loop, in the caller's context.
    """
    if not greenlets():
        return asyncio.run(coroutine)
    context = contextvars.copy_context()

    async def in_context() -> T:
        return await context.run(asyncio.get_running_loop().create_task, coroutine)

    return run_sync(in_context)
