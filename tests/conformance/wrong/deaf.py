"""Nobody listens to `receive`: a client that has left is sent to for ever."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class Deaf(Response):
    def __init__(self, answer: StreamAnswer) -> None:
        super().__init__(status_code=answer.status, headers=answer.headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        async for chunk in self._answer.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class IsDeaf(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        return Deaf(answer) if isinstance(answer, StreamAnswer) else super().response(answer)


app = IsDeaf().app()
