"""Who shares what in Redis: not other Inngests, environments and accounts; any client, a cluster; and at what cost."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio.sentinel
import redis.sentinel

from inngest_realtime_core import ConfigurationError
from inngest_realtime_core._api.claims import TokenClaims
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.settings import Settings
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from inngest_realtime_redis.clock import RedisClock
from test_redis_replay import RedisServer, channel, own, page, pytestmark, shared, until, worker
from wire import message_of

__all__ = ["channel", "own", "pytestmark", "shared"]

ONE: dict[str, Any] = {"url": "https://one", "environment": "e1", "account": "a1", "key": "signkey-test-ab12"}


def opened(redis: RedisServer, *, url: str, environment: str, account: str, key: str, **options: Any) -> Any:
    """What one event loop has of the record of one environment."""

    async def claims() -> TokenClaims:
        return TokenClaims((), None, None, environment, account, None)

    settings = Settings(url, url, key)
    return RedisReplay(redis.url, **options).open(settings, claims, EventIds.of(key))


@pytest.mark.parametrize(
    ("other", "is_shared"),
    [
        ({}, True),
        ({"key": "signkey-test-cd34"}, True),  # it has been rotated
        ({"environment": "e2"}, False),
        ({"account": "a2"}, False),
        ({"url": "https://two"}, False),
        ({"namespace": "n"}, False),
    ],
)
async def test_who_shares_a_record(shared: RedisServer, channel: str, other: dict[str, Any], is_shared: bool) -> None:
    one, two = opened(shared, **ONE), opened(shared, **{**ONE, **other})
    try:
        envelope: Envelope = message_of("of one", channel=channel)
        await one.publish(envelope)
        kept = await two.load(channel, [], mixed=False)
        assert kept is not None
        assert [each.identity for _, each in kept.messages] == ([envelope.identity] if is_shared else [])
        assert "signkey" not in str(shared.client.keys("*"))
    finally:
        await one.close()
        await two.close()


async def test_under_two_addresses_a_namespace_is_shared(shared: RedisServer, channel: str) -> None:
    one, two = (opened(shared, **{**ONE, "url": url}, namespace=channel) for url in ("https://one", "https://two"))
    try:
        await one.publish(message_of("of one", channel=channel))
        kept = await two.load(channel, [], mixed=False)
        assert kept is not None
        assert len(kept.messages) == 1
    finally:
        await one.close()
        await two.close()


async def test_a_subscription_to_another_inngest_has_nothing_of_this_one(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    async with DevServer() as elsewhere, worker(server, shared) as one, worker(server, shared) as two:
        await one.publish((channel, "t"), "of this one")
        async with page(one, channel) as reading:
            await one.publish((channel, "t"), 1)
            assert await reading.read(1) == [1]
            id = reading.id
        async with page(two, channel, api_base_url=elsewhere.url, rewind="all") as late:
            await elsewhere.publish(channel, "t", "of the other")
            assert await late.read(1) == ["of the other"]
        async with page(two, channel, id, api_base_url=elsewhere.url) as back:
            assert await back.read(1) == ["expired"]
            await elsewhere.publish(channel, "t", "live")
            assert await back.read(1) == ["live"]
        # Nor has this one anything of the other.
        async with page(two, channel, rewind="all") as late:
            assert await late.read(2) == ["of this one", 1]
            await one.publish((channel, "t"), "last")
            assert await late.read(1) == ["last"]


def free_port() -> int:
    """A port that is free, and so is the one of the nodes among each other, which is 10,000 above it."""
    while True:
        port = random.randrange(20_000, 50_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            with socket.create_server(("127.0.0.1", port + 10_000)):
                return port


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisServer]:
    """A cluster of one node, which takes no command whose keys are in several slots."""
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--bind", "127.0.0.1", "--port", str(free_port()))
    try:
        server.client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("form", ["{}", "{} with {{braces}} in it", "}}{}", "{{}}{}"])
async def test_all_of_a_channel_is_in_one_slot(
    server: DevServer, cluster: RedisServer, channel: str, form: str
) -> None:
    name = form.format(channel)
    await until(lambda: b"cluster_state:ok" in cluster.client.execute_command("CLUSTER", "INFO"))
    async with worker(server, cluster) as one, worker(server, cluster) as two:
        await one.publish((name, "t"), 1)
        async with page(two, name, rewind="all") as late:
            assert await late.read(1) == [1]
            await one.publish((name, "t"), 2)
            assert await late.read(1) == [2]
        assert one.stats().replay_ok is two.stats().replay_ok is True


@pytest.mark.parametrize("sentinel", [redis.sentinel.Sentinel, redis.asyncio.sentinel.Sentinel])
def test_a_client_that_asks_a_sentinel_is_refused(sentinel: Any) -> None:
    """Of its address nothing is known when it is given: what is kept would go to whatever is at the default one."""
    with pytest.raises(ConfigurationError, match="Sentinel"):
        RedisReplay(sentinel([("localhost", 26379)]).master_for("primary"))


async def test_what_publishing_and_receiving_cost(server: DevServer, own: RedisServer, channel: str) -> None:
    def commands() -> int:
        stats = own.client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "script|exists"))

    async with worker(server, own) as one, worker(server, own) as two:
        await one.publish((channel, "t"), "first")
        before = commands()
        for number in range(100):
            await one.publish((channel, "t"), number)
        assert commands() - before <= 110
        async with two.subscribe(channel=channel, topics=["t"]) as subscription:
            before = commands()
            await asyncio.gather(*(server.publish(channel, "t", number) for number in range(200)))
            for _ in range(200):
                await subscription.receive(timeout=5)
            (order,) = own.client.keys(f"*{{{channel}}}:order")
            await until(lambda: own.client.zcard(order) > 200)
            assert commands() - before < 200  # of many that wait, up to 100 with one


async def test_the_first_number_of_a_channel_that_nobody_follows(shared: RedisServer, channel: str) -> None:
    """Workers take no number for one that is not larger than what gave it began with."""
    record = opened(shared, **ONE)
    try:
        seqs = [await record.publish(message_of(n, channel=f"{channel}-{n}")) for n in range(20)]
        assert all(number > previous == created for number, previous, created in seqs)
    finally:
        await record.close()


@pytest.mark.parametrize("ahead", [3.0, -3.0, 300.0, -300.0])
async def test_the_clock_of_a_worker_may_be_wrong(
    server: DevServer, shared: RedisServer, channel: str, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """Where a page comes back that has had nothing yet, only the time tells what it has missed."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + ahead)
    async with worker(server, shared) as one, worker(server, shared) as two:
        async with page(one, channel) as reading:
            await reading.opened()
        await one.publish((channel, "t"), "missed")
        async with page(two, channel, reading.id) as back:
            assert await back.read(1) == ["missed"]


def test_the_time_of_redis_is_known_as_well_as_its_best_answer_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed := time.time_ns() % 1_000_000)
    now, ahead = 100.0, 40.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = RedisClock()
    assert not clock.is_known
    best = float("inf")
    for turn in range(200):
        if turn == 100:
            ahead, best = 30.0, float("inf")  # it has been set
        sent_at, told = now, now + (there := rng.expovariate(10)) + ahead
        now += there + (back := rng.expovariate(10))
        clock.read(told, sent_at)
        best = min(best, there + back)
        reading = clock.reading
        assert reading.ahead - 1e-6 <= ahead <= reading.ahead + reading.error + 1e-6, seed
        if turn != 100:
            assert reading.error <= best + 0.1, seed
        now += rng.expovariate(1)
    assert clock.is_known


async def test_two_that_keep_different_amounts(server: DevServer, shared: RedisServer, channel: str) -> None:
    """The less is kept: a client that missed more gets a gap."""
    few, many = worker(server, shared, size=2, namespace="n"), worker(server, shared, size=100, namespace="n")
    async with few, many:
        async with page(many, channel) as before:
            await before.opened()
        for number in range(4):
            await (few if number % 2 else many).publish((channel, "t"), number)
        async with page(many, channel, before.id) as back, page(many, channel, rewind="all") as late:
            assert await back.read(1) == ["expired"]
            assert await late.read(2) == [2, 3]
            await many.publish((channel, "t"), 4)
            assert await back.read(1) == await late.read(1) == [4]
