from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware, gzip
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from conformance.client import Client
from conformance.serving import serving
from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_starlette import RealtimeStreamingResponse, allow_anyone, realtime_lifespan, realtime_routes


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Any)


GRANTS = [Grant(Pipeline, authorize=allow_anyone)]


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
async def realtime(inngest: DevServer) -> AsyncIterator[Realtime]:
    async with Realtime(api_base_url=inngest.url, linger=0) as realtime:
        yield realtime


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


async def until_free(realtime: Realtime) -> None:
    deadline = time.monotonic() + 5
    while realtime.stats().subscriptions:
        assert time.monotonic() < deadline, realtime.stats()
        await asyncio.sleep(0.005)


# Over a real server


async def passthrough(request: Request) -> Response:
    realtime: Realtime = request.app.state.realtime
    stream = await realtime.subscribe(channel=Pipeline(run_id=request.path_params["run_id"]), topics=["status"])
    # The heartbeat is for servers that announce ASGI 2.4: there Starlette notices a disconnect when it sends.
    return StreamingResponse(stream.get_encoded_stream(heartbeat=0.5), media_type="text/event-stream")


async def own(request: Request) -> Response:
    realtime: Realtime = request.app.state.realtime
    stream = await realtime.subscribe(channel=Pipeline(run_id=request.path_params["run_id"]), topics=["status"])
    return RealtimeStreamingResponse(
        stream, headers={"X-Own": "1"}, heartbeat=0.1, last_event_id=request.headers.get("last-event-id")
    )


async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    return await call_next(request)


MIDDLEWARES = {
    "bare": [],
    "base-http": [Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
}
if hasattr(gzip, "DEFAULT_EXCLUDED_CONTENT_TYPES"):
    # Older versions of Starlette compress event streams too, and hold them back by that.
    MIDDLEWARES["gzip"] = [Middleware(gzip.GZipMiddleware, minimum_size=1)]


def application(realtime: Realtime, middleware: list[Middleware] | None = None, **options: Any) -> Starlette:
    routes = [
        Mount("/api/realtime", routes=realtime_routes(realtime, GRANTS, heartbeat=0.1), name="realtime"),
        Route("/passthrough/{run_id}", passthrough),
        Route("/own/{run_id}", own),
    ]
    app = Starlette(routes=routes, middleware=middleware or [], **options)
    app.state.realtime = realtime
    return app


@pytest.mark.parametrize("middleware", MIDDLEWARES.values(), ids=MIDDLEWARES)
@pytest.mark.parametrize("path", ["/api/realtime/pipeline/stream?runId={}", "/passthrough/{}", "/own/{}"])
async def test_a_stream_arrives_and_is_freed(
    realtime: Realtime, inngest: DevServer, run_id: str, middleware: list[Middleware], path: str
) -> None:
    with serving(application(realtime, middleware)) as url:
        async with Client(url) as client, client.http.stream("GET", path.format(run_id)) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
            await inngest.publish(f"pipeline:{run_id}", "status", "on its way")
            async for line in response.aiter_lines():
                if line.startswith("data:") and '"ready"' not in line:
                    assert json.loads(line.removeprefix("data:"))["data"] == "on its way"
                    break
            assert realtime.stats().subscriptions == 1
        await until_free(realtime)


async def test_an_own_route_adds_headers_heartbeats_and_ids(
    realtime: Realtime, inngest: DevServer, run_id: str
) -> None:
    with serving(application(realtime)) as url:
        async with Client(url) as client, client.http.stream("GET", f"/own/{run_id}") as response:
            assert response.headers["x-own"] == "1"
            assert response.headers["x-accel-buffering"] == "no"
            await inngest.publish(f"pipeline:{run_id}", "status", 1)
            seen: set[str] = set()
            async for line in response.aiter_lines():
                seen.add(line.partition(":")[0])
                if {"retry", "", "id", "data"} <= seen:
                    break
        await until_free(realtime)


async def test_routes_have_names(realtime: Realtime) -> None:
    app = application(realtime)
    assert app.url_path_for("realtime:realtime_token", grant="pipeline") == "/api/realtime/pipeline/token"
    assert app.url_path_for("realtime:realtime_stream", grant="pipeline") == "/api/realtime/pipeline/stream"


async def test_the_lifespan_closes(inngest: DevServer, run_id: str) -> None:
    realtime = Realtime(api_base_url=inngest.url)
    with serving(application(realtime, lifespan=realtime_lifespan(realtime))) as url:
        async with Client(url) as client, client.stream("pipeline/stream", runId=run_id) as stream:
            await stream.next_block()
        await until_free(realtime)
        assert realtime.stats().sockets == 1  # it lingers
    assert realtime.stats().sockets == 0


# The response alone, as an ASGI application


class Peer:
    """What a server and its client do: `receive` and `send`, with a chosen misbehaviour."""

    def __init__(
        self, *, leaves: bool = False, blocks_after: int | None = None, breaks_after: int | None = None
    ) -> None:
        self.left = asyncio.Event()
        if leaves:
            self.left.set()
        self.blocks_after = blocks_after
        self.breaks_after = breaks_after
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.breaks_after is not None and len(self.sent) >= self.breaks_after:
            raise OSError("The client has gone.")
        if self.blocks_after is not None and len(self.sent) >= self.blocks_after:
            await asyncio.Event().wait()
        self.sent.append(message)


@pytest.fixture(params=["2.3", "2.4"])
def scope(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"type": "http", "asgi": {"version": "3.0", "spec_version": request.param}}


@pytest.mark.parametrize(
    "misbehaviour", [{"leaves": True}, {"breaks_after": 0}, {"breaks_after": 1}, {"breaks_after": 2}]
)
async def test_whoever_goes_away_frees_the_stream(
    realtime: Realtime, run_id: str, scope: dict[str, Any], misbehaviour: dict[str, Any]
) -> None:
    ran: list[bool] = []
    stream = await realtime.subscribe(channel=Pipeline(run_id=run_id))
    response = RealtimeStreamingResponse(stream, heartbeat=0.05, background=BackgroundTask(ran.append, True))
    peer = Peer(**misbehaviour)
    await asyncio.wait_for(response(scope, peer.receive, peer.send), 5)
    assert ran == [True]
    del response, stream  # what was never sent is freed with the response
    await until_free(realtime)


async def test_a_send_that_blocks_ends_the_stream(realtime: Realtime, run_id: str, scope: dict[str, Any]) -> None:
    stream = await realtime.subscribe(channel=Pipeline(run_id=run_id))
    peer = Peer(blocks_after=3)
    began = time.monotonic()
    response = RealtimeStreamingResponse(stream, heartbeat=0.3, send_timeout=0.2)
    await asyncio.wait_for(response(scope, peer.receive, peer.send), 5)
    assert 0.4 < time.monotonic() - began < 2.0  # an idle stream is not a blocked one
    assert realtime.stats().subscriptions == 0


async def test_a_cancelled_response_frees_the_stream(realtime: Realtime, run_id: str, scope: dict[str, Any]) -> None:
    stream = await realtime.subscribe(channel=Pipeline(run_id=run_id))
    peer = Peer()
    with anyio.move_on_after(0.05) as cancelled:
        await RealtimeStreamingResponse(stream)(scope, peer.receive, peer.send)
    assert cancelled.cancelled_caught
    await until_free(realtime)


async def test_a_response_that_is_never_sent_frees_the_stream(realtime: Realtime, run_id: str) -> None:
    response = RealtimeStreamingResponse(await realtime.subscribe(channel=Pipeline(run_id=run_id)))
    assert realtime.stats().subscriptions == 1
    del response
    await until_free(realtime)


async def test_a_stream_that_fails_tells_the_server(realtime: Realtime, scope: dict[str, Any]) -> None:
    async def failing() -> Any:
        yield b": first\n\n"
        raise LookupError("in the middle")

    peer = Peer()
    with pytest.raises(LookupError):
        await RealtimeStreamingResponse(failing())(scope, peer.receive, peer.send)
    assert [message.get("body") for message in peer.sent] == [None, b": first\n\n"]


async def test_a_lifespan_hears_signals_before_any_route_has_streamed(realtime: Realtime) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        async with realtime_lifespan(realtime)(None):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert realtime.is_shutting_down
