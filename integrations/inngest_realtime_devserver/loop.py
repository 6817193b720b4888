"""Calls from any thread to the event loop that a server runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from inngest_realtime_core._concurrency.threads import loop_running_here
from inngest_realtime_core.errors import ConfigurationError

__all__ = ["OnLoop"]

T = TypeVar("T")


class OnLoop:
    """Something that lives on one event loop while it runs.

    Attributes:
        _loop: That loop; None while it does not run.
    """

    _loop: asyncio.AbstractEventLoop | None = None

    def _there(self, act: Callable[[], None]) -> None:
        async def act_there() -> None:
            act()

        if self._loop is not None and loop_running_here() is self._loop:
            act()
        else:
            self._run_sync(act_there())

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._running_loop(work)
        if loop is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def _run_sync(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._running_loop(work)
        if loop_running_here() is loop:
            work.close()
            raise ConfigurationError(
                "A sync method of this DevServer was called on its own event loop, where it would wait for itself. "
                "Await the method without _sync, or run the server `in_thread()`."
            )
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def _running_loop(self, work: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            work.close()
            raise ConfigurationError("This DevServer is not running. Enter it first: `async with server:`.")
        return self._loop
