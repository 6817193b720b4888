"""One channel in this process: what comes from Inngest, shared by everybody here who subscribes to it."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Collection, Iterable, Iterator, Set
from typing import TYPE_CHECKING, Final, Protocol

from .._replay.channel_history import ChannelHistory
from .._replay.log import History
from ..arguments import Rewind
from ..errors import RealtimeError, SubscriptionClosedError
from ..messages.envelope import Envelope
from ..stats import Counters
from .budget import Holder
from .buffer import ReaderBuffer
from .groups import Follower, ReaderGroups
from .open_streams import OpenStreams
from .options import Source
from .recall import HeldMessages, Recall
from .views import SubscriptionSpec

if TYPE_CHECKING:
    from .._upstream.subscriber import State
    from .._upstream.upstream import Upstream

logger = logging.getLogger("inngest_realtime.feed")

_LOST: Final = "the connection to Inngest was lost"


class FeedOwner(Protocol):
    """Who keeps the feeds of an event loop."""

    def run(self, work: Awaitable[None], *, name: str) -> asyncio.Task[None]:
        """Starts a task that is awaited at the end."""
        ...

    def feed_idle(self, feed: Feed) -> None:
        """Called when the last reader has left."""

    def forget(self, feed: Feed) -> None:
        """Called when nothing more will come: the channel is kept no longer."""


class Feed(Recall):
    """A channel's messages, its readers, and what it remembers.

    Args:
        channel: The channel's name.
        source: Where its messages are asked for.
        counters: Shared by all feeds of a hub.
        history: What the channel remembers.
        beside: What is kept of the channel beside that.
        owner: Who keeps it.
        streams: Collects the data streams that are open.
    """

    def __init__(
        self,
        channel: str,
        source: Source,
        upstream: Upstream,
        *,
        counters: Counters,
        history: ChannelHistory,
        beside: History,
        owner: FeedOwner,
        streams: OpenStreams,
    ) -> None:
        topics: dict[str, None] = {}
        super().__init__(channel, ReaderGroups(channel, topics), streams, history, beside, counters)
        self.source: Source = source
        self.upstream: Upstream = upstream
        self.topics: dict[str, None] = topics
        self.was_read: bool = False
        self.state: State = upstream.state
        self._owner = owner
        self._end: tuple[RealtimeError | None] | None = None
        self._holds = 0

    @property
    def confirmed(self) -> Set[str]:
        """The topics that Inngest was proved to deliver."""
        return self.history.coverage.keys()

    async def join(self, topics: Collection[str]) -> None:
        """Ask for these topics; returns once Inngest is proved to deliver them.

        Raises:
            InngestError: It can't be had.
        """
        self.topics.update(dict.fromkeys(topics))
        await self.upstream.join(self, topics)

    def withdraw(self, topics: Iterable[str]) -> None:
        """Ask no more for these topics, unless somebody else is waiting for them."""
        for topic in self.upstream.not_awaited(self.channel, topics):
            self.topics.pop(topic, None)
        self.upstream.measure(self)

    def confirm(self, topics: Iterable[str]) -> None:
        """Called when Inngest is proved to deliver these topics."""
        topics = list(topics)
        self.history.confirm(topics)
        if self._shared is not None:
            self._covering = self._owner.run(
                self._cover(self._shared, topics, time.monotonic(), self._covering), name="inngest-realtime history"
            )

    def forget(self) -> None:
        """Called when the channel has been left."""
        history = self.history
        self._beside.leave(self.channel, history.received(), mixed=history.mixed, since=history.kept_since)

    # -- readers --------------------------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Keeps the feed while someone is about to read it."""
        self._holds += 1

    def release(self) -> None:
        self._holds -= 1
        self._check_idle()

    @property
    def streams(self) -> int:
        """Event streams for web clients that are open."""
        return self._groups.streams

    def recount(self) -> None:
        """Called when all that waits in the process has been looked at."""
        for buffer in self._groups:
            buffer.recount()

    def holders(self) -> Iterator[Holder]:
        """What holds bytes for readers."""
        yield self._streams
        if self._held is not None:
            yield self._held
        yield from self._groups

    @property
    def idle(self) -> bool:
        return not self._groups and not self._holds

    def _check_idle(self) -> None:
        if self.idle:
            self._owner.feed_idle(self)

    def add(self, follower: Follower) -> None:
        """Adds a subscription, which is told what happens to the channel."""
        self._groups.followers.append(follower)

    def remove(self, follower: Follower) -> None:
        """Called when a subscription is closed."""
        self._groups.followers.remove(follower)

    def attach(
        self,
        spec: SubscriptionSpec,
        buffer: ReaderBuffer,
        *,
        after: str | None = None,
        rewind: Rewind | None = None,
        since: int | None = None,
    ) -> None:
        """Attaches a reader of what comes from now on.

        Args:
            after: The id of the last event it has had: what came since is given to it first, or a gap.
            rewind: How many messages of each topic it is given that came before; nothing of that with a valid `after`.
            since: The offset from which on it is given all.
        """
        history = self.history
        begin = history.end if since is None else since
        if after:
            self._resume(spec, buffer, after, rewind, begin)
        elif rewind is not None and self._is_rewound_later(spec):
            buffer.catch_up = functools.partial(self._rewind, spec, buffer, rewind, begin)
        elif rewind is not None or (since is not None and since < history.end):
            if rewind is not None and not history.knows(spec.topics):
                self._take(self._load_now())
            selected, buffer.start_id = history.rewind(rewind or 0, spec.topics, since)
            self._replay(spec, buffer, selected)
        elif buffer.events:
            buffer.start_id = history.here()
        if buffer.events and buffer.catch_up is None and not self._is_covered:
            self._name_later(buffer)
        if not after and not rewind:
            buffer.since_offset = history.end if since is None else since
        self.was_read = True
        self._groups.add(spec, buffer)
        if self._end is not None:
            buffer.end(*self._end)

    def detach(self, spec: SubscriptionSpec, buffer: ReaderBuffer) -> None:
        """Called when a reader that was attached has left."""
        self._groups.remove(spec, buffer)
        self._check_idle()

    # -- what the upstream calls ----------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        """Takes a message from Inngest and gives it to every reader."""
        if envelope.topic not in self.topics and envelope.kind != "run":
            logger.debug("Dropped a message of channel %r: topic %r was not asked for.", self.channel, envelope.topic)
            return
        if self._held is not None:
            self._hold(self._held, envelope)
            return
        stream_id = envelope.stream_id
        if stream_id is None and envelope.kind == "datastream-end":
            # It began before this process was there, and its text has gone by without telling where it belongs.
            if (entry := self.history.receive(envelope)) is not None:
                self._groups.deliver_gap(entry, envelope, self.history)
            return
        self._counters.received += 1
        history = self.history
        log = history.log
        # Mostly without the call between.
        entry = history.receive(envelope) if log is None or history.known_early else log.append(envelope)
        if entry is not None:
            if self._shared is not None and (not entry.number or entry.before is not None):
                self._shared.add(envelope, entry.before)
            if stream_id is None:
                self._groups.deliver(entry, envelope, None, history)
                return
            began = self._streams.began(envelope)
            stream = self._streams.follow(envelope, stream_id, history.end - 1)
            self._groups.deliver(entry, envelope, stream, history)
            if began is not None:
                self._groups.deliver_gap(entry, envelope, history, began)

    def recent(self, seconds: float) -> Iterable[Envelope]:
        return self.history.recent(seconds)

    def lost(self) -> None:
        self._streams.interrupt_all(_LOST)
        kept = self._load_now()
        if kept is not None:
            self._bridge(kept)
        elif self.history.mixed or not self._groups:
            self.gap("reconnect")
        else:
            self._release_held()
            self._held = HeldMessages()
            self._owner.run(self._bridge_later(), name="inngest-realtime history")

    def interrupted(self, stream_id: str) -> None:
        self._streams.interrupt(stream_id, _LOST)

    def report(self, error: RealtimeError) -> None:
        """Tells every subscriber of a message that could not be delivered, or of a connection that was lost."""
        for follower in list(self._groups.followers):
            follower.report(error)

    def fail(self, error: RealtimeError) -> None:
        """Ends every reader: nothing more will come."""
        # First, so that nobody asks Inngest to be off a channel that it has refused.
        self._owner.forget(self)
        self.end(error)

    def end(self, error: RealtimeError | None = None) -> None:
        """Ends every reader, also those to come, with the error if there is one."""
        self._end_readers(error)
        for follower in list(self._groups.followers):
            follower.ended(error)

    def _end_readers(self, error: RealtimeError | None) -> None:
        self._release_held()
        self._end = (error,)
        self._streams.interrupt_all("the subscription was closed")
        for buffer in self._groups:
            buffer.end(error)

    def abandon(self) -> None:
        """Called in the child of a fork, where nothing comes: reads fail, and nothing of the parent is touched."""
        for buffer in self._groups:
            buffer.clear()
        self._end_readers(
            SubscriptionClosedError(
                f"The subscription to {self.channel!r} was opened before this process was forked, and is its "
                "parent's. Subscribe in the process that reads, after the fork."
            )
        )

    def state_changed(self, state: State) -> None:
        self.state = state
        for follower in list(self._groups.followers):
            follower.state_changed(state)
