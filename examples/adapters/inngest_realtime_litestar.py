"""Inngest Realtime for Litestar: a whole adapter, to copy from. docs/writing-an-adapter.md explains it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from litestar import Request, Response, Router
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import asgi as handler
from litestar.types import ASGIApp, Receive, Scope, Send
from typing_extensions import Unpack

from inngest_realtime_core import ClientSubscriptionToken, Realtime, RealtimeError, Subscription
from inngest_realtime_core import endpoints as core
from inngest_realtime_core.endpoints import Answer, EndpointRequest, Endpoints, Grant, OptionsDict, OwnRoute, asgi

AnyRequest = Request[Any, Any, Any]


def _endpoint_error(error: Exception) -> core.EndpointError | None:
    if isinstance(error, HTTPException):
        return core.EndpointError.refused(error.status_code, error.detail, error.headers)
    return None


HOST = core.Host(endpoint_error=_endpoint_error)


def realtime_router(realtime: Realtime, grants: Sequence[Grant], path: str, **options: Unpack[OptionsDict]) -> Router:
    """The endpoints: `{path}/{grant}/token`, `{path}/{grant}/stream` and `{path}/client.js`."""
    endpoints = Endpoints(realtime, grants, core.EndpointOptions(**options), HOST)

    # Handlers of ASGI get all methods there are: the endpoints know which they serve.
    @handler("/", is_mount=True, copy_scope=True)
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = AnyRequest(scope, receive, send)
        asked = EndpointRequest.from_scope(scope, request, asgi.reader_of(_body(receive)))
        grant, _, what = scope["path"].strip("/").rpartition("/")
        if what == "token" and grant:
            await asgi.respond(await endpoints.token(grant, asked), receive, send)
        elif what == "stream" and grant:
            await asgi.respond(await endpoints.stream(grant, asked), receive, send)
        elif (grant, what) == ("", "client.js"):
            await asgi.respond(endpoints.client_js(asked), receive, send)
        else:
            raise NotFoundException

    return Router(path, route_handlers=[serve])


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
        return await own.obtain(EndpointRequest.from_scope(request.scope, request, route=request.path_params))

    return provided


async def _body(receive: Receive) -> AsyncGenerator[bytes, None]:
    while (event := await receive())["type"] == "http.request":
        yield event["body"]
        if not event["more_body"]:
            return
