"""The log of one channel in this process: what was received, in order, and where each reader stands.

Append-only, bounded in number, age and bytes. An entry's offset is how many came before it; what is known of earlier
times can be put in front, and has negative offsets. A message is in the log once: a second one with the same identity
is dropped at receipt.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from ..messages.envelope import NO_METADATA, Envelope
from ..messages.message import GapReason
from .event_ids import EventIds, name_of
from .log import Replay
from .placed_log import Entry, PlacedLog

_now = time.monotonic
_KEY_BYTES: Final = 6  # of the filter for repetitions: with two bits each, 1 in 1,000 is taken for one that it has
_BITS: Final = tuple(1 << bit for bit in range(8))
_MIN_KEYS: Final = 16
_MIN_GRANT: Final = 1024  # bytes


class Coverage(NamedTuple):
    """From when on the log has all messages of a topic.

    Attributes:
        moment: `time.monotonic()`; not before the last moment at which something may have been missed.
        offset: The offset of the first entry.
        began: `time.monotonic()` when the topic was first covered.
    """

    moment: float
    offset: int
    began: float


class ChannelLog(PlacedLog):
    """The last messages of one channel, within limits.

    Attributes:
        name: Tells this log from all others.
        clock: Seconds that the clock of what is kept for all is ahead of `time.monotonic()`.
        began: The moment from which on a client that has had nothing is given what came.
        whole_since: From when on everything is known that was published, by `time.monotonic()`.
        run_topics: The topics of messages of runs, which concern every client.
        coverage: From when on each topic is covered.
        mixed: Whether something was received that has no id of this package.
        evicted: Of each topic, the offset of the last entry that is no longer kept, and its name where ids are made.
        evicted_last: Of each topic, the identity of the last message that is no longer kept, also of before a gap.
        floor: The offset after the last gap that is no longer kept: nothing is known of what came before.
    """

    first: int  # moved here as well, which a checker takes for a declaration

    def __init__(
        self,
        channel: str,
        limits: Replay,
        ids: EventIds,
        coverage: dict[str, Coverage],
        began: float,
        grant: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.channel: str = channel
        self.ids: EventIds = ids
        self.clock: float = time.time() - time.monotonic()
        self.began: float = began
        self.whole_since: float = float("inf")
        self.run_topics: set[str] = set()
        self.name: str = secrets.token_urlsafe(6)
        self.coverage: dict[str, Coverage] = coverage
        self.mixed: bool = False
        self.evicted: dict[str, tuple[int, str]] = {}
        self.evicted_last: dict[str, str] = {}
        self.floor: int | None = None
        self._limits = limits
        self._max_bytes = limits.max_bytes
        self._slack = limits.size + min(limits.size // 4, 64)
        self._bytes = 0
        # What it may have without asking.
        self._grant = grant
        self._granted = 0
        # A Bloom filter of the messages that have an id, made anew when it is full.
        self._filter = bytearray()
        self._filter_mask = self._filter_room = 0
        self._names_since = began

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def kept_bytes(self) -> int:
        """Bytes of payload in the log."""
        return self._bytes

    def recent(self, seconds: float) -> Iterator[Envelope]:
        """What was received in this time, the newest first."""
        since = time.monotonic() - seconds
        for entry in reversed(self.entries):
            if entry.at < since:
                return
            if isinstance(entry.envelope, Envelope):
                yield entry.envelope

    # -- writing ----------------------------------------------------------------------------------------------------

    def append(self, envelope: Envelope) -> Entry | None:
        """Take a message as it is received; None when the log has it already."""
        if envelope.metadata is NO_METADATA:
            # As `_is_repeated()`, without the call.
            self.mixed = True
        elif self._is_repeated(envelope):
            return None
        if envelope.kind == "run":
            self.run_topics.add(envelope.topic)
        entry = Entry(_now(), envelope)
        entries = self.entries
        entries.append(entry)
        self._bytes += len(envelope.data)
        # Not at every message: whoever reads the log prunes it first.
        if len(entries) > self._slack or self._bytes > self._granted:
            self._trim(entry.at)
        return entry

    def append_gap(self, reason: GapReason) -> Entry:
        """Called when messages may have been missed here."""
        entry = Entry(time.monotonic(), reason)
        self.entries.append(entry)
        return entry

    def prepend(
        self, messages: Iterable[tuple[float, Envelope]], *, whole: bool, since: float, pending: Collection[str] = ()
    ) -> list[Entry]:
        """Put in front what is known of earlier times, each message with when it was received; returns its entries.

        Args:
            whole: Whether nothing is missing between these and what follows; else there is a gap.
            since: From when on nothing is missing among these.
            pending: The identities of those that nobody is known to have received.
        """
        early: list[Entry] = []
        if self.evicted or self.floor is not None:
            # The offsets in front have been used.
            return early
        known = self.unknown(messages)
        if known and not whole:
            # Good for those who come late; who comes back may have missed something among these.
            self.floor = self.first
            self._push_front(Entry(self.entries[0].at if self.entries else time.monotonic(), "expired"))
        for at, envelope in reversed(known):
            if len(self.entries) >= self._limits.size or self._bytes + len(envelope.data) > self._limits.max_bytes:
                # As if the rest had been evicted: a client that stopped there has missed some.
                self.floor = self.first if self.floor is None else self.floor
                break
            early.append(Entry(at, envelope))
            self._push_front(early[-1])
            if envelope.identity in pending:
                self.pending[envelope.identity] = None
            self._bytes += len(envelope.data)
            self._filter_room = 0
        # Ids made from now on name what came before, too.
        if whole and self.floor is None:
            self._names_since = min(self.began, since)
        elif self.entries:
            self._names_since = min(self.began, self.entries[0].at)
        self._names.clear()
        self._named = None
        if whole:
            self.whole_since = since
            for topic, coverage in self.coverage.items():
                self.coverage[topic] = coverage._replace(moment=float("-inf"), offset=self.first)
        return early

    def _push_front(self, entry: Entry) -> None:
        self.entries.appendleft(entry)
        self.first -= 1

    def unknown(self, messages: Iterable[tuple[float, Envelope]]) -> list[tuple[float, Envelope]]:
        """Those that the log does not have, in order, each once."""
        seen = {envelope.identity for _, _, envelope in self.messages()}
        result: list[tuple[float, Envelope]] = []
        for at, envelope in messages:
            if envelope.identity not in seen:
                seen.add(envelope.identity)
                result.append((at, envelope))
        return result

    # -- repetitions ------------------------------------------------------------------------------------------------

    def _is_repeated(self, envelope: Envelope) -> bool:
        id = envelope.id
        if id is None:
            self.mixed = True
            return False
        if not self._filter_room:
            self._fill_filter()
        self._filter_room -= 1
        topic, bits, mask = envelope.topic, self._filter, self._filter_mask
        key = hash((topic, id))
        one, two = key & mask, (key >> 32) & mask
        at_one, at_two, bit_one, bit_two = one >> 3, two >> 3, _BITS[one & 7], _BITS[two & 7]
        if bits[at_one] & bit_one and bits[at_two] & bit_two:
            # Most likely: the log itself knows.
            self._trim(time.monotonic())
            for entry in reversed(self.entries):
                other = entry.envelope
                if isinstance(other, Envelope) and other.topic == topic and other.id == id:
                    self.settle(other)
                    return True
        bits[at_one] |= bit_one
        bits[at_two] |= bit_two
        return False

    def _fill_filter(self) -> None:
        """Make a filter of what the log has, with room for three times as much besides."""
        capacity = max(4 * len(self.entries), _MIN_KEYS)
        size = 1 << (capacity * _KEY_BYTES - 1).bit_length()
        self._filter, self._filter_mask, self._filter_room = bits, mask, _ = bytearray(size), size * 8 - 1, capacity
        for _, _, envelope in self.messages():
            if (id := envelope.id) is not None:
                key = hash((envelope.topic, id))
                for bit in (key & mask, (key >> 32) & mask):
                    bits[bit >> 3] |= _BITS[bit & 7]

    # -- limits -----------------------------------------------------------------------------------------------------

    def prune(self) -> None:
        """Evict what is too old."""
        self._trim(time.monotonic())

    @property
    def last_at(self) -> float:
        """When something was received last that is kept."""
        return self.entries[-1].at if self.entries else 0.0

    def evict(self) -> None:
        """Evict everything."""
        self._trim(time.monotonic(), keep=0)

    def settle_grant(self) -> int:
        """Ask again before it grows. Returns the bytes that it has."""
        self._granted = self._bytes
        return self._bytes

    def _grow(self) -> None:
        granted = min(self._bytes + max(self._bytes // 4, _MIN_GRANT), self._max_bytes)
        size, self._granted = granted - self._granted, granted
        self._grant(size)

    def _trim(self, now: float, keep: int | None = None) -> None:
        if self._granted < self._bytes and self._granted < self._max_bytes:
            self._grow()
        entries = self.entries
        too_old = now - self._limits.max_age
        excess = len(entries) - (self._limits.size if keep is None else keep)
        last: dict[str, tuple[int, Envelope]] = {}
        newest: dict[str, Envelope] = {}
        while entries and (excess > 0 or self._bytes > self._max_bytes or entries[0].at < too_old):
            excess -= 1
            if self._named == self.first:
                self._name(self.first + 1)
            entry = entries.popleft()
            envelope = entry.envelope
            if isinstance(envelope, Envelope):
                newest[envelope.topic] = envelope
                if self.pending:
                    self.pending.pop(envelope.identity, None)
                self._bytes -= len(envelope.data)
                last[envelope.topic] = self.first, envelope
            else:
                last.clear()
                self.evicted.clear()
                self.floor = self.first + 1
            self.first += 1
        for topic, (offset, envelope) in last.items():
            name = "" if self._named is None else name_of(topic, envelope.identity)
            self.evicted[topic] = offset, name
        for topic, envelope in newest.items():
            self.evicted_last[topic] = envelope.identity

    # -- ids --------------------------------------------------------------------------------------------------------

    def name_all(self) -> str:
        """Give each entry its id; returns that of the place behind the last one."""
        self._name(self.end)
        if self.entries:
            return self.entries[-1].event_id
        return self._id(self.end, self._names)

    def id_before(self, offset: int) -> str:
        """The id of the place before an entry, once all have theirs."""
        if offset > self.first:
            return self.entries[offset - self.first - 1].event_id
        names = {topic: name for topic, (_, name) in self.evicted.items() if name}
        return self._id(offset, names)

    def _id(self, offset: int, names: dict[str, str]) -> str:
        return self.ids.encode(self.channel, self.name, offset, self._names_since + self.clock, names)

    def _name(self, end: int) -> None:
        """Give ids to the entries up to an offset."""
        names = self._names
        start = self.first if self._named is None else self._named
        if start < end:
            self._settle_old()
        for offset in range(start, end):
            entry = self.entries[offset - self.first]
            envelope = entry.envelope
            if isinstance(envelope, Envelope):
                if self.pending:
                    self._name_passed(offset)
                self.put_name(names, envelope, offset)
            else:
                # Who has been told of a gap is not given what came before it.
                names.clear()
                self._names_since = entry.at
            entry.event_id = self._id(offset + 1, names)
        self._named = end
