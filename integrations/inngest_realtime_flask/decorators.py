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
from inngest_realtime_core.endpoints import Answer, EndpointError, Grant, OwnRoute
from inngest_realtime_core.endpoints.routes import Held, hand_over

from .requests import HOST, route_request
from .responses import response_for

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
    return _decorator(OwnRoute("token", realtime, grant, HOST))


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
    return _decorator(OwnRoute("stream", realtime, grant, HOST))


def _decorator(route: OwnRoute) -> _Decorator:
    def decorator(view: Callable[..., Any]) -> Callable[..., Response]:
        with_value = hand_over(view, route.name)

        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Response:
            try:
                held = Held(route.obtain_sync(route_request()))
            except EndpointError as error:
                return response_for(Answer.from_error(error))
            return route.finish(make_response(current_app.ensure_sync(with_value)(held, *args, **kwargs)))

        return wrapper

    return decorator
