"""An event stream as an ASGI response, and what else adapters of ASGI frameworks share.

Deliberate differences from the streaming responses of frameworks:

- `receive` is always listened to, also on servers that announce ASGI 2.4, where a disconnect would be noticed only at
  the next send: an idle stream is freed at once. (uvicorn 0.30 to 0.32.0 announces 2.4 and lets sends to nobody pass.)
- The body is closed when the response ends, not whenever the garbage collector finds it, and by a task outside the
  request's cancel scope, in which every `await` of a clean-up would be cancelled again.
- A send that blocks for `send_timeout` ends the stream: a peer that stopped reading holds no subscription for ever.
  What it still holds is the connection, with the bytes that it was sent: ASGI has no way to abort it. uvicorn keeps it
  until the peer reads on or is gone, also when it is to stop, unless it runs with `--timeout-graceful-shutdown`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, cast

from .._concurrency.tasks import call_after, create_task
from ..realtime import Realtime, check_realtime
from ..subscriptions.face import check_stream_options, readers_of
from ..subscriptions.fragments import Render
from ..subscriptions.subscription import Subscription, take_over
from .answers import Answer, StreamAnswer, log_stalled
from .request import EndpointRequest
from .routes import gives_messages, not_a_stream

# Frameworks have types of their own for ASGI's messages.
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def respond(answer: Answer | StreamAnswer, receive: Receive, send: Send) -> None:
    """Sends an endpoint's answer as an ASGI response."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if isinstance(answer, StreamAnswer):
        await send_stream(
            answer.body, receive, send, status=answer.status, headers=headers, send_timeout=answer.send_timeout
        )
        return
    if "Content-Length" not in answer.headers and answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def send_stream(
    body: AsyncGenerator[bytes, None],
    receive: Receive,
    send: Send,
    *,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    send_timeout: float | None,
) -> None:
    watchdog = _SendWatchdog(send_timeout)

    async def send_all() -> None:
        watchdog.blocked_since = time.monotonic()
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        watchdog.blocked_since = None
        async for chunk in body:
            if chunk:
                watchdog.blocked_since = time.monotonic()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                watchdog.blocked_since = None
        watchdog.blocked_since = time.monotonic()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    sending = create_task(send_all(), name="inngest-realtime-send")
    leaving = create_task(_disconnect(receive), name="inngest-realtime-disconnect")
    watchdog.watch(sending)
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watchdog.stop()
        sending.cancel()
        leaving.cancel()
        await asyncio.shield(_kept(create_task(_close(body, sending, leaving), name="inngest-realtime-close")))
    if not sending.cancelled() and (error := sending.exception()) is not None and not isinstance(error, OSError):
        raise error


def event_stream_for(
    content: object, *, heartbeat: float = 10.0, last_event_id: str | None = None, render: Render | None = None
) -> Callable[[Mapping[str, Any]], AsyncGenerator[bytes, None]]:
    """What gives the body of a response, once its ASGI scope is known: it says where the client left off.

    Args:
        content: A subscription, or a stream of one that sends bytes.
        render: Makes HTML of a message, or None for none; only of a subscription.
        last_event_id: Counts in place of what the scope says.

    Raises:
        ConfigurationError: `content` is neither.
        SubscriptionClosedError: The subscription is closed.
    """
    if isinstance(content, Subscription):
        subscription = content
        readers_of(subscription).check_open()
        check_stream_options(heartbeat, last_event_id, render)

        def body(scope: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
            last = last_event_id or EndpointRequest.from_scope(scope, None).last_event_id
            return take_over(subscription, heartbeat=heartbeat, last_event_id=last, render=render)

        return body
    if not gives_messages(content) and isinstance(content, AsyncGenerator):
        stream = cast("AsyncGenerator[bytes, None]", content)
        return lambda scope: stream
    raise not_a_stream(content, "await realtime.subscribe(...)")


async def bounded_sends(body: AsyncGenerator[bytes, None], send_timeout: float | None) -> AsyncGenerator[bytes, None]:
    """The body for a framework that does the sending: a send that blocks too long cancels the task that reads it."""
    watchdog = _SendWatchdog(send_timeout)
    reading = asyncio.current_task()
    if reading is not None:
        watchdog.watch(reading)
    try:
        async with aclosing(body):
            async for chunk in body:
                watchdog.blocked_since = time.monotonic()
                yield chunk
                watchdog.blocked_since = None
    finally:
        watchdog.stop()


def reader_of(chunks: AsyncIterable[bytes]) -> Callable[[int], Awaitable[bytes]]:
    """The `read` of an `EndpointRequest`, of the chunks of a request's body. What is beyond the size is not read."""

    async def read(size: int) -> bytes:
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) >= size:
                break
        return bytes(body[:size])

    return read


def realtime_lifespan(realtime: Realtime) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """A lifespan that closes `realtime` when the application stops. Optional.

    It closes what is still connected to Inngest. It is not what lets the server stop: servers run lifespan shutdown
    only after all responses have ended, so open streams are ended earlier, when the stop signal arrives.
    """

    check_realtime(realtime)

    @asynccontextmanager
    async def manager(app: object) -> AsyncGenerator[None, None]:
        # For routes that subscribe by themselves: a signal that comes meanwhile is to be heard.
        realtime.install_signal_handlers()
        async with realtime:
            yield

    return manager


class _SendWatchdog:
    """Cancels a task in which one send blocks for too long. One timer for a whole stream rather than one for a send.

    Attributes:
        blocked_since: When the send that is under way began; set by who sends, since a call for each would cost more.
    """

    def __init__(self, timeout: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self.blocked_since: float | None = None
        self._cancel: Callable[[], object] = bool  # nothing to cancel yet

    def watch(self, task: asyncio.Task[Any]) -> None:
        if self._timeout is None:
            return
        now = time.monotonic()
        due = self._timeout + (now if self.blocked_since is None else self.blocked_since)
        if due <= now:
            log_stalled(self._timeout)
            task.cancel()
        else:
            self._cancel = call_after(self._loop, due - now, functools.partial(self.watch, task))

    def stop(self) -> None:
        self._cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(body: AsyncGenerator[bytes, None], *tasks: asyncio.Task[None]) -> None:
    await asyncio.wait(tasks)
    await body.aclose()


_closings: set[asyncio.Task[None]] = set()


def _kept(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Holds a task until it is done: the event loop itself does not."""
    _closings.add(task)
    task.add_done_callback(_closings.discard)
    return task
