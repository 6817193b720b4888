"""The bytes that wait for readers in one process, on all of its event loops together."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
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

    def shed_later(self) -> None:
        """Drops what is in excess by then. From another thread."""


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
    """A limit for all that waits of one `Realtime`, and for that of all in the process together.

    What is added is counted as it comes, and what is taken, by readers in any thread, is not: so nothing is shared
    between threads. Only when as much has come as there was room for is everything looked at, which is rare.

    Args:
        limit: Bytes. For all budgets of the process that are in use, the largest of their limits.
        shedders: The event loops on which this budget is in use.
        shared: Whether it counts in the process's total.

    Attributes:
        room: Bytes that may come until it is looked again; below zero `look` is to be called.
    """

    __slots__ = ("__weakref__", "_limit", "_shedders", "room")

    def __init__(self, limit: float, shedders: Callable[[], Sequence[Shedder]], *, shared: bool = False) -> None:
        self._limit = limit
        self._shedders = shedders
        self.room: float = limit
        if shared:
            self.room = 0  # what the others hold is not known yet
            _share(self)

    def spend(self, size: float) -> None:
        """Called when bytes are added that nobody has taken yet."""
        self.room -= size
        if self.room < 0:
            self.look()

    def look(self) -> None:
        """Looks how much waits, and drops some of it where that is nearly the limit."""
        self.room = _room(self._limit, self._shedders())
        budgets = self._in_use()
        if len(budgets) > 1:
            share = _room(*self._total(budgets)) / len(budgets)
            for each in budgets:
                # In another thread it may be spent at this moment, and the change be lost: until it is looked again.
                each.room = min(each.room, share)

    @property
    def excess(self) -> int:
        """The bytes that are to be dropped now, of its own or of all in the process. Callable from any thread."""
        own = _excess(self._limit, _held(self._shedders()))
        budgets = self._in_use()
        if not budgets:
            return own
        limit, everything = self._total(budgets)
        return max(own, _excess(limit, _held(everything)))

    @staticmethod
    def _in_use() -> list[ByteBudget]:
        # A forked process does not touch what its parent has.
        process = os.getpid()
        known = [reference() for reference, owner in list(_shared.items()) if owner == process]
        return [each for each in known if each is not None and each._shedders()]

    @staticmethod
    def _total(budgets: Sequence[ByteBudget]) -> tuple[float, list[Shedder]]:
        """The limit of all together, and what they count."""
        return max(each._limit for each in budgets), [shedder for each in budgets for shedder in each._shedders()]


_shared: Final[dict[weakref.ref[ByteBudget], int]] = {}  # with the process of each


def _share(budget: ByteBudget) -> None:
    _shared[weakref.ref(budget, lambda reference: _shared.pop(reference, None))] = os.getpid()


def _held(shedders: Iterable[Shedder]) -> int:
    return sum(each.recount() for each in shedders)


def _excess(limit: float, held: int) -> int:
    # Not at the limit itself: it would have to be looked again for each message.
    return int(held - _KEPT * limit) if held > _FULL * limit else 0


def _room(limit: float, shedders: Sequence[Shedder]) -> float:
    """The bytes that may still come, after something was dropped where nearly as many wait as may."""
    sizes = [each.recount() for each in shedders]
    held = sum(sizes)
    excess = _excess(limit, held)
    # Who holds most pays. Another event loop is left the time that it takes until the limit is reached; after that the
    # running one drops what it holds itself, and the others are asked for the rest.
    here_first = held >= limit
    until, step = limit if all(each.is_here for each in shedders) else _FULL * limit, (1 - _FULL) * limit
    for size, each in sorted(
        zip(sizes, shedders, strict=True), key=lambda held: (here_first and held[1].is_here, held[0]), reverse=True
    ):
        if excess > 0:
            if each.is_here:
                excess -= each.shed(excess)
            else:
                each.shed_later()
                excess -= size
                until, step = limit, 0
    return max(until - _held(shedders), step)


_FULL: Final = 7 / 8  # of the limit: from here on something is dropped
_KEPT: Final = 3 / 4  # of the limit: what is kept then

NO_BUDGET: Final = ByteBudget(float("inf"), tuple)
