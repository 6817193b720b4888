"""The token and stream endpoints as a router: one path operation per grant, so that OpenAPI knows its parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_starlette.routing import stream_response, token_response

from .schemas import STREAM_RESPONSES, TOKEN_RESPONSES, body_schema, query_parameters

__all__ = ["realtime_router"]

_Operation = Callable[[Request], Awaitable[Response]]


def realtime_router(
    realtime: Realtime,
    grants: Sequence[Grant],
    *,
    heartbeat: float = 10.0,
    max_streams: int | None = None,
    send_timeout: float = 30.0,
    **router_options: Any,
) -> APIRouter:
    """`/{grant}/token` (GET and POST) and `/{grant}/stream` (GET) for every grant.

    ```python
    app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")
    ```
    Router-level `dependencies=` run before `authorize`. What they `yield` is held by FastAPI while a stream is open,
    unless it was asked for with `Depends(..., scope="function")`: a database session should be.

    A synchronous `authorize` runs in the thread pool; one that raises `HTTPException` answers with that.

    Args:
        realtime: What mints and subscribes.
        grants: What web clients may subscribe to, and who may.
        heartbeat: Seconds between a stream's heartbeats, unless its grant says otherwise.
        max_streams: Streams open at once in this process; `None` for no limit.
        send_timeout: Seconds that one send to a client may block before its stream is ended.
        router_options: Passed to `APIRouter`: `dependencies`, `tags`, `prefix`, ...
    """
    endpoints = Endpoints(
        realtime, grants, heartbeat=heartbeat, max_streams=max_streams, run_in_thread=run_in_threadpool
    )
    router_options.setdefault("tags", ["realtime"])
    router = APIRouter(**router_options)
    for grant in grants:
        _add_token(router, endpoints, grant)
        _add_stream(router, endpoints, grant, send_timeout)
    _add_unknown(router, endpoints)
    return router


def _add_token(router: APIRouter, endpoints: Endpoints, grant: Grant) -> None:
    async def token(request: Request) -> Response:
        return await token_response(endpoints, grant.name, request)

    for method, extra in (
        ("GET", {"parameters": query_parameters(grant)}),
        ("POST", {"parameters": query_parameters(grant, required=False), "requestBody": body_schema(grant)}),
    ):
        router.add_api_route(
            f"/{grant.name}/token",
            token,
            methods=[method],
            name=f"{grant.name}_token",
            summary=f"Get a token for {grant.name}",
            description=f"A token with which a client subscribes to {_what(grant)} at Inngest itself, for one minute.",
            response_model=None,
            responses=TOKEN_RESPONSES,
            openapi_extra=extra,
        )


def _add_stream(router: APIRouter, endpoints: Endpoints, grant: Grant, send_timeout: float) -> None:
    async def stream(request: Request) -> Response:
        return await stream_response(endpoints, grant.name, request, send_timeout=send_timeout)

    router.add_api_route(
        f"/{grant.name}/stream",
        stream,
        methods=["GET"],
        name=f"{grant.name}_stream",
        summary=f"Stream {grant.name}",
        description=f"The messages of {_what(grant)} as server-sent events, for `EventSource`.",
        response_model=None,
        response_class=Response,
        responses=STREAM_RESPONSES,
        openapi_extra={"parameters": query_parameters(grant, last_event_id=True)},
    )


def _add_unknown(router: APIRouter, endpoints: Endpoints) -> None:
    async def unknown(request: Request) -> Response:
        return await token_response(endpoints, request.path_params["grant"], request)

    for path, methods in (("/{grant}/token", ["GET", "POST"]), ("/{grant}/stream", ["GET"])):
        router.add_api_route(path, unknown, methods=methods, include_in_schema=False, response_model=None)


def _what(grant: Grant) -> str:
    channel = grant.channel if isinstance(grant.channel, str) else grant.channel.__name__
    return f"{channel} ({', '.join(grant.topics)})"
