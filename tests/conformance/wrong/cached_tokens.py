"""Tokens without `no-store`: what lies between keeps them, and hands them to others."""

from __future__ import annotations

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class CachedTokens(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        response = super().response(answer)
        if isinstance(answer, Answer) and answer.status == 200:
            del response.headers["Cache-Control"]
        return response


app = CachedTokens().app()
