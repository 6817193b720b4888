"""A bounded buffer between what a channel receives and one reader. A slow reader costs its buffer and slows nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from copy import copy
from itertools import islice
from typing import Any, Protocol

from .._upstream.throttle import Throttle
from ..errors import RealtimeError
from ..messages.message import Message
from ..stats import Counters

__all__ = ["ReaderBuffer", "Waiter"]


class Waiter(Protocol):
    """What a reader that found nothing waits on: a future on an event loop, or its like for a thread."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...


class ReaderBuffer:
    """One reader's buffer.

    Filled on the event loop of the hub; emptied there, or by one thread of its own. When it is full the oldest message
    goes, and the reader is told with a gap in its place.

    Args:
        channel: The channel's name.
        limit: Messages held at most.
        gaps: Whether the reader wants to be told of gaps.
        on_detach: Called once, when the reader has left.
        throttle: Asked for patience when the buffer fills up.
        counters: Where what is read and what is lost is counted, shared with other readers.

    Attributes:
        catch_up: To be awaited before the first message is taken: it fetches what the reader missed.
        gaps: Whether the reader wants to be told of gaps.
        idle: It only collects so far: nobody has begun to read.
        on_neglect: Called when it overflows while idle.
        delivered: Messages that were read, gaps left out.
        start_id: The `id:` for a client that begins here, before its first event; None for one that resumes.
    """

    __slots__ = (
        "_channel",
        "_counters",
        "_crowded",
        "_detached",
        "_dropped",
        "_ended",
        "_error",
        "_gaps_pushed",
        "_gaps_taken",
        "_items",
        "_limit",
        "_on_detach",
        "_patience_from",
        "_reported",
        "_skip",
        "_throttle",
        "_waited_for",
        "_waiter",
        "catch_up",
        "delivered",
        "gaps",
        "idle",
        "on_neglect",
        "start_id",
    )

    def __init__(
        self,
        channel: str,
        limit: int,
        *,
        gaps: bool = True,
        on_detach: Callable[[ReaderBuffer], None] | None = None,
        throttle: Throttle | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._channel = channel
        self._counters = counters or Counters()
        self._limit = limit
        self._crowded = limit - limit // 4
        self._throttle = throttle
        self._waited_for = False
        self._patience_from = 0  # messages that it has to have read before it is waited for
        self._items: deque[Message[Any]] = deque()
        self._waiter: Waiter | None = None
        self._ended = False
        self._detached = False
        self._error: RealtimeError | None = None
        self._dropped: int = 0
        self._reported: int = 0
        # Each is changed by one side only. While they are equal no gap waits, and what is taken need not be looked at.
        self._gaps_pushed = 0
        self._gaps_taken = 0
        self._skip: set[str | None] | None = None
        self._on_detach = on_detach
        self.catch_up: Callable[[], Awaitable[None]] | None = None
        self.on_neglect: Callable[[], None] | None = None
        self.gaps = gaps
        self.delivered = 0
        self.idle = False
        self.start_id: str | None = None

    # -- the hub's side ----------------------------------------------------------------------------------------------

    def push(self, message: Message[Any]) -> None:
        """Take a message; when the buffer is full, the oldest goes for it."""
        if self._skip is not None and _identity(message) in self._skip:
            return
        items = self._items
        items.append(message)
        if len(items) > self._crowded:
            self._crowd()
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _crowd(self) -> None:
        if self.idle:
            # Nobody reads, so nobody loses anything and nobody is worth waiting for.
            if len(self._items) > self._limit and self._drop_oldest() is not None and self.on_neglect is not None:
                self.on_neglect()
            return
        if self._throttle is not None and not self._waited_for and self.delivered >= self._patience_from:
            self._waited_for = True
            self._throttle.behind.append(self)
        if len(self._items) > self._limit:
            oldest = self._drop_oldest()
            if oldest is not None and oldest.kind != "gap":
                self._counters.dropped += 1

    def _drop_oldest(self) -> Message[Any] | None:
        try:
            oldest = self._items.popleft()
        except IndexError:
            # A reading thread took it in the meantime.
            return None
        self._dropped += 1
        if oldest.kind == "gap":
            # The gap that tells of the overflow stands for it.
            self._gaps_pushed -= 1
        return oldest

    @property
    def is_behind(self) -> bool:
        return len(self._items) > self._limit // 2

    def caught_up(self) -> None:
        self._waited_for = False

    def given_up(self) -> None:
        """Do without patience until it has read a buffer's length again: a reader that has stopped delays once."""
        self._waited_for = False
        self._patience_from = self.delivered + self._limit

    def prepend(self, missed: Iterable[Message[Any]]) -> None:
        """Put what was missed before what has been received since; what is in both is read once."""
        earlier = [message for message in missed if self.gaps or message.kind != "gap"]
        self._skip = {_identity(message) for message in earlier if message.event_id}
        if self._dropped != self._reported:
            # What had to go meanwhile came after what was missed.
            if self.gaps:
                earlier.append(Message.gap(self._channel, "overflow", self._dropped - self._reported))
            self._reported = self._dropped
        self._gaps_pushed += sum(message.kind == "gap" for message in earlier)
        later = [message for message in self._items if _identity(message) not in self._skip]
        self._items.clear()
        self._items.extend(earlier)
        self._items.extend(later)

    def push_gap(self, message: Message[Any]) -> None:
        """Take a gap, where the reader wants to be told."""
        if self.gaps:
            self._gaps_pushed += 1
            self.push(message)

    def end(self, error: RealtimeError | None = None) -> None:
        """Say that nothing more will come; what is in the buffer can still be read."""
        if not self._ended:
            self._error = error
            self._ended = True
            self.wake()

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # -- the reader's side -------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether nothing more will come, and nothing is waiting."""
        # In this order: what a reading thread finds waiting now may have come after it looked, and before the end.
        return self._ended and not self._items

    @property
    def dropped(self) -> int:
        """Messages that had to go because the reader was slow."""
        return self._dropped

    @property
    def has_messages(self) -> bool:
        """Whether there is a message to take, or a gap."""
        return bool(self._items) or self._dropped != self._reported

    @property
    def ready(self) -> bool:
        """Whether there is something to take, or nothing more to wait for."""
        return bool(self._items) or self._ended or self._dropped != self._reported

    def take(self) -> Message[Any] | None:
        """The next message, or None when there is none at the moment.

        Raises:
            RealtimeError: Nothing more will come, because of this.
        """
        if self._dropped != self._reported:
            missed = self._dropped - self._reported
            self._reported += missed
            if self.gaps:
                self._counters.gaps += 1
                return Message.gap(self._channel, "overflow", missed)
        items = self._items
        # Mostly found empty by this look, since an exception costs more; the buffer may still be emptied elsewhere.
        if items:
            try:
                message = items.popleft()
            except IndexError:
                pass
            else:
                if self._gaps_pushed == self._gaps_taken:
                    self.delivered += 1
                    self._counters.delivered += 1
                else:
                    self._count((message,))
                return message
        if self._error is not None and self.ended:
            # It is shared by all readers, and a traceback belongs to one.
            raise copy(self._error)
        return None

    def take_some(self, most: int) -> list[Message[Any]]:
        """The next messages, none when there are none at the moment: one call for what would be many.

        Raises:
            RealtimeError: Nothing more will come, because of this.
        """
        first = self.take()
        if first is None:
            return []
        taken = [first]
        items = self._items
        while items and len(taken) < most and self._dropped == self._reported:
            taken.append(items.popleft())
        if self._gaps_pushed == self._gaps_taken:
            self.delivered += len(taken) - 1
            self._counters.delivered += len(taken) - 1
        else:
            self._count(islice(taken, 1, None))
        return taken

    def _count(self, messages: Iterable[Message[Any]]) -> None:
        """Count messages that are read, gaps among them."""
        for message in messages:
            if message.kind == "gap":
                self._gaps_taken += 1
                self._counters.gaps += 1
            else:
                self.delivered += 1
                self._counters.delivered += 1

    def wait_on(self, waiter: Waiter) -> bool:
        """Arrange for `waiter` to be resolved at the next change; False when there is something to take already."""
        self._waiter = waiter
        # Looked at after the waiter is in place: a push from another thread can then not slip between.
        if self.ready:
            self._waiter = None
            return False
        return True

    def clear(self) -> None:
        """Throw away what is in the buffer."""
        self._items.clear()

    def detach(self) -> None:
        """Say that the reader has left. Safe to call repeatedly."""
        if not self._detached:
            self._detached = True
            self._items.clear()
            if self._on_detach is not None:
                self._on_detach(self)

    async def messages(self, leave: Callable[[], None] | None = None) -> AsyncGenerator[Message[Any], None]:
        """Iterate on the event loop; leaving the iteration calls `leave`, or else detaches the reader."""
        items = self._items
        counters = self._counters
        loop = asyncio.get_running_loop()
        try:
            while True:
                while items and self._dropped == self._reported:
                    waiting = items.popleft()
                    if self._gaps_pushed == self._gaps_taken:
                        self.delivered += 1
                        counters.delivered += 1
                    else:
                        self._count((waiting,))
                    yield waiting
                message = self.take()
                if message is not None:
                    yield message
                elif self._ended:
                    return
                else:
                    waiter = loop.create_future()
                    if self.wait_on(waiter):
                        await waiter
        finally:
            if leave is None:
                self.detach()
            else:
                leave()


def _identity(message: Message[Any]) -> str | None:
    event_id = message.event_id
    return None if event_id is None else event_id.partition(".")[0]
