"""Who is rate-limited: a client that asks for what is new, and not one that comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.serving import make_server

from conformance.client import Client
from conformance.serving import serving
from conformance.site import PREFIX, whose
from inngest_realtime_core import Grant, Realtime, allow_anyone
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_flask import realtime_blueprint
from inngest_realtime_starlette import realtime_routes
from talk import Pipeline

ADA = {"x-client": "ada"}
# A burst of three, and no more for the length of a test.
SPARING: Any = {"rate_per_client": 0.001, "burst_per_client": 3}


@pytest.fixture
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@contextmanager
def _flask(realtime: Realtime, grants: list[Grant]) -> Iterator[str]:
    app = Flask(__name__)
    app.register_blueprint(
        realtime_blueprint(realtime, grants, client=whose, heartbeat=0.1, **SPARING), url_prefix=PREFIX
    )
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _starlette(realtime: Realtime, grants: list[Grant]) -> Any:
    return serving(Starlette(routes=[Mount(PREFIX, routes=realtime_routes(realtime, grants, client=whose, **SPARING))]))


@pytest.fixture(params=[_starlette, _flask])
async def client(request: pytest.FixtureRequest, realtime: Realtime) -> AsyncIterator[Client]:
    with request.param(realtime, [Grant(Pipeline, authorize=allow_anyone)]) as url:
        async with Client(url) as client:
            yield client
        realtime.begin_shutdown()


@pytest.fixture
def realtime(inngest: DevServer) -> Realtime:
    return Realtime(api_base_url=inngest.url, linger=0)


async def until_closed(realtime: Realtime) -> None:
    deadline = time.monotonic() + 5
    while realtime.stats().channels:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def spend_all(client: Client) -> None:
    answers = [await client.get("pipeline/token", runId="spent", headers=ADA) for _ in range(4)]
    assert answers[-1].status_code == 429


async def stream(client: Client, run_id: str, event_id: str = "", **parameters: str) -> int:
    headers = {**ADA, "Last-Event-ID": event_id} if event_id else ADA
    url = f"{PREFIX}/pipeline/stream"
    async with client.http.stream("GET", url, params={"runId": run_id, **parameters}, headers=headers) as response:
        return response.status_code


async def test_an_authentic_id_is_never_rate_limited(client: Client, realtime: Realtime) -> None:
    async with client.stream("pipeline/stream", runId="a", headers=ADA) as opened:
        event_id = (await opened.next_block()).id
    assert event_id
    await until_closed(realtime)
    await spend_all(client)
    for _ in range(5):
        assert await stream(client, "a", event_id) == 200
        await until_closed(realtime)
    assert await stream(client, "a", lastEventId=event_id) == 200
    await until_closed(realtime)
    # It is an id of this channel, and nobody makes one up.
    assert await stream(client, "b", event_id) == 429
    forged = event_id[:-1] + ("A" if event_id[-1] != "A" else "B")
    for other in (forged, "1", event_id.upper() + "x"):
        assert await stream(client, "a", other) == 429


async def test_a_channel_that_is_open_is_not_new(client: Client, realtime: Realtime) -> None:
    async with client.stream("pipeline/stream", runId="open", topics="status") as other:
        await other.next_block()
        await spend_all(client)
        for _ in range(5):
            assert await stream(client, "open", topics="status") == 200
        assert await stream(client, "open") == 429  # with topics that nobody reads
    await until_closed(realtime)
    assert await stream(client, "open", topics="status") == 429
