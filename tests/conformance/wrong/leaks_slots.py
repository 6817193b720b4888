"""A count of its own of what is open, which goes up for streams that are refused, too, and never down for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from conformance import site
from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, EndpointError, EndpointRequest, StreamAnswer


class LeaksSlots(Adapter):
    open = 0

    def request(self, request: Request) -> EndpointRequest:
        if request.url.path.endswith("/stream"):
            self.open += 1
        return super().request(request)

    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, Answer):
            return super().response(answer)
        limit = site.options()["max_streams"]
        if limit is not None and self.open > limit:
            error = EndpointError(503, "too_many_streams", "Too many streams are open.", headers={"Retry-After": "1"})
            return super().response(Answer.from_error(error))
        return super().response(StreamAnswer(self._counted(answer.body), answer.send_timeout))

    async def _counted(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in body:
                yield chunk
        finally:
            self.open -= 1
            await body.aclose()


app = LeaksSlots().app()
