"""Synchronous work where the body is sent: while one stream waits, so does everybody."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


async def slowly(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async for chunk in body:
        time.sleep(0.3)  # noqa: ASYNC251 - that is what is wrong
        yield chunk


class BlocksTheLoop(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            answer = dataclasses.replace(answer, body=slowly(answer.body))
        return super().response(answer)


app = BlocksTheLoop().app()
