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
from django.http import HttpRequest

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import Answer, EndpointError, EndpointRequest, Endpoints, Grant
from inngest_realtime_core.endpoints.routes import check_own_stream, hand_over

from .requests import HOST, is_asgi, route_request
from .responses import response_for
from .threads import in_transaction, is_in_transaction

__all__ = ["subscription_stream", "subscription_token"]

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
    endpoints = Endpoints(realtime, [grant], host=HOST)
    return _decorator("token", grant.name, endpoints.issue, endpoints.issue_sync, no_store=True)


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
    check_own_stream(grant)
    endpoints = Endpoints(realtime, [grant], host=HOST)
    return _decorator("stream", grant.name, endpoints.subscribe, endpoints.subscribe_sync)


def _decorator(
    name: str,
    grant: str,
    obtain: Callable[[str, EndpointRequest], Any],
    obtain_sync: Callable[[str, EndpointRequest], Any],
    *,
    no_store: bool = False,
) -> Callable[[_View], _View]:
    def finished(response: Any) -> Any:
        if no_store:
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def decorator(view: _View) -> _View:
        with_value = hand_over(view, name, after=HttpRequest)

        @functools.wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            in_transaction.set(is_in_transaction())
            try:
                call = async_to_sync(obtain) if is_asgi(request) else obtain_sync
                value = call(grant, route_request(request))
            except EndpointError as error:
                return response_for(request, Answer.from_error(error))
            return finished(with_value(value, request, *args, **kwargs))

        @functools.wraps(view)
        async def async_wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                if is_asgi(request):
                    value = await obtain(grant, route_request(request))
                else:
                    # The event loop of an async view ends with the view under WSGI, and a stream outlives that.
                    value = await asyncio.to_thread(obtain_sync, grant, route_request(request))
            except EndpointError as error:
                return response_for(request, Answer.from_error(error))
            return finished(await with_value(value, request, *args, **kwargs))

        return async_wrapper if iscoroutinefunction(view) else wrapper

    return decorator
