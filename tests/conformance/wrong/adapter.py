"""Starlette's adapter again, right, in parts of which a wrong one replaces one."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from conformance import site
from conformance.apps import starlette
from inngest_realtime_core.endpoints import Answer, EndpointOptions, EndpointRequest, Endpoints, Host, StreamAnswer
from inngest_realtime_starlette.requests import HOST, endpoint_request
from inngest_realtime_starlette.responses import response_for
from inngest_realtime_starlette.routing import METHODS


class Adapter:
    """What an adapter does: hands over a request, and makes a response of the answer."""

    host: Host = HOST

    def request(self, request: Request) -> EndpointRequest:
        return endpoint_request(request)

    def response(self, answer: Answer | StreamAnswer) -> Response:
        return response_for(answer)

    def app(self) -> Starlette:
        """The suite's Starlette application, with its endpoints served by this adapter."""
        options = EndpointOptions(**site.options())
        endpoints = Endpoints(starlette.realtime, site.grants(HTTPException), options, self.host)

        async def token(request: Request) -> Response:
            return self.response(await endpoints.token(request.path_params["grant"], self.request(request)))

        async def stream(request: Request) -> Response:
            return self.response(await endpoints.stream(request.path_params["grant"], self.request(request)))

        routes = [
            Route("/{grant}/token", token, methods=METHODS),
            Route("/{grant}/stream", stream, methods=METHODS),
        ]
        return Starlette(routes=[Mount(site.PREFIX, routes=routes), Route("/stats", starlette.stats)])


app = Adapter().app()
