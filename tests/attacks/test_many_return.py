"""Everybody comes back at once, after a deploy or with an id that is no longer known: the event loop goes on."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel

from inngest_realtime_core import Channel, Realtime, topic
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh

MESSAGES = 250


validated = 0


def _count(number: int) -> int:
    global validated
    validated += 1
    return number


class Page(BaseModel):
    number: Annotated[int, AfterValidator(_count)]
    lines: list[str]


class Book(Channel, name="book:{name_of}"):
    name_of: str
    pages = topic(Page)


LINES = ["x" * 60] * 90  # six kilobytes


async def _stalls(ended: asyncio.Event) -> float:
    """The longest time for which the event loop did nothing else."""
    longest = 0.0
    while not ended.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0.001)
    return longest


@pytest.mark.parametrize("stale", [False, True], ids=["resume", "stale"])
async def test_fifty_streams_that_return(server: DevServer, stale: bool) -> None:
    """Fifty with a stale id took 3 s of CPU, a hundred that resume 21 s."""
    book = Book(name_of=fresh().replace(":", "-"))
    async with Realtime(api_base_url=server.url) as realtime:
        if stale:
            async with Realtime(api_base_url=server.url) as before:
                first = await _id(before.subscribe(channel=book, topics=["pages"]))
        subscription = await realtime.subscribe(channel=book, topics=["pages"])
        if not stale:
            first = await _id_of(subscription)
        for number in range(MESSAGES):
            await server.publish(book.name, "pages", {"number": number, "lines": LINES})
        await eventually(lambda: realtime.stats().received == MESSAGES)

        async def returning() -> bytes:
            opened = await realtime.subscribe(channel=book, topics=["pages"])
            events = opened.get_event_stream(heartbeat=60, last_event_id=first)
            text = b""
            while (b"expired" if stale else b'"number":%d,' % (MESSAGES - 1)) not in text[-20_000:]:
                text += await anext(events)
            await events.aclose()
            opened.close()
            return text

        global validated
        validated = 0
        ended = asyncio.Event()
        watching = asyncio.create_task(_stalls(ended))
        began = time.process_time()
        texts = await asyncio.gather(*(returning() for _ in range(50)))
        took = time.process_time() - began
        ended.set()
        print(f"50 {'stale' if stale else 'resumed'}: {took:.3f} s of CPU, longest stall {await watching * 1e3:.0f} ms")
        if not stale:
            assert all(text.count(b"data: {") >= MESSAGES for text in texts)
        # Once for all of them, or not at all, whatever a slow machine takes.
        assert validated <= MESSAGES
        assert took < 2
        subscription.close()


async def _id(pending: Any) -> str:
    async with pending as subscription:
        return await _id_of(subscription)


async def _id_of(subscription: Any) -> str:
    events = subscription.get_event_stream(heartbeat=60)
    text = b""
    while b"id: " not in text:
        text += await anext(events)
    await events.aclose()
    return text.split(b"id: ")[1].split(b"\n")[0].decode()
