"""No headers: an event stream that proxies hold back, and caches keep."""

from __future__ import annotations

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class NoHeaders(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        response = super().response(answer)
        for name in ("Cache-Control", "X-Accel-Buffering"):
            if name in response.headers:
                del response.headers[name]
        return response


app = NoHeaders().app()
