"""The token and stream endpoints as Starlette routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.realtime import Realtime

from .responses import response_for

__all__ = ["realtime_routes"]


def realtime_routes(
    realtime: Realtime,
    grants: Sequence[Grant],
    *,
    heartbeat: float = 10.0,
    max_streams: int | None = None,
    send_timeout: float = 30.0,
) -> list[Route]:
    """`/{grant}/token` (GET and POST) and `/{grant}/stream` (GET) for every grant.

    ```python
    app = Starlette(routes=[Mount("/api/realtime", routes=realtime_routes(realtime, grants))])
    ```
    The routes are named `realtime_token` and `realtime_stream`. A synchronous `authorize` runs in Starlette's thread
    pool; one that raises `starlette.exceptions.HTTPException` answers with that.

    Args:
        realtime: What mints and subscribes.
        grants: What web clients may subscribe to, and who may.
        heartbeat: Seconds between a stream's heartbeats, unless its grant says otherwise.
        max_streams: Streams open at once in this process; `None` for no limit.
        send_timeout: Seconds that one send to a client may block before its stream is ended.
    """
    endpoints = Endpoints(
        realtime, grants, heartbeat=heartbeat, max_streams=max_streams, run_in_thread=run_in_threadpool
    )

    async def token(request: Request) -> Response:
        return await token_response(endpoints, request.path_params["grant"], request)

    async def stream(request: Request) -> Response:
        return await stream_response(endpoints, request.path_params["grant"], request, send_timeout=send_timeout)

    return [
        _route("/{grant}/token", token, ["GET", "POST"], name="realtime_token"),
        _route("/{grant}/stream", stream, ["GET"], name="realtime_stream"),
    ]


async def token_response(endpoints: Endpoints, grant: str, request: Request) -> Response:
    """Answers one request for a token."""
    body = await request.body() if request.method == "POST" else b""
    return response_for(await endpoints.token(grant, request, request.query_params.multi_items(), body))


async def stream_response(endpoints: Endpoints, grant: str, request: Request, *, send_timeout: float) -> Response:
    """Answers one request for a stream."""
    last_event_id = request.headers.get("last-event-id")
    answer = await endpoints.stream(grant, request, request.query_params.multi_items(), last_event_id)
    return response_for(answer, send_timeout=send_timeout)


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], methods: list[str], *, name: str) -> Route:
    route = Route(path, endpoint, methods=methods, name=name)
    if route.methods is not None:
        # Starlette adds HEAD to GET: it would mint a token, or hold a stream open, and show nobody.
        route.methods.discard("HEAD")
    return route
