"""Keys that were added lately: a set that may take one for another now and then, for four bytes each."""

from __future__ import annotations

from array import array
from typing import Final

_LEAST: Final = 16
_NONE: Final = array("H")


class RecentKeys:
    """The keys that were added last, of which it keeps marks in two hash tables that are at most half full.

    One table takes what is added. When it has got enough to hold all that is to be known, the other one starts anew.

    Attributes:
        room: How many may be added before `make_room` has to be called.
    """

    __slots__ = ("_marks", "_older", "room")

    def __init__(self) -> None:
        self._older = self._marks = _NONE
        self.room: int = 0

    def add(self, key: int) -> bool:
        """Add a key, unless it is there; returns whether it seems to be, which is wrong for 1 in 20,000."""
        marks = self._marks
        last = len(marks) - 1
        mark = key >> 40 & 0xFFFF or 1
        slot = key & last
        while (found := marks[slot]) and found != mark:
            slot = slot + 1 & last
        if found:
            return True
        older = self._older
        elsewhere = key & last
        while (found := older[elsewhere]) and found != mark:
            elsewhere = elsewhere + 1 & last
        if found:
            return True
        marks[slot] = mark
        self.room -= 1
        return False

    def renew(self, key: int) -> None:
        """Add a key that seemed to be there."""
        older, self._older = self._older, array("H", bytes(2 * len(self._older)))
        self.add(key)
        self._older = older

    def make_room(self, count: int) -> bool:
        """Make room for more keys; returns whether it is empty now, and those that are to be known are to be added.

        Args:
            count: How many of the last ones are to be known.
        """
        if self._marks and 2 * count <= len(self._marks):
            self._older, self._marks = self._marks, array("H", bytes(2 * len(self._marks)))
            self.room = len(self._marks) // 2
            return False
        self.room = max(_LEAST, 1 << count.bit_length())
        self._older, self._marks = (array("H", bytes(4 * self.room)) for _ in range(2))
        return True

    def clear(self) -> None:
        self._older = self._marks = _NONE
        self.room = 0
