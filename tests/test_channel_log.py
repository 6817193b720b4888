"""What is kept of a channel, on a clock of its own: limits, repetitions, where a client left off, and holes."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from fleet_model import Clock
from inngest_realtime_core._replay import channel_history, channel_log, entries, limited_entries, record
from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.entries import Entry
from inngest_realtime_core._replay.event_ids import MAX_NAMES, EventIds
from inngest_realtime_core._replay.log import Kept, Replay
from inngest_realtime_core._replay.record import Record
from inngest_realtime_core.messages.envelope import METADATA_KEY, Envelope

TOPICS = ("a", "b")
KEY = EventIds([b"k" * 32])


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (channel_log, channel_history, entries, limited_entries, record):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(channel_log, "_now", clock.monotonic)
    return clock


def envelope(
    number: int, topic: str = "a", *, ours: bool = False, kind: str = "data", stream_id: str | None = None
) -> Envelope:
    added = {METADATA_KEY: {"id": f"{topic}{number}"}}
    made = Envelope(
        kind,
        data=msgspec.Raw(str(number).encode()),
        channel="c",
        topic=topic,
        created_at=f"2026-11-24T13:20:{number:02d}Z",
        stream_id=stream_id,
        index=number,
    )
    if ours:
        made.metadata = msgspec.Raw(msgspec.json.encode(added))
        assert made.id is not None
    return made


def history(*topics: str, ids: EventIds = KEY, **limits: Any) -> ChannelHistory:
    made = ChannelHistory("c", Replay(**limits), ids)
    made.confirm(topics or TOPICS)
    return made


def receive(history: ChannelHistory, *envelopes: Envelope) -> list[Entry]:
    return [entry for each in envelopes if (entry := history.receive(each)) is not None]


def resumed(history: ChannelHistory, event_id: str, *topics: str) -> list[str] | None:
    """What follows an id: the data of messages, the reason of gaps; None when it is not known."""
    cursor = history.cursor(event_id)
    assert cursor is not None
    selected = history.resume(cursor, topics or TOPICS)
    return None if selected is None else told([entry for entry, _ in selected])


def told(entries: list[Entry]) -> list[str]:
    return [
        bytes(entry.envelope.data).decode() if isinstance(entry.envelope, Envelope) else entry.envelope
        for entry in entries
    ]


# -- limits ------------------------------------------------------------------------------------------------------------


def test_it_is_bounded_in_number_age_and_bytes(clock: Clock) -> None:
    kept = history(size=3)
    receive(kept, *(envelope(number) for number in range(10)))
    assert [bytes(each.data) for each in kept.received()] == [b"7", b"8", b"9"]
    old = history(max_age=60.0)
    receive(old, envelope(1))
    clock.now += 59
    receive(old, envelope(2))
    clock.now += 2
    assert [bytes(each.data) for each in old.received()] == [b"2"]
    small = history(max_bytes=10)
    large = envelope(1)
    large.data = msgspec.Raw(b'"123456"')
    receive(small, large, envelope(2), envelope(33), envelope(4))
    assert sum(len(each.data) for each in small.received()) <= 10
    assert len(small.received()) == 3


def test_who_left_off_before_what_is_kept_is_told(clock: Clock) -> None:
    kept = history(size=2)
    start = kept.here()
    (first,) = receive(kept, envelope(1))
    kept.here()
    receive(kept, envelope(2), envelope(3))
    assert resumed(kept, first.event_id) == ["2", "3"], "nothing that it has not had is gone"
    assert resumed(kept, start) is None
    receive(kept, envelope(4))
    assert resumed(kept, first.event_id) is None


def test_what_is_gone_of_other_topics_is_nobodys_loss(clock: Clock) -> None:
    kept = history(size=2)
    start = kept.here()
    receive(kept, *(envelope(number, "b") for number in range(4)))
    assert resumed(kept, start, "a") == []
    assert resumed(kept, start, "b") is None


def test_a_gap_that_is_no_longer_kept_is_not_forgotten(clock: Clock) -> None:
    kept = history(size=3)
    (first,) = receive(kept, envelope(1))
    kept.here()
    kept.bridge(None, "reconnect")
    receive(kept, envelope(2), envelope(3), envelope(4))
    assert len(kept.received()) == 3, "the gap was the last to go"
    assert resumed(kept, first.event_id) is None


# -- where a client left off -------------------------------------------------------------------------------------------


def test_a_client_gets_what_followed_in_order_with_the_gaps(clock: Clock) -> None:
    kept = history()
    kept.here()
    receive(kept, envelope(1), envelope(2, "b"))
    at = kept.here()
    receive(kept, envelope(3))
    kept.bridge(None, "reconnect")
    receive(kept, envelope(4, "b"))
    assert resumed(kept, at) == ["3", "reconnect", "4"]
    assert resumed(kept, at, "b") == ["reconnect", "4"]
    assert resumed(kept, kept.here()) == []


def test_messages_of_runs_are_for_every_client(clock: Clock) -> None:
    kept = history("a", "run")
    start = kept.here()
    receive(kept, envelope(1, "run", kind="run"))
    assert resumed(kept, start, "a") == ["1"]


def test_a_topic_that_was_not_followed_yet_is_not_known(clock: Clock) -> None:
    kept = history("a")
    start = kept.here()
    receive(kept, envelope(1))
    kept.confirm(["b"])
    assert resumed(kept, start, "a") == ["1"]
    assert resumed(kept, start, "a", "b") is None
    assert resumed(kept, kept.here(), "a", "b") == []


def test_a_place_that_the_log_has_not_reached_is_not_known(clock: Clock) -> None:
    kept = history()
    kept.here()
    receive(kept, envelope(1))
    log = kept.kept_log()
    ahead = KEY.encode("c", log.name, 5, 0, {})
    assert resumed(kept, ahead) is None


def test_ids_cannot_be_made_up_or_used_elsewhere() -> None:
    event_id = history().here()
    assert history().cursor(event_id) is not None
    assert ChannelHistory("other", Replay(), KEY).cursor(event_id) is None
    assert history(ids=EventIds([b"x" * 32])).cursor(event_id) is None
    assert history(ids=EventIds([b"x" * 32, b"k" * 32])).cursor(event_id) is not None, "a key that was rotated"
    assert history().cursor(event_id[:-1] + ("A" if event_id[-1] != "A" else "E")) is None
    assert history().cursor("") is None


def test_a_client_of_another_worker_is_found_by_what_it_has_had(clock: Clock) -> None:
    one, two = history(), history()
    for kept in (one, two):
        kept.here()
        receive(kept, envelope(1), envelope(2, "b"))
    at = one.here()
    for kept in (one, two):
        receive(kept, envelope(3), envelope(4, "b"))
    assert resumed(two, at) == ["3", "4"]
    three = history()
    receive(three, envelope(3), envelope(4, "b"))
    assert resumed(three, at) is None, "it never had what the client had last"


def test_an_id_that_cannot_name_all_topics_is_for_its_own_log(clock: Clock) -> None:
    topics = [f"t{number}" for number in range(MAX_NAMES + 1)]
    one, two = history(*topics), history(*topics)
    for kept in (one, two):
        kept.catch_up(Kept((), whole=True, since=clock.now - 100))
        receive(kept, *(envelope(number, topic) for number, topic in enumerate(topics)))
    at = one.here()
    assert resumed(one, at, *topics) == []
    assert resumed(two, at, *topics) is None


# -- repetitions -------------------------------------------------------------------------------------------------------


def test_the_same_message_is_taken_once(clock: Clock) -> None:
    kept = history()
    assert len(receive(kept, envelope(1, ours=True), envelope(1, ours=True), envelope(1, "b", ours=True))) == 2
    assert len(receive(kept, envelope(1, ours=True))) == 0
    # As long as it is kept.
    clock.now += 61
    assert len(receive(kept, envelope(1, ours=True))) == 1
    assert len(receive(kept, envelope(5), envelope(5))) == 2, "without an id nobody can tell"


@pytest.mark.parametrize("size", [1, 7, 256, 2_000])
def test_what_is_kept_is_recognised_and_nothing_else(clock: Clock, size: int) -> None:
    """Of thousands of messages, of which the filter has to be made anew again and again."""
    kept, chance = history(size=size), random.Random(size)
    for count in range(min(20 * size, 8_000) + 50):
        message = envelope(chance.randrange(3 * size + 1), chance.choice(TOPICS), ours=True)
        known = {each.identity for each in kept.received()[-size:]} if count % 50 < 3 else None
        repeated = kept.receive(message) is None
        assert known is None or repeated == (message.identity in known)


def test_what_comes_once_is_rarely_looked_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    class Counting(Clock):
        def monotonic(self) -> float:
            nonlocal looks
            looks += 1
            return clock.now

    monkeypatch.setattr(channel_log, "time", Counting())
    kept = history(size=256)
    receive(kept, *(envelope(number, ours=True) for number in range(5_000)))
    assert looks < 50


# -- late joiners ------------------------------------------------------------------------------------------------------


def test_a_rewind_counts_by_topic_and_a_data_stream_once(clock: Clock) -> None:
    kept = history("a", "b", "s")
    receive(kept, *(envelope(number) for number in range(5)), envelope(5, "b"))
    receive(kept, envelope(6, "s", kind="datastream-start", stream_id="x"))
    receive(kept, *(envelope(number, "s", kind="chunk", stream_id="x") for number in (7, 8)))
    assert told([entry for entry, _ in kept.rewind(2, TOPICS)[0]]) == ["3", "4", "5"]
    assert told([entry for entry, _ in kept.rewind(1, ["s"])[0]]) == ["6", "7", "8"]
    assert told([entry for entry, _ in kept.rewind("all", ["a"])[0]]) == ["0", "1", "2", "3", "4"]


def test_a_rewind_has_no_data_stream_without_its_start(clock: Clock) -> None:
    def part(number: int, kind: str, id: str) -> Envelope:
        return envelope(number, "s", kind=f"datastream-{kind}" if kind != "chunk" else kind, stream_id=id)

    kept = history("a", "s", size=20)
    receive(kept, part(0, "start", "x"), part(1, "start", "y"), part(2, "chunk", "x"), envelope(3, "s"))
    receive(kept, part(4, "end", "y"), part(5, "chunk", "x"))
    assert rewound(kept, 1, "s") == ["0", "2", "3", "5"], "the latest one, and what goes on"
    assert rewound(kept, 0, "s") == []
    assert rewound(kept, "all", "s") == ["0", "1", "2", "3", "4", "5"]
    receive(kept, part(6, "end", "x"))
    assert rewound(kept, 1, "s") == ["3"], "it began before"
    assert rewound(kept, 2, "s") == ["1", "3", "4"]
    log = kept.kept_log()
    assert told([each for each, _ in kept.rewind(1, ["s"], log.end - 1)[0]]) == ["0", "2", "3", "5", "6"]
    for number in range(7, 22):
        receive(kept, envelope(number))
    assert rewound(kept, "all", "s") == ["expired", "3"], "it is no longer kept"
    assert rewound(kept, 1, "s") == ["3"]
    assert rewound(kept, 1, "a") == ["21"]


def test_a_rewind_begins_with_the_id_of_the_place_before(clock: Clock) -> None:
    kept = history()
    receive(kept, envelope(1), envelope(2), envelope(3))
    result = kept.rewind(2, TOPICS)
    assert resumed(kept, result[1]) == ["2", "3"]
    assert kept.rewind(0, TOPICS)[1] == kept.here()


def test_who_is_cut_off_before_a_gap_that_begins_a_rewind_is_told_again(clock: Clock) -> None:
    kept = history(size=2)
    receive(kept, *(envelope(number) for number in range(4)))
    selected, id = kept.rewind(0, TOPICS, 0)
    assert told([entry for entry, _ in selected]) == ["overflow", "2", "3"]
    assert resumed(kept, id) == ["expired", "2", "3"]
    selected, id = kept.rewind(1, TOPICS, known=False)
    assert told([entry for entry, _ in selected]) == ["expired", "3"]
    assert resumed(kept, id) == ["expired", "3"]
    assert resumed(kept, selected[-1][1]) == []
    # Nor is it known elsewhere.
    assert resumed(history(), id) is None


# -- holes -------------------------------------------------------------------------------------------------------------


def whole(clock: Clock, *envelopes: Envelope, since: float = 0.0) -> Kept:
    return Kept([(clock.now, each) for each in envelopes], whole=True, since=since)


def test_a_hole_is_bridged_where_all_is_known(clock: Clock) -> None:
    kept = history()
    receive(kept, envelope(1, ours=True))
    clock.now += 1
    missed = [envelope(2, ours=True), envelope(3, ours=True)]
    bridged = kept.bridge(whole(clock, envelope(1, ours=True), *missed), "reconnect")
    assert told(bridged) == ["2", "3"]


def test_a_hole_is_bridged_with_what_was_recorded_before_the_last_evicted_one_was_received(clock: Clock) -> None:
    kept = history(size=1)
    sent = [envelope(number, ours=True) for number in range(4)]
    recorded = [(clock.now + number / 10, each) for number, each in enumerate(sent)]
    clock.now += 1
    receive(kept, *sent[:2])
    kept.prune()
    receive(kept, envelope(9, "b", ours=True))
    bridged = kept.bridge(Kept(recorded, whole=True, since=0.0), "reconnect")
    assert told(bridged) == ["2", "3"]


@pytest.mark.parametrize("why", ["unknown", "not whole", "mixed", "too late"])
def test_a_hole_is_a_gap_where_it_is_not(clock: Clock, why: str) -> None:
    kept = history()
    receive(kept, envelope(1, ours=why != "mixed"))
    clock.now += 5
    known = whole(clock, envelope(2, ours=True), since=clock.now if why == "too late" else 0.0)
    if why == "not whole":
        known = msgspec.structs.replace(known, whole=False)
    assert told(kept.bridge(None if why == "unknown" else known, "reconnect")) == ["reconnect"]


def test_what_is_kept_beside_it_comes_in_front_once(clock: Clock) -> None:
    clock.now -= 10
    before = [(clock.now, envelope(number, ours=True)) for number in (1, 2)]
    clock.now += 10
    kept = history()
    receive(kept, envelope(3, ours=True))
    for _ in range(2):
        kept.catch_up(Kept(before, whole=True, since=clock.now - 10))
    assert [bytes(each.data) for each in kept.received()] == [b"1", b"2", b"3"]
    # What was in front already, and is received after all, is a repetition.
    assert receive(kept, envelope(2, ours=True)) == []


def test_who_left_off_before_a_part_that_is_not_whole_is_told(clock: Clock) -> None:
    kept = history()
    start = kept.here()
    receive(kept, envelope(3))
    kept.catch_up(Kept([(clock.now - 9, envelope(1))], whole=False, since=clock.now))
    assert told([entry for entry, _ in kept.rewind("all", TOPICS)[0]]) == ["1", "expired", "3"]
    assert resumed(kept, start) == ["3"]


# -- topics that are asked for later -----------------------------------------------------------------------------------


def rewound(history: ChannelHistory, count: Any, *topics: str) -> list[str]:
    return told([entry for entry, _ in history.rewind(count, topics)[0]])


def load(history: ChannelHistory, kept: Record) -> list[str]:
    return told(history.catch_up(kept.load("c", history.received(), mixed=history.mixed)))


def publish(clock: Clock, kept: Record, numbers: range, topic: str) -> list[Envelope]:
    messages = [envelope(number, topic, ours=True) for number in numbers]
    for each in messages:
        kept.add(each)
        clock.now += 0.1
    return messages


@pytest.mark.parametrize("evicted", [False, True])
def test_what_was_published_to_a_topic_before_it_was_asked_for(clock: Clock, evicted: bool) -> None:
    kept, log = Record(Replay(size=8)), history("a", size=8)
    receive(log, *publish(clock, kept, range(3), "a"))
    assert load(log, kept) == []
    assert log.knows(["a"])
    assert not log.knows(["a", "b"])
    receive(log, *publish(clock, kept, range(3, 12 if evicted else 4), "a"))
    publish(clock, kept, range(20, 23), "b")
    log.confirm(["b"])
    receive(log, *publish(clock, kept, range(23, 24), "b"))
    begin = log.here()
    assert load(log, kept) == [], "nobody is given what came before"
    assert log.knows(TOPICS)
    assert rewound(log, "all", "b") == ["20", "21", "22", "23"]
    assert rewound(log, 1, *TOPICS) == ["11" if evicted else "3", "23"]
    receive(log, *publish(clock, kept, range(24, 25), "b"))
    assert resumed(log, begin, "b") == ["24"], "where others stand is the same"
    selected, ready = log.rewind(3, ["b"])
    assert told([entry for entry, _ in selected]) == ["22", "23", "24"]
    assert resumed(log, ready, "b") == ["22", "23", "24"]
    assert resumed(log, selected[0][1], "b") == ["23", "24"]


def test_a_full_log_makes_room_for_what_is_newer(clock: Clock) -> None:
    kept, log = Record(Replay(size=8)), history("a", size=4)
    receive(log, *publish(clock, kept, range(4), "a"))
    load(log, kept)
    publish(clock, kept, range(20, 22), "b")
    log.confirm(["b"])
    load(log, kept)
    assert rewound(log, "all", "b") == ["20", "21"]
    assert rewound(log, "all", "a") == ["2", "3"]


@pytest.mark.parametrize("is_older", [False, True])
def test_what_cannot_be_told_of_a_topic_that_was_asked_for_later(clock: Clock, is_older: bool) -> None:
    kept = Record(Replay())
    publish(clock, kept, range(20, 22), "b") if is_older else None
    publish(clock, kept, range(1), "a")
    log = history("a")
    receive(log, envelope(9, "a"))  # others publish
    load(log, kept)
    publish(clock, kept, range(20, 22), "b")
    log.confirm(["b"])
    load(log, kept)
    assert rewound(log, "all", "b") == (["expired"] if is_older else ["20", "21", "expired", "expired"])
    assert rewound(log, "all", "a") == ["0", "expired", "9"]


def test_who_comes_back_for_a_topic_that_was_asked_for_later(clock: Clock) -> None:
    kept, first = Record(Replay()), history("a", "b")
    receive(first, *publish(clock, kept, range(1), "a"))
    event_id = first.here()
    clock.now += 5.0
    log = history("a")
    load(log, kept)
    publish(clock, kept, range(20, 22), "b")
    clock.now += 5.0
    log.confirm(["b"])
    cursor = log.cursor(event_id)
    assert cursor is not None
    assert log.must_load(cursor, TOPICS)
    load(log, kept)
    receive(log, *publish(clock, kept, range(22, 23), "b"))
    assert resumed(log, event_id) == ["20", "21", "22"]


# -- the record of what is published -----------------------------------------------------------------------------------


def test_the_record_has_what_was_published_and_not_what_was_withdrawn(clock: Clock) -> None:
    kept = Record(Replay())
    one, two = envelope(1, ours=True), envelope(2, ours=True)
    for each in (one, two, one):
        kept.add(each)
    loaded = kept.load("c", [], mixed=False)
    assert [each for _, each in loaded.messages] == [one, two]
    assert loaded.whole
    kept.remove(two)
    assert [each for _, each in kept.load("c", [], mixed=False).messages] == [one]


def test_the_record_is_no_more_than_a_part_where_others_publish(clock: Clock) -> None:
    kept = Record(Replay())
    kept.add(envelope(1, ours=True))
    assert kept.load("c", [envelope(1, ours=True)], mixed=False).whole
    assert not kept.load("c", [envelope(9, ours=True)], mixed=False).whole
    assert not kept.load("c", [], mixed=False).whole, "from then on"
    other = Record(Replay())
    other.add(envelope(1, ours=True))
    other.mark_mixed("c")
    assert not other.load("c", [], mixed=False).whole
    assert not Record(Replay()).load("c", [], mixed=False).whole, "nothing is known of a channel that is not in it"


def test_the_record_says_from_when_on_it_is_whole(clock: Clock) -> None:
    kept = Record(Replay(size=1, max_age=60.0))
    clock.now += 5
    first = clock.now
    kept.add(envelope(1, ours=True))
    assert kept.load("c", [], mixed=False).since < first
    clock.now += 50
    kept.add(envelope(2, ours=True))
    clock.now += 20
    loaded = kept.load("c", [], mixed=False)
    assert [bytes(each.data) for _, each in loaded.messages] == [b"2"]
    assert loaded.since == first, "what was published at that moment is gone"


def test_the_record_keeps_the_order_of_receipt_where_that_was_another_one(clock: Clock) -> None:
    kept = Record(Replay())
    one, two = envelope(1, ours=True), envelope(2, ours=True)
    kept.add(one)
    kept.add(two)
    assert [each for _, each in kept.load("c", [two, one], mixed=False).messages] == [two, one]


def test_the_record_learns_an_order_of_receipt_that_is_not_the_one_in_which_they_were_recorded(clock: Clock) -> None:
    kept = Record(Replay())
    messages = one, two, three = [envelope(number, ours=True) for number in (1, 2, 3)]
    for each in messages:
        kept.add(each)
    clock.now += 60
    for received in ([two, one], [two, one, three]):
        assert [each for _, each in kept.load("c", received, mixed=False).messages] == [two, one, three]


def test_what_is_on_its_way_follows_what_was_received_of_its_topic(clock: Clock) -> None:
    """Inngest delivers a moment before that is proved: what is published in it is no older than what was received."""
    kept, log = Record(Replay()), ChannelHistory("c", Replay(), KEY)
    one, two, three = (envelope(number, ours=True) for number in (1, 2, 3))
    kept.add(one)  # taken before the subscription
    clock.now += 2
    for each in (two, three):  # two is taken after it, three is being sent
        clock.now += 0.01
        kept.add(each)
    clock.now += 0.01
    log.confirm(TOPICS)
    receive(log, two)
    assert told(log.catch_up(kept.load("c", log.received(), mixed=False))) == ["3"], "it is given to everybody"
    selected, _ = log.rewind("all", TOPICS)
    assert told([entry for entry, _ in selected]) == ["1", "2", "3"]
    assert receive(log, three) == []


def test_nothing_is_recorded_where_that_is_switched_off(clock: Clock) -> None:
    kept = Record(Replay(published=False))
    kept.add(envelope(1, ours=True))
    assert not kept.load("c", [], mixed=False).messages
