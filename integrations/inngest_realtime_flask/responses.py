"""Responses: an event stream, and the endpoints' answers."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from flask import Response, request

from inngest_realtime_core import RealtimeError, SyncSubscription
from inngest_realtime_core.arguments import check_interval
from inngest_realtime_core.endpoints import Answer, Render, SyncStreamAnswer, stream_headers
from inngest_realtime_core.endpoints.wsgi import event_stream_for, respond


def sse_response(
    stream: SyncSubscription | Generator[bytes, None, None],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    heartbeat: float = 10.0,
    render: Render | None = None,
    send_timeout: float | None = 30.0,
) -> Response:
    """A `text/event-stream` response of a subscription, which it closes when the client leaves.

    ```python
    @app.get("/runs/<run_id>/events")
    @login_required
    def events(run_id: str) -> Response:
        return sse_response(realtime.subscribe_sync(channel=Pipeline(run_id=run_id), topics=["status"]))
    ```
    It begins where the subscription began, or where the request's `Last-Event-ID` header or `lastEventId` parameter
    says that the client left off. The response holds no request context, so that what the application ties to one
    (a database session) is released before the streaming begins. Where the server answers one request at a time, an
    open stream would be all that it serves: there it is a 503, and the log says why.

    Args:
        stream: The subscription, or an encoded stream of one (`get_event_stream()`, `get_encoded_stream()`).
        status: The HTTP status.
        headers: Added to those that event streams need, and taking precedence over them.
        heartbeat: Seconds between heartbeats; only when `stream` is a subscription.
        render: Makes HTML of a message, or None for none: the stream then carries `event: <topic>` with HTML, for htmx;
            only when `stream` is a subscription.
        send_timeout: Seconds that one send may block before the stream is ended, on gunicorn's and Werkzeug's servers.

    Raises:
        ConfigurationError: `stream` is neither.
        SubscriptionClosedError: The subscription is closed.
    """
    check_interval("send_timeout", send_timeout, optional=True)
    body = event_stream_for(stream, request.environ, heartbeat=heartbeat, render=render)
    return response_for(SyncStreamAnswer(body, send_timeout, status, {**stream_headers(), **(headers or {})}))


def response_for(answer: Answer | SyncStreamAnswer) -> Response:
    """The response that an endpoint's answer is."""
    sent = respond(answer, request.environ)
    response = Response(sent.body, sent.status)
    response.headers.update(dict(sent.headers))  # after Werkzeug's own Content-Length, which a HEAD has otherwise
    if isinstance(answer, SyncStreamAnswer):
        # Werkzeug closes the body with the response; this, the body of a response that is dropped before it is sent.
        response.call_on_close(answer.body.close)
    return response


def realtime_error_handler(error: RealtimeError) -> Response:
    """Answers a `RealtimeError` of a view of one's own as the endpoints do: a `ChannelError` is a 422, and so on.

    The extension registers it; without: `app.register_error_handler(RealtimeError, realtime_error_handler)`.
    """
    return response_for(Answer.from_error(error))
