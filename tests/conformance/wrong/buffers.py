"""A buffer between the stream and its client: events wait for those that fill it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


async def buffered(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    held = b""
    async for chunk in body:
        held += chunk
        if len(held) >= 1_024:
            yield held
            held = b""
    yield held


class Buffers(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            answer = dataclasses.replace(answer, body=buffered(answer.body))
        return super().response(answer)


app = Buffers().app()
