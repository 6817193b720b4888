"""What `subscribe_sync()` returns: a `Subscription` that lives on the background loop, read by a thread."""

from __future__ import annotations

import functools
import logging
import time
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from .._concurrency.background import run_sync
from .._hub.buffer import ReaderBuffer
from ..messages.message import Message
from .sse import encoded_stream_sync, event_stream_sync, wait_sync
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
            if not wait_sync(buffer, remaining) and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"No message came on {self.channel!r} within {timeout} s.")

    def get_json_stream(self) -> Generator[Message[Any], None, None]:
        """A new, independent iterator of the messages that arrive after this call.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        buffer = self._on_loop(self._subscription.new_reader)
        return _guard(_messages(buffer, buffer.detach), buffer.detach)

    def get_encoded_stream(self, *, heartbeat: float | None = None) -> Generator[bytes, None, None]:
        """A new, independent iterator of `b'data: {...}\\n\\n'` for each message that arrives after this call.

        Args:
            heartbeat: Seconds of silence after which a comment is sent; None sends none.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        buffer = self._on_loop(self._subscription.new_reader)
        self._subscription.stream_begins()
        return _guard(encoded_stream_sync(buffer, heartbeat=heartbeat), buffer.detach)

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
        state = self._on_loop(lambda: self._subscription.open_event_stream(heartbeat, last_event_id, reauthorize_every))
        stream = event_stream_sync(state, functools.partial(_catch_up, state.buffer), reauthorize)
        return _guard(stream, state.buffer.detach)

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


def _messages(buffer: ReaderBuffer, leave: Callable[[], None]) -> Generator[Message[Any], None, None]:
    try:
        while True:
            message = buffer.take()
            if message is not None:
                yield message
            elif buffer.ended:
                return
            else:
                wait_sync(buffer, None)
    finally:
        leave()


def _catch_up(buffer: ReaderBuffer) -> None:
    if buffer.catch_up is not None:
        run_sync(buffer.catch_up)
