"""What a `RedisReplay` is made of: URLs and clients, with options of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from inngest_realtime_core import ConfigurationError, Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from test_redis_replay import RedisServer, channel, page, pytestmark, shared

__all__ = ["channel", "pytestmark", "shared"]


@pytest.mark.parametrize(
    "of",
    [
        lambda url: f"{url}?decode_responses=true&max_connections=1",
        lambda url: redis.Redis.from_url(url, decode_responses=True),
        lambda url: redis.asyncio.Redis.from_url(url, decode_responses=True),
        lambda url: redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(url, max_connections=1)),
    ],
    ids=["url", "client", "async client", "pool"],
)
async def test_replies_are_read_whatever_a_client_makes_of_them(
    server: DevServer, shared: RedisServer, channel: str, of: Callable[[str], Any]
) -> None:
    replay = RedisReplay(of(shared.url), namespace="n")
    async with Realtime(api_base_url=server.url, replay=replay) as one:
        await one.publish((channel, "t"), 1)
        async with page(one, channel, rewind="all") as late:
            assert await late.read(1) == [1]


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
def test_a_client_with_tls_is_taken(kind: Any) -> None:
    RedisReplay(kind(ssl=True, ssl_check_hostname=False, ssl_cert_reqs="none"))


@pytest.mark.parametrize(
    "source",
    [
        "redis://user:secret@localhost?no_such_option=1",
        redis.Redis(ssl=True, ssl_validate_ocsp=True, password="secret"),
    ],
)
def test_options_that_would_fail_each_connection_are_refused_when_given(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="does not take all options") as refused:
        RedisReplay(source)
    assert "secret" not in str(refused.value)


async def test_a_wrong_number_of_a_database_is_named(server: DevServer, shared: RedisServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, replay=RedisReplay(f"{shared.url}?db=99")) as one:
        await one.publish((channel, "t"), 1)
        assert "it has no database of that number" in (one.stats().replay_error or "")
