"""Dependencies for path operations of one's own: a token, or an open subscription.

They read the channel's parameters from the path and the query, in camelCase or snake_case, and leave other
parameters alone. Declare a parameter in the path operation too (`run_id: str`) to have it in OpenAPI.
A request that gets neither is answered by an `HTTPException` whose `detail` is `{"code", "message", "parameter"?}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import HTTPException, Request, Response
from starlette.requests import HTTPConnection

from inngest_realtime_core import ClientSubscriptionToken, ConfigurationError, Realtime, Subscription
from inngest_realtime_core.endpoints import EndpointError, Grant, OwnRoute
from inngest_realtime_core.subscriptions.pending import close_with_task
from inngest_realtime_starlette.requests import route_request

from .requests import HOST


def subscription_token(
    realtime: Realtime, grant: Grant
) -> Callable[[Request, Response], Awaitable[ClientSubscriptionToken]]:
    """A dependency that authorizes the request and mints a token.

    ```python
    PipelineToken = Annotated[ClientSubscriptionToken, Depends(subscription_token(realtime, pipeline_grant))]

    @app.get("/runs/{run_id}/token")
    async def token(token: PipelineToken) -> dict[str, str]:
        return token.to_dict()
    ```
    The response gets `Cache-Control: no-store`, unless the path operation returns a `Response` of its own.
    """
    route = OwnRoute("token", realtime, grant, HOST)

    async def dependency(request: HTTPConnection, response: Response) -> ClientSubscriptionToken:
        token: ClientSubscriptionToken = await _obtained(route, request)
        route.finish(response)
        return token

    return dependency


def subscription_stream(realtime: Realtime, grant: Grant) -> Callable[[Request], Awaitable[Subscription]]:
    """A dependency that authorizes the request and opens a subscription.

    ```python
    PipelineStream = Annotated[Subscription, Depends(subscription_stream(realtime, pipeline_grant))]

    @app.get("/runs/{run_id}/stream")
    async def stream(stream: PipelineStream) -> RealtimeStreamingResponse:
        return RealtimeStreamingResponse(stream)
    ```
    It resumes where the request says that the client left off. The subscription closes itself when the response has
    ended. Ask for database sessions and the like beside it with `Depends(..., scope="function")`, or FastAPI holds
    them while the stream is open.

    Raises:
        ConfigurationError: The grant has `reauthorize_every`: the route owns this stream, and nobody would ask again.
    """
    route = OwnRoute("stream", realtime, grant, HOST)

    # Not a `yield` dependency: FastAPI 0.106 to 0.117 would close the subscription before the response is sent.
    async def dependency(request: HTTPConnection) -> Subscription:
        # A dependency is called in the request's own task, which ends with the response.
        return close_with_task(await _obtained(route, request))

    return dependency


async def _obtained(route: OwnRoute, request: HTTPConnection) -> Any:
    if not isinstance(request, Request):
        raise ConfigurationError(
            "subscription_stream and subscription_token are for HTTP routes. In a WebSocket route check yourself who "
            "asks, and write `async with realtime.subscribe(channel=...) as subscription:`."
        )
    try:
        return await route.obtain(route_request(request))
    except EndpointError as error:
        raise HTTPException(error.status, detail=dict(error.detail), headers=dict(error.headers)) from error
