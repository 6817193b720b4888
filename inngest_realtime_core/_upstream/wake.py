"""What the one task of an upstream waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._concurrency.tasks import deadline


class Wake(asyncio.Event):
    """Set when something has changed that a task waits for."""

    async def wait_for(self, seconds: float | None) -> None:
        """Wait until something changes, or for so long. None is no limit."""
        with deadline(seconds):
            await self.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that is looked at after each change."""
        while not condition():
            self.clear()
            await self.wait()
