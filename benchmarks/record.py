"""What a record in Redis costs: commands and bytes of a published message, of a received one, and of an idle channel.

Commands are those that are sent to Redis; what its scripts call there is counted beside them. Messages have 1 KB.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple, cast

import redis

from inngest_realtime_core import Realtime
from inngest_realtime_redis import RedisReplay

from .inngest import Inngest
from .report import Figure, at_most, only
from .resume import redis_server

__all__ = ["run"]

MESSAGES: Final = 400
RECEIVERS: Final = 2  # processes that receive
IDLE: Final = 3_000  # channels
IDLE_SECONDS: Final = 20.0
_PAYLOAD: Final = "x" * 1_000


class _Usage(NamedTuple):
    """What Redis has had to do so far."""

    commands: int
    calls: int
    bytes_in: int
    bytes_out: int

    @classmethod
    def of(cls, client: Any) -> _Usage:
        stats = client.info("commandstats")
        sent = sum(
            stats.get(f"cmdstat_{name}", {}).get("calls", 0)
            for name in ("evalsha", "eval", "script|exists", "script|load", "ping", "client|setinfo")
        )
        all_ = client.info("stats")
        return cls(
            sent, all_["total_commands_processed"], all_["total_net_input_bytes"], all_["total_net_output_bytes"]
        )

    def since(self, before: _Usage, count: int) -> list[float]:
        return [(now - then) / count for now, then in zip(self, before, strict=True)]


def run() -> list[Figure]:
    with Inngest() as inngest, redis_server() as url:
        if url is None:
            return [Figure("a record in Redis", "not measured", note="there is no redis-server here")]
        return asyncio.run(_measure(inngest.url, url))


async def _measure(inngest: str, url: str) -> list[Figure]:
    client = cast("Any", redis.Redis).from_url(url)
    try:
        return [
            *await _publishing(inngest, url, client),
            *await _receiving(inngest, url, client),
            await _idle(inngest, url, client),
        ]
    finally:
        client.close()


def _figures(what: str, usage: list[float], most: float, note: str) -> list[Figure]:
    return [
        at_most(f"{what}: commands", usage[0], most, "", note),
        only(f"{what}: calls in Redis", usage[1], "", note),
        only(f"{what}: bytes to Redis", usage[2], "bytes", note),
        only(f"{what}: bytes from Redis", usage[3], "bytes", note),
    ]


async def _publishing(inngest: str, url: str, client: Any) -> list[Figure]:
    async with Realtime(api_base_url=inngest, replay=RedisReplay(url)) as realtime:
        await realtime.publish(("record:publishing", "t"), _PAYLOAD)
        before = _Usage.of(client)
        for _ in range(MESSAGES):
            await realtime.publish(("record:publishing", "t"), _PAYLOAD)
    note = f"{MESSAGES} of 1 KB, one after the other, to one channel"
    return _figures("a published message", _Usage.of(client).since(before, MESSAGES), 1.5, note)


async def _receiving(inngest: str, url: str, client: Any) -> list[Figure]:
    """Published by a process without a record, so that this is all that receipt costs."""
    channel = "record:receiving"
    async with Realtime(api_base_url=inngest) as publisher:
        receivers = [Realtime(api_base_url=inngest, replay=RedisReplay(url)) for _ in range(RECEIVERS)]
        subscriptions = [await each.subscribe(channel=channel, topics=["t"]) for each in receivers]
        await asyncio.sleep(0.5)  # until they are marked
        before = _Usage.of(client)
        for _ in range(MESSAGES):
            await publisher.publish((channel, "t"), _PAYLOAD)
        for subscription in subscriptions:
            for _ in range(MESSAGES):
                await subscription.receive(timeout=10)
            subscription.close()
        for each in receivers:
            await each.close()
    note = f"{MESSAGES} of 1 KB, for each of {RECEIVERS} processes"
    return _figures("a received message", _Usage.of(client).since(before, MESSAGES * RECEIVERS), 2.5, note)


async def _idle(inngest: str, url: str, client: Any) -> Figure:
    async with Realtime(api_base_url=inngest, replay=RedisReplay(url)) as realtime:
        opening = (realtime.subscribe(channel=f"record:idle:{number}", topics=["t"]) for number in range(IDLE))
        subscriptions = await asyncio.gather(*opening)
        await asyncio.sleep(2)
        before, began = _Usage.of(client), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        seconds = time.monotonic() - began
        # Less what it takes to find out.
        calls = _Usage.of(client).calls - before.calls - 2
        for subscription in subscriptions:
            subscription.close()
    return at_most(f"{IDLE:,} idle channels: commands a second", calls / seconds, 1.0, "", f"{IDLE_SECONDS:.0f} s")
