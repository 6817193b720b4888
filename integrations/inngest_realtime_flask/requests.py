"""A request of Flask's as the endpoints take it, and Flask's own ways."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlencode

from flask import Flask, Request, current_app, request
from werkzeug.exceptions import Forbidden, HTTPException

from inngest_realtime_core.endpoints import EndpointError, EndpointRequest, Host

_APP = "inngest_realtime.app"


def endpoint_request() -> EndpointRequest:
    """The current request, to one of the endpoints."""
    native = _this_request()
    return EndpointRequest.from_environ(native.environ, native, _read)


def route_request() -> EndpointRequest:
    """The current request, to a view of one's own, whose path holds parameters."""
    native = _this_request()
    return EndpointRequest.from_environ(native.environ, native, route=native.view_args or {})


def _read(size: int) -> bytes:
    if (request.content_length or size) < size:
        # Kept by Werkzeug: something before the view may have read it, and something after it may.
        # What it has parsed as a form is not kept, but what it found is.
        # The token of Flask-WTF's CSRF protection is no parameter.
        if not (request.form or request.files):
            return request.get_data()
        csrf = cast("dict[str, Any]", current_app.config).get("WTF_CSRF_FIELD_NAME", "csrf_token")
        return urlencode([field for field in request.form.items(multi=True) if field[0] != csrf]).encode()
    return request.stream.read(size)


def _this_request() -> Request:
    """The request itself rather than the proxy for it: a stream outlives what the proxy is tied to."""
    native: Request = cast("Any", request)._get_current_object()
    native.environ[_APP] = cast("Any", current_app)._get_current_object()
    return native


@contextmanager
def _in_new_context(old: Request) -> Generator[Request, None, None]:
    """The request once more, for `authorize` to be asked again in the middle of a stream: with a fresh session, and
    with what the application's `before_request` functions put into `g`.

    Not the context of the beginning: keeping that would keep what the application ties to it, a database session say.
    """
    app: Flask = old.environ[_APP]
    with app.request_context(old.environ):
        if app.preprocess_request() is not None:
            raise Forbidden  # answered in place of the view: to log in, for one
        yield cast("Any", request)._get_current_object()


def _endpoint_error(error: Exception) -> EndpointError | None:
    if not isinstance(error, HTTPException):
        return None
    response: Any = error.response  # of `abort(response)`
    if response is None:
        status, message, headers = error.code, error.description, error.get_headers()
    elif response.status_code < 400 or response.is_json:
        return None  # a page to log in at, or JSON of the application's own
    else:
        text = response.get_data(as_text=True).strip()
        message = text if "<" not in text and len(text) <= 200 else None
        status, headers = response.status_code, [*response.headers]
    if status is None:
        return None
    left_out = ("content-type", "content-length")
    kept = {name: value for name, value in headers if name.lower() not in left_out}
    return EndpointError.refused(status, message, kept)


HOST = Host(around_reauthorize_sync=_in_new_context, endpoint_error=_endpoint_error)
