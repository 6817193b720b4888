from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core._concurrency.background import run_sync
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.queue import QueueLimits
from inngest_realtime_core.errors import AuthenticationError
from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.subscriptions.sse import (
    EVENT_STREAM_HEADERS,
    HEARTBEAT,
    MEDIA_TYPE,
    EventStream,
    close_event,
    encoded_stream,
    end_event,
    event_stream,
    event_stream_sync,
    preamble,
)
from reader_owner import Owner
from talk import soon
from wire import message_of


def numbered(number: int, id: str | None = None) -> Message[Any]:
    return Message(message_of(number), None, number, id)


def buffer(count: int = 0, limit: int = 1024) -> ReaderBuffer:
    filled = ReaderBuffer("c", QueueLimits(limit))
    for number in range(count):
        filled.push(numbered(number, f"id{number}"))
    return filled


async def chunks(stream: AsyncGenerator[bytes, None], count: int) -> list[bytes]:
    return [await soon(anext(stream)) for _ in range(count)]


def test_headers_that_keep_proxies_from_holding_events_back() -> None:
    assert MEDIA_TYPE == "text/event-stream"
    assert EVENT_STREAM_HEADERS == {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


READY = b'retry: 1000\nevent: ready\ndata: {"kind":"ready","channel":"c","topics":["t"]}\n\n'


def encoded_of(source: ReaderBuffer, *, heartbeat: float | None) -> AsyncGenerator[bytes, None]:
    return encoded_stream(source, asyncio.get_running_loop(), heartbeat=heartbeat)


def body_of(
    source: ReaderBuffer, reauthorize: Any = None, *, heartbeat: float = 10.0, **options: Any
) -> AsyncGenerator[bytes, None]:
    return event_stream(
        EventStream(source, "c", ["t"], heartbeat=heartbeat, **options), asyncio.get_running_loop(), reauthorize
    )


def test_the_first_and_the_last_bytes() -> None:
    assert preamble("c", ["t"]) == READY
    assert preamble("c", ["t"], "a.b") == READY.replace(b"event:", b"id: a.b\nevent:")
    closings = [close_event() for _ in range(100)]
    assert len(set(closings)) > 50, "clients come back spread over a while"
    for text in closings:
        retry, event, data = text.removesuffix(b"\n\n").split(b"\n")
        assert 500 <= int(retry.removeprefix(b"retry: ")) <= 3000
        assert (event, data) == (b"event: closing", b'data: {"kind":"closing"}')
    assert end_event("failed") == b'event: end\ndata: {"kind":"end","reason":"failed"}\n\n'


@given(st.text(), st.lists(st.text()))
def test_ready_is_one_event_whatever_the_names_are(channel: str, topics: list[str]) -> None:
    first = preamble(channel, topics)
    assert len(first.splitlines()) == 4  # retry, event, data, and the empty line
    data = first.splitlines()[2].removeprefix(b"data: ")
    assert json.loads(data) == {"kind": "ready", "channel": channel, "topics": topics}


def test_a_client_that_resumes_is_where_it_was_until_it_has_caught_up() -> None:
    resuming = EventStream(buffer(), "c", ["t"], heartbeat=1, last_event_id="a.b")
    assert b"\nid: a.b\n" in resuming.preamble()


@pytest.mark.parametrize("strange", ["a\nb", "a\rb", "a\0b", "x" * 201, "\xff", " "])
def test_an_id_that_was_never_sent_is_not_sent_back(strange: str) -> None:
    assert EventStream(buffer(), "c", ["t"], heartbeat=1, last_event_id=strange).preamble() == READY


async def test_the_first_bytes_leave_at_once() -> None:
    stream = body_of(buffer())
    assert await chunks(stream, 1) == [READY]
    await stream.aclose()


async def test_the_first_bytes_tell_where_the_stream_begins() -> None:
    beginning = buffer()
    beginning.start_id = "a.b"
    stream = body_of(beginning)
    assert await chunks(stream, 1) == [preamble("c", ["t"], "a.b")]
    await stream.aclose()


async def test_what_waits_leaves_in_one_write() -> None:
    stream = body_of(buffer(5))
    _, body = await chunks(stream, 2)
    assert body == b"".join(b"%bid: id%d\n\n" % (numbered(number).to_sse()[:-1], number) for number in range(5))
    await stream.aclose()


async def test_writes_stay_sensible() -> None:
    large = ReaderBuffer("c", QueueLimits(1024))
    for number in range(20):
        large.push(Message(message_of("x" * 20_000), None, "x", f"id{number}"))
    large.end()
    parts = [part async for part in body_of(large)][1:]
    assert len(parts) > 3
    assert max(map(len, parts)) < 64 * 1024 + 21_000
    assert b"".join(parts).count(b"id: ") == 20


async def test_events_without_an_id_have_none() -> None:
    mixed = ReaderBuffer("c", QueueLimits(8))
    mixed.push(Message.gap("c", "reconnect"))
    mixed.end()
    assert [part async for part in body_of(mixed)][1] == Message.gap("c", "reconnect").to_sse()


@pytest.mark.parametrize("body", [encoded_of, body_of])
async def test_heartbeats_while_nothing_comes(body: Any) -> None:
    idle = buffer()
    stream = body(idle, heartbeat=0.02)
    if body is body_of:
        await anext(stream)
    assert await chunks(stream, 2) == [HEARTBEAT] * 2
    idle.push(numbered(1))
    while (chunk := (await chunks(stream, 1))[0]) == HEARTBEAT:
        pass
    assert chunk == numbered(1).to_sse()
    await stream.aclose()


async def test_no_heartbeats_while_messages_come() -> None:
    busy = buffer()
    stream = encoded_of(busy, heartbeat=0.2)
    for number in range(30):
        asyncio.get_running_loop().call_later(0.01, busy.push, numbered(number))
        assert await chunks(stream, 1) == [numbered(number).to_sse()]
    await stream.aclose()


async def test_an_encoded_stream_without_heartbeats() -> None:
    quiet = buffer(1)
    quiet.end()
    assert [part async for part in encoded_of(quiet, heartbeat=None)] == [numbered(0).to_sse()]


@pytest.mark.parametrize("leaving", [False, True])
async def test_the_end(leaving: bool) -> None:
    ended = buffer(1)
    ended.end()
    parts = [part async for part in body_of(ended, leaving=lambda: leaving)]
    assert parts[:2] == [READY, numbered(0, "id0").to_event()]
    (last,) = parts[2:]
    assert last.endswith(b'{"kind":"closing"}\n\n') if leaving else last == end_event("closed")


async def test_an_error_comes_after_what_waits() -> None:
    refused = buffer(1)
    refused.end(AuthenticationError("refused", url=""))
    stream = encoded_of(refused, heartbeat=10.0)
    assert await chunks(stream, 1) == [numbered(0).to_sse()]
    with pytest.raises(AuthenticationError):
        await anext(stream)


async def test_a_response_ends_quietly_when_its_subscription_fails(caplog: pytest.LogCaptureFixture) -> None:
    refused = buffer(1)
    refused.end(AuthenticationError("Inngest refused.", url=""))
    parts = [part async for part in body_of(refused)]
    assert parts == [READY, numbered(0, "id0").to_event(), end_event("failed")]
    assert "its subscription has: Inngest refused." in caplog.text


@pytest.mark.parametrize("body", [encoded_of, body_of])
async def test_leaving_frees_the_reader_and_its_timer(body: Any) -> None:
    owner = Owner()
    source = ReaderBuffer("c", QueueLimits(8), owner)
    stream = body(source, heartbeat=0.01)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    await stream.aclose()
    assert owner.left == [source]


async def test_permission_is_asked_for_again_and_again() -> None:
    answers = [True, True, False]
    asked: list[bool] = []

    async def reauthorize() -> bool:
        asked.append(answers[len(asked)])
        return asked[-1]

    stream = body_of(buffer(), reauthorize, reauthorize_every=0.01)

    async def read() -> list[bytes]:
        return [part async for part in stream]

    parts = await soon(read())
    assert asked == answers
    assert set(parts[1:-1]) <= {HEARTBEAT}
    assert parts[-1] == end_event("forbidden")


async def test_permission_is_asked_for_while_messages_come() -> None:
    busy = buffer()
    asked: list[int] = []

    async def reauthorize() -> bool:
        asked.append(1)
        return False

    stream = body_of(busy, reauthorize, reauthorize_every=0.02)

    async def publish() -> None:
        while not asked:
            busy.push(numbered(1))
            await asyncio.sleep(0.001)

    publisher = asyncio.create_task(publish())

    async def read() -> None:
        async for _ in stream:
            pass

    await soon(read())
    await publisher
    assert asked == [1]


def test_the_sync_face_sends_the_same_and_its_first_bytes_before_it_catches_up() -> None:
    source = buffer(2)
    order: list[object] = []

    async def catch_up() -> None:
        order.append("caught up")

    source.catch_up = catch_up
    # The first time of all it takes longer than the stream.
    run_sync(EventStream(source, heartbeat=1).catch_up)
    order.clear()
    source.catch_up = catch_up
    stream = event_stream_sync(
        EventStream(source, "c", ["t"], heartbeat=0.02, reauthorize_every=0.5, last_event_id="a.b"), lambda: False
    )
    order.append(next(stream))
    order.extend(stream)
    assert order[:2] == [preamble("c", ["t"], "a.b"), "caught up"]
    assert order[2] == numbered(0, "id0").to_event() + numbered(1, "id1").to_event()
    assert set(order[3:-1]) == {HEARTBEAT}
    assert order[-1] == end_event("forbidden")
