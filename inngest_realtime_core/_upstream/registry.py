"""Which channels ride on an upstream: who is there, who joins, who leaves, what is delivered, and who gets it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator

import msgspec

from .._api.tokens import Entry
from .._telemetry.throttled_log import ThrottledLog
from ..errors import FrameTooLargeError, MessageError, RealtimeError
from ..messages.envelope import Envelope
from .batching import weight
from .protocol import MAX_DEPTH, MAX_DIGITS, MAX_SERVER_FRAME, Unreadable
from .subscriber import ChannelSubscriber, State

logger = logging.getLogger("inngest_realtime.upstream")
_log = ThrottledLog(logger)


class Join(msgspec.Struct, frozen=True):
    """Someone who waits for topics of a channel."""

    topics: frozenset[str]
    done: asyncio.Future[None]


class ChannelRegistry:
    """The channels of one upstream, by name. Nothing here waits.

    Attributes:
        token_size: Characters that a token for all their topics has at most, nearly, without its fixed part.
    """

    def __init__(self) -> None:
        self.token_size = 0
        self._subscribers: dict[str, ChannelSubscriber] = {}
        self._sizes: dict[str, int] = {}  # each channel's share of the token size
        self._covered: dict[str, set[str]] = {}  # what Inngest is proved to deliver on the present connection
        self._leaving: dict[Entry, None] = {}  # what has been subscribed on it and is no longer wanted
        self._pending_gaps: set[str] = set()  # channels that are to be told of a gap once there is a connection again
        self._joins: dict[str, list[Join]] = {}
        self._left: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._subscribers)

    @property
    def empty(self) -> bool:
        return not self._subscribers

    @property
    def subscribers(self) -> Collection[ChannelSubscriber]:
        return self._subscribers.values()

    @property
    def covered(self) -> set[Entry]:
        """What Inngest is proved to deliver on the present connection."""
        return {(channel, topic) for channel, topics in self._covered.items() for topic in topics}

    @property
    def joining(self) -> bool:
        """Whether anybody waits for topics."""
        return bool(self._joins)

    @property
    def departing(self) -> bool:
        """Whether anything is to be left, or anybody waits for that."""
        return bool(self._leaving or self._left)

    def entries(self) -> list[Entry]:
        """All topics that are wanted."""
        return [(subscriber.channel, topic) for subscriber in self.subscribers for topic in subscriber.topics]

    def proved_entries(self) -> list[Entry]:
        """Those that were delivered at some time."""
        return [(channel, topic) for channel, topic in self.entries() if topic in self._subscribers[channel].confirmed]

    def wanted(self) -> list[Entry]:
        """The topics that somebody waits for and that are not covered."""
        return [
            (channel, topic)
            for channel, joins in self._joins.items()
            for topic in dict.fromkeys(topic for join in joins for topic in join.topics)
            if topic not in self._covered.get(channel, ())
        ]

    def of(self, channels: Iterable[str]) -> Iterator[ChannelSubscriber]:
        """The subscribers of these channels, as far as they are still there."""
        for channel in list(channels):
            subscriber = self._subscribers.get(channel)
            if subscriber is not None:
                yield subscriber

    def measure(self, subscriber: ChannelSubscriber) -> None:
        """Called when a channel has changed what it asks for."""
        if self._subscribers.get(subscriber.channel) is subscriber:
            self.token_size -= self._sizes.pop(subscriber.channel, 0)
            size = self._sizes[subscriber.channel] = weight((subscriber.channel, topic) for topic in subscriber.topics)
            self.token_size += size

    def _drop(self, channel: str) -> None:
        self._subscribers.pop(channel, None)
        self.token_size -= self._sizes.pop(channel, 0)

    # -- joining --------------------------------------------------------------------------------------------------

    def join(self, subscriber: ChannelSubscriber, topics: Iterable[str]) -> asyncio.Future[None]:
        """Add a channel, or more topics of one. Returns a future that `resolve` or `fail` completes."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subscribers[subscriber.channel] = subscriber
        self.measure(subscriber)
        self._joins.setdefault(subscriber.channel, []).append(Join(frozenset(topics), done))
        return done

    def joins(self) -> dict[str, list[Join]]:
        """Returns the joins that are waiting, by channel."""
        return {channel: list(joins) for channel, joins in self._joins.items()}

    def not_awaited(self, channel: str, topics: Iterable[str]) -> list[str]:
        """Returns those of some topics that no join waits for."""
        awaited = {topic for join in self._joins.get(channel, ()) if not join.done.done() for topic in join.topics}
        return [topic for topic in topics if topic not in awaited]

    def resolve(self) -> None:
        """Complete the joins whose topics are covered by now."""
        for channel, joins in list(self._joins.items()):
            covered = self._covered.get(channel, set[str]())
            waiting: list[Join] = []
            for join in joins:
                if not join.topics <= covered:
                    waiting.append(join)
                elif not join.done.done():
                    for subscriber in self.of([channel]):
                        subscriber.confirm(join.topics)
                    join.done.set_result(None)
            if waiting:
                self._joins[channel] = waiting
            else:
                del self._joins[channel]

    def fail(self, error: RealtimeError, channels: Iterable[str] | None = None) -> None:
        """Fail the joins of some channels, or of all."""
        for channel in list(self._joins) if channels is None else channels:
            for join in self._joins.pop(channel, ()):
                if not join.done.done():
                    join.done.set_exception(error)
                    # Nobody may be waiting any more; asyncio would log it as never retrieved.
                    join.done.exception()

    def reject_pending(self, joined: dict[str, list[Join]], error: RealtimeError, *, drop: bool) -> None:
        """Fail the joins that waited when an attempt began; later ones wait for the next attempt.

        Args:
            drop: Whether a channel goes for which nobody waits any more.
        """
        for channel, joins in joined.items():
            for join in joins:
                if not join.done.done():
                    join.done.set_exception(error)
            later = [join for join in self._joins.get(channel, ()) if join not in joins]
            if later:
                self._joins[channel] = later
            else:
                self._joins.pop(channel, None)
                if drop:
                    self._drop(channel)

    def reject_topic(self, entry: Entry, error: RealtimeError) -> None:
        """Fail what depends on one topic that Inngest does not deliver, though it does others."""
        channel, topic = entry
        self.fail(error, {channel})
        for subscriber in self.of([channel]):
            if subscriber.confirmed and topic not in subscriber.confirmed:
                # Who asked for more than there was knows; who was content before still has that.
                return
            self._drop(channel)
            if subscriber.confirmed:
                subscriber.state_changed("closed")
                subscriber.fail(error)

    # -- leaving --------------------------------------------------------------------------------------------------

    def leave(self, subscriber: ChannelSubscriber) -> asyncio.Future[None]:
        """Drop a channel; the future is for `release`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel = subscriber.channel
        self._drop(channel)
        for join in self._joins.pop(channel, ()):
            join.done.cancel()
        for topic in self._covered.get(channel, ()):
            self._leaving[(channel, topic)] = None
        self._pending_gaps.discard(channel)
        self._left.append(done)
        return done

    def take_leaving(self) -> list[Entry]:
        """Remove and return the topics to unsubscribe. A channel that has joined again since keeps its topics."""
        leaving, self._leaving = self._leaving, {}
        gone = [entry for entry in leaving if entry[0] not in self._subscribers]
        for channel, topic in gone:
            topics = self._covered.get(channel, set[str]())
            topics.discard(topic)
            if not topics:
                self._covered.pop(channel, None)
        return gone

    def take_leavers(self) -> list[asyncio.Future[None]]:
        """Remove and return the futures of those who left, to be given to `release` once it is done."""
        left, self._left = self._left, []
        return left

    def release(self, leavers: Iterable[asyncio.Future[None]] | None = None) -> None:
        """Complete the futures of those who left, some or all: they may come back."""
        for future in self.take_leavers() if leavers is None else leavers:
            if not future.done():
                future.set_result(None)

    def keep_waiting(self, leavers: Iterable[asyncio.Future[None]]) -> None:
        """Put back futures that `take_leavers` returned."""
        self._left.extend(leavers)

    # -- connections ----------------------------------------------------------------------------------------------

    def renew(self, entries: Iterable[Entry]) -> None:
        """Called with what a new connection is proved to deliver, in place of what the last one did."""
        self._covered = {}
        self.cover(entries)

    def cover(self, entries: Iterable[Entry]) -> None:
        """Called with more that the present connection is proved to deliver."""
        for channel, topic in entries:
            self._covered.setdefault(channel, set()).add(topic)
            if channel not in self._subscribers:
                # It left while it was being subscribed.
                self._leaving[(channel, topic)] = None

    def lose(self, error: RealtimeError) -> None:
        """Called when what was covered is not delivered any more: its channels are told, and later of a gap."""
        self._pending_gaps.update(self._covered)
        for subscriber in self.of(self._covered):
            subscriber.report(error)

    def clear(self) -> None:
        """Called when there is no connection, and so nothing that is covered and nothing to leave."""
        self._covered = {}
        self._leaving.clear()
        self.release()

    def close(self, error: RealtimeError | None, waiting: RealtimeError) -> None:
        """Called when nothing more will come: drops every channel.

        Args:
            error: What the channels are told, if it is a failure.
            waiting: What those who wait are told.
        """
        self.fail(waiting)
        subscribers, self._subscribers = self._subscribers, {}
        self._sizes.clear()
        self.token_size = 0
        for subscriber in subscribers.values():
            subscriber.state_changed("closed")
            if error is not None:
                subscriber.fail(error)

    def take_pending_gaps(self) -> Iterator[ChannelSubscriber]:
        """Remove and return the channels to which a gap is due."""
        pending_gaps, self._pending_gaps = self._pending_gaps, set()
        return self.of(pending_gaps)

    # -- what comes -----------------------------------------------------------------------------------------------

    def route(self, envelope: Envelope) -> None:
        """Deliver a message to its channel."""
        subscriber = self._subscribers.get(envelope.channel)
        if subscriber is not None:
            try:
                subscriber.receive(envelope)
            except Exception as error:
                # The mistake is one message's: what comes with it and after it is delivered all the same.
                text = (
                    f"A message of channel {envelope.channel!r} could not be delivered: a defect of this package, "
                    "please report it."
                )
                kind = ("undelivered", envelope.channel, type(error))
                _log.write(logging.ERROR, kind, text, error, event="message.undelivered", traceback=True)
        else:
            logger.debug("Dropped a message of channel %r, which nobody subscribes to.", envelope.channel)

    def undelivered(self, found: Envelope | Unreadable | None, size: int) -> None:
        """Report a message that is too large or can't be decoded to its channel, or to all when that is not known.

        Args:
            found: What is known of it.
            size: Bytes of its frame.
        """
        channel, topic = (found.channel or None, found.topic or None) if found is not None else (None, None)
        where = f"on channel {channel!r}, topic {topic!r}" if channel else "of one of the channels"
        too_large = size > MAX_SERVER_FRAME
        if too_large:
            error: RealtimeError = FrameTooLargeError(
                f"A message {where} was not delivered: it has {size} bytes, and at most {MAX_SERVER_FRAME} are read. "
                "Publish a reference to large data instead of the data itself.",
                size=size,
                channel=channel,
                topic=topic,
            )
            _log.write(logging.ERROR, ("too large", channel, topic), str(error), event="message.too_large")
        else:
            error = MessageError(
                f"A message {where} was not delivered: its JSON is nested deeper than {MAX_DEPTH} levels, is not "
                f"UTF-8, or has an integer of over {MAX_DIGITS} digits, or its envelope is not Inngest's. Mend its "
                "publisher.",
                channel=channel,
                topic=topic,
            )
            _log.write(logging.ERROR, "unreadable", str(error), event="message.unreadable")
        for subscriber in self.of([channel] if channel else self._subscribers):
            subscriber.report(error)
            subscriber.gap("too-large" if too_large else "unreadable", 1 if channel else None)

    def tell_state(self, state: State) -> None:
        """Report a new state of the connection to every channel."""
        for subscriber in list(self.subscribers):
            subscriber.state_changed(state)
