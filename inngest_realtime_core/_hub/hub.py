"""Who shares which connection: all subscriptions of one `Realtime` on one event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

import anyio
import msgspec

from .._api.client import ApiClient
from .._api.tokens import Entry, IssuedToken
from .._replay.log import Replay, SharedLog, SharedReplay
from .._upstream.batching import MAX_URL_TOKEN, token_size, weight
from .._upstream.circuit import Circuit
from .._upstream.dialer import Mint
from .._upstream.liveness import Liveness
from .._upstream.throttle import Throttle
from .._upstream.upstream import Upstream
from ..errors import ShuttingDownError
from ..settings import Settings
from ..stats import Counters
from .feed import Feed

__all__ = ["Hub", "HubOptions", "Source"]

T = TypeVar("T")

_CHANNELS_PER_SOCKET: Final = 1_000
_DEDICATED: Final = 16_000  # characters of a token for one channel; a larger one gets a socket of its own
_SWEEP: Final = 30.0  # seconds between two looks for what is too old to be replayed


# Structs rather than dataclasses: making the class takes a fortieth of the time, which every import pays.


class HubOptions(msgspec.Struct, frozen=True):
    """How subscriptions are kept.

    Attributes:
        buffer_size: Messages held for each reader at most.
        linger: Seconds that a channel is kept after its last reader left.
        multiplex: Whether many channels ride on one socket.
        replay: What is kept for web clients that reconnect, and where.
    """

    buffer_size: int = 1024
    linger: float = 30.0
    multiplex: bool = True
    replay: Replay | SharedReplay = msgspec.field(default_factory=Replay)
    liveness: Liveness = msgspec.field(default_factory=Liveness)


class Source(msgspec.Struct, frozen=True):
    """Where a channel's messages are asked for.

    Attributes:
        api_base_url: Another Inngest than the settings' one.
        key: A token minted elsewhere, used as long as it is valid.
    """

    api_base_url: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"Source(api_base_url={self.api_base_url!r}, key={'...' if self.key else None})"


class Hub:
    """The feeds and upstreams of one event loop.

    Must be used on the loop it was made on.

    Attributes:
        api: Makes calls to Inngest.
        on_stream: Called when a stream for a web client begins.
        throttle: How far readers may hold up connections.
        subscriptions: How many are open.
        shutting_down: No new subscription is opened any more.
    """

    def __init__(
        self, api: ApiClient, options: HubOptions, counters: Counters, *, on_stream: Callable[[], None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options
        self.counters = counters
        self.on_stream = on_stream
        self.throttle = Throttle()
        self.shutting_down = False
        self.subscriptions = 0
        self.api = api
        self._circuits: dict[str | None, Circuit] = {}
        self._feeds: dict[tuple[str, Source], Feed] = {}
        self._sources: dict[Feed, Source] = {}
        self._upstreams: dict[Source, list[Upstream]] = {}
        self._leaving: dict[tuple[str, Source], asyncio.Future[None]] = {}
        self._lingering: dict[Feed, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._openings: set[anyio.CancelScope] = set()
        self._store: SharedLog | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    # -- numbers --------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        return len(self._feeds)

    @property
    def sockets(self) -> int:
        # Copies, since this is asked from other threads as well.
        return sum(upstream.sockets for upstreams in list(self._upstreams.values()) for upstream in list(upstreams))

    # -- feeds ----------------------------------------------------------------------------------------------------

    async def open(self, channel: str, topics: Sequence[str], source: Source) -> Feed:
        """Return the channel's feed once Inngest is proved to deliver these topics.

        The feed is held: the caller attaches its reader and lets go.

        Raises:
            InngestError: It can't be had.
            ShuttingDownError: The process is shutting down.
        """
        self._check_open()
        place = (channel, source)
        while (left := self._leaving.get(place)) is not None:
            # Taking a topic again while it is being left can leave it silent for good.
            await asyncio.wait([left])
        self._check_open()
        feed = self._feeds.get(place)
        if feed is None or not feed.upstream.alive:
            feed = self._new_feed(channel, source, topics)
        feed.acquire()
        self._cancel_linger(feed)
        try:
            missing = [topic for topic in topics if topic not in feed.confirmed]
            if missing:
                self._want(feed, missing)
                await feed.upstream.join(feed, missing)
                self._want(feed, missing)
                feed.confirm(missing)
        except BaseException:
            # What was refused would be asked for again at every reconnect, and might be refused with all the rest.
            self._want_no_more(feed, set(topics) - feed.confirmed)
            if not feed.confirmed:
                # A linger would keep what never worked.
                feed.release()
                if feed.idle:
                    self._release(feed)
            else:
                feed.release()
            raise
        return feed

    @staticmethod
    def _want(feed: Feed, topics: Iterable[str]) -> None:
        new = [topic for topic in topics if topic not in feed.topics]
        feed.topics.update(dict.fromkeys(new))
        feed.upstream.token_size += weight((feed.channel, topic) for topic in new)

    @staticmethod
    def _want_no_more(feed: Feed, topics: Iterable[str]) -> None:
        gone = [topic for topic in topics if topic in feed.topics]
        for topic in gone:
            del feed.topics[topic]
        feed.upstream.token_size -= weight((feed.channel, topic) for topic in gone)

    def _check_open(self) -> None:
        if self.shutting_down:
            raise _shutting_down()

    def _new_feed(self, channel: str, source: Source, topics: Sequence[str]) -> Feed:
        upstream = self._place(channel, source, topics)
        replay = self.options.replay
        if self._store is None and not isinstance(replay, Replay):
            self._store = replay.open(self.options.liveness)
        feed = Feed(
            channel,
            upstream,
            counters=self.counters,
            replay=replay if isinstance(replay, Replay) else replay.local,
            store=self._store,
            on_idle=self._linger,
            on_failed=self._forget,
        )
        self._feeds[(channel, source)] = feed
        self._sources[feed] = source
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)
        return feed

    def _place(self, channel: str, source: Source, topics: Sequence[str]) -> Upstream:
        """Find a socket with room, or make one."""
        upstreams = self._upstreams.setdefault(source, [])
        alone = not self.options.multiplex or source.key is not None
        size = token_size([(channel, topic) for topic in topics])
        alone = alone or size > _DEDICATED
        if not alone:
            for upstream in upstreams:
                # What fits the token of one URL is had back with one request.
                room = upstream.members < _CHANNELS_PER_SOCKET and upstream.token_size + size <= MAX_URL_TOKEN
                if room and upstream.alive and not upstream.dedicated:
                    return upstream
        settings = self._settings_for(source)
        upstream = Upstream(
            settings.websocket_url,
            self._minter(settings, source),
            circuit=self._circuits.setdefault(source.api_base_url, Circuit()),
            liveness=self.options.liveness,
            on_reconnect=self._count_reconnect,
            on_end=functools.partial(self._upstream_ended, source),
            dedicated=alone,
            throttle=self.throttle,
        )
        upstreams.append(upstream)
        return upstream

    def _upstream_ended(self, source: Source, upstream: Upstream) -> None:
        upstreams = self._upstreams.get(source, [])
        if upstream in upstreams:
            upstreams.remove(upstream)
        if not upstreams:
            # With it goes a key that was minted elsewhere.
            self._upstreams.pop(source, None)

    def _count_reconnect(self) -> None:
        self.counters.reconnects += 1

    def _linger(self, feed: Feed) -> None:
        if self._sources.get(feed) is None:
            return
        if self.options.linger <= 0 or self.shutting_down:
            self._release(feed)
        elif feed not in self._lingering:
            self._lingering[feed] = self.loop.call_later(self.options.linger, self._release, feed)

    def _cancel_linger(self, feed: Feed) -> None:
        timer = self._lingering.pop(feed, None)
        if timer is not None:
            timer.cancel()

    def _release(self, feed: Feed) -> None:
        """Leave a channel at Inngest."""
        source = self._sources.get(feed)
        self._cancel_linger(feed)
        if source is None:
            return
        self._forget(feed)
        if feed.upstream.alive:
            place = (feed.channel, source)
            left = self._leaving[place] = feed.upstream.leave(feed)
            left.add_done_callback(lambda _: self._leaving.pop(place, None) and None)

    async def released(self, channel: str) -> None:
        """Return when no departure from this channel is under way."""
        leaving = [left for (name, _), left in self._leaving.items() if name == channel]
        if leaving:
            await asyncio.wait(leaving)

    def _forget(self, feed: Feed) -> None:
        self._cancel_linger(feed)
        source = self._sources.pop(feed, None)
        if source is not None and self._feeds.get((feed.channel, source)) is feed:
            del self._feeds[(feed.channel, source)]
            feed.upstream.token_size -= weight((feed.channel, topic) for topic in feed.topics)
            feed.forget()

    def _sweep(self) -> None:
        self._sweeper = None
        for feed in self._feeds.values():
            feed.prune()
        if self._feeds:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    def _settings_for(self, source: Source) -> Settings:
        if source.api_base_url is None:
            return self.api.settings
        return self.api.settings.at(source.api_base_url)

    def _minter(self, settings: Settings, source: Source) -> Mint:
        async def fresh(entries: Sequence[Entry]) -> IssuedToken:
            if source.key is not None:
                return IssuedToken.of(source.key)
            return await self.api.tokens.fresh(entries, settings)

        return fresh

    # -- tasks ----------------------------------------------------------------------------------------------------

    def run(self, work: Awaitable[None], *, name: str) -> asyncio.Task[None]:
        """Start a task that the hub owns: it is awaited when the hub is closed."""

        async def _work() -> None:
            await work

        task = self.loop.create_task(_work(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- the end --------------------------------------------------------------------------------------------------

    async def until_shutdown(self, opening: Awaitable[T]) -> T:
        """Await what opens a stream, which may take as long as Inngest takes to answer.

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

    def end_streams(self) -> None:
        """End every reader and open no new ones: the process is about to stop."""
        self.shutting_down = True
        for opening in list(self._openings):
            opening.cancel()
        for feed in list(self._feeds.values()):
            feed.end()

    async def close(self) -> None:
        """End everything. Returns when no task and no socket of the hub is left."""
        self.shutting_down = True
        for timer in (self._sweeper, *self._lingering.values()):
            if timer is not None:
                timer.cancel()
        self._sweeper = None
        self._lingering.clear()
        for feed in list(self._feeds.values()):
            feed.end()
            self._forget(feed)
        upstreams = [upstream for group in self._upstreams.values() for upstream in group]
        self._upstreams.clear()
        await asyncio.gather(*(upstream.close() for upstream in upstreams))
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        # These run the application's callbacks, whose own endings may take a while.
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        store, self._store = self._store, None
        if store is not None:
            await store.close()


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError(
        "The process is shutting down, so no new subscription is opened. Try again shortly. Where the process goes on "
        "after all, in a notebook that was interrupted for example, make a new Realtime."
    )
