"""The framework's own stream class in an application's own routes: whoever stops reading holds the stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from conformance.wrong.adapter import Adapter, Endpoint
from inngest_realtime_starlette import RealtimeStreamingResponse


class OwnFrameworkStream(Adapter):
    def own(self, endpoint: Endpoint) -> Endpoint:
        async def framed(request: Request) -> Response:
            response = await endpoint(request)
            if not isinstance(response, RealtimeStreamingResponse):
                return response
            body: AsyncGenerator[bytes, None] = cast("Any", response)._stream(request.scope)
            return StreamingResponse(body, headers=response.headers)

        return framed


app = OwnFrameworkStream().app()
