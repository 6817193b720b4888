"""What `subscribe_sync()` returns: a `Subscription` that lives on the background loop, read by a thread."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from .._concurrency.background import run_sync
from .._concurrency.threads import new_waiter
from .._hub.buffer import ReaderBuffer
from ..errors import RealtimeError
from ..messages.message import Message
from .sse import HEARTBEAT, close_event, log_end, preamble, waiting_events
from .subscription import PendingSubscription, Subscription

if TYPE_CHECKING:
    from .._upstream.registry import State

__all__ = ["SyncSubscription"]

logger = logging.getLogger("inngest_realtime.subscription")

T = TypeVar("T")


class SyncSubscription:
    """An open subscription for threads: iterate it with `for`.

    It closes itself when its last reader leaves, unless it is used in a `with` block, which closes it at the end. Each
    reader, and each stream, is for one thread.

    Attributes:
        channel: The channel's name.
        topics: The names of the topics.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self.channel = subscription.channel
        self.topics = subscription.topics

    @classmethod
    def open(cls, pending: PendingSubscription) -> SyncSubscription:
        """Wait for a subscription on the background loop."""

        async def opened() -> Subscription:
            return await pending

        return cls(run_sync(opened))

    def __repr__(self) -> str:
        return f"<SyncSubscription channel={self.channel!r} topics={list(self.topics)!r} {self.state}>"

    @property
    def state(self) -> State:
        """`connecting`, `open`, `reconnecting` or `closed`."""
        return self._subscription.state

    @property
    def closed(self) -> bool:
        return self._subscription.closed

    def __enter__(self) -> SyncSubscription:
        self._on_loop(lambda: self._subscription.hold())
        return self

    def __exit__(self, *_: object) -> None:
        self.close("left the with block")

    def __iter__(self) -> Generator[Message[Any], None, None]:
        iteration = self._on_loop(self._subscription.begin_iteration)
        return _guard(_messages(iteration.buffer, iteration.leave), iteration.leave)

    def receive(self, timeout: float | None = None) -> Message[Any] | None:
        """The next message; None when the subscription has ended.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: No message came in time.
        """
        buffer = self._on_loop(self._subscription.iterate)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            message = buffer.take()
            if message is not None or buffer.ended:
                return message
            remaining = None if deadline is None else deadline - time.monotonic()
            if not _wait(buffer, remaining) and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"No message came on {self.channel!r} within {timeout} s.")

    def get_json_stream(self) -> Generator[Message[Any], None, None]:
        """A new, independent iterator of the messages that arrive after this call.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        buffer = self._on_loop(self._subscription.new_reader)
        return _guard(_messages(buffer, buffer.detach), buffer.detach)

    def get_encoded_stream(self, *, heartbeat: float | None = 10.0) -> Generator[bytes, None, None]:
        """A new, independent iterator of `b'data: {...}\\n\\n'` for each message that arrives after this call.

        Args:
            heartbeat: Seconds of silence after which a comment is sent; None sends none.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        buffer = self._on_loop(self._subscription.new_reader)
        self._subscription.stream_begins()
        return _guard(_encoded_stream(buffer, heartbeat), buffer.detach)

    def get_event_stream(
        self,
        *,
        heartbeat: float = 10.0,
        last_event_id: str | None = None,
        reauthorize: Callable[[], bool] | None = None,
        reauthorize_every: float | None = None,
    ) -> Generator[bytes, None, None]:
        """A new, independent iterator of the body of a `text/event-stream` response, as the endpoints send it.

        Args:
            heartbeat: Seconds of silence after which a comment is sent. A WSGI server notices only then that a client
                is gone.
            last_event_id: The `id:` of the last event that the client has; what it missed since comes first, or a gap.
            reauthorize: Asked again every `reauthorize_every` seconds, in the reading thread; False ends the stream.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """

        async def new_reader() -> ReaderBuffer:
            buffer = self._subscription.new_reader(events=True, after=last_event_id)
            if buffer.catch_up is not None:
                await buffer.catch_up()
            return buffer

        buffer = run_sync(new_reader)
        self._subscription.stream_begins()
        stream = _event_stream(buffer, heartbeat, reauthorize, reauthorize_every, lambda: self._subscription.leaving)
        return _guard(stream, buffer.detach)

    def close(self, reason: str | None = None) -> None:
        """Close the subscription: iterations end after what they have received. Safe to call repeatedly."""
        run_sync(lambda: self._subscription.close(reason))

    def unsubscribe(self, reason: str | None = None) -> None:
        """The same as `close()`, under the name that the TypeScript SDK has for it."""
        self.close(reason)

    @staticmethod
    def _on_loop(function: Callable[[], T]) -> T:
        # Readers belong to the loop; what they have collected may be taken by this thread.
        async def call() -> T:
            return function()

        return run_sync(call)


def _guard(stream: Generator[T, None, None], leave: Callable[[], None]) -> Generator[T, None, None]:
    # A generator that is never started never runs its `finally`.
    weakref.finalize(stream, leave).atexit = False
    return stream


def _wait(buffer: ReaderBuffer, timeout: float | None) -> bool:
    """Block until there is something to take; False when the time is up first."""
    waiter = new_waiter()
    return not buffer.wait_on(waiter) or waiter.wait(timeout)


def _messages(buffer: ReaderBuffer, leave: Callable[[], None]) -> Generator[Message[Any], None, None]:
    try:
        while True:
            message = buffer.take()
            if message is not None:
                yield message
            elif buffer.ended:
                return
            else:
                _wait(buffer, None)
    finally:
        leave()


def _encoded_stream(buffer: ReaderBuffer, heartbeat: float | None) -> Generator[bytes, None, None]:
    try:
        while True:
            message = buffer.take()
            if message is not None:
                yield message.to_sse()
            elif buffer.ended:
                return
            elif not _wait(buffer, heartbeat):
                yield HEARTBEAT
    finally:
        buffer.detach()


def _event_stream(
    buffer: ReaderBuffer,
    heartbeat: float,
    reauthorize: Callable[[], bool] | None,
    reauthorize_every: float | None,
    leaving: Callable[[], bool],
) -> Generator[bytes, None, None]:
    interval = heartbeat if reauthorize_every is None else min(heartbeat, reauthorize_every)
    checked = time.monotonic()
    try:
        yield preamble(buffer.start_id)
        while True:
            if (
                reauthorize is not None
                and reauthorize_every is not None
                and time.monotonic() - checked >= reauthorize_every
            ):
                if not reauthorize():
                    return
                checked = time.monotonic()
            chunk = waiting_events(buffer)
            if chunk:
                yield chunk
            elif buffer.ended:
                if leaving():
                    yield close_event()
                return
            elif not _wait(buffer, interval):
                yield HEARTBEAT
    except RealtimeError as error:
        log_end(error)
    finally:
        buffer.detach()
