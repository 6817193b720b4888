"""Every form of subscribing, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from inngest_realtime_core import (
    AuthenticationError,
    DataStreamInterruptedError,
    Gap,
    Message,
    Realtime,
    Replay,
    ShuttingDownError,
    Subscription,
    SubscriptionClosedError,
    TopicError,
)
from inngest_realtime_core._replay import resume
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_devserver.testing import parse_events
from talk import Pipeline, Status, eventually, read_until, receive, soon

# -- opening -----------------------------------------------------------------------------------------------------------


async def test_awaiting(realtime: Realtime, channel: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    assert (subscription.channel, subscription.topics, subscription.state) == (channel, ("t",), "open")
    await realtime.publish((channel, "t"), {"x": 1})
    message = await soon(anext(subscription))
    assert (message.kind, message.topic, message.data) == ("data", "t", {"x": 1})
    await subscription.close("done")
    assert subscription.state == "closed"
    assert subscription.closed


async def test_async_with(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await realtime.publish((channel, "t"), 1)
        async for message in subscription:
            assert message.data == 1
            break
        assert not subscription.closed
    assert subscription.closed
    await server.until(lambda stats: stats.open_connections == 0)


async def test_iterating_again_inside_async_with(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        for number in range(4):
            await realtime.publish((channel, "t"), number)
        async for message in subscription:
            assert message.data == 0
            break
        async for message in subscription:
            assert message.data == 1
            break
        assert (await soon(anext(subscription))).data == 2
        await asyncio.sleep(0)
        await realtime.publish((channel, "t"), 4)
        assert await read_until(subscription, 4) == [3, 4]
        await realtime.publish((channel, "t"), 5)
        assert await receive(subscription, 1) == [5]


async def test_repr_says_where_it_is(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        assert repr(subscription) == f"<Subscription channel={channel!r} topics=['t'] open>"


async def test_leaving_a_loop_closes_nothing_that_is_held(server: DevServer, realtime: Realtime, channel: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    await realtime.publish((channel, "t"), 1)
    assert await read_until(subscription, 1) == [1]
    await realtime.publish((channel, "t"), 2)
    assert await read_until(subscription, 2) == [2]
    assert not subscription.closed
    del subscription
    await eventually(lambda: realtime.stats().subscriptions == 0)
    await server.until(lambda stats: stats.open_connections == 0)


async def test_iterating_without_keeping_the_subscription(realtime: Realtime, channel: str) -> None:
    async def read() -> list[Any]:
        seen = []
        async for message in await realtime.subscribe(channel=channel, topics=["t"]):
            if not seen:
                gc.collect()
            seen.append(message.data)
            if len(seen) == 3:
                break
        return seen

    reader = asyncio.create_task(read())
    await eventually(lambda: realtime.stats().sockets == 1)
    async with realtime.subscribe(channel=channel, topics=["t"]):
        for number in range(3):
            await realtime.publish((channel, "t"), number)
    assert await soon(reader) == [0, 1, 2]


async def test_all_topics_that_the_channel_declares(realtime: Realtime, pipeline: Pipeline) -> None:
    async with realtime.subscribe(channel=pipeline) as subscription:
        assert subscription.topics == ("status", "tokens", "$run")
        await realtime.publish(pipeline.status, Status(message="hi"))
        message = await soon(anext(subscription))
        assert pipeline.status.matches(message)
        assert message.data == Status(message="hi")


async def test_topics_by_name_and_by_object(realtime: Realtime, pipeline: Pipeline) -> None:
    topics = ["status", Pipeline.tokens, pipeline.lifecycle]
    async with realtime.subscribe(channel=pipeline, topics=topics) as subscription:
        assert subscription.topics == ("status", "tokens", "$run")


async def test_wrong_topics_are_refused_at_once(realtime: Realtime, pipeline: Pipeline) -> None:
    with pytest.raises(TopicError):
        realtime.subscribe(channel=pipeline, topics=["stauts"])
    with pytest.raises(TopicError):
        realtime.subscribe(channel="plain")


async def test_only_topics_of_interest_arrive(server: DevServer, realtime: Realtime, pipeline: Pipeline) -> None:
    async with (
        realtime.subscribe(channel=pipeline, topics=["tokens"]) as tokens,
        realtime.subscribe(channel=pipeline, topics=["status"]) as status,
    ):
        await realtime.publish(pipeline.status, Status(message="a"))
        await realtime.publish(pipeline.tokens, "b")
        await server.publish(pipeline.name, "status", {"message": "c"})
        assert await receive(tokens, 1) == ["b"]
        assert await receive(status, 2) == [Status(message="a"), Status(message="c")]


async def test_run_messages_arrive_whatever_their_topic(
    server: DevServer, realtime: Realtime, pipeline: Pipeline
) -> None:
    async with realtime.subscribe(channel=pipeline, topics=["tokens"]) as subscription:
        frame = {"kind": "run", "channel": pipeline.name, "topic": "$run", "data": {"status": "Completed"}}
        await server.inject(pipeline.name, "tokens", json.dumps(frame))
        message = await soon(anext(subscription))
        assert (message.kind, message.data) == ("run", {"status": "Completed"})


@pytest.mark.parametrize(
    "frame",
    [
        "not JSON",
        "[]",
        '{"kind":"data","data":"foreign","channel":"another","topic":"t"}',
        '{"kind":"data","data":"other topic","channel":"$","topic":"u"}',
        '{"kind":"chunk","stream_id":"never-started","data":"x"}',
        '{"kind":"step","data":1,"channel":"$","topic":"t"}',
    ],
)
async def test_frames_that_are_dropped(
    server: DevServer, realtime: Realtime, channel: str, frame: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await server.inject(channel, "t", frame.replace("$", channel))
        await realtime.publish((channel, "t"), "after")
        assert await receive(subscription, 1) == ["after"]
    dropped = [record for record in caplog.records if record.getMessage().startswith("Dropped")]
    assert [record.levelno for record in dropped] == [logging.DEBUG]


async def test_messages_while_nobody_iterates_yet_are_kept(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        for number in range(100):
            await realtime.publish((channel, "t"), number)
        assert await read_until(subscription, 99) == list(range(100))


# -- streams -----------------------------------------------------------------------------------------------------------


async def test_json_streams_begin_with_their_call(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        first = subscription.get_json_stream()
        await realtime.publish((channel, "t"), 1)
        assert await receive(first, 1) == [1]
        second = subscription.get_json_stream()
        await realtime.publish((channel, "t"), 2)
        assert await receive(first, 1) == [2]
        assert await receive(second, 1) == [2]
        assert await receive(subscription, 2) == [1, 2]
        await first.aclose()
        await second.aclose()
        assert not subscription.closed


async def test_encoded_streams_have_exact_bytes(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t", "s"]) as subscription:
        encoded = subscription.get_encoded_stream()
        head = {"channel": channel, "env_id": "env", "created_at": "2026-11-24T13:35:59.767749674Z", "topic": "t"}
        await server.inject(channel, "t", json.dumps({"kind": "data", "data": {"a": 1}, "run_id": "r", **head}))
        await server.inject(channel, "t", json.dumps({"kind": "data", "data": None, **head}))
        await server.inject(channel, "t", f'{{"kind":"data","channel":"{channel}","topic":"t",\n"data":[1,\r\n 2.50]}}')
        assert [await soon(anext(encoded)) for _ in range(3)] == [
            f'data: {{"channel":"{channel}","topic":"t","data":{{"a": 1}},"createdAt":"2026-11-24T13:35:59.767Z",'
            f'"runId":"r","kind":"data","envId":"env"}}\n\n'.encode(),
            f'data: {{"channel":"{channel}","topic":"t","createdAt":"2026-11-24T13:35:59.767Z",'
            f'"kind":"data","envId":"env"}}\n\n'.encode(),
            f'data: {{"channel":"{channel}","topic":"t","data":[1,2.50],"kind":"data"}}\n\n'.encode(),
        ]
        await encoded.aclose()


async def test_encoded_streams_with_a_schema(server: DevServer, realtime: Realtime, pipeline: Pipeline) -> None:
    async with realtime.subscribe(channel=pipeline, topics=["status"]) as subscription:
        async with aclosing(subscription.get_encoded_stream()) as encoded:
            await server.publish(pipeline.name, "status", {"message": "hi", "stripped": 1})
            event = await soon(anext(encoded))
            assert b'"data":{"message":"hi","step":null},' in event


async def test_encoded_streams_beat_while_nothing_comes(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        async with aclosing(subscription.get_encoded_stream(heartbeat=0.02)) as encoded:
            assert [await soon(anext(encoded)) for _ in range(2)] == [b": heartbeat\n"] * 2
            await realtime.publish((channel, "t"), 1)
            while (chunk := await soon(anext(encoded))) == b": heartbeat\n":
                pass
            assert chunk.startswith(b"data: ")


async def test_a_stream_keeps_open_what_nobody_holds_otherwise(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    streams: list[AsyncGenerator[Any, None]] = [
        subscription.get_json_stream(),
        subscription.get_encoded_stream(),
        subscription.get_event_stream(),
    ]
    await anext(streams[2])
    del streams[:2], subscription
    gc.collect()
    await realtime.publish((channel, "t"), 1)
    assert b'"data":1' in await soon(anext(streams[0]))
    assert realtime.stats().subscriptions == 1
    await streams[0].aclose()
    await eventually(lambda: realtime.stats().subscriptions == 0)
    await server.until(lambda stats: stats.open_connections == 0)


@pytest.mark.parametrize("method", ["get_json_stream", "get_encoded_stream", "get_event_stream", "__aiter__"])
async def test_streams_that_are_never_started_free_their_readers(
    server: DevServer, realtime: Realtime, channel: str, method: str
) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    stream = getattr(subscription, method)()
    del stream, subscription
    gc.collect()
    await eventually(lambda: realtime.stats().channels == 0)
    await server.until(lambda stats: stats.open_connections == 0)


@pytest.mark.parametrize("looked", [False, True])
async def test_a_subscription_that_nobody_keeps_is_freed(
    server: DevServer, realtime: Realtime, channel: str, looked: bool
) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    if looked:
        await realtime.publish((channel, "t"), 1)
        assert (await soon(anext(subscription))).data == 1
    del subscription
    gc.collect()
    await eventually(lambda: realtime.stats().channels == 0)
    await server.until(lambda stats: stats.open_connections == 0)


async def test_a_task_that_is_cancelled_while_it_reads_frees_its_reader(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    async def read() -> None:
        async for _ in await realtime.subscribe(channel=channel, topics=["t"]):
            pass

    reader = asyncio.create_task(read())
    await eventually(lambda: realtime.stats().sockets == 1)
    reader.cancel()
    await asyncio.wait([reader])
    await eventually(lambda: realtime.stats().channels == 0)


async def test_data_streams(realtime: Realtime, pipeline: Pipeline) -> None:
    async with realtime.subscribe(channel=pipeline, topics=["tokens"]) as subscription:
        await realtime.publish_stream(pipeline.tokens, ["Hello ", "wörld", "!"])
        start = await soon(anext(subscription))
        assert start.kind == "datastream-start"
        assert start.stream is not None
        assert (start.stream.id, start.stream_id) == (start.data, start.data)
        text = "".join([chunk async for chunk in start.stream])
        assert text == "Hello wörld!"
        rest: list[Message[Any]] = []
        while not rest or rest[-1].kind != "datastream-end":
            rest.append(await soon(anext(subscription)))
        assert {message.kind for message in rest[:-1]} == {"chunk"}
        assert "".join(message.data for message in rest[:-1]) == text
        assert {(message.channel, message.topic, message.stream_id) for message in rest} == {
            (pipeline.name, "tokens", start.data)
        }


async def test_an_interrupted_stream_keeps_nothing_in_memory(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    """Messages are not followed by the garbage collector, so no circle may lead through one."""

    async def read() -> weakref.ref[Message[Any]]:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            start = {"kind": "datastream-start", "data": "s", "channel": channel, "topic": "t"}
            await server.inject(channel, "t", json.dumps(start))
            message = await soon(anext(subscription))
            server.drop_connections()
            with pytest.raises(DataStreamInterruptedError):
                async for _ in message.stream or ():  # type: ignore[union-attr]
                    pass
            return weakref.ref(message)

    reference = await read()
    await realtime.close()
    gc.collect()
    assert reference() is None


async def test_a_data_stream_is_told_of_a_lost_connection(server: DevServer, realtime: Realtime, channel: str) -> None:
    cut = asyncio.Event()

    async def chunks() -> AsyncGenerator[str, None]:
        yield "before"
        await cut.wait()

    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        publisher = asyncio.create_task(server.publish_stream(channel, "t", chunks()))
        start = await soon(anext(subscription))
        assert start.stream is not None
        text = aiter(start.stream)
        assert await soon(anext(text)) == "before"
        server.drop_connections()
        with pytest.raises(DataStreamInterruptedError) as caught:
            await soon(anext(text))
        assert caught.value.stream_id == start.data
        cut.set()
        await publisher


# -- closing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["close", "unsubscribe"])
async def test_closing_ends_readers_after_what_they_have(realtime: Realtime, channel: str, method: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    stream = subscription.get_json_stream()
    witness = await realtime.subscribe(channel=channel, topics=["t"])
    await realtime.publish((channel, "t"), 1)
    assert await receive(witness, 1) == [1]
    await getattr(subscription, method)("done")
    await getattr(subscription, method)("again")
    assert [message.data async for message in stream] == [1]
    assert [message.data async for message in subscription] == [1]
    for get in (subscription.get_json_stream, subscription.get_encoded_stream, subscription.get_event_stream):
        with pytest.raises(SubscriptionClosedError):
            get()
    await witness.close()


async def test_closing_from_another_task_wakes_readers(realtime: Realtime, channel: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    readers = [
        asyncio.create_task(read_until(subscription, None)),
        asyncio.create_task(read_until(subscription.get_json_stream(), None)),
    ]
    await asyncio.sleep(0)
    await subscription.close()
    assert await asyncio.gather(*readers) == [[], []]


async def test_shutting_down_ends_streams_and_opens_no_new_ones(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        events = subscription.get_event_stream()
        assert (await anext(events)).startswith(b"retry: ")
        encoded = subscription.get_encoded_stream()
        reader = asyncio.create_task(read_until(subscription, None))
        await asyncio.sleep(0)
        realtime.begin_shutdown()
        assert realtime.is_shutting_down
        assert await soon(reader) == []
        last = [chunk async for chunk in events]
        assert len(last) == 1
        assert last[0].startswith(b"retry: ")
        assert [chunk async for chunk in encoded] == []
        # A response that was being prepared at that moment ends too.
        assert len([chunk async for chunk in subscription.get_event_stream()]) == 2
        with pytest.raises(ShuttingDownError):
            await realtime.subscribe(channel=channel, topics=["t"])


# -- resuming ----------------------------------------------------------------------------------------------------------


def events_of(body: bytes) -> list[Any]:
    """The data of each message; of gaps the reason."""
    return [
        event.json()["data"]["reason"] if event.event == "gap" else event.json()["data"]
        for event in parse_events(body)
        if event.event in ("message", "gap")
    ]


def last_id(body: bytes) -> str:
    """What an `EventSource` has as its last event id after these bytes."""
    return [line[4:] for line in body.decode().split("\n") if line.startswith("id: ")][-1]


async def cut_off(subscription: Subscription, count: int, after: str | None = None) -> tuple[list[Any], str]:
    """Read an event stream up to so many events, as a client that is then cut off; what it had, and its last id."""
    async with aclosing(subscription.get_event_stream(last_event_id=after)) as stream:
        body = await soon(anext(stream))
        while len(events_of(body)) < count:
            body += await soon(anext(stream))
    return events_of(body), last_id(body) if b"id: " in body else after or ""


async def test_a_client_that_is_cut_off_before_its_first_event(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    async with realtime.subscribe(channel=channel, topics=["t", "u"]) as subscription:
        _, id = await cut_off(subscription, 0)
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]
        assert (await cut_off(subscription, 1, id))[0] == [1]
        # Cut off again before what it missed has come: the preamble of a stream that resumes moves nobody on.
        assert await cut_off(subscription, 0, id) == ([], id)
        _, id = await cut_off(subscription, 0)
        server.drop_connections()
        assert await receive(subscription, 1) == [Gap("reconnect")]
        await server.publish(channel, "u", 2)
        assert await receive(subscription, 1) == [2]
        assert (await cut_off(subscription, 2, id))[0] == ["reconnect", 2]


async def test_a_client_that_is_cut_off_after_a_gap_alone(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        seen, id = await cut_off(subscription, 1, "unknown")
        assert seen == ["expired"]
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]
        assert (await cut_off(subscription, 1, id))[0] == [1]


async def test_a_gap_of_which_nothing_is_known_any_more(server: DevServer, channel: str) -> None:
    """A client is away, the connection to Inngest is lost meanwhile, and more comes than is kept."""
    async with Realtime(api_base_url=server.url, replay=Replay(size=8)) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t", "u"]) as subscription:
            await server.publish(channel, "t", "before")
            assert await receive(subscription, 1) == ["before"]
            async with realtime.subscribe(channel=channel, topics=["t"]) as page:
                _, id = await cut_off(page, 0)
            server.drop_connections()
            assert await receive(subscription, 1) == [Gap("reconnect")]
            async with realtime.subscribe(channel=channel, topics=["t"]) as page:
                assert (await cut_off(page, 1, id))[0] == ["reconnect"]
                for number in range(20):
                    await server.publish(channel, "u", number)
                assert await receive(subscription, 20) == list(range(20))
                assert (await cut_off(page, 1, id))[0] == ["expired"]


async def published_and_read(server: DevServer, channel: str, subscription: Subscription) -> bytes:
    """What a client has of a stream when it is cut off after its first message."""
    body = b""
    async with aclosing(subscription.get_event_stream()) as stream:
        await server.publish(channel, "t", 1)
        while not events_of(body):
            body += await soon(anext(stream))
    return body


async def test_another_process_that_follows_a_topic_only_since(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as one, Realtime(api_base_url=server.url) as two:
        async with (
            two.subscribe(channel=channel, topics=["t"]) as witness,
            one.subscribe(channel=channel, topics=["t", "u"]) as here,
        ):
            body = await published_and_read(server, channel, here)
            assert await receive(witness, 1) == [1]
            await server.publish(channel, "u", "missed")
            async with two.subscribe(channel=channel, topics=["t", "u"]) as there:
                assert (await cut_off(there, 1, last_id(body)))[0] == ["expired"]


async def test_another_process_that_had_a_gap_just_before(
    server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of a topic that the client had nothing of may be in that gap, although its message came after it."""
    monkeypatch.setattr(resume, "_SKEW", timedelta(seconds=1))
    async with Realtime(api_base_url=server.url) as one, Realtime(api_base_url=server.url) as two:
        async with (
            one.subscribe(channel=channel, topics=["t", "u"]) as here,
            two.subscribe(channel=channel, topics=["t", "u"]) as there,
        ):
            began = time.monotonic()
            await eventually(lambda: time.monotonic() > began + 1.1)
            server.drop_connections()
            assert await receive(here, 1) == await receive(there, 1) == [Gap("reconnect")]
            body = await published_and_read(server, channel, here)
            assert await receive(there, 1) == [1]
            assert (await cut_off(there, 1, last_id(body)))[0] == ["expired"]


async def test_what_resuming_counts(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, buffer_size=4) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            _, id = await cut_off(subscription, 0)
            witness = subscription.get_json_stream()
            for number in range(10):
                await server.publish(channel, "t", number)
                assert await receive(witness, 1) == [number]
            before = realtime.stats()
            assert (await cut_off(subscription, 10, id))[0] == list(range(10))
            after = realtime.stats()
            assert (before.received, before.delivered, before.dropped, before.gaps) == (10, 10, 0, 0)
            assert (after.received, after.delivered, after.dropped, after.gaps) == (10, 20, 0, 0)
            assert (await cut_off(subscription, 1, "unknown"))[0] == ["expired"]
            assert realtime.stats().gaps == 1
            await witness.aclose()


# -- tokens of others --------------------------------------------------------------------------------------------------


async def test_a_key_minted_elsewhere(server: DevServer, realtime: Realtime, channel: str) -> None:
    token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    other = Realtime(api_base_url="http://127.0.0.1:9", linger=0)
    subscription = await other.subscribe(channel=channel, topics=["t"], key=token.key, api_base_url=token.api_base_url)
    await server.publish(channel, "t", 1)
    assert await receive(subscription, 1) == [1]
    assert server.stats().token_requests == 1
    await other.close()


async def test_another_address(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with DevServer() as elsewhere:
        async with realtime.subscribe(channel=channel, topics=["t"], api_base_url=elsewhere.url) as subscription:
            await server.publish(channel, "t", "here")
            await elsewhere.publish(channel, "t", "there")
            assert await receive(subscription, 1) == ["there"]


@pytest.mark.parametrize("key", ["nonsense", "a.b.c", ""])
async def test_a_bad_key_is_refused(realtime: Realtime, channel: str, key: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await realtime.subscribe(channel=channel, topics=["t"], key=key)
    assert caught.value.status == 401
    assert realtime.stats().channels == 0
