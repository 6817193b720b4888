"""A request that is not the framework's own: it has the headers, and nothing that a middleware has put there."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class HandsOverAnotherRequest(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        right = super().request(request)
        return dataclasses.replace(right, native=right)


app = HandsOverAnotherRequest().app()
