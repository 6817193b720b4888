"""The channels of one upstream: who waits, what is delivered, what it costs, who is told."""

from __future__ import annotations

import asyncio

import pytest

from inngest_fake import Channel
from inngest_realtime_core import InngestError, UnreachableError
from inngest_realtime_core._upstream.batching import weight
from inngest_realtime_core._upstream.registry import ChannelRegistry
from wire import message_of

FAILED = UnreachableError("no", url="")


def cost(*entries: tuple[str, str]) -> int:
    return weight(entries)


async def test_the_token_size_is_what_the_wanted_topics_weigh() -> None:
    registry = ChannelRegistry()
    a, b = Channel("a", "t", "u"), Channel("b", "t")
    registry.join(a, ["t", "u"])
    registry.join(a, ["t"])
    registry.join(b, ["t"])
    assert registry.token_size == cost(("a", "t"), ("a", "u"), ("b", "t"))
    a.topics.remove("u")
    registry.measure(a)
    assert registry.token_size == cost(("a", "t"), ("b", "t"))
    registry.leave(a)
    assert registry.token_size == cost(("b", "t"))
    registry.measure(a)  # has left: nothing of it counts
    assert registry.token_size == cost(("b", "t"))
    registry.leave(b)
    assert registry.token_size == 0


async def test_the_token_size_is_given_back_by_whoever_is_dropped() -> None:
    registry = ChannelRegistry()
    failed, rejected, staying = Channel("failed", "t"), Channel("rejected", "t"), Channel("staying", "t")
    registry.join(failed, ["t"])
    registry.reject_pending(registry.joins(), FAILED, drop=False)
    assert registry.token_size == cost(("failed", "t"))
    registry.join(failed, ["t"])
    registry.reject_pending(registry.joins(), FAILED, drop=True)
    assert (registry.token_size, len(registry)) == (0, 0)
    registry.join(rejected, ["t"])
    registry.join(staying, ["t"])
    registry.reject_topic(("rejected", "t"), FAILED)
    assert registry.token_size == cost(("staying", "t"))
    registry.close(None, waiting=FAILED)
    assert registry.token_size == 0


async def test_a_join_is_done_when_all_its_topics_are_covered() -> None:
    registry = ChannelRegistry()
    channel = Channel("c", "t", "u")
    done = registry.join(channel, ["t", "u"])
    registry.renew([("c", "t")])
    registry.resolve()
    assert not done.done()
    assert registry.wanted() == [("c", "u")]
    registry.cover([("c", "u")])
    registry.resolve()
    assert done.done()
    assert channel.confirmed == {"t", "u"}
    assert not registry.joining


async def test_a_join_that_was_cancelled_confirms_nothing_and_awaits_nothing() -> None:
    registry = ChannelRegistry()
    channel = Channel("c", "t")
    registry.join(channel, ["t"]).cancel()
    assert registry.not_awaited("c", ["t"]) == ["t"]
    waiting = registry.join(channel, ["t"])
    assert registry.not_awaited("c", ["t", "u"]) == ["u"]
    waiting.cancel()
    registry.renew([("c", "t")])
    registry.resolve()
    assert not channel.confirmed


async def test_who_came_during_an_attempt_waits_for_the_next_one() -> None:
    registry = ChannelRegistry()
    channel = Channel("c", "t")
    early = registry.join(channel, ["t"])
    joined = registry.joins()
    late = registry.join(channel, ["t"])
    registry.reject_pending(joined, FAILED, drop=True)
    assert early.exception() is FAILED
    assert not late.done()
    assert len(registry) == 1


async def test_a_channel_that_left_while_it_was_being_subscribed_is_left_at_inngest() -> None:
    registry = ChannelRegistry()
    staying, leaving = Channel("staying", "t"), Channel("leaving", "t")
    registry.join(staying, ["t"])
    registry.renew([("staying", "t")])
    registry.join(leaving, ["t"])
    left = registry.leave(leaving)
    registry.cover([("leaving", "t")])
    assert registry.departing
    assert registry.take_leaving() == [("leaving", "t")]
    assert registry.covered == {("staying", "t")}
    registry.release()
    assert left.done()
    assert not registry.departing


async def test_all_that_was_covered_of_a_channel_is_left_with_it() -> None:
    """Also topics that it has asked for once and does not any more."""
    registry = ChannelRegistry()
    channel = Channel("c", "t", "u")
    registry.join(channel, ["t", "u"])
    registry.renew([("c", "t"), ("c", "u")])
    channel.topics.remove("u")
    registry.leave(channel)
    assert sorted(registry.take_leaving()) == [("c", "t"), ("c", "u")]
    assert registry.covered == set()


async def test_a_channel_that_was_joined_again_keeps_its_topics() -> None:
    registry = ChannelRegistry()
    channel = Channel("c", "t")
    registry.join(channel, ["t"])
    registry.renew([("c", "t")])
    registry.leave(channel)
    registry.join(channel, ["t"])
    assert registry.take_leaving() == []
    assert registry.covered == {("c", "t")}


async def test_a_gap_is_owed_to_those_that_were_covered_and_are_still_there() -> None:
    registry = ChannelRegistry()
    covered, left, new = Channel("covered", "t"), Channel("left", "t"), Channel("new", "t")
    for channel in (covered, left, new):
        registry.join(channel, ["t"])
    registry.renew([("covered", "t"), ("left", "t")])
    registry.lose(FAILED)
    assert (covered.reported, new.reported) == ([FAILED], [])
    registry.clear()
    registry.leave(left)
    registry.join(left, ["t"])  # anew: it misses nothing
    assert list(registry.take_pending_gaps()) == [covered]
    assert list(registry.take_pending_gaps()) == []


async def test_a_rejected_topic_ends_who_had_it_and_not_who_asked_for_more() -> None:
    registry = ChannelRegistry()
    content, greedy = Channel("content", "t"), Channel("greedy", "t", "more")
    registry.join(content, ["t"])
    registry.join(greedy, ["t"])
    registry.renew([("content", "t"), ("greedy", "t")])
    registry.resolve()
    more = registry.join(greedy, ["more"])
    registry.reject_topic(("greedy", "more"), FAILED)
    assert more.exception() is FAILED
    assert greedy.told == []
    registry.reject_topic(("content", "t"), FAILED)
    assert content.told == [FAILED]
    assert list(registry.subscribers) == [greedy]


async def test_messages_go_to_their_channel_and_an_error_of_one_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = ChannelRegistry()
    a, b = Channel("a", "t"), Channel("b", "t")
    registry.join(a, ["t"])
    registry.join(b, ["t"])
    a.receive = lambda envelope: 1 / 0  # type: ignore[assignment]
    for channel in ("a", "b", "unknown"):
        registry.route(message_of(1, channel=channel))
    assert b.told == ["1"]
    assert [record.levelname for record in caplog.records if record.name.startswith("inngest")] == ["ERROR"]


async def test_the_end_tells_everybody_and_leaves_nothing() -> None:
    registry = ChannelRegistry()
    subscribed, waiting = Channel("subscribed", "t"), Channel("waiting", "t")
    registry.join(subscribed, ["t"])
    registry.renew([("subscribed", "t")])
    registry.resolve()
    joining = registry.join(waiting, ["t"])
    error = InngestError("over", url="")
    registry.close(error, waiting=error)
    assert subscribed.told == [error]
    assert joining.exception() is error
    assert (len(registry), registry.token_size, registry.joining) == (0, 0, False)
    await asyncio.sleep(0)


async def test_a_frame_that_is_too_large_is_told_to_its_channel_or_to_all() -> None:
    registry = ChannelRegistry()
    a, b = Channel("a", "t"), Channel("b", "t")
    registry.join(a, ["t"])
    registry.join(b, ["t"])
    registry.undelivered(message_of(1, channel="a"), 5_000_000)
    assert (a.told, b.told) == (["gap: too-large"], [])
    registry.undelivered(None, 70_000_000)
    assert (a.told, b.told) == (["gap: too-large"] * 2, ["gap: too-large"])
    assert [len(channel.reported) for channel in (a, b)] == [2, 1]


async def test_who_left_is_told_when_there_is_no_connection() -> None:
    registry = ChannelRegistry()
    channel = Channel("c", "t")
    registry.join(channel, ["t"])
    left = registry.leave(channel)
    registry.clear()
    assert left.done()
