"""A connection that Inngest is about to close, and its successor, without sockets."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace

import pytest

from inngest_fake import CLOSING, REJECTED, Channel, FakeInngest, FakeTransport, ignore
from inngest_realtime_core import AuthenticationError
from inngest_realtime_core._upstream import handover
from inngest_realtime_core._upstream.backoff import Backoff
from inngest_realtime_core._upstream.handover import Handover
from inngest_realtime_core._upstream.transport import HandshakeError
from inngest_realtime_core._upstream.upstream import Upstream
from inngest_realtime_core.messages.envelope import Envelope
from talk import at_once, eventually, soon
from wire import chunk_frame, decoded, end_frame, frame, start_frame


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_OVERLAP", 0.2)
    monkeypatch.setattr(Backoff, "next_delay", lambda self: 0.001)


@pytest.fixture
def inngest() -> FakeInngest:
    return FakeInngest()


async def opened(inngest: FakeInngest, *channels: Channel) -> Upstream:
    upstream = inngest.upstream()
    await soon(asyncio.gather(*(upstream.join(channel, channel.topics) for channel in channels)))
    return upstream


async def replaced(inngest: FakeInngest, upstream: Upstream) -> tuple[FakeTransport, FakeTransport]:
    """Have the connection replaced; returns the old and the new one while both deliver."""
    count = len(inngest.transports)
    old = inngest.transports[-1]
    old.log.clear()
    old.bring(CLOSING)
    await eventually(lambda: len(inngest.transports) == count + 1 and old.log == ["ping"])
    await asyncio.sleep(0)
    return old, inngest.transports[-1]


async def test_each_message_is_delivered_once_and_in_order(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    old, new = await replaced(inngest, upstream)
    assert upstream.sockets == 2
    old.bring(frame(1, number=1))
    new.bring(frame(2, number=2), frame(3, number=3))
    old.bring(frame(2, number=2))
    await eventually(lambda: channel.told == ["1", "2", "3"])
    await eventually(lambda: not old.open)
    new.bring(frame(4, number=4))
    await eventually(lambda: channel.told == ["1", "2", "3", "4"])
    assert (upstream.state, upstream.sockets) == ("open", 1)
    await upstream.close()


async def test_the_old_connection_is_kept_until_the_overlap_is_long_enough(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "_OVERLAP", 0.2)
    upstream = await opened(inngest, Channel("c", "t"))
    old, _ = await replaced(inngest, upstream)
    began = asyncio.get_running_loop().time()
    await eventually(lambda: not old.open)
    assert asyncio.get_running_loop().time() - began > 0.15
    await upstream.close()


async def test_a_data_stream_stays_with_the_connection_that_began_it(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.transports[0].bring(start_frame("s", number=1))
    old, new = await replaced(inngest, upstream)
    new.bring(chunk_frame("s", "dropped here: its start is unknown"), end_frame("s", number=1))
    old.bring(chunk_frame("s", "chunk"))
    await asyncio.sleep(0.05)
    assert old.open
    old.bring(end_frame("s", number=1))
    await eventually(lambda: not old.open)
    assert channel.told == ['"s"', '"chunk"', '"s"']
    await upstream.close()


async def test_a_data_stream_that_ends_with_the_old_connection_is_told(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.transports[0].bring(start_frame("s", number=1))
    old, _ = await replaced(inngest, upstream)
    old.end()
    await eventually(lambda: channel.told == ['"s"', "interrupted: s", "gap: reconnect"])
    await upstream.close()


async def test_an_old_connection_that_dies_before_the_overlap_is_a_gap(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    old = inngest.transports[0]
    inngest.on_open = lambda transport: old.end()
    old.bring(CLOSING)
    await eventually(lambda: channel.told == ["lost"])
    assert upstream.sockets == 1
    inngest.transports[1].bring(frame(1))
    await eventually(lambda: channel.told == ["lost", "1"])
    await upstream.close()


async def test_without_a_successor_the_old_connection_delivers_on(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.connect_failures = [HandshakeError("did nothing") for _ in range(3)]
    old = inngest.transports[0]
    old.bring(CLOSING)
    await eventually(lambda: inngest.attempts >= 3)
    old.bring(frame(1, number=1))
    await eventually(lambda: channel.told == ["1"])
    await eventually(lambda: len(inngest.transports) == 2)
    inngest.transports[1].bring(frame(2, number=2))
    old.bring(frame(2, number=2))
    await eventually(lambda: channel.told == ["1", "2"])
    await upstream.close()


async def test_a_successor_that_is_rejected_twice_is_reported_at_the_end(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.connect_failures = [HandshakeError("", status=401, content=REJECTED) for _ in range(4)]
    old = inngest.transports[0]
    old.bring(CLOSING)
    await eventually(lambda: inngest.attempts == 3)
    old.bring(frame(1))
    await eventually(lambda: channel.told == ["1"])
    old.end()
    await eventually(lambda: len(channel.told) == 2)
    assert isinstance(channel.told[1], AuthenticationError)
    assert not upstream.alive


async def test_who_joins_during_the_overlap_is_on_the_new_connection_alone(inngest: FakeInngest) -> None:
    upstream = await opened(inngest, Channel("c", "t"))
    old, new = await replaced(inngest, upstream)
    late = Channel("late", "t")
    await soon(upstream.join(late, ["t"]))
    assert [sent["kind"] for sent in new.sent] == ["sub"]
    assert old.sent == []
    new.bring(frame(1, channel="late"))
    await at_once(lambda: late.told == ["1"])
    assert old.open
    await upstream.close()


async def test_the_successor_may_repeat_what_the_old_one_delivered(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    old, new = await replaced(inngest, upstream)
    old.bring(frame(1, number=1), frame(2, number=2))
    await eventually(lambda: not old.open)
    new.bring(frame(1, number=1), frame(2, number=2), frame(3, number=3))
    await eventually(lambda: channel.told == ["1", "2", "3"])
    await upstream.close()


async def test_no_predecessor_is_kept(inngest: FakeInngest) -> None:
    """However often a connection is replaced, the handovers before the last one are gone."""
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    for number in range(2):
        old, new = await replaced(inngest, upstream)
        for transport in (old, new):
            transport.bring(frame(number, number=number + 1))
        await eventually(lambda old=old: not old.open)
    gc.collect()
    alive = [found for found in gc.get_objects() if issubclass(type(found), Handover)]
    assert len(alive) == 1
    assert channel.told == ["0", "1"]
    await upstream.close()


async def test_no_successor_is_sought_for_a_connection_that_is_one_itself(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as long as its predecessor delivers: a third connection would follow on what is not merged yet."""
    monkeypatch.setattr(handover, "_OVERLAP", 10.0)
    upstream = await opened(inngest, Channel("c", "t"))
    old, new = await replaced(inngest, upstream)
    new.bring(CLOSING)
    for _ in range(100):
        await asyncio.sleep(0)
    assert inngest.attempts == 2
    old.end()
    await eventually(lambda: inngest.attempts == 3)
    await upstream.close()


async def test_the_echo_begins_with_the_end_of_the_old_connection(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the two overlapped."""
    now = 0.0
    monkeypatch.setattr(handover, "time", SimpleNamespace(monotonic=lambda: now))
    old, _ = await inngest.connection()
    new, _ = await inngest.connection()
    over = Handover(old, ignore, (), None)
    over.begin(new, ())
    over.overlapped()
    now = 100.0
    await over.finish()
    assert over.echo == handover._ECHO
    await new.close()


async def test_the_echo_ends(inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it nothing of a handover is left, and messages are routed directly."""
    monkeypatch.setattr(handover, "_ECHO", 0.02)
    upstream = await opened(inngest, Channel("c", "t"))
    await replaced(inngest, upstream)

    def alive() -> list[Handover]:
        gc.collect()
        return [found for found in gc.get_objects() if issubclass(type(found), Handover)]

    await eventually(lambda: not alive())
    await upstream.close()


async def test_a_handover_waits_for_what_only_the_old_connection_had(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has received by the time of the overlap is delivered, however slow the readers are."""
    monkeypatch.setattr(handover, "_OVERLAP", 0.0)
    old, _ = await inngest.connection()
    seen: list[Envelope] = []
    over = Handover(old, seen.append, (), None)
    new, _ = await inngest.connection()
    inngest.transports[0].bring(*(frame(n, number=n) for n in range(600)))
    over.begin(new, ())
    over.overlapped()
    assert not over.over
    await eventually(lambda: len(seen) == 600)
    assert over.over
    await over.finish()
    await new.close()


async def test_what_a_joiner_left_and_took_again_is_led_by_the_new_connection(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of its topic from before does not hold its messages back."""
    monkeypatch.setattr(handover, "_OVERLAP", 10.0)
    staying, again = Channel("staying", "t"), Channel("again", "t")
    upstream = await opened(inngest, staying, again)
    inngest.transports[0].bring(frame(1, channel="again", number=1))
    await eventually(lambda: again.told == ["1"])
    old, new = await replaced(inngest, upstream)
    new.bring(frame(2, channel="again", number=2))  # held: the old connection has not brought it yet
    await soon(upstream.leave(again))
    await soon(upstream.join(again, ["t"]))
    new.bring(frame(3, channel="again", number=3))
    await eventually(lambda: again.told == ["1", "3"])
    assert old.open
    await upstream.close()


async def test_a_lagging_successor_does_not_repeat_what_was_delivered_just_before(inngest: FakeInngest) -> None:
    class Remembering(Channel):
        def recent(self, seconds: float) -> list[Envelope]:
            return list(kept)

    kept = decoded(frame(1, number=1), frame(2, number=2))
    channel = Remembering("c", "t")
    upstream = await opened(inngest, channel)
    _, new = await replaced(inngest, upstream)
    new.bring(frame(2, number=2), frame(3, number=3))
    await eventually(lambda: channel.told == ["3"])
    await upstream.close()


async def test_a_second_handover_that_finds_no_successor_goes_on_with_the_first(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that delivers may still repeat what its own predecessor did."""
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    old, new = await replaced(inngest, upstream)
    old.bring(frame(1, number=1))
    await eventually(lambda: not old.open)
    monkeypatch.setattr(Backoff, "next_delay", lambda self: 60.0)
    inngest.connect_failures = [HandshakeError("did nothing")]
    new.bring(CLOSING)
    await eventually(lambda: inngest.attempts == 3)
    await asyncio.sleep(0)
    new.bring(frame(1, number=1), frame(2, number=2))
    await eventually(lambda: channel.told == ["1", "2"])
    assert inngest.attempts == 3  # the next attempt waits for its time
    await upstream.close()


async def test_leaving_is_over_a_moment_after_it_is_proved(inngest: FakeInngest) -> None:
    """A topic that is taken again at once can stay silent for good."""
    leaving = Channel("leaving", "t")
    upstream = await opened(inngest, Channel("staying", "t"), leaving)
    began = asyncio.get_running_loop().time()
    await soon(upstream.leave(leaving))
    assert asyncio.get_running_loop().time() - began >= 0.009
    await upstream.close()
