from __future__ import annotations

import time
from typing import Any

from inngest_realtime_core.consumer import Consumer, Counters
from inngest_realtime_core.messages import Message
from inngest_realtime_core.pace import POLL, Pace
from wire import message_of


def fill(consumer: Consumer, count: int) -> int:
    """Returns how many were lost by it."""
    before = consumer.dropped
    for number in range(count):
        consumer.push(Message(message_of(number, number=number + 1)))
    return consumer.dropped - before


def read(consumer: Consumer, count: int) -> list[Message[Any] | None]:
    return [consumer.take() for _ in range(count)]


def until_given_up(pace: Pace) -> float:
    started = time.monotonic()
    while pace.hold():
        time.sleep(POLL)  # as a connection does
    return time.monotonic() - started


def test_nobody_is_waited_for_while_all_keep_up() -> None:
    pace = Pace()
    consumer = Consumer("c", 8, pace=pace)
    assert fill(consumer, 6) == 0
    assert pace.behind == []
    assert not pace.hold()


def test_a_reader_is_waited_for_before_it_loses_anything_until_it_has_caught_up() -> None:
    pace = Pace()
    consumer = Consumer("c", 8, pace=pace)
    assert fill(consumer, 7) == 0
    assert pace.behind == [consumer]
    assert pace.hold()
    read(consumer, 2)
    assert pace.hold()
    read(consumer, 1)
    assert not pace.hold()
    assert pace.behind == []
    assert fill(consumer, 3) == 0
    assert pace.behind == [consumer]


def test_a_reader_that_has_stopped_delays_once() -> None:
    pace = Pace()
    consumer = Consumer("c", 8, pace=pace)
    fill(consumer, 8)
    assert 0.04 < until_given_up(pace) < 1.0
    assert fill(consumer, 100) == 100
    assert pace.behind == []


def test_a_reader_that_was_given_up_is_waited_for_again_once_it_reads() -> None:
    pace = Pace()
    consumer = Consumer("c", 8, pace=pace)
    fill(consumer, 8)
    until_given_up(pace)
    read(consumer, 8)
    fill(consumer, 8)
    assert pace.behind == [consumer]


def test_the_time_is_rationed_however_many_readers_ask_for_it() -> None:
    pace = Pace()
    started = time.monotonic()
    for _ in range(50):
        consumer = Consumer("c", 4, pace=pace)
        fill(consumer, 4)
        pace.earn(4)
        until_given_up(pace)
    # 50 ms at first, and 50 us for each of 200 messages, beside the poll that notices the end of each wait.
    assert time.monotonic() - started < 50 * 0.05


def test_a_reader_that_only_collects_is_not_waited_for() -> None:
    pace = Pace()
    neglected: list[bool] = []
    counters = Counters()
    consumer = Consumer("c", 4, pace=pace, counters=counters)
    consumer.idle = True
    consumer.on_neglect = lambda: neglected.append(True)
    fill(consumer, 6)
    assert counters.dropped == 0
    assert pace.behind == []
    assert neglected == [True, True]


def test_a_reader_that_left_is_not_waited_for() -> None:
    pace = Pace()
    consumer = Consumer("c", 4, pace=pace)
    fill(consumer, 4)
    consumer.detach()
    assert not pace.hold()
