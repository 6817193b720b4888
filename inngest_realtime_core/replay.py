"""What a channel received lately, so that a client that reconnects gets what it missed.

Bounded in number, age and size. The `id:` of an SSE event names the last message of each topic that the client has been
sent, because Inngest keeps order within a topic only: another process that subscribes to the channel may have received
the topics in another order. The names derive from the messages, so any process that received them can tell where a
client stopped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Final

from .envelope import Envelope, parse_timestamp, sortable
from .messages import GapReason

__all__ = ["Replay", "Window"]

_SEPARATOR: Final = "."
_SKEW: Final = timedelta(seconds=2)  # how far apart two processes may receive what was published to two topics


@dataclass(frozen=True)
class Replay:
    """How much of a channel is kept in this process for web clients that reconnect.

    Attributes:
        size: Messages kept at most.
        max_age: Seconds that a message is kept at most.
        max_bytes: Bytes of payload kept at most.
    """

    size: int = 256
    max_age: float = 60.0
    max_bytes: int = 4 * 1024 * 1024


class Window:
    """The last messages of one channel, within limits."""

    __slots__ = ("_base", "_bytes", "_entries", "_last", "_max_age", "_max_bytes", "_size", "_slack")

    def __init__(self, limits: Replay) -> None:
        self._size = limits.size
        self._slack = limits.size + min(limits.size // 4, 64)
        self._max_age = limits.max_age
        self._max_bytes = limits.max_bytes
        self._entries: deque[tuple[float, Envelope | GapReason]] = deque()
        self._bytes = 0
        # The last message of each topic, whatever its age: a client that has it has missed nothing of the topic.
        self._last: dict[str, Envelope] = {}
        # The same as of the moment before the oldest entry.
        self._base: dict[str, Envelope] = {}

    def __len__(self) -> int:
        return len(self._entries)

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
                self._last[topic] = self._base[topic] = envelope

    def prune(self) -> None:
        """Let go of what is too old, and of payloads that are only remembered for their identity."""
        self._trim(time.monotonic())
        for topic, envelope in self._base.items():
            if len(envelope.data) > 64 or envelope.stream is not None:
                slim = self._base[topic] = envelope.without_payload()
                if self._last.get(topic) is envelope:
                    self._last[topic] = slim

    def _trim(self, now: float) -> None:
        entries = self._entries
        while entries and (
            len(entries) > self._size or self._bytes > self._max_bytes or now - entries[0][0] > self._max_age
        ):
            _, envelope = entries.popleft()
            if isinstance(envelope, Envelope):
                self._bytes -= len(envelope.data)
                self._base[envelope.topic] = envelope

    def position(self, envelope: Envelope, topics: Collection[str]) -> str:
        """The `id:` of the message received last, for a client of these topics."""
        return _position(envelope, self._last, topics)

    def since(self, event_id: str, topics: Collection[str]) -> list[tuple[Envelope | GapReason, str]] | None:
        """What came after an `id:`, in order, each with its own `id:`; a gap has an empty one.

        Returns:
            None when something that came after it may no longer be known.
        """
        self.prune()
        newest, *others = event_id.split(_SEPARATOR)
        marks = {newest, *others}
        # Where the client stopped in each topic, as a place in the window; -1 for before its begin.
        stops: dict[str, int] = {}
        newest_at, newest_time = -1, None
        times: dict[str, str | None] = {}
        remembered = [(-1, envelope) for envelope in self._base.values()]
        for place, envelope in chain(remembered, _messages(self._entries)):
            # A chunk has no time: what came before it in its topic, its stream's start at the latest, stands in.
            time_ = times[envelope.topic] = envelope.created_at or times.get(envelope.topic)
            if envelope.identity in marks:
                stops[envelope.topic] = place
                if envelope.identity == newest:
                    newest_at, newest_time = place, time_ or ""
        if newest_time is None or len(stops) < len(marks):
            # It names a message that was never received here, or was let go of: what followed may be lost with it.
            return None
        # Of a topic that the client had nothing of, it is owed what came after the newest message it had. Inngest keeps
        # no order between topics, so of what came shortly before, nobody knows.
        for place, envelope in chain(remembered, _messages(self._entries)):
            unseen = envelope.topic not in stops and _concerns(envelope, topics)
            if unseen and place <= newest_at and _too_close(envelope, newest_time):
                return None
        return list(self._replay(stops, newest_at, topics))

    def _replay(
        self, stops: Mapping[str, int], newest_at: int, topics: Collection[str]
    ) -> Iterator[tuple[Envelope | GapReason, str]]:
        # What the client has had of each topic, in the order of the process it had it from.
        last = dict(self._base)
        for place, envelope in _messages(self._entries):
            if place == stops.get(envelope.topic):
                last[envelope.topic] = envelope
        for place, (_, entry) in enumerate(self._entries):
            if not isinstance(entry, Envelope):
                if place > newest_at:
                    yield entry, ""
                continue
            if place > stops.get(entry.topic, -1):
                last[entry.topic] = entry
                if _concerns(entry, topics) and place > stops.get(entry.topic, newest_at):
                    yield entry, _position(entry, last, topics)


def _messages(entries: Iterable[tuple[float, Envelope | GapReason]]) -> Iterator[tuple[int, Envelope]]:
    for place, (_, envelope) in enumerate(entries):
        if isinstance(envelope, Envelope):
            yield place, envelope


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


def _position(envelope: Envelope, last: Mapping[str, Envelope], topics: Collection[str]) -> str:
    names = [envelope.identity]
    for topic in topics:
        other = last.get(topic)
        if other is not None and topic != envelope.topic:
            names.append(other.identity)
    for topic, other in sorted(last.items()) if len(last) > len(names) else ():
        # Messages of runs reach every client, whatever its topics.
        if other.kind == "run" and topic not in topics and topic != envelope.topic:
            names.append(other.identity)
    return _SEPARATOR.join(names)
