"""What one channel's readers get of what came before them: its log, together with what is kept beside it.

Sans-IO: whoever owns it loads what is kept, and hands out what it returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from typing import Final

import msgspec

from ..arguments import Rewind
from ..messages.envelope import Envelope
from ..messages.message import GapReason
from .channel_log import ChannelLog, Coverage
from .entries import Entry
from .event_ids import Cursor, EventIds
from .log import History, Kept, Numbered, Replay
from .numbers import Numbers
from .resume import Selected, rewind, since

_SLACK: Final = 1.0  # seconds by which two processes may receive the same message apart
_LATE: Final = 10.0  # seconds for which a message that was known before it was received may still be received


class ChannelHistory:
    """The log of one channel, and how it is put together with what others know of the channel.

    Attributes:
        log: The log; None until something was received, or somebody asked for it.
        loaded: Whether the log has been put together with what is kept beside it, for any topic.
        coverage: From when on each topic is covered.
        began_at: After which number all of a topic is received.
        known_early: What another publisher's message was put into the log as, before it was received here.
    """

    def __init__(
        self,
        channel: str,
        limits: Replay,
        ids: EventIds,
        grant: Callable[[int], None] = lambda _: None,
        shared: History | None = None,
    ) -> None:
        self._channel = channel
        self._grant = grant
        self._limits = limits
        self._ids = ids
        self._shared = shared
        self._began = time.monotonic()
        self.known_early: dict[str, Entry] = {}
        self.coverage: dict[str, Coverage] = {}
        self.began_at: dict[str, int] = {}
        self.log: ChannelLog | None = None
        self.loaded: bool = False
        self._known: set[str] = set()  # the topics that were covered then

    def confirm(self, topics: Iterable[str]) -> None:
        """Called when Inngest is proved to deliver these topics."""
        now = time.monotonic()
        coverage = Coverage(now, 0 if self.log is None else self.log.end, now)
        for topic in topics:
            self.coverage.setdefault(topic, coverage)

    def cover(self, topics: Iterable[str], number: int, confirmed_at: float | None = None) -> None:
        """Called with the number after which all of these topics is received, before ids are made for their readers.

        Args:
            number: The same; 0 when it is not known.
            confirmed_at: When they were confirmed, by `time.monotonic()`; None for just now.
        """
        log = self.kept_log()
        if self._shared is not None:
            log.clock = self._shared.clock
        until = log.ticks_until(time.monotonic() if confirmed_at is None else confirmed_at)
        if number and self._shared is not None:
            # What is published as soon as they are confirmed may have a number before this one is asked for.
            until = min(number, max(until, self._shared.created(self._channel)))
        began = dict.fromkeys(topics, until)
        log.begin(began, first=not self.began_at)
        self.began_at = {**began, **self.began_at}

    def kept_log(self) -> ChannelLog:
        """The log, which many channels never need: they have neither messages nor event streams."""
        if self.log is None:
            self.log = ChannelLog(
                self._channel, self._limits, self._ids, self.coverage, self._began, self._grant, self._shared
            )
        return self.log

    def received(self) -> list[Envelope]:
        """What the log has."""
        if self.log is None:
            return []
        self.log.prune()
        return [envelope for _, _, envelope in self.log.messages()]

    @property
    def kept_bytes(self) -> int:
        """Bytes of payload in the log."""
        return 0 if self.log is None else self.log.kept_bytes

    @property
    def kept_since(self) -> float:
        """From when on all that was received is in the log, by `time.monotonic()`."""
        log = self.log
        return -inf if log is None or not (log.evicted_last or log.floor) else log.entries[0].at if log.entries else inf

    @property
    def mixed(self) -> bool:
        """Whether something was received that was not recorded."""
        return self.log is not None and self.log.mixed

    # -- receipt ------------------------------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> Entry | None:
        """Take a message as it is received; None when it is a repetition."""
        log = self.log
        if log is None:
            log = self.kept_log()
        if self.known_early:
            known = self.known_early.pop(envelope.identity, None)
            if known is not None and envelope.id is None:
                # Of a message of another publisher nobody knows when it was published: who reads the log from later on,
                # or comes back from before, may not have had it. One with an id is a repetition: all have had it who
                # were there when its publication began.
                early_offset = log.offset_of(known)
                if (entry := log.append(envelope)) is not None:
                    entry.early_offset = early_offset
                return entry
        return log.append(envelope)

    def bridge(self, kept: Kept | None, reason: GapReason) -> list[Entry]:
        """Called when messages may have been missed; returns what is to be given to every reader.

        Args:
            kept: What is kept beside the log, None when that is not known.
            reason: Why there is a gap, unless these are all messages.
        """
        if kept is not None and kept.whole and not self.mixed and self._reaches(kept):
            return self.catch_up(kept, bridges=True)
        self._lose_coverage()
        if self.log is None and self._shared is None:
            # There is nothing to keep the gap for: nobody has an id.
            self._began = time.monotonic()
            return [Entry(self._began, reason)]
        return [self.kept_log().append_gap(reason)]

    def _reaches(self, kept: Kept) -> bool:
        """Whether nothing is missing between what the log has had and what is kept."""
        log = self.kept_log()
        if kept.numbers is None:
            newest = max((at for _, at, _ in log.messages()), default=self._began)
            return kept.since <= max(newest, self._began) + _SLACK
        return all(self._reaches_topic(kept.numbers, topic) for topic in self.coverage)

    def _reaches_topic(self, numbers: Numbered, topic: str) -> bool:
        log = self.kept_log()
        had = log.position().numbers_of(topic)
        if not had:
            # It may be followed for a shorter time than others.
            had = Numbers(max(had.low, self.began_at.get(topic, 0)))
        return numbers.reaches(had, topic)

    def _lose_coverage(self) -> None:
        now = time.monotonic()
        for topic, coverage in self.coverage.items():
            self.coverage[topic] = msgspec.structs.replace(coverage, moment=now)

    def catch_up(self, kept: Kept, *, bridges: bool = False) -> list[Entry]:
        """Put what is kept into the log, in front of it, once, or behind it: that is to be given to every reader.

        What is put there may still be received here, and is a repetition then.

        Args:
            bridges: Whether the rest is not received here.
        """
        log = self.kept_log()
        self.loaded = True
        # What was published to these before they were asked for is nowhere in the log yet.
        fresh = {topic for topic in self.coverage if kept.numbers is None or topic in self.began_at} - self._known
        self._known |= fresh
        ambiguous = set(kept.ambiguous)
        if kept.clock is not None:
            log.clock = kept.clock
        # Of a topic that has a hole before what is kept, the rest is received, or comes after a gap.
        reached = {topic for topic in self.coverage if kept.numbers is None or self._reaches_topic(kept.numbers, topic)}
        whole = kept.whole and not log.mixed
        numbers: Mapping[str, tuple[int, int]] = {} if kept.numbers is None else kept.numbers.of
        known = {envelope.identity: at for _, at, envelope in log.messages()}
        early: dict[str, float] = {}  # when topics were received that Inngest delivered before that was proved
        for _, at, envelope in log.messages() if fresh else ():
            if envelope.topic in fresh and at < self.coverage[envelope.topic].began:
                early.setdefault(envelope.topic, at)
        passed: dict[str, float] = {}  # by topic, when one was received that comes before
        identities: dict[str, list[str]] = {}  # by topic, what was received that comes before
        before: list[tuple[float, Envelope, int, int]] = []
        after: list[tuple[Envelope, int, int]] = []
        evicted_until = {
            envelope.topic: index
            for index, (_, envelope) in enumerate(kept.messages)
            if log.evicted_last.get(envelope.topic) == envelope.identity
        }
        newest = {each.topic: index for index, (_, each) in enumerate(kept.messages) if each.identity in known}
        for index, (at, envelope) in enumerate(kept.messages):
            topic = envelope.topic
            if topic not in self._known:
                # It is put in front once somebody asks for it.
                continue
            coverage = self.coverage[topic]
            if envelope.identity in known:
                passed[topic] = min(known[envelope.identity], passed.get(topic, inf))
                identities.setdefault(topic, []).append(envelope.identity)
                continue
            number, previous = numbers.get(envelope.identity, (0, 0))
            # Of what others received, nobody knows how much earlier it was published.
            began = early.get(topic, coverage.began) + (_SLACK if envelope.id is None else 0.0)
            covered = self.began_at.get(topic) if number else None
            # What was received long afterwards was on its way at the same time.
            was_late = is_before = at < passed.get(topic, inf) - _SLACK
            if covered is not None:
                # What was surely recorded later than it was confirmed is received, whatever is known of numbers; and
                # what was surely recorded earlier, and is not, is in front of all that is.
                is_before = number <= covered and at - log.clock.error <= began
                if is_before and topic in passed and (at > began or topic in early):
                    # Nobody knows which. What was on its way to the end is most likely missing behind.
                    was_late = was_late and not (bridges and at > log.last_at - _LATE)
                    is_before = was_late and index < newest[topic]
            elif is_before:
                is_before = at < began
            if is_before:
                if topic in fresh:
                    before.append((at, envelope, number, previous))
                    # Here it is in front of these.
                    ambiguous.update(() if number else identities.get(topic, ()))
                elif number:
                    log.lack(topic, number)
            elif not whole or topic not in reached or index <= evicted_until.get(topic, -1):
                # It will be received, or has been.
                continue
            elif log.may_come(number) and not bridges:
                # So is what follows it.
                reached.discard(topic)
            elif log.lacks(topic, number) if number else at >= coverage.moment or coverage.moment == coverage.began:
                after.append((envelope, number, previous))
        log.ambiguous = ambiguous
        now = time.monotonic()
        for entry in log.prepend(before, whole=whole, since=kept.since) if fresh else ():
            if isinstance(entry.envelope, Envelope) and now - entry.at < _LATE and entry.envelope.id is None:
                self.known_early[entry.envelope.identity] = entry
        entries = [appended for each in after if (appended := log.append(*each)) is not None]
        if kept.numbers is not None:
            log.complete(kept.numbers, self._known, reached if whole else ())
        return entries

    # -- readers ------------------------------------------------------------------------------------------------------

    def cursor(self, event_id: str) -> Cursor | None:
        """The cursor that an event id names; None when this deployment did not make it for this channel."""
        return self._ids.decode(self._channel, event_id)

    def knows(self, topics: Collection[str]) -> bool:
        """Whether the log has been put together with what is kept of these topics beside it."""
        return self.loaded and self._known.issuperset(topics)

    def must_load(self, cursor: Cursor, topics: Collection[str]) -> bool:
        """Whether a cursor that holds no numbers is of another log, which may have had messages in another order."""
        return not (self.knows(topics) or cursor.numbers or cursor.log == self.kept_log().name)

    def resume(self, cursor: Cursor, topics: Collection[str]) -> list[Selected] | None:
        """What came after a cursor; None when that is not known for certain, before or after `catch_up`."""
        return since(self.kept_log(), cursor, topics, by_time=self.loaded)

    def rewind(
        self, count: Rewind, topics: Collection[str], before: int | None = None, *, known: bool = True
    ) -> tuple[list[Selected], str]:
        """The last messages of each topic, of those before an offset, and all from there on; the id before them.

        Args:
            known: Whether what came before is; else there is a gap first.
        """
        return rewind(self.kept_log(), count, topics, before, known=known)

    @property
    def end(self) -> int:
        """The offset of the entry that comes next."""
        return 0 if self.log is None else self.log.end

    def begin_of(self, envelope: Envelope | None) -> int:
        """Where the log has a message, or the gaps before it; None stands for what comes next."""
        return self.kept_log().begin_of(envelope)

    def recent(self, seconds: float) -> Iterable[Envelope]:
        """What was received in this time, the newest first."""
        return () if self.log is None else self.log.recent(seconds)

    def here(self) -> str:
        """The id of the cursor before what comes next."""
        return self.kept_log().name_all()

    def prune(self) -> None:
        """Evict what is too old."""
        if self.log is not None:
            self.log.prune()
        if self.known_early:
            since_ = time.monotonic() - _LATE
            self.known_early = {name: entry for name, entry in self.known_early.items() if entry.at >= since_}
