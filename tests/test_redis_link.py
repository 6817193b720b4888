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
