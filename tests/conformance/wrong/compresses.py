"""Streams that are compressed like any other response: what is small waits for more of it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator

from starlette.responses import Response

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class Compresses(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            headers = {**answer.headers, "Content-Encoding": "gzip"}
            answer = StreamAnswer(_compressed(answer.body), answer.send_timeout, headers=headers)
        return super().response(answer)


async def _compressed(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    packer = zlib.compressobj(wbits=31)
    async for chunk in body:
        yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)


app = Compresses().app()
