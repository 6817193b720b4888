"""The log of one channel in this process: what was received, in order, and where each reader stands.

Append-only, bounded in number, age and bytes. An entry's offset is how many came before it; what is known of earlier
times can be put in front, and has negative offsets. A message is in the log once: a second one with the same identity
is dropped at receipt.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from ..messages.envelope import NO_METADATA, Envelope, read_added
from ..messages.message import GapReason
from .entries import Entry
from .event_ids import EventIds
from .limited_entries import LimitedEntries
from .log import History, Numbered, Replay
from .numbers import LATE, Numbers
from .recent_keys import RecentKeys

_now = time.monotonic
_MOST: Final = 2**48  # what a number is less than


_Early = tuple[float, Envelope, int, int]


class Coverage(msgspec.Struct, frozen=True):
    """From when on the log has all messages of a topic.

    Attributes:
        moment: `time.monotonic()`; not before the last moment at which something may have been missed.
        offset: The offset of the first entry.
        began: `time.monotonic()` when the topic was first covered.
    """

    moment: float
    offset: int
    began: float


class _Head:
    """What came last in a topic.

    Attributes:
        number: The largest number.
        last: The message received last. Others are to be told of it with one that is not recorded, or comes in another
            order.
    """

    __slots__ = ("last", "number")

    def __init__(self) -> None:
        self.number: int = 0
        self.last: Envelope | None = None


class ChannelLog(LimitedEntries):
    """The last messages of one channel, within limits.

    Attributes:
        began: The moment from which on a client that has had nothing is given what came.
        whole_since: From when on everything is known that was published, by `time.monotonic()`.
        run_topics: The topics of messages of runs, which concern every client.
        coverage: From when on each topic is covered.
        mixed: Whether something was received that was not recorded.
        ambiguous: The identities of messages that do not tell what a client of another log has had.
        left_out: By topic, when the last one was published that is kept beside the log and could not be put into it.
    """

    first: int  # moved here as well, which a checker takes for a declaration
    floor: int | None
    kept_bytes: int
    created: int

    def __init__(
        self,
        channel: str,
        limits: Replay,
        ids: EventIds,
        coverage: dict[str, Coverage],
        began: float,
        grant: Callable[[int], None],
        shared: History | None = None,
    ) -> None:
        super().__init__(channel, limits, ids, began, grant, None if shared is None else shared.clock)
        self.began: float = began
        self.whole_since: float = float("inf")
        self.run_topics: set[str] = set()
        self.coverage: dict[str, Coverage] = coverage
        self.mixed: bool = False
        self.ambiguous: Collection[str] = ()
        self.left_out: dict[str, float] = {}
        self._recent = RecentKeys()  # of topics and ids
        # Where what is kept for all gives numbers; what it was found to have begun with.
        self._shared = shared
        self._is_confirmed = False
        self._gap_until = 0  # the number up to which a gap may hide what was published
        self._heads: dict[str, _Head] = {}  # by topic
        # By topic, the number after which all is kept for all.
        self._since: dict[str, int] = {}

    # -- writing ----------------------------------------------------------------------------------------------------

    def append(self, envelope: Envelope, number: int = 0, previous: int = 0) -> Entry | None:
        """Take a message as it is received; None when the log has it already.

        Args:
            number: Its number, where that is known from elsewhere.
            previous: That of the message before it in its topic.
        """
        metadata = envelope.metadata
        added = None if metadata is NO_METADATA or envelope.kind != "data" else read_added(metadata)
        if added is None:
            self.mixed = True
            if envelope.kind == "run":
                self.run_topics.add(envelope.topic)
        else:
            recent = self._recent
            if not recent.room:
                self._make_room()
            if recent.add(hash((envelope.topic, added.id))) and self._is_repeated(envelope.topic, added.id):
                return None
        if self._shared is not None:
            if not number and added is not None:
                seq = added.seq
                if seq is None:
                    # From a process that records nothing, or could not.
                    self.mixed = True
                else:
                    number, previous, log = seq
                    if log != self.created or not self._is_confirmed:
                        self._confirm(log, self._shared.created(self.channel))
                        if log != self.created:
                            number = previous = 0
                    if not 0 <= previous < number < _MOST:
                        number = previous = 0
            head = self._heads.get(envelope.topic)
            if head is None:
                head = self._heads[envelope.topic] = _Head()
            elif previous == head.number:
                previous = head.number  # one object less to keep
            before: Envelope | None = None
            if number > head.number:
                head.number = number
            else:
                before = head.last
            head.last = envelope
            # At once: a struct is slow to assign to.
            entry = Entry(_now(), envelope, "", None, None, number, previous, before)
        else:
            entry = Entry(_now(), envelope)
        entries = self.entries
        entries.append(entry)
        self.kept_bytes += envelope.weight or len(envelope.data)
        # Not at every message: whoever reads the log prunes it first.
        if len(entries) > self._slack or self.kept_bytes > self._granted:
            self._trim(entry.at)
        return entry

    def _confirm(self, log: int, created: int) -> None:
        """Called with the log whose number came with a message, and the one that is known, or 0."""
        self._is_confirmed = created != 0
        # Until that is known, it is most likely the same.
        self.created = created or self.created or log

    def append_gap(self, reason: GapReason) -> Entry:
        """Called when messages may have been missed here."""
        entry = Entry(time.monotonic(), reason)
        self.entries.append(entry)
        self._gap_until = self.ticks_until(entry.at)
        for topic in self.coverage:
            self.lack(topic, self._gap_until)
        return entry

    def prepend(self, messages: Iterable[_Early], *, whole: bool, since: float) -> list[Entry]:
        """Put in front what is known of earlier times; returns its entries.

        Args:
            messages: Each with when it was received, its number, and that of the one before it in its topic.
            whole: Whether nothing is missing between these and what follows; else there is a gap.
            since: From when on nothing is missing among these.
        """
        early: list[Entry] = []
        known, dropped = self._limited(messages)
        used = bool(self.evicted) or self.floor is not None
        if used:
            known = [each for each in known if self._fits(*each)]
        if known and not whole:
            # Good for those who come late; who comes back may have missed something among these.
            self.floor = self.first if self.floor is None else self.floor
            # What is received after it may have been recorded long before that.
            missed = max([each.moment for each in self.coverage.values()] + [at for at, *_ in known])
            received = self.entries[0].at if self.entries else time.monotonic()
            self._push_front(Entry(min(missed, received), "expired"))
        while known:
            at, envelope, number, previous = known.pop()
            early.append(Entry(at, envelope, number=number, previous=previous))
            self._push_front(early[-1])
            self.kept_bytes += envelope.size
            self._recent.clear()
        if dropped:
            # As if they had been evicted: a client that stopped there has missed some.
            self.floor = self.first if self.floor is None else self.floor
        self._named = None
        if used:
            return early
        # Ids made from now on name what came before, too.
        if whole and self.floor is None:
            self._base = min(self._start, self.ticks_at(since))
            self.began_at.clear()
        elif self.entries:
            oldest = self.entries[0]
            at = min(self._start, self.ticks_at(oldest.at))
            self._base = min(at, oldest.number - 1) if oldest.number else at
        if whole:
            self.whole_since = min(since, self.whole_since)
            for topic, coverage in self.coverage.items():
                self.coverage[topic] = msgspec.structs.replace(coverage, moment=float("-inf"), offset=self.first)
        return early

    def _limited(self, messages: Iterable[_Early]) -> tuple[list[_Early], bool]:
        """Make room for messages in front; returns those that there is room for, and whether these are not all."""
        known = deque(messages)
        size = sum(envelope.size for _, envelope, _, _ in known)
        dropped = False
        while known and (
            len(self.entries) + len(known) > self._limits.size or self.kept_bytes + size > self._limits.max_bytes
        ):
            if self.entries and self.entries[0].at <= known[0][0]:
                self._trim(time.monotonic(), keep=len(self.entries) - 1)
            else:
                dropped = True
                _, envelope, number, _ = known.popleft()
                size -= envelope.size
                self.lack(envelope.topic, number)
        return list(known), dropped

    def _fits(self, at: float, envelope: Envelope, number: int, _: int) -> bool:
        """Whether a message may be in front where offsets have been used: by nobody who has read its topic."""
        topic = envelope.topic
        coverage = self.coverage.get(topic)
        if topic not in self.evicted_last:
            if coverage and coverage.offset >= self.first and (number or self.ticks_at(at)) > self._base:
                return True
            self.left_out[topic] = max(at, self.left_out.get(topic, at))
            self.whole_since = float("inf")
        self.lack(topic, number)
        return False

    # -- what is known of numbers -------------------------------------------------------------------------------------

    @property
    def numbered(self) -> bool:
        """Whether what is kept for all gives numbers."""
        return self._shared is not None

    def reaches(self, numbers: Numbers, topic: str) -> bool:
        """Whether all of a topic is here, or will be received, but for some of these numbers."""
        since = self._since.get(topic)
        if since is None or numbers.low < self._lacking.get(topic, 0):
            return False
        return numbers.low >= since

    def may_come(self, number: int) -> bool:
        """Whether a message was recorded before a gap so lately that it may be received behind it."""
        return self.ticks_at(time.monotonic()) - LATE < number <= self._gap_until

    def complete(self, numbers: Numbered, topics: Iterable[str], whole: Collection[str]) -> None:
        """Called when all that is kept for all of some topics is here, or will be received, but for what the log lacks.

        Args:
            topics: These topics.
            whole: The topics of which it is here.
        """
        for entry in self.entries:
            if not entry.number and isinstance(entry.envelope, Envelope) and entry.envelope.identity in numbers.of:
                entry.number, entry.previous = numbers.of[entry.envelope.identity]
                self._named = None
        self.created = numbers.created
        self._name(self.end)
        for topic in topics:
            since, last = numbers.since_of(topic), numbers.last.get(topic, numbers.created)
            self._since[topic] = min(since, self._since.get(topic, since))
            if topic in self._lacking:
                self._lacking[topic] = min(last, self._lacking[topic])
            if topic in whole and topic in numbers.last:
                self._position.complete(topic, numbers.given)

    def _push_front(self, entry: Entry) -> None:
        self.entries.appendleft(entry)
        self.first -= 1

    # -- repetitions ------------------------------------------------------------------------------------------------

    def _is_repeated(self, topic: str, id: str) -> bool:
        """Called where it seems that the log has a message."""
        self._trim(time.monotonic())
        for entry in reversed(self.entries):
            other = entry.envelope
            if isinstance(other, Envelope) and other.topic == topic and other.id == id:
                return True
        self._recent.renew(hash((topic, id)))
        return False

    def _make_room(self) -> None:
        if self._recent.make_room(len(self.entries)):
            for _, _, envelope in self.messages():
                if (id := envelope.id) is not None:
                    self._recent.add(hash((envelope.topic, id)))
