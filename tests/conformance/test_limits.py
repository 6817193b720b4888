"""What one client can cause."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from conformance.client import PREFIX, TIMEOUT, Client
from conformance.servers import RunningServer, ServerCase, running
from conformance.test_endpoint_errors import check
from inngest_realtime_devserver.server import DevServer

MEMBER = {"x-user": "member"}


async def test_a_body_that_is_too_large(client: Client, server: RunningServer, run_id: str) -> None:
    body = json.dumps({"runId": run_id, "topics": ["tokens"] * 20_000}).encode()
    check(await client.post("pipeline/token", content=body), 413, "body_too_large")
    # Its length is enough: nothing of it is waited for.
    url = httpx.URL(server.url)
    head = f"POST {PREFIX}/pipeline/token HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    if not server.case.reads_bodies_whole:
        with socket.create_connection((url.host, url.port), TIMEOUT) as peer:
            peer.sendall(head.encode())
            answer = await asyncio.to_thread(peer.recv, 4096)
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_deep_json_and_long_names(client: Client, run_id: str) -> None:
    deep = b'{"runId":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    check(await client.post("pipeline/token", content=deep), 400, "malformed_body")
    twice = b'{"runId": "a", "runId": "a"}'
    check(await client.post("pipeline/token", content=twice), 400, "repeated_parameter", "runId")
    for endpoint in ("token", "stream"):
        long = await client.get(f"pipeline/{endpoint}", run_id="x" * 600)
        check(long, 422, "invalid_parameter", "run_id")
        many = await client.http.get(f"{PREFIX}/pipeline/{endpoint}?runId={run_id}" + "&a=1" * 300)
        check(many, 400, "too_many_parameters")


async def test_what_one_client_may_ask_for_in_a_burst(client: Client, run_id: str) -> None:
    headers = {"x-client": run_id}
    answers = [await client.get("pipeline/token", runId=run_id, headers=headers) for _ in range(140)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    assert answers.index(refused[0]) >= 100
    check(refused[0], 429, "too_many_requests")
    assert int(refused[0].headers["retry-after"]) > 0
    other = await client.get("pipeline/token", runId=run_id, headers={"x-client": f"{run_id}-other"})
    assert other.status_code == 200


@pytest.fixture(scope="module")
def strict(case: ServerCase, inngest: DevServer) -> Iterator[RunningServer]:
    """A server of little patience."""
    limits = {"CONFORMANCE_SEND_TIMEOUT": "1", "CONFORMANCE_AUTHORIZE_TIMEOUT": "0.5", "CONFORMANCE_HEARTBEAT": "0.5"}
    with running(case, inngest.url, **limits) as server:
        yield server


async def test_a_client_that_stops_reading(strict: RunningServer, inngest: DevServer, run_id: str) -> None:
    await stop_reading(strict, inngest, run_id, f"{PREFIX}/pipeline/stream?runId={run_id}")


async def test_a_client_that_stops_reading_from_an_applications_own_route(
    strict: RunningServer, inngest: DevServer, run_id: str
) -> None:
    await stop_reading(strict, inngest, run_id, f"/own/{run_id}/stream")


async def stop_reading(strict: RunningServer, inngest: DevServer, run_id: str, path: str) -> None:
    url = httpx.URL(strict.url)
    async with Client(strict.url) as client:
        with socket.create_connection((url.host, url.port), TIMEOUT) as peer:
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert await asyncio.to_thread(peer.recv, 10)
            await client.until_stats(lambda stats: stats["subscriptions"] == 1)
            for _ in range(30):
                await inngest.publish(f"pipeline:{run_id}", "tokens", "x" * 500_000)
            took = await client.until_stats(lambda stats: stats["subscriptions"] == 0, timeout=10)
    assert took < 6


@pytest.mark.parametrize("grant", ["slow", "slow-async"])
@pytest.mark.parametrize("endpoint", ["token", "stream"])
async def test_an_authorize_that_hangs(strict: RunningServer, number: int, grant: str, endpoint: str) -> None:
    if grant == "slow" and not strict.case.interrupts_functions:
        return
    async with Client(strict.url) as client:
        began = time.monotonic()
        headers = {"x-sleep": "3"}
        response = await client.get(f"{grant}/{endpoint}", orgId="acme", number=number, headers=headers)
        assert time.monotonic() - began < 2.5
        check(response, 503, "authorize_timeout")
        assert int(response.headers["retry-after"]) > 0
        quick = await client.get(f"{grant}/token", orgId="acme", number=number, headers={"x-sleep": "0"})
        assert quick.status_code == 200
