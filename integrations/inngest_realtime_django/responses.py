"""Responses: an event stream with the face that the server wants, and the endpoints' answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import aclosing, closing
from typing import Any

import django
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from inngest_realtime_core import ConfigurationError, PendingSubscription, Subscription, SyncSubscription
from inngest_realtime_core.arguments import check_interval, describe
from inngest_realtime_core.endpoints import Answer, Render, StreamAnswer, SyncStreamAnswer, stream_headers
from inngest_realtime_core.endpoints.asgi import bounded_sends
from inngest_realtime_core.endpoints.routes import gives_messages, not_a_stream
from inngest_realtime_core.endpoints.wsgi import asgi_departure, respond
from inngest_realtime_core.subscriptions.pending import open_sync
from inngest_realtime_core.subscriptions.subscription import take_over
from inngest_realtime_core.subscriptions.sync import take_over_sync

from .requests import is_asgi, is_request, route_request
from .threads import release_connections, release_thread

__all__ = ["RealtimeStreamingResponse", "response_for"]

_Body = AsyncGenerator[bytes, None] | Generator[bytes, None, None]


class RealtimeStreamingResponse(StreamingHttpResponse):
    """A `text/event-stream` response of a subscription, which it closes when the client leaves.

    ```python
    @login_required
    def progress(request: HttpRequest, run_id: str) -> RealtimeStreamingResponse:
        return RealtimeStreamingResponse(request, realtime.subscribe(channel=Pipeline(run_id=run_id)))
    ```
    The same view serves under ASGI, where the stream is asynchronous, and under WSGI, where it occupies the thread.
    An async view awaits the subscription: `RealtimeStreamingResponse(request, await realtime.subscribe(...))`.

    The request's database connections are closed before the streaming begins, after all middleware, and the thread is
    released that Django keeps for each ASGI request: an open stream holds neither. A stream begins where its
    subscription began, or where the request's `Last-Event-ID` header or `lastEventId` parameter says that the client
    left off. Django before 5.0 does not notice under ASGI that a client has left: there a
    stream ends after five minutes, and clients come back by themselves. Where a WSGI server answers one request at a
    time, an open stream would be all that it serves: there it is a 503, and the log says why.

    Args:
        request: The request, which tells ASGI from WSGI.
        stream: `realtime.subscribe(...)`, its awaited result, `realtime.subscribe_sync(...)` under WSGI, or an
            encoded stream of one of these (`get_event_stream()`, `get_encoded_stream()`).
        status: The HTTP status.
        headers: Added to those that event streams need, and taking precedence over them.
        heartbeat: Seconds between heartbeats; only when `stream` is a subscription.
        render: Makes HTML of a message, or None for none: the stream then carries `event: <topic>` with HTML, for htmx;
            only when `stream` is a subscription.
        send_timeout: Seconds that one send may block before the stream is ended; under WSGI on gunicorn and Werkzeug.

    Raises:
        InngestError: `realtime.subscribe(...)` was given, and it failed.
        ConfigurationError: The stream is async and the request is not, or the other way round.
    """

    def __init__(
        self,
        request: HttpRequest,
        stream: PendingSubscription | Subscription | SyncSubscription | _Body,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        heartbeat: float = 10.0,
        render: Render | None = None,
        send_timeout: float | None = 30.0,
    ) -> None:
        if not is_request(request):
            raise ConfigurationError(
                f"The request is {describe(request)}: the request comes first, then the stream. Write "
                "RealtimeStreamingResponse(request, realtime.subscribe(...))."
            )
        check_interval("send_timeout", send_timeout, optional=True)
        asgi = is_asgi(request)
        if isinstance(stream, PendingSubscription):
            stream = _opened(stream) if asgi else open_sync(stream)
        if isinstance(stream, Subscription | SyncSubscription):
            try:
                _check_face(asgi, isinstance(stream, Subscription))
            except ConfigurationError:
                # Nobody else will: what reports the error may hold the view's variables for long.
                stream.close("the response was refused")
                raise
            last_event_id = route_request(request).last_event_id
            if isinstance(stream, Subscription):
                stream = take_over(stream, heartbeat=heartbeat, last_event_id=last_event_id, render=render)
            else:
                stream = take_over_sync(stream, heartbeat=heartbeat, last_event_id=last_event_id, render=render)
        _check_stream(stream)
        _check_face(asgi, isinstance(stream, AsyncGenerator))
        self._body = stream
        headers = {**stream_headers(), **(headers or {})}
        content: Any
        if isinstance(stream, AsyncGenerator):
            content = _async_body(stream, send_timeout)
        else:
            sent = respond(SyncStreamAnswer(stream, send_timeout, status, headers), request.META)
            content, status, headers = sent.body, sent.status, sent.headers
            content = [content] if isinstance(content, bytes) else _sync_body(content)
        super().__init__(content, status=status, headers=dict(headers))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # As Django's own, which leaves it to the garbage collector to close the body of a client that left.
        try:
            async for part in super().__aiter__():
                yield part
        finally:
            if isinstance(self._body, AsyncGenerator):
                await self._body.aclose()

    def has_header(self, header: str) -> bool:
        # How GZipMiddleware asks whether it may compress. It may not: it would hold events back.
        return header.lower() == "content-encoding" or super().has_header(header)


def response_for(request: HttpRequest, answer: Answer | StreamAnswer | SyncStreamAnswer) -> HttpResponseBase:
    """The response that an endpoint's answer is."""
    if isinstance(answer, Answer):
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
    return RealtimeStreamingResponse(
        request, answer.body, answer.status, answer.headers, send_timeout=answer.send_timeout
    )


def _opened(pending: PendingSubscription) -> Subscription:
    async def opened() -> Subscription:
        return await pending

    try:
        return async_to_sync(opened)()
    except RuntimeError as error:
        raise ConfigurationError(
            "An async view gave a subscription that it had not awaited: use "
            "RealtimeStreamingResponse(request, await realtime.subscribe(...))."
        ) from error


def _check_stream(stream: object) -> None:
    if gives_messages(stream) or not isinstance(stream, AsyncGenerator | Generator):
        raise not_a_stream(stream, "realtime.subscribe(...)")


def _check_face(asgi: bool, is_async: bool) -> None:
    if asgi and not is_async:
        raise ConfigurationError(
            "Django would read a synchronous stream to its end before it sends any of it under ASGI. "
            "Give RealtimeStreamingResponse the result of realtime.subscribe(...) instead of subscribe_sync(...)."
        )
    if is_async and not asgi:
        raise ConfigurationError(
            "Under WSGI the event loop of an async view ends with the view, and its streams with it. "
            "Make the view synchronous and give RealtimeStreamingResponse realtime.subscribe(...), not awaited."
        )


async def _async_body(body: AsyncGenerator[bytes, None], send_timeout: float | None) -> AsyncGenerator[bytes, None]:
    async with aclosing(bounded_sends(body, send_timeout)) as chunks:
        await release_thread()
        left = asgi_departure() if django.VERSION < (5, 0) else None
        async for chunk in chunks:
            if left is not None and left():
                return
            yield chunk


def _sync_body(body: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    with closing(body):
        release_connections()
        yield from body
