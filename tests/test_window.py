"""The replay window, as transcripts and against a model of two processes that receive topics in different orders."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_realtime_core._replay import window as replay
from inngest_realtime_core._replay.log import Replay
from inngest_realtime_core._replay.window import Begin, Window
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import GapReason
from wire import chunk_frame, decoded, end_frame, message_of, start_frame

TOPICS = ("t", "u")
SECOND = 1_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that windows go by: one number, to be changed."""
    now = [100.0]
    monkeypatch.setattr(replay.time, "monotonic", lambda: now[0])
    return now


def numbered(number: int, topic: str = "t", **extra: Any) -> Envelope:
    return message_of(number, number=number, topic=topic, **extra)


def found(missed: list[tuple[Any, str]] | None) -> list[Any] | None:
    if missed is None:
        return None
    return [item if isinstance(item, str) else int(bytes(item.data)) for item, _ in missed]


def receive(window: Window, *envelopes: Envelope, topics: tuple[str, ...] = TOPICS) -> list[str]:
    ids: list[str] = []
    for envelope in envelopes:
        window.add(envelope)
        ids.append(window.position(envelope, topics))
    return ids


def test_what_came_since() -> None:
    window = Window(Replay())
    ids = receive(window, *(numbered(number) for number in range(5)))
    assert [found(window.since(id, TOPICS)) for id in ids] == [[1, 2, 3, 4], [2, 3, 4], [3, 4], [4], []]


def test_what_is_replayed_has_the_id_that_it_had() -> None:
    window = Window(Replay())
    ids = receive(window, numbered(1), numbered(2, "u"), numbered(3), numbered(4, "u"))
    missed = window.since(ids[0], TOPICS)
    assert missed is not None
    assert [id for _, id in missed] == ids[1:]


def test_only_the_topics_asked_for() -> None:
    window = Window(Replay())
    ids = receive(window, numbered(1), numbered(2, "u"), numbered(3), topics=("t",))
    assert found(window.since(ids[0], ("t",))) == [3]


@pytest.mark.parametrize("id", ["", "unknown", "0123456789abcdef", ".", "a.b.c", "é"])
def test_unknown_ids(id: str) -> None:
    window = Window(Replay())
    receive(window, numbered(1))
    assert window.since(id, TOPICS) is None


def test_an_id_of_another_channel_or_of_a_message_let_go() -> None:
    window = Window(Replay(size=2))
    ids = receive(window, *(numbered(number) for number in range(5)))
    assert found(window.since(ids[1], TOPICS)) is None
    assert found(window.since(ids[2], TOPICS)) == [3, 4]
    assert len(window) == 2


def test_bounded_in_bytes() -> None:
    window = Window(Replay(max_bytes=100))
    ids = receive(window, *(message_of("x" * 40, number=number) for number in range(4)))
    assert len(window) == 2
    assert window.since(ids[0], TOPICS) is None


def test_bounded_in_age(clock: list[float]) -> None:
    window = Window(Replay())
    first, second = receive(window, message_of("x" * 500, number=1), message_of("y" * 500, number=2))
    clock[0] += 59
    assert len(window.since(first, TOPICS) or ()) == 1
    clock[0] += 2
    assert window.since(first, TOPICS) is None
    # The last message of a topic is known for as long as no other came: nothing was missed.
    assert found(window.since(second, TOPICS)) == []
    assert len(window) == 0
    (third,) = receive(window, numbered(3))
    assert found(window.since(second, TOPICS)) == [3]
    assert found(window.since(third, TOPICS)) == []


def test_a_gap_in_between_is_told() -> None:
    window = Window(Replay())
    ids = receive(window, numbered(1), numbered(2))
    window.add_gap("reconnect")
    ids += receive(window, numbered(3))
    assert found(window.since(ids[0], TOPICS)) == [2, "reconnect", 3]
    assert found(window.since(ids[1], TOPICS)) == ["reconnect", 3]
    assert found(window.since(ids[2], TOPICS)) == []


@pytest.mark.parametrize("reason", ["reconnect", "too-large"])
def test_a_gap_that_is_let_go_of_takes_along_what_came_before_it(reason: GapReason, clock: list[float]) -> None:
    """A client that stopped before it can't be told of it any more, so it may not find its place."""
    window = Window(Replay(size=4))
    empty = window.start(("t",))
    (before,) = receive(window, numbered(1), topics=("t",))
    window.add_gap(reason)
    receive(window, numbered(2, "u"))
    assert found(window.since(before, ("t",))) == [reason]
    after = window.start(("t",))
    receive(window, *(numbered(number, "u") for number in range(3, 7)))
    assert [window.since(id, ("t",)) for id in (empty, before, after)] == [None, None, []]
    by_age = Window(Replay())
    (before,) = receive(by_age, numbered(1), topics=("t",))
    by_age.add_gap(reason)
    clock[0] += 61
    assert by_age.since(before, ("t",)) is None


def test_a_gap_before_the_newest_message_but_after_the_last_of_another_topic() -> None:
    here, there = Window(Replay()), Window(Replay())
    id = receive(here, numbered(1, "u"), numbered(2), numbered(4))[-1]
    receive(there, numbered(1, "u"), numbered(2))
    there.add_gap("reconnect")  # it swallowed a message 3 of the topic u
    receive(there, numbered(4))
    assert found(there.since(id, TOPICS)) == ["reconnect"]
    assert found(there.since(id, ("t",))) == ["reconnect"], "the client may have had both topics all the same"


def test_a_gap_is_told_once() -> None:
    window = Window(Replay())
    receive(window, numbered(1, "u"), numbered(2))
    window.add_gap("reconnect")
    ids = receive(window, numbered(3), numbered(4))
    assert [found(window.since(id, TOPICS)) for id in ids] == [[4], []]


def test_a_name_that_is_unknown_among_known_ones() -> None:
    window = Window(Replay())
    (id,) = receive(window, numbered(1), topics=("t",))
    assert found(window.since(id, TOPICS)) == []
    assert window.since(f"{id}.0123456789abcdef", TOPICS) is None


def test_payloads_are_not_kept_for_identity_alone(clock: list[float]) -> None:
    large = message_of("x" * 10_000, number=1)
    held = sys.getrefcount(large)
    window = Window(Replay())
    window.add(large)
    assert sys.getrefcount(large) > held
    clock[0] += 61
    window.prune()
    assert sys.getrefcount(large) == held


# -- the begin ---------------------------------------------------------------------------------------------------------


def test_a_client_that_has_had_nothing_yet() -> None:
    window = Window(Replay())
    first = window.start(TOPICS)
    assert found(window.since(first, TOPICS)) == []
    receive(window, numbered(1))
    second = window.start(TOPICS)
    receive(window, numbered(2, "u"))
    third = window.start(TOPICS)
    window.add_gap("reconnect")
    fourth = window.start(TOPICS)
    receive(window, numbered(3))
    assert [found(window.since(id, TOPICS)) for id in (first, second, third, fourth)] == [
        [1, 2, "reconnect", 3],
        [2, "reconnect", 3],
        ["reconnect", 3],
        [3],
    ]


def test_a_begin_is_known_to_other_processes_by_what_came_before_it() -> None:
    here, there = Window(Replay()), Window(Replay())
    empty = here.start(TOPICS)
    for window in (here, there):
        receive(window, numbered(1), numbered(2, "u"))
    later = here.start(TOPICS)
    receive(there, numbered(3))
    assert there.since(empty, TOPICS) is None
    assert found(there.since(later, TOPICS)) == [3]


@pytest.mark.parametrize("place", ["9", "-1", "", "x", "1.0", "9" * 5_000])
def test_a_mark_that_this_window_never_made(place: str) -> None:
    window = Window(Replay())
    name, _, _ = window.start(TOPICS).partition("-")
    assert window.since(f"{name}-{place}", TOPICS) is None


# -- what is covered ---------------------------------------------------------------------------------------------------


def test_a_topic_that_is_covered_only_since(clock: list[float]) -> None:
    """Nobody here knows what came of the topic u before, and the client, which had nothing of it, may be owed it."""
    here = Window(Replay())
    first, second = receive(here, numbered(1 * SECOND), numbered(10 * SECOND))
    begins = {"t": Begin(clock[0], 0)}
    there = Window(Replay(), begins)
    receive(there, numbered(1 * SECOND))
    assert there.since(first, TOPICS) is None, "not covered at all"
    clock[0] += 5
    begins["u"] = Begin(clock[0], there.count)
    assert there.since(first, TOPICS) is None, "covered only after the message"
    clock[0] += 1.5
    receive(there, numbered(10 * SECOND))
    assert there.since(second, TOPICS) is None, "so shortly before that another process may not have had it yet"
    clock[0] += 1
    third = receive(here, numbered(11 * SECOND))[-1]
    receive(there, numbered(11 * SECOND), numbered(12 * SECOND, "u"))
    assert found(there.since(third, TOPICS)) == [12 * SECOND]


def test_what_this_process_covers_it_knows_at_once(clock: list[float]) -> None:
    begins = {"t": Begin(clock[0], 0), "u": Begin(clock[0], 0)}
    window = Window(Replay(), begins)
    empty = window.start(TOPICS)
    (id,) = receive(window, numbered(1))
    receive(window, numbered(2, "u"))
    assert [found(window.since(known, TOPICS)) for known in (empty, id)] == [[1, 2], [2]]
    # Of a topic that is asked for only now, nothing is known of what came before.
    begins["v"] = Begin(clock[0], window.count)
    assert window.since(empty, (*TOPICS, "v")) is None
    assert found(window.since(window.start((*TOPICS, "v")), (*TOPICS, "v"))) == []


# -- topics without an order between them ------------------------------------------------------------------------------


def test_a_topic_that_the_client_had_nothing_of() -> None:
    window = Window(Replay())
    ids = receive(window, numbered(1), numbered(2, "u"), numbered(3, "u"))
    assert found(window.since(ids[0], TOPICS)) == [2, 3]


def test_a_topic_of_which_something_was_let_go_unseen() -> None:
    window = Window(Replay(size=3))
    (id,) = receive(window, numbered(1))
    receive(window, *(numbered(number, "u") for number in range(2, 5)))
    assert found(window.since(id, TOPICS)) == [2, 3, 4]
    receive(window, numbered(5, "u"))
    assert window.since(id, TOPICS) is None
    # Who does not ask for that topic has missed nothing.
    assert found(window.since(id, ("t",))) == []


def test_streams_resume_at_their_chunks() -> None:
    frames = [start_frame("s"), chunk_frame("s", "a"), chunk_frame("s", "a"), chunk_frame("s", "b"), end_frame("s")]
    window, other = Window(Replay()), Window(Replay())
    ids = receive(window, *decoded(*frames))
    receive(other, *decoded(*frames))
    assert len(set(ids)) == 5
    for place, id in enumerate(ids):
        missed = other.since(id, TOPICS)
        assert missed is not None
        assert [(item.kind, bytes(item.data)) for item, _ in missed if isinstance(item, Envelope)] == [
            (item.kind, bytes(item.data)) for item in decoded(*frames)[place + 1 :]
        ]


def test_after_a_chunk_other_topics_owe_only_what_came_later() -> None:
    """A chunk has no time of its own: the time of its stream's start stands in."""
    frames = [start_frame("s", number=5_000_000_000), chunk_frame("s", "a")]
    sender = Window(Replay())
    id = receive(sender, *decoded(*frames))[-1]
    other = Window(Replay())
    receive(other, numbered(1, "u"), *decoded(*frames), message_of(9, number=9_000_000_000, topic="u"))
    assert found(other.since(id, TOPICS)) == [9]


def test_what_another_process_may_have_received_later_is_not_guessed_at() -> None:
    sender, other = Window(Replay()), Window(Replay())
    (id,) = receive(sender, numbered(3))
    receive(other, numbered(1, "u"), numbered(3), numbered(4, "u"))
    assert other.since(id, TOPICS) is None
    assert found(other.since(id, ("t",))) == []


@pytest.mark.parametrize(("seconds", "known"), [(1.0, False), (1.9, False), (2.1, True)])
def test_how_far_apart_two_topics_may_be_received(seconds: float, known: bool) -> None:
    sender, other = Window(Replay()), Window(Replay())
    (id,) = receive(sender, numbered(5 * SECOND))
    receive(other, numbered(5 * SECOND - int(seconds * SECOND), "u"), numbered(5 * SECOND))
    assert found(other.since(id, TOPICS)) == ([] if known else None)


def test_run_messages_are_replayed_whatever_their_topic() -> None:
    window = Window(Replay())
    ids = receive(window, numbered(1), numbered(2, "$run", kind="run"), numbered(3, "$run", kind="run"))
    assert found(window.since(ids[0], TOPICS)) == [2, 3]
    assert found(window.since(ids[1], TOPICS)) == [3]


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[list[Envelope], list[Envelope]]:
    """The same messages, in one order per topic, as two processes may have received them."""
    count = draw(st.integers(0, 16))
    topics = [draw(st.sampled_from(TOPICS)) for _ in range(count)]
    by_topic: dict[str, list[int]] = {topic: [] for topic in TOPICS}
    for number, topic in enumerate(topics):
        by_topic[topic].append(number)

    def order() -> list[Envelope]:
        queues = {topic: list(numbers) for topic, numbers in by_topic.items()}
        received: list[Envelope] = []
        while any(queues.values()):
            topic = draw(st.sampled_from([topic for topic, queue in queues.items() if queue]))
            number = queues[topic].pop(0)
            received += [numbered(number, topic)]
        return received

    return order(), order()


def by_topic(envelopes: list[Envelope], topic: str) -> list[int]:
    return [int(bytes(envelope.data)) for envelope in envelopes if envelope.topic == topic]


@settings(max_examples=300, deadline=None)
@given(interleavings(), st.data())
def test_another_process_serves_the_resume(
    received: tuple[list[Envelope], list[Envelope]], data: st.DataObject
) -> None:
    here, there = received
    sender = Window(Replay())
    ids = receive(sender, *here)
    other = Window(Replay(size=data.draw(st.integers(1, 20))))
    receive(other, *there)
    for place, id in enumerate(ids):
        had = here[: place + 1]
        missed = other.since(id, TOPICS)
        if missed is None:
            # Only where the window is too small, or the topics' orders leave it open what the client is owed.
            assert len(other) < len(there) or any(not by_topic(had, topic) for topic in TOPICS)
            continue
        for topic in TOPICS:
            replayed = [item for item, _ in missed if isinstance(item, Envelope)]
            assert by_topic(had, topic) + by_topic(replayed, topic) == by_topic(here, topic)


@settings(max_examples=300, deadline=None)
@given(interleavings(), st.data())
def test_the_same_process_serves_the_resume(
    received: tuple[list[Envelope], list[Envelope]], data: st.DataObject
) -> None:
    here, _ = received
    window = Window(Replay(size=data.draw(st.integers(1, 20))))
    ids = receive(window, *here)
    for place, id in enumerate(ids):
        missed = found(window.since(id, TOPICS))
        rest = [int(bytes(envelope.data)) for envelope in here[place + 1 :]]
        if len(window) >= len(rest):
            assert missed == rest
        else:
            assert missed is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["t", "u", "gap"]), max_size=16), st.sampled_from([("t",), TOPICS]), st.data())
def test_the_same_process_serves_a_resume_from_anywhere(
    entries: list[str], topics: tuple[str, ...], data: st.DataObject
) -> None:
    """From a begin as from an event, with gaps in between: exactly what came after, or it is said to be unknown."""
    window = Window(Replay(size=data.draw(st.integers(1, 20))))
    ids = [(0, window.start(topics))]
    log: list[Any] = []
    for number, entry in enumerate(entries):
        if entry == "gap":
            window.add_gap("reconnect")
            log.append("reconnect")
        else:
            envelope = numbered(number, entry)
            window.add(envelope)
            log.append(number if entry in topics else None)
            if entry in topics:
                ids.append((len(log), window.position(envelope, topics)))
        ids.append((len(log), window.start(topics)))
    for place, id in ids:
        missed = found(window.since(id, topics))
        if missed is None:
            assert len(window) < len(log) - place
        else:
            assert missed == [item for item in log[place:] if item is not None]


@settings(max_examples=300, deadline=None)
@given(interleavings(), st.data())
def test_another_process_that_missed_something_says_so(
    received: tuple[list[Envelope], list[Envelope]], data: st.DataObject
) -> None:
    here, there = received
    begins: dict[str, Begin] = {}
    sender, other = Window(Replay()), Window(Replay(size=data.draw(st.integers(1, 20))), begins)
    ids = receive(sender, *here)
    hole = data.draw(st.integers(0, len(there)))
    end = data.draw(st.integers(hole, len(there)))
    receive(other, *there[:hole])
    other.add_gap("reconnect")
    begins.update(dict.fromkeys(TOPICS, Begin(time.monotonic(), 0)))
    receive(other, *there[end:])
    for place, id in enumerate(ids):
        missed = other.since(id, TOPICS)
        if missed is None or "reconnect" in (item for item, _ in missed):
            continue
        replayed = [item for item, _ in missed if isinstance(item, Envelope)]
        for topic in TOPICS:
            assert by_topic(here[: place + 1], topic) + by_topic(replayed, topic) == by_topic(here, topic)


@settings(max_examples=200, deadline=None)
@given(interleavings(), interleavings(), st.data())
def test_resuming_again_and_again(
    received: tuple[list[Envelope], list[Envelope]], more: tuple[list[Envelope], list[Envelope]], data: st.DataObject
) -> None:
    """A client that is thrown from one process to the other and back has each message once."""
    windows = [Window(Replay()), Window(Replay())]
    for window, envelopes in zip(windows, received, strict=True):
        receive(window, *envelopes)
    ids = receive(Window(Replay()), *received[0])
    if not ids:
        return
    place = data.draw(st.integers(0, len(ids) - 1))
    had, id = received[0][: place + 1], ids[place]
    for window in (windows[1], windows[0], windows[1]):
        missed = window.since(id, TOPICS)
        if missed is None:
            return
        if missed:
            keep = data.draw(st.integers(1, len(missed)))
            had = [*had, *(item for item, _ in missed[:keep] if isinstance(item, Envelope))]
            id = missed[keep - 1][1]
    missed = windows[0].since(id, TOPICS)
    if missed is not None:
        had = [*had, *(item for item, _ in missed if isinstance(item, Envelope))]
        for topic in TOPICS:
            assert by_topic(had, topic) == by_topic(received[0], topic)
