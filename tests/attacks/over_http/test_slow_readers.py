"""Clients that open a stream and read nothing of it: what they cost is bounded, and nobody else notices them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import httpx
import psutil
import pytest

from conformance.client import PREFIX, Client
from conformance.servers import ServerCase, running
from inngest_realtime_devserver.server import DevServer

MIB = 2**20
CLIENTS = 6
MESSAGES = 100
SIZE = 500_000


@pytest.mark.timeout(180)
async def test_memory_that_clients_who_do_not_read_can_take(case: ServerCase, inngest: DevServer, run_id: str) -> None:
    """8 MiB for each of them, as many MiB as the history of its channel may have, and what is on its way."""
    if case.name not in ("fastapi-uvicorn", "django-uvicorn", "flask-gunicorn"):
        pytest.skip("buffers are the core's: one server of each kind is enough for what takes this long")
    with running(case, inngest.url, CONFORMANCE_SEND_TIMEOUT="600") as server, contextlib.ExitStack() as peers:
        address = httpx.URL(server.url)
        async with Client(server.url) as client:
            process = psutil.Process((await client.stats())["pid"])
            for number in range(CLIENTS):
                peer = peers.enter_context(socket.socket())
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                peer.settimeout(20)
                peer.connect((address.host, address.port))
                path = f"{PREFIX}/pipeline/stream?runId={run_id}-{number}"
                peer.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert (await asyncio.to_thread(peer.recv, 100)).startswith(b"HTTP/1.1 200 ")
            before = process.memory_info().rss
            highest, slowest = before, 0.0
            for message in range(MESSAGES):
                for number in range(CLIENTS):
                    channel = f"pipeline:{run_id}-{number}"
                    await asyncio.to_thread(inngest.publish_sync, channel, "tokens", f"{message}" + "x" * SIZE)
                began = time.monotonic()
                stats = await client.stats()
                slowest = max(slowest, time.monotonic() - began)
                highest = max(highest, process.memory_info().rss)
                assert stats["buffer_bytes"] <= CLIENTS * 8 * MIB
            # 286 MiB were published.
            assert highest - before < 120 * MIB, f"{(highest - before) / MIB:.0f} MiB"
            assert slowest < 5
            print(f"{case.name}: {(highest - before) / MIB:.0f} MiB more, other pages {slowest * 1e3:.0f} ms at most")
            peers.close()
            deadline = time.monotonic() + 30
            while (await client.stats())["endpoint_streams"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert (await client.stats())["buffer_bytes"] == 0
