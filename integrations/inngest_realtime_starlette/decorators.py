"""Decorators for endpoints of one's own: they hand over a token, or an open subscription.

The channel's parameters are read from the path and the query, in camelCase or snake_case; other parameters are left
alone. Who is not allowed, or asks wrongly, is answered as the endpoints do it, and the endpoint is not called.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import Answer, EndpointError, Grant, OwnRoute
from inngest_realtime_core.endpoints.routes import Held, hand_over, is_async, request_of

from .requests import HOST, is_request, route_request
from .responses import response_for

_View = Callable[..., Any]
_Decorator = Callable[[_View], Callable[..., Awaitable[Response]]]


def subscription_token(realtime: Realtime, grant: Grant) -> _Decorator:
    """A decorator that authorizes the request, mints a token, and hands it to the endpoint as `token`.

    ```python
    @subscription_token(realtime, pipeline_grant)
    async def token(request: Request, token: ClientSubscriptionToken) -> JSONResponse:
        return JSONResponse(token.to_dict())
    ```
    The response is not cached: it gets `Cache-Control: no-store`, unless it says otherwise.
    """
    return _decorator(OwnRoute("token", realtime, grant, HOST))


def subscription_stream(realtime: Realtime, grant: Grant) -> _Decorator:
    """A decorator that authorizes the request, subscribes, and hands the subscription to the endpoint as `stream`.

    ```python
    @subscription_stream(realtime, pipeline_grant)
    async def progress(request: Request, stream: Subscription) -> RealtimeStreamingResponse:
        return RealtimeStreamingResponse(stream)
    ```
    It resumes where the request says that the client left off.

    Raises:
        ConfigurationError: The grant has `reauthorize_every`: the stream is the endpoint's own, and nobody would ask.
    """
    return _decorator(OwnRoute("stream", realtime, grant, HOST))


def _decorator(route: OwnRoute) -> _Decorator:
    def decorator(view: _View) -> Callable[..., Awaitable[Response]]:
        with_value = hand_over(view, route.name, after=is_request)

        @functools.wraps(view)
        async def wrapper(*args: Any, **kwargs: Any) -> Response:
            request = request_of(is_request, *args, *kwargs.values())
            try:
                held = Held(await route.obtain(route_request(request)))
            except EndpointError as error:
                return response_for(Answer.from_error(error))
            called = with_value if is_async(view) else functools.partial(run_in_threadpool, with_value)
            response: Response = await called(held, *args, **kwargs)
            return route.finish(response)

        return wrapper

    return decorator
