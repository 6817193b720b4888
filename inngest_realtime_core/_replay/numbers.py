"""The numbers of recorded messages, and which of them somebody has had.

Where a log is kept for all processes, it gives each message a number before it is sent: the time of the recording in
units of 10 us, increased where that is taken. The number of the message recorded before it in its topic travels with
it, so whoever receives a message knows whether there is one before it that is still on its way, or was missed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

import msgspec

TICKS: Final = 100_000
"""Numbers for each second."""

LATE: Final = 10 * TICKS
"""After its recording, within which Inngest takes a message, if it does."""


class Clock(msgspec.Struct, frozen=True):
    """How the clock of where numbers are given compares with `time.monotonic()`, as far as an exchange can tell.

    Attributes:
        ahead: Seconds that it is ahead, at least.
        error: Seconds that it may be ahead besides.
    """

    ahead: float
    error: float = 0.0


def to_ticks(seconds: float) -> int:
    return round(seconds * TICKS)


class Numbers:
    """The numbers in one topic that somebody has had: all up to one, and spans of those that follow.

    Attributes:
        low: All up to this one.
        spans: Further ones: (after, up to), in order, with holes before each.
        counted: Whether `low` is the number of a message.

    Args:
        began: What is not greater is not missed, although `low` may be less.
    """

    __slots__ = ("_began", "counted", "low", "spans")

    def __init__(
        self, low: int, spans: tuple[tuple[int, int], ...] = (), *, counted: bool = False, began: int = 0
    ) -> None:
        self.low: int = low
        self.spans: tuple[tuple[int, int], ...] = spans
        self.counted: bool = counted
        self._began = max(low, began)

    def __bool__(self) -> bool:
        """Whether any message is among them."""
        return self.counted or bool(self.spans)

    def __contains__(self, number: int) -> bool:
        if number <= self.low or not self.spans:
            return number <= self.low
        at = bisect_right(self.spans, (number, 0)) - 1
        return at >= 0 and self.spans[at][0] < number <= self.spans[at][1]

    def __iter__(self) -> Iterator[int]:
        """The ends of the spans, beginning with `low`."""
        yield self.low
        for span in self.spans:
            yield from span

    def add(self, previous: int, number: int) -> None:
        """Take a message.

        Args:
            previous: The number of the one before it in its topic; or when what gave the numbers began.
        """
        if number <= self.low and not self.counted:
            # It was on its way when its receiver began. It is named, so that others know that it was had.
            self.low, self.counted = number, True
        elif not self.spans and previous <= max(self.low, self._began):
            self._raise(number)
        elif number not in self:
            spans = sorted([*self.spans, (max(previous, self.low), number)])
            merged: list[tuple[int, int]] = []
            for after, until in spans:
                # What was recorded so much earlier than a later one is received by nobody any more.
                if after <= max(self.low, self._began) or after < spans[-1][1] - LATE:
                    self._raise(until)
                elif merged and after <= merged[-1][1]:
                    merged[-1] = merged[-1][0], max(until, merged[-1][1])
                else:
                    merged.append((after, until))
            self.spans = tuple(span for span in merged if span[1] > self.low)
            if self.spans:
                self._raise(self.spans[-1][1] - LATE)

    def _raise(self, number: int) -> None:
        if number > self.low:
            self.low, self.counted = number, True

    def add_all(self, until: int) -> None:
        """Called when nothing up to this number is missing."""
        if until > self.low:
            self.low = until
            self.spans = tuple((max(after, until), end) for after, end in self.spans if end > until)
            if self.spans and self.spans[0][0] <= until:
                self.low, self.spans = self.spans[0][1], self.spans[1:]
            self.counted = True

    def includes(self, other: Numbers) -> bool:
        """Whether all of the others' are among these."""
        if other.counted and other.low > self.low:
            return False
        return all(
            end <= self.low or any(mine[0] <= max(after, self.low) and end <= mine[1] for mine in self.spans)
            for after, end in other.spans
        )

    def united(self, other: Numbers) -> Numbers:
        """Those that are among these or the others'."""
        result = Numbers(max(self.low, other.low), counted=(self if self.low > other.low else other).counted)
        for after, end in sorted([*self.spans, *other.spans]):
            if end > result.low:
                result.add(after, end)
        return result
