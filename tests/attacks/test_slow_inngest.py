"""An Inngest that takes a little less than its time for each step: what waits for all of them is bounded as a whole."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from inngest_realtime_core import Grant, Realtime, allow_anyone
from inngest_realtime_core.endpoints import EndpointRequest, Endpoints, bodies
from raw_server import http_answer, raw_server
from talk import Pipeline

TOKEN = http_answer("201 Created", b'{"jwt":"a.b.c"}', content_type="application/json", connection="close")


def _says_nothing(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


@pytest.mark.parametrize("sync", [False, True])
async def test_a_newcomer_waits_so_long_for_all_steps_together(sync: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the request for a token at once, and no WebSocket ever."""
    monkeypatch.setattr(bodies, "_OPEN_TIMEOUT", 1.0)
    with raw_server(TOKEN, _says_nothing) as server:
        async with Realtime(api_base_url=server.url) as realtime:
            endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=allow_anyone)])
            request = EndpointRequest("GET", "runId=a", {}, None)
            began = time.monotonic()
            answer: Any = (
                await asyncio.to_thread(endpoints.stream_sync, "pipeline", request)
                if sync
                else await endpoints.stream("pipeline", request)
            )
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert b'"inngest_unreachable"' in answer.body
            assert time.monotonic() - began < 6
            assert realtime.stats().endpoint_streams == 0
            await asyncio.to_thread(realtime.close_sync)
    assert [request.partition(b" ")[0] for request in server.requests[:2]] == [b"POST", b"GET"]
