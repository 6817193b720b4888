"""A request of Django's as the endpoints take it, and Django's own ways."""

from __future__ import annotations

import copy
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.utils.functional import SimpleLazyObject

from inngest_realtime_core.endpoints import EndpointError, EndpointRequest, Host

from .threads import release_connections, release_thread, run_coroutine, run_in_thread

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def _djangos(request: object) -> Any:
    """Django's own request, which one of Django REST framework's wraps."""
    return getattr(request, "_request", request)


def is_request(argument: object) -> bool:
    """Whether a view's argument is the request."""
    return isinstance(_djangos(argument), HttpRequest)


def is_asgi(request: HttpRequest) -> bool:
    """Whether the server speaks ASGI."""
    return isinstance(_djangos(request), ASGIRequest)


def route_request(request: HttpRequest) -> EndpointRequest:
    """A request to a view of one's own, whose path holds parameters."""
    match = request.resolver_match
    return endpoint_request(request, {} if match is None else match.kwargs)


def endpoint_request(request: HttpRequest, route: dict[str, Any] | None = None) -> EndpointRequest:
    """A request to one of the endpoints, unless it is a `route` of one's own with such parameters."""
    wrapped = _djangos(request)

    def read(size: int) -> bytes:
        if wrapped.content_type not in _FORMS or int(wrapped.META.get("CONTENT_LENGTH") or size) >= size:
            return request.read(size)
        # Django may have read it, looking for the token of its CSRF protection; which is no parameter.
        try:
            fields = wrapped.POST.copy()
        except (BadRequest, MultiPartParserError, SuspiciousOperation) as error:
            raise EndpointError(400, "malformed_body", f"Django refuses the form: {error}") from None
        fields.pop("csrfmiddlewaretoken", None)
        return bytes(fields.urlencode(), "ascii")

    if isinstance(wrapped, ASGIRequest):
        return EndpointRequest.from_scope(wrapped.scope, request, read, route)
    return EndpointRequest.from_environ(request.META, request, read, route)


def _current(request: HttpRequest) -> HttpRequest:
    """The request as if it came now: with the session and the user of today, not with those it was opened with."""
    fresh = copy.copy(request)
    session: Any = getattr(request, "session", None)
    if session is not None:
        engine: Any = import_module(settings.SESSION_ENGINE)
        fresh.session = engine.SessionStore(session.session_key)
        if hasattr(request, "user"):
            for name in ("_cached_user", "_acached_user"):
                fresh.__dict__.pop(name, None)
            user: Any = SimpleLazyObject(lambda: get_user(fresh))
            fresh.user = user
            if hasattr(request, "auser"):
                fresh.auser = _async_user(fresh)
    return fresh


def _async_user(request: HttpRequest) -> Any:
    from django.contrib.auth import aget_user  # Django 5.0 brought it, and `request.auser` with it

    async def auser() -> Any:
        return await aget_user(request)

    return auser


@contextmanager
def _around_reauthorize_sync(request: HttpRequest) -> Generator[HttpRequest, None, None]:
    try:
        yield _current(request)
    finally:
        release_connections()


@asynccontextmanager
async def _around_reauthorize(request: HttpRequest) -> AsyncGenerator[HttpRequest, None]:
    try:
        yield _current(request)
    finally:
        await release_thread()


def _endpoint_error(error: Exception) -> EndpointError | None:
    for kind, status in ((PermissionDenied, 403), (Http404, 404), (BadRequest, 400)):
        if isinstance(error, kind):
            return EndpointError.refused(status, str(error))
    # That of Django REST framework, where the project has it: of authentication classes that `authorize` calls, say.
    rest: Any = sys.modules.get("rest_framework.exceptions")
    if rest is None or not isinstance(error, rest.APIException):
        return None
    raised: Any = error
    headers = {"WWW-Authenticate": getattr(error, "auth_header", None), "Retry-After": getattr(error, "wait", None)}
    message = str(raised.detail) if isinstance(raised.detail, str) else None
    return EndpointError.refused(
        raised.status_code, message, {name: str(value) for name, value in headers.items() if value}
    )


HOST = Host(run_in_thread, run_coroutine, _around_reauthorize, _around_reauthorize_sync, _endpoint_error)
