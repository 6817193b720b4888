"""A decorator for views of one's own: it authorizes the request and mints a token."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from flask import abort, request

from inngest_realtime_core._api.tokens import ClientSubscriptionToken
from inngest_realtime_core.endpoints.answers import Answer
from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.endpoints.selection import select
from inngest_realtime_core.realtime import Realtime

from .blueprint import this_request
from .responses import response_for

__all__ = ["subscription_token"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def subscription_token(
    realtime: Realtime, grant: Grant
) -> Callable[[Callable[Concatenate[ClientSubscriptionToken, _P], _R]], Callable[_P, _R]]:
    """A decorator that authorizes the request, mints a token, and gives it to the view as its first argument.

    ```python
    @app.get("/runs/<run_id>/token")
    @subscription_token(realtime, pipeline_grant)
    def token(token: ClientSubscriptionToken, run_id: str) -> dict[str, str]:
        return token.to_dict()
    ```
    The channel's parameters are read from the route and the query, in camelCase or snake_case; other parameters are
    left alone. A refusal is answered as the blueprint answers it, and the view is not called.
    """
    endpoints = Endpoints(realtime, [grant])

    def decorator(view: Callable[Concatenate[ClientSubscriptionToken, _P], _R]) -> Callable[_P, _R]:
        @functools.wraps(view)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            route = [(name, str(value)) for name, value in (request.view_args or {}).items()]
            try:
                selection = select(grant, [*route, *request.args.items(multi=True)], ignore_unknown=True)
                token = endpoints.mint_sync(selection, this_request())
            except EndpointError as refusal:
                abort(response_for(Answer.from_error(refusal)))
            return view(token, *args, **kwargs)

        return wrapper

    return decorator
