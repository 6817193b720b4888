"""The token and stream endpoints as Starlette routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import Receive, Scope, Send
from typing_extensions import Unpack

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import EndpointOptions, Endpoints, Grant, OptionsDict

from .requests import HOST, endpoint_request
from .responses import response_for

__all__ = ["realtime_routes"]


def realtime_routes(realtime: Realtime, grants: Sequence[Grant], **options: Unpack[OptionsDict]) -> list[Route]:
    """`/{grant}/token` (GET and POST) and `/{grant}/stream` (GET) for every grant, and `/client.js`.

    ```python
    app = Starlette(routes=[Mount("/api/realtime", routes=realtime_routes(realtime, grants))])
    ```
    The routes are named `realtime_token`, `realtime_stream` and `realtime_client`. A synchronous `authorize` runs in
    Starlette's thread pool; one that raises `starlette.exceptions.HTTPException` refuses with its status and headers.

    Args:
        realtime: What mints and subscribes.
        grants: What web clients may subscribe to, and who may.
        options: See `EndpointOptions`: `heartbeat`, `max_streams`, `client`, ...
    """
    endpoints = Endpoints(realtime, grants, EndpointOptions(**options), HOST)

    async def token(request: Request) -> Response:
        return await token_response(endpoints, request.path_params["grant"], request)

    async def stream(request: Request) -> Response:
        return await stream_response(endpoints, request.path_params["grant"], request)

    async def client(request: Request) -> Response:
        return client_response(endpoints, request)

    return [
        Route("/client.js", EveryMethod(client), name="realtime_client"),
        Route("/{grant}/token", EveryMethod(token), name="realtime_token"),
        Route("/{grant}/stream", EveryMethod(stream), name="realtime_stream"),
    ]


async def token_response(endpoints: Endpoints, grant: str, request: Request) -> Response:
    """Answers one request for a token."""
    return response_for(await endpoints.token(grant, endpoint_request(request)))


async def stream_response(endpoints: Endpoints, grant: str, request: Request) -> Response:
    """Answers one request for a stream."""
    return response_for(await endpoints.stream(grant, endpoint_request(request)))


def client_response(endpoints: Endpoints, request: Request) -> Response:
    """Answers one request for `client.js`."""
    return response_for(endpoints.client_js(endpoint_request(request)))


class EveryMethod:
    """The endpoint of a route of all methods there are: the endpoints know which they serve.

    Starlette takes a function for one of GET, unless it is told the names of all that may come.
    """

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = request_response(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
