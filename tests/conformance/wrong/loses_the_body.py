"""No body: parameters of a POST are looked for in the query alone."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest
from inngest_realtime_core.endpoints.request import no_body


class LosesTheBody(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        return dataclasses.replace(super().request(request), read=no_body)


app = LosesTheBody().app()
