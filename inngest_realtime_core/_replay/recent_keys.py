"""Keys that were added lately: a set that may take one for another now and then, for four bytes each."""

from __future__ import annotations

from array import array
from typing import Final

_LEAST: Final = 16
_MARKS: Final = 65_521  # odd, so that a mark does not follow from its place in a table
_NONE: Final = array("H")


class RecentKeys:
    """The keys that were added last, of which it keeps marks in two hash tables that are at most half full.

    One table takes what is added. When it has got enough to hold all that is to be known, the other one starts anew.

    Attributes:
        room: How many may be added before `make_room` has to be called.
    """

    __slots__ = ("_last", "_marks", "_older", "_size", "room")

    def __init__(self) -> None:
        self._older = self._marks = _NONE
        self._last = -1  # the last slot of each
        self._size = 0  # how many are added to a table
        self.room: int = 0

    def add(self, key: int) -> bool:
        """Add a key, unless it is there; returns whether it seems to be, which is wrong for 1 in 20,000."""
        marks = self._marks
        last = self._last
        slot = first = key & last
        mark = key % _MARKS + 1
        while found := marks[slot]:
            if found == mark:
                return True
            slot = slot + 1 & last
        older = self._older
        while found := older[first]:
            if found == mark:
                return True
            first = first + 1 & last
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
        if self._marks and count <= self._size:
            self._older, self._marks = self._marks, array("H", bytes(2 * len(self._marks)))
            # As few as will do: the emptier they are, the sooner it is found that a key is in neither.
            self.room = self._size = min(len(self._marks) // 2, max(_LEAST, count + count // 4))
            return False
        self.room = self._size = max(_LEAST, 1 << count.bit_length())
        self._older, self._marks = (array("H", bytes(4 * self.room)) for _ in range(2))
        self._last = 2 * self.room - 1
        return True

    def clear(self) -> None:
        self._older = self._marks = _NONE
        self._last = -1
        self._size = self.room = 0
