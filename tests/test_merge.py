"""The overlap of two connections, as transcripts and against a model of what Inngest sends on both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_realtime_core._upstream.merge import StreamMerge
from inngest_realtime_core._upstream.protocol import Decoder
from inngest_realtime_core.messages.envelope import Envelope
from wire import chunk_frame, decoded, end_frame, frame, start_frame


def names(envelopes: Iterable[Envelope]) -> list[str]:
    return [bytes(envelope.data).decode() for envelope in envelopes]


def numbered(*numbers: int, topic: str = "t") -> list[Envelope]:
    return decoded(*(frame(number, number=number, topic=topic) for number in numbers))


def test_the_old_connection_leads_until_both_have_brought_a_message() -> None:
    merge = StreamMerge()
    one, two, three = numbered(1, 2, 3)
    again_two, again_three = numbered(2, 3)
    assert names(merge.old(one)) == ["1"]
    assert names(merge.old(two)) == ["2"]
    assert names(merge.new(again_two)) == []
    assert names(merge.new(again_three)) == ["3"]
    assert names(merge.old(three)) == []


def test_what_was_delivered_before_is_known_when_the_new_connection_lags() -> None:
    merge = StreamMerge(recent=numbered(1, 2))
    assert names(merge.new(numbered(2)[0])) == []
    assert names(merge.new(numbered(3)[0])) == ["3"]
    assert names(merge.old(numbered(3)[0])) == []


def test_what_was_left_and_taken_again_begins_anew() -> None:
    merge = StreamMerge()
    assert names(merge.new(numbered(5)[0])) == []
    merge.adopt([("c", "t")])
    assert names(merge.new(numbered(6)[0])) == ["6"]
    assert names(merge.finish()) == []


def test_what_the_new_connection_brings_first_is_held() -> None:
    merge = StreamMerge()
    assert not list(merge.new(numbered(2)[0]))
    assert not merge.settled
    assert not list(merge.new(numbered(3)[0]))
    assert names(merge.old(numbered(1)[0])) == ["1"]
    assert names(merge.old(numbered(2)[0])) == ["2", "3"]
    assert merge.settled
    assert not list(merge.old(numbered(3)[0]))


def test_topics_switch_each_for_itself() -> None:
    merge = StreamMerge()
    assert names(merge.old(numbered(1)[0])) == ["1"]
    assert names(merge.new(numbered(1)[0])) == []
    assert names(merge.old(numbered(1, topic="u")[0])) == ["1"]
    assert names(merge.new(numbered(2)[0])) == ["2"]
    assert names(merge.new(numbered(1, topic="u")[0])) == []


def test_the_end_of_the_old_connection_releases_what_is_held() -> None:
    merge = StreamMerge()
    assert names(merge.old(numbered(1)[0])) == ["1"]
    assert not list(merge.new(numbered(2)[0]))
    assert names(merge.finish()) == ["2"]
    assert names(merge.new(numbered(3)[0])) == ["3"]
    assert names(merge.new(numbered(4, topic="never seen before")[0])) == ["4"]


def test_what_the_old_connection_brought_ahead_is_recognised_after_its_end() -> None:
    merge = StreamMerge()
    assert names(merge.old(numbered(1)[0])) == ["1"]
    assert names(merge.old(numbered(2)[0])) == ["2"]
    assert not list(merge.finish())
    assert not list(merge.new(numbered(2)[0]))
    assert names(merge.new(numbered(3)[0])) == ["3"]


def test_what_the_old_connection_brought_ahead_is_recognised_once() -> None:
    """What is published again under its id is another message: whether it is a repetition is the log's to say."""
    merge = StreamMerge()
    (one,) = numbered(1)
    assert names(merge.old(one)) == ["1"]
    assert names(merge.new(one)) == []
    assert names(merge.new(one)) == ["1"]


def test_waiting_for_the_old_connection_ends() -> None:
    merge = StreamMerge()
    assert not list(merge.new(numbered(1)[0]))
    assert names(merge.expire()) == ["1"]
    assert names(merge.new(numbered(2)[0])) == ["2"]
    assert not list(merge.old(numbered(1)[0]))


def test_topics_that_only_the_new_connection_has() -> None:
    merge = StreamMerge()
    merge.adopt([("c", "t")])
    assert names(merge.new(numbered(1)[0])) == ["1"]
    assert merge.settled


def test_a_stream_that_only_the_old_connection_knows_keeps_its_topic() -> None:
    old = Decoder()
    old.decode(start_frame("s"))
    merge = StreamMerge(old.open_streams.values())
    assert [start.stream_id for start in merge.interrupted] == ["s"]
    assert not merge.settled

    def from_old(raw: bytes) -> list[str]:
        envelope = old.decode(raw)
        assert isinstance(envelope, Envelope)
        return names(merge.old(envelope))

    assert from_old(chunk_frame("s", "a")) == ['"a"']
    assert from_old(frame(1, number=5)) == ["1"]
    assert names(merge.new(*decoded(frame(1, number=5)))) == []
    assert names(merge.new(*decoded(frame(2, number=6)))) == []
    assert list(merge.expire()) == []
    assert from_old(end_frame("s")) == ['"s"']
    assert merge.interrupted == []
    assert from_old(frame(2, number=6)) == ["2"]
    assert merge.settled
    assert names(merge.new(*decoded(frame(3, number=7)))) == ["3"]


def test_the_end_of_a_stream_that_the_new_connection_brings_first_waits_for_the_old_one() -> None:
    old, new = Decoder(), Decoder()
    start = old.decode(start_frame("s"))
    assert isinstance(start, Envelope)
    merge = StreamMerge([start])
    frames = [chunk_frame("s", "x"), end_frame("s"), frame(1, number=2)]
    brought = [envelope for raw in frames if isinstance(envelope := new.decode(raw), Envelope)]
    assert [list(merge.new(envelope)) for envelope in brought] == [[], []]
    both = [envelope for raw in frames if isinstance(envelope := old.decode(raw), Envelope)]
    delivered = [each for envelope in both for each in merge.old(envelope)] + list(merge.finish())
    assert [(each.kind, each.stream_id) for each in delivered] == [
        ("chunk", "s"),
        ("datastream-end", "s"),
        ("data", None),
    ]


def test_a_stream_that_the_old_connection_began_ahead_is_not_repeated() -> None:
    raw = [start_frame("s"), chunk_frame("s", "a"), chunk_frame("s", "b"), end_frame("s")]
    old, new = decoded(*raw), decoded(*raw)
    merge = StreamMerge()
    seen = [text for envelope in old[:2] for text in names(merge.old(envelope))]
    seen += [text for envelope in new for text in names(merge.new(envelope))]
    seen += [text for envelope in old[2:] for text in names(merge.old(envelope))]
    assert seen == ['"s"', '"a"', '"b"', '"s"']


def test_a_stream_that_is_cut_off_with_the_old_connection() -> None:
    old = Decoder()
    old.decode(start_frame("s"))
    merge = StreamMerge(old.open_streams.values())
    assert [start.stream_id for start in merge.interrupted] == ["s"]
    assert not list(merge.new(*decoded(frame(1))))
    assert names(merge.finish()) == ["1"]
    assert merge.interrupted == []


@dataclass
class Script:
    """What is published to each topic, in order, as frames that both connections get from where they begin."""

    topics: dict[str, list[bytes]]
    joins: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    topics: dict[str, list[bytes]] = {}
    number = 0
    for topic in draw(st.lists(st.sampled_from("tuv"), min_size=1, max_size=3, unique=True)):
        frames: list[bytes] = []
        open_streams: list[str] = []
        for action in draw(st.lists(st.sampled_from(["data", "start", "chunk", "end"]), max_size=14)):
            number += 1
            if action == "start":
                open_streams.append(f"{topic}{number}")
                frames.append(start_frame(open_streams[-1], topic=topic, number=number))
            elif action == "chunk" and open_streams:
                frames.append(chunk_frame(draw(st.sampled_from(open_streams)), "x"))
            elif action == "end" and open_streams:
                stream = open_streams.pop(draw(st.integers(0, len(open_streams) - 1)))
                frames.append(end_frame(stream, topic=topic, number=number))
            else:
                frames.append(frame(number, topic=topic, number=number))
        topics[topic] = frames
    script = Script(topics)
    for topic, frames in topics.items():
        # The old connection has brought some before the overlap; the new one begins somewhere after its start.
        script.before[topic] = draw(st.integers(0, len(frames)))
        script.joins[topic] = draw(st.integers(0, script.before[topic]) | st.integers(0, len(frames)))
    return script


class Line:
    """One connection: its decoder, and where it is in each topic."""

    def __init__(self, script: Script, begins: dict[str, int]) -> None:
        self.decoder = Decoder()
        self._script = script
        self.at = dict(begins)

    def topics(self, ends: dict[str, int] | None = None) -> list[str]:
        return [
            topic
            for topic, frames in self._script.topics.items()
            if self.at[topic] < (len(frames) if ends is None else ends[topic])
        ]

    def next(self, topic: str) -> Envelope | None:
        envelope = self.decoder.decode(self._script.topics[topic][self.at[topic]])
        self.at[topic] += 1
        return envelope if isinstance(envelope, Envelope) else None


def expected_of(script: Script, topic: str, old_end: int | None) -> list[str]:
    """What is to be delivered: all that an old connection without an end would have, or what both together can."""
    frames = script.topics[topic]
    whole = Line(script, dict.fromkeys(script.topics, 0))
    sequence = [whole.next(topic) for _ in frames]
    if old_end is None:
        return [envelope.identity for envelope in sequence if envelope is not None]
    late = Line(script, dict.fromkeys(script.topics, 0) | {topic: script.joins[topic]})
    reachable = {script.joins[topic] + place for place in range(len(frames) - script.joins[topic]) if late.next(topic)}
    return [
        envelope.identity
        for place, envelope in enumerate(sequence)
        if envelope is not None and (place < old_end or place in reachable)
    ]


@settings(max_examples=400, deadline=None)
@given(scripts(), st.data())
def test_exactly_once_in_order_and_complete(script: Script, data: st.DataObject) -> None:
    delivered: dict[str, list[str]] = {topic: [] for topic in script.topics}

    def deliver(envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            delivered[envelope.topic].append(envelope.identity)

    old = Line(script, dict.fromkeys(script.topics, 0))
    new = Line(script, script.joins)
    for topic, count in script.before.items():
        for _ in range(count):
            envelope = old.next(topic)
            assert envelope is not None
            deliver([envelope])
    merge = StreamMerge(old.decoder.open_streams.values())
    # The new connection is subscribed while the old one is being watched: it has nothing from before.
    new.at = {topic: max(at, script.before[topic]) for topic, at in new.at.items()}
    script.joins = dict(new.at)

    cut_after = data.draw(st.none() | st.integers(0, 20))
    steps = 0
    while old.topics() or new.topics():
        if steps == cut_after:
            break
        steps += 1
        line = data.draw(st.sampled_from([line for line in (old, new) if line.topics()]))
        envelope = line.next(data.draw(st.sampled_from(line.topics())))
        if envelope is not None:
            deliver(merge.old(envelope) if line is old else merge.new(envelope))
    # A connection that is cut has brought nothing that the rest of the other one would not follow on.
    ends = dict(old.at) if cut_after is not None else None
    deliver(merge.finish())
    while new.topics():
        envelope = new.next(data.draw(st.sampled_from(new.topics())))
        if envelope is not None:
            deliver(merge.new(envelope))
    for topic, identities in delivered.items():
        assert len(set(identities)) == len(identities), "repeated"
        assert identities == expected_of(script, topic, None if ends is None else ends[topic])
