"""HEAD of a token as a GET: it costs a token that nobody gets."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class HeadAsksForAToken(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        right = super().request(request)
        asked = right.method == "HEAD" and request.url.path.endswith("/token")
        return dataclasses.replace(right, method="GET") if asked else right


app = HeadAsksForAToken().app()
