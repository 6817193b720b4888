"""The first bytes of a page that opens a channel while Redis does not reply, and what follows them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, cast

import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from test_redis_replay import RedisServer, channel, own, page, pytestmark, worker

__all__ = ["channel", "own", "pytestmark"]

SOON = 0.2  # seconds
KEY = "signkey-test-ab12"


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The URL of one that accepts, and never answers."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await reader.read()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        yield f"redis://{host}:{port}"
        for writer in writers:
            writer.close()


@pytest.fixture(params=[None, KEY], ids=["no key", "key"])
def signing_key(request: pytest.FixtureRequest) -> str | None:
    """Without one, the key of event ids is in Redis."""
    return request.param


@pytest.fixture
def realm(signing_key: str | None) -> Iterator[DevServer]:
    with DevServer(signing_key=signing_key or "").in_thread() as server:
        yield server


def new_worker(server: DevServer, signing_key: str | None, url: str) -> Realtime:
    return Realtime(api_base_url=server.url, signing_key=signing_key, linger=0, replay=RedisReplay(url))


def events_of(chunks: bytes) -> list[dict[str, Any]]:
    blocks = [block for block in chunks.decode().split("\n\n") if block]
    fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [{**json.loads(each["data"]), "id": each.get("id")} for each in fields]


async def publish_past_redis(server: DevServer, channel: str, *data: Any) -> None:
    for each in data:
        await server.publish(channel, "t", each)


async def read(stream: AsyncGenerator[bytes, None], first: bytes, count: int) -> list[dict[str, Any]]:
    """So many events, of which the beginning has been read."""
    read_ = first
    while len(events_of(read_) if read_.endswith(b"\n\n") else ()) < count:
        read_ += await asyncio.wait_for(anext(stream), 10)
    return events_of(read_)


@pytest.mark.parametrize("rewind", [None, "all"])
@pytest.mark.parametrize("how", ["stopped", "stopped later", "silent"])
async def test_they_leave_before_redis_has_answered(
    realm: DevServer, signing_key: str | None, own: RedisServer, silent: str, channel: str, how: str, rewind: Any
) -> None:
    with contextlib.ExitStack() as while_hung:
        if how == "stopped":
            while_hung.enter_context(own.hung())
        async with new_worker(realm, signing_key, silent if how == "silent" else own.url) as one:
            async with one.subscribe(channel=f"{channel}.warm", topics=["t"]) as warm:
                await anext(warm.get_event_stream())
            if how == "stopped later":
                while_hung.enter_context(own.hung())
            subscription = await one.subscribe(channel=channel, topics=["t"], rewind=rewind)
            began = time.monotonic()
            stream = subscription.get_event_stream()
            first = await anext(stream)
            assert time.monotonic() - began < SOON
            assert first.startswith(b"retry: 1000\n")
            # What comes before the ids can be made is there all the same, in order, behind `ready`.
            await publish_past_redis(realm, channel, *range(5))
            gaps = 0 if rewind is None else 1  # nobody knows what came before
            seen = await read(stream, first, 6 + gaps)
            assert [each["kind"] for each in seen] == ["ready", *["gap"] * gaps, *["data"] * 5]
            del seen[1 : 1 + gaps]
            assert [each["data"] for each in seen[1:]] == [*range(5)]
            assert all(each["id"] for each in seen)
            # Whoever is cut off before any of them gets what follows, and is told again what is not known.
            for number, before in enumerate(seen[:-1]):
                back = subscription.get_event_stream(last_event_id=before["id"])
                again = gaps if number == 0 else 0
                missed = await read(back, b"", 6 - number + again)
                assert [each["kind"] for each in missed[1:]] == [*["gap"] * again, *["data"] * (5 - number)]
                assert [each["data"] for each in missed[1 + again :]] == [*range(number, 5)]
                await back.aclose()
            await subscription.close()


@pytest.mark.parametrize("rewind", [None, "all"])
async def test_they_leave_to_threads(
    realm: DevServer, signing_key: str | None, own: RedisServer, channel: str, rewind: Any
) -> None:
    def look(one: Realtime) -> tuple[float, list[dict[str, Any]]]:
        with one.subscribe_sync(channel=f"{channel}.warm", topics=["t"]) as warm:
            next(warm.get_event_stream())
        with own.hung(), one.subscribe_sync(channel=channel, topics=["t"], rewind=rewind) as subscription:
            began = time.monotonic()
            stream = cast("Generator[bytes, None, None]", subscription.get_event_stream())
            chunks = next(stream)
            took = time.monotonic() - began
            asyncio.run(publish_past_redis(realm, channel, *range(3)))
            while chunks.count(b'"kind":"data"') < 3:
                chunks += next(stream)
            return took, events_of(chunks)

    one = new_worker(realm, signing_key, own.url)
    try:
        took, seen = await asyncio.to_thread(look, one)
    finally:
        # Else it asks the Redis of this test for the rest of the process, and says in the log that it is gone.
        await asyncio.to_thread(one.close_sync)
    assert took < SOON
    gaps = 0 if rewind is None else 1
    assert [each["kind"] for each in seen] == ["ready", *["gap"] * gaps, "data", "data", "data"]
    del seen[1 : 1 + gaps]
    assert [each["data"] for each in seen[1:]] == [0, 1, 2]
    assert all(each["id"] for each in seen)


async def test_subscribing_does_not_wait(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own) as one:
        async with one.subscribe(channel=f"{channel}.warm", topics=["t"]):
            with own.hung():
                began = time.monotonic()
                # The socket is there already.
                async with one.subscribe(channel=channel, topics=["t"], rewind="all") as subscription:
                    assert time.monotonic() - began < 0.4
                    await server.publish(channel, "t", 1)
                    with pytest.raises(TimeoutError):
                        await subscription.receive(timeout=0.01)
                    gap, message = [await subscription.receive(timeout=10) for _ in range(2)]
                    assert gap is not None
                    assert gap.data.reason == "expired", "nobody knows what came before"
                    assert message is not None
                    assert message.data == 1


async def test_one_that_answers_late_still_gives_ids_that_others_understand(
    server: DevServer, own: RedisServer, channel: str
) -> None:
    async with worker(server, own) as one, worker(server, own) as two, worker(server, own) as publisher:
        for each in (one, two, publisher):
            await each.publish((f"{channel}.warm", "t"), 0)
        with own.hung():
            subscription = await one.subscribe(channel=channel, topics=["t", "u"])
            stream = subscription.get_event_stream()
            first = await anext(stream)
        (ready,) = await read(stream, first, 1)
        await subscription.close()
        await publisher.publish((channel, "t"), "after")
        async with page(two, channel, ready["id"]) as after:
            assert await after.read(1) == ["after"]


async def test_who_publishes_as_soon_as_it_is_subscribed_gets_that_behind_what_came_before(
    server: DevServer, own: RedisServer, channel: str
) -> None:
    """Also who rewinds at that moment: it is not taken for something that came before the subscription."""
    async with worker(server, own) as one:
        for number in range(20):
            name = f"{channel}.{number}"
            await one.publish((name, "t"), "before")
            async with one.subscribe(channel=name, topics=["t"]) as live:
                await one.publish((name, "t"), "live")
                async with one.subscribe(channel=name, topics=["t"], rewind="all") as late:
                    message = await live.receive(timeout=10)
                    assert message is not None
                    assert message.data == "live"
                    assert [m.data for m in [await late.receive(10), await late.receive(10)] if m] == ["before", "live"]
