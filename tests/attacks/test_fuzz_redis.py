"""What somebody else has put into Redis: who returns to that channel gets a gap, and everybody else notices nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inngest_realtime_core._replay.numbers import Clock
from inngest_realtime_core._upstream.protocol import is_decodable
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


_TEXTS = st.one_of(st.none(), st.sampled_from(_POISON), st.binary(max_size=60))
_HEADS = st.sampled_from([b"", b"1 0 1000 ", b"0 0 1000 ", b"x y z ", b"9999999999999999999999 -1 -1 "])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(_HEADS, _TEXTS).map(lambda pair: None if pair[1] is None else pair[0] + pair[1]), max_size=4),
    st.lists(st.one_of(st.binary(max_size=8), st.sampled_from([b"last", b"t:t", b"7", b"-1"])), max_size=4),
)
@example([b"1 0 1000 " + encode_envelope(message_of(1, channel="c"))], [b"last", b"7"])
@example([b"1 0 1000 " + encode_envelope(message_of(1, channel="another"))], [b"last", b"7"])
@example([b"1 0 1000 " + _DEEP], [b"last", b"7"])
def test_what_is_read_is_either_good_or_refused(texts: list[bytes | None], state: list[bytes]) -> None:
    try:
        kept = read_kept("c", [b"1000", 0, 5, 0, state, texts], Clock(0.0), whole=True)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        good = [b"1 0 1000 " + encode_envelope(message_of(1, channel="c"))]
        assert texts != good or state != [b"last", b"7"]
        return
    assert len(kept.messages) == sum(text is not None for text in texts)
    assert all(envelope.channel == "c" and is_decodable(envelope) for _, envelope in kept.messages)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("poison", _POISON, ids=range(len(_POISON)))
async def test_a_message_that_nobody_can_read(
    server: DevServer, shared: RedisServer, poison: bytes, numbered: bool, caplog: pytest.LogCaptureFixture
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
    numbers = client.hget(keys[1], identity).split(b" ")[:3] if numbered else []
    client.hset(keys[1], identity, b" ".join([*numbers, poison.replace(b'"c"', f'"{channel}"'.encode())]))
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
        # Redis itself is in no trouble, and keeps what is published elsewhere.
        assert realtime.stats().replay_ok, realtime.stats().replay_error


_VALUES = [
    b"",
    b"x",
    b"\xff\xfe",
    b"-1",
    b"0",
    b"9" * 30,
    b"1e400",
    b"nan",
    b'{"a":1}',
    b"\x00" * 10,
    b"1-2-3",
    b"a" * 5_000,
]
_SCORES = [0, -5, 1.5, 1e300, float("inf"), float("-inf")]


def _damage(client: Any, key: bytes, dice: random.Random) -> None:
    """Puts something into a key of ours that this package never puts there, or takes it away."""
    value = dice.choice(_VALUES)
    kind = client.type(key)
    if dice.random() < 0.3:
        client.delete(key)
        dice.choice([lambda: None, lambda: client.set(key, value), lambda: client.rpush(key, value)])()
    elif kind == b"string":
        client.set(key, value)
    elif kind == b"zset":
        client.zadd(key, {value: dice.choice(_SCORES), client.zrange(key, 0, 0)[0]: dice.choice(_SCORES)})
    elif kind == b"hash":
        client.hset(key, dice.choice(client.hkeys(key)), value)
        client.hset(key, value, value)


@pytest.mark.parametrize("seed", range(6))
async def test_anything_in_any_key(
    server: DevServer, shared: RedisServer, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever comes is served: those who come back, maybe with a gap, those who come late, and those who are new."""
    dice = random.Random(seed)
    channel, other, namespace = fresh("redis"), fresh("redis"), fresh("namespace").replace(":", "-")
    async with worker(server, shared, namespace=namespace) as realtime, page(realtime, channel) as first:
        for number in range(4):
            await realtime.publish((channel, "tu"[number % 2]), number)
        await first.read(4)
        after = first.id
    client = shared.client
    keys = list(client.scan_iter(f"*{namespace}*"))
    assert len(keys) >= 2
    for key in keys * 2:
        if client.exists(key):
            _damage(client, key, dice)
    client.close()
    async with worker(server, shared, namespace=namespace) as one, worker(server, shared, namespace=namespace) as two:
        async with page(one, channel, after) as returned, page(two, channel, rewind="all") as late:
            async with page(one, channel) as new, page(two, other) as neighbour:
                await two.publish((channel, "t"), "live")
                await one.publish((other, "t"), "beside")
                for reader, last in ((returned, "live"), (late, "live"), (new, "live"), (neighbour, "beside")):
                    while await reader.read(1) != [last]:
                        pass
    assert "Traceback" not in caplog.text
