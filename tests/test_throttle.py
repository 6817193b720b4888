from __future__ import annotations

import time
from typing import Any

from inngest_realtime_core._hub.buffer import Consumer
from inngest_realtime_core._upstream.throttle import POLL, Throttle
from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.stats import Counters
from wire import message_of


def fill(consumer: Consumer, count: int) -> int:
    """Returns how many were lost by it."""
    before = consumer.dropped
    for number in range(count):
        consumer.push(Message(message_of(number, number=number + 1)))
    return consumer.dropped - before


def read(consumer: Consumer, count: int) -> list[Message[Any] | None]:
    return [consumer.take() for _ in range(count)]


def until_given_up(throttle: Throttle) -> float:
    started = time.monotonic()
    while throttle.should_pause():
        time.sleep(POLL)  # as a connection does
    return time.monotonic() - started


def test_nobody_is_waited_for_while_all_keep_up() -> None:
    throttle = Throttle()
    consumer = Consumer("c", 8, throttle=throttle)
    assert fill(consumer, 6) == 0
    assert throttle.behind == []
    assert not throttle.should_pause()


def test_a_reader_is_waited_for_before_it_loses_anything_until_it_has_caught_up() -> None:
    throttle = Throttle()
    consumer = Consumer("c", 8, throttle=throttle)
    assert fill(consumer, 7) == 0
    assert throttle.behind == [consumer]
    assert throttle.should_pause()
    read(consumer, 2)
    assert throttle.should_pause()
    read(consumer, 1)
    assert not throttle.should_pause()
    assert throttle.behind == []
    assert fill(consumer, 3) == 0
    assert throttle.behind == [consumer]


def test_a_reader_that_has_stopped_delays_once() -> None:
    throttle = Throttle()
    consumer = Consumer("c", 8, throttle=throttle)
    fill(consumer, 8)
    assert 0.04 < until_given_up(throttle) < 1.0
    assert fill(consumer, 100) == 100
    assert throttle.behind == []


def test_a_reader_that_was_given_up_is_waited_for_again_once_it_reads() -> None:
    throttle = Throttle()
    consumer = Consumer("c", 8, throttle=throttle)
    fill(consumer, 8)
    until_given_up(throttle)
    read(consumer, 8)
    fill(consumer, 8)
    assert throttle.behind == [consumer]


def test_the_time_is_rationed_however_many_readers_ask_for_it() -> None:
    throttle = Throttle()
    started = time.monotonic()
    for _ in range(50):
        consumer = Consumer("c", 4, throttle=throttle)
        fill(consumer, 4)
        throttle.credit(4)
        until_given_up(throttle)
    # 50 ms at first, and 50 us for each of 200 messages, beside the poll that notices the end of each wait.
    assert time.monotonic() - started < 50 * 0.05


def test_a_reader_that_only_collects_is_not_waited_for() -> None:
    throttle = Throttle()
    neglected: list[bool] = []
    counters = Counters()
    consumer = Consumer("c", 4, throttle=throttle, counters=counters)
    consumer.idle = True
    consumer.on_neglect = lambda: neglected.append(True)
    fill(consumer, 6)
    assert counters.dropped == 0
    assert throttle.behind == []
    assert neglected == [True, True]


def test_a_reader_that_left_is_not_waited_for() -> None:
    throttle = Throttle()
    consumer = Consumer("c", 4, throttle=throttle)
    fill(consumer, 4)
    consumer.detach()
    assert not throttle.should_pause()
