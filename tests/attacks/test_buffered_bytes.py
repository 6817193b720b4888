"""What waits for readers who do not read: bounded in bytes, for each reader and for all of a process together."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from inngest_realtime_core import Channel, Message, MessageValidationError, Realtime, RealtimeError, Replay, topic
from inngest_realtime_core._hub import budget
from inngest_realtime_core._hub.budget import ByteBudget, shed
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.open_streams import OpenStreams
from inngest_realtime_core._hub.queue import QueueLimits
from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import payload_size
from inngest_realtime_core.subscriptions import callbacks
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh
from wire import message_of


class Loop:
    """An event loop's share of a budget: some readers' buffers."""

    def __init__(self, budget: list[ByteBudget], readers: int, *, is_here: bool = True, limit: int = 64) -> None:
        self.is_here = is_here
        self.buffers = [
            ReaderBuffer("c", QueueLimits(limit, max_bytes=1_000_000, budget=budget[0])) for _ in range(readers)
        ]
        self.asked = 0

    def recount(self) -> int:
        for buffer in self.buffers:
            buffer.recount()
        return self.held_bytes

    @property
    def held_bytes(self) -> int:
        return sum(buffer.held_bytes for buffer in self.buffers)

    def shed(self, size: int) -> int:
        return shed(self.buffers, size)

    def shed_later(self) -> None:
        self.asked += 1


def push(buffer: ReaderBuffer, number: int, size: int) -> None:
    message: Message[Any] = Message(message_of("x" * (size - 2), number=number + 1))
    buffer.push(message, payload_size(message))


def really_held(buffers: list[ReaderBuffer]) -> int:
    return sum(payload_size(message) for buffer in buffers for message in buffer._items)  # pyright: ignore[reportPrivateUsage]


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([2, 900, 3_000, 20_000, 90_000])), max_size=300))
def test_whatever_comes_the_total_stays_below_its_limit(steps: list[tuple[int, int]]) -> None:
    loops: list[Loop] = []
    budget = ByteBudget(300_000, lambda: loops)
    loops.append(Loop([budget], 6))
    for number, (reader, size) in enumerate(steps):
        push(loops[0].buffers[reader], number, size)
        # The newest message of each reader is kept whatever its size; of small ones an estimate is enough.
        assert really_held(loops[0].buffers) <= 300_000 + 90_000
    for buffer in loops[0].buffers:
        while buffer.take() is not None:
            pass
    assert loops[0].held_bytes == 0
    assert all(buffer.bytes_waiting == 0 for buffer in loops[0].buffers)


def test_small_messages_count_as_well() -> None:
    loops: list[Loop] = []
    budget = ByteBudget(1_000_000, lambda: loops)
    loops.append(Loop([budget], 100, limit=100))
    for number in range(100):
        for buffer in loops[0].buffers:
            push(buffer, number, 1_000)
        # Each of 100 readers would hold 100 messages of 1 kB: ten times as much. Of each an eighth may go uncounted.
        assert really_held(loops[0].buffers) <= 1_000_000 + 100 * 13 * 1_000


def test_who_holds_most_pays_and_is_told() -> None:
    loops: list[Loop] = []
    budget = ByteBudget(300_000, lambda: loops)
    loops.append(Loop([budget], 2))
    slow, other = loops[0].buffers
    push(other, 0, 50_000)
    for number in range(10):
        push(slow, number, 50_000)
    first = slow.take()
    assert first is not None
    assert first.data.reason == "overflow"
    read = other.take()
    assert read is not None
    assert read.kind == "data"


def test_another_event_loop_drops_what_it_holds_itself() -> None:
    loops: list[Loop] = []
    budget = ByteBudget(300_000, lambda: loops)
    loops += [Loop([budget], 1), Loop([budget], 1, is_here=False)]
    for number in range(8):
        push(loops[1].buffers[0], number, 50_000)
    assert len(loops[1].buffers[0]._items) == 8  # pyright: ignore[reportPrivateUsage]
    assert loops[1].asked > 0


def test_another_event_loop_that_holds_most_pays_while_there_is_time() -> None:
    """And only when the limit is reached, and it has not come to it, those who hold little."""
    loops: list[Loop] = []
    budget = ByteBudget(300_000, lambda: loops)
    loops += [Loop([budget], 1), Loop([budget], 1, is_here=False)]
    push(loops[1].buffers[0], 0, 200_000)
    budget.look()
    for number in range(4):
        push(loops[0].buffers[0], number, 20_000)
    assert (loops[0].held_bytes, loops[1].asked > 0) == (80_000, True)
    for number in range(5):
        push(loops[0].buffers[0], 4 + number, 20_000)
    assert loops[0].held_bytes + loops[1].held_bytes <= 300_000


def test_of_several_on_one_event_loop_the_one_that_holds_most_pays() -> None:
    loops: list[Loop] = []
    budget = ByteBudget(300_000, lambda: loops)
    loops += [Loop([budget], 1), Loop([budget], 1), Loop([budget], 1)]
    push(loops[0].buffers[0], 0, 50_000)
    push(loops[2].buffers[0], 0, 50_000)
    for number in range(8):
        push(loops[1].buffers[0], number, 50_000)
    assert [loop.held_bytes for loop in (loops[0], loops[2])] == [50_000, 50_000]


async def test_who_is_asked_twice_drops_the_same_bytes_once(server: DevServer) -> None:
    async with (
        Realtime(api_base_url=server.url) as realtime,
        realtime.subscribe(channel=fresh(), topics=["t"]) as subscription,
    ):
        for number in range(10):
            await server.publish(subscription.channel, "t", f"{number}" + "x" * 100_000)
        await eventually(lambda: realtime.stats().received == 10)
        (hub,) = realtime._sessions.at(realtime.settings).hubs()  # pyright: ignore[reportPrivateUsage]
        hub.budget = ByteBudget(900_000, lambda: [hub])
        for _ in range(4):
            hub.shed_later()
        await eventually(lambda: realtime.stats().buffer_bytes < 800_000)
        assert realtime.stats().buffer_bytes > 600_000


async def test_who_is_asked_drops_nothing_when_that_was_done_in_the_meantime(server: DevServer) -> None:
    """Two threads may find at one time that too much waits."""
    async with Realtime(api_base_url=server.url) as realtime, realtime.subscribe(channel=fresh(), topics=["t"]) as held:
        for number in range(10):
            await server.publish(held.channel, "t", f"{number}" + "x" * 100_000)
        await eventually(lambda: realtime.stats().received == 10)
        (hub,) = realtime._sessions.at(realtime.settings).hubs()  # pyright: ignore[reportPrivateUsage]
        hub.budget = ByteBudget(900_000, lambda: [hub])
        asked = threading.Thread(target=hub.shed_later)
        asked.start()
        asked.join()  # no turn of the event loop until it has been dropped here
        hub.shed(hub.budget.excess)
        left = realtime.stats().buffer_bytes
        for _ in range(3):
            await asyncio.sleep(0)
        assert realtime.stats().buffer_bytes == left > 600_000


def test_looking_is_rare() -> None:
    looks = 0

    def shedders() -> list[Loop]:
        nonlocal looks
        looks += 1
        return loops

    loops: list[Loop] = []
    budget = ByteBudget(10_000_000, shedders)
    loops.append(Loop([budget], 10, limit=1000))
    for number in range(10_000):
        push(loops[0].buffers[number % 10], number, 9_000)
    assert looks < 10_000 * 9_000 / (10_000_000 / 8) + 5


async def test_three_streams_that_nobody_reads(server: DevServer) -> None:
    """1,024 messages of half a mebibyte for each came to 1.5 GiB."""
    limit = 20 * 2**20
    async with Realtime(api_base_url=server.url, total_buffer_bytes=limit) as realtime, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(realtime.subscribe(channel=fresh(), topics=["t"])) for _ in range(6)]
        streams = [subscription.get_json_stream() for subscription in held]
        payload = "x" * 500_000
        for number in range(20):
            for subscription in held:
                await server.publish(subscription.channel, "t", f"{number}{payload}")
        await eventually(lambda: realtime.stats().received == 120)
        stats = realtime.stats()
        assert stats.total_buffer_bytes == limit
        assert 0 < stats.buffer_bytes <= limit
        # A reader gets a gap and then the newest, and what it takes is counted no longer.
        for stream in streams:
            await stream.aclose()
        for subscription in held:
            subscription.close()
        await eventually(lambda: realtime.stats().buffer_bytes == 0)


async def test_two_event_loops_share_one_limit(server: DevServer) -> None:
    limit = 6 * 2**20
    realtime = Realtime(api_base_url=server.url, total_buffer_bytes=limit)
    here = await realtime.subscribe(channel=fresh(), topics=["t"])
    there = await asyncio.to_thread(realtime.subscribe_sync, channel=fresh(), topics=["t"])
    for number in range(16):
        for channel in (here.channel, there.channel):
            await server.publish(channel, "t", f"{number}" + "x" * 500_000)
    await eventually(lambda: realtime.stats().received == 32)
    await eventually(lambda: realtime.stats().buffer_bytes <= limit)
    messages = await asyncio.to_thread(lambda: [there.receive(timeout=5) for _ in range(2)])
    assert messages[0] is not None
    assert messages[0].kind == "gap"
    here.close()
    await asyncio.to_thread(there.close)
    await realtime.close()
    await asyncio.to_thread(realtime.close_sync)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one loop", "another thread"])
async def test_all_realtimes_of_a_process_share_one_limit(
    server: DevServer, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each below its own, and together below the largest."""
    monkeypatch.setattr(budget, "_shared", {})  # other tests' objects, with larger limits, may still be in use
    limit = 8 * 2**20
    realtimes = [Realtime(api_base_url=server.url, total_buffer_bytes=each) for each in (limit // 2, limit, limit)]
    subscriptions: list[Any] = [await each.subscribe(channel=fresh(), topics=["t"]) for each in realtimes[:2]]
    last = realtimes[2]
    if elsewhere:
        subscriptions.append(await asyncio.to_thread(last.subscribe_sync, channel=fresh(), topics=["t"]))
    else:
        subscriptions.append(await last.subscribe(channel=fresh(), topics=["t"]))

    def held() -> list[int]:
        return [each.stats().buffer_bytes for each in realtimes]

    for number in range(16):
        for subscription in subscriptions:
            await server.publish(subscription.channel, "t", f"{number}" + "x" * 500_000)
    await eventually(lambda: all(each.stats().received == 16 for each in realtimes))
    await eventually(lambda: sum(held()) <= limit)
    assert held()[0] <= limit // 2
    assert all(size > 0 for size in held())
    # Who is alone has room for all of it again.
    for realtime, subscription in zip(realtimes[1:], subscriptions[1:], strict=True):
        await asyncio.to_thread(subscription.close) if elsewhere and realtime is last else subscription.close()
        await realtime.close()
        await asyncio.to_thread(realtime.close_sync)
    for number in range(16):
        await server.publish(subscriptions[0].channel, "t", f"{number}" + "x" * 200_000)
    await eventually(lambda: realtimes[0].stats().received == 32)
    assert limit // 4 < held()[0] <= limit // 2
    await realtimes[0].close()


def test_data_streams_are_bounded_in_bytes_of_memory() -> None:
    streams = OpenStreams(1_000_000)
    for number in range(50):
        stream = streams.follow(message_of(f"s{number}", kind="datastream-start"), f"s{number}")
        assert stream is not None
        for _ in range(20):
            # One character beyond the basic plane makes four bytes of each: 1 KiB that takes 4 KiB of memory.
            text = msgspec.Raw(msgspec.json.encode("\U0001f600" + "x" * 1_000))
            streams.follow(Envelope("chunk", text, "c", topic="t", stream_id=f"s{number}"), f"s{number}")
        assert streams.held_bytes <= 1_000_000
    kept = [streams.get(f"s{number}") for number in range(50)]
    open_streams = [stream for stream in kept if stream is not None]
    assert open_streams
    assert streams.held_bytes == sum(stream.size for stream in open_streams)
    assert all(stream.size > 20 * 4 * 1_000 for stream in open_streams)


async def test_open_data_streams_count_in_the_total(server: DevServer, realtime: Realtime, channel: str) -> None:
    async def chunks() -> Any:
        for _ in range(50):
            yield "x" * 1_000
        await published.wait()

    published = asyncio.Event()
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        stream = subscription.get_json_stream()
        publishing = asyncio.create_task(realtime.publish_stream((channel, "t"), chunks()))
        for _ in range(51):  # its beginning, and the chunks: as messages they wait no longer
            await asyncio.wait_for(anext(stream), 5)
            assert await subscription.receive(timeout=5) is not None
        assert realtime.stats().buffer_bytes > 50 * 1_000
        published.set()
        await publishing
        await stream.aclose()


METADATA = "x" * 200_000


async def test_metadata_counts_like_the_payload(server: DevServer) -> None:
    """It may have a mebibyte: a buffer of 1,024 messages without a payload could hold one GiB."""
    limit = 2_000_000
    replay = Replay(max_bytes=1_000_000)
    async with Realtime(api_base_url=server.url, total_buffer_bytes=limit, replay=replay) as realtime:
        async with realtime.subscribe(channel=fresh(), topics=["t"]) as subscription:
            stream = subscription.get_json_stream()
            for number in range(30):
                await server.publish(subscription.channel, "t", number, metadata=f'{{"large":"{METADATA}"}}')
            await eventually(lambda: realtime.stats().received == 30)
            assert 1_000_000 < realtime.stats().buffer_bytes <= limit
            gap = await anext(stream)
            assert gap.kind == "gap"
            late = await realtime.subscribe(channel=subscription.channel, topics=["t"], rewind="all")
            history = late.get_event_stream(heartbeat=60)
            text = await anext(history)
            while b'"data":29,' not in text:
                text += await anext(history)
            assert 3 <= text.count(b'"kind":"data"') <= 5
            await history.aclose()
            late.close()
            await stream.aclose()


async def test_metadata_counts_of_what_is_published(server: DevServer) -> None:
    async with Realtime(api_base_url=server.url, replay=Replay(max_bytes=200_000)) as realtime:
        channel = fresh()
        for number in range(8):
            await realtime.publish((channel, "t"), number, metadata={"large": "x" * 60_000})
        async with realtime.subscribe(channel=channel, topics=["t"], rewind="all") as subscription:
            messages = [await subscription.receive(timeout=5) for _ in range(3)]
            assert [message.data for message in messages if message is not None] == [5, 6, 7]


class Job(Channel, name="attack:{job}"):
    job: str
    numbers = topic(list[int])


async def test_errors_that_wait_are_bounded_in_bytes(
    server: DevServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds by its cause what Inngest sent: a hundred of them were 50 MiB and more."""
    log = ThrottledLog(logging.getLogger("inngest_realtime.subscription"), interval=600)
    monkeypatch.setattr(callbacks, "_log", log)
    release = asyncio.Event()
    told: list[RealtimeError] = []

    async def on_error(error: Exception) -> None:
        assert isinstance(error, RealtimeError)
        told.append(error)
        await release.wait()

    job = Job(job=fresh().replace(":", "-"))
    async with Realtime(api_base_url=server.url, buffer_bytes=2_000_000) as realtime:
        async with realtime.subscribe(channel=job, topics=["numbers"], on_error=on_error):
            for _ in range(40):
                await server.publish(job.name, "numbers", "x" * 400_000)
            await eventually(lambda: realtime.stats().received == 40)
            await eventually(lambda: len(told) == 1)
            assert realtime.stats().buffer_bytes <= 2_000_000
            release.set()
            await eventually(lambda: realtime.stats().buffer_bytes == 0)
            assert 1 < len(told) <= 7
    # The others are counted, and make one line.
    assert caplog.text.count("on_error is too slow") == 1
    assert [left_out for _, left_out in log._written.values()] == [40 - len(told) - 1]
    # Nor does the log get an entry of the message's size.
    assert max(len(record.getMessage()) for record in caplog.records) < 5_000


async def test_errors_that_wait_count_in_the_total(server: DevServer) -> None:
    release = asyncio.Event()

    async def on_error(error: Exception) -> None:
        await release.wait()

    limit = 3_000_000
    jobs = [Job(job=fresh().replace(":", "-")) for _ in range(5)]
    async with Realtime(api_base_url=server.url, total_buffer_bytes=limit) as realtime, AsyncExitStack() as stack:
        for job in jobs:
            await stack.enter_async_context(realtime.subscribe(channel=job, topics=["numbers"], on_error=on_error))
        for _ in range(8):
            for job in jobs:
                await server.publish(job.name, "numbers", "x" * 400_000)
        await eventually(lambda: realtime.stats().received == 40)
        assert 0 < realtime.stats().buffer_bytes <= limit
        release.set()


class Row(BaseModel):
    value: int


class Table(Channel, name="table:{name_of}"):
    name_of: str
    rows = topic(list[Row])


async def test_a_message_with_a_hundred_thousand_mistakes(server: DevServer, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(name_of=fresh().replace(":", "-"))
    async with Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel=table, topics=["rows"]) as subscription:
            await server.publish(table.name, "rows", [{}] * 100_000)
            await server.publish(table.name, "rows", [{"value": 1}])
            message = await subscription.receive(timeout=10)
    assert message is not None
    assert message.data[0].value == 1
    assert sum(len(record.getMessage()) for record in caplog.records) < 5_000


@pytest.mark.parametrize("data", [[{}] * 170_000, [{"value": {"a": [0]}}] * 10 + [{"value": 1}] * 30_000], ids=len)
async def test_an_error_keeps_no_more_than_a_mebibyte(server: DevServer, data: list[Any]) -> None:
    """One of 170,000 mistakes took 57 MB, and counted as half of one."""
    told: list[Exception] = []
    table = Table(name_of=fresh().replace(":", "-"))
    async with Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel=table, topics=["rows"], on_error=told.append):
            await server.publish(table.name, "rows", data)
            await server.publish(table.name, "rows", [{"value": "a"}])
            await eventually(lambda: len(told) == 2)
    large, small = told
    assert isinstance(large, MessageValidationError)
    assert isinstance(small, MessageValidationError)
    assert large.__cause__ is large.__context__ is None
    assert isinstance(small.__cause__, ValidationError)
    assert len(b'[{"value":"a"}]') < small.payload_size < 1_000


async def test_an_error_counts_with_all_that_it_keeps(server: DevServer) -> None:
    telling, release = asyncio.Event(), asyncio.Event()

    async def on_error(error: Exception) -> None:
        telling.set()
        await release.wait()

    table = Table(name_of=fresh().replace(":", "-"))
    async with Realtime(api_base_url=server.url, buffer_bytes=1_000_000) as realtime:
        async with realtime.subscribe(channel=table, topics=["rows"], on_error=on_error):
            await server.publish(table.name, "rows", [{}] * 1_000)
            await telling.wait()
            for _ in range(10):
                await server.publish(table.name, "rows", [{}] * 1_000)
            await eventually(lambda: realtime.stats().received == 11)
            held = realtime.stats().buffer_bytes
            release.set()
            await eventually(lambda: realtime.stats().buffer_bytes == 0)
    # Two wait, of 475 kB each, of 3 kB that were sent: 400 kB are its mistakes, 72 kB the objects that it was read as.
    assert 900_000 < held <= 1_000_000
