"""Decorators for views of one's own: they hand over a token, or an open subscription.

The channel's parameters are read from the route and the query, in camelCase or snake_case; other parameters are left
alone. Who is not allowed, or asks wrongly, is answered as the blueprint does it, and the view is not called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Response, current_app, make_response

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import Answer, EndpointError, Endpoints, Grant
from inngest_realtime_core.endpoints.routes import check_own_stream, hand_over, is_async

from .requests import HOST, route_request
from .responses import response_for

__all__ = ["subscription_stream", "subscription_token"]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Response]]


def subscription_token(realtime: Realtime, grant: Grant) -> _Decorator:
    """A decorator that authorizes the request, mints a token, and hands it to the view as `token`.

    ```python
    @app.get("/runs/<run_id>/token")
    @subscription_token(realtime, pipeline_grant)
    def token(token: ClientSubscriptionToken, run_id: str) -> dict[str, str]:
        return token.to_dict()
    ```
    The response is not cached: it gets `Cache-Control: no-store`, unless it says otherwise.
    """
    endpoints = Endpoints(realtime, [grant], host=HOST)
    return _decorator("token", lambda: endpoints.issue_sync(grant.name, route_request()), no_store=True)


def subscription_stream(realtime: Realtime, grant: Grant) -> _Decorator:
    """A decorator that authorizes the request, subscribes, and hands the subscription to the view as `stream`.

    ```python
    @app.get("/runs/<run_id>/events")
    @subscription_stream(realtime, pipeline_grant)
    def events(stream: SyncSubscription, run_id: str) -> Response:
        return sse_response(stream)
    ```
    It resumes where the request says that the client left off.

    Raises:
        ConfigurationError: The grant has `reauthorize_every`: the stream is the view's own, and nobody would ask again.
    """
    check_own_stream(grant)
    endpoints = Endpoints(realtime, [grant], host=HOST)
    return _decorator("stream", lambda: endpoints.subscribe_sync(grant.name, route_request()))


def _decorator(name: str, obtain: Callable[[], object], *, no_store: bool = False) -> _Decorator:
    def decorator(view: Callable[..., Any]) -> Callable[..., Response]:
        with_value = hand_over(view, name)
        if is_async(view):
            with_value = _coroutine_function(with_value)

        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Response:
            try:
                value = obtain()
            except EndpointError as error:
                return response_for(Answer.from_error(error))
            response = make_response(current_app.ensure_sync(with_value)(value, *args, **kwargs))
            if no_store:
                response.headers.setdefault("Cache-Control", "no-store")
            return response

        return wrapper

    return decorator


def _coroutine_function(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call
