"""The HTTP side of the server as an ASGI application: token, publish, sse, and an error for all other paths."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import responses
from .access import is_loopback_origin
from .broker import MAX_MESSAGE
from .entries import MAX_ENTRIES, TooManyEntriesError, read_entries
from .loose_json import read_first
from .node import Node
from .sse import SseConnection
from .tokens import Claims
from .websocket import CONNECT_PATH

__all__ = ["create_application"]

PREFIX = "/v1/realtime"
MAX_RAW_BODY = 1_024_000  # bytes of a request to publish/tee
RAW_READ = 32_768  # bytes of one raw frame at most
MAX_TOKEN_BODY = 4 * 1024 * 1024  # bytes; the URL that carries a token has at most 1 MiB
_CORS_PATHS = (f"{PREFIX}/token", f"{PREFIX}/publish", f"{PREFIX}/publish/tee")


def create_application(node: Node, abort: Callable[[tuple[str, int] | None], None]) -> Starlette:
    """The application that serves `node`; `abort` cuts off the socket of a client address."""
    application = Starlette(
        routes=[
            Route(f"{PREFIX}/token", _token, methods=["POST"]),
            Route(CONNECT_PATH, _connect, methods=["GET"]),
            Route(f"{PREFIX}/publish", _publish, methods=["POST"]),
            Route(f"{PREFIX}/publish/tee", _publish_raw, methods=["POST"]),
            Route(f"{PREFIX}/sse", _sse, methods=["GET"]),
            Route("/", _page, methods=["GET"]),
        ],
        middleware=[Middleware(_Neighbours)],
        exception_handlers={404: _not_served, 405: _method_not_allowed},
    )
    application.router.redirect_slashes = False
    application.state.node = node
    application.state.abort = abort
    return application


class _Neighbours:
    """Lets nobody in but this machine, and tells browsers that pages of it may call."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        node: Node = scope["app"].state.node
        headers, path = Headers(scope=scope), scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if not node.allow_remote and not is_loopback_origin(host, origin):
            await responses.not_local(host)(scope, receive, send)
        elif path not in _CORS_PATHS:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            asked = headers.get("access-control-request-headers", "")
            await responses.preflight(asked)(scope, receive, send)
        else:

            async def send_with_origin(message: Message) -> None:
                if origin and message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], responses.ALLOW_ORIGIN]
                await send(message)

            await self._app(scope, receive, send_with_origin)


async def _token(request: Request) -> Response:
    node = _node(request)
    node.token_requests += 1
    if node.token_status is not None and node.token_channel is None:
        return responses.simulated_failure(node.token_status)
    if not node.authority.allows(_authorization(request)):
        return responses.text(401, "Authentication failed")
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_TOKEN_BODY:
                return responses.too_large(f"a token request has at most {MAX_TOKEN_BODY} bytes")
        entries = read_entries(read_first(bytes(body)))
    except TooManyEntriesError:
        return responses.too_large(f"a token names at most {MAX_ENTRIES} topics")
    except ValueError:
        return responses.json_error(400, "Invalid request: must provide a list of topics")
    except ClientDisconnect:
        return Response(status_code=400)
    if node.token_status is not None and node.token_channel in {entry.channel for entry in entries or ()}:
        return responses.simulated_failure(node.token_status)
    token = msgspec.json.encode({"jwt": node.authority.mint(entries)}) + b"\n"
    return Response(token, status_code=201, headers={"content-type": "application/json"})


async def _connect(request: Request) -> Response:
    # Reached without upgrade headers only: with them, the connection is handed to the WebSocket protocol.
    if _claims(request) is None:
        return responses.not_authenticated(_node(request).authority, _authorization(request))
    return responses.upgrade_required()


async def _sse(request: Request) -> ASGIApp:
    node, scope, claims = _node(request), request.scope, _claims(request)
    head = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in scope["headers"])
    if head > responses.MAX_HEAD:
        return responses.head_too_large()
    if node.connect_status is not None:
        return responses.simulated_failure(node.connect_status)
    if claims is None:
        return responses.not_authenticated(node.authority, _authorization(request))
    return SseConnection(node, claims, lambda: request.app.state.abort(scope["client"]))


async def _publish(request: Request) -> Response:
    node = _node(request)
    if (rejection := _reject_publisher(request)) is not None:
        return rejection
    channel, topic = _first(request, "channel"), _first(request, "topic")
    run_id, metadata = _first(request, "run_id"), _first(request, "metadata")
    if request.headers.get("content-type") == "text/stream":
        async with contextlib.aclosing(_body(request)) as pieces:
            await node.broker.publish_stream(channel, topic, pieces, run_id=run_id, metadata=metadata)
        return Response()
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece[: MAX_MESSAGE - len(body)]
    except ClientDisconnect:
        return Response(status_code=400)
    await node.broker.publish(channel, topic, bytes(body), run_id=run_id, metadata=metadata)
    return Response()


async def _publish_raw(request: Request) -> Response:
    node = _node(request)
    if (rejection := _reject_publisher(request)) is not None:
        return rejection
    channel = _first(request, "channel")
    if not channel:
        return responses.text(400, "channel query parameter required")
    left = MAX_RAW_BODY
    async with contextlib.aclosing(_body(request)) as pieces:
        async for piece in pieces:
            for start in range(0, len(piece[:left]), RAW_READ):
                await node.broker.publish_raw(channel, piece[:left][start : start + RAW_READ])
            left -= len(piece)
            if left < 0:
                return responses.text(500, "Error forwarding data")
    return Response()


async def _page(request: Request) -> Response:
    return responses.html_page()


async def _not_served(request: Request, exc: Exception) -> Response:
    return responses.not_served(request.url.path)


async def _method_not_allowed(request: Request, exc: Exception) -> Response:
    return Response(status_code=405, headers=exc.headers if isinstance(exc, HTTPException) else None)


def _reject_publisher(request: Request) -> Response | None:
    node = _node(request)
    if node.publish_status is not None:
        return responses.simulated_failure(node.publish_status)
    claims = _claims(request)
    if claims is not None:
        return None if claims.publish else responses.text(401, "Not authenticated for publishing")
    if not node.authority.allows(_authorization(request)):
        return responses.text(401, "Authentication failed")
    return None


async def _body(request: Request) -> AsyncGenerator[bytes, None]:
    # A publisher that goes away ends its stream.
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect:
        return


def _node(request: Request) -> Node:
    node: Node = request.app.state.node
    return node


def _authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


def _first(request: Request, name: str) -> str:
    values = request.query_params.getlist(name)
    return values[0] if values else ""


def _claims(request: Request) -> Claims | None:
    return _node(request).authority.claims_of(_authorization(request), _first(request, "token"))
