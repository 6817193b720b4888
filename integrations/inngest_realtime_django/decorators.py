"""Decorators for views of one's own, sync or async: they hand over a token, or an open subscription.

The channel's parameters are read from the route and the query, in camelCase or snake_case; other parameters are left
alone. Who is not allowed, or asks wrongly, is answered as the endpoints do it, and the view is not called.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import Answer, EndpointError, Grant, OwnRoute
from inngest_realtime_core.endpoints.routes import Held, hand_over, request_of

from .requests import HOST, is_asgi, is_request, route_request
from .responses import response_for
from .threads import in_transaction, is_in_transaction

_View = Callable[..., Any]


def subscription_token(realtime: Realtime, grant: Grant) -> Callable[[_View], _View]:
    """A decorator that authorizes the request, mints a token, and hands it to the view as `token`.

    ```python
    @subscription_token(realtime, pipeline_grant)
    def token(request: HttpRequest, run_id: str, token: ClientSubscriptionToken) -> JsonResponse:
        return JsonResponse(token.to_dict())
    ```
    The response is not cached: it gets `Cache-Control: no-store`, unless it says otherwise.
    """
    return _decorator(OwnRoute("token", realtime, grant, HOST))


def subscription_stream(realtime: Realtime, grant: Grant) -> Callable[[_View], _View]:
    """A decorator that authorizes the request, subscribes, and hands the subscription to the view as `stream`.

    ```python
    @subscription_stream(realtime, pipeline_grant)
    def progress(request: HttpRequest, run_id: str, stream: Subscription) -> RealtimeStreamingResponse:
        return RealtimeStreamingResponse(request, stream)
    ```
    Under ASGI it is a `Subscription`, under WSGI a `SyncSubscription`; the response takes either. It resumes where the
    request says that the client left off.

    Raises:
        ConfigurationError: The grant has `reauthorize_every`: the stream is the view's own, and nobody would ask again.
    """
    return _decorator(OwnRoute("stream", realtime, grant, HOST))


def _decorator(route: OwnRoute) -> Callable[[_View], _View]:
    def decorator(view: _View) -> _View:
        with_value = hand_over(view, route.name, after=is_request)

        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            request = request_of(is_request, *args)
            in_transaction.set(is_in_transaction())
            try:
                obtain = async_to_sync(route.obtain) if is_asgi(request) else route.obtain_sync
                held = Held(obtain(route_request(request)))
            except EndpointError as error:
                return response_for(request, Answer.from_error(error))
            return route.finish(with_value(held, *args, **kwargs))

        @functools.wraps(view)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            request = request_of(is_request, *args)
            try:
                # The event loop of an async view ends with the view under WSGI, and a stream outlives that.
                asked = route_request(request)
                obtained = route.obtain(asked) if is_asgi(request) else asyncio.to_thread(route.obtain_sync, asked)
                held = Held(await obtained)
            except EndpointError as error:
                return response_for(request, Answer.from_error(error))
            return route.finish(await with_value(held, *args, **kwargs))

        return async_wrapper if iscoroutinefunction(view) else wrapper

    return decorator
