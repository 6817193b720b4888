"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["CANCEL_RETRY_INTERVAL", "end_tasks"]

CANCEL_RETRY_INTERVAL: Final = 0.1
"""Seconds after which a task that has not ended is cancelled again."""


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when they have ended.

    More than once if need be: what they call may swallow a cancellation, as asyncio's own did before Python 3.12.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_RETRY_INTERVAL)
