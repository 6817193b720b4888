"""Dependencies for path operations of one's own: a token, or an open subscription.

They read the channel's parameters from the path and the query, in camelCase or snake_case, and leave other
parameters alone. Declare a parameter in the path operation too (`run_id: str`) to have it in OpenAPI.
A refusal is an `HTTPException` whose `detail` is `{"code", "message", "parameter"?}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from inngest_realtime_core._api.tokens import ClientSubscriptionToken
from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.endpoints.selection import Selection, select
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_core.subscriptions.subscription import Subscription

__all__ = ["subscription_stream", "subscription_token"]


def subscription_token(realtime: Realtime, grant: Grant) -> Callable[[Request], Awaitable[ClientSubscriptionToken]]:
    """A dependency that authorizes the request and mints a token.

    ```python
    PipelineToken = Annotated[ClientSubscriptionToken, Depends(subscription_token(realtime, pipeline_grant))]

    @app.get("/runs/{run_id}/token")
    async def token(token: PipelineToken) -> dict[str, str]:
        return token.to_dict()
    ```
    """
    endpoints = Endpoints(realtime, [grant], run_in_thread=run_in_threadpool)

    async def dependency(request: Request) -> ClientSubscriptionToken:
        try:
            return await endpoints.mint(_selection(grant, request), request)
        except EndpointError as refusal:
            raise _http_exception(refusal) from refusal

    return dependency


def subscription_stream(realtime: Realtime, grant: Grant) -> Callable[[Request], Awaitable[Subscription]]:
    """A dependency that authorizes the request and opens a subscription.

    ```python
    PipelineStream = Annotated[Subscription, Depends(subscription_stream(realtime, pipeline_grant))]

    @app.get("/runs/{run_id}/stream")
    async def stream(stream: PipelineStream) -> RealtimeStreamingResponse:
        return RealtimeStreamingResponse(stream)
    ```
    The subscription closes itself when the response has ended. Ask for database sessions and the like beside it with
    `Depends(..., scope="function")`, or FastAPI holds them while the stream is open.

    Raises:
        ConfigurationError: The grant has `reauthorize_every`: the route owns this stream, and nobody would ask again.
    """
    if grant.reauthorize_every is not None:
        raise ConfigurationError(
            f"Grant {grant.name!r} has reauthorize_every, which subscription_stream cannot honour: the stream is the "
            "route's own. Serve the grant with realtime_router, or make one without reauthorize_every for this route."
        )
    endpoints = Endpoints(realtime, [grant], run_in_thread=run_in_threadpool)

    # Not a `yield` dependency: FastAPI 0.106 to 0.117 would close the subscription before the response is sent.
    async def dependency(request: Request) -> Subscription:
        try:
            return await endpoints.subscribe(_selection(grant, request), request)
        except EndpointError as refusal:
            raise _http_exception(refusal) from refusal

    return dependency


def _selection(grant: Grant, request: Request) -> Selection:
    path = [(name, str(value)) for name, value in request.path_params.items()]
    return select(grant, [*path, *request.query_params.multi_items()], ignore_unknown=True)


def _http_exception(refusal: EndpointError) -> HTTPException:
    return HTTPException(refusal.status, detail=dict(refusal.detail), headers=dict(refusal.headers))
