"""A response of an error that is made anew, of its status and its body: when to come back is not in it."""

from __future__ import annotations

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class DropsHeadersOfErrors(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, Answer) and answer.status >= 400:
            kept = {name: answer.headers[name] for name in ("Content-Type", "Cache-Control")}
            return Response(answer.body, answer.status, kept)
        return super().response(answer)


app = DropsHeadersOfErrors().app()
