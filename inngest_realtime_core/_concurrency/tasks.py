"""Timers and tasks of asyncio: what keeps nothing of whoever starts it, and what has ended for certain.

Timers run also where a test has frozen the clock. A task that runs callbacks may wait for the code that waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context, ContextVar
from types import BuiltinFunctionType
from typing import Any, Final, TypeVar

import anyio

from .threads import start_daemon_thread

logger = logging.getLogger("inngest_realtime.subscription")

T = TypeVar("T")


class LazyCoroutine(Coroutine[Any, Any, T]):
    """What a function returns that is to be awaited, wherever a coroutine is accepted: `gather`, a `TaskGroup`."""

    __slots__ = ("_coroutine",)

    _coroutine: Coroutine[Any, Any, T]

    @abstractmethod
    def _start(self) -> Coroutine[Any, Any, T]:
        """Returns the coroutine, each time that somebody awaits this."""

    def __await__(self) -> Generator[Any, Any, T]:
        return self._start().__await__()

    def _started(self) -> Coroutine[Any, Any, T]:
        try:
            return self._coroutine
        except AttributeError:
            self._coroutine = self._start()
            return self._coroutine

    def send(self, value: Any, /) -> Any:
        return self._started().send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        return self._started().throw(typ if val is None else val)

    def close(self) -> None:
        if hasattr(self, "_coroutine"):
            self._coroutine.close()


CANCEL_RETRY_INTERVAL: Final = 0.1
"""Seconds after which a task that has not ended is cancelled again."""

_PATIENCE: Final = 3.0  # seconds that the end of a callback is waited for, and then again until it is cancelled

# The tasks that run an application's callbacks. Tasks and threads that a callback starts inherit it.
_callers: ContextVar[tuple[asyncio.Task[Any], ...]] = ContextVar("inngest_realtime_callers", default=())
# Which of them wait for the end of which others.
_joining: weakref.WeakKeyDictionary[asyncio.Task[Any], list[asyncio.Task[Any]]] = weakref.WeakKeyDictionary()


def create_task(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a task whose first step comes later.

    A task factory of the application's may be eager (Python 3.12): its tasks begin in the middle of what starts them.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)


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


async def sleep(delay: float) -> None:
    """`asyncio.sleep`, with a timer that keeps nothing of the caller."""
    if delay <= 0:
        await asyncio.sleep(0)
        return
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    cancel = call_after(loop, delay, lambda: None if over.done() else over.set_result(None))
    try:
        await over
    finally:
        cancel()


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


def create_shared_task(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a task that works for many, in an empty context.

    In the context of whoever came first it would keep that request alive, and put its trace and its log fields on what
    is done for others.
    """
    return Context().run(create_task, work, name=name)


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and returns when they have ended.

    More than once if need be: what they call may swallow a cancellation, as asyncio's own did before Python 3.12.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_RETRY_INTERVAL)


def look_at_failure(task: asyncio.Future[Any]) -> None:
    """Called with a task that has ended, for whose result nobody may be waiting: asyncio would log its failure."""
    if not task.cancelled():
        task.exception()


def enter_callback() -> None:
    """Called by a task that is about to run an application's callbacks."""
    task = asyncio.current_task()
    if task is not None:
        _callers.set((*_callers.get(), task))


def calling_tasks() -> tuple[asyncio.Task[Any], ...]:
    """Returns the tasks whose callbacks have led to the running code, through whatever tasks and threads."""
    return _callers.get()


async def join_callback(task: asyncio.Task[Any]) -> None:
    """Returns when a task that runs callbacks has ended, or at once when it waits for the running code.

    After 3 s it returns all the same: the task may wait for the running code in a way that nobody can see, in a thread
    of its own for example. One that still runs 3 s after that is cancelled.
    """
    callers = calling_tasks()
    if task.done() or _leads_to(task, callers):
        return
    for caller in callers:
        _joining.setdefault(caller, []).append(task)
    try:
        _, late = await asyncio.wait([task], timeout=_PATIENCE)
        if late:
            logger.warning(
                "A callback still runs %s s after its subscription was closed. It is cancelled when it does so for as "
                "long again. Let it hand long work to a task of your own.",
                _PATIENCE,
                extra={"event": "callback.slow"},
            )
            call_after(asyncio.get_running_loop(), _PATIENCE, task.cancel)
    finally:
        for caller in callers:
            _joining[caller].remove(task)


def _leads_to(task: asyncio.Task[Any], callers: Iterable[asyncio.Task[Any]]) -> bool:
    """Whether a task is one of the callers, or waits for one, or for one that waits for one, and so on."""
    seen: set[asyncio.Task[Any]] = set()
    left = [task]
    while left:
        following = left.pop()
        if following in callers:
            return True
        if following not in seen:
            seen.add(following)
            left += _joining.get(following, ())
    return False
