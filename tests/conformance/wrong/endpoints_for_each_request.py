"""Endpoints that are made anew for each request: none of them knows of the streams of the others."""

from __future__ import annotations

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Endpoints


class EndpointsForEachRequest(Adapter):
    def endpoints(self) -> Endpoints:
        return self.make()


app = EndpointsForEachRequest().app()
