"""How much is kept in memory, of one channel and of all: the default limits, and that what is evicted is a gap."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from inngest_realtime_core import Realtime, Replay
from inngest_realtime_core._replay import total
from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.record import Record
from inngest_realtime_core._replay.total import LogTotal
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from talk import fresh
from test_redis_replay import Page

MIB = 2**20


def message(number: int, channel: str = "c", size: int = 10) -> Envelope:
    data = msgspec.Raw(b'"' + b"x" * (size - 2) + b'"')
    return Envelope("data", data, channel, "t", f"2026-11-24T13:20:00.{number:09d}Z")


@asynccontextmanager
async def page(realtime: Realtime, channel: str, after: str | None = None) -> AsyncGenerator[Page]:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        async with aclosing(subscription.get_event_stream(last_event_id=after, heartbeat=60)) as stream:
            yield Page(stream, after or "")


@pytest.mark.parametrize("where", [Replay, RedisReplay])
def test_the_limits_of_a_channel_are_those_that_are_documented(where: Any) -> None:
    defaults = {name: each.default for name, each in inspect.signature(where).parameters.items()}
    assert (defaults["size"], defaults["max_age"], defaults["max_bytes"]) == (256, 60.0, 4 * MIB)
    assert defaults["published"] is True


def test_the_record_is_bounded_in_messages_and_bytes_of_a_channel() -> None:
    record = Record(Replay())
    for number in range(1_000):
        record.add(message(number))
    # A little more than a log has, by which it is known what in a log is of others.
    assert 256 <= len(record.load("c", [], mixed=False).messages) <= 330
    for number in range(10):
        record.add(message(number, "large", MIB))
    assert len(record.load("large", [], mixed=False).messages) == 4


def test_the_record_is_bounded_in_channels_and_bytes_of_all() -> None:
    record = Record(Replay())
    for number in range(1_200):
        record.add(message(number, f"c{number}"))
    kept = [number for number in range(1_200) if record.load(f"c{number}", [], mixed=False).messages]
    assert kept == list(range(200, 1_200)), "those that were published to least recently go first"
    for number in range(20):
        for part in range(4):
            record.add(message(part, f"large{number}", MIB))
    assert record.kept_bytes <= 64 * MIB
    assert record.load("large19", [], mixed=False).messages
    evicted = record.load("large0", [], mixed=False)
    assert (list(evicted.messages), evicted.whole) == ([], False)


def test_logs_are_bounded_in_bytes_of_all() -> None:
    histories: list[ChannelHistory] = []
    whole = LogTotal(4 * MIB, lambda: [each.log for each in histories if each.log is not None])
    for number in range(24):
        histories.append(ChannelHistory(f"c{number}", Replay(), EventIds([b"k" * 32]), whole.grant))
        histories[-1].confirm(["t"])
    most = 0
    # To one channel after another, and then to all by turns.
    for number in [*(part // 40 for part in range(24 * 40)), *(part % 24 for part in range(24 * 40))]:
        histories[number].receive(message(most, f"c{number}", 100_000))
        kept = sum(each.log.kept_bytes for each in histories if each.log is not None)
        most = max(most, kept)
    assert 32 * MIB < most <= 64 * MIB
    # Each may have its own limit where there is room.
    assert all(each.log is None or each.log.kept_bytes <= 4 * MIB for each in histories)


async def test_what_is_evicted_for_others_is_a_gap(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(total, "_BYTES", MIB)
    text = "x" * 50_000
    channels = [fresh("limits") for _ in range(4)]
    async with Realtime(api_base_url=server.url, replay=Replay(max_bytes=MIB // 2)) as realtime:
        before: dict[str, str] = {}
        for channel in channels:
            async with page(realtime, channel) as first:
                await server.publish(channel, "t", "first")
                assert await first.read(1) == ["first"]
                before[channel] = first.id
                for _ in range(9):
                    await server.publish(channel, "t", text)
                assert await first.read(9) == [text] * 9
        assert realtime.stats().window_bytes <= MIB
        seen: list[Any] = []
        for channel in channels:
            async with page(realtime, channel, before[channel]) as back:
                seen += await back.read(1)
        assert seen[0] == "expired"
        assert seen[-1] == text


async def test_as_many_as_are_kept_are_replayed(server: DevServer) -> None:
    """More than wait for a reader, by default."""
    channel = fresh("limits")
    async with Realtime(api_base_url=server.url, replay=Replay(size=2_000)) as realtime:
        async with page(realtime, channel) as first:
            await server.publish(channel, "t", "first")
            assert await first.read(1) == ["first"]
            for start in range(0, 1_900, 100):
                await asyncio.gather(*(server.publish(channel, "t", start + number) for number in range(100)))
                assert len(await first.read(100)) == 100
        async with realtime.subscribe(channel=channel, topics=["t"], rewind="all") as late:
            messages = [await late.receive(timeout=5) for _ in range(1_901)]
        assert messages[0] is not None
        assert (messages[0].data, {each.kind for each in messages if each is not None}) == ("first", {"data"})
        async with page(realtime, channel, messages[0].event_id) as back:
            seen = await back.read(1_900)
    assert sorted(seen) == list(range(1_900))
