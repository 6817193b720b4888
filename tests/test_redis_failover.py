"""A Redis that comes back with less than it had, or is replaced by one that has less: what is missing is told of."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from redis_link import linked
from test_redis_replay import RedisServer, channel, held_publishes, own, page, pytestmark, until, worker
from test_redis_sharing import free_port

__all__ = ["channel", "own", "pytestmark"]


async def test_a_redis_that_loads_what_it_had_saved(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own) as publisher, worker(server, own) as one, worker(server, own) as two:
        async with page(one, channel) as before:
            await publisher.publish((channel, "t"), 1)
            assert await before.read(1) == [1]
        own.client.save()
        await publisher.publish((channel, "t"), "forgotten")
        own.process.kill()
        own.process.communicate()
        own.start()
        await publisher.publish((channel, "t"), 2)
        async with page(two, channel, before.id) as back, page(two, channel, rewind="all") as late:
            assert await back.read(1) == ["expired"]
            await publisher.publish((channel, "t"), 3)
            assert await back.read(1) == await late.read(1) == [3], "and not what has a hole in it"
        # From then on it keeps all again.
        await publisher.publish((channel, "t"), 4)
        async with page(one, channel, back.id) as again:
            assert await again.read(1) == [4]


async def test_what_was_recorded_before_and_is_received_afterwards(
    server: DevServer, own: RedisServer, channel: str
) -> None:
    """It has no number then, and those who have had later ones do not get it."""
    with held_publishes(server) as (url, gate):
        slow = Realtime(api_base_url=url, replay=RedisReplay(own.url, namespace="n"))
        publisher, one, two = (worker(server, own, namespace="n") for _ in range(3))
        async with slow, publisher, one, two:
            sending = asyncio.create_task(slow.publish((channel, "t"), "recorded before"))
            await until(lambda: own.client.keys(f"*{{{channel}}}:order"))
            own.client.save()
            own.process.kill()
            own.process.communicate()
            own.start()
            async with page(one, channel) as reading:
                await reading.opened()
                gate.set()
                await sending
                assert await reading.read(1) == ["recorded before"]
                async with page(two, channel) as before:
                    await before.opened()
                    await publisher.publish((channel, "t"), 1)
                    await publisher.publish((channel, "u"), 1)
                    assert await before.read(2) == [1, 1]
                assert await reading.read(2) == [1, 1]
                async with page(one, channel, before.id) as back:
                    await publisher.publish((channel, "t"), 2)
                    assert await back.read(1) == [2]


async def test_a_replica_that_takes_the_place_of_its_primary(server: DevServer, tmp_path: Path, channel: str) -> None:
    """As a Sentinel lets one: who was written to last had not passed it on."""
    port = free_port()
    directories = [tmp_path / name for name in ("primary", "replica")]
    for directory in directories:
        directory.mkdir()
    primary = RedisServer(directories[0], "--port", str(port), "--repl-diskless-sync-delay", "0")
    replica = RedisServer(directories[1], "--replicaof", "127.0.0.1", str(port))
    try:
        async with linked(primary.url) as link, worker(server, link) as publisher:
            async with worker(server, link) as one, worker(server, link) as two:
                async with page(one, channel) as before:
                    await publisher.publish((channel, "t"), 1)
                    assert await before.read(1) == [1]
                await until(lambda: replica.client.keys(f"*{{{channel}}}:order"))
                replica.client.execute_command("REPLICAOF", "NO", "ONE")
                await publisher.publish((channel, "t"), "not passed on")
                link.lead_to(replica.url)
                await publisher.publish((channel, "t"), 2)
                async with page(two, channel, before.id) as back:
                    assert await back.read(1) == ["expired"]
                    await publisher.publish((channel, "t"), 3)
                    assert await back.read(1) == [3]
                await publisher.publish((channel, "t"), 4)
                async with page(one, channel, back.id) as again:
                    assert await again.read(1) == [4]
    finally:
        primary.stop()
        replica.stop()
