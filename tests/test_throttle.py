from __future__ import annotations

import time
from typing import Any

from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._hub.queue import QueueLimits
from inngest_realtime_core._upstream.throttle import POLL, Throttle
from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.stats import Counters
from reader_owner import Owner
from wire import message_of


def fill(buffer: ReaderBuffer, count: int) -> int:
    """Returns how many were lost by it."""
    before = buffer.dropped
    for number in range(count):
        buffer.push(Message(message_of(number, number=number + 1)))
    return buffer.dropped - before


def read(buffer: ReaderBuffer, count: int) -> list[Message[Any] | None]:
    return [buffer.take() for _ in range(count)]


def until_given_up(throttle: Throttle) -> float:
    started = time.monotonic()
    while throttle.should_pause():
        time.sleep(POLL)  # as a connection does
    return time.monotonic() - started


def test_nobody_is_waited_for_while_all_keep_up() -> None:
    throttle = Throttle()
    buffer = ReaderBuffer("c", QueueLimits(8, throttle=throttle))
    assert fill(buffer, 6) == 0
    assert throttle.behind == []
    assert not throttle.should_pause()


def test_a_reader_is_waited_for_before_it_loses_anything_until_it_has_caught_up() -> None:
    throttle = Throttle()
    buffer = ReaderBuffer("c", QueueLimits(8, throttle=throttle))
    assert fill(buffer, 7) == 0
    assert throttle.behind == [buffer]
    assert throttle.should_pause()
    read(buffer, 2)
    assert throttle.should_pause()
    read(buffer, 1)
    assert not throttle.should_pause()
    assert throttle.behind == []
    assert fill(buffer, 3) == 0
    assert throttle.behind == [buffer]


def test_a_reader_that_has_stopped_delays_once() -> None:
    throttle = Throttle()
    buffer = ReaderBuffer("c", QueueLimits(8, throttle=throttle))
    fill(buffer, 8)
    assert 0.04 < until_given_up(throttle) < 1.0
    assert fill(buffer, 100) == 100
    assert throttle.behind == []


def test_a_reader_that_was_given_up_is_waited_for_again_once_it_reads() -> None:
    throttle = Throttle()
    buffer = ReaderBuffer("c", QueueLimits(8, throttle=throttle))
    fill(buffer, 8)
    until_given_up(throttle)
    read(buffer, 8)
    fill(buffer, 8)
    assert throttle.behind == [buffer]


def test_the_time_is_rationed_however_many_readers_ask_for_it() -> None:
    throttle = Throttle()
    started = time.monotonic()
    for _ in range(50):
        buffer = ReaderBuffer("c", QueueLimits(4, throttle=throttle))
        fill(buffer, 4)
        throttle.credit(4)
        until_given_up(throttle)
    # 50 ms at first, and 50 us for each of 200 messages, beside the poll that notices the end of each wait.
    assert time.monotonic() - started < 50 * 0.05


def test_time_is_not_saved_up() -> None:
    """However many messages came without a pause, the next one is as short as the first."""
    throttle = Throttle()
    buffer = ReaderBuffer("c", QueueLimits(4, throttle=throttle))
    throttle.credit(10**9)
    fill(buffer, 4)
    assert throttle.should_pause()
    time.sleep(0.1)  # twice the longest pause
    assert not throttle.should_pause()


def test_a_reader_that_only_collects_is_not_waited_for() -> None:
    throttle = Throttle()
    owner = Owner()
    counters = Counters()
    buffer = ReaderBuffer("c", QueueLimits(4, throttle=throttle, counters=counters), owner)
    buffer.idle = True
    fill(buffer, 6)
    assert counters.dropped == 0
    assert throttle.behind == []
    assert owner.unread_times == 1


def test_a_reader_that_left_is_not_waited_for() -> None:
    throttle = Throttle()
    buffer = ReaderBuffer("c", QueueLimits(4, throttle=throttle))
    fill(buffer, 4)
    buffer.detach()
    assert not throttle.should_pause()
