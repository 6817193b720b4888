"""Who shares which channel: all subscriptions of one `Realtime` on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

import anyio

from .._api.client import ApiClient
from .._concurrency.tasks import calling_tasks, create_task, deadline
from .._replay.channel_history import ChannelHistory
from .._replay.channel_log import ChannelLog
from .._replay.event_ids import EventIds
from .._replay.log import History, Replay
from .._replay.record import MemoryHistory, Record
from .._replay.total import LogTotal
from ..errors import ShuttingDownError, UnreachableError
from ..stats import Counters
from .budget import ByteBudget, Holder, shed
from .feed import Feed
from .open_streams import OpenStreams
from .options import OWN, HubOptions, Source
from .placement import Placement
from .queue import QueueLimits
from .stream_watch import StreamWatch

T = TypeVar("T")

_OPEN_TIMEOUT: Final = 10.2  # seconds; a call to Inngest that fails after 10 s has told so by then
_MAX_LINGERING: Final = 10_000  # channels without a reader: as many as streams that a server may cut off at once
_SWEEP: Final = 30.0  # seconds between two looks for what is too old to be replayed


class Hub:
    """The feeds and upstreams of the event loop on which it is made, and has to be used.

    Attributes:
        api: Makes calls to Inngest.
        stream_watch: Told when a stream for a web client begins.
        subscriptions: How many are open.
        budget: The bytes that may wait in the process.
        queue_limits: What the queues of all readers have in common.
        errors: What holds errors for an `on_error` that has not returned yet.
        shutting_down: No new subscription is opened any more.
    """

    def __init__(
        self,
        api: ApiClient,
        options: HubOptions,
        counters: Counters,
        *,
        history: History,
        ids: EventIds,
        budget: ByteBudget,
        on_stream: Callable[[], None],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.options = options
        self.counters = counters
        self.shutting_down: bool = False
        self.owner: object = None  # kept for as long as the hub is: what it does at its end would close the hub
        self.subscriptions = 0
        self.budget: ByteBudget = budget
        self.errors: set[Holder] = set()
        self._asked_to_shed = False
        self.stream_watch: StreamWatch = StreamWatch(
            self.loop, on_stream, lambda: self.subscriptions > 0 and not self.shutting_down
        )
        self.api = api
        self._history = history
        self._ids = ids
        self._limits = options.replay if isinstance(options.replay, Replay) else options.replay.local
        self._grant_log = LogTotal(self._limits.max_bytes, self._logs).grant
        self._placement = Placement(api, options, counters)
        throttle = self._placement.throttle
        self.queue_limits: QueueLimits = QueueLimits(
            options.buffer_size, options.buffer_bytes, throttle=throttle, counters=counters, budget=budget
        )
        self._stream_bytes = 4 * options.buffer_bytes  # of all data streams of one channel that are open
        self._feeds: dict[tuple[str, Source], Feed] = {}
        self._leaving: dict[tuple[str, Source], asyncio.Future[None]] = {}
        self._lingering: dict[Feed, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._openings: set[anyio.CancelScope] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    # -- numbers --------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        return len(self._feeds)

    @property
    def sockets(self) -> int:
        return self._placement.sockets

    @property
    def streams(self) -> int:
        return sum(feed.streams for feed in list(self._feeds.values()))

    def _holders(self) -> list[Holder]:
        return [*self.errors, *(holder for feed in list(self._feeds.values()) for holder in feed.holders())]

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for readers. Callable from any thread."""
        return sum(holder.held_bytes for holder in self._holders())

    def recount(self) -> int:
        """Returns the bytes that wait, from which on is counted."""
        for feed in list(self._feeds.values()):
            feed.recount()
        return self.held_bytes

    @property
    def is_here(self) -> bool:
        """Whether its event loop is the running one."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def shed(self, size: int) -> int:
        """Drops what waits for the slowest readers, so many bytes of it. Returns how many were dropped."""
        return shed(self._holders(), size)

    def shed_later(self) -> None:
        """Drops what is in excess by then: it may have been dropped in the meantime. From another thread."""
        if not self._asked_to_shed:
            self._asked_to_shed = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._shed_excess)

    def _shed_excess(self) -> None:
        self._asked_to_shed = False
        self.shed(self.budget.excess)

    def _logs(self) -> list[ChannelLog]:
        return [log for feed in self._feeds.values() if (log := feed.history.log) is not None]

    @property
    def window_bytes(self) -> int:
        return sum(feed.history.kept_bytes for feed in list(self._feeds.values()))

    # -- feeds ----------------------------------------------------------------------------------------------------

    def follows(self, channel: str, topics: Collection[str]) -> bool:
        """Whether Inngest delivers all of these topics already, as this application's. Callable from any thread."""
        feed = self._feeds.get((channel, OWN))
        return feed is not None and feed.upstream.alive and all(topic in feed.confirmed for topic in topics)

    async def open(self, channel: str, topics: Sequence[str], source: Source) -> Feed:
        """Return the channel's feed once Inngest is proved to deliver these topics.

        The feed is acquired: the caller attaches its reader and releases it.

        Raises:
            InngestError: It can't be had, or not in time.
            ShuttingDownError: The process is shutting down.
        """
        with deadline(_OPEN_TIMEOUT):
            return await self._open(channel, topics, source)
        raise UnreachableError(
            f"Inngest did not confirm the subscription within {_OPEN_TIMEOUT:.0f} s. Try again later, and see the log "
            "for what failed.",
            url="",
        )

    async def _open(self, channel: str, topics: Sequence[str], source: Source) -> Feed:
        key = (channel, source)
        while not self.shutting_down and (left := self._leaving.get(key)) is not None:
            # Taking a topic again while it is being left can leave it silent for good.
            await asyncio.wait([left])
        if self.shutting_down:
            raise _shutting_down()
        feed = self._feeds.get(key)
        if feed is None or not feed.upstream.alive:
            feed = self._new_feed(channel, source, topics)
        feed.acquire()
        self._cancel_linger(feed)
        try:
            missing = [topic for topic in topics if topic not in feed.confirmed]
            if missing:
                await feed.join(missing)
        except BaseException:
            # What was rejected would be asked for again at every reconnect, and all others might be rejected with it.
            feed.withdraw(set(topics) - feed.confirmed)
            feed.release()
            if feed.idle and not feed.confirmed:
                # A linger would keep what never worked.
                self._release(feed)
            raise
        return feed

    def _new_feed(self, channel: str, source: Source, topics: Sequence[str]) -> Feed:
        upstream = self._placement.upstream_for(channel, source, topics)
        limits = self._limits
        # What is kept elsewhere is of the application's own Inngest, environment and account.
        beside = self._history if source == OWN else MemoryHistory(Record(self._limits))
        shared = beside if beside.shared else None
        feed = Feed(
            channel,
            source,
            upstream,
            counters=self.counters,
            history=ChannelHistory(channel, limits, self._ids, self._grant_log, shared),
            beside=beside,
            owner=self,
            streams=OpenStreams(self._stream_bytes, self.budget),
        )
        self._feeds[(channel, source)] = feed
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep, context=contextvars.Context())
        return feed

    def _keeps(self, feed: Feed) -> bool:
        return self._feeds.get((feed.channel, feed.source)) is feed

    def feed_idle(self, feed: Feed) -> None:
        """Called when the last reader has left: the channel is kept for a while."""
        if not self._keeps(feed):
            return
        if self.options.linger <= 0 or self.shutting_down or not feed.was_read:
            self._release(feed)
        elif feed not in self._lingering:
            self._lingering[feed] = self.loop.call_later(
                self.options.linger, self._release, feed, context=contextvars.Context()
            )
            if len(self._lingering) > _MAX_LINGERING:
                self._release(next(iter(self._lingering)))

    def _cancel_linger(self, feed: Feed) -> None:
        timer = self._lingering.pop(feed, None)
        if timer is not None:
            timer.cancel()

    def _release(self, feed: Feed) -> None:
        """Leave a channel at Inngest."""
        self._cancel_linger(feed)
        if not self._keeps(feed):
            return
        self.forget(feed)
        if feed.upstream.alive:
            key = (feed.channel, feed.source)
            left = self._leaving[key] = feed.upstream.leave(feed)
            left.add_done_callback(lambda _: self._leaving.pop(key, None) and None)

    async def released(self, channel: str) -> None:
        """Return when no departure from this channel is under way."""
        leaving = [left for (name, _), left in self._leaving.items() if name == channel]
        if leaving:
            await asyncio.wait(leaving)

    def forget(self, feed: Feed) -> None:
        """Called when nothing more will come of a channel, or it is left: it is kept no longer."""
        self._cancel_linger(feed)
        if self._keeps(feed):
            del self._feeds[(feed.channel, feed.source)]
            feed.forget()

    def _sweep(self) -> None:
        self._sweeper = None
        for feed in self._feeds.values():
            feed.history.prune()
        if self._feeds:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    # -- tasks ----------------------------------------------------------------------------------------------------

    def run(self, work: Awaitable[None], *, name: str) -> asyncio.Task[None]:
        """Start a task that the hub owns: it is awaited when the hub is closed."""

        async def _work() -> None:
            await work

        task = create_task(_work(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- the end --------------------------------------------------------------------------------------------------

    async def until_shutdown(self, opening: Awaitable[T]) -> T:
        """Await what opens a stream, which may take as long as Inngest takes to respond.

        Raises:
            ShuttingDownError: The streams were ended meanwhile.
        """
        with anyio.CancelScope() as scope:
            self._openings.add(scope)
            try:
                return await opening
            finally:
                self._openings.discard(scope)
        raise _shutting_down()

    def end_streams(self, *, stopping: bool = False) -> None:
        """End every reader and open no new ones. The log says so when the process is `stopping`."""
        self.shutting_down = True
        if stopping:
            self.stream_watch.stopped(self.streams)
        for opening in list(self._openings):
            opening.cancel()
        for feed in list(self._feeds.values()):
            feed.end()
        for feed in list(self._lingering):
            self._release(feed)

    def abandon(self) -> None:
        """Called in the child of a fork: what is open here is the parent's."""
        for feed in list(self._feeds.values()):
            feed.abandon()

    async def close(self) -> None:
        """End everything. Returns when no task and no socket of the hub is left."""
        self.shutting_down = True
        for timer in (self._sweeper, *self._lingering.values()):
            if timer is not None:
                timer.cancel()
        self._sweeper = None
        self.stream_watch.stop()
        self._lingering.clear()
        for feed in list(self._feeds.values()):
            feed.end()
            self.forget(feed)
        await self._placement.close()
        # Those that this is called from, by a callback, end by themselves.
        tasks = self._tasks.difference((asyncio.current_task(), *calling_tasks()))
        # These run the application's callbacks, whose own endings may take a while.
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError(
        "The process is shutting down, so no new subscription is opened. Try again shortly. Where the process goes on "
        "after all, in a notebook that was interrupted for example, make a new Realtime."
    )
