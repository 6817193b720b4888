"""What somebody else has put into Redis: who returns to that channel gets a gap, and everybody else notices nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis.scripts import encode_envelope, keys_of, read_kept
from talk import fresh
from test_redis_replay import RedisServer, page, pytestmark, shared, worker
from wire import message_of

__all__ = ["pytestmark", "shared"]

_DEEP = encode_envelope(message_of("DEEP", channel="c")).replace(b'"DEEP"', b"[" * 700 + b"]" * 700)
_POISON = [
    b"",
    b"nonsense",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"kind":7}',
    b'{"kind":"data","data":' + b"[" * 5_000 + b"]" * 5_000 + b',"channel":"c","topic":"t"}',
    _DEEP,
    encode_envelope(message_of(1, channel="another")),
    encode_envelope(message_of("LONG", channel="c")).replace(b'"LONG"', b"1" * 5_000),
]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.sampled_from(_POISON), st.binary(max_size=60)), max_size=4))
def test_what_is_read_is_either_good_or_refused(texts: list[bytes]) -> None:
    answer: list[Any] = [b"1000", b"0", 0]
    for text in texts:
        answer += [b"1", text]
    try:
        kept = read_kept("c", answer, whole=True)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return
    assert all(envelope.channel == "c" for _, envelope in kept.messages)


@pytest.mark.parametrize("poison", _POISON, ids=range(len(_POISON)))
async def test_a_message_that_nobody_can_read(
    server: DevServer, shared: RedisServer, poison: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    channel, other = fresh("redis"), fresh("redis")
    async with worker(server, shared, namespace="poison") as realtime, page(realtime, channel) as first:
        await realtime.publish((channel, "t"), 1)
        assert await first.read(1) == [1]
        after = first.id
    keys = keys_of("inngest-realtime:poison:", channel)
    client = shared.client
    assert client.exists(*keys) > 2
    identity = client.zrange(keys[0], 0, -1)[0]
    client.hset(keys[1], identity, poison.replace(b'"c"', f'"{channel}"'.encode()))
    client.close()
    async with worker(server, shared, namespace="poison") as realtime:
        async with page(realtime, channel, after) as returned:
            assert await returned.read(1) == ["expired"]
            await realtime.publish((channel, "t"), 2)
            assert await returned.read(1) == [2]
        # Redis is asked for other channels as before.
        async with page(realtime, other) as another:
            await realtime.publish((other, "t"), 3)
            assert await another.read(1) == [3]
            place = another.id
        async with page(realtime, other) as _, page(realtime, other, place) as another:
            await realtime.publish((other, "t"), 4)
            assert await another.read(1) == [4]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", ["set", "list", "string"])
async def test_a_key_of_another_kind(server: DevServer, shared: RedisServer, kind: str) -> None:
    channel = fresh("redis")
    client = shared.client
    for key in keys_of("inngest-realtime:poison:", channel):
        {"set": client.sadd, "list": client.rpush, "string": client.set}[kind](key, "x")
    client.close()
    async with worker(server, shared, namespace="poison") as realtime, page(realtime, channel) as reader:
        await realtime.publish((channel, "t"), 1)
        assert await asyncio.wait_for(reader.read(1), 5) == [1]
