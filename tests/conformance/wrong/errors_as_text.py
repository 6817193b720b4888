"""Errors as the framework shows them: a text for people, of which no client can tell one from another."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class ErrorsAsText(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, Answer) and answer.status >= 400:
            return PlainTextResponse("It did not work.", answer.status, {"Cache-Control": "no-store"})
        return super().response(answer)


app = ErrorsAsText().app()
