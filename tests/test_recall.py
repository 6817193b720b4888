"""The ids of a channel's first events, while what is kept for all processes is asked what they tell; without a socket.

It is Redis in production. Here it answers when a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inngest_fake import FakeInngest
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.feed import Feed
from inngest_realtime_core._hub.hub import Hub
from inngest_realtime_core._hub.readers import Readers
from inngest_realtime_core._replay.log import Replay
from inngest_realtime_core._replay.record import MemoryHistory, Record
from talk import eventually, soon
from test_sharing import hub_of, inngest, read
from wire import frame

__all__ = ["inngest"]

BUFFER = 4  # messages


class SharedHistory(MemoryHistory):
    """What is kept for all processes: nothing so far."""

    shared = True

    def __init__(self) -> None:
        super().__init__(Record(Replay()))
        self.answers = asyncio.Event()

    async def cover(self, channel: str) -> int:
        await self.answers.wait()
        return 0


@pytest.fixture
async def history() -> SharedHistory:
    return SharedHistory()


@pytest.fixture
async def hub(inngest: FakeInngest, history: SharedHistory) -> AsyncIterator[Hub]:
    hub = hub_of(inngest, history, buffer_size=BUFFER)
    yield hub
    history.answers.set()
    await hub.close()


@pytest.fixture
async def opened(hub: Hub) -> tuple[Feed, Readers]:
    return await read(hub, "c")


async def come(inngest: FakeInngest, feed: Feed, *numbers: int) -> None:
    expected = feed.offset + len(numbers)
    inngest.transports[0].bring(*(frame(number, number=number + 1) for number in numbers))
    await eventually(lambda: feed.offset == expected)


async def caught_up(buffer: ReaderBuffer) -> list[tuple[Any, str | None]]:
    """The data that waits, or the messages that are missed, each with its id."""
    if buffer.catch_up is not None:
        await soon(buffer.catch_up())
        buffer.catch_up = None
    return [
        (message.data.missed if message.kind == "gap" else message.data, message.event_id)
        for message in buffer.take_some(99)
    ]


async def back(readers: Readers, event_id: str | None) -> list[Any]:
    """What a client is given that comes back with this id."""
    assert event_id
    return [data for data, _ in await caught_up(readers.add(events=True, after=event_id))]


async def test_ids_are_not_made_before_it_is_known_what_they_tell(
    history: SharedHistory, opened: tuple[Feed, Readers]
) -> None:
    buffer = opened[1].add(events=True)
    assert buffer.start_id is None
    naming = asyncio.create_task(caught_up(buffer))
    await asyncio.sleep(0)
    assert not naming.done()
    history.answers.set()
    assert await soon(naming) == []
    assert buffer.start_id == opened[0]._history.here()


async def test_what_came_before_that_has_the_ids_that_others_get_later(
    inngest: FakeInngest, history: SharedHistory, opened: tuple[Feed, Readers]
) -> None:
    feed, readers = opened
    buffer = readers.add(events=True)
    await come(inngest, feed, 1, 2, 3)
    before = [message.event_id for message in buffer.waiting]
    history.answers.set()
    events = await caught_up(buffer)
    assert [data for data, _ in events] == [1, 2, 3]
    assert [event_id for _, event_id in events] != before
    assert events == await caught_up(readers.add(events=True, after=buffer.start_id))


async def test_who_is_cut_off_before_the_first_of_it_gets_it(
    inngest: FakeInngest, history: SharedHistory, opened: tuple[Feed, Readers]
) -> None:
    feed, readers = opened
    await come(inngest, feed, 0)
    readers.add(events=True).detach()  # that one begins where the subscription began
    buffer = readers.add(events=True)
    await come(inngest, feed, 1, 2, 3)
    history.answers.set()
    assert [data for data, _ in await caught_up(buffer)] == [1, 2, 3]
    assert await back(readers, buffer.start_id) == [1, 2, 3]


async def test_what_was_dropped_meanwhile_is_told_and_not_skipped_by_who_is_cut_off(
    inngest: FakeInngest, history: SharedHistory, opened: tuple[Feed, Readers]
) -> None:
    feed, readers = opened
    buffer = readers.add(events=True)
    await come(inngest, feed, *range(9))
    history.answers.set()
    assert [data for data, _ in await caught_up(buffer)] == [5, 5, 6, 7, 8]
    assert await back(readers, buffer.start_id) == [*range(9)]
