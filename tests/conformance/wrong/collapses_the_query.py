"""The query as the framework's dictionary: of two values of one parameter the last one counts."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlencode

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class CollapsesTheQuery(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        return dataclasses.replace(super().request(request), query=urlencode(dict(request.query_params)))


app = CollapsesTheQuery().app()
