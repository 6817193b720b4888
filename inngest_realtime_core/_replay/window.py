"""What a channel received lately, so that a client that reconnects gets what it missed.

Bounded in number, age and size. The `id:` of an SSE event names the last message of each topic that the client has been
sent, because Inngest keeps order within a topic only: another process that subscribes to the channel may have received
the topics in another order. The names derive from the messages, so any process that received them can tell where a
client stopped. Where they leave it open, because nothing has come yet of some topic, a mark that only this window knows
says how far it had come.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from operator import itemgetter
from typing import Final, NamedTuple

from ..messages.envelope import Envelope
from ..messages.message import GapReason
from ..messages.timestamps import parse_timestamp, sortable
from .log import Replay

__all__ = ["Begin", "Window"]

_SEPARATOR: Final = "."
_MARK: Final = "~"  # what a mark of a window begins with, and no name of a message does
_SKEW: Final = timedelta(seconds=2)  # how far apart two processes may receive what was published to two topics


class Begin(NamedTuple):
    """From when on a topic is covered.

    Attributes:
        moment: `time.monotonic()`; later than the last moment at which something may have been missed.
        place: How many entries the window had had when the topic was first covered.
    """

    moment: float
    place: int


class Window:
    """The last messages of one channel, within limits.

    Entries are counted from the window's begin; an entry's place is how many came before it.

    Args:
        begins: From when on each topic is covered, kept up to date by its owner. Without it, whoever fills the window
            vouches for all topics.
    """

    __slots__ = (
        "_base",
        "_begins",
        "_bytes",
        "_entries",
        "_first",
        "_floor",
        "_last",
        "_max_age",
        "_max_bytes",
        "_name",
        "_size",
        "_slack",
    )

    def __init__(self, limits: Replay, begins: Mapping[str, Begin] | None = None) -> None:
        self._size = limits.size
        self._slack = limits.size + min(limits.size // 4, 64)
        self._max_age = limits.max_age
        self._max_bytes = limits.max_bytes
        self._begins = begins
        self._name = os.urandom(4).hex()
        self._entries: deque[tuple[float, Envelope | GapReason]] = deque()
        self._first = 0  # the place of the oldest entry
        self._floor = 0  # the place after the last gap that was let go of: nothing is known of what came before
        self._bytes = 0
        # The last message of each topic since the last gap, whatever its age: a client that has it has missed nothing
        # of the topic. Who has been told of a gap is not owed what came before it.
        self._last: dict[str, Envelope] = {}
        # The last of each topic before the oldest entry, each with its place and when it was received.
        self._base: dict[str, tuple[int, float, Envelope]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def count(self) -> int:
        """How many entries there have been so far."""
        return self._first + len(self._entries)

    def add(self, envelope: Envelope) -> None:
        """Take a message as it is received."""
        now = time.monotonic()
        entries = self._entries
        entries.append((now, envelope))
        self._bytes += len(envelope.data)
        self._last[envelope.topic] = envelope
        # Not at every message: whoever reads the window prunes it first.
        if len(entries) > self._slack or self._bytes > self._max_bytes:
            self._trim(now)

    def add_gap(self, reason: GapReason) -> None:
        """Take note that messages may have been missed here."""
        self._entries.append((time.monotonic(), reason))
        self._last.clear()

    def recent(self, seconds: float) -> Iterator[Envelope]:
        """What was received in this time."""
        since = time.monotonic() - seconds
        for received, envelope in reversed(self._entries):
            if received < since:
                return
            if isinstance(envelope, Envelope):
                yield envelope

    def restore(self, envelopes: Iterable[Envelope], last: Mapping[str, Envelope]) -> None:
        """Fill with what was kept elsewhere.

        Args:
            last: The last message of each topic; it counts for the topics that have none among `envelopes`.
        """
        for envelope in envelopes:
            self.add(envelope)
        for topic, envelope in last.items():
            if topic not in self._last:
                self._last[topic] = envelope
                self._base[topic] = (-1, 0.0, envelope)

    def prune(self) -> None:
        """Let go of what is too old, and of payloads that are only remembered for their identity."""
        self._trim(time.monotonic())
        for topic, (place, received, envelope) in self._base.items():
            if len(envelope.data) > 64 or envelope.stream is not None:
                slim = envelope.without_payload()
                self._base[topic] = (place, received, slim)
                if self._last.get(topic) is envelope:
                    self._last[topic] = slim

    def _trim(self, now: float) -> None:
        entries = self._entries
        while entries and (
            len(entries) > self._size or self._bytes > self._max_bytes or now - entries[0][0] > self._max_age
        ):
            received, entry = entries.popleft()
            if isinstance(entry, Envelope):
                self._bytes -= len(entry.data)
                self._base[entry.topic] = (self._first, received, entry)
            else:
                # A client that stopped before it could not be told any more: its id must not be known any more.
                self._base.clear()
                self._floor = self._first + 1
            self._first += 1

    def position(self, envelope: Envelope, topics: Collection[str]) -> str:
        """The `id:` of the message received last, for a client of these topics."""
        return self._position(envelope, self._last, topics, self._first + len(self._entries))

    def start(self, topics: Collection[str]) -> str:
        """The `id:` for a client of these topics that begins now, before it has had anything."""
        newest = max(
            (
                (place, envelope)
                for place, _, envelope in self._messages()
                if _concerns(envelope, topics) and self._last.get(envelope.topic) is envelope
            ),
            key=itemgetter(0),
            default=None,
        )
        if newest is None:
            return self._mark(self.count)
        return self._position(newest[1], self._last, topics, self.count)

    def since(self, event_id: str, topics: Collection[str]) -> list[tuple[Envelope | GapReason, str]] | None:
        """What came after an `id:`, in order, each with its own `id:`; a gap has an empty one.

        Returns:
            None when something that came after it may no longer be known.
        """
        self.prune()
        names = event_id.split(_SEPARATOR)
        here = self._read_mark(names.pop()) if names[-1].startswith(_MARK) else None
        marks = set(names)
        # Where the client stopped in each topic.
        stops: dict[str, int] = {}
        newest: tuple[int, float, str] | None = None
        times: dict[str, str | None] = {}
        for place, received, envelope in self._messages():
            # A chunk has no time: what came before it in its topic, its stream's start at the latest, stands in.
            time_ = times[envelope.topic] = envelope.created_at or times.get(envelope.topic)
            if envelope.identity in marks:
                stops[envelope.topic] = place
                if envelope.identity == names[0]:
                    newest = place, received, time_ or ""
        if len(stops) < len(marks):
            # It names a message that was never received here, or was let go of: what followed may be lost with it.
            return None
        if here is not None:
            after = here - 1
        elif newest is not None:
            after = newest[0]
        else:
            # All it has is a mark of another window.
            return None
        if not self._covers([topic for topic in topics if topic not in stops], here, newest):
            return None
        # Of a topic that the client had nothing of, it is owed what came after its mark or else the newest message it
        # had. Inngest keeps no order between topics, so without a mark of this window nobody knows of what came shortly
        # before.
        for place, _, envelope in self._messages():
            if envelope.topic in stops or not _concerns(envelope, topics):
                continue
            if place > after:
                if place < self._first:
                    return None
            elif here is None and newest is not None and _too_close(envelope, newest[2]):
                return None
        return list(self._replay(stops, after, topics))

    def _covers(self, topics: Iterable[str], here: int | None, newest: tuple[int, float, str] | None) -> bool:
        """Whether all that came of these topics is here, after a mark of this window or else a message."""
        if self._begins is None:
            return True
        for topic in topics:
            begin = self._begins.get(topic)
            if begin is None:
                return False
            if here is not None:
                if begin.place > here:
                    return False
            elif newest is None or newest[1] - begin.moment < _SKEW.total_seconds():
                return False
        return True

    def _replay(
        self, stops: Mapping[str, int], after: int, topics: Collection[str]
    ) -> Iterator[tuple[Envelope | GapReason, str]]:
        # What the client has had of each topic, in the order of the process it had it from.
        last = {topic: envelope for topic, (_, _, envelope) in self._base.items()}
        for place, _, envelope in self._messages():
            if place == stops.get(envelope.topic):
                last[envelope.topic] = envelope
        earliest = min(after, *stops.values()) if stops else after
        for place, (_, entry) in enumerate(self._entries, self._first):
            if not isinstance(entry, Envelope):
                last = {topic: envelope for topic, envelope in last.items() if stops.get(topic, -1) > place}
                # It may have swallowed something of the topic in which the client stopped earliest.
                if place > earliest:
                    yield entry, ""
                continue
            if place > stops.get(entry.topic, -1):
                last[entry.topic] = entry
                if _concerns(entry, topics) and place > stops.get(entry.topic, after):
                    yield entry, self._position(entry, last, topics, max(place, after) + 1)

    def _messages(self) -> Iterator[tuple[int, float, Envelope]]:
        """All messages that are known, each with its place and when it was received."""
        yield from self._base.values()
        for place, (received, entry) in enumerate(self._entries, self._first):
            if isinstance(entry, Envelope):
                yield place, received, entry

    def _position(self, envelope: Envelope, last: Mapping[str, Envelope], topics: Collection[str], place: int) -> str:
        names = [envelope.identity]
        unseen = False
        for topic in topics:
            if topic != envelope.topic:
                other = last.get(topic)
                if other is None:
                    unseen = True
                else:
                    names.append(other.identity)
        for topic, other in sorted(last.items()) if len(last) > len(names) else ():
            # Messages of runs reach every client, whatever its topics.
            if other.kind == "run" and topic not in topics and topic != envelope.topic:
                names.append(other.identity)
        if unseen:
            names.append(self._mark(place))
        return _SEPARATOR.join(names)

    def _mark(self, place: int) -> str:
        """What stands for the topics that nothing has come of: the client is owed what comes from this place on."""
        return f"{_MARK}{self._name}-{place}"

    def _read_mark(self, mark: str) -> int | None:
        """The place; None for a mark of another window, and for one from before a gap that is forgotten."""
        name, _, digits = mark.removeprefix(_MARK).partition("-")
        if name != self._name or not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
            return None
        place = int(digits)
        return place if self._floor <= place <= self.count else None


def _concerns(envelope: Envelope, topics: Collection[str]) -> bool:
    return envelope.topic in topics or envelope.kind == "run"


def _too_close(envelope: Envelope, newest_time: str) -> bool:
    """Whether a message that was received before the newest one may have been published after it, or with it."""
    if envelope.created_at is None:
        return False
    moment = parse_timestamp(newest_time)
    if moment is None:
        return True
    earliest = (moment - _SKEW).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return sortable(envelope.created_at) >= earliest
