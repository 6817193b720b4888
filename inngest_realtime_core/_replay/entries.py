"""The entries of a channel's log, their offsets, and the ids of the cursors behind them."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ..messages.envelope import Envelope
from ..messages.message import GapReason
from .event_ids import EventIds, name_of
from .numbers import TICKS, Clock, to_ticks
from .position import Position

_SLACK: Final = TICKS // 100  # by which the time of whoever gives numbers is rounded


class Entry(msgspec.Struct, eq=False, gc=False):
    """A message in a log, or a gap. Nothing in it leads back to it, so that the garbage collector need not look.

    Attributes:
        at: When it was received, by `time.monotonic()`.
        envelope: The message, or why something may be missing here.
        event_id: The id of the cursor behind it; empty until somebody needs it.
        views: The message as it was made for readers, so that it is validated and encoded once; empty until then.
        early_offset: Where the log had it before it was received: it is only for readers who read from later on.
        number: The number of the message; 0 where it has none.
        previous: The number of the message before it in its topic.
        before: What was received before it in its topic, where all processes are to know it.
    """

    at: float
    envelope: Envelope | GapReason
    event_id: str = ""
    views: dict[object, Any] | None = None
    early_offset: float | None = None
    number: int = 0
    previous: int = 0
    before: Envelope | None = None


class NamedEntries:
    """Messages and gaps in order, and what names each cursor among them to whoever comes back.

    Attributes:
        channel: The channel's name.
        name: Tells this log from all others.
        ids: Makes the ids.
        first: The offset of the oldest entry.
        entries: The entries.
        clock: That of what is kept for all.
        created: Tells the numbers that are given to the channel's messages from those that another log gives.
        evicted: Of each topic, the offset of the last entry that is no longer kept, its identity and number.
    """

    def __init__(self, channel: str, ids: EventIds, began: float, clock: Clock | None = None) -> None:
        self.channel: str = channel
        self.ids: EventIds = ids
        self.name: str = secrets.token_urlsafe(6)
        self.first: int = 0
        self.entries: deque[Entry] = deque()
        self.clock: Clock = clock or Clock(time.time() - time.monotonic())
        self.created: int = 0
        self.evicted: dict[str, tuple[int, str, int]] = {}
        # By topic, the number after which all is received.
        self.began_at: dict[str, int] = {}
        # Since when ids name what their client has had; where one stands at the offset `_named`.
        self._start = self._base = self.ticks_at(began)
        self._position = Position(self._base)
        self._named: int | None = None
        # By topic, the largest number that is kept for all and is not here.
        self._lacking: dict[str, int] = {}

    @property
    def end(self) -> int:
        """The offset of the entry that comes next."""
        return self.first + len(self.entries)

    @property
    def all_numbered(self) -> bool:
        """Whether each message has a number: one that came with a number of another log than now has none."""
        return all(entry.number or isinstance(entry.envelope, str) for entry in self.entries)

    def ticks_at(self, moment: float) -> int:
        """The least number that is given at a moment of `time.monotonic()`."""
        return to_ticks(moment + self.clock.ahead)

    def ticks_until(self, moment: float) -> int:
        """A number that is greater than those that were given until a moment."""
        return to_ticks(moment + self.clock.ahead + self.clock.error) + _SLACK

    def begin(self, began_at: dict[str, int], *, first: bool) -> None:
        """Called with the numbers after which all of each topic is received, before ids are made for their readers."""
        if first:
            self._start = self._base = min(began_at.values())
        self.began_at.update(began_at)
        self._named = None

    def lacks(self, topic: str, number: int) -> bool:
        """Whether a message that the log does not have may be put into it."""
        return number > self._lacking.get(topic, 0)

    def lack(self, topic: str, number: int) -> None:
        """Called when a message is not here, or no longer."""
        self._lacking[topic] = max(number, self._lacking.get(topic, 0))

    def messages(self) -> Iterator[tuple[int, float, Envelope]]:
        """All messages, each with its offset and when it was received."""
        for offset, entry in enumerate(self.entries, self.first):
            if isinstance(entry.envelope, Envelope):
                yield offset, entry.at, entry.envelope

    def recent(self, seconds: float) -> Iterator[Envelope]:
        """What was received in this time, the newest first."""
        since = time.monotonic() - seconds
        for entry in reversed(self.entries):
            if entry.at < since:
                return
            if isinstance(entry.envelope, Envelope):
                yield entry.envelope

    def offset_of(self, entry: Entry) -> int:
        """The offset of an entry; that of the first one when it is no longer kept."""
        return next((offset for offset, each in enumerate(self.entries, self.first) if each is entry), self.first)

    def begin_of(self, envelope: Envelope | None) -> int:
        """The offset of the gaps before a message, or of those at the end; of the message itself where there are none.

        It is that before the first entry when the message is no longer kept.
        """
        found = envelope is None
        for offset, entry in zip(range(self.end - 1, self.first - 1, -1), reversed(self.entries), strict=True):
            if isinstance(entry.envelope, Envelope) and not entry.envelope.hides_text:
                if found:
                    return offset + 1
                found = envelope is not None and entry.envelope.identity == envelope.identity
        return self.first if found else self.first - 1

    def position(self) -> Position:
        """Where one stands who has read all."""
        self._name(self.end)
        return self._position

    def name_all(self) -> str:
        """Give each entry its id; returns that of the cursor behind the last one."""
        self._name(self.end)
        return self._id(self.end, self._position)

    def id_before(self, offset: int) -> str:
        """The id of the cursor before an entry, once all have theirs."""
        if offset > self.first:
            return self.entries[offset - self.first - 1].event_id
        return self._id(offset, self._first_position())

    def id_before_gap(self, offset: int) -> str:
        """The id of the cursor before an entry for who is told there of a gap that is not in the log.

        It says that its client has had nothing since ever, so that one who is cut off before the gap is told again.
        """
        return self.ids.encode(self.channel, self.name, offset, 0, {})

    def _first_position(self) -> Position:
        """Where one stands who has read nothing that is kept."""
        position = Position(self._base, self.began_at)
        for topic, (_, identity, number) in self.evicted.items():
            if number:
                position.add_number(topic, number)
                position.complete(topic, self._lacking[topic])
            else:
                position.names[topic] = name_of(topic, identity)
        return position

    def _id(self, offset: int, position: Position) -> str:
        return self.ids.encode(self.channel, self.name, offset, position.since, position.names)

    def _name(self, end: int) -> None:
        """Give ids to the entries up to an offset."""
        if self._named is None:
            self._named = self.first
            self._position = self._first_position()
        position = self._position
        for offset in range(self._named, end):
            entry = self.entries[offset - self.first]
            envelope = entry.envelope
            if isinstance(envelope, Envelope):
                position.add(envelope, entry.number, entry.previous)
            else:
                # Who has been told of a gap is not given what came before it.
                position.clear(self.ticks_at(entry.at), self.ticks_until(entry.at))
            entry.event_id = self._id(offset + 1, position)
        self._named = max(end, self._named)
