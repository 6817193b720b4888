"""A bounded queue of messages: filled on the event loop of the hub, emptied there or by one other thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from copy import copy
from typing import Any, Final, Protocol

from .._upstream.throttle import Throttle
from ..errors import RealtimeError
from ..messages.message import Message, payload_size
from ..stats import Counters
from .budget import NO_BUDGET, ByteBudget

# Nothing so far: a deque of its own would take 760 bytes, even an empty one.
_NONE: Final[deque[Message[Any]]] = deque(maxlen=0)


class Waiter(Protocol):
    """What a reader that found nothing waits on: a future on an event loop, or its like for a thread."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...


class QueueLimits:
    """What the queues of one event loop have in common.

    Args:
        limit: Messages that one holds at most.
        max_bytes: Bytes of payload that one holds at most; the newest message is held whatever its size.
        throttle: Asked for patience when one fills up.
        counters: Where what is read and what is lost is counted.
        budget: The bytes that may wait in the process.

    Attributes:
        crowded: With more than so many messages the reader is waited for.
        step: So many small messages are counted at once.
        large: A message of more bytes is counted by itself.
        large_bytes: Bytes of the large ones that one holds at most.
    """

    __slots__ = ("budget", "counters", "crowded", "large", "large_bytes", "limit", "step", "throttle")

    def __init__(
        self,
        limit: int,
        max_bytes: int = 8 * 2**20,
        *,
        throttle: Throttle | None = None,
        counters: Counters | None = None,
        budget: ByteBudget = NO_BUDGET,
    ) -> None:
        self.limit: int = limit
        self.crowded: int = limit - limit // 4
        self.step: int = limit // 8 + 1
        # Smaller ones take a quarter, which leaves the rest to these.
        self.large: int = max_bytes // (4 * limit)
        self.large_bytes: int = max_bytes - max_bytes // 4
        self.throttle: Throttle | None = throttle
        self.counters: Counters = counters or Counters()
        self.budget: ByteBudget = budget


class MessageQueue:
    """The messages that wait for one reader. When it is full the oldest goes, and a gap tells of it in its place.

    Args:
        channel: The channel's name.
        limits: What it has in common with the others.
        gaps: Whether the reader wants to be told of gaps.

    Attributes:
        gaps: Whether the reader wants to be told of gaps.
        idle: It only collects so far: nobody has begun to read.
        delivered: Messages that were read, gaps left out.
        dropped: Messages that had to go because the reader was slow.
    """

    __slots__ = (
        "_bytes_pushed",
        "_bytes_taken",
        "_channel",
        "_charged",
        "_counters",
        "_ended",
        "_error",
        "_items",
        "_large",
        "_limits",
        "_mark",
        "_patience_from",
        "_replayed",
        "_reported",
        "_sizes",
        "_special_pushed",
        "_special_taken",
        "_uncounted",
        "_waited_for",
        "_waiter",
        "delivered",
        "dropped",
        "gaps",
        "idle",
    )

    def __init__(self, channel: str, limits: QueueLimits, *, gaps: bool = True) -> None:
        self._channel = channel
        self._limits = limits
        self._counters = limits.counters
        self._large = limits.large
        self._waited_for = False
        self._patience_from = 0  # messages that it has to have read before it is waited for
        self._items: deque[Message[Any]] = _NONE
        self._replayed = 0  # messages that were replayed, by which the limits are raised
        self.recount()
        self._waiter: Waiter | None = None
        self._ended = False
        self._error: RealtimeError | None = None
        self.dropped: int = 0
        self._reported: int = 0
        self._uncounted = 0  # messages that were dropped while nobody had begun to read
        # Gaps and large messages. Each number is changed by one side only, the hub's or the reader's. While they are
        # equal none waits, and what is taken need not be looked at.
        self._special_pushed = 0
        self._special_taken = 0
        self._sizes: dict[int, int] | None = None  # of the large messages that wait, by their identity
        self._bytes_pushed = 0
        self._bytes_taken = 0
        self.gaps: bool = gaps
        self.delivered: int = 0
        self.idle: bool = False

    # -- the hub's side ----------------------------------------------------------------------------------------------

    def push(self, message: Message[Any], size: int = 0) -> None:
        """Takes a message of `size` bytes, which are counted where it is large; when it is full the oldest goes."""
        if size > self._large:
            self._make_room(message, size)
        items = self._items
        if len(items) >= self._mark:
            items = self._crowd()
        items.append(message)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _make_room(self, message: Message[Any], size: int) -> None:
        if self._sizes is None:
            self._sizes = {}
        self._sizes[id(message)] = size
        self._bytes_pushed += size
        self._special_pushed += 1
        self._limits.budget.spend(size)
        while self.bytes_waiting > self._limits.large_bytes and self._items:
            self._overflow()

    @property
    def bytes_waiting(self) -> int:
        """Bytes of the large messages that wait."""
        return self._bytes_pushed - self._bytes_taken

    @property
    def held_bytes(self) -> int:
        """Bytes of all messages that wait, those of small ones estimated from the oldest and the newest."""
        return self.bytes_waiting + max(len(self._items) - len(self._sizes or ()), 0) * self._small_size()

    def _small_size(self) -> int:
        items = self._items
        try:
            return (min(payload_size(items[0]), self._large) + min(payload_size(items[-1]), self._large)) // 2
        except IndexError:
            return 0

    def recount(self) -> None:
        """Called when all that waits has been looked at: what comes from now on is counted."""
        self._charge(len(self._items) + self._limits.step)

    def _charge(self, count: int) -> None:
        self._charged: int = count
        # With so many a push is looked at.
        self._mark: int = 0 if self._items is _NONE else min(count, self._limits.crowded + self._replayed)

    def drop(self, size: int) -> None:
        """Drops the oldest messages until so many bytes are free, or nothing is left."""
        kept = self.held_bytes - size
        while self._items and self.held_bytes > kept:
            self._overflow()
        self.wake()

    def _crowd(self) -> deque[Message[Any]]:
        """Called before a message is added to the first, or to many. Returns where to."""
        limits = self._limits
        if self._items is _NONE:
            self._items = deque()
            self.recount()
        count = len(self._items)
        if count >= self._charged:
            # Small messages are not counted one by one, but when more wait than ever since all was looked at.
            self._charge(self._charged + limits.step)
            limits.budget.spend(limits.step * self._small_size())
        patient = not (self.idle or self._waited_for) and self.delivered >= self._patience_from
        if patient and count >= limits.crowded + self._replayed and limits.throttle is not None:
            self._waited_for = True
            limits.throttle.behind.append(self)
        if len(self._items) >= limits.limit + self._replayed:
            self._overflow()
        return self._items

    def _overflow(self) -> None:
        oldest = self._drop_oldest()
        is_message = oldest is not None and oldest.kind != "gap"
        if self.idle:
            # Nobody reads, so nobody loses anything yet and nobody is worth waiting for.
            self._uncounted += is_message
            self._unread()
        else:
            self._counters.dropped += is_message

    def _unread(self) -> None:
        """Called when a message was dropped although nobody has begun to read."""

    def _drop_oldest(self) -> Message[Any] | None:
        try:
            oldest = self._items.popleft()
        except IndexError:
            # A reading thread took it in the meantime.
            return None
        self.dropped += 1
        size = self._forget_size(oldest)
        # The gap that tells of the overflow stands for a gap that goes.
        if size or oldest.kind == "gap":
            self._bytes_pushed -= size
            self._special_pushed -= 1
        return oldest

    def _forget_size(self, message: Message[Any]) -> int:
        return 0 if self._sizes is None else self._sizes.pop(id(message), 0)

    @property
    def is_behind(self) -> bool:
        return len(self._items) > (self._limits.limit + self._replayed) // 2

    def caught_up(self) -> None:
        self._waited_for = False

    def given_up(self) -> None:
        """Do without patience until it has read a buffer's length again: a reader that has stopped delays once."""
        self._waited_for = False
        self._patience_from = self.delivered + self._limits.limit + self._replayed

    def replay(self, messages: Iterable[Message[Any]]) -> None:
        """Puts what came before first, in place of what is waiting, which is among it. It takes no room of the rest."""
        self.clear()
        self._reported, self._uncounted = self.dropped, 0
        earlier = [message for message in messages if self.gaps or message.kind != "gap"]
        self._replayed += len(earlier)
        self._special_pushed += sum(message.kind == "gap" for message in earlier)
        self._items = deque(earlier)
        self.recount()
        self.wake()

    def miss(self, count: int) -> None:
        """Counts messages that were dropped elsewhere: the gap that tells of them comes before all that waits."""
        self.dropped += count

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
    def has_messages(self) -> bool:
        """Whether there is a message to take, or a gap."""
        return bool(self._items) or self.dropped != self._reported

    def take(self) -> Message[Any] | None:
        """Returns the next message, or None when there is none at the moment.

        Raises:
            RealtimeError: Nothing more will come, because of this.
        """
        if self.dropped != self._reported:
            missed = self.dropped - self._reported
            self._reported += missed
            self._counters.dropped += self._uncounted
            self._uncounted = 0
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
        size = self._forget_size(message)
        if size:
            self._special_taken += 1
            self._bytes_taken += size
        self.delivered += 1
        self._counters.delivered += 1
        return message

    def clear(self) -> None:
        """Throws away what is waiting."""
        self._items.clear()
        if self._sizes is not None:
            self._sizes.clear()
        self._bytes_taken = self._bytes_pushed
        self._special_taken = self._special_pushed
