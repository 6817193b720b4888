"""What one reader waits for and reads. A slow reader costs its buffer and slows nobody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from math import inf
from typing import Any, Final, Protocol, cast

from .._concurrency.background import check_may_block
from .._concurrency.tasks import deadline
from .._concurrency.threads import check_event_loop, new_waiter
from ..errors import ConcurrentReadError, RealtimeError
from ..messages.data_stream import DataStream
from ..messages.message import Message
from .queue import MessageQueue, QueueLimits, Waiter

_FROM_THE_FIRST: Final = -inf


class Turn:
    """One run of `ReaderBuffer.messages`.

    Args:
        holder: Kept for as long as the run, which a read that waits keeps by itself.

    Attributes:
        over: It gives nothing more; what is in the buffer is for the next one.
    """

    __slots__ = ("_holder", "over")

    def __init__(self, holder: object = None, *, over: bool = False) -> None:
        self._holder: object = holder
        self.over: bool = over

    def end(self) -> None:
        """Called when it is over. A traceback may keep it for longer, but not the holder."""
        self.over = True
        self._holder = None


class ReaderOwner(Protocol):
    """What a reader belongs to."""

    def detached(self, buffer: ReaderBuffer) -> None:
        """Called once, when the reader has left. From any thread."""

    def unread(self) -> None:
        """Called once, when a message was dropped although nobody has begun to read."""

    def opened(self, stream: DataStream) -> None:
        """Called with each data stream that the reader is given."""


class ReaderBuffer(MessageQueue):
    """The messages of one reader, and how it waits for them. Arguments and attributes as of `MessageQueue`.

    Args:
        owner: Told of what happens to it.
        events: Whether it sends events with an id.
        encoded: Whether it only encodes messages, and hands none out.

    Attributes:
        owner: Told of what happens to it.
        events: Whether it sends events with an id.
        encoded: Whether it only encodes messages, and hands none out.
        detached: The reader has left.
        catch_up: To be awaited before the first message is taken: it fetches what the reader missed, and what ids tell.
        since_offset: The offset in the channel's log from which on it is given all.
        turns: Taken by the read that waits.
        start_id: The `id:` for a client that begins here, before its first event; None for one that resumes.
    """

    delivered: int  # counted here as well, which a checker takes for a declaration
    __slots__ = (
        "_unread_told",
        "catch_up",
        "detached",
        "encoded",
        "events",
        "owner",
        "since_offset",
        "start_id",
        "turns",
    )

    def __init__(
        self,
        channel: str,
        limits: QueueLimits,
        owner: ReaderOwner | None = None,
        *,
        gaps: bool = True,
        events: bool = False,
        encoded: bool = False,
    ) -> None:
        super().__init__(channel, limits, gaps=gaps)
        self.detached: bool = False
        self._unread_told = False
        self.owner: ReaderOwner | None = owner
        self.events: bool = events
        self.encoded: bool = encoded
        # One, taken by the read that waits: taking it is atomic, between threads as well.
        self.turns: list[None] = [None]
        self.catch_up: Callable[[], Awaitable[None]] | None = None
        self.start_id: str | None = None
        self.since_offset: float = _FROM_THE_FIRST

    def end(self, error: RealtimeError | None = None) -> None:
        # Where the event loop of a waiting task is closed already, there is nobody to wake.
        with contextlib.suppress(RuntimeError):
            super().end(error)

    def detach(self) -> None:
        """Called when the reader has left. Safe to call repeatedly, and from any thread."""
        if not self.detached:
            self.detached = True
            self.clear()
            if self.owner is not None:
                self.owner.detached(self)

    def _unread(self) -> None:
        if self.owner is not None and not self._unread_told:
            self._unread_told = True
            self.owner.unread()

    @property
    def waiting(self) -> list[Message[Any]]:
        """What waits to be read."""
        return list(self._items)

    @property
    def unread(self) -> tuple[int, Message[Any] | None]:
        """How many were dropped that the reader has not been told of; and the first message that waits, gaps left out.

        Called on the event loop of the hub.
        """
        waiting = next((message for message in self._items.copy() if message.kind != "gap"), None)
        return self.dropped - self._reported, waiting

    # -- waiting -----------------------------------------------------------------------------------------------------

    def wait_on(self, waiter: Waiter) -> bool:
        """Resolves `waiter` at the next change. Returns False when there is something to take already."""
        self._waiter = waiter
        # Looked at after the waiter is in place: a push from another thread can then not slip between.
        if self._items or self._ended or self.dropped != self._reported:
            self._waiter = None
            return False
        return True

    def check_turn(self) -> None:
        """Raises `ConcurrentReadError` when another read is waiting."""
        if not self.turns:
            raise self._concurrent_read()

    def _begin_wait(self) -> None:
        try:
            self.turns.pop()
        except IndexError:
            raise self._concurrent_read() from None

    def _end_wait(self) -> None:
        self.turns.append(None)

    def _concurrent_read(self) -> ConcurrentReadError:
        return ConcurrentReadError(
            f"The subscription to {self._channel!r} is being read already: another task or thread waits for its next "
            "message. Give each reader a stream of its own, with get_json_stream()."
        )

    # -- reading -----------------------------------------------------------------------------------------------------

    def encode_some(self, encode: Callable[[Message[Any]], bytes], most: int) -> list[bytes]:
        """Takes messages that wait, until those that were taken have so many bytes. Returns them encoded.

        One call for what would be many: most of a burst's time is spent here. Empty when none waits at the moment.

        Raises:
            RealtimeError: Nothing more will come, because of this.
        """
        first = self.take()
        if first is None:
            return []
        event = encode(first)
        events = [event]
        items = self._items
        if not items:
            return events
        size = len(event)
        count = 0  # of those that need not be looked at
        while items and size < most and self.dropped == self._reported:
            try:
                message = items.popleft()
            except IndexError:
                # The hub has dropped it in the meantime.
                break
            if self._special_pushed == self._special_taken:
                count += 1
            else:
                self._counted(message)
            event = encode(message)
            events.append(event)
            size += len(event)
        self.delivered += count
        self._counters.delivered += count
        return events

    async def next(self, timeout: float | None = None) -> Message[Any] | None:
        """Returns the next message, None when nothing more will come. A timeout or a cancellation loses nothing.

        Raises:
            TimeoutError: No message came within `timeout` seconds.
            ConcurrentReadError: Another read is waiting.
            RealtimeError: Nothing more will come, because of this.
        """
        self.check_turn()
        if self.catch_up is None and ((message := self.take()) is not None or self.ended):
            return message
        with contextlib.nullcontext() if timeout is None else deadline(timeout):
            await self._caught_up()
            self._begin_wait()
            try:
                while (message := self.take()) is None and not self.ended:
                    waiter = asyncio.get_running_loop().create_future()
                    if self.wait_on(waiter):
                        await waiter
                return message
            finally:
                self._end_wait()
        raise self._timed_out(timeout)

    async def _caught_up(self) -> None:
        if self.catch_up is not None:
            self._begin_wait()
            try:
                await self.catch_up()
                self.catch_up = None
            finally:
                self._end_wait()

    def next_sync(self, timeout: float | None = None) -> Message[Any] | None:
        """The sync twin of `next`."""
        self.check_turn()
        if (message := self.take()) is not None or self.ended:
            return message
        check_may_block()
        until = None if timeout is None else time.monotonic() + timeout
        self._begin_wait()
        try:
            while True:
                waiter = new_waiter()
                # What the wait returns is believed rather than the clock, which a test may have frozen.
                woken = not self.wait_on(waiter) or waiter.wait(None if until is None else until - time.monotonic())
                if (message := self.take()) is not None or self.ended:
                    return message
                if not woken:
                    raise self._timed_out(timeout)
        finally:
            self._end_wait()

    def _timed_out(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"No message came on {self._channel!r} within {timeout} s.")

    async def messages(self, turn: Turn | None = None) -> AsyncGenerator[Message[Any], None]:
        """Iterates on the event loop until `turn` is over: at the end of the messages, or when a wait is cancelled."""
        turn = turn or Turn()
        counters = self._counters
        loop = asyncio.get_running_loop()
        try:
            await self._caught_up()
            while True:
                # `take()` for most messages, without the call. No variable keeps what was handed out.
                items = self._items
                while items and self.dropped == self._reported:
                    if self._special_pushed == self._special_taken:
                        self.delivered += 1
                        counters.delivered += 1
                        yield items.popleft()
                    else:
                        yield self._counted(items.popleft())
                taken = [self.take()]
                if taken[0] is not None:
                    yield cast("Message[Any]", taken.pop())
                elif self._ended:
                    return
                else:
                    check_event_loop(loop)
                    self._begin_wait()
                    try:
                        waiter = loop.create_future()
                        if self.wait_on(waiter):
                            await waiter
                    finally:
                        self._end_wait()
        finally:
            turn.end()
