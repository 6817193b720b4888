"""The async face of a subscription: what `await realtime.subscribe(...)` gives."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from .._concurrency.tasks import LazyCoroutine
from .._concurrency.threads import call_on_event_loop, check_event_loop
from .._hub.buffer import ReaderBuffer
from .._hub.readers import Readers
from ..arguments import check_callable, check_interval, check_timeout
from ..messages.message import Message
from ..messages.response_bodies import check_is_no_body
from .face import SubscriptionFace, detached_with, new_event_stream, readers_of
from .fragments import Render
from .sse import encoded_stream, event_stream
from .streams import MessageStream


class Closing(LazyCoroutine[None]):
    """What `close()` returns, which has acted already: an awaitable that nobody has to await.

    Args:
        wait: Makes the coroutine that waits for the end.
    """

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wait = wait

    def _start(self) -> Coroutine[Any, Any, None]:
        return self._wait()


class Subscription(SubscriptionFace):
    """An open subscription: Inngest is proved to deliver.

    Iterate it with `async for`; what came since `subscribe()` returned is kept for that. A loop may be left, and
    another one goes on where it stopped. It stays open while somebody holds it, or a stream of it, and with
    `on_message` until it is closed. Everything obtained through it ends with it. It is used on the event loop on which
    it was opened.

    Attributes:
        channel: The channel's name.
        topics: The names of the topics.
    """

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        # A loop over the subscription holds this alone.
        self._messages = MessageStream(readers.own, readers.hub.loop, readers.release, closable=False)

    async def __aenter__(self) -> Subscription:
        self._readers.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close("left the async with block")

    def __aiter__(self) -> AsyncIterator[Message[Any]]:
        check_is_no_body()
        self._own()
        return self._messages

    def __anext__(self) -> Awaitable[Message[Any]]:
        """The next message; one at a time, where there is no loop."""
        self._own()
        return self._messages.__anext__()

    async def receive(self, timeout: float | None = None) -> Message[Any] | None:
        """Returns the next message, or None when the subscription has ended. A timeout loses nothing.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: No message came in time.
            ConcurrentReadError: Another task is waiting for the next message.
        """
        check_timeout(timeout)
        return await self._own().next(timeout)

    def _own(self) -> ReaderBuffer:
        check_event_loop(self._readers.hub.loop)
        own = self._readers.read_own()
        self._messages.read(own)
        return own

    def get_json_stream(self) -> AsyncGenerator[Message[Any], None]:
        """A new, independent iterator of the messages that arrive after this call.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        readers = self._readers
        buffer = call_on_event_loop(readers.hub.loop, readers.add)
        return MessageStream(buffer, readers.hub.loop, functools.partial(readers.drop, buffer))

    def get_encoded_stream(self, *, heartbeat: float | None = None) -> AsyncGenerator[bytes, None]:
        """A new, independent iterator of `b'data: {...}\\n\\n'` for each message that arrives after this call.

        The JSON is that of the TypeScript SDK's encoded stream. A gap is `event: gap`.

        Args:
            heartbeat: Seconds of silence after which a comment is sent; None sends none.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        check_interval("heartbeat", heartbeat, optional=True)
        readers, loop = self._readers, self._readers.hub.loop
        buffer = call_on_event_loop(loop, lambda: readers.add(encoded=True))
        readers.hub.stream_watch.begin()
        return detached_with(encoded_stream(buffer, loop, heartbeat=heartbeat), readers, buffer)

    def get_event_stream(
        self,
        *,
        heartbeat: float = 10.0,
        last_event_id: str | None = None,
        render: Render | None = None,
        reauthorize: Callable[[], Awaitable[bool]] | None = None,
        reauthorize_every: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """A new, independent iterator of the body of a `text/event-stream` response, as the endpoints send it.

        First bytes at once, events with `id:`, gaps, heartbeats; what waits leaves in one write.

        Args:
            heartbeat: Seconds of silence after which a comment is sent.
            last_event_id: The `id:` of the last event that the client has; what it missed since comes first, or a gap.
                None takes that of the request for which `subscription_stream` has opened the subscription.
            render: Makes HTML of a message, or None for none: the stream then carries `event: <topic>` with HTML.
            reauthorize: Asked again every `reauthorize_every` seconds; anything but True ends the stream.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        check_callable("reauthorize", reauthorize, "`async def reauthorize(): ...` that returns True or False")
        readers, loop = self._readers, self._readers.hub.loop
        state = call_on_event_loop(
            loop, lambda: new_event_stream(readers, heartbeat, last_event_id, render, reauthorize_every)
        )
        return detached_with(event_stream(state, loop, reauthorize), readers, state.buffer)

    def close(self, reason: str | None = None) -> Closing:
        """Closes the subscription at once: iterations end after what they have received. Safe to call repeatedly.

        What it returns may be awaited for the end of everything: the channel has been left, and the callback that was
        running has returned, unless that waits for this. One that runs on is waited for 3 s, and cancelled
        after 3 more.

        Args:
            reason: Logged at debug level.
        """
        self._close(reason)
        return Closing(self._wait_closed)

    async def _wait_closed(self) -> None:
        check_event_loop(self._readers.hub.loop)
        await self._readers.wait_closed()

    def unsubscribe(self, reason: str | None = None) -> Closing:
        """The same as `close()`, under the name that the TypeScript SDK has for it."""
        return self.close(reason)


def take_over(
    subscription: Subscription, *, heartbeat: float, last_event_id: str | None, render: Render | None = None
) -> AsyncGenerator[bytes, None]:
    """Returns the event stream of a response that was given a subscription, which ends with the response.

    Raises:
        SubscriptionClosedError: The subscription is closed.
    """
    readers = readers_of(subscription)
    loop = readers.hub.loop
    state = call_on_event_loop(
        loop, lambda: new_event_stream(readers, heartbeat, last_event_id, render, takes_over=True)
    )
    return detached_with(event_stream(state, loop), readers, state.buffer)
