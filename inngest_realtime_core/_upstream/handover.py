"""One connection taking over from another: from before the new one exists until nothing of the old one matters."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from .._api.tokens import Entry
from ..errors import InngestError, UnreachableError
from ..messages.envelope import Envelope
from .backoff import Backoff
from .connecting import Connector
from .connection import Connection
from .merge import StreamMerge
from .registry import ChannelRegistry
from .wake import Wake

logger = logging.getLogger("inngest_realtime.upstream")

_OVERLAP: Final = 1.0  # seconds that an old connection is kept at least, for what is still on its way
_TWIN_WAIT: Final = 5.0  # seconds that a message on the new connection waits for its twin on the old one
_ECHO: Final = 30.0  # seconds in which the new connection may still repeat what the old one delivered
_RETRY_CAP: Final = 1.0  # seconds between two attempts to find a successor, and up to 1.5 s while others fail, too
_LAG: Final = 2.0  # seconds that a new server may be behind the old one


class Handover:
    """The overlap of an old connection with its successor, and the echo after it.

    Args:
        old: The connection that is to be left. From now on it is watched: what both bring is then known.
        route: Takes each message that is to be delivered, once and in order.
        recent: What `old` delivered in the last two seconds: its successor may lag behind it, and repeat that.
        before: The handover that `old` came from, when it may still repeat what its own predecessor delivered.

    Attributes:
        old: The same.
        merge: Of what the two bring.
    """

    def __init__(
        self,
        old: Connection,
        route: Callable[[Envelope], None],
        recent: Iterable[Envelope],
        before: Handover | None,
    ) -> None:
        self.old = old
        self._new: Connection | None = None
        self._route = route
        self._before = before
        self.merge = StreamMerge(old.decoder.open_streams.values(), recent)
        self._overlap_from: int | None = None
        self._since = time.monotonic()
        old.deliver(self._take_old)

    def give_up(self) -> None:
        """There is no successor: the old connection delivers as it did."""
        self.old.deliver(self._route if self._before is None else self._before._take_new)

    def begin(self, new: Connection, newcomers: Iterable[Entry]) -> None:
        """There is a successor, which has some topics to itself: the overlap begins."""
        self._new = new
        self.merge.adopt(newcomers)
        self._since = time.monotonic()

    def overlapped(self) -> None:
        """Called when the old connection has proved to be alive since the successor delivers.

        What the old one has received so far is waited for; what the successor held and brings is delivered.
        """
        self._overlap_from = self.old.accepted
        if self._new is not None:
            self._new.deliver(self._take_new)

    def _take_old(self, envelope: Envelope) -> None:
        before = self._before
        for fresh in (envelope,) if before is None else before.merge.new(envelope):
            self._route_all(self.merge.old(fresh))

    def _take_new(self, envelope: Envelope) -> None:
        self._route_all(self.merge.new(envelope))

    def _route_all(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            self._route(envelope)

    @property
    def over(self) -> bool:
        """Whether the old connection can be left."""
        if self.old.lost:
            return True
        return self._drained and time.monotonic() - self._since >= _OVERLAP and self.merge.settled

    @property
    def _drained(self) -> bool:
        # A slow reader may leave messages waiting that only the old connection had.
        return self._overlap_from is not None and self.old.handled >= self._overlap_from

    def poll(self) -> float:
        """Stop waiting for twins that are overdue. Returns the seconds until the next call is due."""
        if not self._drained or time.monotonic() - self._since < _TWIN_WAIT:
            return _OVERLAP / 4
        self._route_all(self.merge.expire())
        return _OVERLAP

    async def finish(self) -> None:
        """Leave the old connection. The successor leads everywhere, and may repeat what the old one delivered."""
        self.old.ignore()
        # Each would otherwise keep the one before it, and so all there have been.
        self._before = None
        self._route_all(self.merge.finish())
        self._since = time.monotonic()
        await self.old.close()

    @property
    def echo(self) -> float:
        """Seconds, once it is finished, in which the successor may still repeat something; 0 or less when none."""
        return self._since + _ECHO - time.monotonic()

    def end(self) -> None:
        """Called when nothing is repeated any more: the successor delivers directly."""
        if self._new is not None:
            self._new.deliver(self._route)


class Handovers:
    """The handovers of one upstream, one after the other.

    Args:
        registry: The channels.
        connector: Makes the successors.
        wake: Set when a connection changes.
        on_lost: Called with an old connection that ended too early, and the channels that may have missed messages.
    """

    def __init__(
        self,
        registry: ChannelRegistry,
        connector: Connector,
        wake: Wake,
        on_lost: Callable[[Connection, Iterable[str]], None],
    ) -> None:
        self._registry = registry
        self._connector = connector
        self._wake = wake
        self._on_lost = on_lost
        self._active: Handover | None = None
        self._echo: Handover | None = None  # the last one, as long as its successor may repeat something
        self._backoff = Backoff(cap=_RETRY_CAP)
        self._due = 0.0
        self._overlapping: set[str] = set()  # the channels that the old connection delivers

    @property
    def old(self) -> Connection | None:
        """The connection that is being replaced, while its successor delivers already."""
        return None if self._active is None else self._active.old

    def due(self, connection: Connection) -> float | None:
        """Seconds until the next attempt to find a successor; 0 or less when it is due, None when none is needed."""
        if not connection.closing or self.old is not None or self._due == math.inf:
            return None
        return self._due - time.monotonic()

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Called with topics that are about to be subscribed on the successor alone."""
        if self._active is not None:
            self._active.merge.adopt(entries)

    async def start(self, old: Connection) -> Connection | None:
        """Open a successor while the old connection still delivers.

        Returns:
            The successor, which holds what it brings until `overlap`; None when there is none yet.
        """
        await self._connector.wait_for_turn()
        if old.lost:
            return None
        recent = (envelope for subscriber in self._registry.subscribers for envelope in subscriber.recent(_LAG))
        covered = self._registry.covered
        handover = Handover(old, self._registry.route, recent, self._echo)
        try:
            new = await self._connector.establish()
        except InngestError as error:
            handover.give_up()
            logger.warning(
                "No successor for a connection that Inngest is about to close; it is made again when that is lost. "
                "If it repeats, run `inngest-realtime doctor`. %s",
                error,
                extra={"event": "connection.replacement_failed"},
            )
            if self._connector.is_final(error):
                # The old one delivers to its end, and then the rejection of its successor is reported.
                self._due = math.inf
            else:
                self._due = time.monotonic() + self._backoff.next_delay()
            return None
        self._backoff = Backoff(cap=_RETRY_CAP)
        self._due = 0.0
        # Who joined just now is on the new connection alone.
        handover.begin(new, self._registry.covered - covered)
        self._overlapping = {channel for channel, _ in covered}
        self._active = handover
        return new

    async def overlap(self) -> None:
        """Make both connections deliver from now on."""
        handover, channels = self._active, self._overlapping
        if handover is None:
            return
        try:
            # Only a pong of the old connection from now on proves that the two have overlapped.
            await handover.old.confirm()
        except UnreachableError:
            await self._wake.until(lambda: handover.old.lost)
            self._on_lost(handover.old, channels)
        handover.overlapped()
        self._registry.resolve()
        logger.info("A new connection to Inngest takes over.", extra={"event": "connection.replaced"})

    async def poll(self) -> float | None:
        """Do what is due; returns the seconds until something is due again, or None."""
        if self._active is not None:
            if not self._active.over:
                return self._active.poll()
            await self.retire()
        if self._echo is None:
            return None
        if (remaining := self._echo.echo) > 0:
            return remaining
        echo, self._echo = self._echo, None
        echo.end()
        return None

    async def retire(self) -> None:
        """Leave the old connection of a handover, if there is one."""
        active, self._active = self._active, None
        if active is None:
            return
        for start in active.merge.interrupted:
            for subscriber in self._registry.of([start.channel]):
                if start.stream_id is not None:
                    subscriber.interrupted(start.stream_id)
                    subscriber.gap("reconnect")
        self._echo = active
        await active.finish()

    async def forget(self) -> None:
        """Called when the present connection is lost: there is nothing to hand over to, and nothing repeated."""
        await self.retire()
        self._echo = None
        self._due = 0.0

    async def close(self) -> None:
        """Close the connection that is being replaced."""
        active, self._active = self._active, None
        if active is not None:
            await active.old.close()
