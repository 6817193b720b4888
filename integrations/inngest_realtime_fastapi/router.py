"""The token and stream endpoints as a router: one path operation per grant, so that OpenAPI knows its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from fastapi import APIRouter, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.routing import Route
from typing_extensions import Unpack

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import EndpointOptions, Endpoints, Grant, OptionsDict
from inngest_realtime_starlette.routing import EveryMethod, client_operation, grant_operation

from .requests import HOST
from .schemas import body_schema, stream_parameters, stream_responses, token_parameters, token_responses

# Those that FastAPI runs the dependencies of the router for.
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class RouterOptions(OptionsDict, total=False):
    """The options of the endpoints, and those of `APIRouter` that suit it."""

    prefix: str
    tags: list[str | Enum] | None
    dependencies: Sequence[Depends] | None
    responses: dict[int | str, dict[str, Any]] | None
    deprecated: bool | None
    include_in_schema: bool
    route_class: type[APIRoute]


def realtime_router(realtime: Realtime, grants: Sequence[Grant], **options: Unpack[RouterOptions]) -> APIRouter:
    """`/{grant}/token` (GET and POST) and `/{grant}/stream` (GET) for every grant, and `/client.js`.

    ```python
    app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")
    ```
    Router-level `dependencies=` run before `authorize`. What they `yield` is held by FastAPI while a stream is open,
    unless it was asked for with `Depends(..., scope="function")`: a database session should be.

    A synchronous `authorize` runs in the thread pool; one that raises `HTTPException` refuses with its status and
    headers.

    Args:
        realtime: What mints and subscribes.
        grants: What web clients may subscribe to, and who may.
        options: See `EndpointOptions`: `heartbeat`, `max_streams`, `client`, ...; and those of `APIRouter`:
            `dependencies`, `tags`, `prefix`, ...
    """
    endpoint_options, router_options = EndpointOptions.take(options)
    endpoints = Endpoints(realtime, grants, endpoint_options, HOST)
    router_options.setdefault("tags", ["realtime"])
    router = APIRouter(**router_options)
    for grant in grants:
        _add_token(router, endpoints, grant)
        _add_stream(router, endpoints, grant)
    _add_rest(router, endpoints)
    return router


def _add_token(router: APIRouter, endpoints: Endpoints, grant: Grant) -> None:
    for method, extra in (
        ("GET", {"parameters": token_parameters(grant)}),
        ("POST", {"parameters": token_parameters(grant, required=False), "requestBody": body_schema(grant)}),
    ):
        router.add_api_route(
            f"/{grant.name}/token",
            grant_operation(endpoints.token, grant.name),
            methods=[method],
            name=f"{grant.name}_token",
            summary=f"Get a token for {grant.name}",
            description=f"A token with which a client subscribes to {_what(grant)} at Inngest itself, for one minute.",
            response_model=None,
            responses=token_responses(grant),
            openapi_extra=extra,
        )


def _add_stream(router: APIRouter, endpoints: Endpoints, grant: Grant) -> None:
    router.add_api_route(
        f"/{grant.name}/stream",
        grant_operation(endpoints.stream, grant.name),
        methods=["GET"],
        name=f"{grant.name}_stream",
        summary=f"Stream {grant.name}",
        description=f"The messages of {_what(grant)} as server-sent events, for `EventSource`.",
        response_model=None,
        response_class=Response,
        responses=stream_responses(grant),
        openapi_extra={"parameters": stream_parameters(grant)},
    )


def _add_rest(router: APIRouter, endpoints: Endpoints) -> None:
    """Names that no grant has, and methods that no endpoint has: the endpoints answer them."""
    for path, name, operation in (
        ("/{grant}/token", "token", grant_operation(endpoints.token)),
        ("/{grant}/stream", "stream", grant_operation(endpoints.stream)),
        ("/client.js", "client", client_operation(endpoints)),
    ):
        router.add_api_route(path, operation, methods=_METHODS, name=name, include_in_schema=False, response_model=None)
        # FastAPI has no path operation of methods that it is not told of.
        router.routes.append(Route(router.prefix + path, EveryMethod(operation), include_in_schema=False))


def _what(grant: Grant) -> str:
    channel = grant.channel if isinstance(grant.channel, str) else grant.channel.__name__
    return f"{channel} ({', '.join(grant.topics)})"
