"""A server stops at once although streams are open. Left alone, it would wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import pytest

from conformance.client import Client, EventStream
from conformance.servers import ServerCase, running
from inngest_realtime_devserver.server import DevServer
from raw_server import raw_server
from talk import eventually


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
async def test_a_server_stops_in_time(
    case: ServerCase, inngest: DevServer, workers: int, number: signal.Signals
) -> None:
    with running(case, inngest.url, workers=workers) as server:
        async with Client(server.url) as client, contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(client.stream("news/stream")) for _ in range(8)]
            for stream in streams:
                await stream.next_block()
                # A heartbeat. By then a server of threads has handed out all requests: its quick shutdown hangs when it
                # interrupts that (`ThreadPoolExecutor.shutdown` within `submit`).
                await stream.next_block()
            began = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(server.stop, number))
            endings = await asyncio.gather(*(stream.until_end() for stream in streams))
            ended = time.monotonic() - began
            took = await stopping
        assert ended < 1.0
        assert took < case.stops_within
        if number is signal.SIGTERM:  # what Ctrl-C exits with differs between servers
            assert server.process.returncode in (0, -number)
        assert all(ending[-1].retry is not None for ending in endings), "a client is told when to come back"
        assert all(ending[-1].event == "closing" for ending in endings)
        assert "Traceback" not in server.log


async def test_a_server_stops_although_routes_of_an_applications_own_stream(
    case: ServerCase, inngest: DevServer, run_id: str
) -> None:
    with running(case, inngest.url) as server:
        async with Client(server.url) as client, contextlib.AsyncExitStack() as stack:
            streams: list[EventStream] = []
            for route in ("stream", "other/stream"):
                opening = client.http.stream("GET", f"/own/{run_id}/{route}")
                streams.append(EventStream(await stack.enter_async_context(opening)))
                await streams[-1].next_block()
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            endings = await asyncio.gather(*(stream.until_end() for stream in streams))
            took = await stopping
        assert took < case.stops_within
        assert all(ending[-1].event == "closing" for ending in endings)
        assert "Traceback" not in server.log


async def test_a_server_stops_although_inngest_leaves_its_first_stream_waiting(case: ServerCase, run_id: str) -> None:
    with raw_server(lambda connection: connection.recv(1)) as silent, running(case, silent.url) as server:
        async with Client(server.url) as client:
            answer = asyncio.create_task(client.get("pipeline/stream", runId=run_id))
            await eventually(lambda: bool(silent.requests))
            took = await asyncio.to_thread(server.stop)
            refused = await answer
        assert took < case.stops_within
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert server.process.returncode in (0, -signal.SIGTERM)


async def test_a_server_stops_although_inngest_leaves_a_token_waiting(case: ServerCase, run_id: str) -> None:
    with raw_server(lambda connection: connection.recv(1)) as silent, running(case, silent.url) as server:
        async with Client(server.url) as client:
            answer = asyncio.create_task(client.get("pipeline/token", runId=run_id))
            await eventually(lambda: bool(silent.requests))
            took = await asyncio.to_thread(server.stop)
            refused = await answer
        assert took < case.stops_within
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
