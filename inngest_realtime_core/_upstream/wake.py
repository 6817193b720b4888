"""What the one task of an upstream waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Wake:
    """Wakes a task that waits for something to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Called when something has changed."""
        self._event.set()

    def clear(self) -> None:
        """Forget the changes so far: the next wait is for a new one."""
        self._event.clear()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until something changes, or for so long."""
        # Not asyncio.wait_for: before Python 3.12 it can swallow the cancellation that ends the task.
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._event.set)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that is looked at after each change."""
        while not condition():
            self._event.clear()
            await self._event.wait()
