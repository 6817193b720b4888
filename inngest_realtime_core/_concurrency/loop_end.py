"""Closing what lives on an event loop before the loop itself is closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import Final, Protocol

from .threads import loop_running_here

_PATIENCE: Final = 10.0  # seconds


class LoopResource(Protocol):
    async def close(self) -> None:
        """Ends everything. Called on the event loop, which runs once more for that."""

    def loop_closed(self) -> None:
        """Called when the event loop has been closed. What schedules something on it raises `RuntimeError`."""


_resources: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[LoopResource]] = (
    weakref.WeakKeyDictionary()
)


def close_with_loop(loop: asyncio.AbstractEventLoop, resource: LoopResource) -> weakref.WeakSet[LoopResource]:
    """Closes a resource before its event loop is closed. Returns the set from which it is removed when it ends earlier.

    `asyncio.run()` and its like close async generators first. For a bare `loop.close()` asyncio offers nothing: sockets
    and tasks stay until they are collected, with a warning each. So the `close` of this one event loop is wrapped.
    """
    resources = _resources.get(loop)
    if resources is None:
        resources = _resources[loop] = weakref.WeakSet()
        _wrap_close(loop, resources)
    resources.add(resource)
    return resources


def _wrap_close(loop: asyncio.AbstractEventLoop, resources: weakref.WeakSet[LoopResource]) -> None:
    close, process = loop.close, os.getpid()

    def close_all() -> None:
        # In the child of a fork the sockets are the parent's.
        mine = [] if loop.is_closed() or os.getpid() != process else list(resources)
        try:
            if mine and not loop.is_running() and loop_running_here() is None:
                ending = [loop.create_task(resource.close(), name="inngest-realtime end") for resource in mine]
                loop.run_until_complete(asyncio.wait(ending, timeout=_PATIENCE))
        finally:
            close()
            if getattr(loop, "close", None) is close_all:
                delattr(loop, "close")  # it refers to the loop
            for resource in mine:
                with contextlib.suppress(RuntimeError):
                    resource.loop_closed()

    # An event loop of another kind may have no room for it.
    with contextlib.suppress(AttributeError):
        setattr(loop, "close", close_all)  # noqa: B010 - checkers take a method for a constant
