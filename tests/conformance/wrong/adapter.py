"""Starlette's adapter again, right, in parts of which a wrong one replaces one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from conformance import site
from conformance.apps import starlette
from inngest_realtime_core import RealtimeError
from inngest_realtime_core.endpoints import Answer, EndpointOptions, EndpointRequest, Endpoints, Host, StreamAnswer
from inngest_realtime_starlette import realtime_error_handler
from inngest_realtime_starlette.requests import HOST, endpoint_request
from inngest_realtime_starlette.responses import response_for
from inngest_realtime_starlette.routing import EveryMethod

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]

Endpoint = Callable[[Request], Awaitable[Response]]


class Adapter:
    """What an adapter does: hands over a request, and makes a response of the answer."""

    host: Host = HOST
    _endpoints: Endpoints

    def options(self) -> EndpointOptions:
        return EndpointOptions(**site.options())

    def request(self, request: Request) -> EndpointRequest:
        return endpoint_request(request)

    def response(self, answer: Answer | StreamAnswer) -> Response:
        return response_for(answer)

    def make(self) -> Endpoints:
        grants = site.grants(HTTPException, starlette.user)
        return Endpoints(starlette.realtime, grants, self.options(), self.host)

    def endpoints(self) -> Endpoints:
        """Those that answer the next request."""
        return self._endpoints

    def error(self, request: Request, error: Exception) -> Response:
        """Answers an error of an endpoint of the application's own."""
        return realtime_error_handler(request, error)

    def served(self, endpoint: Endpoint) -> Endpoint:
        """One of the ready-made endpoints."""
        return endpoint

    def own(self, endpoint: Endpoint) -> Endpoint:
        """An endpoint of the application's own."""
        return endpoint

    def app(self) -> Starlette:
        """The suite's Starlette application, with its endpoints served by this adapter."""
        self._endpoints = self.make()

        async def token(request: Request) -> Response:
            return self.response(await self.endpoints().token(request.path_params["grant"], self.request(request)))

        async def stream(request: Request) -> Response:
            return self.response(await self.endpoints().stream(request.path_params["grant"], self.request(request)))

        routes = [
            Route("/{grant}/token", EveryMethod(self.served(token))),
            Route("/{grant}/stream", EveryMethod(self.served(stream))),
        ]
        own = [
            Route("/own/{run_id}/token", self.own(starlette.own_token)),
            Route("/own/{run_id}/stream", self.own(starlette.own_stream)),
            Route("/own/{run_id}/other/token", self.own(starlette.other_token)),
            Route("/own/{run_id}/other/stream", self.own(starlette.other_stream)),
            Route("/own/{run_id}/response", self.own(starlette.own_response)),
            Route("/own/{run_id}/error", self.own(starlette.own_error)),
        ]
        return Starlette(
            routes=[Mount(site.PREFIX, routes=routes), Route("/stats", starlette.stats), *own],
            middleware=[Middleware(starlette.UserMiddleware)],
            exception_handlers={RealtimeError: self.error},
        )


app = Adapter().app()
