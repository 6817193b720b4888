"""The token and stream endpoints as a blueprint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState
from typing_extensions import Unpack
from werkzeug.exceptions import HTTPException, default_exceptions

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import Answer, EndpointOptions, Endpoints, Grant, OptionsDict
from inngest_realtime_core.endpoints.wsgi import MAX_STREAMS

from .requests import HOST, endpoint_request
from .responses import response_for

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class BlueprintOptions(OptionsDict, total=False):
    """The options of the endpoints, and those of `Blueprint` that suit it."""

    name: str
    url_prefix: str | None
    subdomain: str | None
    url_defaults: dict[str, Any] | None
    root_path: str | None


def realtime_blueprint(realtime: Realtime, grants: Sequence[Grant], **options: Unpack[BlueprintOptions]) -> Blueprint:
    """`/<grant>/token` (GET and POST) and `/<grant>/stream` (GET) for every grant, and `/client.js`.

    ```python
    app.register_blueprint(realtime_blueprint(realtime, grants), url_prefix="/api/realtime")
    ```
    The endpoints are named `realtime.token`, `realtime.stream` and `realtime.client`. `authorize` is called within
    the request, so `flask.request`, `session` and `g` are there, and may `abort()`.

    Args:
        realtime: What mints and subscribes.
        grants: What web clients may subscribe to, and who may.
        options: See `EndpointOptions`: `heartbeat`, `client`, ...; of them `max_streams` is 16 by default, because each
            stream occupies a thread: give the server more threads than this, or pass `None` under gevent. And those of
            `Blueprint`: `name`, `url_prefix`, ...
    """
    endpoint_options, blueprint_options = EndpointOptions.take(options, max_streams=MAX_STREAMS)
    endpoints = Endpoints(realtime, grants, endpoint_options, HOST)
    blueprint = Blueprint(blueprint_options.pop("name", "realtime"), __name__, **blueprint_options)

    def token(grant: str) -> Response:
        return response_for(endpoints.token_sync(grant, endpoint_request()))

    def stream(grant: str) -> Response:
        return response_for(endpoints.stream_sync(grant, endpoint_request()))

    def client() -> Response:
        return response_for(endpoints.client_js(endpoint_request()))

    def add(rule: str, view: Callable[..., Response]) -> None:
        blueprint.add_url_rule(rule, view_func=view, methods=_METHODS, provide_automatic_options=False)
        blueprint.record(functools.partial(_serve_every_method, view.__name__))

    def failed(error: HTTPException) -> Response | HTTPException:
        refused = HOST.endpoint_error(error)
        return error if refused is None else response_for(Answer.from_error(refused))

    # What extensions raise before the view is reached: no CSRF token, too many requests, nobody logged in.
    for status in default_exceptions:
        if status < 500:
            blueprint.register_error_handler(status, failed)
    add("/<grant>/token", token)
    add("/<grant>/stream", stream)
    add("/client.js", client)
    return blueprint


class _EveryMethod(set[str]):
    """Lists the methods that are known, and has all others as well: the endpoints know which they serve."""

    def __contains__(self, method: object) -> bool:
        return True


def _serve_every_method(endpoint: str, state: BlueprintSetupState) -> None:
    """Called when the blueprint is registered: Flask has to be told names of methods, of which there are any."""
    name = ".".join(filter(None, (state.name_prefix, state.name, endpoint)))
    for rule in state.app.url_map.iter_rules(name):
        rule.methods = _EveryMethod(rule.methods or ())
