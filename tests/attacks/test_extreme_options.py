"""Options at their bounds, as large as they are taken: nothing that they are handed to overflows later."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from inngest_realtime_core import Grant, Realtime, Replay, allow_anyone
from inngest_realtime_core.arguments import MAX_COUNT, MAX_SECONDS
from inngest_realtime_core.endpoints import EndpointRequest, Endpoints, StreamAnswer, SyncStreamAnswer
from inngest_realtime_core.endpoints.options import EndpointOptions
from inngest_realtime_core.endpoints.wsgi import watched
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline

OPTIONS = EndpointOptions(
    heartbeat=MAX_SECONDS,
    max_streams=MAX_COUNT,
    max_streams_per_client=MAX_COUNT,
    rate_per_client=1e-6,
    burst_per_client=1,
    client=lambda request: "ada",
    authorize_timeout=MAX_SECONDS,
    send_timeout=MAX_SECONDS,
    max_body=MAX_COUNT,
    max_channel_length=MAX_COUNT,
)


def everything_at_most(server: DevServer) -> Realtime:
    return Realtime(
        api_base_url=server.url,
        ping_interval=MAX_SECONDS,
        ping_timeout=MAX_SECONDS,
        linger=MAX_SECONDS,
        buffer_size=MAX_COUNT,
        buffer_bytes=MAX_COUNT,
        total_buffer_bytes=MAX_COUNT,
        replay=Replay(size=MAX_COUNT, max_age=MAX_SECONDS, max_bytes=MAX_COUNT),
    )


def endpoints_for(realtime: Realtime) -> Endpoints:
    grant = Grant(
        Pipeline,
        authorize=allow_anyone,
        rewind=MAX_COUNT,
        rewind_default=MAX_COUNT,
        heartbeat=MAX_SECONDS,
        reauthorize_every=MAX_SECONDS,
    )
    return Endpoints(realtime, [grant], OPTIONS)


def asked(run_id: str) -> EndpointRequest:
    return EndpointRequest("GET", f"runId={run_id}", {}, None)


async def test_streams_and_endpoint_errors(server: DevServer) -> None:
    async with everything_at_most(server) as realtime:
        endpoints = endpoints_for(realtime)
        answer = await endpoints.stream("pipeline", asked("a"))
        assert isinstance(answer, StreamAnswer)
        assert b"event: ready" in await anext(answer.body)
        await realtime.publish(Pipeline(run_id="a").status, {"message": "one"})  # type: ignore[arg-type]
        assert b'"one"' in await asyncio.wait_for(anext(answer.body), 5)
        await answer.body.aclose()
        refused: Any = await endpoints.token("pipeline", asked("b"))
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1000000")
        async with realtime.subscribe(channel="extreme", topics=["t"], rewind=MAX_COUNT) as subscription:
            await realtime.publish(("extreme", "t"), 1)
            message = await subscription.receive(timeout=MAX_SECONDS)
            assert message is not None
            assert message.data == 1


@pytest.fixture
def threaded() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


def test_sync_streams(threaded: DevServer) -> None:
    realtime = everything_at_most(threaded)
    ours, peer = socket.socketpair()
    with ours, peer:
        answer = endpoints_for(realtime).stream_sync("pipeline", asked("c"))
        assert isinstance(answer, SyncStreamAnswer)
        body = watched(answer.body, {"gunicorn.socket": ours}, answer.send_timeout)
        assert b"event: ready" in next(body)
        realtime.publish_sync(Pipeline(run_id="c").status, {"message": "one"})  # type: ignore[arg-type]
        assert b'"one"' in next(body)
        body.close()
    with realtime.subscribe_sync(channel="extreme-sync", topics=["t"]) as subscription:
        realtime.publish_sync(("extreme-sync", "t"), 1)
        message = subscription.receive(timeout=MAX_SECONDS)
        assert message is not None
        assert message.data == 1
    realtime.close_sync()
