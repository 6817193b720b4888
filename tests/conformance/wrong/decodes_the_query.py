"""A query that was decoded before it is handed over: what a value holds becomes parameters of their own."""

from __future__ import annotations

import dataclasses
from urllib.parse import unquote_plus

from starlette.requests import Request

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointRequest


class DecodesTheQuery(Adapter):
    def request(self, request: Request) -> EndpointRequest:
        right = super().request(request)
        return dataclasses.replace(right, query=unquote_plus(right.query))


app = DecodesTheQuery().app()
