"""A body that is read to its end, however large its request says that it is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from conformance.wrong.adapter import Adapter, Endpoint


class ReadsTheWholeBody(Adapter):
    def served(self, endpoint: Endpoint) -> Endpoint:
        async def after_the_body(request: Request) -> Response:
            await request.body()
            return await endpoint(request)

        return after_the_body


app = ReadsTheWholeBody().app()
