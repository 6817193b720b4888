"""The sync face of a subscription: it lives on the background loop, and a thread reads it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from .._concurrency.background import call_on_loop, check_may_block, run_sync, run_sync_end
from .._hub.buffer import ReaderBuffer
from .._hub.readers import Readers
from ..arguments import check_callable, check_interval, check_timeout
from ..errors import RealtimeError
from ..messages.message import Message
from ..messages.response_bodies import check_is_no_body
from .face import SubscriptionFace, detached_with, new_event_stream, readers_of
from .fragments import Render
from .sse import encoded_stream_sync, event_stream_sync
from .streams import SyncMessageStream


class SyncSubscription(SubscriptionFace):
    """An open subscription, for code without an event loop: iterate it with `for`.

    A loop may be left, and another one goes on where it stopped. It stays open while somebody holds it, or a stream of
    it, and with `on_message` until it is closed. Everything obtained through it ends with it. Any thread may read it,
    one at a time.

    Attributes:
        channel: The channel's name.
        topics: The names of the topics.
    """

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        self._reader: ReaderBuffer | None = None
        weakref.finalize(self, readers.release).atexit = False

    def __enter__(self) -> SyncSubscription:
        self._readers.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.close("left the with block")

    def __iter__(self) -> Generator[Message[Any], None, None]:
        check_is_no_body()
        return SyncMessageStream(self._own(), self)

    def __next__(self) -> Message[Any]:
        """The next message; one at a time, where there is no loop."""
        if (message := self._own().next_sync()) is None:
            raise StopIteration
        return message

    def receive(self, timeout: float | None = None) -> Message[Any] | None:
        """Returns the next message, or None when the subscription has ended. A timeout loses nothing.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: No message came in time.
            ConcurrentReadError: Another thread is waiting for the next message.
        """
        check_timeout(timeout)
        return self._own().next_sync(timeout)

    def _own(self) -> ReaderBuffer:
        check_may_block()
        if self._reader is None:
            reader = call_on_loop(self._readers.read_own)
            if reader.catch_up is not None:
                run_sync(reader.catch_up)
            self._reader = reader
        return self._reader

    def get_json_stream(self) -> Generator[Message[Any], None, None]:
        """A new, independent iterator of the messages that arrive after this call.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        check_may_block()
        readers = self._readers
        buffer = call_on_loop(readers.add)

        def close() -> None:
            readers.call(buffer.end)
            buffer.detach()

        return detached_with(SyncMessageStream(buffer, on_close=close), readers, buffer)

    def get_encoded_stream(self, *, heartbeat: float | None = None) -> Generator[bytes, None, None]:
        """A new, independent iterator of `b'data: {...}\\n\\n'` for each message that arrives after this call.

        Args:
            heartbeat: Seconds of silence after which a comment is sent; None sends none.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        check_interval("heartbeat", heartbeat, optional=True)
        # The body of a response, which an async view may make.
        readers = self._readers
        buffer = call_on_loop(lambda: readers.add(encoded=True))
        readers.hub.stream_watch.begin()
        return detached_with(encoded_stream_sync(buffer, heartbeat=heartbeat), readers, buffer)

    def get_event_stream(
        self,
        *,
        heartbeat: float = 10.0,
        last_event_id: str | None = None,
        render: Render | None = None,
        reauthorize: Callable[[], bool] | None = None,
        reauthorize_every: float | None = None,
    ) -> Generator[bytes, None, None]:
        """A new, independent iterator of the body of a `text/event-stream` response, as the endpoints send it.

        Args:
            heartbeat: Seconds of silence after which a comment is sent. A WSGI server notices only then that a client
                is gone.
            last_event_id: The `id:` of the last event that the client has; what it missed since comes first, or a gap.
                None takes that of the request for which `subscription_stream` has opened the subscription.
            render: Makes HTML of a message, or None for none: the stream then carries `event: <topic>` with HTML.
            reauthorize: Asked again every `reauthorize_every` seconds, in the reading thread; False ends the stream.

        Raises:
            SubscriptionClosedError: The subscription is closed.
        """
        check_callable("reauthorize", reauthorize, "`def reauthorize(): ...` that returns True or False", awaited=False)
        readers = self._readers
        state = call_on_loop(lambda: new_event_stream(readers, heartbeat, last_event_id, render, reauthorize_every))
        return detached_with(event_stream_sync(state, reauthorize), readers, state.buffer)

    def close(self, reason: str | None = None) -> None:
        """Closes the subscription: iterations end after what they have received. Safe to call repeatedly.

        Returns when the channel has been left and the callback that was running has returned, unless that waits for
        this: after 3 s it returns all the same. Where an event loop is running, a callback for example, it returns at
        once.

        Args:
            reason: Logged at debug level.
        """
        self._close(reason)
        try:
            run_sync_end(self._readers.wait_closed)
        except RealtimeError:
            return  # where it may not block

    def unsubscribe(self, reason: str | None = None) -> None:
        """The same as `close()`, under the name that the TypeScript SDK has for it."""
        self.close(reason)


def take_over_sync(
    subscription: SyncSubscription, *, heartbeat: float, last_event_id: str | None, render: Render | None = None
) -> Generator[bytes, None, None]:
    """The sync twin of `take_over`."""

    def event_stream() -> Generator[bytes, None, None]:
        # Not before: until the stream begins, the subscription is what holds them.
        readers = readers_of(subscription)
        state = call_on_loop(lambda: new_event_stream(readers, heartbeat, last_event_id, render, takes_over=True))
        return detached_with(event_stream_sync(state), readers, state.buffer)

    try:
        check_may_block()
    except RealtimeError:
        # An async view under WSGI: its event loop ends with it, and the server reads the body after that.
        return _begun_later(event_stream)
    return event_stream()


def _begun_later(event_stream: Callable[[], Generator[bytes, None, None]]) -> Generator[bytes, None, None]:
    with closing(event_stream()) as body:
        yield from body
