"""Tokens of a route of one's own, without `no-store`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from conformance.wrong.adapter import Adapter, Endpoint


class OwnCachedTokens(Adapter):
    def own(self, endpoint: Endpoint) -> Endpoint:
        async def cached(request: Request) -> Response:
            response = await endpoint(request)
            if response.status_code == 200 and "application/json" in response.headers["content-type"]:
                del response.headers["Cache-Control"]
            return response

        return cached


app = OwnCachedTokens().app()
