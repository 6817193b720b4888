"""Who shares which connection: all subscriptions of one `Realtime` on one event loop."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx
import msgspec

from .backoff import Circuit
from .connection import Liveness
from .dialer import Minted
from .entries import Entry, token_size
from .errors import RealtimeError, ShuttingDownError
from .feed import Counters, Feed
from .pace import Pace
from .redis_replay import RedisReplay, RedisStore
from .replay import Replay
from .settings import Settings
from .tasks import end_tasks
from .tokens import mint, read_claims_unverified
from .upstream import Upstream

__all__ = ["Hub", "HubOptions", "Source"]

_CHANNELS_PER_SOCKET: Final = 1_000
_SOLITARY: Final = 16_000  # characters of a token for one channel; a larger one gets a socket of its own
_SWEEP: Final = 30.0  # seconds between two looks for what is too old to be replayed
_HTTP_IDLE: Final = 5.0  # seconds that an unused HTTP connection is kept
_FRESH: Final = 2.0  # seconds that a token is given to everybody who asks for the same
_FAILED: Final = 0.5  # seconds that a failure to make it is


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
    replay: Replay | RedisReplay = msgspec.field(default_factory=Replay)
    liveness: Liveness = msgspec.field(default_factory=Liveness)


class _Token(msgspec.Struct, frozen=True):
    token: str
    env_id: str | None


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
        on_stream: Called when a stream for a web client begins.
        pace: How far readers may hold up connections.
        subscriptions: How many are open.
        shutting_down: No new subscription is opened any more.
    """

    def __init__(
        self, settings: Settings, options: HubOptions, counters: Counters, *, on_stream: Callable[[], None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options
        self.counters = counters
        self.on_stream = on_stream
        self.pace = Pace()
        self.shutting_down = False
        self.subscriptions = 0
        self.settings = settings
        self._circuits: dict[str | None, Circuit] = {}
        self._feeds: dict[tuple[str, Source], Feed] = {}
        self._sources: dict[Feed, Source] = {}
        self._upstreams: dict[Source, list[Upstream]] = {}
        self._leaving: dict[tuple[str, Source], asyncio.Future[None]] = {}
        self._lingering: dict[Feed, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._http: httpx.AsyncClient | None = None
        self._http_users = 0
        self._http_timer: asyncio.TimerHandle | None = None
        self._store: RedisStore | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._tokens: dict[tuple[Entry, ...], tuple[float, asyncio.Task[str]]] = {}

    # -- numbers --------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        return len(self._feeds)

    @property
    def sockets(self) -> int:
        return sum(upstream.sockets for upstreams in self._upstreams.values() for upstream in upstreams)

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
        feed.hold()
        self._cancel_linger(feed)
        try:
            missing = [topic for topic in topics if topic not in feed.confirmed]
            if missing:
                feed.topics.update(dict.fromkeys(missing))
                await feed.upstream.join(feed, missing)
                feed.confirm(missing)
        except BaseException:
            if not feed.confirmed:
                # A linger would keep what never worked.
                feed.let_go()
                if feed.idle:
                    self._release(feed)
            else:
                feed.let_go()
            raise
        return feed

    def _check_open(self) -> None:
        if self.shutting_down:
            raise ShuttingDownError(
                "The process is shutting down, so no new subscription is opened. Try again shortly."
            )

    def _new_feed(self, channel: str, source: Source, topics: Sequence[str]) -> Feed:
        upstream = self._place(channel, source, topics)
        replay = self.options.replay
        if self._store is None and not isinstance(replay, Replay):
            self._store = replay.open()
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
        upstreams[:] = [upstream for upstream in upstreams if upstream.alive]
        alone = not self.options.multiplex or source.key is not None
        alone = alone or token_size([(channel, topic) for topic in topics]) > _SOLITARY
        if not alone:
            for upstream in upstreams:
                if upstream.members < _CHANNELS_PER_SOCKET and not upstream.solitary:
                    return upstream
        settings = self._settings_for(source)
        upstream = Upstream(
            settings.websocket_url,
            self._minter(settings, source),
            circuit=self._circuits.setdefault(source.api_base_url, Circuit()),
            liveness=self.options.liveness,
            on_reconnect=self._count_reconnect,
            solitary=alone,
            pace=self.pace,
        )
        upstreams.append(upstream)
        return upstream

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
            feed.forget()

    def _sweep(self) -> None:
        self._sweeper = None
        for feed in self._feeds.values():
            feed.prune()
        if self._feeds:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    # -- tokens ---------------------------------------------------------------------------------------------------

    def _settings_for(self, source: Source) -> Settings:
        if source.api_base_url is None:
            return self.settings
        return Settings.resolve(self, api_base_url=source.api_base_url)

    def _minter(self, settings: Settings, source: Source) -> Callable[[Sequence[Entry]], Awaitable[Minted]]:
        async def fresh(entries: Sequence[Entry]) -> Minted:
            if source.key is not None:
                token = source.key
            else:
                async with _Borrowed(self) as http:
                    token = await mint(http, settings, entries)
            return _Token(token, _env_of(token))

        return fresh

    async def token(self, entries: Sequence[Entry]) -> str:
        """Mint a token for a client. Equal requests at the same time, or within 2 s, share one.

        A thousand browsers that reconnect at once cost a handful of requests to Inngest. The caller has authorized
        each of them before.
        """
        wanted = tuple(sorted(entries))
        now = time.monotonic()
        for old in [key for key, (made, task) in self._tokens.items() if task.done() and now - made > _FRESH]:
            del self._tokens[old]
        known = self._tokens.get(wanted)
        failure = known[1].exception() if known is not None and known[1].done() and not known[1].cancelled() else None
        if known is not None and failure is not None and now - known[0] <= _FAILED:
            # Browsers ask again at once: without this, an Inngest that fails fast would be asked by each of them.
            raise failure.with_traceback(None)
        if known is None or failure is not None or known[1].cancelled():
            task = self.loop.create_task(self._mint_for_client(entries), name="inngest-realtime token")
            known = self._tokens[wanted] = (now, task)
        return await asyncio.shield(known[1])

    async def _mint_for_client(self, entries: Sequence[Entry]) -> str:
        async with _Borrowed(self) as http:
            return await mint(http, self.settings, entries)

    # -- HTTP -----------------------------------------------------------------------------------------------------

    def http(self) -> _Borrowed:
        """An HTTP client for the length of an `async with`."""
        return _Borrowed(self)

    def borrow(self) -> httpx.AsyncClient:
        if self._http_timer is not None:
            self._http_timer.cancel()
            self._http_timer = None
        if self._http is None:
            self._http = httpx.AsyncClient(verify=_trust() if self.settings.api_base_url.startswith("https") else False)
        self._http_users += 1
        return self._http

    def give_back(self) -> None:
        self._http_users -= 1
        if self._http_users == 0 and self._http is not None:
            idle = _HTTP_IDLE if self.options.linger else 0.0
            self._http_timer = self.loop.call_later(idle, self._drop_http)

    def _drop_http(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            closing = self.loop.create_task(http.aclose(), name="inngest-realtime http")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

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

    def end_streams(self) -> None:
        """End every reader and open no new ones: the process is about to stop."""
        self.shutting_down = True
        for feed in list(self._feeds.values()):
            feed.end()

    async def close(self) -> None:
        """End everything. Returns when no task and no socket of the hub is left."""
        self.shutting_down = True
        for timer in (self._sweeper, self._http_timer, *self._lingering.values()):
            if timer is not None:
                timer.cancel()
        self._sweeper = self._http_timer = None
        self._lingering.clear()
        for feed in list(self._feeds.values()):
            feed.end()
            self._forget(feed)
        upstreams = [upstream for group in self._upstreams.values() for upstream in group]
        self._upstreams.clear()
        await asyncio.gather(*(upstream.close() for upstream in upstreams))
        minting = [task for _, task in self._tokens.values() if not task.done()]
        self._tokens.clear()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        await end_tasks(minting)
        # These run the application's callbacks, whose own endings may take a while.
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        store, self._store = self._store, None
        if store is not None:
            await store.close()
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()
        if self._closing:
            await asyncio.wait(self._closing)


@functools.cache
def _trust() -> ssl.SSLContext:
    # Reading the certificates takes tens of milliseconds, and every client would do it anew.
    return httpx.create_ssl_context()


def _env_of(token: str) -> str | None:
    try:
        return read_claims_unverified(token).env_id
    except RealtimeError:
        # Not a token that can be read here; Inngest says what it thinks of it.
        return None


class _Borrowed:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __aenter__(self) -> httpx.AsyncClient:
        return self._hub.borrow()

    async def __aexit__(self, *_: object) -> None:
        self._hub.give_back()
