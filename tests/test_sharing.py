"""Who shares which channel, without a socket: opening, being rejected, leaving and coming back, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from inngest_fake import URL, FakeInngest, ignore
from inngest_realtime_core import Message, Settings, ShuttingDownError, UnexpectedResponseError
from inngest_realtime_core._api.client import ApiClient
from inngest_realtime_core._hub import placement
from inngest_realtime_core._hub.budget import ByteBudget
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.feed import Feed
from inngest_realtime_core._hub.hub import Hub
from inngest_realtime_core._hub.options import HubOptions, Source
from inngest_realtime_core._hub.readers import Readers
from inngest_realtime_core._hub.views import SubscriptionSpec
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.log import History, Replay
from inngest_realtime_core._replay.record import MemoryHistory, Record
from inngest_realtime_core._upstream.backoff import Backoff
from inngest_realtime_core._upstream.batching import weight
from inngest_realtime_core.stats import Counters
from talk import at_once, eventually, soon
from wire import frame

SPEC = SubscriptionSpec(None, ("t",), validate=False)
BAD = UnexpectedResponseError("no such topic", url=URL, status=400)


@pytest.fixture
def inngest(monkeypatch: pytest.MonkeyPatch) -> FakeInngest:
    inngest = FakeInngest()

    async def open_websocket(*args: Any, proxy: str | None = None, **options: Any) -> Any:
        return await inngest.open_transport(*args, **options)

    monkeypatch.setattr(placement, "open_websocket", open_websocket)
    monkeypatch.setattr(Backoff, "next_delay", lambda self: 0.001)
    return inngest


def hub_of(inngest: FakeInngest, history: History | None = None, **options: Any) -> Hub:
    api = ApiClient(Settings.resolve(None, api_base_url="http://inngest.test"), keep=False)
    tokens: Any = SimpleNamespace(fresh=lambda entries, settings: inngest.mint(entries))
    api.tokens = tokens
    return Hub(
        api,
        HubOptions(**{"linger": 0.0, **options}),
        Counters(),
        history=history or MemoryHistory(Record(Replay())),
        ids=EventIds.of(None),
        budget=ByteBudget(2**28, list),
        on_stream=ignore,
    )


@pytest.fixture
async def hub(inngest: FakeInngest) -> AsyncIterator[Hub]:
    hub = hub_of(inngest)
    yield hub
    await hub.close()


async def read(
    hub: Hub, channel: str, *topics: str, source: Source | None = None, spec: SubscriptionSpec | None = None
) -> tuple[Feed, Readers]:
    """A subscription that is held."""
    feed = await soon(hub.open(channel, topics or ("t",), source or Source()))
    readers = Readers(hub, feed, spec or SPEC, gaps=True)
    readers.acquire()
    feed.release()
    return feed, readers


def take(buffer: ReaderBuffer, most: int) -> list[Message[Any]]:
    """The next messages that wait, so many at most."""
    return list(islice(iter(buffer.take, None), most))


def taken(readers: Readers) -> list[Any]:
    return [message.data if message.kind == "data" else message.data.reason for message in take(readers.own, 99)]


async def test_what_was_rejected_is_not_asked_for_again(inngest: FakeInngest, hub: Hub) -> None:
    feed, _ = await read(hub, "c")
    inngest.wrong["c", "bad"] = BAD
    with pytest.raises(UnexpectedResponseError):
        await soon(hub.open("c", ["bad"], Source()))
    assert list(feed.topics) == ["t"]
    assert feed.upstream.token_size == weight([("c", "t")])
    assert hub.channels == 1


async def test_what_somebody_else_waits_for_is_still_asked_for(inngest: FakeInngest, hub: Hub) -> None:
    feed, _ = await read(hub, "c")
    inngest.mint_gate.clear()
    leaving, staying = (asyncio.create_task(hub.open("c", ["new"], Source())) for _ in range(2))
    await eventually(lambda: len(inngest.requests) == 2)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert list(feed.topics) == ["t", "new"]
    inngest.mint_gate.set()
    assert await soon(staying) is feed
    feed.release()


async def test_a_channel_that_never_worked_is_not_kept(inngest: FakeInngest) -> None:
    hub = hub_of(inngest, linger=60.0)
    inngest.wrong["c", "bad"] = BAD
    with pytest.raises(UnexpectedResponseError):
        await soon(hub.open("c", ["bad"], Source()))
    assert hub.channels == 0
    await hub.close()


async def test_a_channel_is_taken_again_only_once_it_is_proved_to_be_left(inngest: FakeInngest, hub: Hub) -> None:
    await read(hub, "other")
    _, readers = await read(hub, "c")
    (transport,) = inngest.transports
    transport.silent = True
    transport.log.clear()
    readers.close()
    await eventually(lambda: "ping" in transport.log)
    again = asyncio.create_task(hub.open("c", ["t"], Source()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert transport.log == ["unsub", "ping"]
    assert len(inngest.requests) == 2, "no token is asked for either"
    transport.pong()
    (await soon(again)).release()
    assert transport.log[:3] == ["unsub", "ping", "sub"]


async def test_the_last_channel_is_taken_again_only_once_its_socket_is_closed(inngest: FakeInngest, hub: Hub) -> None:
    _, readers = await read(hub, "c")
    (transport,) = inngest.transports
    transport.close_delay = 0.05
    readers.close()
    again = asyncio.create_task(hub.open("c", ["t"], Source()))
    released = asyncio.create_task(hub.released("c"))
    while not released.done():
        assert len(inngest.requests) == 1
        await asyncio.sleep(0.001)
    assert not transport.open
    (await soon(again)).release()
    assert len(inngest.transports) == 2


async def test_an_upstream_that_has_ended_is_not_used(inngest: FakeInngest, hub: Hub) -> None:
    feed, _ = await read(hub, "c")
    await feed.upstream.close()
    other, readers = await read(hub, "c")
    assert other is not feed
    inngest.transports[1].bring(frame(1))
    await eventually(lambda: readers.own.has_messages)
    assert taken(readers) == [1]


async def test_a_channel_lingers_and_is_had_back_without_a_request(inngest: FakeInngest) -> None:
    hub = hub_of(inngest, linger=0.05)
    feed, readers = await read(hub, "c")
    readers.close()
    assert hub.channels == 1
    again, readers = await read(hub, "c")
    assert again is feed
    await asyncio.sleep(0.06)  # the linger of the first is over
    assert hub.channels == 1
    assert len(inngest.requests) == 1
    readers.close()
    await eventually(lambda: hub.channels == 0)
    await hub.close()


async def test_what_was_opened_and_never_read_does_not_linger(inngest: FakeInngest) -> None:
    hub = hub_of(inngest, linger=60.0)
    (await soon(hub.open("c", ["t"], Source()))).release()
    assert hub.channels == 0
    await hub.close()


async def test_a_shutdown_ends_what_is_open_and_what_is_being_opened(inngest: FakeInngest, hub: Hub) -> None:
    _, readers = await read(hub, "c")
    inngest.mint_gate.clear()
    opening = asyncio.create_task(hub.until_shutdown(hub.open("d", ["t"], Source())))
    await eventually(lambda: len(inngest.requests) == 2)
    hub.end_streams()
    assert readers.own.ended
    await at_once(opening.done)
    with pytest.raises(ShuttingDownError):
        await opening
    with pytest.raises(ShuttingDownError):
        await hub.open("e", ["t"], Source())


async def test_nothing_is_left_when_a_hub_is_closed(inngest: FakeInngest) -> None:
    hub = hub_of(inngest)
    _, readers = await read(hub, "c")
    running = asyncio.all_tasks()
    assert len(running) > 1
    await soon(hub.close())
    assert readers.own.ended
    assert (hub.channels, hub.sockets, hub.subscriptions) == (0, 0, 0)
    assert not inngest.transports[0].open
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_key_of_ones_own_is_for_its_own_socket(inngest: FakeInngest, hub: Hub) -> None:
    mine, _ = await read(hub, "c")
    theirs, _ = await read(hub, "c", source=Source(key="a.key"))
    assert theirs is not mine
    assert theirs.upstream is not mine.upstream
    assert inngest.transports[1].token == "a.key"
    assert len(inngest.requests) == 1


async def test_a_subscription_is_closed_when_nobody_holds_it(inngest: FakeInngest, hub: Hub) -> None:
    feed, readers = await read(hub, "c")
    stream = readers.add(events=True)
    readers.release()
    await asyncio.sleep(0)
    assert (readers.closed, hub.subscriptions, feed.streams) == (False, 1, 1)
    stream.detach()
    assert (readers.closed, hub.subscriptions, hub.channels) == (True, 0, 0)


async def test_only_the_first_event_stream_begins_where_the_subscription_began(inngest: FakeInngest, hub: Hub) -> None:
    _, readers = await read(hub, "c")
    inngest.transports[0].bring(frame(1))
    await eventually(lambda: readers.own.has_messages)
    first, second = readers.add(events=True), readers.add(events=True)
    inngest.transports[0].bring(frame(2, number=2))
    await eventually(lambda: second.has_messages)
    assert [message.data for message in take(first, 9)] == [1, 2]
    assert [message.data for message in take(second, 9)] == [2]


async def test_the_first_event_stream_begins_with_what_is_left_of_a_subscription_that_was_read(
    inngest: FakeInngest, hub: Hub
) -> None:
    """A view looks at the first message, and responds with the rest."""
    feed, readers = await read(hub, "c")
    inngest.transports[0].bring(*(frame(number, number=number) for number in (1, 2)))
    await eventually(lambda: readers.own.has_messages)
    assert [message.data for message in take(readers.read_own(), 1)] == [1]
    feed.gap("reconnect")
    inngest.transports[0].bring(frame(3, number=3))
    await eventually(lambda: feed.history.end == 4)
    events, later = readers.add(events=True), readers.add(events=True)
    left = [(message.kind, message.data) for message in take(events, 9)]
    assert left == [("data", 2), ("gap", left[1][1]), ("data", 3)]
    assert [message.data for message in take(readers.own, 9)][::2] == [2, 3], "its own reader keeps it"
    assert not later.has_messages


async def test_the_first_event_stream_tells_of_a_gap_that_was_not_read(inngest: FakeInngest, hub: Hub) -> None:
    feed, readers = await read(hub, "c")
    inngest.transports[0].bring(frame(1))
    await eventually(lambda: readers.own.has_messages)
    take(readers.read_own(), 1)
    feed.gap("reconnect")
    assert [message.data.reason for message in take(readers.add(events=True), 9)] == ["reconnect"]


async def test_the_first_event_stream_has_nothing_where_all_was_read(inngest: FakeInngest, hub: Hub) -> None:
    feed, readers = await read(hub, "c")
    inngest.transports[0].bring(frame(1))
    await eventually(lambda: readers.own.has_messages)
    feed.gap("reconnect")
    take(readers.read_own(), 9)
    assert not readers.add(events=True).has_messages


async def test_the_first_event_stream_tells_of_what_was_left_and_is_no_longer_kept(inngest: FakeInngest) -> None:
    hub = hub_of(inngest, buffer_size=4, replay=Replay(size=2))
    try:
        feed, readers = await read(hub, "c")
        inngest.transports[0].bring(frame(0))
        await eventually(lambda: readers.own.has_messages)
        take(readers.read_own(), 1)
        inngest.transports[0].bring(*(frame(number, number=number) for number in range(1, 200)))
        await eventually(lambda: feed.history.end == 200)
        kinds = [message.kind for message in take(readers.add(events=True), 300)]
        assert kinds[0] == "gap"
        assert "gap" not in kinds[2:], "once for what the buffer, and once for what the log no longer has"
    finally:
        await hub.close()


@pytest.mark.parametrize("topics", [("t",), ("t", "other")], ids=["alike", "of other topics"])
async def test_what_one_subscriber_changes_no_other_sees(
    inngest: FakeInngest, hub: Hub, topics: tuple[str, ...]
) -> None:
    spec = SubscriptionSpec(None, topics, validate=False)
    (_, one), (_, two) = await read(hub, "c"), await read(hub, "c", *topics, spec=spec)
    inngest.transports[0].bring(frame({"list": []}))
    await eventually(lambda: two.own.has_messages)
    (data,) = taken(one)
    data["list"].append("changed")
    assert taken(two) == [{"list": []}]


async def test_topics_that_nobody_asked_for_are_left_out(inngest: FakeInngest, hub: Hub) -> None:
    _, readers = await read(hub, "c")
    inngest.transports[0].bring(frame(1, topic="other"), frame(2, number=2))
    await eventually(lambda: readers.own.has_messages)
    assert taken(readers) == [2]
    assert hub.counters.received == 1


async def test_a_lost_connection_is_a_gap_and_cuts_off_data_streams(inngest: FakeInngest, hub: Hub) -> None:
    _, readers = await read(hub, "c")
    inngest.transports[0].bring(frame("stream", kind="datastream-start"))
    await eventually(lambda: readers.own.has_messages)
    (begun,) = take(readers.own, 9)
    assert begun.stream is not None
    inngest.transports[0].end()
    await eventually(lambda: readers.own.has_messages)
    assert taken(readers) == ["reconnect"]
    with pytest.raises(Exception, match="the connection to Inngest was lost"):
        await soon(anext(aiter(begun.stream)))


async def test_a_channel_that_failed_is_asked_for_anew_and_not_left(inngest: FakeInngest) -> None:
    hub = hub_of(inngest, linger=60.0)
    await read(hub, "other")
    feed, readers = await read(hub, "c")
    feed.fail(UnexpectedResponseError("over", url=URL, status=500))
    readers.close()
    assert hub.channels == 1
    again, readers = await read(hub, "c")
    assert again is not feed
    assert not readers.own.ended
    assert "unsub" not in inngest.transports[0].log
    await hub.close()


async def test_who_comes_to_a_channel_that_has_ended_is_told_at_once(inngest: FakeInngest, hub: Hub) -> None:
    feed, _ = await read(hub, "c")
    error = UnexpectedResponseError("over", url=URL, status=500)
    feed.fail(error)
    assert hub.channels == 0
    late = Readers(hub, feed, SPEC, gaps=True)
    with pytest.raises(UnexpectedResponseError, match="over"):
        late.own.take()
