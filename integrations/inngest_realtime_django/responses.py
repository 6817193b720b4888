"""Responses: an event stream with the face that the server wants, and the endpoints' answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import aclosing, closing
from typing import Any, cast

import django
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from inngest_realtime_core import ConfigurationError, PendingSubscription, Subscription, SyncSubscription
from inngest_realtime_core.arguments import check_interval, describe
from inngest_realtime_core.endpoints import Answer, Render, StreamAnswer, SyncStreamAnswer, asgi, stream_headers, wsgi
from inngest_realtime_core.endpoints.routes import gives_messages, not_a_stream
from inngest_realtime_core.subscriptions.pending import open_sync

from .requests import is_asgi, is_request
from .threads import release_connections, release_thread

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

    _body: AsyncGenerator[bytes, None] | None = None  # under ASGI

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
        if isinstance(stream, PendingSubscription):
            stream = _opened(stream) if is_asgi(request) else open_sync(stream)
        _check_stream(stream, is_asgi(request))
        headers = {**stream_headers(), **(headers or {})}
        content: Any
        if is_asgi(request):
            scope: Mapping[str, Any] = cast("Any", request).scope
            self._body = asgi.event_stream_for(stream, heartbeat=heartbeat, render=render)(scope)
            content = _async_body(self._body, send_timeout)
        else:
            body = wsgi.event_stream_for(stream, request.META, heartbeat=heartbeat, render=render)
            sent = wsgi.respond(SyncStreamAnswer(body, send_timeout, status, headers), request.META)
            content, status, headers = sent.body, sent.status, sent.headers
            content = [content] if isinstance(content, bytes) else _sync_body(content)
        super().__init__(content, status=status, headers=dict(headers))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # As Django's own, which leaves it to the garbage collector to close the body of a client that left.
        try:
            async for part in super().__aiter__():
                yield part
        finally:
            if self._body is not None:
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
        pending.close()  # nobody will await it: that is told here
        raise ConfigurationError(
            "An async view gave a subscription that it had not awaited: use "
            "RealtimeStreamingResponse(request, await realtime.subscribe(...))."
        ) from error


def _check_stream(stream: object, under_asgi: bool) -> None:
    is_async = isinstance(stream, Subscription | AsyncGenerator)
    if gives_messages(stream) or not (is_async or isinstance(stream, SyncSubscription | Generator)):
        raise not_a_stream(stream, "realtime.subscribe(...)")
    if is_async is under_asgi:
        return
    if isinstance(stream, Subscription | SyncSubscription):
        # Nobody else will: what reports the error may hold the view's variables for long.
        stream.close("the response was refused")
    if under_asgi:
        raise ConfigurationError(
            "Django would read a synchronous stream to its end before it sends any of it under ASGI. "
            "Give RealtimeStreamingResponse the result of realtime.subscribe(...) instead of subscribe_sync(...)."
        )
    raise ConfigurationError(
        "Under WSGI the event loop of an async view ends with the view, and its streams with it. "
        "Make the view synchronous and give RealtimeStreamingResponse realtime.subscribe(...), not awaited."
    )


async def _async_body(body: AsyncGenerator[bytes, None], send_timeout: float | None) -> AsyncGenerator[bytes, None]:
    async with aclosing(asgi.bounded_sends(body, send_timeout)) as chunks:
        await release_thread()
        left = wsgi.asgi_departure() if django.VERSION < (5, 0) else None
        async for chunk in chunks:
            if left is not None and left():
                return
            yield chunk


def _sync_body(body: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    with closing(body):
        release_connections()
        yield from body
