from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any

import httpx
import pytest

from conformance.client import PREFIX, TIMEOUT, Client, EventStream
from conformance.servers import RunningServer
from inngest_realtime_devserver.server import DevServer

pytestmark = pytest.mark.departures


def nobody_listens(stats: dict[str, Any]) -> bool:
    return stats["subscriptions"] == 0


@pytest.fixture(autouse=True)
async def others_have_left(client: Client) -> None:
    """What other tests have opened on this server is closed."""
    await client.until_stats(nobody_listens)


@contextlib.asynccontextmanager
async def raw_stream(server: RunningServer, run_id: str) -> Any:
    """A stream on a bare socket, once its first bytes have come; leaving the block resets the connection."""
    url = httpx.URL(server.url)
    loop = asyncio.get_running_loop()
    peer = socket.socket()
    try:
        peer.setblocking(False)
        await loop.sock_connect(peer, (url.host, url.port))
        request = f"GET {PREFIX}/pipeline/stream?runId={run_id} HTTP/1.1\r\nHost: {url.host}\r\n\r\n"
        await loop.sock_sendall(peer, request.encode())
        received = b""
        while b"retry:" not in received:
            received += await asyncio.wait_for(loop.sock_recv(peer, 4096), TIMEOUT)
        yield peer
    finally:
        # Linger of 0: the close is a reset, as when a device goes away.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


async def test_a_client_that_leaves_frees_its_stream(client: Client, server: RunningServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await stream.next_block()
        assert (await client.stats())["subscriptions"] == 1
    took = await client.until_stats(nobody_listens)
    assert took < (0.5 if server.case.notices_disconnects else 2.0)


@pytest.mark.parametrize("route", ["stream", "other/stream"])
async def test_a_client_that_leaves_a_route_of_an_applications_own(
    client: Client, server: RunningServer, inngest: DevServer, run_id: str, route: str
) -> None:
    async with client.http.stream("GET", f"/own/{run_id}/{route}") as response:
        stream = EventStream(response)
        await stream.next_block()
        assert (await client.stats())["subscriptions"] == 1
    if not server.case.notices_disconnects:  # not before it writes, which it does 10 s later without this
        await inngest.publish(f"pipeline:{run_id}", "tokens", "who is there?")
    took = await client.until_stats(nobody_listens)
    assert took < (0.5 if server.case.notices_disconnects else 2.0)


async def test_a_client_that_is_reset_while_being_sent_to(
    client: Client, server: RunningServer, inngest: DevServer, run_id: str
) -> None:
    text = "x" * 500_000
    async with raw_stream(server, run_id):
        # Nobody reads: after the buffers of both sockets are full the server is in the middle of a send.
        for _ in range(20):
            await inngest.publish(f"pipeline:{run_id}", "tokens", text)
        await client.until_stats(lambda stats: stats["subscriptions"] == 1)
    await client.until_stats(nobody_listens)


async def test_a_client_that_leaves_before_the_first_byte(client: Client, server: RunningServer, run_id: str) -> None:
    url = httpx.URL(server.url)
    for _ in range(20):
        with socket.create_connection((url.host, url.port)) as peer:
            peer.sendall(f"GET {PREFIX}/pipeline/stream?runId={run_id} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await stream.next_block()
    await client.until_stats(nobody_listens)


async def test_nothing_is_left_of_many_clients(client: Client, server: RunningServer, run_id: str) -> None:
    printed = len(server.log)
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await stream.next_block()
    before = await client.stats()

    async def come_and_go(number: int) -> None:
        if number % 2:
            async with raw_stream(server, f"{run_id}-{number % 5}"):
                pass
        else:
            async with client.stream("pipeline/stream", runId=f"{run_id}-{number % 5}") as stream:
                await stream.next_block()

    for start in range(0, 100, 20):
        await asyncio.gather(*(come_and_go(number) for number in range(start, start + 20)))
    await client.until_stats(nobody_listens)
    after = await client.stats()
    assert after["sockets"] <= before["sockets"]
    assert "Traceback" not in server.log[printed:]
