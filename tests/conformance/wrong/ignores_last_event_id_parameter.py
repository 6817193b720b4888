"""The header alone: clients that cannot set one begin anew each time."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class IgnoresLastEventIdParameter(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        right = super().request(request)
        kept = [(name, value) for name, value in parse_qsl(right.query) if name != "lastEventId"]
        return dataclasses.replace(right, query=urlencode(kept))


app = IgnoresLastEventIdParameter().app()
