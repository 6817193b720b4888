"""A request of Starlette's as the endpoints take it, and Starlette's own ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from inngest_realtime_core.endpoints import EndpointError, EndpointRequest, Host
from inngest_realtime_core.endpoints.asgi import reader_of


def is_request(argument: object) -> bool:
    """Whether an endpoint's argument is the request."""
    return isinstance(argument, Request)


def endpoint_request(request: Request) -> EndpointRequest:
    """A request to one of the endpoints."""
    return EndpointRequest.from_scope(request.scope, request, reader_of(_body_of(request)))


def route_request(request: Request) -> EndpointRequest:
    """A request to a route of one's own, whose path holds parameters."""
    return EndpointRequest.from_scope(request.scope, request, route=request.path_params)


async def _body_of(request: Request) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        # Anybody can leave in the middle; an exception that nobody handles would be a traceback for each.
        raise EndpointError(400, "malformed_body", "The body has no end.") from None


def _endpoint_error(error: Exception) -> EndpointError | None:
    if isinstance(error, HTTPException):
        return EndpointError.refused(error.status_code, str(error.detail), error.headers)
    return None


HOST = Host(run_in_thread=run_in_threadpool, endpoint_error=_endpoint_error)
