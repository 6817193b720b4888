"""Which channels ride on an upstream: who is there, who joins, who leaves, what is delivered, and who gets it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, Protocol

from .._api.tokens import Entry
from ..errors import FrameTooLargeError, RealtimeError
from ..messages.envelope import Envelope
from ..messages.message import GapReason
from .protocol import MAX_SERVER_FRAME

__all__ = ["ChannelRegistry", "ChannelSubscriber", "Join", "State", "tell_state"]

logger = logging.getLogger("inngest_realtime.upstream")

State = Literal["connecting", "open", "reconnecting", "closed"]


class ChannelSubscriber(Protocol):
    """A channel that rides on an upstream."""

    @property
    def channel(self) -> str: ...
    @property
    def topics(self) -> Iterable[str]:
        """What it asks for."""
        ...

    @property
    def confirmed(self) -> Collection[str]:
        """What it was proved to get, at some time."""
        ...

    def receive(self, envelope: Envelope) -> None:
        """Take a message of the channel."""

    def recent(self, seconds: float) -> Iterable[Envelope]:
        """What it has received in this time, as far as it is kept."""
        ...

    def lost(self) -> None:
        """Take note that the connection was lost and is there again, as a gap, and as the end of all data streams."""

    def gap(self, reason: GapReason, missed: int | None = None) -> None:
        """Take note that messages may have been missed, before what is received next."""

    def interrupted(self, stream_id: str) -> None:
        """Take note that the rest of a data stream will not come."""

    def report(self, error: RealtimeError) -> None:
        """Take note of a message that could not be delivered."""

    def fail(self, error: RealtimeError) -> None:
        """Take note that nothing more will come."""

    def state_changed(self, state: State) -> None:
        """Take note of the connection's state."""


class Join:
    """Someone who waits for topics of a channel."""

    __slots__ = ("done", "topics")

    def __init__(self, topics: frozenset[str], done: asyncio.Future[None]) -> None:
        self.topics = topics
        self.done = done


class ChannelRegistry:
    """The channels of one upstream. Nothing here waits.

    Attributes:
        members: By channel name.
        covered: What Inngest is proved to deliver on the present connection.
        leaving: What has been subscribed on it and is no longer wanted.
    """

    def __init__(self) -> None:
        self.members: dict[str, ChannelSubscriber] = {}
        self.covered: set[Entry] = set()
        self.leaving: dict[Entry, None] = {}
        self._pending_gaps: set[str] = set()  # channels that are to be told of a gap once there is a connection again
        self._joins: dict[str, list[Join]] = {}
        self._left: list[asyncio.Future[None]] = []

    @property
    def joining(self) -> bool:
        """Whether anybody waits for topics."""
        return bool(self._joins)

    @property
    def departing(self) -> bool:
        """Whether anything is to be left, or anybody waits for that."""
        return bool(self.leaving or self._left)

    def entries(self) -> list[Entry]:
        """All topics that are wanted."""
        return [(member.channel, topic) for member in self.members.values() for topic in member.topics]

    def wanted(self) -> list[Entry]:
        """The topics that somebody waits for and that are not covered."""
        return [
            (channel, topic)
            for channel, joins in self._joins.items()
            for topic in dict.fromkeys(topic for join in joins for topic in join.topics)
            if (channel, topic) not in self.covered
        ]

    def gone(self) -> list[Entry]:
        """Take what is to be left. A channel that has been joined again since keeps its topics."""
        leaving, self.leaving = self.leaving, {}
        return [entry for entry in leaving if entry[0] not in self.members]

    # -- joining --------------------------------------------------------------------------------------------------

    def join(self, member: ChannelSubscriber, topics: Iterable[str]) -> asyncio.Future[None]:
        """Take a channel along, or more topics of it; the future is for `resolve` and `fail`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.members[member.channel] = member
        self._joins.setdefault(member.channel, []).append(Join(frozenset(topics), done))
        return done

    def joins(self) -> dict[str, list[Join]]:
        """Who waits at this moment."""
        return {channel: list(joins) for channel, joins in self._joins.items()}

    def resolve(self) -> None:
        """Tell those whose topics are covered by now."""
        for channel, joins in list(self._joins.items()):
            waiting = [join for join in joins if not all((channel, topic) in self.covered for topic in join.topics)]
            _resolve(join.done for join in joins if join not in waiting)
            if waiting:
                self._joins[channel] = waiting
            else:
                del self._joins[channel]

    def fail(self, error: RealtimeError, channels: Iterable[str] | None = None) -> None:
        """Tell those who wait, for some channels or for any, that it can't be had."""
        for channel in list(self._joins) if channels is None else channels:
            for join in self._joins.pop(channel, ()):
                if not join.done.done():
                    join.done.set_exception(error)
                    # Nobody may be waiting any more; asyncio would log it as never retrieved.
                    join.done.exception()

    def reject_pending(self, joined: dict[str, list[Join]], error: RealtimeError, *, drop: bool) -> None:
        """Tell those who waited when an attempt began that it failed; who came since waits for the next one.

        Args:
            drop: Whether a channel goes for which nobody waits any more.
        """
        for channel, joins in joined.items():
            for join in joins:
                if not join.done.done():
                    join.done.set_exception(error)
            rest = [join for join in self._joins.get(channel, ()) if join not in joins]
            if rest:
                self._joins[channel] = rest
            else:
                self._joins.pop(channel, None)
                if drop:
                    self.members.pop(channel, None)

    # -- leaving --------------------------------------------------------------------------------------------------

    def leave(self, member: ChannelSubscriber) -> asyncio.Future[None]:
        """Drop a channel; the future is for `release`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.members.pop(member.channel, None)
        for join in self._joins.pop(member.channel, ()):
            if not join.done.done():
                join.done.cancel()
        for topic in member.topics:
            if (member.channel, topic) in self.covered:
                self.leaving[(member.channel, topic)] = None
        self._pending_gaps.discard(member.channel)
        self._left.append(done)
        return done

    def take_leavers(self) -> list[asyncio.Future[None]]:
        """Who waits for a departure, to be given to `release` when it is made."""
        left, self._left = self._left, []
        return left

    def release(self, leavers: Iterable[asyncio.Future[None]] | None = None) -> None:
        """Tell those who left, some or all, that they may come back."""
        _resolve(self.take_leavers() if leavers is None else leavers)

    def keep_waiting(self, leavers: Iterable[asyncio.Future[None]]) -> None:
        """Have those who left wait on."""
        self._left.extend(leavers)

    # -- connections ----------------------------------------------------------------------------------------------

    def renew(self, entries: Iterable[Entry]) -> None:
        """Take note of what a new connection is proved to deliver, in place of what the last one did."""
        self.covered = set()
        self.cover(entries)

    def cover(self, entries: Iterable[Entry]) -> None:
        """Take note of more that the present connection is proved to deliver."""
        for entry in entries:
            self.covered.add(entry)
            if entry[0] not in self.members:
                # It left while it was being subscribed.
                self.leaving[entry] = None

    def lose(self) -> None:
        """Take note that what was covered is not delivered any more, and that its channels are to be told."""
        self._pending_gaps.update(channel for channel, _ in self.covered)

    def clear(self) -> None:
        """Take note that there is no connection, and so nothing that is covered and nothing to leave."""
        self.covered.clear()
        self.leaving.clear()
        self.release()

    def pending_gaps(self) -> Iterator[ChannelSubscriber]:
        """Take those that are to be told of a gap."""
        pending_gaps, self._pending_gaps = self._pending_gaps, set()
        return self.of(pending_gaps)

    def of(self, channels: Iterable[str]) -> Iterator[ChannelSubscriber]:
        """The members of these channels, as far as they are still there."""
        for channel in list(channels):
            member = self.members.get(channel)
            if member is not None:
                yield member

    # -- what comes -----------------------------------------------------------------------------------------------

    def route(self, envelope: Envelope) -> None:
        """Give a message to its channel."""
        member = self.members.get(envelope.channel)
        if member is not None:
            try:
                member.receive(envelope)
            except Exception:
                # The mistake is one message's: what comes with it and after it is delivered all the same.
                logger.exception("A message of channel %r could not be delivered.", envelope.channel)
        else:
            logger.debug("Dropped a message of channel %r, which nobody subscribes to.", envelope.channel)

    def oversized(self, size: int, envelope: Envelope | None) -> None:
        """Tell whom it may concern that a frame of so many bytes was left out."""
        channel, topic = (envelope.channel, envelope.topic) if envelope is not None else (None, None)
        error = FrameTooLargeError(
            f"A message of {size} bytes was not delivered; at most {MAX_SERVER_FRAME} are read. "
            "Publish a reference to large data instead of the data itself.",
            size=size,
            channel=channel,
            topic=topic,
        )
        logger.error("%s Channel %r, topic %r.", error, channel, topic)
        members = list(self.members.values()) if channel is None else [self.members.get(channel)]
        for member in members:
            if member is not None:
                member.report(error)
                member.gap("too-large", None if channel is None else 1)

    def tell_state(self, state: State) -> None:
        """Tell everybody of a new state of the connection."""
        for member in list(self.members.values()):
            tell_state(member, state)


def tell_state(member: ChannelSubscriber, state: State) -> None:
    """Tell one channel of a state."""
    try:
        member.state_changed(state)
    except Exception:
        # An application's callback; the connection is not to suffer from it.
        logger.exception("A callback failed on the state %r.", state)


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
