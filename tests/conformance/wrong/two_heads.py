"""Two heads: the adapter begins the response, and so does what it gives the stream to."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer
from inngest_realtime_core.endpoints.asgi import respond


class TwoHeads(Response):
    def __init__(self, answer: StreamAnswer) -> None:
        super().__init__(status_code=answer.status, headers=answer.headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await respond(self._answer, receive, send)


class SendsTwoHeads(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        return TwoHeads(answer) if isinstance(answer, StreamAnswer) else super().response(answer)


app = SendsTwoHeads().app()
