"""For which time the workers together vouch that nothing of a channel was missed.

A worker's span begins when its subscription was proved, and again after every gap. It ends at the last moment for which
Inngest is proved to have delivered: when the channel's last message came, or as long ago as a dead connection may go
unnoticed, whichever is later. So a lost connection, noticed or not, has nothing to take back: it only stops the span.

A client that resumes is served if spans without a hole lead from its last event up to the span of the worker that it
has come to. For what lies beyond the end of the spans, only that worker's word counts, and only for what it received
itself: it tells its clients of a gap should its connection turn out to be dead, and others can't be asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from inngest_realtime_core.messages.envelope import Envelope

__all__ = ["SLACK", "STALL", "Coverage", "Span", "coverage_end"]

SLACK: Final = 1_000
"""Milliseconds by which two workers may receive the same message apart."""

STALL: Final = 5_000
"""Milliseconds that a worker may be silent; after more it may have been stopped, and its connection dead meanwhile."""


class Span(NamedTuple):
    """What a worker vouches for, in milliseconds of Redis' clock.

    Attributes:
        noted: When Redis was last told.
    """

    begin: int
    end: int
    noted: int

    @classmethod
    def parse(cls, text: str) -> Span:
        begin, end, noted = text.split("|")
        return cls(int(begin), int(end), int(noted))


class Coverage:
    """One channel that this worker is subscribed to.

    Attributes:
        topics: What it is proved to get.
        proving: Whether it has one connection to Inngest, alive as far as is known.
        noted: The span as Redis is known to have it; empty until it has, or when it may not.
        refreshed: When that was, by the monotonic clock.
        over: Another one has taken its place.
        heard: When the last message came, by the monotonic clock.
        waiting: What is still to be recorded.
        received: The identities of what was received lately, as far as it has been recorded.
    """

    __slots__ = ("heard", "noted", "over", "proving", "received", "refreshed", "topics", "waiting")

    def __init__(self, topics: tuple[str, ...], proving: Callable[[], bool], size: int) -> None:
        self.topics = topics
        self.proving = proving
        self.noted = ""
        self.over = False
        self.refreshed = self.heard = float("-inf")
        self.waiting: list[Envelope] = []
        self.received: deque[str] = deque(maxlen=2 * size)

    def carry(self, before: Coverage) -> None:
        """Take over from an earlier span what waits, and what is known to have been received."""
        self.waiting, self.received = before.waiting, before.received
        before.waiting, before.over = [], True

    def take(self) -> list[Envelope]:
        """What is to be recorded now."""
        waiting, self.waiting = self.waiting, []
        self.received.extend(envelope.identity for envelope in waiting)
        return waiting


def coverage_end(spans: Iterable[Span], since: int) -> int:
    """Up to when nothing was missed that came after a message.

    Args:
        since: When the message was recorded.
    """
    reached = since - SLACK
    for span in sorted(spans):
        if span.begin <= reached:
            reached = max(reached, span.end - SLACK)
    return reached
