"""OPTIONS as the framework answers it for a route of all methods: it allows them all."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from conformance.wrong.adapter import METHODS, Adapter, Endpoint


class OptionsByTheFramework(Adapter):
    def served(self, endpoint: Endpoint) -> Endpoint:
        async def answered(request: Request) -> Response:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
            return await endpoint(request)

        return answered


app = OptionsByTheFramework().app()
