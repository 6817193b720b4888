"""The HTTP side of the server as a Starlette application: token, publish, sse, and the page for all other paths."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import answers
from .answers import Answer
from .broker import MAX_MESSAGE
from .node import Node
from .sse import SseConnection
from .tokens import TopicEntry
from .websocket import CONNECT_PATH

__all__ = ["create_application"]

PREFIX = "/v1/realtime"
MAX_RAW_BODY = 1_024_000  # bytes of a request to publish/tee
RAW_READ = 32_768  # bytes of one raw frame at most

_decode_entries = msgspec.json.Decoder(list[TopicEntry | None] | None).decode


def create_application(node: Node, abort: Callable[[tuple[str, int] | None], None]) -> Starlette:
    """The application that serves `node`; `abort` cuts off the socket of a client address."""
    application = Starlette(
        routes=[
            Route(f"{PREFIX}/token", _token, methods=["POST"]),
            Route(CONNECT_PATH, _connect, methods=["GET"]),
            Route(f"{PREFIX}/publish", _publish, methods=["POST"]),
            Route(f"{PREFIX}/publish/tee", _publish_raw, methods=["POST"]),
            Route(f"{PREFIX}/sse", _Sse(node, abort), methods=["GET"]),
        ],
        exception_handlers={404: _page, 405: _method_not_allowed},
    )
    application.router.redirect_slashes = False
    application.state.node = node
    return application


class _Sse:
    # An instance of a class: Starlette takes a function for a handler that returns a response.
    def __init__(self, node: Node, abort: Callable[[tuple[str, int] | None], None]) -> None:
        self._node = node
        self._abort = abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        node, request = self._node, Request(scope, receive)
        authorization = _authorization(request)
        head = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in scope["headers"])
        claims = node.authority.claims_of(authorization, _first(request, "token"))
        if head > answers.MAX_HEAD:
            answer = answers.head_too_large()
        elif node.connect_status is not None:
            answer = answers.simulated_failure(node.connect_status)
        elif claims is None:
            answer = answers.not_authenticated(node.authority, authorization)
        else:
            await SseConnection(node, claims, lambda: self._abort(scope["client"])).respond(receive, send)
            return
        await _response(answer)(scope, receive, send)


async def _token(request: Request) -> Response:
    node = _node(request)
    node.token_requests += 1
    if node.token_status is not None and node.token_channel is None:
        return _response(answers.simulated_failure(node.token_status))
    if not node.authority.allows(_authorization(request)):
        return _response(answers.text(401, "Authentication failed"))
    try:
        entries = _decode_entries(await request.body())
    except (msgspec.DecodeError, RecursionError):
        return _response(answers.json_error(400, "Invalid request: must provide a list of topics"))
    except ClientDisconnect:
        return Response(status_code=400)
    channels = {entry.channel for entry in entries or () if entry is not None}
    if node.token_status is not None and node.token_channel in channels:
        return _response(answers.simulated_failure(node.token_status))
    body = msgspec.json.encode({"jwt": node.authority.mint(entries or [])}) + b"\n"
    return Response(body, status_code=201, headers={"content-type": "application/json"})


async def _connect(request: Request) -> Response:
    # Reached without upgrade headers only: with them, the connection is handed to the WebSocket protocol.
    node, authorization = _node(request), _authorization(request)
    if node.authority.claims_of(authorization, _first(request, "token")) is None:
        return _response(answers.not_authenticated(node.authority, authorization))
    return _response(answers.upgrade_required())


async def _publish(request: Request) -> Response:
    node = _node(request)
    if (refusal := _refuse_publisher(request)) is not None:
        return _response(refusal)
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
    if (refusal := _refuse_publisher(request)) is not None:
        return _response(refusal)
    channel = _first(request, "channel")
    if not channel:
        return _response(answers.text(400, "channel query parameter required"))
    left = MAX_RAW_BODY
    async with contextlib.aclosing(_body(request)) as pieces:
        async for piece in pieces:
            for start in range(0, len(piece[:left]), RAW_READ):
                await node.broker.publish_raw(channel, piece[:left][start : start + RAW_READ])
            left -= len(piece)
            if left < 0:
                return _response(answers.text(500, "Error forwarding data"))
    return Response()


async def _page(request: Request, exc: Exception) -> Response:
    return _response(answers.html_page())


async def _method_not_allowed(request: Request, exc: Exception) -> Response:
    return Response(status_code=405, headers=exc.headers if isinstance(exc, HTTPException) else None)


def _refuse_publisher(request: Request) -> Answer | None:
    authority, authorization = _node(request).authority, _authorization(request)
    if authority.claims_of(authorization, _first(request, "token")) is not None:
        return answers.json_error(401, "Not authenticated")
    if not authority.allows(authorization):
        return answers.text(401, "Authentication failed")
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


def _response(answer: Answer) -> Response:
    response = Response(answer.body, status_code=answer.status)
    response.raw_headers.extend(answer.headers)
    return response
