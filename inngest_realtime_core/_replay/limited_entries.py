"""What a channel's log has, within limits: what is too much, or too old, is evicted from the front."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..messages.envelope import Envelope
from .entries import NamedEntries
from .event_ids import EventIds
from .log import Replay
from .numbers import Clock

_MIN_GRANT: Final = 1024  # bytes


class LimitedEntries(NamedEntries):
    """Entries that are bounded in number, age and bytes.

    Attributes:
        evicted_last: Of each topic, the identity of the last message that is no longer kept, also of before a gap.
        floor: The offset after the last gap that is no longer kept: nothing is known of what came before.
        kept_bytes: Bytes of payload.
    """

    first: int  # moved here as well, which a checker takes for a declaration

    def __init__(
        self,
        channel: str,
        limits: Replay,
        ids: EventIds,
        began: float,
        grant: Callable[[int], None],
        clock: Clock | None = None,
    ) -> None:
        super().__init__(channel, ids, began, clock)
        self.evicted_last: dict[str, str] = {}
        self.floor: int | None = None
        self.kept_bytes: int = 0
        self._limits = limits
        self._max_bytes = limits.max_bytes
        self._slack = limits.size + min(limits.size // 4, 64)
        # What it may have without asking.
        self._grant = grant
        self._granted = 0

    def prune(self) -> None:
        """Evict what is too old."""
        self._trim(time.monotonic())

    def is_recent(self, moment: float) -> bool:
        """Whether what came then would be kept."""
        return moment >= time.monotonic() - self._limits.max_age

    @property
    def last_at(self) -> float:
        """When something was received last that is kept."""
        return self.entries[-1].at if self.entries else 0.0

    def evict(self) -> None:
        """Evict everything."""
        self._trim(time.monotonic(), keep=0)

    def settle_grant(self) -> int:
        """Ask again before it grows. Returns the bytes that it has."""
        self._granted = self.kept_bytes
        return self.kept_bytes

    def _grow(self) -> None:
        granted = min(self.kept_bytes + max(self.kept_bytes // 4, _MIN_GRANT), self._max_bytes)
        size, self._granted = granted - self._granted, granted
        self._grant(size)

    def _trim(self, now: float, keep: int | None = None) -> None:
        if self._granted < self.kept_bytes and self._granted < self._max_bytes:
            self._grow()
        entries = self.entries
        too_old = now - self._limits.max_age
        excess = len(entries) - (self._limits.size if keep is None else keep)
        last: dict[str, tuple[int, Envelope, int]] = {}
        newest: dict[str, Envelope] = {}
        evicted: dict[str, int] = {}
        while entries and (excess > 0 or self.kept_bytes > self._max_bytes or entries[0].at < too_old):
            excess -= 1
            if self._named == self.first:
                self._name(self.first + 1)
            entry = entries.popleft()
            envelope = entry.envelope
            if isinstance(envelope, Envelope):
                self.kept_bytes -= envelope.size
                last[envelope.topic] = self.first, envelope, entry.number
                newest[envelope.topic] = envelope
                if entry.number > evicted.get(envelope.topic, 0):
                    evicted[envelope.topic] = entry.number
            else:
                last.clear()
                self.evicted.clear()
                self._base = self.ticks_at(entry.at)
                self.floor = self.first + 1
            self.first += 1
        for topic, number in evicted.items():
            self.lack(topic, number)
        for topic, (offset, envelope, number) in last.items():
            self.evicted[topic] = offset, envelope.identity, number
        for topic, envelope in newest.items():
            self.evicted_last[topic] = envelope.identity
