"""The bytes that wait for readers in one process, on all of its event loops together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol


class Holder(Protocol):
    """What holds bytes for somebody who has not taken them yet."""

    @property
    def held_bytes(self) -> int: ...

    def drop(self, size: int) -> None:
        """Drops the oldest until so many bytes are free, or nothing is left."""


class Shedder(Protocol):
    """The holders of one event loop."""

    @property
    def is_here(self) -> bool:
        """Whether its event loop is the running one."""
        ...

    def recount(self) -> int:
        """Returns the bytes that wait, from which on is counted."""
        ...

    def shed(self, size: int) -> int:
        """Drops so many bytes, if it can, and returns how many it did. On its event loop."""
        ...

    def shed_later(self, size: int) -> None:
        """The same from another thread."""


def shed(holders: Iterable[Holder], size: int) -> int:
    """Drops so many bytes, of those first who hold most. Returns how many were dropped."""
    dropped = 0
    for holder in sorted(holders, key=lambda each: each.held_bytes, reverse=True):
        if dropped >= size:
            break
        before = holder.held_bytes
        holder.drop(size - dropped)
        dropped += before - holder.held_bytes
    return dropped


class ByteBudget:
    """A limit for all that waits in a process.

    What is added is counted as it comes, and what is taken, by readers in any thread, is not: so nothing is shared
    between threads. Only when as much has come as there was room for is everything looked at, which is rare.

    Args:
        limit: Bytes.
        shedders: The event loops of the process.

    Attributes:
        room: Bytes that may come until it is looked again; below zero `look` is to be called.
    """

    __slots__ = ("_limit", "_shedders", "room")

    def __init__(self, limit: float, shedders: Callable[[], Iterable[Shedder]]) -> None:
        self._limit = limit
        self._shedders = shedders
        self.room: float = limit

    def spend(self, size: float) -> None:
        """Called when bytes are added that nobody has taken yet."""
        self.room -= size
        if self.room < 0:
            self.look()

    def look(self) -> None:
        """Looks how much waits, and drops some of it where that is nearly the limit."""
        shedders = list(self._shedders())
        held = sum(each.recount() for each in shedders)
        # Not at the limit itself: it would have to be looked again for each message.
        excess = int(held - _KEPT * self._limit) if held > _FULL * self._limit else 0
        # An event loop drops what it holds itself; the others are asked to when that is not enough.
        for here in shedders:
            if excess > 0 and here.is_here:
                excess -= here.shed(excess)
        for other in shedders:
            if excess > 0 and not other.is_here:
                other.shed_later(excess)
        held = sum(each.recount() for each in shedders)
        self.room = max(self._limit - held, (1 - _FULL) * self._limit)


_FULL: Final = 7 / 8  # of the limit: from here on something is dropped
_KEPT: Final = 3 / 4  # of the limit: what is kept then

NO_BUDGET: Final = ByteBudget(float("inf"), tuple)
