"""Waiting on things with a deadline, names that no other test uses, and the channel that most tests talk on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic import BaseModel

from inngest_realtime_core import Channel, Gap, Message, topic

DEADLINE = 5.0  # seconds for anything to happen

T = TypeVar("T")


class Status(BaseModel):
    message: str
    step: str | None = None


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)
    lifecycle = topic(Any, name="$run")


def fresh(name: str = "channel") -> str:
    return f"{name}:{secrets.token_hex(6)}"


async def soon(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, DEADLINE)


async def eventually(condition: Callable[[], bool], timeout: float = DEADLINE) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.002)


async def at_once(condition: Callable[[], bool]) -> None:
    """For what waits for nothing but its turn: fails in milliseconds where `eventually` takes its deadline."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


async def receive(stream: Any, count: int) -> list[Any]:
    """The data of the next messages of a subscription or stream."""
    return [(await soon(anext(stream))).data for _ in range(count)]


async def read_until(stream: AsyncIterable[Message[Any]], last: object) -> list[Any]:
    """The data of the messages up to the one whose data is `last`; of gaps the reason."""
    seen: list[Any] = []

    async def read() -> None:
        async with aclosing(aiter(stream)) as messages:  # type: ignore[type-var]
            async for message in messages:
                seen.append(message.data.reason if isinstance(message.data, Gap) else message.data)
                if message.data == last:
                    return

    await soon(read())
    return seen
