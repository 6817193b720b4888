"""gevent: what differs where it has replaced the threads of this process by greenlets.

An event loop in a `threading.Thread` would then run as a greenlet of the main thread, and every other `asyncio.run()`
of the application would fail. So the background loop gets a native thread, and whoever waits for it waits in a way that
lets other greenlets run.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import TypeVarTuple, Unpack

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def patched_gevent() -> Any:
    """Returns gevent, where it has replaced the threads of this process, else None."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return sys.modules["gevent"]
    return None


class GreenletWaiter:
    """A `SyncWaiter` for a greenlet.

    An `async` watcher is the one thing of gevent's loop that another thread may touch.
    """

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


def start_native_thread(target: Callable[[], None]) -> None:
    """Runs `target` in a thread of the operating system."""
    # httpx imports it at its first client. With trio installed it imports that, which starts a process to find a
    # library: gevent does so in its own thread only, and in any other each call would fail for good.
    importlib.import_module("httpcore")
    monkey: Any = sys.modules["gevent.monkey"]
    monkey.get_original("_thread", "start_new_thread")(target, ())


class NativeLoop(asyncio.SelectorEventLoop):
    """An event loop for a native thread.

    It runs sync calls in native threads as well: the standard executor's would be greenlets that nobody ever runs.
    """

    def __init__(self) -> None:
        monkey: Any = sys.modules["gevent.monkey"]
        super().__init__(monkey.get_original("selectors", "DefaultSelector")())

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        start_native_thread(lambda: settle(future, lambda: func(*args), BaseException))
        return future


def settle(future: asyncio.Future[T], function: Callable[[], T], caught: type[BaseException] = Exception) -> None:
    """Calls a function in the running thread, and resolves a future of another thread's event loop.

    Args:
        caught: The exceptions that go into the future; others are raised here.
    """
    resolve: Callable[[], None]
    try:
        resolve = functools.partial(future.set_result, function())
    except caught as error:
        resolve = functools.partial(future.set_exception, error)
    future.get_loop().call_soon_threadsafe(lambda: None if future.done() else resolve())
