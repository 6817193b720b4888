"""A bounded queue of messages: filled on the event loop of the hub, emptied there or by one other thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any, Final, Protocol

from .._upstream.throttle import Throttle
from ..errors import RealtimeError
from ..messages.message import Message, payload_size
from ..stats import Counters
from .budget import NO_BUDGET, ByteBudget

MAX_BYTES: Final = 8 * 2**20
"""Bytes of payload that one reader's buffer holds, unless said otherwise."""


class Waiter(Protocol):
    """What a reader that found nothing waits on: a future on an event loop, or its like for a thread."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...


class MessageQueue:
    """The messages that wait for one reader. When it is full the oldest goes, and a gap tells of it in its place.

    Args:
        channel: The channel's name.
        limit: Messages held at most.
        max_bytes: Bytes of payload held at most; the newest message is held whatever its size.
        gaps: Whether the reader wants to be told of gaps.
        throttle: Asked for patience when the queue fills up.
        counters: Where what is read and what is lost is counted, shared with other readers.
        budget: The bytes that may wait in the process.

    Attributes:
        gaps: Whether the reader wants to be told of gaps.
        idle: It only collects so far: nobody has begun to read.
        on_unread: Called once, when it overflows while idle.
        delivered: Messages that were read, gaps left out.
    """

    __slots__ = (
        "_budget",
        "_bytes_gone",
        "_bytes_pushed",
        "_bytes_taken",
        "_channel",
        "_charged",
        "_counters",
        "_crowded",
        "_dropped",
        "_ended",
        "_error",
        "_items",
        "_large",
        "_limit",
        "_mark",
        "_max_bytes",
        "_patience_from",
        "_reported",
        "_sizes",
        "_special_pushed",
        "_special_taken",
        "_step",
        "_throttle",
        "_waited_for",
        "_waiter",
        "delivered",
        "gaps",
        "idle",
        "on_unread",
    )

    def __init__(
        self,
        channel: str,
        limit: int,
        *,
        max_bytes: int = MAX_BYTES,
        gaps: bool = True,
        throttle: Throttle | None = None,
        counters: Counters | None = None,
        budget: ByteBudget = NO_BUDGET,
    ) -> None:
        self._channel = channel
        self._budget = budget
        self._counters = counters or Counters()
        self._limit = limit
        self._crowded = limit - limit // 4
        self._step = limit // 8 + 1
        # From here on a message is counted in bytes: smaller ones take a quarter, which leaves the rest to these.
        self._large = max_bytes // (4 * limit)
        self._max_bytes = max_bytes - max_bytes // 4
        self._throttle = throttle
        self._waited_for = False
        self._patience_from = 0  # messages that it has to have read before it is waited for
        self._items: deque[Message[Any]] = deque()
        self.recount()
        self._waiter: Waiter | None = None
        self._ended = False
        self._error: RealtimeError | None = None
        self._dropped: int = 0
        self._reported: int = 0
        # Gaps and large messages. Each number is changed by one side only, the hub's or the reader's. While they are
        # equal none waits, and what is taken need not be looked at.
        self._special_pushed = 0
        self._special_taken = 0
        self._sizes: dict[int, int] = {}  # of the large messages that wait, by their identity
        self._bytes_pushed = 0
        self._bytes_gone = 0
        self._bytes_taken = 0
        self.on_unread: Callable[[], object] | None = None
        self.gaps: bool = gaps
        self.delivered: int = 0
        self.idle: bool = False

    # -- the hub's side ----------------------------------------------------------------------------------------------

    def push(self, message: Message[Any], size: int = 0) -> None:
        """Takes a message of `size` bytes, which are counted where it is large; when it is full the oldest goes."""
        if size > self._large:
            self._make_room(message, size)
        items = self._items
        items.append(message)
        if len(items) > self._mark:
            self._crowd()
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _make_room(self, message: Message[Any], size: int) -> None:
        self._sizes[id(message)] = size
        self._bytes_pushed += size
        self._special_pushed += 1
        self._budget.spend(size)
        while self.bytes_waiting > self._max_bytes and self._items:
            self._overflow()

    @property
    def bytes_waiting(self) -> int:
        """Bytes of the large messages that wait."""
        return self._bytes_pushed - self._bytes_gone - self._bytes_taken

    @property
    def held_bytes(self) -> int:
        """Bytes of all messages that wait, those of small ones estimated from the oldest and the newest."""
        return self.bytes_waiting + max(len(self._items) - len(self._sizes), 0) * self._small_size()

    def _small_size(self) -> int:
        items = self._items
        try:
            return (min(payload_size(items[0]), self._large) + min(payload_size(items[-1]), self._large)) // 2
        except IndexError:
            return 0

    def recount(self) -> None:
        """Called when all that waits has been looked at: what comes from now on is counted."""
        self._charged: int = len(self._items) + self._step
        self._mark: int = min(self._charged, self._crowded)  # from here on a push is looked at

    def drop(self, size: int) -> None:
        """Drops the oldest messages until so many bytes are free, or nothing is left."""
        kept = self.held_bytes - size
        while self._items and self.held_bytes > kept:
            self._overflow()
        self.wake()

    def _crowd(self) -> None:
        count = len(self._items)
        if count > self._charged:
            # Small messages are not counted one by one, but when more wait than ever since all was looked at.
            self._charged += self._step
            self._mark = min(self._charged, self._crowded)
            self._budget.spend(self._step * self._small_size())
        patient = not (self.idle or self._waited_for) and self.delivered >= self._patience_from
        if patient and count > self._crowded and self._throttle is not None:
            self._waited_for = True
            self._throttle.behind.append(self)
        if len(self._items) > self._limit:
            self._overflow()

    def _overflow(self) -> None:
        oldest = self._drop_oldest()
        if self.idle:
            # Nobody reads, so nobody loses anything and nobody is worth waiting for.
            unread, self.on_unread = self.on_unread, None
            if unread is not None:
                unread()
        elif oldest is not None and oldest.kind != "gap":
            self._counters.dropped += 1

    def _drop_oldest(self) -> Message[Any] | None:
        try:
            oldest = self._items.popleft()
        except IndexError:
            # A reading thread took it in the meantime.
            return None
        self._dropped += 1
        size = self._sizes.pop(id(oldest), 0)
        if size:
            self._bytes_gone += size
            self._special_pushed -= 1
        elif oldest.kind == "gap":
            # The gap that tells of the overflow stands for it.
            self._special_pushed -= 1
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

    def replay(self, messages: Iterable[Message[Any]]) -> None:
        """Puts what came before first, in place of what is waiting, which is among it. It takes no room of the rest."""
        self.clear()
        self._reported = self._dropped
        earlier = [message for message in messages if self.gaps or message.kind != "gap"]
        self._limit += len(earlier)
        self._crowded += len(earlier)
        self._special_pushed += sum(message.kind == "gap" for message in earlier)
        self._items.extend(earlier)
        self.recount()
        self.wake()

    def miss(self, count: int) -> None:
        """Counts messages that were dropped elsewhere: the gap that tells of them comes before all that waits."""
        self._dropped += count

    def push_gap(self, message: Message[Any]) -> None:
        """Takes a gap, where the reader wants to be told."""
        if self.gaps:
            self._special_pushed += 1
            self.push(message)

    def end(self, error: RealtimeError | None = None) -> None:
        """Called when nothing more will come; what is waiting can still be read."""
        if not self._ended:
            self._error = error
            self._ended = True
            self.wake()

    def wake(self) -> None:
        """Lets the reader look again."""
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

    def take(self) -> Message[Any] | None:
        """Returns the next message, or None when there is none at the moment.

        Raises:
            RealtimeError: Nothing more will come, because of this.
        """
        if self._dropped != self._reported:
            missed = self._dropped - self._reported
            self._reported += missed
            if self.gaps:
                self._counters.gap("overflow")
                return Message.gap(self._channel, "overflow", missed)
        items = self._items
        # Mostly found empty by this look, since an exception costs more; the queue may still be emptied elsewhere.
        if items:
            try:
                message = items.popleft()
            except IndexError:
                pass
            else:
                if self._special_pushed == self._special_taken:
                    self.delivered += 1
                    self._counters.delivered += 1
                    return message
                return self._counted(message)
        if self._error is not None and self.ended:
            # It is shared by all readers, and a traceback belongs to one.
            raise copy(self._error)
        return None

    def _counted(self, message: Message[Any]) -> Message[Any]:
        """Counts a message that is read, which may be a gap or a large one."""
        if message.kind == "gap":
            self._special_taken += 1
            self._counters.gap(message.data.reason)
            return message
        size = self._sizes.pop(id(message), 0)
        if size:
            self._special_taken += 1
            self._bytes_taken += size
        self.delivered += 1
        self._counters.delivered += 1
        return message

    def clear(self) -> None:
        """Throws away what is waiting."""
        self._items.clear()
        self._sizes.clear()
        self._bytes_taken = self._bytes_pushed - self._bytes_gone
        self._special_taken = self._special_pushed
