"""What frameworks answer by themselves to a method that a route does not have: 405, with an `Allow` of their own."""

from __future__ import annotations

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class WrongAllow(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        response = super().response(answer)
        if response.status_code == 405:
            response.headers["Allow"] = "GET, HEAD, POST"
        return response


app = WrongAllow().app()
