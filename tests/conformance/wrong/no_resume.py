"""No resume: where the client left off is not handed over."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class NoResume(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        right = super().request(request)
        headers = {name: value for name, value in right.headers.items() if name != "last-event-id"}
        return dataclasses.replace(right, headers=headers)


app = NoResume().app()
