"""Server-sent events: what `text/event-stream` responses are made of.

Async streams are `async def` generators: web servers clean up no other kind of iterator when a client disconnects.

Widely used readers hand on every block that ends in an empty line, also one that holds a comment or an `id:` alone. So
each block of an event stream is an event with JSON data that has a `kind`, and a heartbeat is a line of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any, Final, Literal

import msgspec

from .._concurrency.background import check_may_block, run_sync
from .._concurrency.tasks import call_after, deadline
from .._concurrency.threads import check_event_loop, new_waiter
from .._hub.buffer import ReaderBuffer
from .._telemetry.throttled_log import ThrottledLog
from ..errors import RealtimeError
from ..messages.message import Message
from .wsgi_servers import read_by_server

_log = ThrottledLog(logging.getLogger("inngest_realtime.sse"))

MEDIA_TYPE: Final = "text/event-stream"

EVENT_STREAM_HEADERS: Final = {
    # A proxy that buffers or compresses would hold events back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""The headers that every event stream is sent with, beside its media type."""

HEARTBEAT: Final = b": heartbeat\n"
"""A comment: it keeps proxies from timing out, and shows a server that a client is gone."""

EndReason = Literal["forbidden", "failed", "closed"]
"""Why a stream has ended for good: `authorize` withdrew its consent, Inngest refused, or the application closed it."""

_RETRY: Final = 1_000  # milliseconds
# How a stream begins. It is no event yet, which an empty line ends.
_RETRY_LINE: Final = b"retry: %d\n" % _RETRY
_PATIENCE: Final = 0.1  # seconds that it is not sent alone, since the id of `ready` is mostly known by then

# Not the shared generator: its sequence, and its seed, are the application's.
_RANDOM: Final = random.SystemRandom()
_WRITE: Final = 64 * 1024  # bytes of waiting events that are taken at once, and leave in one write
_EVENT_ID: Final = re.compile(r"[!-~]{1,200}")


def preamble(channel: str, topics: Sequence[str], event_id: str | None = None) -> bytes:
    """The first bytes of a stream: the event `ready`, and how soon to reconnect.

    Args:
        channel: The channel's name.
        topics: The names of the topics.
        event_id: The place before the first event that will follow: a client that is cut off before that event resumes
            from there.
    """
    at = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    data = msgspec.json.encode({"kind": "ready", "channel": channel, "topics": list(topics)})
    return b"%b%bevent: ready\ndata: %b\n\n" % (_RETRY_LINE, at, data)


def close_event() -> bytes:
    """The last bytes before a restart: clients come back spread over a while, not all at once."""
    retry = _RANDOM.randint(_RETRY // 2, _RETRY * 3)
    return b'retry: %d\nevent: closing\ndata: {"kind":"closing"}\n\n' % retry


def end_event(reason: EndReason) -> bytes:
    """The last bytes of a stream that is over for good."""
    return b'event: end\ndata: {"kind":"end","reason":"%b"}\n\n' % reason.encode()


class HeartbeatTimer:
    """Wakes a reader when it has been silent for an interval. One timer a stream, not one a message."""

    def __init__(self, buffer: ReaderBuffer, interval: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer
        self._interval = interval
        self._last = time.monotonic()
        self._cancel = call_after(self._loop, interval, self._beat)
        self.due: bool = False

    def sent(self) -> None:
        self._last = time.monotonic()
        self.due = False

    def stop(self) -> None:
        self._cancel()

    def _beat(self) -> None:
        silent = time.monotonic() - self._last
        if silent >= self._interval:
            self.due = True
            self._buffer.wake()
            silent = 0.0
        self._cancel = call_after(self._loop, self._interval - silent, self._beat)


async def encoded_stream(
    buffer: ReaderBuffer, loop: asyncio.AbstractEventLoop, *, heartbeat: float | None
) -> AsyncGenerator[bytes, None]:
    """One `data: {...}` event for each message, as clients of the TypeScript SDK know them.

    Args:
        loop: The event loop of the subscription.
        heartbeat: Seconds of silence after which a comment is sent; None sends none.
    """
    check_event_loop(loop)
    heartbeat_timer = None if heartbeat is None else HeartbeatTimer(buffer, heartbeat)
    sent = False
    try:
        while True:
            while events := buffer.encode_some(Message.to_sse, _WRITE):
                for event in events:
                    yield event
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


def encoded_stream_sync(buffer: ReaderBuffer, *, heartbeat: float | None) -> Generator[bytes, None, None]:
    """The sync twin of `encoded_stream`. A WSGI server gets a comment first, where it would wait for the headers."""
    try:
        if not buffer.has_messages and read_by_server():
            yield HEARTBEAT
        while True:
            message = buffer.take()
            if message is not None:
                yield message.to_sse()
            elif buffer.ended:
                return
            elif not wait_sync(buffer, heartbeat):
                yield HEARTBEAT
    finally:
        buffer.detach()


def wait_sync(buffer: ReaderBuffer, timeout: float | None) -> bool:
    """Blocks until there is something to take; False when the time is up first."""
    check_may_block()
    waiter = new_waiter()
    return not buffer.wait_on(waiter) or waiter.wait(timeout)


class EventStream:
    """The state of an event stream's body: what it sends next. Its sync and its async face only wait and send.

    Args:
        buffer: What it reads.
        topics: The names of the subscription's topics.
        heartbeat: Seconds of silence after which a comment is sent.
        last_event_id: The id of the last event that the client has had.
        reauthorize_every: Seconds between two times that the stream is authorized again, rounded up to the next
            heartbeat; None for never.
        leaving: Whether the process is about to stop.
        encode: Makes an event of a message; one that is empty is left out.

    Attributes:
        ready: The client has been told that it is subscribed.
        over: Nothing more is to be sent.
    """

    def __init__(
        self,
        buffer: ReaderBuffer,
        channel: str = "",
        topics: Sequence[str] = (),
        *,
        heartbeat: float,
        last_event_id: str | None = None,
        reauthorize_every: float | None = None,
        leaving: Callable[[], bool] = lambda: False,
        encode: Callable[[Message[Any]], bytes] = Message.to_event,
    ) -> None:
        self.buffer = buffer
        self.interval: float = heartbeat if reauthorize_every is None else min(heartbeat, reauthorize_every)
        self._channel = channel
        self._topics = topics
        self._last_event_id = last_event_id
        self.reauthorize_every: float | None = reauthorize_every
        self._authorized_at = time.monotonic()
        self._leaving = leaving
        self._encode = encode
        self._begun = False
        self.ready: bool = False
        self.over: bool = False

    @property
    def waits(self) -> bool:
        """Whether the id of `ready` is still to come: that of a client that comes back is its own."""
        return self.buffer.catch_up is not None and not self._last_event_id

    async def catch_up(self, patience: float | None = None) -> None:
        """Gives the reader what it missed, and ids. To be called again when it has taken so many seconds."""
        if self.buffer.catch_up is not None:
            with deadline(patience):
                await self.buffer.catch_up()
                self.buffer.catch_up = None

    def preamble(self) -> bytes:
        """The first bytes, or what is left of them: while the id of `ready` is to come, the first line leaves alone."""
        begun, self._begun = self._begun, True
        if self.waits:
            return _RETRY_LINE
        self.ready = True
        event_id = self.buffer.start_id
        if event_id is None and self._last_event_id and _EVENT_ID.fullmatch(self._last_event_id):
            # Cut off again before what it missed has come, the client is where it was.
            event_id = self._last_event_id
        return preamble(self._channel, self._topics, event_id).removeprefix(_RETRY_LINE if begun else b"")

    @property
    def unauthorized(self) -> bool:
        """Whether the stream is to be authorized again before it goes on."""
        every = self.reauthorize_every
        return every is not None and time.monotonic() - self._authorized_at >= every

    def reauthorized(self, allowed: bool | None) -> bytes:
        """Takes the outcome of that, None where there is none; returns what is to be sent."""
        self._authorized_at = time.monotonic()
        return b"" if allowed else self._end(close_event() if allowed is None else end_event("forbidden"))

    def poll(self) -> bytes:
        """What is to be sent now: all events that wait, up to a sensible size of one write; empty when none does."""
        buffer = self.buffer
        try:
            if events := buffer.encode_some(self._encode, _WRITE):
                return b"".join(events)
            if buffer.ended:
                return self._end(close_event() if self._leaving() else end_event("closed"))
            return b""
        except RealtimeError as error:
            # The client comes back, and gets the reason as its answer; the server has made no mistake.
            _log.write(
                logging.WARNING,
                ("stream.failed", type(error)),
                f"An event stream ends, because its subscription has: {error} The client comes back.",
                event="stream.failed",
            )
            return self._end(close_event() if self._leaving() else end_event("failed"))

    def _end(self, last: bytes) -> bytes:
        self.over = True
        return last


async def event_stream(
    state: EventStream, loop: asyncio.AbstractEventLoop, reauthorize: Callable[[], Awaitable[bool]] | None = None
) -> AsyncGenerator[bytes, None]:
    """The body of an endpoint's stream: `ready` at once, events with ids, heartbeats, `closing` or `end` at last.

    Events that wait leave in one write.

    Args:
        loop: The event loop of the subscription.
        reauthorize: Asked again and again whether the stream may go on. After a `RealtimeError` the client comes back.
    """
    check_event_loop(loop)
    buffer = state.buffer
    if state.reauthorize_every is None:
        reauthorize = None
    heartbeat_timer = HeartbeatTimer(buffer, state.interval)
    try:
        if state.waits:
            await state.catch_up(_PATIENCE)
        yield state.preamble()
        await state.catch_up()
        if not state.ready:
            yield state.preamble()
        heartbeat_timer.sent()
        while True:
            chunk = b""
            if reauthorize is not None and state.unauthorized:
                try:
                    chunk = state.reauthorized(bool(await reauthorize()))
                except RealtimeError:
                    chunk = state.reauthorized(None)
            chunk = chunk or state.poll()
            if chunk:
                yield chunk
                if state.over:
                    return
                heartbeat_timer.sent()
            elif heartbeat_timer.due:
                yield HEARTBEAT
                heartbeat_timer.sent()
            # Mostly there is nothing more: waiting finds that out with the least work.
            waiter = loop.create_future()
            if buffer.wait_on(waiter):
                await waiter
    finally:
        heartbeat_timer.stop()
        buffer.detach()


def event_stream_sync(
    state: EventStream, reauthorize: Callable[[], bool] | None = None
) -> Generator[bytes, None, None]:
    """The sync twin of `event_stream`, of a subscription on the background loop."""
    buffer = state.buffer
    try:
        if state.waits:
            run_sync(lambda: state.catch_up(_PATIENCE))
        yield state.preamble()
        if buffer.catch_up is not None:
            run_sync(state.catch_up)
        if not state.ready:
            yield state.preamble()
        while True:
            chunk = b""
            if reauthorize is not None and state.unauthorized:
                try:
                    chunk = state.reauthorized(bool(reauthorize()))
                except RealtimeError:
                    chunk = state.reauthorized(None)
            chunk = chunk or state.poll()
            if chunk:
                yield chunk
                if state.over:
                    return
            elif not wait_sync(buffer, state.interval):
                yield HEARTBEAT
    finally:
        buffer.detach()
