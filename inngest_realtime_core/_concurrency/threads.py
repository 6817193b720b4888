"""The few things that differ between ordinary threads and gevent's greenlets.

Under gevent's monkey-patching an event loop in a `threading.Thread` would run as a greenlet of the main thread, and
every other `asyncio.run()` of the application would fail. So the background loop gets a native thread, and whoever
waits for it waits in a way that lets other greenlets run.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from typing_extensions import TypeVarTuple, Unpack

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["SyncWaiter", "greenlets", "new_event_loop", "new_waiter", "start_daemon_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SyncWaiter(Protocol):
    """Resolved once by any thread, waited for by one."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is resolved. False when `timeout` seconds have passed first."""
        ...


def _gevent() -> Any:
    """gevent, where it has replaced the threads of this process."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return sys.modules["gevent"]
    return None


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


class _GreenletWaiter:
    """An `async` watcher is the one thing of gevent's loop that another thread may touch."""

    __slots__ = ("_done", "_gevent", "_lock", "_watcher")

    def __init__(self, gevent: Any) -> None:
        self._gevent = gevent
        self._done = False
        # A native lock: whoever resolves this is a native thread. It guards against a watcher that is closed while it
        # is sent to, and is never held while greenlets switch.
        self._lock = sys.modules["gevent.monkey"].get_original("_thread", "allocate_lock")()
        self._watcher: Any = None

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None, /) -> None:
        with self._lock:
            self._done = True
            if self._watcher is not None:
                self._watcher.send()

    def wait(self, timeout: float | None = None) -> bool:
        watcher = self._gevent.get_hub().loop.async_()
        woken = self._gevent.event.Event()
        # Started before it is shown: what is sent to a watcher before its start is lost.
        watcher.start(woken.set)
        try:
            with self._lock:
                done = self._done
                self._watcher = watcher
            if not done:
                woken.wait(timeout)
        finally:
            with self._lock:
                self._watcher = None
                watcher.stop()
                watcher.close()
        return self._done


def new_waiter() -> SyncWaiter:
    """A waiter for the calling thread or greenlet."""
    gevent = _gevent()
    return _ThreadWaiter() if gevent is None else _GreenletWaiter(gevent)


def greenlets() -> bool:
    """Whether the threads of this process are greenlets."""
    return _gevent() is not None


def start_daemon_thread(target: Callable[[], None], name: str) -> None:
    """Run `target` in a thread that does not keep the process alive; a native one, whatever was patched."""
    if _gevent() is None:
        threading.Thread(target=target, name=name, daemon=True).start()
    else:
        monkey: Any = sys.modules["gevent.monkey"]
        monkey.get_original("_thread", "start_new_thread")(target, ())


class _NativeLoop(asyncio.SelectorEventLoop):
    """Runs blocking calls in native threads: the standard executor's would be greenlets that nobody ever runs."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except BaseException as error:
                self.call_soon_threadsafe(_settle, future, None, error)
            else:
                self.call_soon_threadsafe(_settle, future, result, None)

        start_daemon_thread(work, "inngest-realtime call")
        return future


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop for a thread of its own."""
    if _gevent() is None:
        return asyncio.new_event_loop()
    monkey: Any = sys.modules["gevent.monkey"]
    return _NativeLoop(monkey.get_original("selectors", "DefaultSelector")())
