"""One channel in this process: what comes from Inngest, shared by everybody here who subscribes to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Set
from typing import TYPE_CHECKING, Final

from .._replay.log import Replay, SharedLog
from .._replay.window import Begin, Window
from ..errors import RealtimeError
from ..messages.envelope import Envelope
from ..messages.message import GapReason, Message, payload_size
from ..stats import Counters
from .buffer import ReaderBuffer
from .groups import ReaderGroups
from .open_streams import OpenStreams
from .views import SubscriptionSpec

if TYPE_CHECKING:
    from .._upstream.subscriber import State
    from .._upstream.upstream import Upstream

__all__ = ["Feed"]

logger = logging.getLogger("inngest_realtime.feed")

_LOST: Final = "the connection to Inngest was lost"


class Feed:
    """A channel's messages, its readers, and what it remembers.

    Args:
        channel: The channel's name.
        counters: Shared by all feeds of a hub.
        replay: How much is kept for clients that reconnect.
        store: Where it is kept for all processes as well.
        on_idle: Called when the last reader has left.
        on_failed: Called when nothing more will come.
        max_stream_length: Characters that its open data streams hold at most.
    """

    __slots__ = (
        "_begins",
        "_close_watchers",
        "_counters",
        "_end",
        "_end_watchers",
        "_groups",
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
        "was_read",
    )

    def __init__(
        self,
        channel: str,
        upstream: Upstream,
        *,
        counters: Counters,
        replay: Replay,
        store: SharedLog | None,
        on_idle: Callable[[Feed], None],
        on_failed: Callable[[Feed], None],
        max_stream_length: int,
    ) -> None:
        self.channel: str = channel
        self.upstream: Upstream = upstream
        self.topics: dict[str, None] = {}
        self.was_read = False
        self._begins: dict[str, Begin] = {}
        self.state: State = upstream.state
        self._counters = counters
        self._on_idle = on_idle
        self._on_failed = on_failed
        self._groups = ReaderGroups(channel, self.topics)
        self._streams = OpenStreams(max_stream_length)
        self._state_watchers: list[Callable[[State], None]] = []
        self._end_watchers: list[Callable[[RealtimeError], None]] = []
        self._close_watchers: list[Callable[[], None]] = []
        self._replay = replay
        self._store = store
        self._window: Window | None = None
        self._end: tuple[RealtimeError | None] | None = None
        self._holds = 0

    @property
    def confirmed(self) -> Set[str]:
        """The topics that Inngest was proved to deliver."""
        return self._begins.keys()

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
        """Called when the channel has been left."""
        if self._store is not None:
            self._store.end(self.channel)

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

    @property
    def buffer_bytes(self) -> int:
        """Bytes of large messages that wait for readers."""
        return sum(buffer.bytes_waiting for buffer in self._groups)

    @property
    def idle(self) -> bool:
        return not self._groups and not self._holds

    def _check_idle(self) -> None:
        if self.idle:
            self._on_idle(self)

    def attach(
        self, spec: SubscriptionSpec, buffer: ReaderBuffer, *, events: bool = False, after: str | None = None
    ) -> None:
        """Attaches a reader of what comes from now on.

        Args:
            events: Whether it sends events with an id.
            after: The id of the last event it has had: what came since is given to it first, or a gap.
        """
        if not after:
            if events:
                buffer.start_id = self._kept().start(spec.topics)
        elif not self._resume(spec, buffer, after):
            if self._store is None:
                here = self._kept().start(spec.topics)
                buffer.push_gap(Message.gap(self.channel, "expired", event_id=here))
            else:
                buffer.catch_up = lambda: self._catch_up(spec, buffer, after)
        self.was_read = True
        self._groups.add(spec, buffer, events=events)
        if self._end is not None:
            buffer.end(*self._end)

    def detach(self, spec: SubscriptionSpec, buffer: ReaderBuffer, *, events: bool = False) -> None:
        self._groups.remove(spec, buffer, events=events)
        self._check_idle()

    def _resume(self, spec: SubscriptionSpec, buffer: ReaderBuffer, after: str) -> bool:
        """Gives a reader what it missed, if this process knows it all."""
        missed = None if self._window is None else self._window.since(after, spec.topics)
        if missed is None:
            return False
        for message in self._groups.kept(spec, buffer, missed, self._streams):
            if message.kind == "gap":
                buffer.push_gap(message)
            else:
                buffer.push_sized(message, payload_size(message))
        return True

    async def _catch_up(self, spec: SubscriptionSpec, buffer: ReaderBuffer, after: str) -> None:
        """Gives a reader what it missed, if all processes together know it; before what it has received since."""
        missed = None if self._store is None else await self._store.since(self.channel, after, spec.topics)
        if missed is None:
            buffer.prepend([Message.gap(self.channel, "expired")])
        else:
            buffer.prepend(self._groups.kept(spec, buffer, missed, self._streams))

    def watch_state(self, watcher: Callable[[State], None]) -> Callable[[], None]:
        """Call `watcher` with each new state; returns what ends it."""
        self._state_watchers.append(watcher)
        return lambda: self._state_watchers.remove(watcher)

    def watch_errors(self, spec: SubscriptionSpec, watcher: Callable[[RealtimeError], None]) -> Callable[[], None]:
        """Calls `watcher` with what can't be delivered to readers of this spec; returns what ends it."""
        return self._groups.watch_errors(spec, watcher)

    def watch_end(self, watcher: Callable[[RealtimeError], None]) -> Callable[[], None]:
        """Calls `watcher` with the error that ends every reader, if one does; returns what ends it."""
        self._end_watchers.append(watcher)
        return lambda: self._end_watchers.remove(watcher)

    def watch_closed(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Calls `watcher` when nothing more will come, for whatever reason; returns what ends it."""
        self._close_watchers.append(watcher)
        return lambda: self._close_watchers.remove(watcher)

    # -- what the upstream calls ----------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        """Takes a message from Inngest and gives it to every reader."""
        if envelope.topic not in self.topics and envelope.kind != "run":
            logger.debug("Dropped a message of channel %r: topic %r was not asked for.", self.channel, envelope.topic)
            return
        self._counters.received += 1
        if self._store is not None:
            self._store.add(envelope)
        stream = None if envelope.stream_id is None else self._streams.follow(envelope, envelope.stream_id)
        window = self._window
        if window is None:
            window = self._kept()
        window.add(envelope)
        self._groups.deliver(envelope, stream, window)

    def _kept(self) -> Window:
        """What the channel remembers: from the first message or event stream on, since many channels have neither."""
        if self._window is None:
            self._window = Window(self._replay, self._begins)
        return self._window

    def recent(self, seconds: float) -> Iterable[Envelope]:
        return () if self._window is None else self._window.recent(seconds)

    def lost(self) -> None:
        self._streams.interrupt_all(_LOST)
        self.gap("reconnect")

    def gap(self, reason: GapReason, missed: int | None = None) -> None:
        """Tells every reader that something may have been missed."""
        now = time.monotonic()
        for topic, begin in self._begins.items():
            self._begins[topic] = Begin(now, begin.place)
        if self._window is not None:
            self._window.add_gap(reason)
        self._cover()
        message = Message.gap(self.channel, reason, missed)
        for buffer in self._groups:
            buffer.push_gap(message)

    def interrupted(self, stream_id: str) -> None:
        self._streams.interrupt(stream_id, _LOST)

    def report(self, error: RealtimeError) -> None:
        """Tells every subscriber of a message that could not be delivered, or of a connection that was lost."""
        self._groups.report(error)

    def fail(self, error: RealtimeError) -> None:
        """Ends every reader: nothing more will come."""
        # First, so that nobody asks Inngest to be off a channel that it has refused.
        self._on_failed(self)
        for watcher in list(self._end_watchers):
            watcher(error)
        self.end(error)

    def end(self, error: RealtimeError | None = None) -> None:
        """Ends every reader, also those to come, with the error if there is one."""
        self._end = (error,)
        self._streams.interrupt_all("the subscription was closed")
        for buffer in self._groups:
            buffer.end(error)
        for closed in list(self._close_watchers):
            closed()

    def state_changed(self, state: State) -> None:
        self.state = state
        for watcher in list(self._state_watchers):
            try:
                watcher(state)
            except Exception:
                # The mistake is the application's; the other watchers and the connection are not to suffer from it.
                logger.exception(
                    "A callback of channel %r failed on the state %r.",
                    self.channel,
                    state,
                    extra={"event": "callback.failed"},
                )

    def prune(self) -> None:
        """Drops what is too old to be replayed."""
        if self._window is not None:
            self._window.prune()
