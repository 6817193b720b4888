"""Where messages stand in a log that has some of them before they are received.

What is known from elsewhere may be put into a log while it is on its way, and then be received after what follows it
there. Its place in the order of receipt, which all processes share, is kept beside its offset.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ..messages.envelope import Envelope
from ..messages.message import GapReason
from .event_ids import PENDING, name_of

_LATE: Final = 10.0  # seconds after its record within which Inngest takes a message, if it does


class Entry(msgspec.Struct, eq=False, gc=False):
    """A message in a log, or a gap. Nothing in it leads back to it, so that the garbage collector need not look.

    Attributes:
        at: When it was received, by `time.monotonic()`.
        envelope: The message, or why something may be missing here.
        event_id: The id of the place behind it; empty until somebody needs it.
        views: The message as it was made for readers, so that it is validated and encoded once; empty until then.
        early_offset: Where the log had it before it was received: it is only for readers who read from later on.
    """

    at: float
    envelope: Envelope | GapReason
    event_id: str = ""
    views: dict[object, Any] | None = None
    early_offset: float | None = None


class PlacedLog:
    """Entries, their offsets and places, and the messages that are named in ids.

    Attributes:
        first: The offset of the oldest entry.
        entries: The entries.
        pending: Of messages that were put here before anybody was known to have received them: where they stand in the
            order of receipt, None as long as that is not known.
    """

    def __init__(self) -> None:
        self.first: int = 0
        self.entries: deque[Entry] = deque()
        self.pending: dict[str, float | None] = {}
        self._last_place = -math.inf
        self._settled_at = -math.inf
        # The names of the last messages as of the offset `_named`; None until somebody needs ids.
        self._names: dict[str, str] = {}
        self._named: int | None = None

    @property
    def end(self) -> int:
        """The offset of the entry that comes next."""
        return self.first + len(self.entries)

    def messages(self) -> Iterator[tuple[int, float, Envelope]]:
        """All messages, each with its offset and when it was received."""
        for offset, entry in enumerate(self.entries, self.first):
            if isinstance(entry.envelope, Envelope):
                yield offset, entry.at, entry.envelope

    def offset_of(self, entry: Entry) -> int:
        """The offset of an entry; that of the first one when it is no longer kept."""
        return next((offset for offset, each in enumerate(self.entries, self.first) if each is entry), self.first)

    def settle(self, envelope: Envelope, place: float | None = None) -> None:
        """Called when it is known where a message stands in the order of receipt: by default, at the end."""
        is_pending = bool(self.pending) and self.pending.get(envelope.identity, 0.0) is None
        is_newest = place is None
        if place is None:
            if not is_pending:
                return
            place = self._last_place = max(self.end - 0.5, math.nextafter(self._last_place, math.inf))
        self.pending[envelope.identity] = place
        if is_pending and self._names.pop(PENDING + envelope.identity, None) is not None:
            newest = self._names.get(envelope.topic)
            if is_newest or not any(
                name_of(other.topic, other.identity) == newest and (self.place_of(offset, other) or offset) > place
                for offset, _, other in self.messages()
            ):
                self.put_name(self._names, envelope, math.inf if is_newest else (self._named or self.first) - 1)

    def _settle_old(self) -> None:
        """What was recorded so long ago is received by nobody for the first time any more."""
        now = time.monotonic()
        if self.pending and now - self._settled_at > 1.0:
            self._settled_at = now
            for offset, at, envelope in list(self.messages()):
                if now - at > _LATE and self.pending.get(envelope.identity, 0.0) is None:
                    self.settle(envelope, offset)

    def place_of(self, offset: int, envelope: Envelope) -> float | None:
        """Where a message stands in the order of receipt; None as long as that is not known."""
        return self.pending.get(envelope.identity, offset) if self.pending else offset

    def _name_passed(self, offset: int) -> None:
        """Called with an offset before which all is named: what was received before it is the newest of its topic."""
        if any(key[0] == PENDING for key in self._names):
            passed = [
                (place, envelope)
                for _, _, envelope in self.messages()
                if (place := self.pending.get(envelope.identity)) is not None and place <= offset
            ]
            for _, envelope in sorted(passed, key=lambda each: each[0]):
                if self._names.pop(PENDING + envelope.identity, None) is not None:
                    self.put_name(self._names, envelope)

    def put_name(self, names: dict[str, str], envelope: Envelope, offset: float = math.inf) -> None:
        """Add a message to those that an id names.

        Args:
            offset: Where it is in the log, where it may have been received later.
        """
        identity = envelope.identity
        name = name_of(envelope.topic, identity)
        place = self.pending.get(identity, offset) if self.pending else offset
        if place is None or place > offset:
            names[PENDING + identity] = PENDING + name
        else:
            names.pop(envelope.topic, None)
            names[envelope.topic] = name
