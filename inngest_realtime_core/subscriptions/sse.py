"""Server-sent events: what `text/event-stream` responses are made of.

Async streams are `async def` generators: web servers clean up no other kind of iterator when a client disconnects.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from .._hub.buffer import ReaderBuffer
from ..errors import RealtimeError

__all__ = [
    "EVENT_STREAM_HEADERS",
    "HEARTBEAT",
    "MEDIA_TYPE",
    "close_event",
    "encoded_stream",
    "event_stream",
    "preamble",
]

logger = logging.getLogger("inngest_realtime.sse")

MEDIA_TYPE: Final = "text/event-stream"

EVENT_STREAM_HEADERS: Final = {
    # A proxy that buffers or compresses would hold events back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""The headers that every event stream is sent with, beside its media type."""

HEARTBEAT: Final = b": heartbeat\n\n"
"""A comment: it keeps proxies from timing out, and shows a server that a client is gone."""

_RETRY: Final = 1_000  # milliseconds
_BATCH: Final = 64  # messages taken from the buffer at once
_WRITE: Final = 64 * 1024  # bytes of waiting events that leave in one write


def preamble(event_id: str | None = None) -> bytes:
    """The first bytes of a stream: they tell how soon to reconnect, and that the stream is open.

    Args:
        event_id: Where the stream begins: a client that is cut off before its first event resumes from there. An
            `EventSource` takes note of it although no event comes with it.
    """
    at = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return b"retry: %d\n%b: open\n\n" % (_RETRY, at)


def close_event() -> bytes:
    """The last bytes before a restart: clients come back spread over a while, not all at once."""
    return b"retry: %d\n: closing\n\n" % random.randint(_RETRY // 2, _RETRY * 3)


class HeartbeatTimer:
    """Wakes a reader when it has been silent for an interval. One timer a stream, not one a message."""

    def __init__(self, buffer: ReaderBuffer, interval: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._consumer = buffer
        self._interval = interval
        self._last = self._loop.time()
        self._timer = self._loop.call_later(interval, self._beat)
        self.due = False

    def sent(self) -> None:
        self._last = self._loop.time()
        self.due = False

    def stop(self) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        silent = self._loop.time() - self._last
        if silent >= self._interval:
            self.due = True
            self._consumer.wake()
            silent = 0.0
        self._timer = self._loop.call_later(self._interval - silent, self._beat)


async def encoded_stream(buffer: ReaderBuffer, *, heartbeat: float | None) -> AsyncGenerator[bytes, None]:
    """One `data: {...}` event for each message, as clients of the TypeScript SDK know them.

    Args:
        heartbeat: Seconds of silence after which a comment is sent; None sends none.
    """
    heartbeat_timer = None if heartbeat is None else HeartbeatTimer(buffer, heartbeat)
    loop = asyncio.get_running_loop()
    sent = False
    take_some = buffer.take_some
    try:
        while True:
            while messages := take_some(_BATCH):
                for message in messages:
                    yield message.to_sse()
                sent = True
            if buffer.ended:
                return
            if heartbeat_timer is not None:
                if sent:
                    # Silence begins here. The clock is not looked at for each message.
                    heartbeat_timer.sent()
                    sent = False
                if heartbeat_timer.due:
                    yield HEARTBEAT
                    heartbeat_timer.sent()
                    continue
            waiter = loop.create_future()
            if buffer.wait_on(waiter):
                await waiter
    finally:
        if heartbeat_timer is not None:
            heartbeat_timer.stop()
        buffer.detach()


async def event_stream(
    buffer: ReaderBuffer,
    *,
    heartbeat: float,
    reauthorize: Callable[[], Awaitable[bool]] | None = None,
    reauthorize_every: float | None = None,
    leaving: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[bytes, None]:
    """The body of an endpoint's stream: a preamble at once, events with ids, heartbeats, a close event.

    Events that wait leave in one write.

    Args:
        heartbeat: Seconds of silence after which a comment is sent.
        reauthorize: Asked again and again whether the stream may go on.
        reauthorize_every: Seconds between two questions, rounded up to the next heartbeat.
        leaving: Whether the process is about to stop.
    """
    heartbeat_timer = HeartbeatTimer(
        buffer, heartbeat if reauthorize_every is None else min(heartbeat, reauthorize_every)
    )
    loop = asyncio.get_running_loop()
    checked = loop.time()
    try:
        yield preamble(buffer.start_id)
        if buffer.catch_up is not None:
            await buffer.catch_up()
        heartbeat_timer.sent()
        while True:
            if reauthorize is not None and reauthorize_every is not None and loop.time() - checked >= reauthorize_every:
                if not await reauthorize():
                    return
                checked = loop.time()
            chunk = waiting_events(buffer)
            if chunk:
                yield chunk
                heartbeat_timer.sent()
            elif buffer.ended:
                if leaving():
                    yield close_event()
                return
            elif heartbeat_timer.due:
                yield HEARTBEAT
                heartbeat_timer.sent()
            # Mostly there is nothing more: waiting finds that out with the least work.
            waiter = loop.create_future()
            if buffer.wait_on(waiter):
                await waiter
    except RealtimeError as error:
        log_end(error)
    finally:
        heartbeat_timer.stop()
        buffer.detach()


def log_end(error: RealtimeError) -> None:
    """Say why a stream ends. The client comes back, and is answered with the reason; the server has made no mistake."""
    logger.warning("An event stream ends, because its subscription has: %s", error)


def waiting_events(buffer: ReaderBuffer) -> bytes:
    """All events that wait, up to a sensible size of one write; empty when none does."""
    message = buffer.take()
    if message is None:
        return b""
    event = message.to_event()
    if not buffer.has_messages:
        return event
    events = [event]
    size = len(event)
    # Only while there is more: taking from a reader that has ended may raise, and what has been taken would be lost.
    while size < _WRITE and buffer.has_messages and (message := buffer.take()) is not None:
        event = message.to_event()
        events.append(event)
        size += len(event)
    return b"".join(events)
