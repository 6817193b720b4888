"""What a `Realtime` has open at each Inngest that it has been used with: more than one where it is overridden."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..settings import Settings
from ..stats import Counters, Stats
from .options import HubOptions
from .processes import Process

if TYPE_CHECKING:
    from .hub import Hub


class Sessions:
    """What one `Realtime` has open, by the process and the settings that it was used with.

    Args:
        options: How subscriptions are kept.
        on_stream: Called when a stream for a web client begins.

    Attributes:
        shutting_down: No new subscription is opened any more, with any settings.
    """

    def __init__(self, options: HubOptions, *, on_stream: Callable[[], None]) -> None:
        self.shutting_down: bool = False
        self._options = options
        self._on_stream = on_stream
        self._open: dict[tuple[int, Settings], Process] = {}
        self._ended: list[Process] = []
        self._counters: dict[int, Counters] = {}

    def counters(self) -> Counters:
        """Counts in this process what belongs to no settings: operations and endpoint errors."""
        process = os.getpid()
        counters = self._counters.get(process)
        return counters if counters is not None else self._counters.setdefault(process, Counters())

    def at(self, settings: Settings) -> Process:
        """What is open in this process with these settings."""
        key = os.getpid(), settings
        process = self._open.get(key)
        if process is None:
            # setdefault: another thread may have been here meanwhile.
            process = self._open.setdefault(key, Process(settings, self._options, self._on_stream))
        return process

    def _all(self) -> list[Process]:
        """All of this process: after a fork its parent's are kept as well."""
        return [each for each in (*self._open.values(), *self._ended) if each.id == os.getpid()]

    def hub(self, settings: Settings) -> Hub:
        """The hub of the running event loop. One that is made during the shutdown opens nothing."""
        hub = self.at(settings).hub()
        if self.shutting_down:
            hub.end_streams()
        return hub

    def end(self, settings: Settings) -> None:
        """End the streams that were opened with these settings. What they used is closed by `close()` at the latest."""
        process = self._open.pop((os.getpid(), settings), None)
        if process is not None:
            process.end_streams()
            self._ended = [ended for ended in self._ended if ended.hubs()]
            self._ended.append(process)

    def loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops where anything may be open, in this process. Callable from any thread."""
        return {loop for process in self._all() for loop, _ in process.loops()}

    def begin_shutdown(self) -> None:
        """End the streams of all event loops, and open no new ones: the process stops. Callable from any thread."""
        self.shutting_down = True
        for process in self._all():
            process.end_streams(stopping=True)

    def stats(self, **beside: int | None) -> Stats:
        """The numbers of all, those included that have ended, and others that are known `beside` these."""
        processes = self._all()
        hubs = [hub for process in processes for hub in process.hubs()]
        return Stats.of(
            [self.counters(), *(process.counters for process in processes)],
            [health for process in processes for health in process.replays()],
            **beside,
            sockets=sum(hub.sockets for hub in hubs),
            subscriptions=sum(hub.subscriptions for hub in hubs),
            channels=sum(hub.channels for hub in hubs),
            streams=sum(hub.streams for hub in hubs),
            buffer_bytes=sum(hub.held_bytes for hub in hubs),
            total_buffer_bytes=self._options.total_buffer_bytes,
            window_bytes=sum(hub.window_bytes for hub in hubs)
            + sum(process.record.kept_bytes for process in processes),
        )

    async def close(self) -> None:
        """End everything on the running event loop."""
        for process in self._all():
            await process.close()
