"""What a channel gives its readers: validated data, gaps, and bounded buffers, over real sockets."""

from __future__ import annotations

import asyncio
import json
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from inngest_realtime_core import (
    DataStreamInterruptedError,
    FrameTooLargeError,
    Gap,
    MessageError,
    MessageValidationError,
    Realtime,
    Replay,
)
from inngest_realtime_core._hub import hub
from inngest_realtime_core._upstream.protocol import MAX_OPEN_STREAMS
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline, Status, eventually, read_until, receive, soon
from test_subscription import cut_off, events_of, last_id
from wire import frame, start_frame

# -- validation --------------------------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_reported_and_left_out(
    server: DevServer, realtime: Realtime, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = []
    pending = realtime.subscribe(channel=pipeline, topics=["status"], on_error=errors.append)
    async with pending as subscription:
        await server.publish(pipeline.name, "status", {"wrong": "secret value"})
        await server.publish(pipeline.name, "status", {"message": "right", "unknown": 1})
        assert await receive(subscription, 1) == [Status(message="right")]
        await eventually(lambda: bool(errors))
    (error,) = errors
    assert isinstance(error, MessageValidationError)
    assert (error.channel, error.topic) == (pipeline.name, "status")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "secret value" not in caplog.text


async def test_without_validation(server: DevServer, realtime: Realtime, pipeline: Pipeline) -> None:
    async with realtime.subscribe(channel=pipeline, topics=["status"], validate=False) as subscription:
        await server.publish(pipeline.name, "status", {"wrong": 1})
        assert await receive(subscription, 1) == [{"wrong": 1}]


async def test_readers_who_validate_and_who_do_not_share_a_channel(
    server: DevServer, realtime: Realtime, pipeline: Pipeline
) -> None:
    async with (
        realtime.subscribe(channel=pipeline, topics=["status"]) as strict,
        realtime.subscribe(channel=pipeline, topics=["status"], validate=False) as lax,
        realtime.subscribe(channel=pipeline.name, topics=["status"]) as plain,
    ):
        await server.publish(pipeline.name, "status", {"wrong": 1})
        await server.publish(pipeline.name, "status", {"message": "right"})
        assert await receive(lax, 2) == [{"wrong": 1}, {"message": "right"}]
        assert await receive(plain, 2) == [{"wrong": 1}, {"message": "right"}]
        assert await receive(strict, 1) == [Status(message="right")]
        assert server.stats().open_connections == 1


# -- gaps and limits ---------------------------------------------------------------------------------------------------


async def test_a_slow_reader_is_told_what_it_missed_and_harms_nobody(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0, buffer_size=8) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as quick:
            async with realtime.subscribe(channel=channel, topics=["t"]) as slow:
                stalled = slow.get_json_stream()
                reader = asyncio.create_task(read_until(quick.get_json_stream(), 99))
                await asyncio.sleep(0)
                for number in range(100):
                    await realtime.publish((channel, "t"), number)
                assert await soon(reader) == list(range(100))
                gap = await soon(anext(stalled))
                assert (gap.kind, gap.data) == ("gap", Gap("overflow", 92))
                assert await receive(stalled, 8) == list(range(92, 100))
                stats = realtime.stats()
                assert stats.received == 100
                # 100 by the one and 8 by the other; what nobody iterates is neither delivered nor lost.
                assert (stats.delivered, stats.dropped, stats.gaps) == (108, 92, 1)
                await stalled.aclose()


async def test_gaps_can_be_hidden(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with (
        realtime.subscribe(channel=channel, topics=["t"], gaps=False) as quiet,
        realtime.subscribe(channel=channel, topics=["t"]) as told,
    ):
        server.drop_connections()
        gap = await soon(anext(told))
        assert (gap.kind, gap.data) == ("gap", Gap("reconnect", None))
        await realtime.publish((channel, "t"), 1)
        assert await receive(quiet, 1) == [1]
        assert await receive(told, 1) == [1]


async def test_a_frame_that_is_too_large_is_reported_and_the_subscription_goes_on(
    server: DevServer, realtime: Realtime, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = []
    async with realtime.subscribe(channel=channel, topics=["t"], on_error=errors.append) as subscription:
        whole = {"kind": "data", "channel": channel, "topic": "t", "data": "x" * (4 * 1024 * 1024 - 200)}
        await server.inject(channel, "t", json.dumps(whole))
        await server.inject(channel, "t", json.dumps({**whole, "data": "x" * (4 * 1024 * 1024)}))
        await realtime.publish((channel, "t"), "after")
        assert len((await receive(subscription, 1))[0]) == len(whole["data"])
        assert await receive(subscription, 2) == [Gap("too-large", 1), "after"]
        await eventually(lambda: bool(errors))
    (error,) = errors
    assert isinstance(error, FrameTooLargeError)
    assert (error.channel, error.topic) == (channel, "t")
    assert error.size > 4 * 1024 * 1024
    assert "Publish a reference" in caplog.text


async def test_a_subscription_that_nobody_iterates_stops_collecting(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0, buffer_size=4) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            stream = subscription.get_json_stream()
            for number in range(20):
                await realtime.publish((channel, "t"), number)
                assert await receive(stream, 1) == [number]
            # Iterating it after all begins with a gap.
            reader = asyncio.create_task(read_until(subscription, 20))
            await asyncio.sleep(0)
            await realtime.publish((channel, "t"), 20)
            assert (await soon(reader))[0] == "overflow"
            await stream.aclose()


async def test_no_more_data_streams_are_kept_open_than_are_followed(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0, buffer_size=20_000) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            for number in range(MAX_OPEN_STREAMS + 1):
                await server.inject(channel, "t", start_frame(f"s{number}", channel=channel).decode())
            first, second = [(await soon(anext(subscription))).stream for _ in range(2)]
            assert first is not None
            assert second is not None
            await eventually(lambda: realtime.stats().received == MAX_OPEN_STREAMS + 1)
            assert (first.ended, second.ended) == (True, False)
            with pytest.raises(DataStreamInterruptedError, match="others began"):
                await soon(anext(aiter(first)))


async def test_payloads_are_released_in_time(server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for clients that reconnect goes when it is too old, although nothing else comes."""
    monkeypatch.setattr(hub, "_SWEEP", 0.05)
    async with Realtime(api_base_url=server.url, replay=Replay(max_age=0.2)) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await server.publish(channel, "t", "x" * 400_000)
            message = await soon(anext(subscription))
            held = weakref.ref(message)
            envelope = message._envelope
            del message
            assert held() is None
            await eventually(lambda: sys.getrefcount(envelope) == 2)


@pytest.mark.parametrize("data", [b"[" * 1_100 + b"]" * 1_100, b"9" * 5_000])
async def test_a_payload_that_cannot_be_decoded_is_a_gap_and_an_error(
    server: DevServer, realtime: Realtime, channel: str, data: bytes
) -> None:
    errors: list[Exception] = []
    async with realtime.subscribe(channel=channel, topics=["t"], on_error=errors.append) as subscription:
        await server.inject(channel, "t", frame(0, channel=channel).replace(b'"data":0', b'"data":' + data))
        await server.publish(channel, "t", "after")
        assert await receive(subscription, 2) == [Gap("unreadable", 1), "after"]
    await eventually(lambda: len(errors) == 1)
    assert isinstance(errors[0], MessageError)
    assert errors[0].channel == channel


async def test_a_data_stream_that_began_before_anybody_was_there_is_a_gap(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    """A chunk does not say where it belongs; the end does, so that nobody takes half a text for all of it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield "before"
        begun.set()
        await go_on.wait()
        yield "after"

    publishing = asyncio.create_task(realtime.publish_stream((channel, "t"), text()))
    await soon(begun.wait())
    await eventually(lambda: any(message.kind == "datastream-start" for message in server.published(channel)))
    async with (
        realtime.subscribe(channel=channel, topics=["t"]) as late,
        realtime.subscribe(channel=channel, topics=["t", "u"]) as both,
        realtime.subscribe(channel=channel, topics=["t", "u", "v"]) as unread,
        realtime.subscribe(channel=channel, topics=["u"]) as other,
        realtime.subscribe(channel=channel, topics=["t"], gaps=False) as deaf,
    ):
        sync_late = await asyncio.to_thread(realtime.subscribe_sync, channel=channel, topics=["t"])
        sync_other = await asyncio.to_thread(realtime.subscribe_sync, channel=channel, topics=["u"])
        await realtime.publish((channel, "v"), "read")
        assert await receive(unread, 1) == ["read"]
        _, before = await cut_off(both, 0)
        _, elsewhere = await cut_off(other, 0)
        async with aclosing(both.get_event_stream()) as live, aclosing(other.get_event_stream()) as silent:
            for stream in (live, silent):
                await soon(anext(stream))
            go_on.set()
            await soon(publishing)
            for topic in ("t", "u"):
                await realtime.publish((channel, topic), f"next {topic}")
            for sync, expected in ((sync_late, [Gap("expired"), "next t"]), (sync_other, ["next u"])):
                found = [await asyncio.to_thread(sync.receive, 5) for _ in expected]
                assert [message and message.data for message in found] == expected
                await asyncio.to_thread(sync.close)
            assert await receive(late, 2) == [Gap("expired"), "next t"]
            assert await receive(deaf, 1) == ["next t"]
            body = b""
            while len(events_of(body)) < 3:
                body += await soon(anext(live))
            assert events_of(body) == ["expired", "next t", "next u"]
            assert events_of(await soon(anext(silent))) == ["next u"]
        # Nobody has read these yet, and their first stream begins with what waits.
        assert (await cut_off(unread, 3))[0] == ["expired", "next t", "next u"]
        assert await receive(unread, 3) == [Gap("expired"), "next t", "next u"]
        assert await receive(other, 1) == ["next u"]
        # Who comes back, and who comes late.
        assert (await cut_off(both, 3, before))[0] == ["expired", "next t", "next u"]
        assert (await cut_off(both, 2, last_id(body[: body.index(b"next t")])))[0] == ["next t", "next u"]
        assert (await cut_off(other, 1, elsewhere))[0] == ["next u"]
        for topics, expected in ((["u"], ["next u"]), (["t"], ["expired", "next t"])):
            async with realtime.subscribe(channel=channel, topics=topics, rewind="all") as rewound:
                assert (await cut_off(rewound, len(expected)))[0] == expected
