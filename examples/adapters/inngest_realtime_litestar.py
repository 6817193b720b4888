"""Inngest Realtime for Litestar: a whole adapter, to copy from. docs/writing-an-adapter.md explains it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send
from typing_extensions import Unpack

from inngest_realtime_core import ClientSubscriptionToken, Realtime, RealtimeError, Subscription
from inngest_realtime_core import endpoints as core
from inngest_realtime_core.endpoints import Answer, EndpointRequest, Endpoints, Grant, OptionsDict, OwnRoute, asgi

AnyRequest = Request[Any, Any, Any]
METHODS = list(HttpMethod)  # the endpoints know which they serve


def _endpoint_error(error: Exception) -> core.EndpointError | None:
    if isinstance(error, HTTPException):
        return core.EndpointError.refused(error.status_code, error.detail, error.headers)
    return None


HOST = core.Host(endpoint_error=_endpoint_error)


def realtime_router(realtime: Realtime, grants: Sequence[Grant], path: str, **options: Unpack[OptionsDict]) -> Router:
    """The endpoints: `{path}/{grant}/token`, `{path}/{grant}/stream` and `{path}/client.js`."""
    endpoints = Endpoints(realtime, grants, core.EndpointOptions(**options), HOST)

    @route("/{grant:str}/token", http_method=METHODS)
    async def token(request: AnyRequest, grant: str) -> ASGIApp:
        return _reply(await endpoints.token(grant, _asked(request)))

    @route("/{grant:str}/stream", http_method=METHODS)
    async def stream(request: AnyRequest, grant: str) -> ASGIApp:
        return _reply(await endpoints.stream(grant, _asked(request)))

    @route("/client.js", http_method=METHODS, sync_to_thread=False)
    def client(request: AnyRequest) -> ASGIApp:
        return _reply(endpoints.client_js(_asked(request)))

    return Router(path, route_handlers=[token, stream, client], include_in_schema=False)


def event_stream(
    content: Subscription | AsyncGenerator[bytes, None], *, send_timeout: float | None = 30.0, **options: Any
) -> ASGIApp:
    """What a route handler returns to stream a subscription, or an encoded stream of one; with `render=`, for htmx."""
    body = asgi.event_stream_for(content, **options)

    async def reply(scope: Scope, receive: Receive, send: Send) -> None:
        await asgi.respond(core.StreamAnswer(body(scope), send_timeout), receive, send)

    return reply


def subscription_token(realtime: Realtime, grant: Grant) -> Callable[..., Awaitable[ClientSubscriptionToken]]:
    """A dependency, for `Provide`: it authorizes the request and mints a token."""
    return _provide(OwnRoute("token", realtime, grant, HOST))


def subscription_stream(realtime: Realtime, grant: Grant) -> Callable[..., Awaitable[Subscription]]:
    """A dependency, for `Provide`: it authorizes the request and subscribes."""
    return _provide(OwnRoute("stream", realtime, grant, HOST))


def realtime_error_handler(request: AnyRequest, error: RealtimeError) -> Response[bytes]:
    """For `exception_handlers={RealtimeError: realtime_error_handler}`."""
    answer = Answer.from_error(error)
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers), media_type="application/json")


def _provide(own: OwnRoute) -> Callable[..., Awaitable[Any]]:
    async def provided(request: AnyRequest) -> Any:
        return await own.obtain(_asked(request, own=True))

    return provided


def _asked(request: AnyRequest, *, own: bool = False) -> EndpointRequest:
    route = request.path_params if own else None
    return EndpointRequest.from_scope(request.scope, request, asgi.reader_of(request.stream()), route)


def _reply(answer: Answer | core.StreamAnswer) -> ASGIApp:
    async def reply(scope: Scope, receive: Receive, send: Send) -> None:
        await asgi.respond(answer, receive, send)

    return reply
