"""Cancellation that goes no further: whoever stops the stream waits for it, and its subscription stays."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


async def stubborn(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    while True:
        reading = asyncio.ensure_future(anext(body, None))
        while not reading.done():
            try:
                await asyncio.wait({reading})
            except asyncio.CancelledError:
                continue
        chunk = reading.result()
        if chunk is None:
            return
        yield chunk


class SwallowsCancellation(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            answer = dataclasses.replace(answer, body=stubborn(answer.body))
        return super().response(answer)


app = SwallowsCancellation().app()
