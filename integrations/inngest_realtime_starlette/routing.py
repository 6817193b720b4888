"""The token and stream endpoints as Starlette routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import Receive, Scope, Send
from typing_extensions import Unpack

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import EndpointOptions, EndpointRequest, Endpoints, Grant, OptionsDict

from .requests import HOST, endpoint_request
from .responses import AnyAnswer, response_for

_Operation = Callable[[Request], Awaitable[Response]]


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
    return [
        Route("/client.js", EveryMethod(client_operation(endpoints)), name="realtime_client"),
        Route("/{grant}/token", EveryMethod(grant_operation(endpoints.token)), name="realtime_token"),
        Route("/{grant}/stream", EveryMethod(grant_operation(endpoints.stream)), name="realtime_stream"),
    ]


def grant_operation(answer: Callable[[str, EndpointRequest], Awaitable[AnyAnswer]], grant: str = "") -> _Operation:
    """Answers requests for a grant's token or stream; without a name that of the path."""

    async def operation(request: Request) -> Response:
        return response_for(await answer(grant or request.path_params["grant"], endpoint_request(request)))

    return operation


def client_operation(endpoints: Endpoints) -> _Operation:
    """Answers requests for `client.js`."""

    async def operation(request: Request) -> Response:
        return response_for(endpoints.client_js(endpoint_request(request)))

    return operation


class EveryMethod:
    """The endpoint of a route of all methods there are: the endpoints know which they serve.

    Starlette takes a function for one of GET, unless it is told the names of all that may come.
    """

    def __init__(self, endpoint: _Operation) -> None:
        self._app = request_response(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
