"""What readers get while what is kept for all processes is asked, and afterwards; without a socket.

It is Redis in production. Here it answers when a test says so, and what a test says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from inngest_fake import FakeInngest
from inngest_realtime_core._hub import recall
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.feed import Feed
from inngest_realtime_core._hub.hub import Hub
from inngest_realtime_core._hub.options import Source
from inngest_realtime_core._hub.readers import Readers
from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.log import Kept, Replay
from inngest_realtime_core._replay.record import MemoryHistory, Record
from inngest_realtime_core.messages.envelope import METADATA_KEY, Envelope
from talk import eventually, soon
from test_sharing import SPEC, hub_of, inngest, read, take
from wire import frame, message_of

__all__ = ["inngest"]

BUFFER = 4  # messages


class SharedHistory(MemoryHistory):
    """What is kept for all processes.

    Attributes:
        answers: Set when it answers.
        kept: What it answers; None when that is not known.
        asked: How often it was asked.
        followed: How often it was told that from now on nothing is missed.
        readied: How often the key of event ids was waited for.
    """

    shared = True

    def __init__(self) -> None:
        super().__init__(Record(Replay()))
        self.answers = asyncio.Event()
        self.kept: Kept | None = None
        self.asked = self.followed = self.readied = 0

    async def ready(self, patience: float = 0.5) -> None:
        self.readied += 1

    def created(self, channel: str) -> int:
        return 1

    def follow(self, channel: str) -> None:
        self.followed += 1

    async def cover(self, channel: str) -> int:
        await self.answers.wait()
        return 0

    def load_now(self, channel: str, received: Sequence[Envelope], *, mixed: bool) -> Any:
        return None

    async def load(self, channel: str, received: Sequence[Envelope], **options: Any) -> Any:
        self.asked += 1
        await self.answers.wait()
        return self.kept

    def keep(self, *envelopes: Envelope, ago: float = 0.0) -> None:
        """It answers, and has these, recorded so many seconds ago, which are all that there was."""
        self.kept = Kept([(time.monotonic() - ago, each) for each in envelopes], whole=True, since=0.0)
        self.answers.set()


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


def recorded(number: int, *, data: Any = None) -> Envelope:
    """A message that was published through this package."""
    envelope = message_of(number if data is None else data, number=number)
    added = {"id": f"m{number}", "seq": (number + 1, number, 1)}
    envelope.metadata = msgspec.Raw(msgspec.json.encode({METADATA_KEY: added}))
    return envelope


def told(buffer: ReaderBuffer) -> list[Any]:
    """The data that waits, and the reasons of gaps."""
    return [message.data.reason if message.kind == "gap" else message.data for message in take(buffer, 9_999)]


async def come(inngest: FakeInngest, feed: Feed, *numbers: int) -> None:
    expected = feed.history.end + len(numbers)
    inngest.transports[0].bring(*(frame(number, number=number + 1) for number in numbers))
    await eventually(lambda: feed.history.end == expected)


async def caught_up(buffer: ReaderBuffer) -> list[tuple[Any, str | None]]:
    """The data that waits, or the messages that are missed, each with its id."""
    if buffer.catch_up is not None:
        await soon(buffer.catch_up())
        buffer.catch_up = None
    return [
        (message.data.missed if message.kind == "gap" else message.data, message.event_id)
        for message in take(buffer, 99)
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
    assert buffer.start_id == opened[0].history.here()


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


async def test_who_has_left_meanwhile_is_given_nothing(
    inngest: FakeInngest, history: SharedHistory, opened: tuple[Feed, Readers]
) -> None:
    feed, readers = opened
    await come(inngest, feed, 1)
    buffers = [readers.add(events=True), readers.add(events=True, after="no id of ours")]
    await come(inngest, feed, 2)
    for buffer in buffers:
        buffer.detach()
    history.answers.set()
    assert [await caught_up(buffer) for buffer in buffers] == [[], []]


# -- a hole, while it is asked what was in it --------------------------------------------------------------------------


@pytest.fixture
async def holed(history: SharedHistory, opened: tuple[Feed, Readers]) -> tuple[Feed, ReaderBuffer]:
    """A channel that has lost its connection after its first message, and its reader."""
    feed, readers = opened
    feed.receive(recorded(1))
    assert told(readers.own) == [1]
    history.followed = 0
    feed.lost()
    return feed, readers.own


async def test_what_was_missed_comes_before_what_comes_meanwhile(
    history: SharedHistory, holed: tuple[Feed, ReaderBuffer]
) -> None:
    feed, buffer = holed
    feed.receive(recorded(3))
    feed.receive(recorded(4))
    assert told(buffer) == []
    history.keep(recorded(1), recorded(2), recorded(3))
    await eventually(lambda: buffer.has_messages)
    assert told(buffer) == [2, 3, 4]
    assert history.followed == 1
    feed.receive(recorded(5))
    assert told(buffer) == [5], "nothing is held any more"


async def test_a_hole_of_which_nothing_is_known_is_a_gap(
    history: SharedHistory, holed: tuple[Feed, ReaderBuffer]
) -> None:
    feed, buffer = holed
    feed.receive(recorded(3))
    history.answers.set()
    await eventually(lambda: buffer.has_messages)
    assert told(buffer) == ["reconnect", 3]
    assert history.followed == 1


async def test_no_hole_is_filled_before_ids_are_known(history: SharedHistory, holed: tuple[Feed, ReaderBuffer]) -> None:
    """What is asked for is compared with what the channel has had since then."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert history.asked == 0
    history.keep(recorded(1))
    await eventually(lambda: history.followed == 1)
    assert history.asked == 1


@pytest.mark.parametrize("limit", ["_MAX_HELD", "_MAX_HELD_BYTES"])
async def test_more_than_is_worth_holding_is_a_gap(
    history: SharedHistory, holed: tuple[Feed, ReaderBuffer], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    feed, buffer = holed
    monkeypatch.setattr(recall, limit, 2)
    for number in (3, 4):
        feed.receive(recorded(number))
    assert told(buffer) == []
    feed.receive(recorded(5))
    assert told(buffer) == ["reconnect", 3, 4, 5]
    feed.receive(recorded(6))
    assert told(buffer) == [6]
    history.keep(recorded(1), recorded(2))
    await asyncio.sleep(0.01)
    assert told(buffer) == [], "what is known later fills no hole that was told of"


async def test_a_hole_is_not_filled_where_something_behind_it_was_dropped(
    history: SharedHistory, holed: tuple[Feed, ReaderBuffer]
) -> None:
    feed, buffer = holed
    feed.receive(recorded(3))
    (held,) = (each for each in feed.holders() if isinstance(each, recall.HeldMessages))
    held.drop(1)
    assert held.held_bytes == 0
    history.keep(recorded(1), recorded(2))
    await eventually(lambda: buffer.has_messages)
    assert told(buffer) == ["reconnect"]


# -- those who come back or come late ----------------------------------------------------------------------------------


async def test_what_cannot_be_told_is_a_gap_before_what_has_come_since(
    history: SharedHistory, opened: tuple[Feed, Readers]
) -> None:
    feed, readers = opened
    history.answers.set()
    await eventually(lambda: feed._is_covered)
    readers.add(events=True).detach()
    unknown, alone = readers.add(events=True, after="no id of ours"), readers.add(events=True, after="nor this")
    (gap,) = await caught_up(alone)
    assert gap == (None, feed.history.here()), "it is behind all that came"
    feed.receive(recorded(1))
    events = await caught_up(unknown)
    assert [data for data, _ in events] == [None, 1]
    assert events[0][1] is None, "who is cut off behind the gap has not had the message"
    assert history.readied == 2, "the key of its id may have been on its way"
    assert feed._counters.resumes_gapped == 2


async def test_what_another_process_has_given_to_a_client_is_looked_for_again(
    history: SharedHistory, opened: tuple[Feed, Readers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "_PAUSES", (0.0, 0.0))
    feed, readers = opened
    elsewhere = ChannelHistory("c", Replay(), feed.history.kept_log().ids)
    elsewhere.receive(message_of("had there"))
    coming_back = asyncio.create_task(back(readers, elsewhere.here()))
    await asyncio.sleep(0.01)
    assert history.asked == 0, "before ids are known"
    history.answers.set()
    assert await soon(coming_back) == [None]
    assert history.asked == 2


async def test_who_rewinds_gets_what_was_kept_and_what_came_while_it_was_asked(
    history: SharedHistory, hub: Hub
) -> None:
    feed = await soon(hub.open("c", ("t",), Source()))
    readers = Readers(hub, feed, SPEC, gaps=True, rewind=1)
    readers.acquire()
    feed.release()
    buffer = readers.add(events=True)
    feed.receive(recorded(8))
    feed.receive(recorded(9))
    reading = asyncio.create_task(caught_up(buffer))
    await asyncio.sleep(0.01)
    assert history.asked == 0, "before ids are known"
    history.keep(recorded(1), recorded(2), ago=5.0)
    assert [data for data, _ in await soon(reading)] == [2, 8, 9], "one of those before, and all since"
