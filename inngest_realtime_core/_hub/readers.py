"""The readers of one subscription, and for how long it stays open."""

from __future__ import annotations

import contextlib
import functools
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from .._telemetry.throttled_log import ThrottledLog
from ..arguments import Rewind
from ..errors import RealtimeError, SubscriptionClosedError
from ..messages.data_stream import DataStream
from ..messages.message import Message, envelope_of
from .buffer import ReaderBuffer
from .views import SubscriptionSpec

if TYPE_CHECKING:
    from .._upstream.subscriber import State
    from .feed import Feed
    from .hub import Hub

_log = ThrottledLog(logging.getLogger("inngest_realtime.subscription"))

_CLOSED: Final = "the subscription was closed"


class Readers:
    """The readers of one subscription: its own, and one for each stream that it was asked for.

    It stays open while the subscription's face is held, or a stream, or while it delivers to a callback.

    Attributes:
        own: The reader of the subscription itself, which collects from the beginning.
        delivering: Its messages go to a callback.
        closed: Nothing more will come; what the readers have can still be read.
        resumed: The id of the last event that the client had for whom the subscription itself will be iterated, or an
            empty text: its messages then have ids. None where it is iterated for nobody.
        joins: Each waits for something that ends with the subscription.
    """

    def __init__(
        self, hub: Hub, feed: Feed, spec: SubscriptionSpec, *, gaps: bool, rewind: Rewind | None = None
    ) -> None:
        self.hub: Hub = hub
        self.feed: Feed = feed
        self.spec: SubscriptionSpec = spec
        self.gaps: bool = gaps
        self.delivering: bool = False
        self._holds = 0
        self._taker: ReaderBuffer | None = None  # that of the response with which it ends
        self.closed: bool = False
        self.resumed: str | None = None
        self.joins: tuple[Callable[[], Awaitable[None]], ...] = ()
        self._attached: list[ReaderBuffer] = []
        self._data_streams: list[weakref.ref[DataStream]] = []
        self._on_state: Callable[[State], None] = _ignore
        self._on_error: Callable[[RealtimeError], None] = _ignore
        self._on_failed: Callable[[RealtimeError], None] = _ignore
        self._own_gone = False
        hub.subscriptions += 1
        # Where the first event stream begins; None once it has begun.
        self._first_rewind: Rewind | None = rewind
        self._first_offset: int | None = feed.history.end
        self.own: ReaderBuffer = self._add(rewind=rewind)
        self.own.idle = True
        feed.add(self)

    @property
    def channel(self) -> str:
        """The channel's name."""
        return self.feed.channel

    # -- readers --------------------------------------------------------------------------------------------------

    def add(
        self, *, events: bool = False, encoded: bool = False, after: str | None = None, takes_over: bool = False
    ) -> ReaderBuffer:
        """Attaches a reader of what comes from now on, for a stream; the first event stream begins with what is unread.

        Args:
            events: Whether it sends events with an id.
            encoded: Whether it only encodes messages, and hands none out.
            after: The id of the last event that its client has had.
            takes_over: Whether the subscription ends with it.

        Raises:
            SubscriptionClosedError: Nothing more will come.
        """
        self.check_open()
        buffer = self._add_events(encoded, after) if events else self._add(encoded=encoded)
        if takes_over:
            self._taker = buffer
        return buffer

    def _add_events(self, encoded: bool, after: str | None) -> ReaderBuffer:
        since, self._first_offset = self._first_offset, None
        if since is None:
            return self._add(events=True, encoded=encoded, after=after)
        rewind = self._first_rewind
        missed = 0
        if self.own.delivered:
            # Some of it was read: what is left of it is told by what the subscription's own reader still has.
            missed, first = self.own.unread
            rewind = since = None
            if self.own.has_messages:
                since = self.feed.history.begin_of(None if first is None else envelope_of(first))
        buffer = self._add(events=True, encoded=encoded, after=after, rewind=rewind, since=since)
        if not after:
            buffer.miss(missed)
        return buffer

    def resume(self, after: str) -> None:
        """Lets messages of the subscription itself have event ids, and begin after the one that a client has had."""
        self.resumed = after

    def check_open(self) -> None:
        """Raises `SubscriptionClosedError` when nothing more will come, unless because the process is to stop."""
        if self.closed and not self.hub.shutting_down:
            raise SubscriptionClosedError(
                f"The subscription to {self.channel!r} is closed, so nothing more will come. Subscribe again."
            )

    def _add(
        self,
        *,
        events: bool = False,
        encoded: bool = False,
        after: str | None = None,
        rewind: Rewind | None = None,
        since: int | None = None,
    ) -> ReaderBuffer:
        buffer = ReaderBuffer(self.channel, self.hub.queue_limits, self, gaps=self.gaps, events=events, encoded=encoded)
        self.hub.counters.resumes += bool(after)
        self.feed.attach(self.spec, buffer, after=after, rewind=rewind, since=since)
        self._attached.append(buffer)
        return buffer

    def opened(self, stream: DataStream) -> None:
        """Called with each data stream that a reader is given: it ends with the subscription."""
        # A list, which most often stays empty: a WeakSet takes ten times as much.
        self._data_streams.append(weakref.ref(stream, self._data_streams.remove))

    def read_own(self) -> ReaderBuffer:
        """Returns the reader of the subscription itself, to be read from now on.

        Raises:
            SubscriptionClosedError: A callback has its messages.
        """
        if self.delivering:
            raise SubscriptionClosedError(
                f"The subscription to {self.channel!r} delivers to its on_message callback. "
                "Subscribe without on_message to iterate, or use get_json_stream()."
            )
        if self._own_gone and not self.closed:
            self._own_gone = False
            self.own = self._add()
            self.own.push_gap(Message.gap(self.channel, "overflow"))
        if self.resumed is not None and not self.closed:
            after, self.resumed = self.resumed, None
            collected, self.own = self.own, self.add(events=True, after=after)
            collected.detach()
        self.own.idle = False
        return self.own

    def unread(self) -> None:
        """Called when the reader of the subscription itself overflows before anybody has read, as a message comes."""
        self._later(self._handle_unread)

    def _handle_unread(self) -> None:
        own = self.own
        if not own.idle or self.closed:
            return
        if len(self._attached) > 1:
            # Its streams are read instead: collecting on would cost memory for nothing.
            self._own_gone = True
            own.detach()
        else:
            message = (
                f"A subscription to {self.channel!r} is held and nobody reads it: its buffer is full, and the oldest "
                "messages are dropped. Close it with close(), or by leaving its `async with` or `with` block."
            )
            _log.write(logging.WARNING, "unread", message, event="subscription.unread")

    def drop(self, buffer: ReaderBuffer) -> None:
        """Called when nobody holds a stream any more. Callable from any thread, and by the garbage collector."""
        self._later(buffer.detach)

    def detached(self, buffer: ReaderBuffer) -> None:
        """Called when a reader has left. From any thread."""
        self.call(functools.partial(self._remove, buffer))

    def _remove(self, buffer: ReaderBuffer) -> None:
        if buffer in self._attached:
            self._attached.remove(buffer)
            self.feed.detach(self.spec, buffer)
            if buffer is self._taker:
                self.close()
            self._close_unless_held()

    # -- how long it stays open -----------------------------------------------------------------------------------

    def deliver(self) -> ReaderBuffer:
        """Returns the reader of the subscription itself for a callback, which holds the subscription from now on."""
        buffer = self.read_own()
        self.delivering = True
        self.acquire()
        return buffer

    def acquire(self) -> None:
        """Called when an object is made that stands for the subscription, or a block begins whose end closes it."""
        self._holds += 1

    def release(self) -> None:
        """Called when nobody holds an object that stands for the subscription any more. Callable as `drop()`."""
        self._later(self._release)

    def _release(self) -> None:
        self._holds -= 1
        if not self._holds:
            self.own.detach()
        self._close_unless_held()

    def _close_unless_held(self) -> None:
        if not self._holds and len(self._attached) == (self.own in self._attached):
            self.close()

    def close(self) -> None:
        """Takes every reader off the channel; what is in their buffers can still be read. On the hub's event loop."""
        if self.closed:
            return
        self.closed = True
        self.hub.subscriptions -= 1
        attached, self._attached = self._attached, []
        for buffer in attached:
            buffer.end()
            self.feed.detach(self.spec, buffer)
        for reference in list(self._data_streams):
            if (stream := reference()) is not None:
                stream.interrupt(_CLOSED)
        self.feed.remove(self)
        if self.feed.state != "closed":
            self.state_changed("closed")

    async def wait_closed(self) -> None:
        """Returns when the subscription's callback has returned, unless it waits for this, and its channel was left."""
        for join in self.joins:
            await join()
        await self.hub.released(self.channel)

    def _later(self, function: Callable[[], None]) -> None:
        # The garbage collector may call in the middle of anything.
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.hub.loop.call_soon_threadsafe(function)

    def call(self, function: Callable[[], None]) -> None:
        """Calls a function on the event loop of the hub, at once where that is the running one."""
        if self.hub.is_here:
            function()
        else:
            self._later(function)

    # -- what is told ---------------------------------------------------------------------------------------------

    def watch(
        self,
        *,
        on_state: Callable[[State], None] | None = None,
        on_error: Callable[[RealtimeError], None] | None = None,
        on_failed: Callable[[RealtimeError], None] | None = None,
    ) -> None:
        """Calls a function from now on.

        Args:
            on_state: Called with each new state of the connection, and when the subscription is closed.
            on_error: Called with what can't be delivered, and with a connection that was lost.
            on_failed: Called with the error that ends the subscription, if one does.
        """
        self._on_state = on_state or _ignore
        self._on_error = on_error or _ignore
        self._on_failed = on_failed or _ignore

    def state_changed(self, state: State) -> None:
        """Called with each new state of the connection."""
        self._on_state(state)

    def report(self, error: RealtimeError) -> None:
        """Called with what can't be delivered, and with a connection that was lost."""
        self._on_error(error)

    def ended(self, error: RealtimeError | None) -> None:
        """Called when nothing more will come on the channel."""
        if error is not None:
            self._on_failed(error)
        self.close()


def _ignore(_: object) -> None: ...
