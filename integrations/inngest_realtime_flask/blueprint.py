"""The token and stream endpoints as a blueprint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from flask import Blueprint, Flask, Request, Response, current_app, request
from werkzeug.exceptions import MethodNotAllowed

from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.endpoints.wsgi import MAX_STREAMS
from inngest_realtime_core.realtime import Realtime

from .responses import response_for

__all__ = ["realtime_blueprint"]

_APP = "inngest_realtime.app"


def realtime_blueprint(
    realtime: Realtime,
    grants: Sequence[Grant],
    *,
    heartbeat: float = 10.0,
    max_streams: int | None = MAX_STREAMS,
    name: str = "realtime",
    **blueprint_options: Any,
) -> Blueprint:
    """`/<grant>/token` (GET and POST) and `/<grant>/stream` (GET) for every grant.

    ```python
    app.register_blueprint(realtime_blueprint(realtime, grants), url_prefix="/api/realtime")
    ```
    The endpoints are named `realtime.token` and `realtime.stream`. `authorize` is called within the request, so
    `flask.request`, `session` and `g` are there, and may `abort()`.

    Args:
        realtime: What mints and subscribes.
        grants: What web clients may subscribe to, and who may.
        heartbeat: Seconds between a stream's heartbeats, unless its grant says otherwise. A client that left is
            noticed at the next one.
        max_streams: Streams open at once in this process; more are answered with 503. Each occupies a thread: give
            the server more threads than this. `None` for no limit, which suits gevent.
        name: The blueprint's name.
        blueprint_options: Passed to `Blueprint`: `url_prefix`, `subdomain`, ...
    """
    endpoints = Endpoints(
        realtime, grants, heartbeat=heartbeat, max_streams=max_streams, around_reauthorize_sync=in_new_context
    )
    blueprint = Blueprint(name, __name__, **blueprint_options)

    def token(grant: str) -> Response:
        _refuse_head("GET", "POST")
        body = request.get_data() if request.method == "POST" else b""
        return response_for(endpoints.token_sync(grant, this_request(), request.args.items(multi=True), body))

    def stream(grant: str) -> Response:
        _refuse_head("GET")
        last_event_id = request.headers.get("Last-Event-ID")
        parameters = request.args.items(multi=True)
        return response_for(endpoints.stream_sync(grant, this_request(), parameters, last_event_id))

    blueprint.add_url_rule("/<grant>/token", view_func=token, methods=["GET", "POST"])
    blueprint.add_url_rule("/<grant>/stream", view_func=stream, methods=["GET"])
    return blueprint


def this_request() -> Request:
    """The request itself rather than the proxy for it: a stream outlives what the proxy is tied to."""
    real: Request = cast("Any", request)._get_current_object()
    real.environ[_APP] = cast("Any", current_app)._get_current_object()
    return real


def in_new_context(request: Request) -> AbstractContextManager[object]:
    """The request once more, for `authorize` to be asked again in the middle of a stream.

    Not the context of the beginning: keeping that would keep what the application ties to it, a database session say.
    """
    app: Flask = request.environ[_APP]
    return app.request_context(request.environ)


def _refuse_head(*methods: str) -> None:
    # Werkzeug adds HEAD to GET: it would mint a token, or hold a stream open, and show nobody.
    if request.method == "HEAD":
        raise MethodNotAllowed([*methods, "OPTIONS"])
