"""The first bytes of a stream while the Redis that keeps what clients missed does not reply."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.client import Client
from conformance.servers import ServerCase, running
from inngest_realtime_devserver.server import DevServer
from test_redis_replay import RedisServer
from test_redis_replay import pytestmark as needs_redis

pytestmark = needs_redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


async def _first_byte(client: Client, path: str) -> float:
    """Seconds until the first byte of a stream; then its first event has come, with an id."""
    began = time.monotonic()
    async with client.http.stream("GET", path) as response:
        assert response.status_code == 200, await response.aread()
        read = b""
        took = 0.0
        async for chunk in response.aiter_raw():
            took = took or time.monotonic() - began
            read += chunk
            if b"\n\n" in read:
                break
    assert read.startswith(b"retry: 1000\nid: ")
    assert b"\nevent: ready\n" in read
    return took


async def test_they_leave_before_redis_has_answered(
    case: ServerCase, inngest: DevServer, run_id: str, redis: RedisServer
) -> None:
    paths = (
        "/api/realtime/pipeline/stream?runId={}",
        "/api/realtime/history/stream?runId={}&rewind=all",
        "/own/{}/stream",
        "/own/{}/stream?rewind=5",
    )
    with running(case, inngest.url, CONFORMANCE_REDIS=redis.url) as server:
        async with Client(server.url) as client:
            # The process has its connections, and knows how to answer.
            usual = [await _first_byte(client, path.format(f"{run_id}-{n}")) for n, path in enumerate(paths)]
            redis.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            hung = await asyncio.gather(
                *(_first_byte(client, path.format(f"{run_id}-hung-{n}")) for n, path in enumerate(paths))
            )
            assert time.monotonic() - began > 0.4, "Redis was not asked"
            assert max(hung) < max(usual) + 0.2
            assert (await client.stats())["replay_ok"] is not None
