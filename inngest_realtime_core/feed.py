"""One channel in this process: what comes from Inngest, shared by everybody here who subscribes to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import ValidationError

from .channels import Channel, adapter_for
from .consumer import Consumer, Counters
from .datastream import DataStream
from .envelope import Envelope
from .errors import MessageValidationError, RealtimeError
from .messages import GapReason, Message
from .protocol import MAX_OPEN_STREAMS
from .replay import Begin, Replay, Window

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from .redis_replay import RedisStore
    from .roster import State
    from .upstream import Upstream

__all__ = ["Feed", "Perspective"]

logger = logging.getLogger("inngest_realtime.feed")


@dataclass(frozen=True)
class Perspective:
    """How a reader looks at a channel. Readers who look alike share each message, decoded and encoded once.

    Attributes:
        declaration: The channel's class, which says what types its topics have; None for a plain name.
        topics: The names of the topics of interest.
        validate: Whether data must fit its topic's type.
    """

    declaration: type[Channel] | None
    topics: tuple[str, ...]
    validate: bool = True
    schemas: Mapping[str, TypeAdapter[Any]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        schemas: dict[str, TypeAdapter[Any]] = {}
        if self.validate and self.declaration is not None:
            for topic in self.topics:
                adapter = adapter_for(self.declaration, topic)
                if adapter is not None:
                    schemas[topic] = adapter
        object.__setattr__(self, "schemas", schemas)


class _Audience:
    """The readers of one perspective."""

    __slots__ = ("consumers", "events", "perspective")

    def __init__(self, perspective: Perspective) -> None:
        self.perspective = perspective
        self.consumers: list[Consumer] = []
        self.events = 0  # how many of them send events with an id

    def view(self, envelope: Envelope, event_id: str | None) -> Message[Any] | MessageValidationError | None:
        """The message as these readers see it; None when they don't."""
        perspective = self.perspective
        kind = envelope.kind
        if envelope.topic not in perspective.topics and kind != "run":
            return None
        if kind == "data" and perspective.schemas:
            schema = perspective.schemas.get(envelope.topic)
            if schema is not None:
                try:
                    return Message(envelope, schema, schema.validate_json(bytes(envelope.data)), event_id)
                except ValidationError as error:
                    return _invalid(envelope, error)
                except Exception as error:
                    # What an application's own validator raises is passed on by pydantic as it is.
                    return _unreadable(envelope, error)
        return Message(envelope, None, msgspec.UNSET, event_id)


class Feed:
    """A channel's messages, its readers, and what it remembers.

    Args:
        channel: The channel's name.
        counters: Shared by all feeds of a hub.
        replay: How much is kept for clients that reconnect.
        store: Where it is kept for all processes as well.
        on_idle: Called when the last reader has left.
        on_failed: Called when nothing more will come.
    """

    __slots__ = (
        "_audiences",
        "_begins",
        "_counters",
        "_end",
        "_end_watchers",
        "_error_watchers",
        "_holds",
        "_on_failed",
        "_on_idle",
        "_replay",
        "_state_watchers",
        "_store",
        "_streams",
        "_window",
        "channel",
        "state",
        "topics",
        "upstream",
    )

    def __init__(
        self,
        channel: str,
        upstream: Upstream,
        *,
        counters: Counters,
        replay: Replay,
        store: RedisStore | None,
        on_idle: Callable[[Feed], None],
        on_failed: Callable[[Feed], None],
    ) -> None:
        self.channel = channel
        self.upstream = upstream
        self.topics: dict[str, None] = {}
        self._begins: dict[str, Begin] = {}
        self.state: State = upstream.state
        self._counters = counters
        self._on_idle = on_idle
        self._on_failed = on_failed
        self._audiences: dict[Perspective, _Audience] = {}
        self._streams: dict[str, DataStream] = {}
        self._state_watchers: list[Callable[[State], None]] = []
        self._error_watchers: list[tuple[Perspective, Callable[[RealtimeError], None]]] = []
        self._end_watchers: list[Callable[[RealtimeError], None]] = []
        self._replay = replay
        self._store = store
        self._window: Window | None = None
        self._end: tuple[RealtimeError | None] | None = None
        self._holds = 0

    @property
    def confirmed(self) -> Set[str]:
        """The topics that Inngest was proved to deliver."""
        return self._begins.keys()

    def confirm(self, topics: Iterable[str]) -> None:
        """Take note that Inngest is proved to deliver these topics."""
        begin = Begin(time.monotonic(), 0 if self._window is None else self._window.count)
        for topic in topics:
            self._begins.setdefault(topic, begin)
        self._cover()

    def _cover(self) -> None:
        if self._store is not None:
            self._store.begin(self.channel, self.confirmed, self._proving)

    def _proving(self) -> bool:
        """Whether all comes that Inngest delivers: not while it is lost, or one connection replaces another."""
        return self.upstream.state == "open" and self.upstream.sockets == 1

    def forget(self) -> None:
        """Take note that the channel has been left."""
        if self._store is not None:
            self._store.end(self.channel)

    # -- readers --------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Keep the feed while someone is about to read it."""
        self._holds += 1

    def let_go(self) -> None:
        self._holds -= 1
        self._check_idle()

    @property
    def idle(self) -> bool:
        return not self._audiences and not self._holds

    def _check_idle(self) -> None:
        if self.idle:
            self._on_idle(self)

    def attach(
        self, perspective: Perspective, consumer: Consumer, *, events: bool = False, after: str | None = None
    ) -> None:
        """Let a reader have what comes from now on.

        Args:
            events: Whether it sends events with an id.
            after: The id of the last event it has had: what came since is given to it first, or a gap.
        """
        audience = self._audiences.get(perspective)
        if audience is None:
            audience = self._audiences[perspective] = _Audience(perspective)
        if not after:
            if events:
                consumer.start_id = self._kept().start(perspective.topics)
        elif not self._resume(audience, consumer, after):
            if self._store is None:
                here = self._kept().start(perspective.topics)
                consumer.push_gap(Message.gap(self.channel, "expired", event_id=here))
            else:
                consumer.catch_up = lambda: self._catch_up(perspective, consumer, after)
        audience.consumers.append(consumer)
        audience.events += events
        if self._end is not None:
            consumer.end(*self._end)

    def detach(self, perspective: Perspective, consumer: Consumer, *, events: bool = False) -> None:
        audience = self._audiences.get(perspective)
        if audience is None or consumer not in audience.consumers:
            return
        audience.consumers.remove(consumer)
        audience.events -= events
        if not audience.consumers:
            del self._audiences[perspective]
            self._check_idle()

    def _resume(self, audience: _Audience, consumer: Consumer, after: str) -> bool:
        """Give a reader what it missed, if this process knows it all."""
        missed = None if self._window is None else self._window.since(after, audience.perspective.topics)
        if missed is None:
            return False
        for message in self._views(audience, missed):
            if message.kind == "gap":
                consumer.push_gap(message)
            else:
                consumer.push(message)
        return True

    async def _catch_up(self, perspective: Perspective, consumer: Consumer, after: str) -> None:
        """Give a reader what it missed, if all processes together know it; before what it has received since."""
        missed = None if self._store is None else await self._store.since(self.channel, after, perspective.topics)
        if missed is None:
            consumer.prepend([Message.gap(self.channel, "expired")])
        else:
            consumer.prepend(self._views(_Audience(perspective), missed))

    def _views(self, audience: _Audience, missed: Iterable[tuple[Envelope | GapReason, str]]) -> Iterator[Message[Any]]:
        for envelope, event_id in missed:
            if isinstance(envelope, str):
                yield Message.gap(self.channel, envelope)
                continue
            message = audience.view(envelope, event_id)
            if isinstance(message, Message):
                yield message

    def watch_state(self, watcher: Callable[[State], None]) -> Callable[[], None]:
        """Call `watcher` with each new state; returns what ends it."""
        self._state_watchers.append(watcher)
        return lambda: self._state_watchers.remove(watcher)

    def watch_errors(self, perspective: Perspective, watcher: Callable[[RealtimeError], None]) -> Callable[[], None]:
        """Call `watcher` with what can't be delivered to readers of this perspective; returns what ends it."""
        entry = (perspective, watcher)
        self._error_watchers.append(entry)
        return lambda: self._error_watchers.remove(entry)

    def watch_end(self, watcher: Callable[[RealtimeError], None]) -> Callable[[], None]:
        """Call `watcher` with the error that ends every reader, if one does; returns what ends it."""
        self._end_watchers.append(watcher)
        return lambda: self._end_watchers.remove(watcher)

    # -- what the upstream calls ----------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        """Take a message from Inngest and give it to everybody."""
        if envelope.topic not in self.topics and envelope.kind != "run":
            logger.debug("Dropped a message of channel %r: topic %r was not asked for.", self.channel, envelope.topic)
            return
        self._counters.received += 1
        if self._store is not None:
            self._store.add(envelope)
        if envelope.stream_id is not None:
            self._follow_stream(envelope, envelope.stream_id)
        window = self._window
        if window is None:
            window = self._kept()
        window.add(envelope)
        for audience in tuple(self._audiences.values()):
            event_id = window.position(envelope, audience.perspective.topics) if audience.events else None
            message = audience.view(envelope, event_id)
            if isinstance(message, Message):
                for consumer in audience.consumers:
                    consumer.push(message)
            elif message is not None:
                for perspective, watcher in list(self._error_watchers):
                    if perspective == audience.perspective:
                        watcher(message)

    def _kept(self) -> Window:
        """What the channel remembers: from the first message or event stream on, since many channels have neither."""
        if self._window is None:
            self._window = Window(self._replay, self._begins)
        return self._window

    def _follow_stream(self, envelope: Envelope, stream_id: str) -> None:
        if envelope.kind == "datastream-start":
            envelope.stream = self._streams[stream_id] = DataStream(
                stream_id, channel=envelope.channel, topic=envelope.topic
            )
            if len(self._streams) > MAX_OPEN_STREAMS:
                # The decoder has given it up too: nothing more would come of it.
                self._cut_off(next(iter(self._streams)), f"{MAX_OPEN_STREAMS} others began before its end")
        elif envelope.kind == "datastream-end":
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                stream.end()
        elif (stream := self._streams.get(stream_id)) is not None:
            stream.feed(msgspec.json.decode(envelope.data, type=str))

    def recent(self, seconds: float) -> Iterable[Envelope]:
        return () if self._window is None else self._window.recent(seconds)

    def lost(self) -> None:
        for stream_id in list(self._streams):
            self.interrupted(stream_id)
        self.gap("reconnect")

    def gap(self, reason: GapReason, missed: int | None = None) -> None:
        """Tell everybody that something may have been missed."""
        now = time.monotonic()
        for topic, begin in self._begins.items():
            self._begins[topic] = Begin(now, begin.place)
        if self._window is not None:
            self._window.add_gap(reason)
        self._cover()
        message = Message.gap(self.channel, reason, missed)
        for audience in list(self._audiences.values()):
            for consumer in list(audience.consumers):
                consumer.push_gap(message)

    def interrupted(self, stream_id: str) -> None:
        self._cut_off(stream_id, "the connection to Inngest was lost")

    def _cut_off(self, stream_id: str, why: str) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.end(why)

    def report(self, error: RealtimeError) -> None:
        """Tell everybody of a message that could not be delivered."""
        for _, watcher in list(self._error_watchers):
            watcher(error)

    def fail(self, error: RealtimeError) -> None:
        """End every reader: nothing more will come."""
        for watcher in list(self._end_watchers):
            watcher(error)
        self.end(error)
        self._on_failed(self)

    def end(self, error: RealtimeError | None = None) -> None:
        """End every reader, also those to come, with the error if there is one."""
        self._end = (error,)
        for stream in self._streams.values():
            stream.end("the subscription was closed")
        self._streams.clear()
        for audience in list(self._audiences.values()):
            for consumer in list(audience.consumers):
                consumer.end(error)

    def state_changed(self, state: State) -> None:
        self.state = state
        for watcher in list(self._state_watchers):
            try:
                watcher(state)
            except Exception:
                # The mistake is the application's; the other watchers and the connection are not to suffer from it.
                logger.exception("A callback of channel %r failed on the state %r.", self.channel, state)

    def prune(self) -> None:
        """Let go of what is too old to be replayed."""
        if self._window is not None:
            self._window.prune()


def _unreadable(envelope: Envelope, cause: Exception) -> MessageValidationError:
    error = MessageValidationError(
        f"A message on channel {envelope.channel!r} was not delivered: the validation of topic {envelope.topic!r} "
        f"raised {type(cause).__name__}. A validator should raise ValueError for what does not fit.",
        channel=envelope.channel,
        topic=envelope.topic,
    )
    error.__cause__ = cause
    logger.error("%s", error, exc_info=cause)
    return error


def _invalid(envelope: Envelope, cause: ValidationError) -> MessageValidationError:
    error = MessageValidationError(
        f"A message on channel {envelope.channel!r} does not fit the type of topic {envelope.topic!r} "
        f"({cause.error_count()} errors) and was not delivered. Publish what the topic declares, or subscribe with "
        "validate=False.",
        channel=envelope.channel,
        topic=envelope.topic,
    )
    error.__cause__ = cause
    # The input stays out of the log: it may be large, and it is the application's.
    logger.error("%s %s", error, cause.errors(include_input=False, include_url=False, include_context=False))
    return error
