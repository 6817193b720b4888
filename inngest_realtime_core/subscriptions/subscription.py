"""What `subscribe()` returns."""

from __future__ import annotations

import asyncio
import functools
import logging
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .._hub.buffer import ReaderBuffer
from .._hub.readers import Iteration, Readers
from ..errors import SubscriptionClosedError
from ..messages.message import Message
from .callbacks import ErrorReporter, MessagePump, OnError, OnMessage, OnState, tell_state
from .sse import EventStream, encoded_stream, event_stream

if TYPE_CHECKING:
    from .._upstream.registry import State

__all__ = ["PendingSubscription", "Subscription"]

logger = logging.getLogger("inngest_realtime.subscription")


T = TypeVar("T")


class Subscription:
    """An open subscription: Inngest is proved to deliver.

    Iterate it with `async for`; what came since `subscribe()` returned is kept for that. It closes itself when its last
    reader leaves, unless it was opened with `async with`, which closes it at the end of the block.

    Attributes:
        channel: The channel's name.
        topics: The names of the topics.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self.channel = readers.channel
        self.topics = readers.spec.topics
        readers.collect()
        self._pump: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Subscription channel={self.channel!r} topics={list(self.topics)!r} {self.state}>"

    def __del__(self) -> None:
        readers = getattr(self, "_readers", None)
        if readers is not None:
            readers.abandon()

    @property
    def state(self) -> State:
        """`connecting`, `open`, `reconnecting` or `closed`."""
        return "closed" if self._readers.closed else self._readers.feed.state

    @property
    def closed(self) -> bool:
        return self._readers.closed

    def __aiter__(self) -> AsyncGenerator[Message[Any], None]:
        iteration = self.begin_iteration()
        stream = iteration.buffer.messages(iteration.leave)
        # A generator that is never started never runs its `finally`.
        weakref.finalize(stream, iteration.leave).atexit = False
        return stream

    async def __anext__(self) -> Message[Any]:
        """The next message; one at a time, for those who don't iterate."""
        buffer = self.iterate()
        while True:
            message = buffer.take()
            if message is not None:
                return message
            if buffer.ended:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            if buffer.wait_on(waiter):
                await waiter

    def iterate(self) -> ReaderBuffer:
        """The reader of the subscription itself, for the sync face. It belongs to the subscription's event loop."""
        return self._readers.iterate() or self._refuse()

    def begin_iteration(self) -> Iteration:
        """One loop over the subscription, which is to be left, for the sync face."""
        return self._readers.begin_iteration() or self._refuse()

    def _refuse(self) -> NoReturn:
        raise SubscriptionClosedError(
            f"The subscription to {self.channel!r} delivers to its on_message callback. "
            "Subscribe without on_message to iterate, or use get_json_stream()."
        )

    def get_json_stream(self) -> AsyncGenerator[Message[Any], None]:
        """A new, independent iterator of the messages that arrive after this call.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        buffer = self.new_reader()
        return self._guard(buffer.messages(), buffer)

    def get_encoded_stream(self, *, heartbeat: float | None = None) -> AsyncGenerator[bytes, None]:
        """A new, independent iterator of `b'data: {...}\\n\\n'` for each message that arrives after this call.

        The JSON is that of the TypeScript SDK's encoded stream. A gap is `event: gap`.

        Args:
            heartbeat: Seconds of silence after which a comment is sent; None sends none.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        buffer = self.new_reader()
        self.stream_begins()
        return self._guard(encoded_stream(buffer, heartbeat=heartbeat), buffer)

    def get_event_stream(
        self,
        *,
        heartbeat: float = 10.0,
        last_event_id: str | None = None,
        reauthorize: Callable[[], Awaitable[bool]] | None = None,
        reauthorize_every: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """A new, independent iterator of the body of a `text/event-stream` response, as the endpoints send it.

        First bytes at once, events with `id:`, gaps, heartbeats; what waits leaves in one write.

        Args:
            heartbeat: Seconds of silence after which a comment is sent.
            last_event_id: The `id:` of the last event that the client has; what it missed since comes first, or a gap.
            reauthorize: Asked again every `reauthorize_every` seconds; anything but True ends the stream.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        state = self.open_event_stream(heartbeat, last_event_id, reauthorize_every)
        return self._guard(event_stream(state, reauthorize), state.buffer)

    def open_event_stream(
        self, heartbeat: float, last_event_id: str | None, reauthorize_every: float | None
    ) -> EventStream:
        """The state of a new event stream, for both faces. It belongs to the subscription's event loop."""
        buffer = self.new_reader(events=True, after=last_event_id)
        self.stream_begins()
        hub = self._readers.hub
        return EventStream(
            buffer,
            self.channel,
            self.topics,
            heartbeat=heartbeat,
            last_event_id=last_event_id,
            reauthorize_every=reauthorize_every,
            leaving=lambda: hub.shutting_down,
        )

    def check_open(self) -> None:
        """Raises `SubscriptionClosedError` when it is closed."""
        if self._readers.closed:
            raise SubscriptionClosedError(
                f"The subscription to {self.channel!r} is closed, so nothing more will come. Subscribe again."
            )

    def new_reader(self, *, events: bool = False, after: str | None = None) -> ReaderBuffer:
        """The reader behind a new stream, for the sync face. It belongs to the subscription's event loop."""
        self.check_open()
        return self._readers.add(events=events, after=after)

    @staticmethod
    def _guard(stream: AsyncGenerator[T, None], buffer: ReaderBuffer) -> AsyncGenerator[T, None]:
        # A generator that is never started never runs its `finally`: a client may be gone before the first byte.
        weakref.finalize(stream, buffer.detach).atexit = False
        return stream

    def hold(self) -> None:
        """Stay open when the last reader leaves."""
        self._readers.held = True

    def stream_begins(self) -> None:
        """Called before a stream for a web client, so that it ends when the process is asked to stop."""
        self._readers.hub.on_stream()

    def watch(self, on_state: OnState) -> None:
        """Call `on_state` with the state of the connection and each new one, and when the subscription is closed."""
        tell_state(on_state, self.state)
        self._readers.watch_state(functools.partial(tell_state, on_state))

    def report_to(self, on_error: OnError, *, end: bool) -> None:
        """Give what can't be delivered to a callback.

        Args:
            end: Whether the error that ends the subscription is given to it as well.
        """
        report = ErrorReporter(self._readers.hub, on_error).report
        self._readers.watch_errors(report)
        if end:
            self._readers.watch_end(report)

    def deliver_to(self, on_message: OnMessage, on_error: OnError | None) -> None:
        """Give each message to a callback, from now on and until the subscription is closed."""
        readers = self._readers
        buffer, readers.own = readers.own, None
        if buffer is None:
            raise SubscriptionClosedError("The subscription delivers to a callback already.")
        readers.activate(buffer)
        pump = MessagePump(buffer, on_message, ErrorReporter(readers.hub, on_error))
        self._pump = readers.hub.run(pump.run(), name=f"inngest-realtime callback {self.channel}")

    async def close(self, reason: str | None = None) -> None:
        """Close the subscription: iterations end after what they have received. Safe to call repeatedly.

        Args:
            reason: Logged at debug level.
        """
        if not self._readers.closed:
            logger.debug("Closing the subscription to %r: %s", self.channel, reason or "no reason given")
        self._readers.close()
        pump = self._pump
        if pump is not None and pump is not asyncio.current_task():
            await asyncio.wait([pump])
        await self._readers.hub.released(self.channel)

    async def unsubscribe(self, reason: str | None = None) -> None:
        """The same as `close()`, under the name that the TypeScript SDK has for it."""
        await self.close(reason)


class PendingSubscription:
    """What `subscribe()` gives: `await` it, or enter it with `async with`, for the `Subscription`."""

    def __init__(
        self, open_: Callable[[], Coroutine[Any, Any, Readers]], finish: Callable[[Subscription], None]
    ) -> None:
        self._open = open_
        self._finish = finish
        self._subscription: Subscription | None = None

    def __await__(self) -> Generator[Any, None, Subscription]:
        return self._start(held=False).__await__()

    async def __aenter__(self) -> Subscription:
        self._subscription = await self._start(held=True)
        return self._subscription

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            await self._subscription.close("left the async with block")

    async def _start(self, *, held: bool) -> Subscription:
        readers = await self._open()
        readers.held = held
        subscription = Subscription(readers)
        readers.feed.release()
        self._finish(subscription)
        return subscription
