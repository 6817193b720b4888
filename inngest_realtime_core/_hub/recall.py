"""What the readers of a channel get of what came before them, and of what came while there was no connection."""

from __future__ import annotations

import asyncio
import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from .._replay.channel_history import ChannelHistory
from .._replay.entries import Entry
from .._replay.event_ids import Cursor
from .._replay.log import History, Kept
from .._replay.resume import Selected
from ..arguments import Rewind
from ..messages.envelope import Envelope
from ..messages.message import GapReason, Message, envelope_of, twin
from ..stats import Counters
from .buffer import ReaderBuffer
from .groups import ReaderGroups
from .open_streams import OpenStreams
from .views import SubscriptionSpec

_MAX_HELD: Final = 1_024  # messages that came while it is found out what was missed before them
_MAX_HELD_BYTES: Final = 4 * 1024 * 1024  # of payload
_PAUSES: Final = (0.05, 0.15, 0.3)  # seconds between two looks for what a client has had elsewhere
_PATIENCE: Final = 2.0  # seconds that a client is let wait, after its first bytes, for its id to be understood
_SLICE: Final = 0.005  # seconds of work on what a reader missed between two turns of the event loop


class HeldMessages:
    """What comes on a channel while it is being found out what was missed before it, in that order.

    Attributes:
        envelopes: The messages.
        held_bytes: Bytes of payload.
        whole: Whether none was dropped.
    """

    __slots__ = ("envelopes", "held_bytes", "whole")

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.held_bytes: int = 0
        self.whole: bool = True

    def add(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)
        self.held_bytes += envelope.size

    @property
    def full(self) -> bool:
        """Whether more than this is not worth holding for what was missed."""
        return len(self.envelopes) > _MAX_HELD or self.held_bytes > _MAX_HELD_BYTES

    def drop(self, size: int) -> None:
        """Drops everything: those who read are told of one gap, however much is dropped."""
        self.whole = self.whole and not self.envelopes
        self.envelopes.clear()
        self.held_bytes = 0


class Recall(ABC):
    """A channel's log, what is kept beside it, and the readers who get of both.

    Args:
        channel: The channel's name.
        groups: Its readers.
        streams: The data streams that are open.
        history: Its log.
        beside: What is kept of the channel beside that.
        counters: Shared by all feeds of a hub.
    """

    def __init__(
        self,
        channel: str,
        groups: ReaderGroups,
        streams: OpenStreams,
        history: ChannelHistory,
        beside: History,
        counters: Counters,
    ) -> None:
        self.channel: str = channel
        self._groups = groups
        self._streams = streams
        self.history: ChannelHistory = history
        self._beside = beside
        # The same, where other processes add to it.
        self._shared = beside if beside.shared else None
        self._counters = counters
        self._turn: asyncio.Lock | None = None
        self._covering: asyncio.Task[None] | None = None
        self._held: HeldMessages | None = None  # what came while a hole is being bridged

    @abstractmethod
    def receive(self, envelope: Envelope) -> None:
        """Takes a message from Inngest and gives it to every reader."""

    # -- what event ids tell ----------------------------------------------------------------------------------------

    async def _cover(
        self, shared: History, topics: Collection[str], confirmed_at: float, before: asyncio.Task[None] | None
    ) -> None:
        number = await shared.cover(self.channel)
        if before is not None:
            await asyncio.wait([before])
        self.history.cover(topics, number, confirmed_at)

    @property
    def _is_covered(self) -> bool:
        """Whether event ids can tell what is received of what is confirmed."""
        return self._covering is None or self._covering.done()

    async def _covered(self) -> None:
        if self._covering is not None:
            await asyncio.wait([self._covering])

    def _name_later(self, buffer: ReaderBuffer) -> None:
        """Called with a reader of events that begins here, before event ids can tell what is received."""
        estimate, buffer.start_id = buffer.start_id, None
        buffer.catch_up = functools.partial(self._name_waiting, buffer, estimate)

    async def _name_waiting(self, buffer: ReaderBuffer, estimate: str | None) -> None:
        """Gives a reader, and what waits for it, their event ids.

        Args:
            estimate: Its `start_id` as it was when it was attached, which may give it more than it missed.
        """
        await self._covered()
        if buffer.detached:
            return
        log = self.history.kept_log()
        buffer.start_id = log.name_all()
        waiting, (missed, _) = buffer.waiting, buffer.unread
        if waiting or missed:
            offsets = {id(entry.envelope): offset for offset, entry in enumerate(log.entries, log.first)}
            found = [offsets.get(id(envelope_of(message))) for message in waiting]
            named = zip(waiting, found, strict=True)
            buffer.replay([each if at is None else twin(each, log.id_before(at + 1)) for each, at in named])
            buffer.miss(missed)
            first = None if missed else found[0]
            buffer.start_id = estimate if first is None else log.id_before(first)

    # -- those who come back or come late -------------------------------------------------------------------------

    def _resume(
        self, spec: SubscriptionSpec, buffer: ReaderBuffer, after: str, rewind: Rewind | None, since: int
    ) -> None:
        """Gives a reader what it missed, or a gap.

        Args:
            rewind: How much it is given behind the gap that came before it, if `after` is no id of this deployment.
            since: The offset from which on it is given all then.
        """
        cursor = self.history.cursor(after)
        otherwise = None if rewind is None else functools.partial(self._rewind, spec, buffer, rewind, since, lost=True)
        if cursor is None and self._shared is None and otherwise is None:
            self._replay_missed(spec, buffer, None)
        else:
            buffer.catch_up = functools.partial(self._catch_up, spec, buffer, after, cursor, otherwise)

    async def _catch_up(
        self,
        spec: SubscriptionSpec,
        buffer: ReaderBuffer,
        after: str,
        cursor: Cursor | None,
        otherwise: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """Gives a reader what it missed, if this process or all together know it; before what it has received since."""
        history = self.history
        await self._covered()
        if cursor is None and self._shared is not None:
            # The key of ids, which all processes share, may still be on its way.
            await self._shared.ready(_PATIENCE)
            cursor = history.cursor(after)
        if cursor is None:
            if otherwise is not None:
                await otherwise()
            elif not buffer.detached:
                self._replay_missed(spec, buffer, None)
            return
        if history.must_load(cursor, spec.topics):
            self._take(self._load_now())
        if history.resume(cursor, spec.topics) is None:
            # What another process has given to the client may be on its way to here.
            for pause in _PAUSES:
                await self._load(cursor, spec.topics)
                if history.resume(cursor, spec.topics) is not None:
                    break
                if self._shared is None:
                    break
                await asyncio.sleep(pause)
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            # When many come back at once, the event loop does other things between two of them.
            await asyncio.sleep(0)
            selected = history.resume(cursor, spec.topics)
            if selected is not None and await self._view_ahead(spec, selected, encoded=buffer.encoded):
                # More may have come meanwhile.
                selected = history.resume(cursor, spec.topics)
            if not buffer.detached:
                self._replay_missed(spec, buffer, selected)

    async def prepare(self, spec: SubscriptionSpec, rewind: Rewind) -> None:
        """Called before a reader is attached with `rewind`."""
        if not self.history.knows(spec.topics) and self._shared is None:
            await self._load()
        if not self._is_rewound_later(spec):
            await self._view_ahead(spec, self.history.rewind(rewind, spec.topics)[0], encoded=False)

    def _is_rewound_later(self, spec: SubscriptionSpec) -> bool:
        """Whether what came before is to be waited for: a page gets its first bytes before that."""
        return self._shared is not None and not (self.history.knows(spec.topics) and self._is_covered)

    async def _rewind(
        self, spec: SubscriptionSpec, buffer: ReaderBuffer, rewind: Rewind, since: int, *, lost: bool = False
    ) -> None:
        """Gives a reader what came before it was attached, and what has come since that offset.

        Args:
            lost: Whether it is to be told first that something may be missing.
        """
        await self._covered()
        history = self.history
        if not history.knows(spec.topics):
            await self._load()
        await self._view_ahead(spec, history.rewind(rewind, spec.topics, since)[0], encoded=buffer.encoded)
        if not buffer.detached:
            known = history.knows(spec.topics) and not lost
            selected, buffer.start_id = history.rewind(rewind, spec.topics, since, known=known)
            self._replay(spec, buffer, selected)
            self._counters.resumes_gapped += lost

    async def _view_ahead(self, spec: SubscriptionSpec, selected: list[Selected], *, encoded: bool) -> bool:
        """Validates, and encodes, what a reader is about to be given. Returns whether the event loop had a turn."""
        first = due = time.monotonic() + _SLICE
        for entry, _ in selected:
            self._groups.view_ahead(spec, entry, encoded=encoded)
            if time.monotonic() >= due:
                await asyncio.sleep(0)
                due = time.monotonic() + _SLICE
        return due != first

    def _load_now(self) -> Kept | None:
        """What is kept elsewhere; None where it has to be waited for."""
        return self._beside.load_now(self.channel, self.history.received(), mixed=self.history.mixed)

    async def _load(self, cursor: Cursor | None = None, topics: Collection[str] = ()) -> None:
        """Adds to the log what is kept elsewhere, as far as that is known."""
        received, mixed = self.history.received(), self.history.mixed
        self._take(await self._beside.load(self.channel, received, mixed=mixed, cursor=cursor, topics=topics))

    def _take(self, kept: Kept | None) -> None:
        for entry in () if kept is None else self.history.catch_up(kept):
            self._give(entry)

    def _replay_missed(self, spec: SubscriptionSpec, buffer: ReaderBuffer, selected: list[Selected] | None) -> None:
        if selected is None:
            # What has come since then follows it, and is not to be skipped by who is cut off in between.
            waiting = buffer.waiting
            event_id = None if waiting else self.history.here()
            buffer.replay([Message.gap(self.channel, "expired", event_id=event_id), *waiting])
        else:
            self._replay(spec, buffer, selected)
        gapped = selected is None or any(
            isinstance(each := entry.envelope, str) or each.hides_text for entry, _ in selected
        )
        self._counters.resumes_gapped += gapped

    def _replay(self, spec: SubscriptionSpec, buffer: ReaderBuffer, selected: list[Selected]) -> None:
        buffer.replay(self._groups.kept(spec, buffer, selected, self._streams))

    def _give(self, entry: Entry, missed: int | None = None) -> None:
        """Gives an entry of the log to every reader."""
        envelope = entry.envelope
        if not isinstance(envelope, str):
            self._groups.deliver(entry, envelope, None, self.history)
            return
        message = Message.gap(self.channel, envelope, missed, event_id=entry.event_id or None)
        for buffer in self._groups:
            buffer.push_gap(message)

    # -- holes ----------------------------------------------------------------------------------------------------

    async def _bridge_later(self) -> None:
        held, history = self._held, self.history
        kept = None
        try:
            await self._covered()
            kept = await self._beside.load(self.channel, history.received(), mixed=history.mixed)
        finally:
            if held is not None and self._held is held:
                self._bridge(kept if held.whole else None)
                self._release_held()

    def _release_held(self) -> None:
        held, self._held = self._held, None
        for envelope in () if held is None else held.envelopes:
            self.receive(envelope)

    def _hold(self, held: HeldMessages, envelope: Envelope) -> None:
        held.add(envelope)
        self._streams.budget.spend(envelope.size)
        if held.full:
            self.gap("reconnect")
            self._release_held()

    def _bridge(self, kept: Kept | None, reason: GapReason = "reconnect", missed: int | None = None) -> None:
        for entry in self.history.bridge(kept, reason):
            self._give(entry, missed)
        self._beside.follow(self.channel)

    def gap(self, reason: GapReason, missed: int | None = None) -> None:
        """Tells every reader that something may have been missed."""
        self._bridge(None, reason, missed)
