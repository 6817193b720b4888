"""Responses: an event stream that cleans up after itself, and the endpoints' answers.

`inngest_realtime_core.endpoints.asgi` says how it differs from Starlette's `StreamingResponse`.

`GZipMiddleware` leaves event streams alone since Starlette 0.46; older versions compress them, and hold them back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from inngest_realtime_core import RealtimeError, Subscription
from inngest_realtime_core.arguments import check_interval
from inngest_realtime_core.endpoints import Answer, Render, StreamAnswer, stream_headers
from inngest_realtime_core.endpoints.asgi import event_stream_for, send_stream

AnyAnswer = Answer | StreamAnswer


class RealtimeStreamingResponse(StreamingResponse):
    """A `text/event-stream` response of a subscription, which it closes when the client leaves.

    ```python
    async def progress(request: Request) -> RealtimeStreamingResponse:
        subscription = await realtime.subscribe(channel=Pipeline(run_id="abc"), topics=["status"])
        return RealtimeStreamingResponse(subscription)
    ```
    It begins where the subscription began, or where the request's `Last-Event-ID` header or `lastEventId` parameter
    says that the client left off.

    Args:
        content: The subscription, or an encoded stream of one (`get_event_stream()`, `get_encoded_stream()`).
        status_code: The HTTP status.
        headers: Added to those that event streams need, and taking precedence over them.
        background: Run after the stream has ended.
        heartbeat: Seconds between heartbeats; only when `content` is a subscription.
        last_event_id: Where the client left off, in place of what the request says; only when `content` is a
            subscription.
        render: Makes HTML of a message, or None for none: the stream then carries `event: <topic>` with HTML, for htmx;
            only when `content` is a subscription.
        send_timeout: Seconds that one send may block before the stream is ended. The connection is the server's to end.

    Raises:
        ConfigurationError: `content` is neither.
        SubscriptionClosedError: The subscription is closed.
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
        render: Render | None = None,
        send_timeout: float | None = 30.0,
    ) -> None:
        check_interval("send_timeout", send_timeout, optional=True)
        self._stream = event_stream_for(content, heartbeat=heartbeat, last_event_id=last_event_id, render=render)
        self.send_timeout = send_timeout
        super().__init__((), status_code, {**stream_headers(), **(headers or {})}, background=background)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_stream(
            self._stream(scope),
            receive,
            send,
            status=self.status_code,
            headers=self.raw_headers,
            send_timeout=self.send_timeout,
        )
        if self.background is not None:
            await self.background()


def response_for(answer: AnyAnswer) -> Response:
    """The response that an endpoint's answer is."""
    if isinstance(answer, StreamAnswer):
        return RealtimeStreamingResponse(answer.body, answer.status, answer.headers, send_timeout=answer.send_timeout)
    return Response(answer.body, answer.status, answer.headers)


def realtime_error_handler(request: Request, error: Exception) -> Response:
    """Answers a `RealtimeError` of a route of one's own as the endpoints do: a `ChannelError` is a 422, and so on.

    ```python
    app = Starlette(routes=routes, exception_handlers={RealtimeError: realtime_error_handler})
    ```
    """
    if not isinstance(error, RealtimeError):
        raise error
    return response_for(Answer.from_error(error))
