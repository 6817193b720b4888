from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core._concurrency.threads import new_waiter
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.queue import QueueLimits
from inngest_realtime_core.errors import ConcurrentReadError, RealtimeError
from inngest_realtime_core.messages.message import Gap, Message, payload_size
from inngest_realtime_core.stats import Counters
from reader_owner import Owner
from wire import message_of


def numbered(number: int) -> Message[Any]:
    return Message(message_of(number, number=number + 1))


def taken(buffer: ReaderBuffer) -> list[Any]:
    seen: list[Any] = []
    while (message := buffer.take()) is not None:
        seen.append(message.data)
    return seen


def test_messages_come_in_order() -> None:
    buffer = ReaderBuffer("c", QueueLimits(10))
    for number in range(3):
        buffer.push(numbered(number))
    assert taken(buffer) == [0, 1, 2]
    assert buffer.delivered == 3


def test_overflow_drops_the_oldest_and_tells_in_their_place() -> None:
    buffer = ReaderBuffer("c", QueueLimits(3))
    for number in range(8):
        buffer.push(numbered(number))
    assert buffer.dropped == 5
    assert taken(buffer) == [Gap("overflow", 5), 5, 6, 7]
    buffer.push(numbered(8))
    assert taken(buffer) == [8]
    assert (buffer.dropped, buffer.delivered) == (5, 4)


def taken_at_once(buffer: ReaderBuffer, size: int = 1_000) -> list[Any]:
    """What is taken of a buffer in one call, until it is of so many bytes; each counts as one."""
    taken: list[Any] = []

    def encode(message: Message[Any]) -> bytes:
        taken.append(message.data)
        return b"."

    assert len(buffer.encode_some(encode, size)) == len(taken)
    return taken


def test_taking_some_is_taking_one_after_the_other() -> None:
    buffer = ReaderBuffer("c", QueueLimits(3))
    assert taken_at_once(buffer, 2) == []
    for number in range(5):
        buffer.push(numbered(number))
    assert taken_at_once(buffer, 2) == [Gap("overflow", 2), 2]
    assert taken_at_once(buffer) == [3, 4]
    assert buffer.delivered == 3
    buffer.push(numbered(5))
    buffer.end(RealtimeError("refused"))
    assert taken_at_once(buffer) == [5]
    with pytest.raises(RealtimeError):
        taken_at_once(buffer)


def test_what_is_lost_while_some_is_taken_is_told_of_in_its_place() -> None:
    buffer = ReaderBuffer("c", QueueLimits(3))
    for number in range(3):
        buffer.push(numbered(number))

    def encode(message: Message[Any]) -> bytes:
        for number in range(3, 6):
            buffer.push(numbered(number))
        return str(message.data).encode()

    assert buffer.encode_some(encode, 1_000) == [b"0"]
    assert taken(buffer) == [Gap("overflow", 2), 3, 4, 5]


def test_overflow_without_gaps() -> None:
    buffer = ReaderBuffer("c", QueueLimits(2), gaps=False)
    for number in range(4):
        buffer.push(numbered(number))
    buffer.push_gap(Message.gap("c", "reconnect"))
    assert taken(buffer) == [2, 3]
    assert buffer.dropped == 2


def test_the_end_comes_after_what_is_waiting() -> None:
    buffer = ReaderBuffer("c", QueueLimits(10))
    buffer.push(numbered(1))
    buffer.end(RealtimeError("refused"))
    buffer.end()
    message = buffer.take()
    assert message is not None
    assert message.data == 1
    raised: list[RealtimeError] = []
    for _ in range(2):
        with pytest.raises(RealtimeError, match="refused") as caught:
            buffer.take()
        raised.append(caught.value)
    assert raised[0] is not raised[1], "a traceback belongs to one reader"
    assert buffer.ended


@pytest.mark.parametrize("by", ["one", "some", "iterating"])
async def test_what_is_counted(by: str) -> None:
    """Messages and gaps that are taken, and messages that went; of readers, not of those who only collect."""
    counters = Counters()
    buffer, idle = (
        ReaderBuffer("c", QueueLimits(4, counters=counters)),
        ReaderBuffer("c", QueueLimits(4, counters=counters)),
    )
    idle.idle = True
    messages = buffer.messages()

    async def read(count: int) -> list[Any]:
        if by == "one":
            return taken(buffer)
        if by == "some":
            return taken_at_once(buffer)
        return [(await anext(messages)).data for _ in range(count)]

    for reader in (buffer, idle):
        reader.push_gap(Message.gap("c", "reconnect"))
        reader.push(numbered(0))
        for number in range(1, 6):
            reader.push(numbered(number))
    # Of seven for a buffer of four, a gap went and two messages.
    assert (counters.delivered, counters.dropped, counters.gaps) == (0, 2, 0)
    assert await read(5) == [Gap("overflow", 3), 2, 3, 4, 5]
    buffer.push_gap(Message.gap("c", "reconnect"))
    buffer.push(numbered(6))
    buffer.push_gap(Message.gap("c", "too-large"))
    buffer.push(numbered(7))
    assert await read(4) == [Gap("reconnect"), 6, Gap("too-large"), 7]
    assert (counters.delivered, counters.dropped, counters.gaps) == (6, 2, 3)
    assert buffer.delivered == counters.delivered


def test_what_came_before_stands_for_what_is_waiting_and_takes_no_room() -> None:
    counters = Counters()
    buffer = ReaderBuffer("c", QueueLimits(2, counters=counters))
    for number in range(5):
        buffer.push(numbered(number))
    buffer.replay([*(numbered(number) for number in range(8)), Message.gap("c", "reconnect")])
    buffer.push(numbered(8))
    buffer.push(numbered(9))
    assert taken(buffer) == [*range(8), Gap("reconnect"), 8, 9]
    assert (counters.delivered, counters.gaps) == (10, 1)
    for number in range(20):
        buffer.push(numbered(number))
    assert taken(buffer)[0] == Gap("overflow", 9)


def test_gaps_can_be_hidden_among_what_came_before() -> None:
    buffer = ReaderBuffer("c", QueueLimits(2), gaps=False)
    buffer.replay([numbered(1), Message.gap("c", "reconnect"), numbered(2)])
    assert taken(buffer) == [1, 2]


async def test_iterating_wakes_for_each_message_and_ends() -> None:
    buffer = ReaderBuffer("c", QueueLimits(10))

    async def read() -> list[Any]:
        return [message.data async for message in buffer.messages()]

    reader = asyncio.create_task(read())
    for number in range(3):
        await asyncio.sleep(0)
        buffer.push(numbered(number))
    await asyncio.sleep(0)
    buffer.push(numbered(3))
    buffer.end()
    assert await reader == [0, 1, 2, 3]


async def test_iterating_tells_of_an_overflow_in_between() -> None:
    buffer = ReaderBuffer("c", QueueLimits(2))
    messages = buffer.messages()
    for number in range(2):
        buffer.push(numbered(number))
    seen = [(await anext(messages)).data]
    for number in range(2, 5):
        buffer.push(numbered(number))
    buffer.end()
    seen += [message.data async for message in messages]
    assert seen == [0, Gap("overflow", 2), 3, 4]


async def test_a_cancelled_read_loses_nothing() -> None:
    buffer = ReaderBuffer("c", QueueLimits(10))
    for read in (lambda: anext(buffer.messages()), buffer.next):
        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        # Woken, and cancelled before it has its turn.
        buffer.push(numbered(1))
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        assert taken(buffer) == [1]


async def test_a_second_read_is_refused_while_another_one_waits() -> None:
    buffer = ReaderBuffer("c", QueueLimits(10))
    reading = asyncio.ensure_future(buffer.next())
    await asyncio.sleep(0)
    for read in (buffer.next, lambda: anext(buffer.messages()), lambda: asyncio.to_thread(buffer.next_sync)):
        with pytest.raises(ConcurrentReadError, match="get_json_stream"):
            await asyncio.wait_for(read(), 5)
    buffer.push(numbered(1))
    message = await reading
    assert message is not None
    assert message.data == 1
    buffer.push(numbered(2))
    assert taken(buffer) == [2]


def test_a_reader_leaves_once() -> None:
    owner = Owner()
    buffer = ReaderBuffer("c", QueueLimits(10), owner)
    buffer.detach()
    buffer.detach()
    assert owner.left == [buffer]


# Bytes


def sized(number: int, size: int) -> Message[Any]:
    return Message(message_of("x" * (size - 2), number=number + 1))


@pytest.mark.parametrize("some", [False, True])
def test_a_buffer_is_bounded_in_bytes(some: bool) -> None:
    buffer = ReaderBuffer("c", QueueLimits(1000, max_bytes=1_000_000))
    pushed = [sized(number, 100_000) for number in range(50)]
    for message in pushed:
        buffer.push(message, payload_size(message))
        assert buffer.bytes_waiting <= 1_000_000
    kept = taken_at_once(buffer) if some else taken(buffer)
    assert kept[0] == Gap("overflow", 50 - len(kept[1:]))
    assert kept[1:] == [message.data for message in pushed[-7:]]
    assert buffer.bytes_waiting == 0
    # A message that alone is larger is held all the same.
    huge = sized(1, 3_000_000)
    buffer.push(huge, payload_size(huge))
    assert len(taken(buffer)) == 1
    assert buffer.bytes_waiting == 0


@given(st.lists(st.one_of(st.integers(2, 400), st.none()), max_size=200), st.integers(1, 20), st.integers(50, 2000))
def test_what_is_held_never_passes_the_limits(steps: list[int | None], limit: int, max_bytes: int) -> None:
    """Pushes of messages of some size, and reads; each message is read or told to be missed, in order."""
    buffer = ReaderBuffer("c", QueueLimits(limit, max_bytes=max_bytes))
    pushed = [sized(number, step) for number, step in enumerate(steps) if step is not None]
    coming = iter(pushed)
    for step in steps:
        if step is None:
            buffer.take()
        else:
            message = next(coming)
            buffer.push(message, payload_size(message))
    held = [message for message in iter(buffer.take, None) if message.kind != "gap"]
    assert held == pushed[len(pushed) - len(held) :]
    assert len(held) <= limit
    sizes = [payload_size(message) for message in held]
    assert sum(sizes) <= max_bytes or sum(sizes) - max(sizes) <= max_bytes // 4
    assert buffer.bytes_waiting == 0
    assert buffer.delivered + buffer.dropped == len(pushed)


def test_an_overflow_is_reported_once_while_nobody_has_begun_to_read() -> None:
    owner = Owner()
    buffer = ReaderBuffer("c", QueueLimits(1), owner)
    buffer.push(numbered(0))
    buffer.push(numbered(1))
    assert not owner.unread_times
    buffer.idle = True
    buffer.push(numbered(2))
    buffer.push(numbered(3))
    assert owner.unread_times == 1


async def test_a_thread_reads_what_a_loop_pushes() -> None:
    count = 20_000
    buffer = ReaderBuffer("c", QueueLimits(count))
    seen: list[int] = []

    def read() -> None:
        while True:
            message = buffer.take()
            if message is not None:
                seen.append(message.data)
            elif buffer.ended:
                return
            else:
                waiter = new_waiter()
                if buffer.wait_on(waiter):
                    assert waiter.wait(5)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(count):
        buffer.push(numbered(number))
        if number % 100 == 0:
            await asyncio.sleep(0)
    buffer.end()
    await asyncio.to_thread(thread.join, 10)
    assert seen == list(range(count))


async def test_a_thread_never_misses_the_last_message_before_the_end() -> None:
    started = threading.Semaphore(0)
    buffers: list[ReaderBuffer] = [ReaderBuffer("c", QueueLimits(10)) for _ in range(300)]
    last: list[Any] = []

    def read() -> None:
        for buffer in buffers:
            started.release()
            seen: Any = None
            while True:
                message = buffer.take()
                if message is not None:
                    seen = message.data
                elif buffer.ended:
                    break
            last.append(seen)

    thread = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    try:
        thread.start()
        for number, buffer in enumerate(buffers):
            started.acquire()
            buffer.push(numbered(number))
            buffer.end()
        await asyncio.to_thread(thread.join, 10)
    finally:
        sys.setswitchinterval(interval)
    assert last == list(range(300))


async def test_a_slow_thread_loses_the_oldest_and_is_told_how_many() -> None:
    count = 5_000
    buffer = ReaderBuffer("c", QueueLimits(16))
    seen: list[Any] = []

    def read() -> None:
        while True:
            message = buffer.take()
            if message is not None:
                seen.append(message.data)
            elif buffer.ended:
                return
            else:
                waiter = new_waiter()
                if buffer.wait_on(waiter):
                    assert waiter.wait(5)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(count):
        buffer.push(numbered(number))
    buffer.end()
    await asyncio.to_thread(thread.join, 10)
    numbers = [item for item in seen if isinstance(item, int)]
    gaps = [item.missed for item in seen if isinstance(item, Gap)]
    assert numbers == sorted(numbers)
    assert sum(gaps) == buffer.dropped == count - len(numbers)
