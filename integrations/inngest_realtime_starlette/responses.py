"""Responses: an event stream that cleans up after itself, and the endpoints' answers.

Deliberate differences from Starlette's `StreamingResponse`:

- `receive` is always listened to, also on servers that announce ASGI 2.4, where Starlette would notice a disconnect
  only at the next send: an idle stream is freed at once. (uvicorn 0.30 to 0.32.0 announces 2.4 and lets sends to
  nobody pass, so that there a plain `StreamingResponse` is never freed.)
- The body is closed when the response ends, not whenever the garbage collector finds it, and by a task outside the
  request's cancel scope, in which every `await` of a clean-up would be cancelled again.
- A send that blocks for `send_timeout` ends the stream: a peer that stopped reading holds no subscription for ever.
  What it still holds is the connection, with the bytes that it was sent: ASGI has no way to abort it. uvicorn keeps it
  until the peer reads on or is gone, also when it is to stop, unless it runs with `--timeout-graceful-shutdown`.

`GZipMiddleware` leaves event streams alone since Starlette 0.46; older versions compress them, and hold them back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping

from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from inngest_realtime_core.endpoints.answers import Answer, StreamAnswer, stream_headers
from inngest_realtime_core.subscriptions.subscription import Subscription

__all__ = ["RealtimeStreamingResponse", "response_for"]

logger = logging.getLogger("inngest_realtime.starlette")


class RealtimeStreamingResponse(StreamingResponse):
    """A `text/event-stream` response of a subscription, which it closes when the client leaves.

    ```python
    async def progress(request: Request) -> RealtimeStreamingResponse:
        subscription = await realtime.subscribe(channel=Pipeline(run_id="abc"), topics=["status"])
        return RealtimeStreamingResponse(subscription)
    ```

    Args:
        content: The subscription, or an encoded stream of one (`get_event_stream()`, `get_encoded_stream()`).
        status_code: The HTTP status.
        headers: Added to those that event streams need, and taking precedence over them.
        background: Run after the stream has ended.
        heartbeat: Seconds between heartbeats; only when `content` is a subscription.
        last_event_id: The request's `Last-Event-ID` header, to resume where the client left off; only when
            `content` is a subscription.
        send_timeout: Seconds that one send may block before the stream is ended. The connection is the server's to end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: Subscription | AsyncGenerator[bytes, None],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
        *,
        heartbeat: float = 10.0,
        last_event_id: str | None = None,
        send_timeout: float = 30.0,
    ) -> None:
        if isinstance(content, Subscription):
            content = content.get_event_stream(heartbeat=heartbeat, last_event_id=last_event_id)
        self._body = content
        self._blocked_since: float | None = None
        self.send_timeout = send_timeout
        super().__init__(content, status_code, {**stream_headers(), **(headers or {})}, background=background)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        sending = loop.create_task(self._send_all(send, loop), name="inngest-realtime-send")
        leaving = loop.create_task(_disconnect(receive), name="inngest-realtime-disconnect")
        self._watch_send(sending, loop)
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._timer.cancel()
            sending.cancel()
            leaving.cancel()
            await asyncio.shield(_keep(loop.create_task(self._close(sending, leaving), name="inngest-realtime-close")))
        if not sending.cancelled() and (error := sending.exception()) is not None and not isinstance(error, OSError):
            raise error
        if self.background is not None:
            await self.background()

    async def _send_all(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self._blocked_since = loop.time()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._blocked_since = None
        async for chunk in self.body_iterator:
            if chunk:
                self._blocked_since = loop.time()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._blocked_since = None
        self._blocked_since = loop.time()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _watch_send(self, sending: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
        """Cancels a send that blocks too long; one timer for the whole stream rather than one for each send."""
        now = loop.time()
        due = self.send_timeout + (now if self._blocked_since is None else self._blocked_since)
        if due <= now:
            logger.info("A client read nothing for %s s; its event stream is ended.", self.send_timeout)
            sending.cancel()
        else:
            self._timer = loop.call_at(due, self._watch_send, sending, loop)

    async def _close(self, *tasks: asyncio.Task[None]) -> None:
        await asyncio.wait(tasks)
        await self._body.aclose()


def response_for(answer: Answer | StreamAnswer, *, send_timeout: float = 30.0) -> Response:
    """The response that an endpoint's answer is."""
    if isinstance(answer, StreamAnswer):
        return RealtimeStreamingResponse(answer.body, answer.status, answer.headers, send_timeout=send_timeout)
    return Response(answer.body, answer.status, answer.headers)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_closings: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Holds a task until it is done: the event loop itself does not."""
    _closings.add(task)
    task.add_done_callback(_closings.discard)
    return task
