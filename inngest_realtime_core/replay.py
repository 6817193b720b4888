"""What a channel received lately, so that a client that reconnects gets what it missed.

Bounded in number, age and size. The `id:` of an SSE event names the last message of each topic that the client has been
sent, because Inngest keeps order within a topic only: another process that subscribes to the channel may have received
the topics in another order. The names derive from the messages, so any process that received them can tell where a
client stopped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from .envelope import Envelope, sortable
from .messages import GapReason

__all__ = ["Window"]

_MAX_BYTES: Final = 4 * 1024 * 1024
_SEPARATOR: Final = "."


class Window:
    """The last messages of one channel.

    Args:
        size: Messages kept at most.
        max_age: Seconds that a message is kept at most.
        max_bytes: Bytes of payload kept at most.
    """

    __slots__ = ("_base", "_bytes", "_entries", "_last", "_max_age", "_max_bytes", "_size")

    def __init__(self, *, size: int = 256, max_age: float = 60.0, max_bytes: int = _MAX_BYTES) -> None:
        self._size = size
        self._max_age = max_age
        self._max_bytes = max_bytes
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
        self._entries.append((now, envelope))
        self._bytes += len(envelope.data)
        self._last[envelope.topic] = envelope
        if len(self._entries) > self._size or self._bytes > self._max_bytes:
            self._trim(now)

    def add_gap(self, reason: GapReason) -> None:
        """Take note that messages may have been missed here."""
        self._entries.append((time.monotonic(), reason))

    def prune(self) -> None:
        """Let go of what is too old, and of payloads that are only remembered for their identity."""
        self._trim(time.monotonic())
        for topic, envelope in self._base.items():
            if len(envelope.data) > 64:
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
        for topic, envelope in self._base.items():
            if envelope.identity in marks:
                stops[topic] = -1
                if envelope.identity == newest:
                    newest_time = sortable(envelope.created_at)
        for place, (_, envelope) in enumerate(self._entries):
            if isinstance(envelope, Envelope) and envelope.identity in marks:
                stops[envelope.topic] = place
                if envelope.identity == newest:
                    newest_at, newest_time = place, sortable(envelope.created_at)
        if newest_time is None or len(stops) < len(marks):
            # It names a message that was never received here, or was let go of: what followed may be lost with it.
            return None
        return list(self._replay(stops, newest_at, newest_time, topics))

    def _replay(
        self, stops: Mapping[str, int], newest_at: int, newest_time: str, topics: Collection[str]
    ) -> Iterator[tuple[Envelope | GapReason, str]]:
        last = dict(self._base)
        for place, (_, envelope) in enumerate(self._entries):
            if not isinstance(envelope, Envelope):
                if place > newest_at:
                    yield envelope, ""
                continue
            topic = envelope.topic
            last[topic] = envelope
            if topic not in topics and envelope.kind != "run":
                continue
            stop = stops.get(topic)
            # Of a topic that the client had nothing of, it is owed what came after the newest message it had.
            owed = place > newest_at or sortable(envelope.created_at) > newest_time if stop is None else place > stop
            if owed:
                yield envelope, _position(envelope, last, topics)


def _position(envelope: Envelope, last: Mapping[str, Envelope], topics: Collection[str]) -> str:
    names = [envelope.identity]
    for topic in topics:
        other = last.get(topic)
        if other is not None and topic != envelope.topic:
            names.append(other.identity)
    return _SEPARATOR.join(names)
