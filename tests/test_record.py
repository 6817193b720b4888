"""What a process keeps of what it publishes: limits, repetitions, and the order of receipt."""

from __future__ import annotations

import msgspec
import pytest

from fleet_model import Clock
from inngest_realtime_core._replay import record as module
from inngest_realtime_core._replay.log import Kept, Replay
from inngest_realtime_core._replay.record import Record
from inngest_realtime_core.messages.envelope import METADATA_KEY, Envelope
from wire import message_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def record(clock: Clock) -> Record:
    return Record(Replay())


def published(record: Record, *names: str, channel: str = "c", topic: str = "t") -> list[Envelope]:
    """Records messages with these ids."""
    made: list[Envelope] = []
    for name in names:
        envelope = message_of(name, channel=channel, topic=topic)
        envelope.metadata = msgspec.Raw(msgspec.json.encode({METADATA_KEY: {"id": name}}))
        record.add(envelope)
        made.append(envelope)
    return made


def order(kept: Kept) -> list[str]:
    return [str(envelope.id) for _, envelope in kept.messages]


def loaded(record: Record, channel: str = "c", *received: Envelope) -> Kept:
    return record.load(channel, received, mixed=False)


def test_what_was_withdrawn_may_be_published_again(record: Record) -> None:
    first, _ = published(record, "first", "second")
    record.remove(first)
    assert order(loaded(record)) == ["second"]
    record.add(first)
    record.add(first)
    assert order(loaded(record)) == ["second", "first"]


def test_channels_are_bounded_and_those_that_were_published_to_least_recently_go(
    record: Record, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHANNELS", 2)
    for channel in ("a", "b", "a", "c"):
        clock.now += 1
        published(record, f"{channel} at {clock.now}", channel=channel)
    gone = clock.now
    assert [len(loaded(record, channel).messages) for channel in "abc"] == [2, 0, 1]
    assert not loaded(record, "b").whole
    sizes = [envelope.size for channel in "ac" for _, envelope in loaded(record, channel).messages]
    assert record.kept_bytes == sum(sizes)
    clock.now += 1
    published(record, "again", channel="b")
    assert loaded(record, "b").since == gone, "what was published to it before is not known"


def test_another_publisher_is_told_by_who_receives(record: Record) -> None:
    published(record, "a")
    assert loaded(record).whole
    record.load("c", [], mixed=True)
    assert not loaded(record).whole


def test_what_two_logs_had_in_another_order_tells_nothing_of_either(record: Record) -> None:
    a, b = published(record, "a", "b")
    assert not loaded(record, "c", b, a).ambiguous, "one has had them so far"
    assert order(loaded(record)) == ["b", "a"]
    assert loaded(record, "c", a, b).ambiguous == {b.identity}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("", ["b", "a"]),
        ("of another topic", ["a", "b"]),
        ("received elsewhere", ["a", "b"]),
        ("long before", ["a", "b"]),
        ("before what the log had", ["a", "b"]),
    ],
)
def test_what_a_log_never_had_follows_what_its_clients_have_had(
    record: Record, clock: Clock, case: str, expected: list[str]
) -> None:
    (a,) = published(record, "a", topic="other" if case == "of another topic" else "t")
    if case == "received elsewhere":
        loaded(record, "c", a)
    clock.now += 11 if case == "long before" else 1
    since = clock.now if case == "before what the log had" else 0.0
    (b,) = published(record, "b")
    record.leave("c", [b], mixed=False, since=since)
    assert order(loaded(record)) == expected
