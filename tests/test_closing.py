"""What `close()` returns is accepted wherever a coroutine is, and nobody has to await it."""

from __future__ import annotations

import asyncio

import pytest

from inngest_realtime_core.subscriptions.subscription import Closing


class Ending:
    """Waits until it is told to go on, and remembers how it was left."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left: list[str] = []

    async def wait(self) -> None:
        try:
            self.begun.set()
            await self.go_on.wait()
        except BaseException as error:
            self.left.append(type(error).__name__)
            raise
        self.left.append("ended")


async def test_a_task_of_it_ends_with_what_it_waits_for() -> None:
    ending = Ending()
    task = asyncio.create_task(Closing(ending.wait))
    await ending.begun.wait()
    ending.go_on.set()
    await task
    assert ending.left == ["ended"]


async def test_a_task_of_it_can_be_cancelled() -> None:
    ending = Ending()
    task = asyncio.create_task(Closing(ending.wait))
    await ending.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ending.left == ["CancelledError"]


async def test_an_error_that_is_thrown_before_it_began_is_raised() -> None:
    with pytest.raises(ValueError, match="early"):
        Closing(Ending().wait).throw(ValueError("early"))


async def test_it_can_be_closed_at_any_time() -> None:
    ending = Ending()
    Closing(ending.wait).close()
    begun = Closing(ending.wait)
    begun.send(None)
    begun.close()
    assert ending.left == ["GeneratorExit"]
