"""What one process has of a `Realtime`: for each event loop its HTTP clients, its tokens and, once needed, its hub."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Collection, Iterator

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
from .hub import Hub
from .options import HubOptions


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
    """What one process has of a `Realtime`.

    There is no lock here: a signal handler could not take it, and one that another thread holds during a fork is never
    released in the child. Each event loop sets its own key only; whoever looks at all of them copies the references.
    """

    __slots__ = ("budget", "counters", "event_ids", "record", "resources_of")

    def __init__(self, settings: Settings, limits: Replay, max_bytes: int) -> None:
        self.budget = ByteBudget(max_bytes, self.hubs, shared=True)
        self.counters = Counters()
        self.record = Record(limits)
        self.event_ids = EventIds.of(settings.signing_key, settings.signing_key_fallback)
        self.resources_of: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopResources] = (
            weakref.WeakKeyDictionary()
        )

    def hubs(self) -> list[Hub]:
        """The hubs of all event loops. Callable from any thread."""
        return [resources.hub for _, resources in self.loops() if resources.hub is not None]

    def replays(self) -> list[ReplayHealth]:
        """How what is kept elsewhere is, as each event loop sees it. Callable from any thread."""
        found = [resources.history.health() for loop, resources in self.loops() if not loop.is_closed()]
        return [health for health in found if health is not None]

    def forget_closed_loops(self) -> None:
        # Their `asyncio.run()` is over: what ran there has ended with it.
        for loop, _ in self.loops():
            if loop.is_closed():
                self.resources_of.pop(loop, None)

    def loops(self) -> Iterator[tuple[asyncio.AbstractEventLoop, LoopResources]]:
        for reference in self.resources_of.keyrefs():
            loop = reference()
            resources = None if loop is None else self.resources_of.get(loop)
            if loop is not None and resources is not None:
                yield loop, resources


class ProcessRegistry:
    """The processes that a `Realtime` has been used in: after a fork each has its own.

    Args:
        settings: Where Inngest is.
        options: How subscriptions are kept.
        on_stream: Called when a stream for a web client begins.
    """

    __slots__ = ("__weakref__", "_on_stream", "_options", "_processes", "_settings")

    def __init__(self, settings: Settings, options: HubOptions, *, on_stream: Callable[[], None]) -> None:
        self._settings = settings
        self._options = options
        self._on_stream = on_stream
        self._processes: dict[int, Process] = {}
        _registries.add(self)

    def process(self) -> Process:
        """This process's share."""
        # After a fork the loops, sockets and timers of the parent are kept, and never touched: they are not ours.
        process = self._processes.get(os.getpid())
        if process is None:
            replay = self._options.replay
            limits = replay if isinstance(replay, Replay) else replay.local
            process = self._processes.setdefault(
                os.getpid(), Process(self._settings, limits, self._options.total_buffer_bytes)
            )
        return process

    def resources(self) -> LoopResources:
        """The running event loop's share.

        Raises:
            ConfigurationError: No event loop of asyncio is running.
        """
        loop = running_event_loop()
        process = self.process()
        resources = process.resources_of.get(loop)
        if resources is None:
            process.forget_closed_loops()
            api = ApiClient(self._settings, keep=self._options.linger > 0, proxy=self._options.proxy)
            resources = process.resources_of[loop] = LoopResources(api, self._history(process, api))
        return resources

    def _history(self, process: Process, api: ApiClient) -> History:
        replay = self._options.replay
        if isinstance(replay, Replay):
            return MemoryHistory(process.record)

        async def claims() -> TokenClaims:
            return read_claims_unverified(await api.tokens.shared(()))

        # What runs for all runs in nobody's context.
        nobody = contextvars.Context()
        return nobody.run(replay.open, self._settings, claims, process.event_ids)

    def hub(self) -> Hub:
        """The running event loop's hub, made at the first call."""
        resources = self.resources()
        if resources.hub is None:
            process = self.process()
            hub = resources.hub = Hub(
                resources.api,
                self._options,
                process.counters,
                history=resources.history,
                ids=process.event_ids,
                budget=process.budget,
                on_stream=self._on_stream,
            )
            hub.owner = resources
        return resources.hub

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops that it has been used on in this process. Callable from any thread."""
        return [loop for loop, _ in self.process().loops()]

    async def continues(self, channel: str, topics: Collection[str], event_id: str | None) -> bool:
        """Whether a stream asks for nothing new: its channel is open in this process, or its event id is authentic."""
        if any(hub.follows(channel, topics) for hub in self.process().hubs()):
            return True
        ids = self.process().event_ids
        if not event_id or ids.decode(channel, event_id) is not None:
            return bool(event_id)
        # With what is kept elsewhere comes the key of the ids that other processes made.
        await self.resources().history.ready()
        return ids.decode(channel, event_id) is not None

    def end_streams(self, *, stopping: bool = False) -> None:
        """End the streams of all event loops; `stopping` with the process. Callable from any thread."""
        for hub in self.process().hubs():
            with contextlib.suppress(RuntimeError):
                hub.loop.call_soon_threadsafe(functools.partial(hub.end_streams, stopping=stopping))

    def abandon(self) -> None:
        """Called in the child of a fork: reads of what the parent has open fail there, instead of waiting for ever."""
        for process in self._processes.values():
            for hub in process.hubs():
                hub.abandon()

    async def close(self) -> None:
        """End everything on the running event loop."""
        resources = self.process().resources_of.pop(running_event_loop(), None)
        if resources is not None:
            await resources.close()


_registries: weakref.WeakSet[ProcessRegistry] = weakref.WeakSet()


def _forked() -> None:
    for registry in list(_registries):
        registry.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
