"""Events for path operations of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from inngest_realtime_core import ConfigurationError, Message

if TYPE_CHECKING:
    from fastapi.sse import ServerSentEvent
else:
    try:
        from fastapi.sse import ServerSentEvent
    except ImportError:
        ServerSentEvent = None  # before FastAPI 0.135


def server_sent_event(message: Message[Any]) -> ServerSentEvent:
    """A message as FastAPI's own event, to `yield` from a path operation of `fastapi.sse.EventSourceResponse`.

    ```python
    @app.get("/runs/{run_id}/events", response_class=EventSourceResponse)
    async def events(stream: PipelineStream) -> AsyncIterator[ServerSentEvent]:
        async for message in stream:
            yield server_sent_event(message)
    ```
    Its `data` is the JSON that the TypeScript SDK sends, not encoded a second time; a gap is an event of type `gap`. It
    has an `id`, and a client that comes back with it gets what it missed, or a gap, when the subscription is iterated
    that `subscription_stream` gave.

    Raises:
        ConfigurationError: FastAPI is older than 0.135, which brought server-sent events; or it is no message.
    """
    if cast("object", ServerSentEvent) is None:
        raise ConfigurationError(
            "server_sent_event needs FastAPI 0.135 or newer. Upgrade it, or return a RealtimeStreamingResponse."
        )
    if not isinstance(cast("object", message), Message):
        raise ConfigurationError(
            f"server_sent_event takes a message of a subscription, and got a {type(message).__name__}."
        )
    return ServerSentEvent(
        raw_data=message.to_json().decode(),
        event="gap" if message.kind == "gap" else None,
        id=message.event_id,
    )
