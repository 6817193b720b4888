from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core.errors import AuthenticationError
from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.subscriptions.sse import (
    EVENT_STREAM_HEADERS,
    HEARTBEAT,
    MEDIA_TYPE,
    close_event,
    encoded_stream,
    event_stream,
    preamble,
)
from talk import soon
from wire import message_of


def numbered(number: int, id: str | None = None) -> Message[Any]:
    return Message(message_of(number), None, number, id)


def buffer(count: int = 0, limit: int = 1024) -> ReaderBuffer:
    filled = ReaderBuffer("c", limit)
    for number in range(count):
        filled.push(numbered(number, f"id{number}"))
    return filled


async def chunks(stream: AsyncGenerator[bytes, None], count: int) -> list[bytes]:
    return [await soon(anext(stream)) for _ in range(count)]


def test_headers_that_keep_proxies_from_holding_events_back() -> None:
    assert MEDIA_TYPE == "text/event-stream"
    assert EVENT_STREAM_HEADERS == {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def test_the_first_and_the_last_bytes() -> None:
    assert preamble() == b"retry: 1000\n: open\n\n"
    assert preamble("a.b") == b"retry: 1000\nid: a.b\n: open\n\n"
    farewells = {close_event() for _ in range(100)}
    assert len(farewells) > 50, "clients come back spread over a while"
    assert all(500 <= int(text.split(b"\n")[0].removeprefix(b"retry: ")) <= 3000 for text in farewells)


async def test_the_first_bytes_leave_at_once() -> None:
    stream = event_stream(buffer(), heartbeat=10.0)
    assert await chunks(stream, 1) == [preamble()]
    await stream.aclose()


async def test_the_first_bytes_tell_where_the_stream_begins() -> None:
    beginning = buffer()
    beginning.start_id = "a.b"
    stream = event_stream(beginning, heartbeat=10.0)
    assert await chunks(stream, 1) == [preamble("a.b")]
    await stream.aclose()


async def test_what_waits_leaves_in_one_write() -> None:
    stream = event_stream(buffer(5), heartbeat=10.0)
    _, body = await chunks(stream, 2)
    assert body == b"".join(b"id: id%d\n%b" % (number, numbered(number).to_sse()) for number in range(5))
    await stream.aclose()


async def test_writes_stay_sensible() -> None:
    large = ReaderBuffer("c", 1024)
    for number in range(20):
        large.push(Message(message_of("x" * 20_000), None, "x", f"id{number}"))
    large.end()
    parts = [part async for part in event_stream(large, heartbeat=10.0)][1:]
    assert len(parts) > 3
    assert max(map(len, parts)) < 64 * 1024 + 21_000
    assert b"".join(parts).count(b"id: ") == 20


async def test_events_without_an_id_have_none() -> None:
    mixed = ReaderBuffer("c", 8)
    mixed.push(Message.gap("c", "reconnect"))
    mixed.end()
    assert [part async for part in event_stream(mixed, heartbeat=10.0)][1] == Message.gap("c", "reconnect").to_sse()


@pytest.mark.parametrize("body", [encoded_stream, event_stream])
async def test_heartbeats_while_nothing_comes(body: Any) -> None:
    idle = buffer()
    stream = body(idle, heartbeat=0.02)
    if body is event_stream:
        await anext(stream)
    assert await chunks(stream, 2) == [HEARTBEAT] * 2
    idle.push(numbered(1))
    while (chunk := (await chunks(stream, 1))[0]) == HEARTBEAT:
        pass
    assert chunk == numbered(1).to_sse()
    await stream.aclose()


async def test_no_heartbeats_while_messages_come() -> None:
    busy = buffer()
    stream = encoded_stream(busy, heartbeat=0.2)
    for number in range(30):
        asyncio.get_running_loop().call_later(0.01, busy.push, numbered(number))
        assert await chunks(stream, 1) == [numbered(number).to_sse()]
    await stream.aclose()


async def test_an_encoded_stream_without_heartbeats() -> None:
    quiet = buffer(1)
    quiet.end()
    assert [part async for part in encoded_stream(quiet, heartbeat=None)] == [numbered(0).to_sse()]


@pytest.mark.parametrize("leaving", [False, True])
async def test_the_end(leaving: bool) -> None:
    ended = buffer(1)
    ended.end()
    parts = [part async for part in event_stream(ended, heartbeat=10.0, leaving=lambda: leaving)]
    assert parts[1] == numbered(0, "id0").to_event()
    assert [part.endswith(b": closing\n\n") for part in parts[2:]] == [True] * leaving


async def test_an_error_comes_after_what_waits() -> None:
    refused = buffer(1)
    refused.end(AuthenticationError("refused", url=""))
    stream = encoded_stream(refused, heartbeat=10.0)
    assert await chunks(stream, 1) == [numbered(0).to_sse()]
    with pytest.raises(AuthenticationError):
        await anext(stream)


async def test_a_response_ends_quietly_when_its_subscription_fails(caplog: pytest.LogCaptureFixture) -> None:
    refused = buffer(1)
    refused.end(AuthenticationError("Inngest refused.", url=""))
    parts = [part async for part in event_stream(refused, heartbeat=10.0)]
    assert parts == [preamble(), numbered(0, "id0").to_event()]
    assert "its subscription has: Inngest refused." in caplog.text


@pytest.mark.parametrize("body", [encoded_stream, event_stream])
async def test_leaving_frees_the_reader_and_its_timer(body: Any) -> None:
    left: list[ReaderBuffer] = []
    source = ReaderBuffer("c", 8, on_detach=left.append)
    stream = body(source, heartbeat=0.01)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    await stream.aclose()
    assert left == [source]


async def test_permission_is_asked_for_again_and_again() -> None:
    answers = [True, True, False]
    asked: list[bool] = []

    async def reauthorize() -> bool:
        asked.append(answers[len(asked)])
        return asked[-1]

    stream = event_stream(buffer(), heartbeat=10.0, reauthorize=reauthorize, reauthorize_every=0.01)

    async def read() -> list[bytes]:
        return [part async for part in stream]

    parts = await soon(read())
    assert asked == answers
    assert set(parts[1:]) <= {HEARTBEAT}


async def test_permission_is_asked_for_while_messages_come() -> None:
    busy = buffer()
    asked: list[int] = []

    async def reauthorize() -> bool:
        asked.append(1)
        return False

    stream = event_stream(busy, heartbeat=10.0, reauthorize=reauthorize, reauthorize_every=0.02)

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
