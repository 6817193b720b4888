"""The token and stream endpoints as views.

They are synchronous functions, so that one URL configuration serves both ASGI and WSGI; under ASGI the streams that
they open are asynchronous. Compose them like any others:

```python
path("api/realtime/<str:grant>/token", login_required(views.token))
```
A POST is protected by `CsrfViewMiddleware` like any other: send `X-CSRFToken`.

`authorize` may be sync, and use the ORM, or async. It may raise `PermissionDenied`, `Http404`, and what else Django
makes responses of. When a grant asks it again in the middle of a stream (`reauthorize_every`) it gets the request of
the beginning, whose `user` was loaded then: query what may have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_http_methods

from . import conf
from .responses import is_asgi, response_for

__all__ = ["stream", "token"]

_View = TypeVar("_View", bound=Callable[..., HttpResponseBase])


def _in_no_transaction(view: _View) -> _View:
    # ATOMIC_REQUESTS would keep a connection while Inngest is asked.
    for alias in connections:
        transaction.non_atomic_requests(using=alias)(view)
    return view


@_in_no_transaction
@require_http_methods(["GET", "POST"])
def token(request: HttpRequest, grant: str) -> HttpResponseBase:
    """`GET|POST .../<grant>/token`: a token for a browser."""
    body = request.body if request.method == "POST" else b""
    if is_asgi(request):
        answer = async_to_sync(conf.endpoints(asgi=True).token)(grant, request, _parameters(request), body)
    else:
        answer = conf.endpoints(asgi=False).token_sync(grant, request, _parameters(request), body)
    return response_for(request, answer)


@_in_no_transaction
@require_http_methods(["GET"])
def stream(request: HttpRequest, grant: str) -> HttpResponseBase:
    """`GET .../<grant>/stream`: an event stream."""
    last_event_id = request.headers.get("Last-Event-ID")
    if is_asgi(request):
        endpoints = conf.endpoints(asgi=True)
        return response_for(
            request, async_to_sync(endpoints.stream)(grant, request, _parameters(request), last_event_id)
        )
    endpoints = conf.endpoints(asgi=False)
    return response_for(request, endpoints.stream_sync(grant, request, _parameters(request), last_event_id))


def _parameters(request: HttpRequest) -> list[tuple[str, str]]:
    return [(name, value) for name, values in request.GET.lists() for value in values]
