"""Decorators for endpoints of one's own: they hand over a token, or an open subscription.

The channel's parameters are read from the path and the query, in camelCase or snake_case; other parameters are left
alone. Who is not allowed, or asks wrongly, is answered as the endpoints do it, and the endpoint is not called.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inngest_realtime_core import ConfigurationError, Realtime
from inngest_realtime_core.endpoints import Answer, EndpointError, Endpoints, Grant
from inngest_realtime_core.endpoints.routes import check_own_stream, hand_over, is_async

from .requests import HOST, route_request
from .responses import response_for

__all__ = ["subscription_stream", "subscription_token"]

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
    endpoints = Endpoints(realtime, [grant], host=HOST)
    return _decorator("token", lambda request: endpoints.issue(grant.name, route_request(request)), no_store=True)


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
    check_own_stream(grant)
    endpoints = Endpoints(realtime, [grant], host=HOST)
    return _decorator("stream", lambda request: endpoints.subscribe(grant.name, route_request(request)))


def _decorator(name: str, obtain: Callable[[Request], Awaitable[object]], *, no_store: bool = False) -> _Decorator:
    def decorator(view: _View) -> Callable[..., Awaitable[Response]]:
        with_value = hand_over(view, name, after=Request)

        @functools.wraps(view)
        async def wrapper(*args: Any, **kwargs: Any) -> Response:
            request = _request_of((*args, *kwargs.values()))
            try:
                value = await obtain(request)
            except EndpointError as error:
                return response_for(Answer.from_error(error))
            if is_async(view):
                response: Response = await with_value(value, *args, **kwargs)
            else:
                response = await run_in_threadpool(with_value, value, *args, **kwargs)
            if no_store:
                response.headers.setdefault("Cache-Control", "no-store")
            return response

        return wrapper

    return decorator


def _request_of(arguments: tuple[Any, ...]) -> Request:
    for argument in arguments:
        if isinstance(argument, Request):
            return cast("Request", argument)
    raise ConfigurationError("The decorated function is not an endpoint: it was called without a Request.")
