"""However a subscription ends, everything that waits through it ends: each way to end it, with each way to wait."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from inngest_realtime_core import (
    AuthenticationError,
    DataStream,
    DataStreamInterruptedError,
    Message,
    Realtime,
    Subscription,
    SyncSubscription,
)
from inngest_realtime_devserver.server import DevServer
from talk import DEADLINE, eventually, fresh, soon
from wire import start_frame

# -- on an event loop --------------------------------------------------------------------------------------------------


async def drain(stream: Any) -> None:
    async for _ in stream:
        pass


async def take(subscription: Subscription) -> None:
    while True:
        try:
            await anext(subscription)
        except StopAsyncIteration:
            return


async def receive_all(subscription: Subscription) -> None:
    while await subscription.receive() is not None:
        pass


async def receive_patiently(subscription: Subscription) -> None:
    while True:
        try:
            if await subscription.receive(timeout=0.01) is None:
                return
        except TimeoutError:
            pass


WAITS: dict[str, Callable[[Subscription], Awaitable[None]]] = {
    "loop": drain,
    "anext": take,
    "receive": receive_all,
    "receive with a timeout": receive_patiently,
    "json stream": lambda subscription: drain(subscription.get_json_stream()),
    "encoded stream": lambda subscription: drain(subscription.get_encoded_stream()),
    "event stream": lambda subscription: drain(subscription.get_event_stream()),
}


async def close(subscription: Subscription, realtime: Realtime, server: DevServer) -> None:
    await subscription.close("the test")


async def close_without_awaiting(subscription: Subscription, realtime: Realtime, server: DevServer) -> None:
    subscription.close()
    assert subscription.closed


async def unsubscribe(subscription: Subscription, realtime: Realtime, server: DevServer) -> None:
    await subscription.unsubscribe()


async def close_all(subscription: Subscription, realtime: Realtime, server: DevServer) -> None:
    await realtime.close()


async def shut_down(subscription: Subscription, realtime: Realtime, server: DevServer) -> None:
    realtime.begin_shutdown()


async def fail(subscription: Subscription, realtime: Realtime, server: DevServer) -> None:
    server.reject_tokens(401)
    server.drop_connections()


ENDINGS = {
    function.__name__: function for function in (close, close_without_awaiting, unsubscribe, close_all, shut_down, fail)
}


async def start_data_stream(
    server: DevServer | ServerOfAnotherThread, subscription: Subscription, channel: str
) -> DataStream:
    """A data stream that never ends by itself."""
    messages = subscription.get_json_stream()
    await server.inject(channel, "t", start_frame("s", channel=channel).decode())
    stream = (await soon(anext(messages))).stream
    assert stream is not None
    return stream


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("wait", WAITS)
async def test_what_waits_ends(server: DevServer, realtime: Realtime, channel: str, wait: str, ending: str) -> None:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    waiting = asyncio.ensure_future(WAITS[wait](subscription))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await soon(ENDINGS[ending](subscription, realtime, server))
    if ending == "fail" and wait != "event stream":
        # Who reads is told why; a web client comes back, and is told then.
        with pytest.raises(AuthenticationError):
            await soon(waiting)
    else:
        await soon(waiting)
    assert subscription.closed
    await eventually(lambda: realtime.stats().subscriptions == 0)


@pytest.mark.parametrize("ending", [*ENDINGS, "async with", "garbage"])
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_data_streams_end(server: DevServer, realtime: Realtime, channel: str, ending: str, where: str) -> None:
    pending = realtime.subscribe(channel=channel, topics=["t"])
    subscription = await pending.__aenter__() if ending == "async with" else await pending
    stream = await start_data_stream(server, subscription, channel)
    reading = asyncio.ensure_future(
        drain(stream) if where == "loop" else asyncio.to_thread(lambda: list(stream.sync(timeout=DEADLINE)))
    )
    await asyncio.sleep(0.02)
    assert not reading.done()
    if ending == "async with":
        await soon(pending.__aexit__(None, None, None))
    elif ending == "garbage":
        # A data stream keeps nothing open.
        del subscription
        gc.collect()
    else:
        await soon(ENDINGS[ending](subscription, realtime, server))
    with pytest.raises(DataStreamInterruptedError):
        await soon(reading)
    assert stream.ended


async def test_a_data_stream_ends_for_the_one_who_closes(server: DevServer, realtime: Realtime, channel: str) -> None:
    one, other = [await realtime.subscribe(channel=channel, topics=["t"]) for _ in range(2)]
    await server.inject(channel, "t", start_frame("s", channel=channel).decode())
    streams = [(await soon(anext(subscription))).stream for subscription in (one, other)]
    assert streams[0] is not None
    assert streams[1] is not None
    await one.close()
    with pytest.raises(DataStreamInterruptedError, match="the subscription was closed"):
        await soon(drain(streams[0]))
    await server.inject(channel, "t", json.dumps({"kind": "chunk", "stream_id": "s", "data": "more"}))
    text = aiter(streams[1])
    assert await soon(anext(text)) == "more"
    await other.close()


@pytest.mark.parametrize("ending", ENDINGS)
async def test_callbacks_end(server: DevServer, realtime: Realtime, channel: str, ending: str) -> None:
    """Also one that is in the middle of a data stream."""
    begun = asyncio.Event()
    errors: list[Exception] = []

    async def on_message(message: Message[Any]) -> None:
        begun.set()
        await drain(message.stream)

    subscription = await realtime.subscribe(
        channel=channel, topics=["t"], on_message=on_message, on_error=errors.append
    )
    await server.inject(channel, "t", start_frame("s", channel=channel).decode())
    await soon(begun.wait())
    await soon(ENDINGS[ending](subscription, realtime, server))
    await eventually(lambda: any(isinstance(error, DataStreamInterruptedError) for error in errors))
    await eventually(
        lambda: not [task for task in asyncio.all_tasks() if "on_message" in task.get_name()],
    )
    assert subscription.closed


async def test_the_documented_example_ends_its_loop(realtime: Realtime, channel: str) -> None:
    stream = await realtime.subscribe(channel=channel, topics=["t"])
    await realtime.publish((channel, "t"), "last")

    async def read() -> list[Any]:
        seen: list[Any] = []
        async for message in stream:
            seen.append(message.data)
            stream.close("done")
        return seen

    assert await soon(read()) == ["last"]


async def test_nothing_survives_a_subscription(server: DevServer, realtime: Realtime, channel: str) -> None:
    before = asyncio.all_tasks()
    async with realtime.subscribe(channel=channel, topics=["t"], on_message=lambda _: None) as subscription:
        await realtime.publish((channel, "t"), 1)
        stream = subscription.get_json_stream()
        await realtime.publish((channel, "t"), 2)
        await soon(anext(stream))
    await server.until(lambda stats: stats.open_connections == 0)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


# -- in threads --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def threaded() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor()
    yield pool
    # A thread that waits for ever has failed its test.
    pool.shutdown(wait=False)


SYNC_WAITS: dict[str, Callable[[SyncSubscription], Any]] = {
    "loop": list,
    "receive": lambda subscription: list(iter(subscription.receive, None)),
    "json stream": lambda subscription: list(subscription.get_json_stream()),
    "encoded stream": lambda subscription: list(subscription.get_encoded_stream()),
    "event stream": lambda subscription: list(subscription.get_event_stream()),
}


@pytest.mark.parametrize("ending", ["close", "unsubscribe", "with", "close_sync", "shutdown", "failure"])
@pytest.mark.parametrize("wait", [*SYNC_WAITS, "data stream"])
def test_what_waits_in_threads_ends(pool: ThreadPoolExecutor, wait: str, ending: str) -> None:
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url, linger=0)
        channel = fresh()
        subscription = realtime.subscribe_sync(channel=channel, topics=["t"])
        if wait == "data stream":
            messages = subscription.get_json_stream()
            server.inject_sync(channel, "t", start_frame("s", channel=channel).decode())
            stream = next(messages).stream
            assert stream is not None
            waiting: Future[Any] = pool.submit(lambda: list(stream.sync()))
        else:
            waiting = pool.submit(SYNC_WAITS[wait], subscription)
        with pytest.raises(FutureTimeoutError):
            waiting.result(0.05)
        if ending == "with":
            with subscription:
                pass
        elif ending == "failure":
            server.reject_tokens(401)
            server.drop_connections()
        else:
            {
                "close": subscription.close,
                "unsubscribe": subscription.unsubscribe,
                "close_sync": realtime.close_sync,
                "shutdown": realtime.begin_shutdown,
            }[ending]()
        if wait == "data stream":
            with pytest.raises(DataStreamInterruptedError):
                waiting.result(DEADLINE)
        elif ending == "failure" and wait != "event stream":
            with pytest.raises(AuthenticationError):
                waiting.result(DEADLINE)
        else:
            waiting.result(DEADLINE)
        realtime.close_sync()


# -- event loops that end ----------------------------------------------------------------------------------------------


CLOSED_LOOP = """
import asyncio, sys, threading, time
from inngest_realtime_core import DataStreamInterruptedError, Realtime
from inngest_realtime_devserver.server import DevServer

def read(stream):
    try:
        list(stream.sync())
    except DataStreamInterruptedError:
        print("ended", time.monotonic() - closed_at < 1)

async def opened():
    subscription = await realtime.subscribe(channel="c", topics=["t"])
    await asyncio.to_thread(server.inject_sync, "c", "t", sys.argv[1])
    return subscription, (await anext(subscription)).stream

with DevServer().in_thread() as server:
    realtime = Realtime(api_base_url=server.url)
    loop = asyncio.new_event_loop()
    subscription, stream = loop.run_until_complete(opened())
    reading = threading.Thread(target=read, args=(stream,), daemon=True)
    reading.start()
    # Neither are its tasks cancelled nor its generators closed, as `asyncio.run` would do.
    closed_at = time.monotonic()
    loop.close()
    reading.join(5)
    print(subscription.closed, realtime.stats().subscriptions)
"""


def test_a_closed_event_loop_ends_what_threads_wait_for() -> None:
    frame = start_frame("s", channel="c").decode()
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_LOOP, frame], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "ended True\nTrue 0\n", done.stderr


def test_asyncio_run_does_not_wait_for_a_thread_that_reads(threaded: DevServer) -> None:
    realtime = Realtime(api_base_url=threaded.url)
    channel = fresh()
    ended: list[Exception] = []

    def read(stream: DataStream) -> None:
        try:
            list(stream.sync())
        except DataStreamInterruptedError as error:
            ended.append(error)

    async def main() -> None:
        subscription = await realtime.subscribe(channel=channel, topics=["t"])
        stream = await start_data_stream(ServerOfAnotherThread(threaded), subscription, channel)
        asyncio.get_running_loop().run_in_executor(None, read, stream)
        await asyncio.sleep(0.02)

    running = threading.Thread(target=asyncio.run, args=(main(),))
    running.start()
    running.join(DEADLINE)
    assert not running.is_alive()
    assert len(ended) == 1


class ServerOfAnotherThread:
    """The server of another thread, with the one method that is awaited here."""

    def __init__(self, server: DevServer) -> None:
        self._server = server

    async def inject(self, channel: str, topic: str, frame: str) -> None:
        await asyncio.to_thread(self._server.inject_sync, channel, topic, frame)
