"""Responses: an event stream, and the endpoints' answers."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from flask import Response, request

from inngest_realtime_core.endpoints.answers import Answer, SyncStreamAnswer, stream_headers
from inngest_realtime_core.endpoints.wsgi import watched
from inngest_realtime_core.subscriptions.sync import SyncSubscription

__all__ = ["response_for", "sse_response"]


def sse_response(
    stream: SyncSubscription | Generator[bytes, None, None],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    heartbeat: float = 10.0,
) -> Response:
    """A `text/event-stream` response of a subscription, which it closes when the client leaves.

    ```python
    @app.get("/runs/<run_id>/events")
    @login_required
    def events(run_id: str) -> Response:
        return sse_response(realtime.subscribe_sync(channel=Pipeline(run_id=run_id), topics=["status"]))
    ```
    A subscription resumes where the request's `Last-Event-ID` left off. The response holds no request context, so
    that what the application ties to one (a database session) is released before the streaming begins.

    Args:
        stream: The subscription, or an encoded stream of one (`get_event_stream()`, `get_encoded_stream()`).
        status: The HTTP status.
        headers: Added to those that event streams need, and taking precedence over them.
        heartbeat: Seconds between heartbeats; only when `stream` is a subscription.

    Raises:
        SubscriptionClosedError: The subscription is closed.
    """
    if isinstance(stream, SyncSubscription):
        stream = stream.get_event_stream(heartbeat=heartbeat, last_event_id=request.headers.get("Last-Event-ID"))
    response = Response(watched(stream, request.environ), status, {**stream_headers(), **(headers or {})})
    # Werkzeug closes the body with the response; this, the body of a response that is dropped before it is sent.
    response.call_on_close(stream.close)
    return response


def response_for(answer: Answer | SyncStreamAnswer) -> Response:
    """The response that an endpoint's answer is."""
    if isinstance(answer, SyncStreamAnswer):
        return sse_response(answer.body, answer.status, answer.headers)
    return Response(answer.body, answer.status, dict(answer.headers))
