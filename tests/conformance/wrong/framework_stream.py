"""The framework's own stream class: a client that stops reading holds its stream for as long as it likes."""

from __future__ import annotations

from starlette.responses import Response, StreamingResponse

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class FrameworkStream(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            return StreamingResponse(answer.body, answer.status, answer.headers)
        return super().response(answer)


app = FrameworkStream().app()
