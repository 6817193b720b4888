"""The token and stream endpoints as views.

They are synchronous functions, so that one URL configuration serves both ASGI and WSGI; under ASGI the streams that
they open are asynchronous. Compose them like any others:

```python
path("api/realtime/<str:grant>/token", login_required(views.token))
```
A POST is protected as by `CsrfViewMiddleware`, where the project has that: send `X-CSRFToken`, or wrap the view in
`csrf_exempt`. What is refused is refused in JSON.

`authorize` may be sync, and use the ORM, or async. It may raise `PermissionDenied` and `Http404`. When a grant asks it
again in the middle of a stream (`reauthorize_every`) it gets the request with the session and the user of that moment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string

from inngest_realtime_core.endpoints import Answer, EndpointError

from . import conf
from .requests import endpoint_request, is_asgi
from .responses import response_for
from .threads import in_transaction, is_in_transaction

__all__ = ["client", "stream", "token"]

_View = Callable[..., HttpResponseBase]

# A true value that `csrf_exempt` does not set: the check is made here, to be answered in JSON.
_CHECKED_HERE = "inngest_realtime"


def _endpoint(view: _View) -> _View:
    @functools.wraps(view)
    def wrapper(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponseBase:
        in_transaction.set(is_in_transaction())
        # A body that is too large is refused by the endpoint, unread; to look for a token in it is to read it all.
        reason = None if _is_too_large(request) else _csrf_failure(request)
        if reason is None:
            return view(request, *args, **kwargs)
        message = f"{reason} Send the X-CSRFToken header with the value of the csrftoken cookie, or use GET."
        return response_for(request, Answer.from_error(EndpointError(403, "csrf_failed", message)))

    wrapper.csrf_exempt = _CHECKED_HERE  # type: ignore[attr-defined]  # where Django looks for it
    for alias in connections:
        # ATOMIC_REQUESTS would keep a connection while Inngest is asked.
        transaction.non_atomic_requests(using=alias)(wrapper)
    return wrapper


@_endpoint
def token(request: HttpRequest, grant: str) -> HttpResponseBase:
    """`GET|POST .../<grant>/token`: a token for a browser."""
    return _answered(request, grant, "token")


@_endpoint
def stream(request: HttpRequest, grant: str) -> HttpResponseBase:
    """`GET .../<grant>/stream`: an event stream."""
    return _answered(request, grant, "stream")


@_endpoint
def client(request: HttpRequest) -> HttpResponseBase:
    """`GET .../client.js`: the client for browsers."""
    return response_for(request, conf.endpoints(asgi=is_asgi(request)).client_js(endpoint_request(request)))


def _answered(request: HttpRequest, grant: str, what: Literal["token", "stream"]) -> HttpResponseBase:
    asgi = is_asgi(request)
    endpoints = conf.endpoints(asgi=asgi)
    if asgi:
        answer: Any = async_to_sync(getattr(endpoints, what))(grant, endpoint_request(request))
    else:
        answer = getattr(endpoints, f"{what}_sync")(grant, endpoint_request(request))
    return response_for(request, answer)


def _is_too_large(request: HttpRequest) -> bool:
    length = str(request.META.get("CONTENT_LENGTH") or "")
    return length.isdecimal() and int(length[:20]) > conf.endpoints(asgi=is_asgi(request)).options.max_body


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _csrf_failure(request: HttpRequest) -> str | None:
    """What `CsrfViewMiddleware` has against the request; None where nothing, or where the project does without it."""
    match = request.resolver_match
    if request.method != "POST":
        return None  # asks for what GET gives, or is a method that the endpoint does not have
    if match is not None and getattr(match.func, "csrf_exempt", _CHECKED_HERE) is not _CHECKED_HERE:
        return None
    if not _has_csrf_middleware(tuple(settings.MIDDLEWARE)):
        return None
    check = _CsrfCheck(lambda request: response_for(request, Answer.options("")))
    check.process_request(request)
    reason: Any = check.process_view(request, _answered, (), {})
    return None if reason is None else str(reason)


@functools.cache
def _has_csrf_middleware(middleware: tuple[str, ...]) -> bool:
    return any(
        isinstance(found, type) and issubclass(found, CsrfViewMiddleware) for found in map(import_string, middleware)
    )
