"""The framework's own type of a response in place of the answer's."""

from __future__ import annotations

from starlette.responses import HTMLResponse, Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class ContentTypeOfTheFramework(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            return super().response(answer)
        return HTMLResponse(answer.body, answer.status, {**answer.headers, "Content-Type": "text/html; charset=utf-8"})


app = ContentTypeOfTheFramework().app()
