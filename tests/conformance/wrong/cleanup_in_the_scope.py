"""Clean-up inside the request's cancel scope: its first `await` is cancelled again, and what follows is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import Answer, StreamAnswer


class ScopedStream(StreamingResponse):
    """Reads the body in a task of its own, and stops it where the sending has been cancelled."""

    def __init__(self, body: AsyncGenerator[bytes, None], status: int, headers: Mapping[str, str]) -> None:
        self._body = body
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._lock = anyio.Lock()
        super().__init__(self._next_chunks(), status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = asyncio.create_task(self._read())
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_at_disconnect, receive, group.cancel_scope)
            try:
                await self.stream_response(send)
            finally:
                async with self._lock:
                    reading.cancel()
            group.cancel_scope.cancel()

    async def _read(self) -> None:
        async for chunk in self._body:
            await self._chunks.put(chunk)
        await self._chunks.put(None)

    async def _next_chunks(self) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def _cancel_at_disconnect(self, receive: Receive, cancel_scope: anyio.CancelScope) -> None:
        await self.listen_for_disconnect(receive)
        cancel_scope.cancel()


class CleanUpInTheScope(Adapter):
    def response(self, answer: Answer | StreamAnswer) -> Response:
        if isinstance(answer, StreamAnswer):
            return ScopedStream(answer.body, answer.status, answer.headers)
        return super().response(answer)


app = CleanUpInTheScope().app()
