"""The sync face: threads that subscribe on the one background loop."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

from inngest_realtime_core import (
    AuthenticationError,
    Channel,
    Gap,
    Message,
    Realtime,
    RealtimeError,
    ShuttingDownError,
    SubscriptionClosedError,
    SyncSubscription,
    topic,
)
from inngest_realtime_devserver.server import DevServer
from talk import DEADLINE


class Status(BaseModel):
    message: str


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def realtime(server: DevServer) -> Iterator[Realtime]:
    realtime = Realtime(api_base_url=server.url, linger=0)
    yield realtime
    realtime.close_sync()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.002)


def data(subscription: SyncSubscription, count: int) -> list[Any]:
    received: list[Any] = []
    for _ in range(count):
        message = subscription.receive(timeout=DEADLINE)
        assert message is not None
        received.append(message.data)
    return received


def test_iterating(server: DevServer, realtime: Realtime, channel: str) -> None:
    subscription = realtime.subscribe_sync(channel=channel, topics=["t"])
    assert (subscription.channel, subscription.topics, subscription.state) == (channel, ("t",), "open")
    assert repr(subscription) == f"<SyncSubscription channel={channel!r} topics=['t'] open>"
    for number in range(3):
        realtime.publish_sync((channel, "t"), number)
    seen: list[Any] = []
    for message in subscription:
        seen.append(message.data)
        if len(seen) == 3:
            break
    assert seen == [0, 1, 2]
    realtime.publish_sync((channel, "t"), 3)
    assert next(iter(subscription)).data == 3
    subscription.close()
    server.until_sync(lambda stats: stats.open_connections == 0)


def test_a_with_block_and_several_loops_in_it(server: DevServer, realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        for number in range(4):
            realtime.publish_sync((channel, "t"), number)
        for message in subscription:
            assert message.data == 0
            break
        for message in subscription:
            assert message.data == 1
            break
        assert next(subscription).data == 2
        assert data(subscription, 1) == [3]
        realtime.publish_sync((channel, "t"), 4)
        for message in subscription:
            assert message.data == 4
            break
        assert not subscription.closed
    assert subscription.state == "closed"
    assert list(subscription) == []
    assert next(subscription, None) is None
    server.until_sync(lambda stats: stats.open_connections == 0)


def test_receiving_with_a_timeout(realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            subscription.receive(timeout=0.01)
        realtime.publish_sync((channel, "t"), 1)
        assert data(subscription, 1) == [1]
        subscription.close()
        assert subscription.receive(timeout=0.01) is None


def test_schemas(server: DevServer, realtime: Realtime) -> None:
    pipeline = Pipeline(run_id="blocking")
    with realtime.subscribe_sync(channel=pipeline, topics=[pipeline.status]) as subscription:
        server.publish_sync(pipeline.name, "status", {"message": "hi", "unknown": 1})
        assert data(subscription, 1) == [Status(message="hi")]


def test_streams(realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        messages = subscription.get_json_stream()
        encoded = subscription.get_encoded_stream()
        events = subscription.get_event_stream()
        assert re.fullmatch(rb"retry: 1000\nid: \S+\nevent: ready\ndata: .+\n\n", next(events))
        realtime.publish_sync((channel, "t"), {"x": 1})
        message = next(messages)
        assert message.data == {"x": 1}
        event = next(encoded)
        assert event == message.to_sse()
        assert next(events).startswith(event.rstrip())
        for stream in (messages, encoded, events):
            stream.close()


def test_data_streams(realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        realtime.publish_stream_sync((channel, "t"), ["Hello ", "wörld"])
        start = subscription.receive(timeout=DEADLINE)
        assert start is not None
        assert start.stream is not None
        assert "".join(start.stream.sync(timeout=DEADLINE)) == "Hello wörld"


def test_heartbeats(realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        encoded = subscription.get_encoded_stream(heartbeat=0.01)
        assert [next(encoded) for _ in range(3)] == [b": heartbeat\n"] * 3
        encoded.close()


def test_permission_is_asked_for_again(realtime: Realtime, channel: str) -> None:
    answers = iter([True, False])
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        events = subscription.get_event_stream(reauthorize=lambda: next(answers), reauthorize_every=0.01)
        *beats, last = list(events)[1:]
        assert set(beats) <= {b": heartbeat\n"}
        assert b"event: end\n" in last


def test_resuming(server: DevServer, realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        events = subscription.get_event_stream()
        next(events)
        ids: list[str] = []
        for number in range(3):
            server.publish_sync(channel, "t", number)
            ids.append(next(events).rpartition(b"\nid: ")[2].strip().decode())
        events.close()
        resumed = subscription.get_event_stream(last_event_id=ids[0])
        next(resumed)
        body = next(resumed)
        assert body.count(b"id: ") == 2
        assert ids[1].encode() in body
        resumed.close()


@pytest.mark.parametrize("method", ["close", "unsubscribe"])
def test_closing_from_another_thread_wakes_the_reader(realtime: Realtime, channel: str, method: str) -> None:
    subscription = realtime.subscribe_sync(channel=channel, topics=["t"])
    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(list, stream) for stream in (subscription, subscription.get_json_stream())]
        getattr(subscription, method)("done")
        assert [reader.result(DEADLINE) for reader in readers] == [[], []]
    with pytest.raises(SubscriptionClosedError):
        subscription.get_json_stream()


@pytest.mark.parametrize("method", ["get_json_stream", "get_encoded_stream", "get_event_stream", "__iter__"])
def test_streams_that_are_never_started_free_their_readers(
    server: DevServer, realtime: Realtime, channel: str, method: str
) -> None:
    stream = getattr(realtime.subscribe_sync(channel=channel, topics=["t"]), method)()
    assert realtime.stats().channels == 1
    del stream
    gc.collect()
    wait_for(lambda: realtime.stats().channels == 0)


def test_a_subscription_that_nobody_keeps_is_freed(realtime: Realtime, channel: str) -> None:
    realtime.subscribe_sync(channel=channel, topics=["t"])
    gc.collect()
    wait_for(lambda: realtime.stats().channels == 0)


def test_callbacks(realtime: Realtime, channel: str) -> None:
    seen: list[Any] = []
    errors: list[Exception] = []
    threads: set[str] = set()

    def handle(message: Message[Any]) -> None:
        threads.add(threading.current_thread().name)
        seen.append(message.data)
        raise ValueError("mine")

    subscription = realtime.subscribe_sync(channel=channel, topics=["t"], on_message=handle, on_error=errors.append)
    realtime.publish_sync((channel, "t"), 1)
    realtime.publish_sync((channel, "t"), 2)
    wait_for(lambda: len(errors) == 2)
    assert seen == [1, 2]
    assert threads == {"inngest-realtime"}
    subscription.close()


def test_a_blocking_call_on_the_background_loop_is_refused(realtime: Realtime, channel: str) -> None:
    errors: list[Exception] = []
    subscription = realtime.subscribe_sync(
        channel=channel,
        topics=["t"],
        on_message=lambda message: realtime.publish_sync((channel, "t"), 2),
        on_error=errors.append,
    )
    realtime.publish_sync((channel, "t"), 1)
    wait_for(lambda: bool(errors))
    assert isinstance(errors[0], RealtimeError)
    assert "wait for ever" in str(errors[0])
    subscription.close()


def test_endpoint_errors_are_raised_in_the_calling_thread(server: DevServer, realtime: Realtime, channel: str) -> None:
    with pytest.raises(AuthenticationError):
        realtime.subscribe_sync(channel=channel, topics=["t"], key="nonsense")


def test_a_lost_connection(server: DevServer, realtime: Realtime, channel: str) -> None:
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        server.drop_connections()
        assert data(subscription, 1) == [Gap("reconnect", None)]
        server.publish_sync(channel, "t", 1)
        assert data(subscription, 1) == [1]


def test_many_threads_share_one_connection(server: DevServer, realtime: Realtime, channel: str) -> None:
    connects = server.stats().connects
    ready = threading.Barrier(9)

    def read() -> list[Any]:
        with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
            ready.wait(DEADLINE)
            return data(subscription, 20)

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(8)]
        ready.wait(DEADLINE)
        for number in range(20):
            server.publish_sync(channel, "t", number)
        assert [reader.result(DEADLINE) for reader in readers] == [list(range(20))] * 8
    assert server.stats().connects == connects + 1


def test_shutting_down(server: DevServer, channel: str) -> None:
    realtime = Realtime(api_base_url=server.url)
    subscription = realtime.subscribe_sync(channel=channel, topics=["t"])
    events = subscription.get_event_stream()
    next(events)
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(list, subscription)
        rest = pool.submit(list, events)
        realtime.begin_shutdown()
        assert reader.result(DEADLINE) == []
        assert [b"event: closing\n" in part for part in rest.result(DEADLINE)] == [True]
    with pytest.raises(ShuttingDownError):
        realtime.subscribe_sync(channel=channel, topics=["t"])
    realtime.close_sync()


async def test_sync_and_async_side_by_side(server: DevServer, realtime: Realtime, channel: str) -> None:
    def read() -> list[Any]:
        with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
            realtime.publish_sync((channel, "t"), 1)
            return data(subscription, 1)

    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        assert await asyncio.to_thread(read) == [1]
        assert (await anext(subscription)).data == 1
    await realtime.close()
