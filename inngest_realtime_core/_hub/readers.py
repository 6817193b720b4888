"""The readers of one subscription, however many streams it has been asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import RealtimeError
from ..messages.message import Message
from .buffer import ReaderBuffer
from .feed import Feed
from .views import SubscriptionSpec

if TYPE_CHECKING:
    from .._upstream.registry import State
    from .hub import Hub

__all__ = ["Iteration", "Readers"]


class Iteration:
    """One `async for`, or `for`, over the subscription itself.

    Attributes:
        buffer: What it reads.
    """

    __slots__ = ("__weakref__", "_left", "_readers", "buffer")

    def __init__(self, readers: Readers, buffer: ReaderBuffer) -> None:
        self._readers = readers
        self._left = False
        self.buffer = buffer

    def leave(self) -> None:
        """Called when it has been left. Safe to call repeatedly, and from any thread."""
        if not self._left:
            self._left = True
            self._readers.call(self._readers.iteration_left)


class Readers:
    """The readers of one subscription. It outlives the `Subscription` object while a stream of it is being read."""

    __slots__ = (
        "_attached",
        "_hub",
        "_iterations",
        "_state_watchers",
        "_watches",
        "active",
        "channel",
        "closed",
        "feed",
        "gaps",
        "held",
        "neglected",
        "own",
        "spec",
    )

    def __init__(self, hub: Hub, feed: Feed, spec: SubscriptionSpec, *, gaps: bool) -> None:
        self._hub = hub
        self._attached: dict[ReaderBuffer, bool] = {}
        self._watches: list[Callable[[], None]] = []
        self._state_watchers: list[Callable[[State], None]] = []
        self._iterations = 0
        self.feed = feed
        self.channel = feed.channel
        self.spec = spec
        self.gaps = gaps
        self.active = 0
        self.held = False
        self.closed = False
        self.neglected = False
        self.own: ReaderBuffer | None = None
        hub.subscriptions += 1

    @property
    def hub(self) -> Hub:
        return self._hub

    def add(
        self,
        *,
        events: bool = False,
        after: str | None = None,
        active: bool = True,
    ) -> ReaderBuffer:
        """Attach a reader of what comes from now on."""
        buffer = ReaderBuffer(
            self.channel,
            self._hub.options.buffer_size,
            gaps=self.gaps,
            on_detach=self._left,
            throttle=self._hub.throttle,
            counters=self._hub.counters,
        )
        buffer.idle = not active
        self.active += active
        self._attached[buffer] = events
        self.feed.attach(self.spec, buffer, events=events, after=after)
        return buffer

    def activate(self, buffer: ReaderBuffer) -> None:
        """Count a reader that has only been collecting so far."""
        if buffer.idle:
            buffer.idle = False
            self.active += 1

    def collect(self) -> None:
        """Start to keep what comes for the one who iterates the subscription itself, who may never do so."""
        self.own = self.add(active=False)
        self._watch_neglect(self.own)

    def _watch_neglect(self, buffer: ReaderBuffer) -> None:
        def neglected() -> None:
            self._hub.loop.call_soon(self._neglect)

        buffer.on_neglect = neglected

    def _neglect(self) -> None:
        # Nobody has read for a whole buffer's length: collecting on would cost every message for nothing.
        if self.own is not None and self.own.idle:
            self.own.detach()
            self.neglected = True

    def iterate(self) -> ReaderBuffer | None:
        """The reader for the one who iterates the subscription itself; None when a callback has it."""
        if self.neglected and not self.closed:
            self.neglected = False
            self.own = self.add()
            self._watch_neglect(self.own)
            self.own.push_gap(Message.gap(self.channel, "overflow"))
        elif self.own is not None and not self.closed:
            self.activate(self.own)
        return self.own

    def begin_iteration(self) -> Iteration | None:
        """The same for the length of a loop."""
        buffer = self.iterate()
        if buffer is None:
            return None
        self._iterations += 1
        return Iteration(self, buffer)

    def iteration_left(self) -> None:
        self._iterations -= 1
        own = self.own
        if self._iterations or own is None or self.closed:
            return
        if not self.held:
            own.detach()
        elif not own.idle:
            # A later loop goes on where this one was left.
            own.idle = True
            self.active -= 1

    def watch_state(self, watcher: Callable[[State], None]) -> None:
        self._state_watchers.append(watcher)
        self._watches.append(self.feed.watch_state(watcher))

    def watch_errors(self, watcher: Callable[[RealtimeError], None]) -> None:
        self._watches.append(self.feed.watch_errors(self.spec, watcher))

    def watch_end(self, watcher: Callable[[RealtimeError], None]) -> None:
        self._watches.append(self.feed.watch_end(watcher))

    def _left(self, buffer: ReaderBuffer) -> None:
        self.call(lambda: self._remove(buffer))

    def call(self, function: Callable[[], None]) -> None:
        """Call a function on the loop of the hub: a generator may be finalised on any thread."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._hub.loop:
            function()
        else:
            with contextlib.suppress(RuntimeError):
                self._hub.loop.call_soon_threadsafe(function)

    def _remove(self, buffer: ReaderBuffer) -> None:
        events = self._attached.pop(buffer, None)
        if events is None:
            return
        if not buffer.idle:
            self.active -= 1
        self.feed.detach(self.spec, buffer, events=events)
        if self.active == 0 and not self.held and not self.closed:
            self.close()

    def close(self) -> None:
        """Take every reader off the channel; what is in their buffers can still be read."""
        if self.closed:
            return
        self.closed = True
        self._hub.subscriptions -= 1
        attached, self._attached = self._attached, {}
        for buffer, events in attached.items():
            buffer.end()
            self.feed.detach(self.spec, buffer, events=events)
        for unwatch in self._watches:
            unwatch()
        if self.feed.state != "closed":
            for watcher in self._state_watchers:
                watcher("closed")

    def abandon(self) -> None:
        """Called when nobody can iterate the subscription itself any more."""
        if self.own is not None and not self._iterations and not self.held:
            self.own.detach()
