"""A network to Redis that is slow, or breaks: nothing is lost in silence."""

from __future__ import annotations

import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from redis_link import linked
from test_redis_replay import RedisServer, channel, page, pytestmark, shared, until, worker
from test_redis_trouble import events, log

__all__ = ["channel", "log", "pytestmark", "shared"]


@pytest.mark.parametrize("broken", ["c", "r", "m"], ids=["command", "reply", "half a reply"])
async def test_a_connection_that_breaks_keeps_no_message_from_being_recorded(
    server: DevServer, shared: RedisServer, channel: str, log: pytest.LogCaptureFixture, broken: str
) -> None:
    async with linked(shared.url) as link, worker(server, shared, namespace="n") as one:
        publisher = Realtime(api_base_url=server.url, replay=RedisReplay(link.url, namespace="n"))
        async with publisher, page(one, channel) as reading:
            await publisher.publish((channel, "t"), 1)
            assert await reading.read(1) == [1]
            server.drop_connections()
            link.breaks = broken
            await publisher.publish((channel, "t"), 2)
            assert not link.breaks
            assert await reading.read(1) == [2]
            await until(lambda: server.stats().subscriptions > 0)
            await publisher.publish((channel, "t"), 3)
            assert await reading.read(1) == [3]
            assert publisher.stats().replay_ok is True
    assert events(log) == []


async def test_what_was_sent_without_its_number_does_not_come_twice(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    """Redis has recorded it, and neither reply arrived: who comes back has had it, or has not, and is told of a gap."""
    async with linked(shared.url) as link, worker(server, shared, namespace="n") as one:
        publisher = Realtime(api_base_url=server.url, replay=RedisReplay(link.url, namespace="n"))
        async with publisher, worker(server, shared, namespace="n") as two:
            async with page(one, channel) as before:
                await publisher.publish((channel, "t"), 1)
                assert await before.read(1) == [1]
                link.breaks = "rr"
                await publisher.publish((channel, "t"), 2)
                async with page(two, channel) as other:
                    await other.opened()
                    await publisher.publish((channel, "t"), 3)
                    await publisher.publish((channel, "u"), 3)
                    assert await before.read(3) == [2, 3, 3]
                    assert await other.read(2) == [3, 3]
                    async with page(two, channel, before.id) as back:
                        assert await back.read(1) == ["expired"]
                        await publisher.publish((channel, "t"), 4)
                        assert await back.read(1) == await other.read(1) == [4]


async def test_a_slow_redis_costs_time_and_nothing_else(
    server: DevServer, shared: RedisServer, channel: str, log: pytest.LogCaptureFixture
) -> None:
    async with linked(shared.url) as link:
        publisher, one, two = (worker(server, link, namespace="n") for _ in range(3))
        async with publisher, one, two:
            for each in (publisher, one, two):
                # Redis is told of the scripts, and the time is known as well as a slow one tells.
                await each.publish((f"{channel}.warm", "t"), 0)
                async with page(each, f"{channel}.warm", rewind=1) as warm:
                    assert await warm.read(1) == [0]
            link.delay = 0.05
            async with page(one, channel) as before:
                await before.opened()
                await publisher.publish((channel, "t"), 1)
                assert await before.read(1) == [1]
            await publisher.publish((channel, "t"), 2)
            async with page(two, channel, before.id) as back:
                assert await back.read(1) == [2]
                server.drop_connections()
                await publisher.publish((channel, "t"), 3)
                assert await back.read(1) == [3]
    assert events(log) == []
