"""What one channel's readers get of what came before them: its log, together with what is kept beside it.

Sans-IO: whoever owns it loads what is kept, and hands out what it returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from math import inf, nextafter
from typing import Final, NamedTuple

from ..messages.envelope import Envelope
from ..messages.message import GapReason
from .channel_log import ChannelLog, Coverage
from .event_ids import Cursor, EventIds
from .log import Kept, Replay
from .placed_log import Entry
from .resume import Rewind, Selected, rewind, since

_SLACK: Final = 1.0  # seconds by which two processes may receive the same message apart
_LATE: Final = 10.0  # seconds for which a message that was known before it was received may still be received


class Resumed(NamedTuple):
    """What a reader gets first.

    Attributes:
        selected: The entries, each with its id for this reader.
        start_id: The id of the place before them.
    """

    selected: list[Selected]
    start_id: str


class ChannelHistory:
    """The log of one channel, and how it is put together with what others know of the channel.

    Attributes:
        log: The log; None until something was received, or somebody asked for it.
        loaded: Whether the log has been put together with what is kept beside it.
        coverage: From when on each topic is covered.
    """

    __slots__ = ("_began", "_channel", "_grant", "_ids", "_known_early", "_limits", "coverage", "loaded", "log")

    def __init__(
        self, channel: str, limits: Replay, ids: EventIds, grant: Callable[[int], None] = lambda _: None
    ) -> None:
        self._channel = channel
        self._grant = grant
        self._limits = limits
        self._ids = ids
        self._began = time.monotonic()
        # What was put into the log before it was received here, and may still be.
        self._known_early: dict[str, Entry] = {}
        self.coverage: dict[str, Coverage] = {}
        self.log: ChannelLog | None = None
        self.loaded: bool = False

    def confirm(self, topics: Iterable[str]) -> None:
        """Called when Inngest is proved to deliver these topics."""
        now = time.monotonic()
        coverage = Coverage(now, 0 if self.log is None else self.log.end, now)
        for topic in topics:
            self.coverage.setdefault(topic, coverage)

    def kept_log(self) -> ChannelLog:
        """The log, which many channels never need: they have neither messages nor event streams."""
        if self.log is None:
            self.log = ChannelLog(self._channel, self._limits, self._ids, self.coverage, self._began, self._grant)
        return self.log

    def received(self) -> list[Envelope]:
        """What the log has."""
        if self.log is None:
            return []
        self.log.prune()
        return [envelope for _, _, envelope in self.log.messages()]

    @property
    def mixed(self) -> bool:
        """Whether something was received that was not published through this package."""
        return self.log is not None and self.log.mixed

    # -- receipt ------------------------------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> Entry | None:
        """Take a message as it is received; None when it is a repetition."""
        log = self.log
        if log is None:
            log = self.kept_log()
        if self._known_early or log.pending:
            known = self._known_early.pop(envelope.identity, None)
            if known is not None and envelope.id is None:
                # Of a message of another publisher nobody knows when it was published: who reads the log from later on,
                # or comes back from before, may not have had it.
                early_offset = log.offset_of(known)
                if (entry := log.append(envelope)) is not None:
                    entry.early_offset = early_offset
                return entry
            if known is not None or log.pending.get(envelope.identity, 0.0) is None:
                # All have had it who were there when its publication began. Were it given to those who came later, they
                # would be given those that follow it in the log, too: also what a hole has swallowed meanwhile.
                log.settle(envelope)
                return Entry(time.monotonic(), envelope, early_offset=inf)
        return log.append(envelope)

    def bridge(self, kept: Kept | None, reason: GapReason, until: float) -> list[Entry]:
        """Called when messages may have been missed; returns what is to be given to every reader.

        Args:
            kept: What is kept beside the log, None when that is not known.
            reason: Why there is a gap, unless these are all messages.
            until: From when on all is received again, by `time.monotonic()`.
        """
        log = self.log
        if kept is not None and kept.whole and not self.mixed:
            newest = self._began if log is None else max((at for _, at, _ in log.messages()), default=self._began)
            if kept.since <= max(newest, self._began) + _SLACK:
                # What was on its way when the channel was subscribed to may have fallen into the hole.
                self._merge(kept, late=False, pending=False)
                entries = self._append_missing(kept, until)
                self._settle(kept)
                return entries
        self._lose_coverage()
        # Without a log there is nothing to keep the gap for: nobody has an id.
        return [Entry(time.monotonic(), reason) if log is None else log.append_gap(reason)]

    def _lose_coverage(self) -> None:
        now = time.monotonic()
        for topic, coverage in self.coverage.items():
            self.coverage[topic] = coverage._replace(moment=now)

    def catch_up(self, kept: Kept) -> list[Entry]:
        """Take what others know already, with what is kept beside the log; returns what is to be given to every reader.

        It may still be received here, and is a repetition then.
        """
        self._merge(kept, late=False)
        entries = self._append_missing(kept, inf) if kept.whole and not self.mixed else []
        self._settle(kept)
        return entries

    def _append_missing(self, kept: Kept, until: float) -> list[Entry]:
        log = self.kept_log()
        known = {envelope.identity for _, _, envelope in log.messages()}
        entries: list[Entry] = []
        passed: set[str] = set()
        # The log has had all up to the one that it evicted last, whenever they were recorded.
        evicted_until = {
            envelope.topic: index
            for index, (_, envelope) in enumerate(kept.messages)
            if log.evicted_last.get(envelope.topic) == envelope.identity
        }
        for index, (at, envelope) in enumerate(kept.messages):
            identity, coverage = envelope.identity, self.coverage.get(envelope.topic)
            if identity in known:
                passed.add(envelope.topic)
                continue
            # What is missing from before the moment belongs into a hole that has been told of.
            if coverage is None or at > until or at < coverage.moment != coverage.began:
                continue
            # Something may have been on its way when the topic was subscribed to.
            if at < coverage.began and (until == inf if identity in kept.pending else envelope.topic not in passed):
                continue
            if index <= evicted_until.get(envelope.topic, -1):
                continue
            if identity in kept.pending:
                log.pending[identity] = None
            if (entry := log.append(envelope)) is not None:
                entries.append(entry)
        now = time.monotonic()
        for entry in entries:
            self._expect(entry, now)
        return entries

    def _settle(self, kept: Kept) -> None:
        """Learn from others where messages stand in the order of receipt."""
        log = self.kept_log()
        offsets = {envelope.identity: offset for offset, _, envelope in log.messages()}
        last: dict[str, float] = {}
        for _, envelope in kept.messages:
            offset = offsets.get(envelope.identity)
            if offset is None or envelope.identity in kept.pending:
                continue
            place, before = log.place_of(offset, envelope), last.get(envelope.topic, -inf)
            if place is None or (place < before and (offset < 0 or envelope.identity in log.pending)):
                place = max(offset, nextafter(before, inf))
                log.settle(envelope, place)
            last[envelope.topic] = max(before, place)

    def _expect(self, entry: Entry, now: float) -> None:
        """Called with what was put into the log before it was received."""
        if isinstance(entry.envelope, Envelope) and now - entry.at < _LATE:
            self._known_early[entry.envelope.identity] = entry

    def merge(self, kept: Kept) -> None:
        """Put what is kept beside the log in front of it, once."""
        self._merge(kept)
        self._settle(kept)

    def _merge(self, kept: Kept, *, late: bool = True, pending: bool = True) -> None:
        """Put what is kept beside the log in front of it, once.

        Args:
            late: Also what was received after something that the log has.
            pending: Also what is pending.
        """
        if self.loaded:
            return
        self.loaded = True
        log = self.kept_log()
        if kept.clock is not None:
            log.clock = kept.clock
        now = time.monotonic()
        before: list[tuple[float, Envelope]] = []
        known = {envelope.identity for _, _, envelope in log.messages()}
        passed: dict[str, float] = {}  # when one was on its way that the log has
        for at, envelope in kept.messages:
            if envelope.identity in known:
                taken = kept.taken.get(envelope.identity, inf)
                passed[envelope.topic] = min(taken, passed.get(envelope.topic, inf))
            coverage = self.coverage.get(envelope.topic)
            # Of what others received, nobody knows how much earlier it was published.
            until = inf if coverage is None else coverage.began + (_SLACK if envelope.id is None else 0.0)
            if envelope.identity in kept.pending:
                # Recorded after one was taken that was received here, it will be received after that.
                wanted = pending and at < passed.get(envelope.topic, inf)
            else:
                wanted = late or envelope.topic not in passed
            if wanted and at < until:
                before.append((at, envelope))
        whole = kept.whole and not log.mixed
        for entry in log.prepend(before, whole=whole, since=kept.since, pending=kept.pending):
            self._expect(entry, now)

    # -- readers ------------------------------------------------------------------------------------------------------

    def cursor(self, event_id: str) -> Cursor | None:
        """The place that an event id names; None when this deployment did not make it for this channel."""
        return self._ids.decode(self._channel, event_id)

    def resume(self, cursor: Cursor, topics: Collection[str], *, fresh: bool = False) -> list[Selected] | None:
        """What came after a cursor; None when that is not known for certain, before or after `catch_up`.

        Args:
            fresh: Whether this follows on `catch_up`.
        """
        return since(self.kept_log(), cursor, topics, by_time=self.loaded, fresh=fresh)

    def rewind(self, count: Rewind, topics: Collection[str], before: int | None = None) -> Resumed:
        """The last messages of each topic, of those before an offset; and all from there on."""
        return Resumed(*rewind(self.kept_log(), count, topics, before))

    @property
    def end(self) -> int:
        """The offset of the entry that comes next."""
        return 0 if self.log is None else self.log.end

    def recent(self, seconds: float) -> Iterable[Envelope]:
        """What was received in this time, the newest first."""
        return () if self.log is None else self.log.recent(seconds)

    def here(self) -> str:
        """The id of the place before what comes next."""
        return self.kept_log().name_all()

    def prune(self) -> None:
        """Evict what is too old."""
        if self.log is not None:
            self.log.prune()
        if self._known_early:
            since_ = time.monotonic() - _LATE
            self._known_early = {name: entry for name, entry in self._known_early.items() if entry.at >= since_}
