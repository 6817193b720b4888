"""What people write with a subscription: loops that are left and taken up again, timeouts, reads at once, misuse."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import copy
import functools
import gc
import importlib.util
import logging
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, field_serializer

from inngest_realtime_core import (
    Channel,
    ConcurrentReadError,
    ConfigurationError,
    DataStream,
    Gap,
    Message,
    MessageError,
    Realtime,
    RealtimeError,
    Subscription,
    topic,
)
from inngest_realtime_core._concurrency import background, tasks
from inngest_realtime_core._hub import readers
from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_devserver.server import DevServer
from talk import DEADLINE, Pipeline, Status, eventually, fresh, read_until, receive, soon


@pytest.fixture(scope="module")
def threaded() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks may be eager since Python 3.12")
async def test_eager_tasks(realtime: Realtime, channel: str) -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
    got: list[Any] = []

    async def on_message(message: Message[Any]) -> None:
        got.append(message.data)
        await subscription.close()

    subscription = await realtime.subscribe(channel=channel, topics=["t"], on_message=on_message)
    other = await realtime.subscribe(channel=channel, topics=["t"])
    await realtime.publish((channel, "t"), "text")
    assert (await soon(anext(other))).data == "text"
    await eventually(lambda: subscription.closed)
    assert got == ["text"]


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
async def test_what_is_open_is_neither_pickled_nor_copied(
    take: Callable[[object], object], realtime: Realtime, channel: str, threaded: DevServer
) -> None:
    """As `ProcessPoolExecutor.submit(realtime.publish_sync, ...)` would."""
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    elsewhere = Realtime(api_base_url=threaded.url)
    sync = await asyncio.to_thread(lambda: elsewhere.subscribe_sync(channel=channel, topics=["t"]))
    for thing in (realtime, realtime.publish_sync, subscription, sync):
        if take is pickle.dumps or not callable(thing):
            with pytest.raises(RealtimeError, match="is neither pickled nor copied"):
                take(thing)
    await asyncio.to_thread(elsewhere.close_sync)


# -- taken up again ----------------------------------------------------------------------------------------------------


async def test_a_loop_goes_on_where_another_one_stopped(realtime: Realtime, channel: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    for number in range(5):
        await realtime.publish((channel, "t"), number)
    async for message in subscription:
        assert message.data == 0
        break
    assert (await soon(anext(subscription))).data == 1
    received = await soon(subscription.receive(timeout=1))
    assert received is not None
    assert received.data == 2
    assert await read_until(subscription, 4) == [3, 4]
    with pytest.raises(TimeoutError):
        await subscription.receive(timeout=0.01)
    for _ in range(2):
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(anext(subscription), 0.01)
    await realtime.publish((channel, "t"), 5)
    assert await receive(subscription, 1) == [5]
    # And one whose body reads on.
    for number in range(6, 9):
        await realtime.publish((channel, "t"), number)
    seen: list[Any] = []
    async for message in subscription:
        following = await subscription.receive(timeout=1)
        assert following is not None
        seen.append((message.data, following.data))
        break
    assert seen == [(6, 7)]
    assert await receive(subscription, 1) == [8]
    await subscription.close()
    assert [message.data async for message in subscription] == []
    assert await subscription.receive() is None
    assert await subscription.receive(timeout=0) is None


async def test_json_streams_outlive_timeouts(realtime: Realtime, channel: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    first = subscription.get_json_stream()
    with pytest.raises((asyncio.TimeoutError, TimeoutError)):
        await asyncio.wait_for(anext(first), 0.01)
    await realtime.publish((channel, "t"), 1)
    assert await receive(first, 1) == [1]
    await first.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(first)
    # Leaving the first closes nothing, and a second one is to be had.
    second = subscription.get_json_stream()
    await realtime.publish((channel, "t"), 2)
    assert await receive(second, 1) == [2]
    assert await receive(subscription, 2) == [1, 2]


async def test_a_read_that_waits_holds_what_it_reads(realtime: Realtime, channel: str) -> None:
    """Nobody keeps the stream, and the read begins later than its making."""
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    reads = [
        asyncio.ensure_future(read)
        for read in (
            asyncio.wait_for(anext(subscription.get_json_stream()), DEADLINE),
            anext(subscription.get_json_stream(), None),
            asyncio.wait_for(anext(await realtime.subscribe(channel=channel, topics=["t"])), DEADLINE),
            (await realtime.subscribe(channel=channel, topics=["t"])).receive(),
            anext(subscription),
        )
    ]
    del subscription
    await asyncio.sleep(0.02)
    assert realtime.stats().subscriptions == 3
    await realtime.publish((channel, "t"), 1)
    assert [message and message.data for message in await soon(asyncio.gather(*reads))] == [1] * 5
    del reads
    await eventually(lambda: realtime.stats().subscriptions == 0)


async def test_what_is_held_unread_costs_one_buffer_and_one_line(
    server: DevServer, channel: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_log", ThrottledLog(logging.getLogger("inngest_realtime.subscription")))
    async with Realtime(api_base_url=server.url, buffer_size=4) as realtime:
        subscription = await realtime.subscribe(channel=channel, topics=["t"])
        witness = await realtime.subscribe(channel=channel, topics=["t"])
        for number in range(20):
            await realtime.publish((channel, "t"), number)
            assert await receive(witness, 1) == [number]
        assert realtime.stats().subscriptions == 2
        assert [record.levelname for record in caplog.records if "nobody reads it" in record.getMessage()] == [
            "WARNING"
        ]
        assert realtime.stats().dropped == 0
        assert await receive(subscription, 5) == [Gap("overflow", 16), 16, 17, 18, 19]
        assert realtime.stats().dropped == 16


async def test_buffers_are_bounded_in_bytes(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, buffer_bytes=1_000_000) as realtime:
        slow = await realtime.subscribe(channel=channel, topics=["t"])
        await realtime.publish((channel, "t"), "first")
        assert await receive(slow, 1) == ["first"]
        async with realtime.subscribe(channel=channel, topics=["t"]) as quick:
            for number in range(20):
                await realtime.publish((channel, "t"), f"{number}".ljust(100_000))
                await receive(quick, 1)
        gap, *kept = await receive(slow, 8)
        assert gap == Gap("overflow", 13)
        assert [int(text) for text in kept] == list(range(13, 20))
        assert realtime.stats().dropped == 13


# -- at once -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["loop", "anext", "receive"])
@pytest.mark.parametrize("second", ["loop", "anext", "receive"])
async def test_a_second_read_while_one_waits(realtime: Realtime, channel: str, first: str, second: str) -> None:
    async def loop(subscription: Subscription) -> Any:
        async for message in subscription:
            return message.data
        return None

    async def anext_(subscription: Subscription) -> Any:
        return (await anext(subscription)).data

    async def receive_(subscription: Subscription) -> Any:
        message = await subscription.receive(timeout=DEADLINE)
        return message and message.data

    reads = {"loop": loop, "anext": anext_, "receive": receive_}
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    waiting = asyncio.ensure_future(reads[first](subscription))
    await asyncio.sleep(0.01)
    with pytest.raises(ConcurrentReadError, match="get_json_stream"):
        await soon(reads[second](subscription))
    await realtime.publish((channel, "t"), 1)
    assert await soon(waiting) == 1


@pytest.mark.parametrize("stream", ["subscription", "loop", "json stream"])
def test_a_second_thread_that_reads_while_one_waits(threaded: DevServer, stream: str) -> None:
    """Also one that shares the iterator of the first."""
    with Realtime(api_base_url=threaded.url).subscribe_sync(channel=fresh(), topics=["t"]) as subscription:
        messages: Any = {
            "subscription": lambda: subscription,
            "loop": lambda: iter(subscription),
            "json stream": subscription.get_json_stream,
        }[stream]()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(next, messages)
            with pytest.raises(FutureTimeoutError):
                waiting.result(0.05)
            with pytest.raises(ConcurrentReadError, match="get_json_stream"):
                next(messages)
            threaded.publish_sync(subscription.channel, "t", 1)
            assert waiting.result(DEADLINE).data == 1


def test_a_sync_json_stream_is_closed_while_a_thread_reads(threaded: DevServer) -> None:
    with Realtime(api_base_url=threaded.url).subscribe_sync(channel=fresh(), topics=["t"]) as subscription:
        messages = subscription.get_json_stream()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(list, messages)
            with pytest.raises(FutureTimeoutError):
                waiting.result(0.05)
            messages.close()
            assert waiting.result(DEADLINE) == []
        assert next(messages, None) is None
        with pytest.raises(LookupError):
            subscription.get_json_stream().throw(LookupError())
        # The iterator of the subscription itself is only left.
        own = iter(subscription)
        own.close()
        threaded.publish_sync(subscription.channel, "t", 1)
        assert own.send(None).data == 1


async def test_another_event_loop_is_refused_at_once(realtime: Realtime, channel: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    streams = [subscription.get_json_stream(), subscription.get_encoded_stream(), subscription.get_event_stream()]

    async def elsewhere() -> None:
        for use in (
            *(functools.partial(anext, stream) for stream in streams),
            lambda: anext(subscription),
            subscription.receive,
            lambda: anext(aiter(subscription)),
            subscription.get_json_stream,
            subscription.get_encoded_stream,
            subscription.get_event_stream,
            subscription.close,
        ):
            with pytest.raises(RealtimeError, match="another event loop"):
                await use()  # type: ignore[misc]

    await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(elsewhere(), DEADLINE)))


async def test_a_thread_makes_streams_that_the_event_loop_reads(realtime: Realtime, channel: str) -> None:
    """As a view that is not async does, whose framework calls it in a thread."""
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        messages = await asyncio.to_thread(subscription.get_json_stream)
        encoded = await asyncio.to_thread(subscription.get_encoded_stream)
        events = await asyncio.to_thread(subscription.get_event_stream)
        await realtime.publish((channel, "t"), "here")
        assert (await asyncio.wait_for(anext(messages), DEADLINE)).data == "here"
        assert b'"here"' in await asyncio.wait_for(anext(encoded), DEADLINE)
        assert b"event: ready" in await asyncio.wait_for(anext(events), DEADLINE)


async def test_a_thread_does_not_wait_for_an_event_loop_that_waits_for_it(
    realtime: Realtime, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest_realtime_core._concurrency.threads._TURN_WAIT", 0.05)
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        with (
            concurrent.futures.ThreadPoolExecutor(1) as pool,
            pytest.raises(RealtimeError, match=r"did nothing for 0\.05 s"),
        ):
            pool.submit(subscription.get_encoded_stream).result(DEADLINE)


async def test_an_async_view_makes_the_body_that_a_thread_reads(realtime: Realtime, channel: str) -> None:
    subscription = await asyncio.to_thread(lambda: realtime.subscribe_sync(channel=channel, topics=["t"]))
    encoded, events = subscription.get_encoded_stream(), subscription.get_event_stream()
    await realtime.publish((channel, "t"), "here")
    body = await asyncio.to_thread(lambda: next(part for part in encoded if not part.startswith(b":")))
    assert b'"here"' in body
    assert b"event: ready" in await asyncio.to_thread(next, events)
    await asyncio.to_thread(subscription.close)


async def test_sync_calls_on_a_running_loop_are_refused_at_once(realtime: Realtime, channel: str) -> None:
    for call in (
        lambda: realtime.publish_sync((channel, "t"), 1),
        lambda: realtime.subscribe_sync(channel=channel, topics=["t"]),
        lambda: realtime.get_client_subscription_token_sync(channel=channel, topics=["t"]),
        realtime.close_sync,
    ):
        with pytest.raises(RealtimeError, match="without _sync"):
            call()
    subscription = await asyncio.to_thread(lambda: realtime.subscribe_sync(channel=channel, topics=["t"]))
    data_stream = DataStream("s", channel=channel, topic="t")
    messages = await asyncio.to_thread(subscription.get_json_stream)
    encoded = await asyncio.to_thread(subscription.get_encoded_stream)
    for read in (
        lambda: next(messages),
        lambda: next(encoded),
        subscription.receive,
        lambda: next(subscription),
        lambda: next(iter(subscription)),
        subscription.get_json_stream,
        lambda: next(data_stream.sync()),
    ):
        with pytest.raises(RealtimeError, match="without _sync"):
            read()
    # It holds nothing up, and ends all the same.
    subscription.close()
    await eventually(lambda: subscription.closed)
    await asyncio.to_thread(realtime.close_sync)


def test_a_subscription_that_was_not_awaited_says_what_to_write(channel: str) -> None:
    pending: Any = Realtime(api_base_url="http://127.0.0.1:9").subscribe(channel=channel, topics=["t"])

    async def loop() -> None:
        async for _ in pending:
            pass

    def sync_loop() -> None:
        for _ in pending:
            pass

    def block() -> None:
        with pending:
            pass

    for misuse in (lambda: asyncio.run(loop()), sync_loop, block):
        with pytest.raises(ConfigurationError, match=r"await realtime\.subscribe"):
            misuse()
    with pytest.raises(AttributeError, match=r"await realtime\.subscribe"):
        _ = pending.get_json_stream


def test_a_subscription_that_nobody_awaits_is_told(channel: str) -> None:
    """As of a coroutine: on_message would wait for messages that never come."""
    realtime = Realtime(api_base_url="http://127.0.0.1:9")
    with pytest.warns(RuntimeWarning, match=r"never awaited.*await realtime\.subscribe"):
        realtime.subscribe(channel=channel, topics=["t"], on_message=print)


@pytest.mark.parametrize("way", ["task", "block", "closed"])
async def test_a_subscription_that_is_cancelled_before_it_opens_was_awaited(
    realtime: Realtime, channel: str, way: str
) -> None:
    """Python says nothing of a coroutine either that was cancelled before its first step."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pending = realtime.subscribe(channel=channel, topics=["t"])
        if way == "closed":
            pending.close()
        else:
            task = asyncio.ensure_future(pending if way == "task" else pending.__aenter__())
            task.cancel()
            await asyncio.wait([task])
            del task
        del pending
        gc.collect()
    assert told == []


async def test_a_subscription_is_opened_by_what_takes_coroutines(realtime: Realtime, channel: str) -> None:
    task = asyncio.create_task(realtime.subscribe(channel=channel, topics=["t"]))
    other = asyncio.run_coroutine_threadsafe(
        realtime.subscribe(channel=channel, topics=["t"]), asyncio.get_running_loop()
    )
    subscriptions = [await task, await asyncio.wrap_future(other)]
    await realtime.publish((channel, "t"), 1)
    assert [await receive(each, 1) for each in subscriptions] == [[1], [1]]


async def test_an_open_subscription_is_entered(realtime: Realtime, channel: str) -> None:
    async with await realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await realtime.publish((channel, "t"), 1)
        assert await receive(subscription, 1) == [1]
    assert subscription.closed


async def test_a_subscription_is_entered_once_at_a_time(realtime: Realtime, channel: str) -> None:
    """Each block would close that of the other, and leave its own open."""
    pending = realtime.subscribe(channel=channel, topics=["t"])
    for _ in range(2):
        async with pending as subscription:
            with pytest.raises(ConfigurationError, match=r"subscribe\(\) for each"):
                async with pending:
                    pass
            assert not subscription.closed
        assert subscription.closed
    await eventually(lambda: realtime.stats().subscriptions == 0)


def test_the_public_surface_of_a_subscription() -> None:
    names = {name for name in dir(Subscription) if not name.startswith("_")}
    assert names == {
        "close",
        "closed",
        "get_encoded_stream",
        "get_event_stream",
        "get_json_stream",
        "receive",
        "state",
        "unsubscribe",
    }


# -- callbacks ---------------------------------------------------------------------------------------------------------


async def by_gather(subscription: Subscription) -> None:
    await asyncio.gather(subscription.close(), asyncio.sleep(0))


async def by_wait_for(subscription: Subscription) -> None:
    await asyncio.wait_for(subscription.close(), DEADLINE)


async def by_task(subscription: Subscription) -> None:
    await asyncio.create_task(subscription.close())


async def by_task_group(subscription: Subscription) -> None:
    groups: Any = asyncio  # since Python 3.11
    async with groups.TaskGroup() as group:
        group.create_task(subscription.close())


async def by_another_task(subscription: Subscription) -> None:
    """Which nobody can see: one that was started before, and that the callback waits for."""
    closed = asyncio.Event()

    async def close() -> None:
        await subscription.close()
        closed.set()

    contextvars.Context().run(asyncio.get_running_loop().create_task, close())
    await closed.wait()


CLOSINGS: list[Callable[[Subscription], Any]] = [by_gather, by_wait_for, by_task, by_another_task]
if sys.version_info >= (3, 11):
    CLOSINGS.append(by_task_group)


@pytest.mark.parametrize("close", CLOSINGS)
async def test_a_callback_that_closes_its_subscription(
    realtime: Realtime, channel: str, close: Callable[[Subscription], Any]
) -> None:
    done = asyncio.Event()
    subscriptions: list[Subscription] = []

    async def on_message(_: Message[Any]) -> None:
        try:
            await close(subscriptions[0])
        finally:
            done.set()

    subscriptions.append(await realtime.subscribe(channel=channel, topics=["t"], on_message=on_message))
    await realtime.publish((channel, "t"), 1)
    await soon(done.wait())
    await soon(subscriptions[0].close())
    await eventually(lambda: realtime.stats().channels == 0)


def test_a_callback_that_waits_for_a_thread_that_closes(threaded: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can see that it does: close() returns after a while, and the callback goes on."""
    monkeypatch.setattr(tasks, "_PATIENCE", 0.1)
    done = threading.Event()

    async def on_message(_: Message[Any]) -> None:
        thread = threading.Thread(target=subscriptions[0].close)
        thread.start()
        await asyncio.to_thread(thread.join)
        done.set()

    realtime = Realtime(api_base_url=threaded.url)
    channel = fresh()
    subscriptions = [realtime.subscribe_sync(channel=channel, topics=["t"], on_message=on_message)]
    realtime.publish_sync((channel, "t"), 1)
    assert done.wait(DEADLINE)
    realtime.close_sync()


@pytest.mark.parametrize("call", ["close", "close_sync", "publish_sync"])
def test_a_callback_that_blocks_until_a_thread_has_made_a_sync_call(
    call: str, threaded: DevServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call needs the loop that the callback blocks: it returns or fails after a while, and all goes on."""
    monkeypatch.setattr(background, "_PATIENCE", 0.5)
    monkeypatch.setattr(background, "_PATIENCE_AT_THE_END", 0.3)
    realtime = Realtime(api_base_url=threaded.url)
    channel = fresh()
    failures: list[RealtimeError] = []
    done = threading.Event()

    def make_call() -> None:
        try:
            {
                "close": lambda: subscriptions[0].close(),
                "close_sync": realtime.close_sync,
                "publish_sync": lambda: realtime.publish_sync((channel, "other"), 2),
            }[call]()
        except RealtimeError as error:
            failures.append(error)

    def on_message(_: Message[Any]) -> None:
        thread = threading.Thread(target=make_call)
        thread.start()
        thread.join()
        done.set()

    subscriptions = [realtime.subscribe_sync(channel=channel, topics=["t"], on_message=on_message)]
    threaded.publish_sync(channel, "t", 1)
    assert done.wait(DEADLINE)
    # A call of its own comes after what the loop was held up with.
    realtime.publish_sync((channel, "other"), 3)
    assert subscriptions[0].closed == (call != "publish_sync")
    assert [("A callback blocks" in str(failure)) for failure in failures] == [True] * (call == "publish_sync")
    assert [record.__dict__["event"] for record in caplog.records] == ["callback.slow"] * (call != "publish_sync")
    realtime.close_sync()


async def test_a_callback_that_runs_on_is_cancelled(
    realtime: Realtime, channel: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "_PATIENCE", 0.1)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def on_message(_: Message[Any]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    subscription = await realtime.subscribe(channel=channel, topics=["t"], on_message=on_message)
    await realtime.publish((channel, "t"), 1)
    await soon(begun.wait())
    await soon(subscription.close())
    assert not cancelled.is_set()
    assert [record.__dict__["event"] for record in caplog.records] == ["callback.slow"]
    await soon(cancelled.wait())


async def test_callbacks_that_close_each_other(realtime: Realtime, channel: str) -> None:
    begun: list[int] = []
    both = asyncio.Event()
    subscriptions: list[Subscription] = []
    done: list[int] = []

    def closing(number: int) -> Callable[[Message[Any]], Any]:
        async def on_message(_: Message[Any]) -> None:
            begun.append(number)
            if len(begun) == 2:
                both.set()
            await both.wait()
            await subscriptions[1 - number].close()
            done.append(number)

        return on_message

    for number in range(2):
        subscriptions.append(await realtime.subscribe(channel=channel, topics=["t"], on_message=closing(number)))
    began = time.monotonic()
    await realtime.publish((channel, "t"), 1)
    await eventually(lambda: sorted(done) == [0, 1])
    assert time.monotonic() - began < 2, "found out, rather than waited for"


async def test_a_callback_may_close_everything(server: DevServer, channel: str) -> None:
    realtime = Realtime(api_base_url=server.url)
    done = asyncio.Event()

    async def on_message(_: Message[Any]) -> None:
        await asyncio.gather(realtime.close())
        done.set()

    await realtime.subscribe(channel=channel, topics=["t"], on_message=on_message)
    await realtime.publish((channel, "t"), 1)
    await soon(done.wait())


class Odd(BaseException):
    """What no application should raise."""


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("what", ["inner", "raised", "odd"])
async def test_what_a_callback_raises_stops_nothing(realtime: Realtime, channel: str, what: str, sync: bool) -> None:
    seen: list[Any] = []
    errors: list[Exception] = []

    async def cancelled() -> None:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner

    def raising() -> None:
        raise asyncio.CancelledError if what != "odd" else Odd

    def on_message(message: Message[Any]) -> Any:
        seen.append(message.data)
        if message.data in (1, 2):
            return cancelled() if what == "inner" else raising()
        return None

    async def on_message_async(message: Message[Any]) -> None:
        result = on_message(message)
        if result is not None:
            await result

    await realtime.subscribe(
        channel=channel, topics=["t"], on_message=on_message if sync else on_message_async, on_error=errors.append
    )
    for number in range(4):
        await realtime.publish((channel, "t"), number)
    await eventually(lambda: seen == [0, 1, 2, 3])
    assert len(errors) == 2
    for error in errors:
        assert isinstance(error, RealtimeError)
        assert isinstance(error.__cause__, Odd if what == "odd" else asyncio.CancelledError)


def test_the_last_cancellation_of_asyncio_run_goes_through(channel: str) -> None:
    ended: list[str] = []

    async def main(server: DevServer) -> None:
        realtime = Realtime(api_base_url=server.url)
        begun = asyncio.Event()

        async def on_message(_: Message[Any]) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
                ended.append("on_message")

        await realtime.subscribe(channel=channel, topics=["t"], on_message=on_message)
        await realtime.publish((channel, "t"), 1)
        await soon(begun.wait())

    with DevServer().in_thread() as server:
        running = threading.Thread(target=lambda: asyncio.run(main(server)))
        running.start()
        running.join(DEADLINE)
    assert not running.is_alive()
    assert ended == ["on_message"]


async def test_a_program_that_exits_in_a_sync_callback_does_not_stop_the_background_loop(
    realtime: Realtime, channel: str
) -> None:
    errors: list[Exception] = []

    def leave(_: Message[Any]) -> None:
        sys.exit(3)

    def use() -> Any:
        subscription = realtime.subscribe_sync(channel=channel, topics=["t"], on_message=leave, on_error=errors.append)
        realtime.publish_sync((channel, "t"), 1)
        deadline = time.monotonic() + DEADLINE
        while not errors:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        subscription.close()
        realtime.close_sync()

    await soon(asyncio.to_thread(use))
    assert isinstance(errors[0].__cause__, SystemExit)


async def test_callbacks_run_in_the_context_of_the_subscriber(
    server: DevServer, realtime: Realtime, pipeline: Pipeline
) -> None:
    who = contextvars.ContextVar("who", default="nobody")
    heard: dict[str, list[str]] = {}

    async def subscribe(name: str) -> Subscription:
        who.set(name)

        def note(_: object) -> None:
            heard.setdefault(name, []).append(who.get())

        return await realtime.subscribe(
            channel=pipeline, topics=["status"], on_message=note, on_error=note, on_state=note
        )

    subscriptions = [await asyncio.create_task(subscribe(name)) for name in ("ada", "bob")]
    await server.publish(pipeline.name, "status", {"message": "m"})
    await server.publish(pipeline.name, "status", {"wrong": 1})
    await eventually(lambda: all(len(heard.get(name, ())) == 4 for name in ("ada", "bob")))
    for subscription in subscriptions:
        await subscription.close()
    assert {name: set(names) for name, names in heard.items()} == {"ada": {"ada"}, "bob": {"bob"}}


# -- each its own ------------------------------------------------------------------------------------------------------


async def test_what_one_subscriber_changes_no_other_sees(server: DevServer, realtime: Realtime, channel: str) -> None:
    class Listed(BaseModel):
        items: list[int]

    class Lists(Channel, name="lists:{key}"):
        key: str
        typed = topic(Listed)
        plain = topic(Any)

    lists = Lists(key=channel.replace(":", "-"))
    first, second = [await realtime.subscribe(channel=lists) for _ in range(2)]
    third = await realtime.subscribe(channel=lists, topics=["plain", "typed"])
    fewer = await realtime.subscribe(channel=lists, topics=["typed"])
    encoded, events = first.get_encoded_stream(), second.get_event_stream()
    await soon(anext(events))
    await server.publish(lists.name, "typed", {"items": [1]})
    message = await soon(anext(first))
    message.data.items.append(2)
    assert message.data == Listed(items=[1, 2]), "its own, and kept"
    assert b'"items":[1]' in message.to_sse()
    assert await receive(second, 1) == await receive(third, 1) == await receive(fewer, 1) == [Listed(items=[1])]
    assert b'"items":[1]' in await soon(anext(encoded))
    assert b'"items":[1]' in await soon(anext(events))
    await server.publish(lists.name, "plain", {"items": [1]})
    plain = await soon(anext(first))
    plain.data["items"].append(2)
    assert plain.data == {"items": [1, 2]}
    assert await receive(second, 1) == await receive(third, 1) == [{"items": [1]}]
    assert b'"items":[1]' in (await soon(anext(encoded))).replace(b" ", b"")
    for stream in (encoded, events):
        await stream.aclose()


async def test_groups_of_readers_share_no_data(server: DevServer, realtime: Realtime, channel: str) -> None:
    """Those with events in between: they have messages of their own."""
    first = await realtime.subscribe(channel=channel, topics=["a", "b"])
    second = await realtime.subscribe(channel=channel, topics=["a"])
    events = second.get_event_stream()
    await soon(anext(events))
    third = await realtime.subscribe(channel=channel, topics=["a", "c"])
    await server.publish(channel, "a", [1])
    messages = [await soon(anext(subscription)) for subscription in (first, second, third)]
    for number, message in enumerate(messages):
        assert message.data == [1]
        message.data.append(number)
    assert b'"data":[1]' in await soon(anext(events))
    await events.aclose()


async def test_data_is_decoded_once_for_a_declaration(server: DevServer, realtime: Realtime, channel: str) -> None:
    validated: list[str] = []

    class Counted(BaseModel):
        name: str

        def model_post_init(self, _: Any) -> None:
            validated.append(self.name)

    class Counting(Channel, name="counting:{key}"):
        key: str
        a = topic(Counted)
        b = topic(Any)
        c = topic(Any)

    counting = Counting(key=channel.replace(":", "-"))
    selections = [["a", "b"], ["b", "a"], ["a"], ["a", "b", "c"], ["c", "a"]]
    streams: list[AsyncGenerator[bytes, None]] = []
    for selection in selections * 3:
        stream = (await realtime.subscribe(channel=counting, topics=selection)).get_event_stream()
        await soon(anext(stream))
        streams.append(stream)
    await server.publish(counting.name, "a", {"name": "once"})
    for stream in streams:
        assert b'"name":"once"' in await soon(anext(stream))
    assert validated == ["once"]
    for stream in streams:
        await stream.aclose()


async def test_a_message_that_can_not_be_encoded_is_left_out_alone(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    class Fussy(BaseModel):
        number: int

        @field_serializer("number")
        def refuse_two(self, number: int) -> int:
            if number == 2:
                raise ValueError("not two")
            return number

    class Fussiness(Channel, name="fussy:{key}"):
        key: str
        t = topic(Fussy)

    fussy = Fussiness(key=channel.replace(":", "-"))
    errors: list[Exception] = []
    subscription = await realtime.subscribe(channel=fussy, on_error=errors.append)
    events = subscription.get_event_stream()
    await soon(anext(events))
    for number in (1, 2, 3):
        await server.publish(fussy.name, "t", {"number": number})
    body = b""
    while b'"number":3' not in body:
        body += await soon(anext(events))
    assert b'"number":1' in body
    assert b'"number":2' not in body
    assert await receive(subscription, 3) == [Fussy(number=number) for number in (1, 2, 3)]
    await eventually(lambda: len(errors) == 1)
    (error,) = errors
    assert isinstance(error, MessageError)
    assert "no JSON form" in str(error)
    await events.aclose()


async def test_run_messages_are_for_those_who_asked(server: DevServer, realtime: Realtime, pipeline: Pipeline) -> None:
    asked = await realtime.subscribe(channel=pipeline, topics=["$run"])
    others = await realtime.subscribe(channel=pipeline, topics=["status"])
    for frame in ('{"kind":"run","channel":"%s","topic":"$run","data":1}', '{"kind":"run","channel":"%s","data":2}'):
        await server.inject(pipeline.name, "$run", frame % pipeline.name)
    assert await receive(asked, 2) == [1, 2]
    await realtime.publish(pipeline.status, Status(message="hi"))
    assert await receive(others, 1) == [Status(message="hi")]


# -- where it runs -----------------------------------------------------------------------------------------------------


def script(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FROZEN = """
import asyncio, sys, time
import freezegun
from inngest_realtime_core import Realtime

realtime = Realtime(api_base_url=sys.argv[1])
began = time.perf_counter_ns

async def main():
    async with realtime.subscribe(channel="c", topics=["t"]) as subscription:
        with freezegun.freeze_time("2026-01-01"):
            try:
                await subscription.receive(timeout=0.05)
            except TimeoutError:
                print("async")
        await realtime.publish(("c", "t"), 1)
        with freezegun.freeze_time("2026-01-01"):
            print((await subscription.receive(timeout=5)).data)

asyncio.run(main())
with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
    with freezegun.freeze_time("2026-01-01"):
        try:
            subscription.receive(timeout=0.05)
        except TimeoutError:
            print("sync")
        realtime.publish_stream_sync(("c", "t"), ["é" * 512] * 3)
        print(len(subscription.receive(timeout=5).kind))
at_once = Realtime(api_base_url=sys.argv[1], linger=0)
with at_once.subscribe_sync(channel="d", topics=["t"]), freezegun.freeze_time("2026-01-01"):
    with at_once.subscribe_sync(channel="e", topics=["t"]) as left:
        at_once.publish_sync(("e", "t"), 1)
        left.receive(timeout=5)
    print("left")
"""


def test_a_timeout_under_a_frozen_clock() -> None:
    with DevServer().in_thread() as server:
        assert script(FROZEN, server.url) == "async\n1\nsync\n16\nleft\n"


def test_an_interruption_when_a_subscription_is_open_leaves_nothing(
    threaded: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or a timeout of gevent or of a signal, in the last moment of the call."""

    def wait(call: Any, *arguments: Any, wait: Any = background._Call._wait) -> None:  # pyright: ignore[reportPrivateUsage]
        wait(call, *arguments)
        raise KeyboardInterrupt

    realtime = Realtime(api_base_url=threaded.url)
    with monkeypatch.context() as patched:
        patched.setattr(background._Call, "_wait", wait)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(KeyboardInterrupt):
            realtime.subscribe_sync(channel=fresh(), topics=["t"])
    deadline = time.monotonic() + 10
    while realtime.stats().subscriptions:
        assert time.monotonic() < deadline
        gc.collect()
    realtime.close_sync()


EVENTLET = """
import os
os.environ["EVENTLET_NO_GREENDNS"] = "yes"  # which imports trio where that is installed, and fails
import eventlet
eventlet.monkey_patch()
from inngest_realtime_core import ConfigurationError, Realtime

realtime = Realtime(api_base_url="http://127.0.0.1:9")
for call in (
    lambda: realtime.publish_sync(("c", "t"), 1),
    lambda: realtime.subscribe_sync(channel="c", topics=["t"]),
    lambda: realtime.get_client_subscription_token_sync(channel="c", topics=["t"]),
    realtime.close_sync,
):
    try:
        call()
    except ConfigurationError as error:
        print("eventlet" in str(error))
"""


def test_eventlet_is_refused_in_words() -> None:
    assert script(EVENTLET) == "True\n" * 4


@pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="trio is not installed")
def test_trio_is_refused_in_words() -> None:
    import trio

    realtime = Realtime(api_base_url="http://127.0.0.1:9")

    async def main() -> None:
        for use in (
            lambda: realtime.subscribe(channel="c", topics=["t"]),
            lambda: realtime.publish(("c", "t"), 1),
            realtime.close,
        ):
            with pytest.raises(ConfigurationError, match="trio"):
                await use()

    trio.run(main)


@pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="trio is not installed")
def test_sync_calls_belong_into_a_thread_where_trio_runs(threaded: DevServer) -> None:
    import trio

    realtime = Realtime(api_base_url=threaded.url)
    channel = fresh()

    async def main() -> Any:
        for call in (
            lambda: realtime.publish_sync((channel, "t"), 1),
            lambda: realtime.subscribe_sync(channel=channel, topics=["t"]),
            realtime.close_sync,
        ):
            with pytest.raises(RealtimeError, match=r"trio\.to_thread"):
                call()
        return await trio.to_thread.run_sync(lambda: read(realtime.subscribe_sync(channel=channel, topics=["t"])))

    def read(subscription: Any) -> Any:
        with subscription:
            realtime.publish_sync((channel, "t"), 1)
            return subscription.receive(timeout=DEADLINE).data

    assert trio.run(main) == 1
    # It says in a context variable which library runs, which the background loop must not inherit.
    assert anyio.run(main, backend="trio") == 1
