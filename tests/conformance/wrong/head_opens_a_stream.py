"""HEAD as frameworks serve it by themselves: as a GET, so that it opens a stream which nobody reads."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class HeadOpensAStream(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        right = super().request(request)
        return dataclasses.replace(right, method="GET") if right.method == "HEAD" else right


app = HeadOpensAStream().app()
