"""Many clients that connect and leave without a word, on every server: no thread, socket or stream is left of them."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import uuid
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from conformance.client import PREFIX, TIMEOUT, Client
from conformance.servers import CASES, RunningServer, ServerCase, running
from inngest_realtime_devserver.server import DevServer

pytestmark = pytest.mark.long

DEPARTURES = int(os.environ.get("CHAOS_DEPARTURES", "500"))
AT_ONCE = 50
GEVENT_POOL = 10  # threads


@pytest.fixture(scope="module", params=CASES, ids=[case.name for case in CASES])
def case(request: pytest.FixtureRequest) -> ServerCase:
    return request.param


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def server(case: ServerCase, inngest: DevServer) -> Iterator[RunningServer]:
    with running(case, inngest.url, CONFORMANCE_HEARTBEAT="0.5") as server:
        yield server


async def come_and_go(url: httpx.URL, number: int, run_id: str) -> None:
    """One client. Every third leaves before the answer, the others after the first bytes; half of all with a reset."""
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, (url.host, url.port))
        path = f"{PREFIX}/pipeline/stream?runId={run_id}-{number % 7}"
        await loop.sock_sendall(peer, f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
        if number % 3:
            received = b""
            while b"retry:" not in received:
                chunk = await asyncio.wait_for(loop.sock_recv(peer, 4096), TIMEOUT)
                assert chunk, received
                received += chunk
        if number % 2:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def departures(url: httpx.URL, count: int) -> None:
    run_id = uuid.uuid4().hex
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(come_and_go(url, number, run_id) for number in range(start, start + AT_ONCE)))


async def settled(client: Client) -> tuple[int, int]:
    """The threads and the TCP sockets of the server's process, once no stream is left.

    Without the threads of pools, which grow to their limits as the load has it.
    """
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)
    stats = await client.stats()
    process = psutil.Process(stats["pid"])
    return process.num_threads() - stats["pooled"], len(process.net_connections("tcp"))


async def test_nothing_is_left(server: RunningServer, note: Callable[..., None]) -> None:
    url = httpx.URL(server.url)
    async with Client(server.url) as client:
        # What servers keep for good is there after the first wave.
        await departures(url, 2 * AT_ONCE)
        before = await settled(client)
        await departures(url, DEPARTURES)
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        after = await settled(client)
        # gevent's pool, whose threads Python does not know, may still grow; what the departures left behind would be
        # hundreds.
        while after[0] > before[0] + GEVENT_POOL or after[1] > before[1]:
            assert asyncio.get_running_loop().time() < deadline, (before, after)
            await asyncio.sleep(0.05)
            after = await settled(client)
    note(
        f"{DEPARTURES} departures from {server.case.name}",
        threads_before=before[0],
        threads_after=after[0],
        sockets_before=before[1],
        sockets_after=after[1],
    )
