"""What one process has of a `Realtime`: for each event loop its HTTP clients, its tokens and, once needed, its hub."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from typing import TYPE_CHECKING

from .._api.claims import TokenClaims, read_claims_unverified
from .._api.client import ApiClient
from .._concurrency.loop_end import close_with_loop
from .._concurrency.threads import running_event_loop
from .._replay.event_ids import EventIds
from .._replay.log import History, Replay
from .._replay.record import MemoryHistory, Record
from ..settings import Settings
from ..stats import Counters, ReplayHealth
from .budget import ByteBudget
from .options import HubOptions

if TYPE_CHECKING:
    from .hub import Hub


class LoopResources:
    """What a `Realtime` has on one event loop, which is ended with that loop at the latest.

    Attributes:
        api: Makes calls to Inngest.
        history: What is kept beside the logs of its channels.
        hub: The subscriptions; None until the first one.
    """

    __slots__ = ("__weakref__", "_of_loop", "_owner", "api", "history", "hub")

    def __init__(self, api: ApiClient, history: History) -> None:
        self.api = api
        self.history = history
        self.hub: Hub | None = None
        self._owner = self._own()
        with contextlib.suppress(StopIteration):
            self._owner.asend(None).send(None)
        self._of_loop = close_with_loop(asyncio.get_running_loop(), self)

    async def _own(self) -> AsyncGenerator[None, None]:
        # A generator, because `asyncio.run()` and its like close those of a loop before they wait for its threads: what
        # an application or a test has left open ends then, instead of being collected with its sockets open.
        try:
            yield
        finally:
            self._of_loop.discard(self)
            try:
                if self.hub is not None:
                    await self.hub.close()
            finally:
                try:
                    await self.history.close()
                finally:
                    await self.api.close()

    async def close(self) -> None:
        """Ends everything. Returns when no task and no socket is left."""
        await self._owner.aclose()

    def loop_closed(self) -> None:
        """Called when the event loop has been closed although not everything had ended: threads may be waiting."""
        if self.hub is not None:
            self.hub.end_streams()


class Process:
    """What one process has of a `Realtime` with the same settings: after a fork each has its own.

    There is no lock here: a signal handler could not take it, and one that another thread holds during a fork is never
    released in the child. Each event loop sets its own key only; whoever looks at all of them copies the references.

    Args:
        settings: Where Inngest is.
        options: How subscriptions are kept.
        on_stream: Called when a stream for a web client begins.
    """

    def __init__(self, settings: Settings, options: HubOptions, on_stream: Callable[[], None]) -> None:
        replay = options.replay
        self.id: int = os.getpid()
        self.budget = ByteBudget(options.total_buffer_bytes, self.hubs, shared=True)
        self.counters = Counters()
        self.record = Record(replay if isinstance(replay, Replay) else replay.local)
        self.event_ids = EventIds.of(settings.signing_key, settings.signing_key_fallback)
        self._settings = settings
        self._options = options
        self._on_stream = on_stream
        self._resources_of: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopResources] = (
            weakref.WeakKeyDictionary()
        )
        _processes.add(self)

    def loops(self) -> Iterator[tuple[asyncio.AbstractEventLoop, LoopResources]]:
        """The event loops on which something was used, each with what it has. Callable from any thread."""
        for reference in self._resources_of.keyrefs():
            loop = reference()
            resources = None if loop is None else self._resources_of.get(loop)
            if loop is not None and resources is not None:
                yield loop, resources

    def hubs(self) -> list[Hub]:
        """The hubs of all event loops. Callable from any thread."""
        return [resources.hub for _, resources in self.loops() if resources.hub is not None]

    def replays(self) -> list[ReplayHealth]:
        """How what is kept elsewhere is, as each event loop sees it. Callable from any thread."""
        found = [resources.history.health() for loop, resources in self.loops() if not loop.is_closed()]
        return [health for health in found if health is not None]

    def resources(self) -> LoopResources:
        """The running event loop's share.

        Raises:
            ConfigurationError: No event loop of asyncio is running.
        """
        running = running_event_loop()
        resources = self._resources_of.get(running)
        if resources is None:
            for loop, _ in self.loops():
                # Their `asyncio.run()` is over: what ran there has ended with it.
                if loop.is_closed():
                    self._resources_of.pop(loop, None)
            api = ApiClient(self._settings, keep=self._options.linger > 0, proxy=self._options.proxy)
            resources = self._resources_of[running] = LoopResources(api, self._history(api))
        return resources

    def _history(self, api: ApiClient) -> History:
        replay = self._options.replay
        if isinstance(replay, Replay):
            return MemoryHistory(self.record)

        async def claims() -> TokenClaims:
            return read_claims_unverified(await api.tokens.shared(()))

        # What runs for all runs in nobody's context.
        nobody = contextvars.Context()
        return nobody.run(replay.open, self._settings, claims, self.event_ids)

    def hub(self) -> Hub:
        """The running event loop's hub, made at the first call."""
        resources = self.resources()
        if resources.hub is None:
            # Not before: whoever only mints and publishes has no use for it, nor for the library of WebSockets.
            from .hub import Hub

            hub = resources.hub = Hub(
                resources.api,
                self._options,
                self.counters,
                history=resources.history,
                ids=self.event_ids,
                budget=self.budget,
                on_stream=self._on_stream,
            )
            hub.owner = resources
        return resources.hub

    async def continues(self, channel: str, topics: Collection[str], event_id: str | None) -> bool:
        """Whether a stream asks for nothing new: its channel is open in this process, or its event id is authentic."""
        if any(hub.follows(channel, topics) for hub in self.hubs()):
            return True
        ids = self.event_ids
        if not event_id or ids.decode(channel, event_id) is not None:
            return bool(event_id)
        # With what is kept elsewhere comes the key of the ids that other processes made.
        await self.resources().history.ready()
        return ids.decode(channel, event_id) is not None

    def end_streams(self, *, stopping: bool = False) -> None:
        """End the streams of all event loops; `stopping` with the process. Callable from any thread."""
        for hub in self.hubs():
            with contextlib.suppress(RuntimeError):
                hub.loop.call_soon_threadsafe(functools.partial(hub.end_streams, stopping=stopping))

    async def close(self) -> None:
        """End everything on the running event loop."""
        resources = self._resources_of.pop(running_event_loop(), None)
        if resources is not None:
            await resources.close()


_processes: weakref.WeakSet[Process] = weakref.WeakSet()


def _forked() -> None:
    # The loops, sockets and timers of the parent are kept, and never touched: they are not ours. Reads of what it has
    # open fail here, instead of waiting for ever.
    for process in list(_processes):
        for hub in process.hubs():
            hub.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
